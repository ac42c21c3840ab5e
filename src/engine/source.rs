//! What a service is built from: the files of its build folder, and their hash.
//!
//! The same files are hashed on every engine and sent as the build context, so "changed" means the same everywhere:
//! path, executable bit and bytes of each file, target of each symbolic link. Times, owners and empty folders do not
//! count. What does not belong to the source:
//!
//! - what `.dockerignore` excludes (`Dockerfile.dockerignore` goes before it, as with BuildKit);
//! - secrets and our own state, whatever `.dockerignore` says: `.env`, `.env.*` but `.env.example`, `.scalectl`, `.git`;
//! - `scalectl.toml`: what of it concerns a replica is in the replica's own fingerprint, and the rest (the number of
//!   replicas, objectives, loads) is no reason to build or replace anything;
//! - what running or testing the program leaves behind, or the next `up` would see a change that nobody made:
//!   `__pycache__`, `*.pyc`, `.venv`, `node_modules`, and every folder with a `CACHEDIR.TAG` (cargo's `target`,
//!   `.pytest_cache`, `.mypy_cache`, `.ruff_cache`), see <https://bford.info/cachedir/>.
//!
//! The Dockerfile always belongs to it.

pub mod ignore;

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use ignore::{Ignore, PatternError};

/// Folders and files that never belong to the source, at any depth.
pub const NEVER: [&str; 7] = [".git", ".scalectl", "scalectl.toml", ".env", "__pycache__", ".venv", "node_modules"];

/// First bytes of a `CACHEDIR.TAG`.
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Raised when what is hashed, or how, changes: otherwise equal sources would differ between versions unnoticed.
const FORMAT: &[u8] = b"scalectl source 1\0";

/// Why a build folder could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or folder that is there but cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A pattern of `.dockerignore` that Docker would refuse as well.
    #[error("{}: {source}", path.display())]
    Pattern {
        /// The ignore file.
        path: PathBuf,
        /// Line and reason.
        source: PatternError,
    },
}

impl SourceError {
    fn unreadable(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Unreadable { path: path.into(), source }
    }
}

impl From<SourceError> for crate::error::Failure {
    fn from(error: SourceError) -> Self {
        let failure = Self::failed(error.to_string());
        match error {
            SourceError::Unreadable { source, .. } => failure
                .because(source.to_string())
                .hint("make it readable, or exclude it in .dockerignore if it is not part of the source"),
            SourceError::Pattern { .. } => failure.hint("correct the line; Docker would refuse it too"),
        }
    }
}

/// Digest of a build folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceHash(blake3::Hash);

impl fmt::Display for SourceHash {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_hex())
    }
}

/// One file, link or folder of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the build folder.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// What an [`Entry`] is. Sockets, pipes and devices are left out, as Docker does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link; it is not followed.
    Link {
        /// What it points to, as written.
        target: PathBuf,
    },
    /// A folder, for a build context; it does not count for the hash.
    Folder,
}

/// What belongs to the source in `root`, sorted by path. `dockerfile` is relative to `root`; it may be missing.
///
/// What vanishes meanwhile is left out.
///
/// # Errors
/// What cannot be read, or an invalid ignore file.
pub fn entries(root: &Path, dockerfile: &Path) -> Result<Vec<Entry>, SourceError> {
    let dockerfile = dockerfile.strip_prefix(".").unwrap_or(dockerfile);
    let ignore = read_ignore(root, dockerfile)?;
    let mut entries = Vec::new();
    let walk = WalkDir::new(root).min_depth(1).into_iter();
    for found in walk.filter_entry(|entry| is_walked(entry, root, &ignore)) {
        let found = match found {
            Ok(found) => found,
            Err(error) if is_gone(error.io_error()) && error.depth() > 0 => continue,
            Err(error) => return Err(walk_error(root, error)),
        };
        let Ok(path) = found.path().strip_prefix(root) else { continue };
        if path != dockerfile && ignore.excludes(&ignore::text(path)) {
            continue;
        }
        if let Some(kind) = kind(&found)? {
            entries.push(Entry { path: path.to_owned(), kind });
        }
    }
    add_dockerfile(root, dockerfile, &mut entries)?;
    entries.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
    Ok(entries)
}

