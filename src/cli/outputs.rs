//! Where results go: checked before there is anything to write, written whatever becomes of the others.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::Failure;
use crate::report::Output;

/// Says whether every file can be written, before the work whose result is to go there. Files keep what is in them, and
/// none is left behind.
///
/// # Errors
///
/// A file cannot be written.
pub(super) fn check(outputs: &[Output]) -> Result<(), Failure> {
    outputs.iter().filter_map(|output| output.file.as_deref()).try_for_each(|path| {
        try_open(path).map_err(|error| {
            Failure::usage(format!("cannot write {}", path.display()))
                .because(error.to_string())
                .hint("choose another file for --output; its folder has to be there")
        })
    })
}

/// Opens a file as it will be opened for writing, and puts everything back.
fn try_open(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        // To open a pipe and close it again is the end of it for who reads it.
        Ok(found) if !found.is_file() && !found.is_dir() => Ok(()),
        Ok(_) => File::options().write(true).open(path).map(drop),
        Err(_) => {
            let path = linked(path);
            File::create_new(&path)?;
            fs::remove_file(path)
        }
    }
}

/// Refuses two outputs to one file, of which the last would be all that is left.
///
/// # Errors
///
/// There are two.
pub(super) fn refuse_duplicates(outputs: &[Output]) -> Result<(), Failure> {
    let files: Vec<_> =
        outputs.iter().filter_map(|output| Some((output.format, place(output.file.as_deref()?)))).collect();
    for (i, (format, path)) in files.iter().enumerate() {
        if let Some((earlier, _)) = files[..i].iter().find(|(_, other)| is_same(path, other)) {
            // Two of /dev/null do each other no harm, nor do two to a terminal.
            if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
                continue;
            }
            let what = format!("{earlier} and {format} go to the same file, {}", path.display());
            return Err(Failure::usage(what).hint("give each --output a file of its own"));
        }
    }
    Ok(())
}

/// Whether both are one file, by two names or as links of each other.
fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    one == other || id(one).is_some_and(|one| Some(one) == id(other))
}

/// What a link points to, whether that is there or not.
fn linked(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // As many as Linux follows.
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().map_or_else(|| target.clone(), |folder| folder.join(&target));
    }
    path
}

/// A path under which no other name of the same file goes, but those of links to what is there.
fn place(path: &Path) -> PathBuf {
    let path = &linked(path);
    let whole = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    };
    path.canonicalize().ok().or_else(whole).unwrap_or_else(|| path.to_owned())
}

/// Writes each output with `write`, whatever becomes of the others.
///
/// # Errors
///
/// Some could not be written; all of them are named.
pub(super) fn write_each(outputs: &[Output], write: impl FnMut(&Output) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut failures = outputs.iter().map(write).filter_map(Result::err).collect::<Vec<_>>().into_iter();
    let Some(first) = failures.next() else { return Ok(()) };
    Err(failures
        .fold(first, |first, other| first.because(format!("{}: {}", other.what(), other.evidence().join("; ")))))
}
