//! What has to hold of any input, whoever wrote it: the bytes of a target, a log, a bench file.
//!
//! Each function takes an input, refused or not, and panics if something does not hold of what it came to. The fuzz
//! targets in `tests/fuzz` look for inputs that one panics on; here those in `tests/fuzz/seeds` are held against them.

mod access_log;
mod answer;
mod arguments;
mod frames;
mod heads;
mod workload;

pub use access_log::access_log;
pub use answer::answer;
pub use arguments::arguments;
pub use frames::frames;
pub use heads::{Fields, heads};
pub use workload::sendable;

/// The bytes in pieces whose lengths follow from the bytes, so that an input alone says how it is cut.
fn cut(bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let length = 1 + usize::from(*first) * usize::from(*first) % 61;
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The seeds of a target; its folder holds at least one.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        // Through this folder, so that it is found wherever the sources are built from.
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench/../../tests/fuzz/seeds").join(target);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let seeds: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
        assert!(!seeds.is_empty(), "{}", folder.display());
        seeds
    }

    #[test]
    fn they_hold_of_every_seed() {
        seeds("arguments").iter().for_each(|seed| arguments(str::from_utf8(seed).unwrap()));
        seeds("answer").iter().for_each(|seed| answer(seed));
        seeds("frames").iter().for_each(|seed| frames(seed));
        seeds("heads").iter().for_each(|seed| drop(heads(seed)));
        seeds("access_log").iter().for_each(|seed| access_log(seed));
    }

    /// But for the fuzzer itself, and a reader that ours is compared with.
    #[test]
    fn fuzzing_has_the_dependencies_of_the_crate() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench/../..");
        let [own, fuzz] =
            ["Cargo.toml", "tests/fuzz/Cargo.toml"].map(|file| fs::read_to_string(root.join(file)).unwrap());
        let dependencies = fuzz.split("[dependencies]").nth(1).and_then(|rest| rest.split("[[bin]]").next()).unwrap();
        for line in dependencies.lines().filter(|line| line.contains(" = ")) {
            let is_own = line.starts_with("libfuzzer-sys ") || line.starts_with("loona-hpack ");
            assert!(is_own || own.lines().any(|other| other == line), "{line}");
        }
    }

    #[test]
    fn pieces_make_the_whole() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(cut(&bytes).concat(), bytes);
        assert!(cut(&bytes).len() > 4);
    }
}
