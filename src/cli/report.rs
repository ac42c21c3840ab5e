//! `scalectl report`, and the writing of results that `bench` shares with it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{ColorWhen, Global, outputs};
use crate::bench::{Capacity, ReadError, Summary};
use crate::error::{Exit, Failure};
use crate::report::{self, Format, Output};

/// What to do about a file that is no result.
const WRITE_ONE: &str = "write one with `scalectl bench --output json=FILE`";
/// Columns of a text report where there is no terminal to ask.
const COLUMNS: usize = 80;

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
            refuse_other_formats(&outputs)?;
            outputs::check(&outputs)?;
            emit_capacity(&found.map_err(|error| no_result(path, &error.into()))?, &outputs, columns())?;
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

/// The outputs that were asked for, and stdout's own unless one of them goes there. Of `--json` and `--output` a flag goes
/// before a variable.
pub(super) fn outputs_or_default(asked: &[Output], global: &Global) -> Result<Vec<Output>, Failure> {
    outputs::refuse_duplicates(asked)?;
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

/// Writes a result in every format to where it goes; one that cannot be written does not keep the others from it.
pub(super) fn emit(summary: &Summary, outputs: &[Output], global: &Global) -> Result<(), Failure> {
    outputs::write_each(outputs, |output| match &output.file {
        Some(path) => to_file(summary, output.format, path)
            .map_err(|e| Failure::failed(format!("cannot write {}", path.display())).because(e.to_string())),
        None => match to_stdout(summary, output.format, global.color) {
            // Whoever read it has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|e| Failure::failed("cannot write to stdout").because(e.to_string())),
        },
    })
}

fn to_file(summary: &Summary, format: Format, path: &Path) -> io::Result<()> {
    let mut out = BufWriter::new(anstream::StripStream::new(File::create(path)?));
    report::write(summary, format, COLUMNS, &mut out)?;
    out.flush()
}

fn to_stdout(summary: &Summary, format: Format, color: ColorWhen) -> io::Result<()> {
    let choice = match color {
        ColorWhen::Auto => anstream::AutoStream::choice(&io::stdout()),
        ColorWhen::Always => anstream::ColorChoice::Always,
        ColorWhen::Never => anstream::ColorChoice::Never,
    };
    let mut out = BufWriter::new(anstream::AutoStream::new(io::stdout(), choice));
    report::write(summary, format, columns(), &mut out)?;
    out.flush()
}

/// Refuses formats that only the result of a single run has.
///
/// # Errors
///
/// There is one.
pub(super) fn refuse_other_formats(outputs: &[Output]) -> Result<(), Failure> {
    let known = [Format::Text, Format::Json, Format::Markdown];
    outputs.iter().find(|output| !known.contains(&output.format)).map_or(Ok(()), |other| {
        let what = format!("what --find-max finds is written as text, json and markdown, not {}", other.format);
        Err(Failure::usage(what).hint("bench the rate that it finds for the other formats"))
    })
}

/// Writes what a search for the highest rate has found to where each output goes.
pub(super) fn emit_capacity(found: &Capacity, outputs: &[Output], columns: usize) -> Result<(), Failure> {
    outputs::write_each(outputs, |output| {
        write_plain(output, |out| match output.format {
            Format::Json => report::capacity_json(found, out),
            Format::Markdown => report::capacity_markdown(found, out),
            _ => report::capacity(found, out, columns),
        })
    })
}

/// Writes plain text to where an output goes.
pub(super) fn write_plain(
    output: &Output,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failure> {
    let (written, place) = match &output.file {
        Some(path) => (plain_file(path, write), path.display().to_string()),
        None => (write(&mut io::stdout().lock()), "to stdout".to_owned()),
    };
    match written {
        // Whoever read it has read enough.
        Err(error) if output.file.is_none() && error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::failed(format!("cannot write {place}")).because(error.to_string())),
    }
}

fn plain_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    write(&mut out)?;
    out.flush()
}

/// The width of the terminal.
pub(super) fn columns() -> usize {
    terminal_size::terminal_size().map_or(COLUMNS, |(width, _)| width.0.into())
}
