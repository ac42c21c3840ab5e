//! Virtual environments for the tests of rendered projects.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

/// Where tests keep what is slow to make.
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let root = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    root.join("scalectl-tests")
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A virtual environment from a lock file; made once, as long as the lock file stays the same.
pub fn python_environment(lock_file: &Path) -> PathBuf {
    let version = Command::new("python3").arg("--version").output().unwrap().stdout;
    let key = [fs::read(lock_file).unwrap(), version].concat();
    let folder = cache().join(format!("python-{}", &blake3::hash(&key).to_hex()[..16]));
    fs::create_dir_all(&folder).unwrap();
    let _lock = Flock::lock(File::create(folder.with_extension("lock")).unwrap(), FlockArg::LockExclusive).unwrap();
    let complete = folder.join("complete");
    if !complete.exists() {
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"];
        succeed(Command::new(folder.join("bin/python")).args(pip).arg(lock_file));
        File::create(complete).unwrap();
    }
    folder
}
