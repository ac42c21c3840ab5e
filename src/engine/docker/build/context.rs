//! The build context: the files of the source as a tar archive, made while it is sent.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::poll_fn;
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinHandle;

use crate::engine::source::{self, Entry, Kind, SourceError};

/// Bytes of one piece of the archive.
const PIECE: usize = 64 << 10;
/// Pieces that may wait to be sent: the whole context is never in memory.
const WAITING: usize = 16;
/// The time of every file. Times do not belong to the source. This is the earliest that ZIP archives can hold, and
/// Python packages are ones: with 0 some builds fail.
const TIME: u64 = 315_532_800;
/// The Dockerfile's name in the archive where it is outside of the context.
const OUTSIDE: &str = ".scalectl.Dockerfile";

/// The Dockerfile's name in the archive.
pub fn name(dockerfile: &Path) -> PathBuf {
    let plain: PathBuf = dockerfile.components().filter(|part| *part != Component::CurDir).collect();
    let inside = plain.components().all(|part| matches!(part, Component::Normal(_)));
    if inside { plain } else { PathBuf::from(OUTSIDE) }
}

/// The archive of `root`, and how reading it went. Dropping the archive ends the reading.
pub fn archive(
    root: &Path,
    dockerfile: &Path,
) -> (impl Stream<Item = io::Result<Bytes>> + Send + 'static, JoinHandle<Result<(), SourceError>>) {
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let (root, dockerfile) = (root.to_owned(), dockerfile.to_owned());
    let reading = tokio::task::spawn_blocking(move || {
        let result = write(&root, &dockerfile, Pieces { sender: sender.clone(), piece: Vec::with_capacity(PIECE) });
        if let Err(error) = &result {
            // An archive that just ends would be taken for a whole one.
            let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
        }
        result
    });
    (poll_fn(move |context| receiver.poll_recv(context)), reading)
}

fn write(root: &Path, dockerfile: &Path, pieces: Pieces) -> Result<(), SourceError> {
    let mut archive = Builder::new(pieces);
    for entry in source::entries(root, dockerfile)? {
        let path = root.join(&entry.path);
        append(&mut archive, &path, &entry, dockerfile).map_err(|source| SourceError::Unreadable { path, source })?;
    }
    let end = archive.into_inner().and_then(|mut pieces| pieces.flush());
    end.map_err(|source| SourceError::Unreadable { path: root.to_owned(), source })
}

fn append(archive: &mut Builder<Pieces>, path: &Path, entry: &Entry, dockerfile: &Path) -> io::Result<()> {
    let is_dockerfile = entry.path.components().eq(dockerfile.components().filter(|part| *part != Component::CurDir));
    let name = if is_dockerfile { name(dockerfile) } else { entry.path.clone() };
    match &entry.kind {
        Kind::Folder => archive.append_data(&mut header(EntryType::Directory, 0o755, 0), name, io::empty()),
        Kind::Link { target } => archive.append_link(&mut header(EntryType::Symlink, 0o777, 0), name, target),
        Kind::File { executable } => {
            let file = match File::open(path) {
                Ok(file) => file,
                // Gone since the folder was read: it does not belong to the source any more.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            let size = file.metadata()?.len();
            let mode = if *executable { 0o755 } else { 0o644 };
            archive.append_data(&mut header(EntryType::Regular, mode, size), name, Exact { file, left: size })
        }
    }
}

/// Owner root, and nothing that differs from one machine to the next.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(TIME);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// As many bytes as the header promised: a file may grow or shrink while it is read.
struct Exact {
    file: File,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&mut self.file).take(self.left).read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other("it became shorter while it was read"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Collects what is written into pieces, and sends them.
struct Pieces {
    sender: Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use futures_util::StreamExt;

    use super::*;

    async fn archived(root: &Path, dockerfile: &str) -> (Vec<u8>, Result<(), SourceError>) {
        let (archive, reading) = archive(root, Path::new(dockerfile));
        let mut bytes = Vec::new();
        let mut archive = std::pin::pin!(archive);
        while let Some(piece) = archive.next().await {
            bytes.extend_from_slice(&piece.unwrap_or_default());
        }
        (bytes, reading.await.unwrap())
    }

    fn listed(archive: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(Result::unwrap);
        let line = |entry: tar::Entry<&[u8]>| {
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.mtime().unwrap()), (0, TIME));
            format!("{:o} {} {}", header.mode().unwrap(), entry.path().unwrap().display(), header.size().unwrap())
        };
        entries.map(line).collect()
    }

    #[tokio::test]
    async fn an_archive_has_what_the_ignore_file_leaves_and_depends_on_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| fs::write(root.path().join(path), text).unwrap();
        fs::create_dir(root.path().join("app")).unwrap();
        write("app/main.py", "print()");
        write("run.sh", "");
        fs::set_permissions(root.path().join("run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
        write("secret.txt", "");
        write(".env", "A=1");
        write(".dockerignore", "*.txt\nDockerfile\n");
        write("Dockerfile", "FROM scratch");
        symlink("app", root.path().join("link")).unwrap();
        let (first, result) = archived(root.path(), "./Dockerfile").await;
        result.unwrap();
        assert_eq!(
            listed(&first),
            [
                "644 .dockerignore 17",
                "644 Dockerfile 12",
                "755 app 0",
                "644 app/main.py 7",
                "777 link 0",
                "755 run.sh 0"
            ]
        );
        File::open(root.path().join("run.sh")).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
        assert_eq!(archived(root.path(), "Dockerfile").await.0, first);
    }

    #[tokio::test]
    async fn a_dockerfile_from_outside_gets_a_name_inside() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("context")).unwrap();
        fs::write(root.path().join("Dockerfile"), "FROM scratch").unwrap();
        let (bytes, result) = archived(&root.path().join("context"), "../Dockerfile").await;
        result.unwrap();
        assert_eq!(listed(&bytes), [format!("644 {OUTSIDE} 12")]);
        assert_eq!(name(Path::new("../Dockerfile")), Path::new(OUTSIDE));
        assert_eq!(name(Path::new("./docker/./api.Dockerfile")), Path::new("docker/api.Dockerfile"));
    }

    #[tokio::test]
    async fn a_source_that_cannot_be_read_ends_the_archive_with_an_error() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(".dockerignore"), "[").unwrap();
        let (archive, reading) = archive(root.path(), Path::new("Dockerfile"));
        let pieces: Vec<_> = archive.collect().await;
        assert!(pieces.last().unwrap().is_err());
        assert!(matches!(reading.await.unwrap(), Err(SourceError::Pattern { .. })));
    }

    #[tokio::test]
    async fn dropping_the_archive_ends_the_reading() {
        let root = tempfile::tempdir().unwrap();
        File::create(root.path().join("big")).unwrap().set_len(1 << 30).unwrap();
        let (archive, reading) = archive(root.path(), Path::new("Dockerfile"));
        let mut archive = Box::pin(archive);
        assert!(archive.next().await.unwrap().is_ok());
        drop(archive);
        assert!(reading.await.unwrap().is_err());
    }
}
