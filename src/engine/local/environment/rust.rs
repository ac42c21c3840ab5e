//! `runtime = "rust"`: the binaries of a release build.
//!
//! Builds of one source share a target folder in the cache, so that an edit compiles only what it changed. The
//! binaries are copied from there to an environment of their own: replicas of the version before keep running theirs,
//! and restart as what they were.

use std::fs;
use std::path::{Path, PathBuf};

use super::build::{self, Builder};
use super::{EnvironmentError, Host, key, python};

const LOCK_FILE: &str = "Cargo.lock";
const NO_CARGO: EnvironmentError = EnvironmentError::NoProgram { program: "cargo", runtime: "rust" };

/// Would put the binaries elsewhere.
const REMOVED: &[&str] = &["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "CARGO_BUILD_TARGET"];

#[derive(Debug, Clone)]
pub(super) struct Recipe {
    source: PathBuf,
    target: PathBuf,
}

pub(super) fn recipe(source: &Path, source_hash: &str, host: &Host) -> Result<(Recipe, String), EnvironmentError> {
    let lock = source.join(LOCK_FILE);
    if !lock.is_file() {
        return Err(EnvironmentError::NoLockFile(lock));
    }
    let cargo = host.program("cargo").ok_or(NO_CARGO)?;
    // In the source's folder, where rustup looks for the toolchain that the source asks for.
    let about = build::ask(&cargo, &["version", "--verbose"], source, REMOVED).map_err(|_| NO_CARGO)?;
    let source = fs::canonicalize(source).map_err(EnvironmentError::io("find", source))?;
    let place = key("rust-target", &[("source", source.as_os_str().as_encoded_bytes())]);
    let key = key("rust", &[("source", source_hash.as_bytes()), ("cargo", about.as_bytes())]);
    Ok((Recipe { source, target: host.cache.join(place) }, key))
}

pub(super) fn environment(folder: &Path) -> python::Parts {
    (vec![folder.join("bin")], Vec::new(), &[])
}

impl Recipe {
    pub(super) fn build(&self, builder: &Builder<'_>, host: &Host) -> Result<(), EnvironmentError> {
        let cargo = host.program("cargo").ok_or(NO_CARGO)?;
        let mut command = builder.command(&cargo, REMOVED)?;
        command.args(["build", "--release", "--locked", "--message-format", "json-render-diagnostics"]);
        command.env("CARGO_TARGET_DIR", &self.target).current_dir(&self.source);
        let mut binaries = Vec::new();
        builder.run_with(command, |line| Some(artifact(line, &mut binaries)))?;
        let bin = builder.folder.join("bin");
        fs::create_dir_all(&bin).map_err(EnvironmentError::io("create", &bin))?;
        for binary in binaries {
            let copy = bin.join(binary.file_name().unwrap_or_default());
            fs::copy(&binary, &copy).map_err(EnvironmentError::io("write", copy))?;
        }
        Ok(())
    }
}

/// Collects the binary that a message of cargo names. Messages are not for people: shown is nothing (diagnostics come
/// on standard error), but what is no message is passed on.
fn artifact(line: &str, binaries: &mut Vec<PathBuf>) -> String {
    let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { return line.to_owned() };
    if message["reason"] == "compiler-artifact" {
        binaries.extend(message["executable"].as_str().map(PathBuf::from));
    }
    String::new()
}
