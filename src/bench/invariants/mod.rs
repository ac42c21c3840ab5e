//! What has to hold of any input, whoever wrote it: the bytes of a target, a log, a bench file, a result.
//!
//! Each function takes an input, refused or not, and panics if something does not hold of what it came to. The fuzz
//! targets in `tests/fuzz` look for inputs that one panics on; here those in `tests/fuzz/seeds` are held against them.

mod access_log;
mod answer;
mod arguments;
mod feed;
mod frames;
mod heads;
mod redirect;
mod result;
mod unpack;
mod workload;

pub use access_log::access_log;
pub use answer::answer;
pub use arguments::arguments;
pub use feed::feed;
pub use frames::frames;
pub use heads::{Fields, heads};
pub use redirect::redirect;
pub use result::{result, sound as sound_result, text as result_text};
pub use unpack::unpack;
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

    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::bench::Summary;

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
        let folder = tempfile::tempdir().unwrap();
        seeds("feed").iter().for_each(|seed| feed(seed, folder.path()));
        seeds("redirect").iter().for_each(|seed| redirect(seed));
        seeds("unpack").iter().for_each(|seed| unpack(seed));
        seeds("result").iter().for_each(|seed| drop(result(&result_text(seed))));
    }

    /// Seeds with parts of them changed, left out, repeated, or put together: the same ones in every run.
    fn changed(target: &str, count: usize) -> impl Iterator<Item = Vec<u8>> {
        let mut seeds = seeds(target);
        // The order of a folder is the machine's own.
        seeds.sort();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        std::iter::repeat_with(move || {
            let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
            for _ in 0..rng.random_range(1..4) {
                let other = &seeds[rng.random_range(0..seeds.len())];
                let mut part = |of: &[u8]| {
                    let from = rng.random_range(0..=of.len());
                    from..rng.random_range(from..=of.len().min(from + 8))
                };
                let (place, piece) = (part(&bytes), part(other));
                match rng.random_range(0..4) {
                    0 => bytes.iter_mut().skip(place.start).take(1).for_each(|byte| *byte = rng.random()),
                    1 => drop(bytes.splice(place, [])),
                    2 => drop(bytes.splice(place.start..place.start, other[piece].to_vec())),
                    _ => drop(bytes.splice(place, other[piece].to_vec())),
                }
            }
            bytes
        })
        .take(count)
    }

    #[test]
    fn they_hold_of_changed_seeds() {
        let folder = tempfile::tempdir().unwrap();
        changed("feed", 100).for_each(|bytes| feed(&bytes, folder.path()));
        changed("redirect", 500).for_each(|bytes| redirect(&bytes));
        changed("unpack", 50).for_each(|bytes| unpack(&bytes));
        changed("result", 60).for_each(|bytes| drop(result(&result_text(&bytes))));
    }

    #[test]
    fn a_sound_result_is_read_and_so_is_what_stays_one() {
        let sound = result_text(b"");
        assert_eq!(&Summary::read(&sound).unwrap(), sound_result());
        assert!(result(&sound).is_some());
        // More seconds, other times.
        for seed in [&b"\x0d\0\0\x0c"[..], b"\x0f\0\0\x01\x20\xff\xff\xff\xff\xff\xff\xff\xff\x02"] {
            assert!(result(&result_text(seed)).is_some(), "{seed:?}: {:?}", Summary::read(&result_text(seed)).err());
        }
        assert!(result(&sound.replace("bench/1", "bench/2")).is_none());
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
