//! The lock under which a project's plan is made and carried out: one command at a time per engine and project.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::Failure;

/// How often a waiting command looks whether the lock is free: short against any command, long against its cost.
const POLL: Duration = Duration::from_millis(50);

/// A held lock. It ends with the process, however that ends, because the kernel keeps it.
#[derive(Debug)]
pub struct Lock {
    file: Flock<File>,
    path: PathBuf,
}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another command held it the whole time.
    #[error("another scalectl works on this project: {holder}")]
    Held {
        /// Program and process id of the holder.
        holder: String,
        /// How long this command waited.
        waited: Duration,
    },
    /// The lock file could not be used.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        let failure = Self::failed(error.to_string());
        match error {
            LockError::Held { waited, .. } => failure
                .because(format!(
                    "it held the project's lock for the {:.0} s that this command waited",
                    waited.as_secs_f64()
                ))
                .hint("let it finish or end it, then run this command again"),
            LockError::Io { .. } => failure,
        }
    }
}

impl Lock {
    /// Takes the lock at `path`, waiting at most `patience`; `waiting` is told the holder once, if there is one.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] when the patience ran out, [`LockError::Io`] when the file cannot be used.
    pub async fn acquire(path: &Path, patience: Duration, waiting: impl Fn(&str)) -> Result<Self, LockError> {
        let begin = Instant::now();
        let mut told = false;
        loop {
            match Self::attempt(path)? {
                Ok(lock) => return Ok(lock),
                Err(holder) => {
                    if !told {
                        waiting(&holder);
                        told = true;
                    }
                    if begin.elapsed() >= patience {
                        return Err(LockError::Held { holder, waited: begin.elapsed() });
                    }
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Takes the lock, or says who holds it.
    fn attempt(path: &Path) -> Result<Result<Self, String>, LockError> {
        let error = |source| LockError::Io { path: path.to_owned(), source };
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)
                .map_err(error)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => {
                    // `down` removes the file while it holds it: a lock on a file without a name excludes nobody.
                    let held = locked.metadata().map_err(error)?.ino();
                    if std::fs::metadata(path).map(|now| now.ino()).ok() != Some(held) {
                        continue;
                    }
                    let mut lock = Self { file: locked, path: path.to_owned() };
                    lock.sign().map_err(error)?;
                    return Ok(Ok(lock));
                }
                Err((mut file, Errno::EWOULDBLOCK)) => {
                    let mut holder = String::new();
                    // The name is only for the message; a holder that is just signing leaves it empty.
                    let _ = file.read_to_string(&mut holder);
                    let holder = holder.trim();
                    return Ok(Err(if holder.is_empty() { "its name is not known yet".into() } else { holder.into() }));
                }
                Err((_, errno)) => return Err(error(errno.into())),
            }
        }
    }

    fn sign(&mut self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        // Not the command line: it may hold what is nobody's business, and `ps` shows it to those who may see it.
        write!(self.file, "scalectl (pid {})", std::process::id())
    }

    /// Removes the lock's file, and with it the lock.
    pub fn remove(self) {
        // A file that is gone already is what was wanted.
        let _ = std::fs::remove_file(&self.path);
    }
}
