//! Keeps values on disk that only the end of a run needs, so that its memory does not grow with its length.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek as _, Write as _};
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Values in the order in which they were added: on disk, in a file without a name, as far as the system lets it.
pub struct Spool<T> {
    file: Option<File>,
    /// Whether the disk has refused a value: what follows half a line could not be told from it.
    is_full: bool,
    /// Those that found no place on disk.
    rest: Vec<T>,
    kept: PhantomData<T>,
}

impl<T> Default for Spool<T> {
    fn default() -> Self {
        Self { file: tempfile::tempfile().ok(), is_full: false, rest: Vec::new(), kept: PhantomData }
    }
}

impl<T> fmt::Debug for Spool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("in_memory", &self.rest.len()).finish_non_exhaustive()
    }
}

impl<T: Serialize + DeserializeOwned> Spool<T> {
    /// Adds a value.
    pub fn add(&mut self, value: T) {
        self.is_full |= self.file.as_mut().is_none_or(|file| append(file, &value).is_err());
        if self.is_full {
            self.rest.push(value);
        }
    }

    /// All values, in the order in which they were added.
    pub fn finish(self) -> Vec<T> {
        let mut values = self.file.and_then(|file| read(file).ok()).unwrap_or_default();
        values.extend(self.rest);
        values
    }
}

fn append<T: Serialize>(file: &mut File, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    file.write_all(&line)
}

fn read<T: DeserializeOwned>(mut file: File) -> io::Result<Vec<T>> {
    file.rewind()?;
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    Ok(lines.filter_map(|line| serde_json::from_str(&line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_comes_back_with_a_disk_and_without() {
        let mut on_disk = Spool::<u64>::default();
        assert!(on_disk.file.is_some());
        let mut in_memory = Spool { file: None, ..Spool::default() };
        for value in 0..1000 {
            on_disk.add(value);
            in_memory.add(value);
        }
        assert!(on_disk.rest.is_empty());
        assert_eq!(on_disk.finish(), (0..1000).collect::<Vec<_>>());
        assert_eq!(in_memory.finish(), (0..1000).collect::<Vec<_>>());
    }

    /// A file that cannot be written to stands for a full disk.
    #[test]
    fn what_the_disk_refuses_is_kept() {
        let mut spool = Spool { file: Some(File::open("/dev/null").unwrap()), ..Spool::<u64>::default() };
        spool.add(2);
        spool.add(3);
        assert_eq!(spool.rest, [2, 3]);
        assert_eq!(spool.finish(), [2, 3]);
    }

    #[test]
    fn half_a_line_is_no_value() {
        let mut spool = Spool::<u64>::default();
        spool.add(1);
        spool.file.as_mut().unwrap().write_all(b"[12").unwrap();
        assert_eq!(spool.finish(), [1]);
    }
}
