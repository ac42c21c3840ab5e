//! Log files of replicas and jobs. A process writes to its own file in append mode, whether a supervisor lives or not.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A log longer than this is rotated, in bytes.
const ROTATE_AT: u64 = 16 << 20;
/// How many rotated files are kept beside the current one.
const KEPT: u32 = 3;

/// Opens a log for a process to write to.
///
/// # Errors
///
/// When its folder cannot be made or the file cannot be opened.
pub fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// The name of the `n`-th rotated file.
fn rotated(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

/// Rotates a log that has grown too long.
///
/// The process keeps its file open, so the file cannot be moved away under it: its content is copied, then it is
/// emptied. What is written while the copy is made is copied too; only a line written between the last look and the
/// emptying, an instant, could be lost.
///
/// # Errors
///
/// When the copy cannot be written; then the log stays as it is.
pub fn rotate(path: &Path) -> io::Result<()> {
    if fs::metadata(path).map_or(0, |m| m.len()) < ROTATE_AT {
        return Ok(());
    }
    for n in (1..KEPT).rev() {
        match fs::rename(rotated(path, n), rotated(path, n + 1)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    let mut log = OpenOptions::new().read(true).write(true).open(path)?;
    let mut copy = File::create(rotated(path, 1))?;
    while io::copy(&mut log, &mut copy)? > 0 {}
    log.set_len(0)
}

/// The rotated files of a log, the oldest first.
pub fn rotated_files(path: &Path) -> Vec<PathBuf> {
    (1..=KEPT).rev().map(|n| rotated(path, n)).filter(|path| path.exists()).collect()
}

/// The last `lines` lines of a log; empty if there is none.
pub fn tail(path: &Path, lines: usize) -> Vec<String> {
    tail_from(path, 0, lines)
}

/// The last `lines` lines of what a log holds from byte `from` on.
pub fn tail_from(path: &Path, from: u64, lines: usize) -> Vec<String> {
    /// Longer than any line that helps.
    const LINE: u64 = 4096;
    let Ok(mut file) = File::open(path) else { return Vec::new() };
    let length = file.metadata().map_or(0, |m| m.len());
    // A log that is shorter than where it began has been rotated since.
    let from = if from > length { 0 } else { from };
    let begin = length.saturating_sub(lines as u64 * LINE).max(from);
    if file.seek(SeekFrom::Start(begin)).is_err() {
        return Vec::new();
    }
    let mut all: Vec<String> = Vec::new();
    let mut reader = BufReader::new(file.take(length - begin));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        all.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
    all.split_off(all.len().saturating_sub(lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_long_log_is_rotated_while_its_writer_keeps_it_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api-1.log");
        let mut writer = open(&path).unwrap();
        let block = vec![b'x'; 1 << 20];
        for round in 0..5u8 {
            for _ in 0..16 {
                writer.write_all(&block).unwrap();
            }
            writeln!(writer, "end of {round}").unwrap();
            rotate(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        }
        writeln!(writer, "after").unwrap();
        assert_eq!(tail(&path, 5), ["after"]);
        let names: Vec<_> = (1..=4).map(|n| rotated(&path, n).exists()).collect();
        assert_eq!(names, [true, true, true, false]);
        assert!(tail(&rotated(&path, 1), 1)[0].ends_with("end of 4"));
        assert!(tail(&rotated(&path, 3), 1)[0].ends_with("end of 2"));
    }

    #[test]
    fn the_tail_of_a_log_that_is_not_there_is_empty() {
        assert!(tail(Path::new("/nonexistent/log"), 5).is_empty());
    }
}
