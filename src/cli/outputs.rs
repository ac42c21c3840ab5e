//! Where results go: checked before there is anything to write, written whatever becomes of the others.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};

use super::{ColorWhen, Global};
use crate::bench::{Capacity, Summary};
use crate::error::Failure;
use crate::report::{self, Common, Format, Output};

/// Columns of a text report where there is no terminal to ask.
const COLUMNS: usize = 80;

/// The outputs that were asked for, and stdout's own unless one of them goes there. Of `--json` and `--output` a flag goes
/// before a variable.
///
/// # Errors
///
/// Two go to the same place.
pub(super) fn outputs_or_default(asked: &[Output], global: &Global) -> Result<Vec<Output>, Failure> {
    refuse_duplicates(asked)?;
    let mut outputs = asked.to_vec();
    let (is_json_set, are_outputs_set) = (global.is_from_variable("json"), global.is_from_variable("output"));
    let json = global.json;
    if json && are_outputs_set && !is_json_set {
        outputs.retain(|output| output.file.is_some());
    }
    let on_stdout = outputs.iter().filter(|o| o.file.is_none()).count();
    let is_json_idle = is_json_set && !are_outputs_set;
    let conflicts = json && !is_json_idle && outputs.iter().any(|o| o.file.is_none() && o.format != Format::Json);
    if on_stdout > 1 || conflicts {
        return Err(
            Failure::usage("only one format can go to stdout").hint("give the others a file: --output json=FILE")
        );
    }
    if on_stdout == 0 {
        let format = if json { Format::Json } else { Format::Text };
        outputs.insert(0, Output { format, file: None });
    }
    Ok(outputs)
}

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

/// Where to write what is no result of a single run, in a format that it has.
pub(super) type Place<'a> = (Common, Option<&'a Path>);

/// The places of what a search for the highest rate finds.
///
/// # Errors
///
/// One has a format that only the result of a single run has.
pub(super) fn of_capacity(outputs: &[Output]) -> Result<Vec<Place<'_>>, Failure> {
    in_common_formats(outputs, "what --find-max finds is written as")
        .map_err(|failure| failure.hint("bench the rate that it finds for the other formats"))
}

/// The places of what has only the formats that everything has.
///
/// # Errors
///
/// One has another.
pub(super) fn in_common_formats<'a>(outputs: &'a [Output], what: &str) -> Result<Vec<Place<'a>>, Failure> {
    let place = |output: &'a Output| match output.format.common() {
        Some(format) => Ok((format, output.file.as_deref())),
        None => Err(Failure::usage(format!("{what} text, json and markdown, not {}", output.format))),
    };
    outputs.iter().map(place).collect()
}

/// Writes a result in every format to where it goes.
///
/// # Errors
///
/// Some could not be written, which did not keep the others from it.
pub(super) fn emit(summary: &Summary, outputs: &[Output], global: &Global) -> Result<(), Failure> {
    let choice = match global.color {
        ColorWhen::Auto => anstream::AutoStream::choice(&io::stdout()),
        ColorWhen::Always => anstream::ColorChoice::Always,
        ColorWhen::Never => anstream::ColorChoice::Never,
    };
    write_each(outputs, |Output { format, file }| match file {
        Some(_) => put(file.as_deref(), |out| {
            let mut plain = anstream::StripStream::new(Vec::new());
            report::write(summary, *format, COLUMNS, &mut plain)?;
            out.write_all(&plain.into_inner())
        }),
        None => put(None, |_| {
            let mut out = BufWriter::new(anstream::AutoStream::new(io::stdout(), choice));
            report::write(summary, *format, columns(), &mut out)?;
            out.flush()
        }),
    })
}

/// Writes what a search for the highest rate has found.
///
/// # Errors
///
/// As [`emit`].
pub(super) fn emit_capacity(found: &Capacity, places: &[Place<'_>], columns: usize) -> Result<(), Failure> {
    write_each(places, |(format, file)| {
        put(*file, |out| match format {
            Common::Json => report::capacity_json(found, out),
            Common::Markdown => report::capacity_markdown(found, out),
            Common::Text => report::capacity(found, out, columns),
        })
    })
}

/// Writes to each place with `write`, whatever becomes of the others.
///
/// # Errors
///
/// Some could not be written; all of them are named.
pub(super) fn write_each<T>(places: &[T], write: impl FnMut(&T) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut failures = places.iter().map(write).filter_map(Result::err).collect::<Vec<_>>().into_iter();
    let Some(first) = failures.next() else { return Ok(()) };
    Err(failures
        .fold(first, |first, other| first.because(format!("{}: {}", other.what(), other.evidence().join("; ")))))
}

/// Writes to a file, or to stdout.
///
/// # Errors
///
/// It cannot be written. Whoever reads stdout may stop at any time.
pub(super) fn put(file: Option<&Path>, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let (written, place) = match file {
        Some(path) => (replace(path, write), path.display().to_string()),
        None => (write(&mut io::stdout().lock()), "to stdout".to_owned()),
    };
    match written {
        Err(error) if file.is_none() && error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::failed(format!("cannot write {place}")).because(error.to_string())),
    }
}

/// Writes a file. What was in it stays until the new text is whole: a full disk, or an end in the middle, leaves the old
/// one. What another file cannot stand in for is written as it is: a pipe, a device, a file of somebody else or of another
/// group, or one that has other names or is open.
fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let place = linked(path);
    let found = fs::metadata(&place).ok();
    let owner = (Uid::effective().as_raw(), Gid::effective().as_raw());
    let is_own = |found: &Metadata| found.is_file() && found.nlink() == 1 && (found.uid(), found.gid()) == owner;
    let is_open = ["/dev", "/proc"].iter().any(|folder| path.starts_with(folder));
    let is_replaced = !is_open && found.as_ref().is_none_or(is_own);
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As any other new file, within the umask.
    let new = Permissions::from_mode(0o666);
    let new =
        is_replaced.then(|| tempfile::Builder::new().prefix(".scalectl-").permissions(new).tempfile_in(folder).ok());
    let Some(new) = new.flatten() else {
        let mut out = BufWriter::new(File::create(path)?);
        write(&mut out)?;
        return out.flush();
    };
    let mut out = BufWriter::new(new);
    write(&mut out)?;
    let new = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    if let Some(found) = found {
        new.as_file().set_permissions(found.permissions())?;
    }
    match new.persist(&place) {
        Ok(_) => Ok(()),
        // A file that is mounted by itself, for one.
        Err(refused) => io::copy(&mut refused.file.reopen()?, &mut File::create(&place)?).map(drop),
    }
}

/// The width of the terminal.
pub(super) fn columns() -> usize {
    terminal_size::terminal_size().map_or(COLUMNS, |(width, _)| width.0.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_text_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("a", &link).unwrap();
        let text = || fs::read_to_string(&file).unwrap();
        let failure = put(Some(&link), |out| {
            out.write_all(b"new")?;
            Err(io::Error::other("the disk is full"))
        });
        assert!(failure.unwrap_err().evidence().join("").contains("the disk is full"));
        assert_eq!(text(), "old");
        put(Some(&link), |out| out.write_all(b"new")).unwrap();
        assert_eq!(text(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        // Another name of the same file has the new text, too.
        let other = folder.path().join("c");
        fs::hard_link(&file, &other).unwrap();
        put(Some(&file), |out| out.write_all(b"newer")).unwrap();
        assert_eq!(fs::read_to_string(other).unwrap(), "newer");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left over");
        put(Some(Path::new("/dev/null")), |out| out.write_all(b"x")).unwrap();
    }
}
