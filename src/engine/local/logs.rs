//! Reading the logs of replicas and jobs: merged by time, followed as they grow.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::supervisor::rotated_files;
use crate::engine::logs::{Line, Stamp};

/// The logs of a folder.
pub struct Logs {
    folder: PathBuf,
    wanted: Box<dyn Fn(&str) -> bool>,
    positions: BTreeMap<String, Position>,
}

/// How far a log was read.
#[derive(Debug, Default, Clone)]
struct Position {
    offset: u64,
    time: Stamp,
    /// The beginning of a line whose end is not there yet.
    partial: Vec<u8>,
}

impl Logs {
    /// The logs in a folder whose names are wanted.
    pub fn new(folder: PathBuf, wanted: impl Fn(&str) -> bool + 'static) -> Self {
        Self { folder, wanted: Box::new(wanted), positions: BTreeMap::new() }
    }

    /// All lines that have come since the last call, those of the whole present logs at the first, by time.
    ///
    /// # Errors
    ///
    /// When a log cannot be read.
    pub fn read(&mut self) -> io::Result<Vec<Line>> {
        let mut lines = Vec::new();
        for (source, path) in self.files()? {
            if !self.positions.contains_key(&source) {
                for path in rotated_files(&path) {
                    lines.extend(read_from(&path, &source, &mut Position::default())?);
                }
            }
            let position = self.positions.entry(source.clone()).or_default();
            lines.extend(read_from(&path, &source, position)?);
        }
        // Stable: lines of one log stay in their order, whatever their clocks say.
        lines.sort_by_key(|line| line.time);
        Ok(lines)
    }

    fn files(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut files: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().to_str()?.strip_suffix(".log")?.to_owned();
                (self.wanted)(&name).then(|| (name, entry.path()))
            })
            .collect();
        files.sort();
        Ok(files)
    }
}

fn read_from(path: &Path, source: &str, position: &mut Position) -> io::Result<Vec<Line>> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() < position.offset {
        // It was rotated.
        *position = Position { time: position.time, ..Position::default() };
    }
    file.seek(SeekFrom::Start(position.offset))?;
    let mut bytes = std::mem::take(&mut position.partial);
    position.offset += file.read_to_end(&mut bytes)? as u64;
    let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    position.partial = bytes.split_off(end);
    let mut lines = Vec::new();
    for text in String::from_utf8_lossy(&bytes).lines() {
        position.time = stamp(text).or(position.time);
        lines.push(Line { time: position.time, source: source.to_owned(), text: text.to_owned() });
    }
    Ok(lines)
}

/// When a line says it was written: the `time`, `timestamp` or `ts` of a JSON object, or an RFC 3339 time at its start.
fn stamp(text: &str) -> Stamp {
    if text.starts_with('{') {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
        return ["time", "timestamp", "ts", "@timestamp"]
            .iter()
            .find_map(|key| object.get(*key)?.as_str()?.parse().ok());
    }
    text.split_whitespace().next().filter(|word| word.len() >= 19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        use std::io::Write;
        let path = folder.join(format!("{name}.log"));
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn lines_are_merged_by_time_and_followed() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "api-1", "{\"time\":\"2026-01-01T00:00:02Z\",\"message\":\"b\"}\nno time\n");
        write(folder.path(), "api-2", "2026-01-01T00:00:01Z a\n{\"time\":\"2026-01-01T00:00:03Z\"}\npart");
        let mut logs = Logs::new(folder.path().to_owned(), |name| name.starts_with("api"));
        let lines = logs.read().unwrap();
        let order: Vec<_> = lines.iter().map(|l| l.source.as_str()).collect();
        assert_eq!(order, ["api-2", "api-1", "api-1", "api-2"]);
        assert_eq!(lines[2].text, "no time");
        write(folder.path(), "api-2", "ial\n");
        let more = logs.read().unwrap();
        assert_eq!(more.len(), 1);
        assert_eq!(more[0].text, "partial");
        fs::write(folder.path().join("api-1.log"), "x\n").unwrap();
        assert_eq!(logs.read().unwrap()[0].text, "x");
    }

    #[test]
    fn rotated_files_come_first() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "api-1", "c\n");
        fs::write(folder.path().join("api-1.log.1"), "b\n").unwrap();
        fs::write(folder.path().join("api-1.log.2"), "a\n").unwrap();
        let mut logs = Logs::new(folder.path().to_owned(), |_| true);
        let texts: String = logs.read().unwrap().into_iter().map(|line| line.text).collect();
        assert_eq!(texts, "abc");
        assert!(logs.read().unwrap().is_empty());
    }
}
