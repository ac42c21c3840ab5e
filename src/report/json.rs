//! The JSON format: the summary itself.

use std::io::{self, Write};

use crate::bench::Summary;

/// Writes `summary` as JSON, with a line break at its end.
///
/// # Errors
///
/// The writer fails.
pub fn json(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, summary)?;
    writeln!(out)
}
