//! An adoption onto the disk: `.env` first, then the stack file in one step.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::{Adoption, secrets};
use crate::error::Failure;
use crate::stack::{self, DOT_ENV, FILE_NAME, LoadError, Severity, Source};

/// What version control is not to keep.
const IGNORED: [&str; 2] = [".env", ".scalectl/"];

/// Writes the stack file, what `.env` lacks, and in a repository the lines that `.gitignore` lacks. An existing stack
/// file is replaced.
///
/// # Errors
///
/// When something cannot be written, or the stack is not valid as it stands there; then there is no new stack file.
pub fn write(root: &Path, adoption: &Adoption) -> Result<(), Failure> {
    let failed = |name: &'static str| move |error: io::Error| Failure::failed(format!("cannot write {name}: {error}"));
    if !adoption.added.is_empty() {
        // Before there is a secret in it that version control could take up.
        ignore(root).map_err(failed(".gitignore"))?;
        add_to_env(root, adoption).map_err(failed(DOT_ENV))?;
    }
    let mut file = tempfile::Builder::new()
        .prefix(".scalectl-")
        .suffix(".toml")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(root)
        .map_err(failed(FILE_NAME))?;
    file.write_all(adoption.text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed(FILE_NAME))?;
    let source =
        Source { files: file.path().file_name().map(Into::into).into_iter().collect(), ..Source::directory(root) };
    let stack = stack::load(&source)?;
    let errors = stack::check(&stack).findings.into_iter().filter(|found| found.severity == Severity::Error);
    let problems: Vec<_> = errors.map(|found| found.problem).collect();
    if !problems.is_empty() {
        return Err(LoadError { problems }.into());
    }
    file.persist(root.join(FILE_NAME)).map(drop).map_err(|error| failed(FILE_NAME)(error.error))
}

/// Appends to `.env`, and keeps others from reading it.
fn add_to_env(root: &Path, adoption: &Adoption) -> io::Result<()> {
    let path = root.join(DOT_ENV);
    let old = read_or_empty(&path)?;
    let mut text = if old.is_empty() || old.ends_with('\n') { String::new() } else { "\n".to_owned() };
    for (name, value) in &adoption.added {
        text.push_str(&secrets::line(name, value));
        text.push('\n');
    }
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Adds what is missing to `.gitignore`, where the folder is in a repository.
fn ignore(root: &Path) -> io::Result<()> {
    if !root.ancestors().any(|folder| folder.join(".git").exists()) {
        return Ok(());
    }
    let path = root.join(".gitignore");
    let mut text = read_or_empty(&path)?;
    let has = |text: &str, name: &str| text.lines().any(|line| line.trim().trim_matches('/') == name.trim_matches('/'));
    let missing: Vec<_> = IGNORED.into_iter().filter(|name| !has(&text, name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    missing.iter().for_each(|name| text.push_str(&format!("{name}\n")));
    fs::write(path, text)
}

fn read_or_empty(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}
