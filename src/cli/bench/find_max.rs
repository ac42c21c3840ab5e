//! `scalectl bench --find-max`.

use std::io;

use anyhow::Result;

use super::{failure, interrupt_on_signal};
use crate::bench::search::{End, Plan};
use crate::bench::{self, Capacity, Config, Measure};
use crate::cli::Global;
use crate::cli::report::write_plain;
use crate::error::{Exit, Failure};
use crate::report::{self, Format, Output};
use crate::ui::bench::LiveBench;
use crate::units::{Percent, TimeSpan};

/// The lowest rate that is tried: a probe of ten seconds has one request then.
const FLOOR: f64 = 0.1;
/// The highest; no generator reaches it.
const CEILING: f64 = 1e7;
/// The finest precision: rates have four digits.
const FINEST: f64 = 0.005;
/// The most probes: twice what a search from 50/s to 1,000,000/s takes where a tenth of the probes go wrong.
const MOST_PROBES: usize = 80;

/// Finding the highest rate.
#[derive(Debug, clap::Args)]
pub struct FindMax {
    /// Find the highest rate that holds every objective: double --rps until one is missed, then narrow it down
    #[arg(long, conflicts_with_all = ["number", "duration", "stages"], help_heading = "Highest rate")]
    find_max: bool,
    /// How long each rate is tried
    #[arg(long, value_name = "TIME", default_value = "10s", help_heading = "Highest rate")]
    probe_time: TimeSpan,
    /// How close the two ends of the answer are
    #[arg(long, value_name = "PERCENT", default_value = "5%", help_heading = "Highest rate")]
    precision: Percent,
    /// How often both ends are tried, of which most decide; an odd number
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Highest rate")]
    votes: u32,
}

impl FindMax {
    /// What its result can be written as.
    const FORMATS: [Format; 3] = [Format::Text, Format::Json, Format::Markdown];

    /// Whether the highest rate is asked for.
    pub fn is_wanted(&self) -> bool {
        self.find_max
    }

    /// Searches, and writes what was found to each of `outputs`.
    ///
    /// # Errors
    ///
    /// The configuration is refused, nothing can be connected to, or a result cannot be written.
    pub fn run(&self, config: &Config, outputs: &[Output], columns: usize, global: &Global) -> Result<Exit> {
        let plan = self.plan(config)?;
        if let Some(other) = outputs.iter().find(|o| !Self::FORMATS.contains(&o.format)) {
            let what = format!("--find-max writes text, json and markdown, not {}", other.format);
            return Err(Failure::usage(what).hint("bench the rate that it finds for the other formats").into());
        }
        interrupt_on_signal(config.control.clone())?;
        let is_live = !global.quiet && io::IsTerminal::is_terminal(&io::stderr());
        let run = |config: &Config| bench::run(config, &mut LiveBench::new(!is_live));
        let seen = |probe: &bench::Probe| global.say(&report::probe(probe));
        let found = bench::find_max(config, &plan, self.probe_time, run, seen).map_err(failure)?;
        for output in outputs {
            write_plain(output, |out| match output.format {
                Format::Json => report::capacity_json(&found, out),
                Format::Markdown => report::capacity_markdown(&found, out),
                _ => report::capacity(&found, out, columns),
            })?;
        }
        Ok(exit_of(&found))
    }

    fn plan(&self, config: &Config) -> Result<Plan, Failure> {
        let precision = self.precision.fraction();
        if !(FINEST..=1.0).contains(&precision) {
            let what = format!("the precision must be from 0.5% to 100%, not {}", self.precision);
            return Err(Failure::usage(what));
        }
        if self.votes.is_multiple_of(2) || self.votes > 99 {
            let what = format!("the number of votes must be odd and at most 99, not {}", self.votes);
            return Err(Failure::usage(what).hint("an even number may leave no majority"));
        }
        if config.closed_loop {
            return Err(Failure::usage("--find-max needs a rate to begin with, and a closed loop has none")
                .hint("leave --rps max away, or give the first rate, like --rps 100"));
        }
        if let Some(slo) = config.slos.iter().find(|slo| slo.measure() == Measure::Rate) {
            let what = format!("the objective \"{slo}\" is about the rate, which is what --find-max looks for");
            return Err(Failure::usage(what).hint("leave it away: what it finds is the highest rate that holds"));
        }
        if let Some(condition) = config.abort_on.iter().find(|condition| condition.measure() == Measure::Rate) {
            let what = format!("the condition \"{condition}\" is about the rate, which is what --find-max looks for");
            return Err(Failure::usage(what).hint("take it out of --abort-on, or of abort_on in the bench file"));
        }
        Ok(Plan {
            start: config.rate.per_second(),
            precision,
            votes: self.votes,
            floor: FLOOR.min(config.rate.per_second()),
            ceiling: CEILING,
            most_probes: MOST_PROBES * self.votes.div_ceil(3) as usize,
        })
    }
}

/// Interrupted; the generator was the limit; nothing held; not confirmed; found.
fn exit_of(found: &Capacity) -> Exit {
    match found.end {
        End::Interrupted => Exit::Interrupted,
        _ if found.is_limited_by_generator => Exit::Untrusted,
        End::NothingHeld => Exit::SloMissed,
        End::GaveUp | End::TargetGone => Exit::Failed,
        End::Found | End::Ceiling => Exit::Done,
    }
}