/// The hash of the source in `root`. `dockerfile` is relative to `root`; it may be missing.
///
/// # Errors
/// What cannot be read, or an invalid ignore file.
pub fn hash(root: &Path, dockerfile: &Path) -> Result<SourceHash, SourceError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(FORMAT);
    let mut buffer = Vec::new();
    for entry in entries(root, dockerfile)? {
        let path = entry.path.as_os_str().as_bytes();
        match entry.kind {
            Kind::Folder => {}
            Kind::Link { target } => {
                field(&mut hasher, b"link");
                field(&mut hasher, path);
                field(&mut hasher, target.as_os_str().as_bytes());
            }
            Kind::File { executable } => {
                let whole = root.join(&entry.path);
                buffer.clear();
                match File::open(&whole).and_then(|mut file| file.read_to_end(&mut buffer)) {
                    Ok(_) => {}
                    Err(error) if is_gone(Some(&error)) => continue,
                    Err(error) => return Err(SourceError::unreadable(whole, error)),
                }
                field(&mut hasher, if executable { b"executable" } else { b"file" });
                field(&mut hasher, path);
                field(&mut hasher, &buffer);
            }
        }
    }
    Ok(SourceHash(hasher.finalize()))
}

/// Length and bytes, so that no two lists of fields are the same bytes.
fn field(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn read_ignore(root: &Path, dockerfile: &Path) -> Result<Ignore, SourceError> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    for path in [root.join(own), root.join(".dockerignore")] {
        match fs::read(&path) {
            Ok(bytes) => {
                return Ignore::parse(&String::from_utf8_lossy(&bytes))
                    .map_err(|source| SourceError::Pattern { path, source });
            }
            Err(error) if is_gone(Some(&error)) => {}
            Err(error) => return Err(SourceError::unreadable(path, error)),
        }
    }
    Ok(Ignore::default())
}

/// Whether the walk takes an entry up (a folder: goes into it).
fn is_walked(entry: &DirEntry, root: &Path, ignore: &Ignore) -> bool {
    if entry.depth() == 0 {
        return true;
    }
    if is_never(entry.file_name()) {
        return false;
    }
    if !entry.file_type().is_dir() {
        return true;
    }
    let Ok(path) = entry.path().strip_prefix(root) else { return false };
    let path = ignore::text(path);
    (!ignore.excludes(&path) || ignore.may_bring_back_below(&path)) && !is_cache(entry.path())
}

fn is_never(name: &OsStr) -> bool {
    let name = name.as_bytes();
    NEVER.iter().any(|never| never.as_bytes() == name)
        || name.starts_with(b".env.") && name != b".env.example"
        || name.ends_with(b".pyc")
}

fn is_cache(folder: &Path) -> bool {
    let mut start = [0; CACHE_TAG.len()];
    File::open(folder.join("CACHEDIR.TAG")).and_then(|mut tag| tag.read_exact(&mut start)).is_ok()
        && start == *CACHE_TAG
}

/// `None` for what is neither file, link nor folder, or is gone.
fn kind(found: &DirEntry) -> Result<Option<Kind>, SourceError> {
    let file_type = found.file_type();
    if file_type.is_dir() {
        return Ok(Some(Kind::Folder));
    }
    if file_type.is_symlink() {
        return present(found.path(), fs::read_link(found.path())).map(|t| t.map(|target| Kind::Link { target }));
    }
    if !file_type.is_file() {
        return Ok(None);
    }
    present(found.path(), fs::symlink_metadata(found.path())).map(|m| m.map(|m| file_kind(&m)))
}

fn file_kind(metadata: &fs::Metadata) -> Kind {
    Kind::File { executable: metadata.permissions().mode() & 0o100 != 0 }
}

/// The Dockerfile where the walk did not meet it: excluded with its folder, or outside the build folder.
fn add_dockerfile(root: &Path, dockerfile: &Path, entries: &mut Vec<Entry>) -> Result<(), SourceError> {
    if entries.iter().any(|entry| entry.path == dockerfile) {
        return Ok(());
    }
    let path = root.join(dockerfile);
    if let Some(metadata) = present(&path, fs::metadata(&path))?.filter(fs::Metadata::is_file) {
        entries.push(Entry { path: dockerfile.to_owned(), kind: file_kind(&metadata) });
    }
    Ok(())
}

fn present<T>(path: &Path, result: io::Result<T>) -> Result<Option<T>, SourceError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_gone(Some(&error)) => Ok(None),
        Err(error) => Err(SourceError::unreadable(path, error)),
    }
}

