//! `scalectl report`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Global;
use super::outputs::{self, columns, emit, emit_capacity, of_capacity, outputs_or_default};
use crate::bench::{Capacity, ReadError, Summary};
use crate::error::{Exit, Failure};
use crate::report::Output;

/// What to do about a file that is no result.
const WRITE_ONE: &str = "write one with `scalectl bench --output json=FILE`";

/// Arguments of `scalectl report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Results of `scalectl bench --output json=FILE`, - for standard input; several are merged into one, but for those of
    /// --find-max
    #[arg(value_name = "FILE", required = true)]
    results: Vec<PathBuf>,
    /// Format of the report and where it goes, json or json=FILE: text, json, csv, hgrm, hlog, html, junit, markdown, prometheus; repeat for more
    #[arg(short, long, value_name = "FORMAT[=FILE]")]
    output: Vec<Output>,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// A file is not a result, the results cannot be merged, or a report cannot be written.
    pub fn run(self, global: &Global) -> Result<Exit> {
        let outputs = outputs_or_default(&self.output, global)?;
        if self.results.iter().filter(|path| is_stdin(path)).count() > 1 {
            return Err(Failure::usage("standard input has one result").hint("give - once").into());
        }
        let texts = self.results.iter().map(|path| Ok((path, text_of(path)?))).collect::<Result<Vec<_>, Failure>>()?;
        if let Some((path, found)) = texts.iter().find_map(|(path, text)| Some((path, Capacity::read(text)?))) {
            if texts.len() > 1 {
                let what = format!("{} is the result of --find-max, which is merged with no other", shown(path));
                return Err(Failure::usage(what).hint("give it alone").into());
            }
            let places = of_capacity(&outputs)?;
            outputs::check(&outputs)?;
            emit_capacity(&found.map_err(|error| no_result(path, &error.into()))?, &places, columns())?;
            return Ok(Exit::Done);
        }
        let has_seconds = self.results.len() > 1 || outputs.iter().any(|output| output.format.has_seconds());
        let read = |(path, text): &(&PathBuf, String)| {
            let result = Summary::read(text).map_err(|error| no_result(path, &error))?;
            if has_seconds {
                // Before anything is written.
                result.check_series().map_err(|error| no_result(path, &error))?;
            }
            Ok(result)
        };
        let results = texts.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
        let merged = match results.as_slice() {
            [one] => one.clone(),
            several => Summary::merge(several).map_err(|e| Failure::usage(e.to_string()))?,
        };
        outputs::check(&outputs)?;
        emit(&merged, &outputs, global)?;
        Ok(Exit::Done)
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Reads a result, from standard input where it is `-`.
pub(super) fn read(path: &Path) -> Result<Summary, Failure> {
    Summary::read(&text_of(path)?).map_err(|error| no_result(path, &error))
}

fn text_of(path: &Path) -> Result<String, Failure> {
    let text = if is_stdin(path) { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
    text.map_err(|error| {
        Failure::usage(format!("cannot read {}", shown(path))).because(error.to_string()).hint(WRITE_ONE)
    })
}

fn shown(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

fn no_result(path: &Path, error: &ReadError) -> Failure {
    let what = format!("{} is not the result of a bench", shown(path));
    Failure::usage(what).because(error.to_string()).hint(WRITE_ONE)
}
