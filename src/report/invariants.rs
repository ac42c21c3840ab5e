//! What has to hold of every report, whoever wrote the result that it is of; for tests and fuzzing only.

use std::collections::BTreeSet;
use std::io;

use super::{Format, comparison, comparison_json, comparison_markdown, write};
use crate::bench::compare::Comparison;
use crate::bench::invariants;

/// The longest schedule that is reported second by second, in nanoseconds.
const LONG_NS: u64 = 3600 * 1_000_000_000;
/// How much a report may have, in bytes: for all that is in every report, for each byte of the result, and for each
/// second of its schedule.
const SIZE: (usize, usize, usize) = (256 * 1024, 20, 2048);

/// Reads the result that bytes make ([`invariants::result_text`]), and writes it in every format.
///
/// # Panics
///
/// What was read cannot be written, becomes longer than it has to be, or has a figure that is none.
pub fn is_presentable(bytes: &[u8]) {
    let text = invariants::result_text(bytes);
    let Some(result) = invariants::result(&text) else { return };
    let seconds = (result.duration_ns.min(LONG_NS) / 1_000_000_000) as usize;
    let most = SIZE.0 + SIZE.1 * text.len() + SIZE.2 * seconds;
    for format in Format::ALL.into_iter().filter(|format| !format.has_seconds() || result.duration_ns <= LONG_NS) {
        let report = written(|out| write(&result, format, 80, out));
        assert!(report.len() <= most, "{} bytes of {format} from {} bytes", report.len(), text.len());
        match format {
            Format::Text | Format::Markdown | Format::Csv | Format::Hgrm => has_figures(&report, &text),
            // JSON is read again by what holds of results.
            Format::Json | Format::Hlog | Format::Html | Format::Junit | Format::Prometheus => {}
        }
    }
    if result.duration_ns <= LONG_NS {
        let sound = std::slice::from_ref(invariants::sound_result());
        let found = Comparison::of(&[result], sound, 0.05);
        for report in [
            written(|out| comparison(&found, out, 80)),
            written(|out| comparison_markdown(&found, out)),
            written(|out| comparison_json(&found, out)),
        ] {
            assert!(report.len() <= most, "{report}");
        }
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap_or_else(|error| panic!("{error}"));
    String::from_utf8(out).unwrap_or_else(|error| panic!("{error}"))
}

/// No word of a report stands for what is no number, but for those that the result has.
fn has_figures(report: &str, result: &str) {
    let words = |text: &str| text.split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect::<BTreeSet<_>>();
    let (found, known) = (words(report), words(result));
    for word in ["NaN", "inf"] {
        assert!(!found.contains(word) || known.contains(word), "{word} in {report}");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    #[test]
    fn it_holds_of_every_seed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/../../tests/fuzz/seeds/result");
        let seeds: Vec<_> = fs::read_dir(folder).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
        assert!(!seeds.is_empty());
        seeds.iter().for_each(|seed| is_presentable(seed));
    }

    /// The numbers below a value, by their pointers: of each list those of its first item.
    fn numbers(value: &Value, here: String) -> Vec<String> {
        match value {
            Value::Number(_) => vec![here],
            Value::Array(items) => items.first().map_or(Vec::new(), |item| numbers(item, here + "/0")),
            Value::Object(fields) => {
                fields.iter().flat_map(|(name, value)| numbers(value, format!("{here}/{name}"))).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_number_may_be_any() {
        let sound: Value = serde_json::from_str(&invariants::result_text(b"")).unwrap();
        let places = numbers(&sound, String::new());
        assert!(places.iter().any(|place| place == "/series/0/second") && places.len() > 100, "{places:?}");
        // A figure that is only shown is like any other.
        for place in places.iter().filter(|place| !place.contains("_ns/")) {
            let mut changed = sound.clone();
            *changed.pointer_mut(place).unwrap() = u64::MAX.into();
            is_presentable(changed.to_string().as_bytes());
        }
    }
}
