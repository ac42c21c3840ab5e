//! The files of a project onto the disk: all of them or none.
//!
//! Everything is written into a temporary folder on the same disk first, so that a full disk, a missing permission or
//! an interrupt finds nothing of the project in place; then it is renamed. A folder of ours that a kill left behind
//! is known by its name and by the lock that nobody holds on it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use super::render::is_env;
use super::{RenderedFile, ScaffoldError};

/// What to do with a folder that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it alone and say so.
    Refuse,
    /// Replace the files that the project has too, keep everything else, and keep the values of an existing `.env`.
    Overwrite,
}

/// Writes `files` as the folder `target`; sets nothing in place once `cancelled` is true.
///
/// # Errors
///
/// When the folder is taken, or reading or writing fails, or it was cancelled. Then the disk is as it was before.
pub fn write(
    files: &[RenderedFile],
    target: &Path,
    existing: Existing,
    cancelled: &AtomicBool,
) -> Result<(), ScaffoldError> {
    let present = inspect(target, existing)?;
    let home = if present { target.to_owned() } else { parent(target)? };
    let staging = Staging::new(&home, target)?;
    for file in files {
        stop_if(cancelled)?;
        let file = if present { keep_env(file, target)? } else { file.clone() };
        write_file(&staging.new_files(), &file)?;
    }
    stop_if(cancelled)?;
    if present { staging.move_into(files, target) } else { staging.become_folder(target) }
}

/// Whether the folder is there; refuses what must not be written over.
fn inspect(target: &Path, existing: Existing) -> Result<bool, ScaffoldError> {
    let entries = match fs::read_dir(target) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(ScaffoldError::NotAFolder { path: target.to_owned() });
        }
        Err(error) => return Err(ScaffoldError::io("read", target)(error)),
    };
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    // A repository that was just made or cloned is as good as empty; so is what a killed `new` left behind.
    names.retain(|name| name != ".git" && !name.starts_with(&prefix(target)));
    names.sort();
    if names.is_empty() || existing == Existing::Overwrite {
        return Ok(true);
    }
    let more = names.len().saturating_sub(4);
    names.truncate(4);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    Err(ScaffoldError::Occupied { path: target.to_owned(), entries: names })
}

fn parent(target: &Path) -> Result<PathBuf, ScaffoldError> {
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    if parent.is_dir() {
        return Ok(parent);
    }
    Err(ScaffoldError::io("write in", parent)(io::Error::new(io::ErrorKind::NotFound, "there is no such folder")))
}

fn stop_if(cancelled: &AtomicBool) -> Result<(), ScaffoldError> {
    if cancelled.load(Ordering::Relaxed) { Err(ScaffoldError::Interrupted) } else { Ok(()) }
}

/// How the temporary folders of a target's name begin.
fn prefix(target: &Path) -> String {
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!(".{name}.scalectl-")
}

/// The temporary folder: `new/` holds the project, `old/` what it replaces. It goes when this is dropped.
struct Staging {
    folder: TempDir,
    _lock: Flock<File>,
}

impl Staging {
    fn new(home: &Path, target: &Path) -> Result<Self, ScaffoldError> {
        let prefix = prefix(target);
        remove_abandoned(home, &prefix);
        let folder = tempfile::Builder::new()
            .prefix(&prefix)
            .rand_bytes(8)
            .tempdir_in(home)
            .map_err(ScaffoldError::io("write in", home))?;
        let lock = lock(folder.path()).map_err(ScaffoldError::io("lock", folder.path()))?;
        for part in ["new", "old"] {
            let path = folder.path().join(part);
            DirBuilder::new().mode(0o755).create(&path).map_err(ScaffoldError::io("create", &path))?;
        }
        Ok(Self { folder, _lock: lock })
    }

    fn new_files(&self) -> PathBuf {
        self.folder.path().join("new")
    }

