//! Where the local engine keeps what: sockets and secrets in the user's run-time folder, logs and data in the project.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::engine::{Identity, ReplicaId};
use crate::units::Name;

/// A socket's path has room for 108 bytes on Linux and 104 on macOS, the ending zero included.
const SOCKET_PATH_MAX: usize = 103;

/// The files and folders of one project on this machine.
#[derive(Debug, Clone)]
pub struct Places {
    /// The project's name in the run-time folder: a hash, so that its length is known.
    key: String,
    runtime: PathBuf,
    root: PathBuf,
}

impl Places {
    /// The places of a project; makes the run-time folder, private to the user.
    ///
    /// The key depends on the name alone: the same name from another folder must meet the same supervisor and be refused.
    ///
    /// # Errors
    ///
    /// When no run-time folder of our own can be had.
    pub fn of(identity: &Identity) -> io::Result<Self> {
        let key = blake3::hash(identity.project.as_str().as_bytes()).to_hex()[..16].to_owned();
        Ok(Self { key, runtime: runtime_folder()?, root: identity.root.clone() })
    }

    /// The supervisor's socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join(format!("{}.sock", self.key))
    }

    /// The lock under which commands plan.
    pub fn lock(&self) -> PathBuf {
        self.runtime.join(format!("{}.lock", self.key))
    }

    /// The lock under which commands plan for an engine at this address.
    pub fn lock_of(&self, address: &str) -> PathBuf {
        let engine = blake3::hash(address.as_bytes()).to_hex();
        self.runtime.join(format!("{}-{}.lock", self.key, &engine[..8]))
    }

    /// The lock that the supervisor holds as long as it lives.
    pub fn supervisor_lock(&self) -> PathBuf {
        self.runtime.join(format!("{}.supervisor", self.key))
    }

    /// The folder of one process's secret files.
    pub fn secrets(&self, process: &str) -> PathBuf {
        self.all_secrets().join(process)
    }

    /// The folder of all secret files.
    pub fn all_secrets(&self) -> PathBuf {
        self.runtime.join(format!("{}.secrets", self.key))
    }

    /// The project's own folder for logs and data.
    pub fn state(&self) -> PathBuf {
        self.root.join(".scalectl")
    }

    /// The folder of logs.
    pub fn logs(&self) -> PathBuf {
        self.state().join("logs")
    }

    /// A replica's log.
    pub fn replica_log(&self, replica: &ReplicaId) -> PathBuf {
        self.logs().join(format!("{replica}.log"))
    }

    /// A job's log.
    pub fn job_log(&self, job: &Name) -> PathBuf {
        self.logs().join(format!("job-{job}.log"))
    }

    /// The supervisor's own log.
    pub fn supervisor_log(&self) -> PathBuf {
        self.logs().join("supervisor.log")
    }

    /// The folder of volumes.
    pub fn volumes(&self) -> PathBuf {
        self.state().join("volumes")
    }

    /// A backing service's data.
    pub fn volume(&self, backing: &Name) -> PathBuf {
        self.volumes().join(backing.as_str())
    }

    /// The key of the project's keyed digests; made on first use, readable by its user alone.
    ///
    /// # Errors
    ///
    /// When it cannot be read or written.
    pub fn digest_key(&self) -> io::Result<[u8; 32]> {
        let path = self.state().join("digest.key");
        loop {
            if let Ok(bytes) = fs::read(&path)
                && let Ok(key) = <[u8; 32]>::try_from(bytes.as_slice())
            {
                return Ok(key);
            }
            make_state_folder(&self.state())?;
            let mut file = private_file(&self.state())?;
            io::Write::write_all(&mut file, &rand::random::<[u8; 32]>())?;
            // Of two commands that make it at once, the first one's is everybody's; a damaged one is replaced.
            match file.persist_noclobber(&path) {
                Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => {
                    if fs::metadata(&path)?.len() != 32 {
                        fs::remove_file(&path)?;
                    }
                }
                other => drop(other.map_err(|e| e.error)?),
            }
        }
    }
}

/// The folder for sockets: `$XDG_RUNTIME_DIR/scalectl`, or one of our own in the temporary folder.
fn runtime_folder() -> io::Result<PathBuf> {
    let uid = nix::unistd::getuid();
    let chosen = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("scalectl"));
    let fits = |dir: &PathBuf| dir.is_absolute() && dir.as_os_str().len() + 22 <= SOCKET_PATH_MAX;
    let folder = chosen
        .filter(|dir| fits(dir) && dir.parent().is_some_and(Path::is_dir))
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/scalectl-{uid}")));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let meta = fs::symlink_metadata(&folder)?;
    if !meta.is_dir() || meta.uid() != uid.as_raw() || meta.permissions().mode() & 0o077 != 0 {
        let text = format!("{} is not a private folder of this user; set XDG_RUNTIME_DIR to one", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(folder)
}

/// Makes `.scalectl`, which ignores itself in git.
///
/// # Errors
///
/// When the folder cannot be written.
pub fn make_state_folder(state: &Path) -> io::Result<()> {
    // Logs and data are their user's alone.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state)?;
    let ignore = state.join(".gitignore");
    if !ignore.exists() {
        fs::write(ignore, "*\n")?;
    }
    Ok(())
}

fn private_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(".scalectl-").permissions(fs::Permissions::from_mode(0o600)).tempfile_in(folder)
}

/// Writes a file that only its user reads, so that it is there whole or not at all.
///
/// # Errors
///
/// When the folder cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = private_file(folder)?;
    io::Write::write_all(&mut file, bytes)?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}
