//! Results on stdout.

use std::io::{self, Write};

use anyhow::{Context, Result};

/// Prints a result and a line's end. A reader that has gone away (`| head`) is no error.
///
/// # Errors
///
/// When stdout cannot be written to, such as on a full disk.
pub(super) fn print(text: impl AsRef<str>) -> Result<()> {
    let mut stdout = anstream::stdout().lock();
    finish(writeln!(stdout, "{}", text.as_ref()).and_then(|()| stdout.flush()))
}

/// Prints a result as JSON.
///
/// # Errors
///
/// As [`print`].
pub(super) fn print_json(value: &serde_json::Value) -> Result<()> {
    print(serde_json::to_string_pretty(value)?)
}

fn finish(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to stdout"),
    }
}