    /// The project becomes a folder that was not there.
    fn become_folder(self, target: &Path) -> Result<(), ScaffoldError> {
        fs::rename(self.new_files(), target).map_err(|error| match error.kind() {
            // Somebody else was quicker.
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                ScaffoldError::Occupied { path: target.to_owned(), entries: vec!["files of somebody else".to_owned()] }
            }
            io::ErrorKind::NotADirectory => ScaffoldError::NotAFolder { path: target.to_owned() },
            _ => ScaffoldError::io("create", target)(error),
        })
    }

    /// The files go into a folder that is there. What they replace is put aside, and put back when one fails.
    fn move_into(self, files: &[RenderedFile], target: &Path) -> Result<(), ScaffoldError> {
        let mut undo = Vec::new();
        let moved = files.iter().try_for_each(|file| self.place(&file.path, target, &mut undo));
        if moved.is_err() {
            for step in undo.into_iter().rev() {
                // What cannot be undone is not worse than the failure that is reported.
                let _ = match step {
                    Undo::Rename { from, to } => fs::rename(from, to),
                    Undo::RemoveFolder(folder) => fs::remove_dir(folder),
                };
            }
        }
        moved
    }

    fn place(&self, path: &Path, target: &Path, undo: &mut Vec<Undo>) -> Result<(), ScaffoldError> {
        let destination = target.join(path);
        let missing: Vec<&Path> = destination.ancestors().skip(1).take_while(|a| *a != target && !a.exists()).collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(folder).map_err(ScaffoldError::io("create", folder))?;
            undo.push(Undo::RemoveFolder(folder.to_owned()));
        }
        if destination.is_dir() {
            return Err(ScaffoldError::io("replace", &destination)(io::Error::other("it is a folder")));
        }
        if destination.symlink_metadata().is_ok() {
            let aside = self.folder.path().join("old").join(undo.len().to_string());
            fs::rename(&destination, &aside).map_err(ScaffoldError::io("replace", &destination))?;
            undo.push(Undo::Rename { from: aside, to: destination.clone() });
        }
        let source = self.new_files().join(path);
        fs::rename(&source, &destination).map_err(ScaffoldError::io("write", &destination))?;
        undo.push(Undo::Rename { from: destination, to: source });
        Ok(())
    }
}

enum Undo {
    Rename { from: PathBuf, to: PathBuf },
    RemoveFolder(PathBuf),
}