fn is_gone(error: Option<&io::Error>) -> bool {
    error.is_some_and(|e| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
}

fn walk_error(root: &Path, error: walkdir::Error) -> SourceError {
    let path = error.path().unwrap_or(root).to_owned();
    SourceError::unreadable(path, error.into_io_error().unwrap_or_else(|| io::Error::other("a loop of links")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn with(files: &[(&str, &str)]) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            for (path, text) in files {
                folder.write(path, text);
            }
            folder
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn write(&self, path: &str, text: &str) {
            fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
            fs::write(self.path(path), text).unwrap();
        }

        fn hash(&self) -> SourceHash {
            hash(self.0.path(), Path::new("Dockerfile")).unwrap()
        }

        fn files(&self) -> Vec<String> {
            let entries = entries(self.0.path(), Path::new("Dockerfile")).unwrap();
            entries.iter().filter(|e| e.kind != Kind::Folder).map(|e| e.path.display().to_string()).collect()
        }
    }

    #[test]
    fn path_bytes_mode_and_link_target_change_the_hash() {
        let folder = Folder::with(&[("app/main.py", "print(1)"), ("run.sh", "exec app")]);
        symlink("app/main.py", folder.path("main")).unwrap();
        let mut seen = vec![folder.hash()];
        let mut differs = |what: &str| {
            let now = folder.hash();
            assert!(!seen.contains(&now), "{what} did not change the hash");
            seen.push(now);
        };
        folder.write("app/main.py", "print(2)");
        differs("bytes");
        fs::rename(folder.path("app/main.py"), folder.path("app/other.py")).unwrap();
        differs("a path");
        fs::set_permissions(folder.path("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        differs("the executable bit");
        fs::remove_file(folder.path("main")).unwrap();
        symlink("app/other.py", folder.path("main")).unwrap();
        differs("a link's target");
        folder.write("Dockerfile", "FROM scratch");
        differs("the Dockerfile");
        fs::remove_file(folder.path("run.sh")).unwrap();
        differs("a file less");
    }

    #[test]
    fn times_empty_folders_secrets_and_leftovers_do_not_change_the_hash() {
        let folder = Folder::with(&[("app/main.py", "print(1)"), (".env.example", "A=")]);
        let before = folder.hash();
        folder.write("app/main.py", "print(1)");
        File::open(folder.path("app/main.py")).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        fs::create_dir(folder.path("empty")).unwrap();
        for path in [
            ".env",
            ".env.local",
            "app/.env",
            ".git/HEAD",
            ".scalectl/x",
            "app/__pycache__/main.cpython-311.pyc",
            "old.pyc",
            ".venv/bin/python",
            "node_modules/x/index.js",
        ] {
            folder.write(path, "x");
        }
        folder.write("target/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# cargo");
        folder.write("target/release/app", "binary");
        assert_eq!(folder.hash(), before);
        assert_eq!(folder.files(), [".env.example", "app/main.py"]);
    }

    #[test]
    fn the_ignore_file_decides_and_the_dockerfile_stays() {
        let folder = Folder::with(&[
            (".dockerignore", "*\n!app\napp/*.log\n"),
            ("Dockerfile", "FROM scratch"),
            ("app/main.py", ""),
            ("app/x.log", ""),
            ("notes/deep/n.txt", ""),
        ]);
        assert_eq!(folder.files(), ["Dockerfile", "app/main.py"]);
        let before = folder.hash();
        folder.write("notes/deep/n.txt", "changed");
        folder.write("app/x.log", "changed");
        assert_eq!(folder.hash(), before);
        folder.write("Dockerfile.dockerignore", "app\nnotes\n*ignore\n");
        assert_eq!(folder.files(), ["Dockerfile"]);
    }

    #[test]
    fn an_ignore_file_that_is_wrong_is_named_with_its_line() {
        let folder = Folder::with(&[(".dockerignore", "a\n[\n")]);
        let error = hash(folder.0.path(), Path::new("Dockerfile")).unwrap_err().to_string();
        assert!(error.contains(".dockerignore: line 2: \"[\" is not a valid pattern"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = hash(Path::new("/nonexistent/app"), Path::new("Dockerfile")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent/app");
        // A link that loops is a link, not an error; a folder in a file's place is one.
        let folder = Folder::with(&[(".dockerignore/x", "")]);
        symlink("loop", folder.path("loop")).unwrap();
        let error = hash(folder.0.path(), Path::new("Dockerfile")).unwrap_err();
        assert!(error.to_string().ends_with(".dockerignore"), "{error}");
    }

    #[test]
    fn files_that_come_and_go_meanwhile_are_no_error() {
        let folder = Folder::with(&[("stays", "x")]);
        let root = folder.0.path().to_owned();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let churn = {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    fs::create_dir_all(root.join("d/e")).unwrap();
                    fs::write(root.join("d/e/f"), "x").unwrap();
                    fs::remove_dir_all(root.join("d")).unwrap();
                }
            })
        };
        for _ in 0..300 {
            folder.hash();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        churn.join().unwrap();
        assert_eq!(folder.files(), ["stays"]);
    }
}
