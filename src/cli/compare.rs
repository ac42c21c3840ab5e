//! `scalectl compare`.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use super::Global;
use super::outputs::{self, Place, columns, in_common_formats, outputs_or_default, put, write_each};
use super::report::read;
use crate::bench::Summary;
use crate::bench::compare::Comparison;
use crate::error::{Exit, Failure};
use crate::report::{self, Common, Output};
use crate::units::Percent;

/// Arguments of `scalectl compare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Results of `scalectl bench --output json=FILE`: the one before, then the one after
    #[arg(value_names = ["BEFORE", "AFTER"], num_args = 2, required_unless_present = "before")]
    results: Vec<PathBuf>,
    /// Several results of the side before
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "after", conflicts_with = "results")]
    before: Vec<PathBuf>,
    /// Several results of the side after
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "before", conflicts_with = "results")]
    after: Vec<PathBuf>,
    /// The smallest change of a figure that counts, however sure it is
    #[arg(long, value_name = "PERCENT", default_value = "5%")]
    threshold: Percent,
    /// End with 4 where a figure is worse (regression), or worse or better (difference)
    #[arg(long, value_name = "WHAT")]
    fail_on: Option<FailOn>,
    /// Format of the comparison and where it goes, json or json=FILE: text, json, markdown; repeat for more
    #[arg(short, long, value_name = "FORMAT[=FILE]")]
    output: Vec<Output>,
}

/// What ends a comparison with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A figure is worse.
    Regression,
    /// A figure is worse or better.
    Difference,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// A file is not a result, or the comparison cannot be written.
    pub fn run(self, global: &Global) -> Result<Exit> {
        let outputs = outputs_or_default(&self.output, global)?;
        let places = in_common_formats(&outputs, "compare writes")
            .map_err(|failure| failure.hint("`scalectl report` writes the others, of each result"))?;
        let (before, after) = match self.results.as_slice() {
            [before, after] => (std::slice::from_ref(before), std::slice::from_ref(after)),
            _ => (self.before.as_slice(), self.after.as_slice()),
        };
        let (before, after) = (side(before)?, side(after)?);
        outputs::check(&outputs)?;
        let comparison = Comparison::of(&before, &after, self.threshold.fraction());
        write_each(&places, |place| emit(&comparison, *place))?;
        let is_failure = match self.fail_on {
            None => false,
            Some(FailOn::Regression) => comparison.is_regression(),
            Some(FailOn::Difference) => comparison.is_difference(),
        };
        Ok(if is_failure { Exit::SloMissed } else { Exit::Done })
    }
}

/// The results of one side.
fn side(paths: &[PathBuf]) -> Result<Vec<Summary>, Failure> {
    let results = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, Failure>>()?;
    match Summary::twice(&results) {
        None => Ok(results),
        Some((one, other)) => {
            let (one, other) = (paths[one].display(), paths[other].display());
            let what = format!("{other} is the same run as {one}, and its requests would count twice");
            Err(Failure::usage(what).hint("give each run once"))
        }
    }
}

fn emit(comparison: &Comparison, (format, file): Place<'_>) -> Result<(), Failure> {
    put(file, |out| match format {
        Common::Json => report::comparison_json(comparison, out),
        Common::Markdown => report::comparison_markdown(comparison, out),
        Common::Text => report::comparison(comparison, out, columns()),
    })
}