fn lock(folder: &Path) -> io::Result<Flock<File>> {
    Flock::lock(File::open(folder)?, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

/// Removes temporary folders whose `new` was killed: nobody holds their lock.
fn remove_abandoned(home: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(home) else { return };
    for entry in entries.filter_map(Result::ok) {
        let ours = entry.file_name().to_string_lossy().starts_with(prefix);
        if ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) && lock(&entry.path()).is_ok() {
            // It is in nobody's way when it cannot be removed.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn write_file(root: &Path, file: &RenderedFile) -> Result<(), ScaffoldError> {
    let path = root.join(&file.path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(ScaffoldError::io("create", folder))?;
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(file.mode.bits())
        .open(&path)
        .and_then(|mut opened| opened.write_all(&file.bytes))
        .map_err(ScaffoldError::io("write", &path))
}

/// An existing `.env` keeps every line it has; only variables that it lacks are added.
fn keep_env(file: &RenderedFile, target: &Path) -> Result<RenderedFile, ScaffoldError> {
    let path = target.join(&file.path);
    if !is_env(&file.path) || !path.exists() {
        return Ok(file.clone());
    }
    let old = fs::read_to_string(&path).map_err(ScaffoldError::io("read", &path))?;
    let new = String::from_utf8_lossy(&file.bytes);
    Ok(RenderedFile { bytes: merge_env(&old, &new).into_bytes(), ..file.clone() })
}

fn merge_env(old: &str, new: &str) -> String {
    let variable = |line: &str| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        line.split_once('=').filter(|_| !line.starts_with('#')).map(|(name, _)| name.trim().to_owned())
    };
    let present: Vec<String> = old.lines().filter_map(variable).collect();
    let mut merged = old.to_owned();
    for line in new.lines().filter(|line| variable(line).is_some_and(|name| !present.contains(&name))) {
        if !merged.is_empty() && !merged.ends_with('\n') {
            merged.push('\n');
        }
        merged.push_str(line);
        merged.push('\n');
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::scaffold::Mode;

    fn file(path: &str, text: &str, mode: Mode) -> RenderedFile {
        RenderedFile { path: path.into(), bytes: text.into(), mode }
    }

    fn project() -> Vec<RenderedFile> {
        vec![
            file(".env", "A=new\nB=new\n", Mode::Secret),
            file("app/deep/main.py", "new", Mode::Plain),
            file("run", "#!/bin/sh\n", Mode::Executable),
        ]
    }

    fn put(files: &[RenderedFile], target: &Path, existing: Existing) -> Result<(), ScaffoldError> {
        write(files, target, existing, &AtomicBool::new(false))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_folder_has_all_files_with_their_modes_and_nothing_else_is_left() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("shop");
        put(&project(), &target, Existing::Refuse).unwrap();
        assert_eq!(names(home.path()), ["shop"]);
        assert_eq!(names(&target), [".env", "app", "run"]);
        assert_eq!(mode(&target.join(".env")), 0o600);
        assert_eq!(mode(&target.join("run")) & 0o100, 0o100);
        assert_eq!(mode(&target.join("app/deep/main.py")) & 0o111, 0);
        assert_eq!(mode(&target) & 0o700, 0o700);
    }

    #[test]
    fn a_folder_with_files_is_refused_unless_forced() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("mine"), "mine").unwrap();
        let error = put(&project(), home.path(), Existing::Refuse).unwrap_err();
        assert!(matches!(error, ScaffoldError::Occupied { ref entries, .. } if entries == &["mine"]), "{error:?}");
        assert_eq!(names(home.path()), ["mine"]);
    }

    #[test]
    fn force_replaces_only_its_files_and_keeps_the_secrets() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("mine"), "mine").unwrap();
        fs::write(home.path().join("run"), "old").unwrap();
        fs::write(home.path().join(".env"), "# mine\nA=old").unwrap();
        put(&project(), home.path(), Existing::Overwrite).unwrap();
        let read = |path: &str| fs::read_to_string(home.path().join(path)).unwrap();
        assert_eq!(read("mine"), "mine");
        assert_eq!(read("run"), "#!/bin/sh\n");
        assert_eq!(read(".env"), "# mine\nA=old\nB=new\n");
        assert_eq!(mode(&home.path().join(".env")), 0o600);
        assert_eq!(names(home.path()), [".env", "app", "mine", "run"]);
    }

    #[test]
    fn what_was_replaced_comes_back_when_a_later_file_fails() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(".env"), "A=old\n").unwrap();
        // `run` is a folder, so the last file cannot take its place.
        fs::create_dir(home.path().join("run")).unwrap();
        let error = put(&project(), home.path(), Existing::Overwrite).unwrap_err();
        assert!(error.to_string().starts_with("cannot replace"), "{error}");
        assert_eq!(names(home.path()), [".env", "run"]);
        assert_eq!(fs::read_to_string(home.path().join(".env")).unwrap(), "A=old\n");
    }

    #[test]
    fn an_empty_folder_and_a_fresh_repository_are_filled() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".git")).unwrap();
        put(&project(), home.path(), Existing::Refuse).unwrap();
        assert_eq!(names(home.path()), [".env", ".git", "app", "run"]);
    }

    #[test]
    fn a_cancelled_write_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let error = write(&project(), &home.path().join("shop"), Existing::Refuse, &AtomicBool::new(true)).unwrap_err();
        assert!(matches!(error, ScaffoldError::Interrupted));
        assert!(names(home.path()).is_empty());
    }

    #[test]
    fn an_abandoned_folder_is_removed_and_a_living_one_is_not() {
        let home = tempfile::tempdir().unwrap();
        let abandoned = home.path().join(".shop.scalectl-dead");
        let living = home.path().join(".shop.scalectl-alive");
        let other = home.path().join(".shop2.scalectl-dead");
        for folder in [&abandoned, &living, &other] {
            fs::create_dir(folder).unwrap();
        }
        let held = lock(&living).unwrap();
        put(&project(), &home.path().join("shop"), Existing::Refuse).unwrap();
        assert_eq!(names(home.path()), [".shop.scalectl-alive", ".shop2.scalectl-dead", "shop"]);
        drop(held);
    }

    #[test]
    fn a_file_in_the_way_and_a_missing_parent_are_named() {
        let home = tempfile::tempdir().unwrap();
        let taken = home.path().join("shop");
        fs::write(&taken, "").unwrap();
        assert!(matches!(put(&project(), &taken, Existing::Overwrite), Err(ScaffoldError::NotAFolder { .. })));
        let error = put(&project(), &home.path().join("no/shop"), Existing::Refuse).unwrap_err();
        assert!(error.to_string().starts_with("cannot write in"), "{error}");
    }
}
