//! `scalectl bench --find-max`.

use std::io;
use std::time::Duration;

use anyhow::Result;

use super::{failure, interrupt_on_signal};
use crate::bench::search::{End, Plan};
use crate::bench::{self, Capacity, Config, Measure};
use crate::cli::Global;
use crate::cli::outputs::{self, emit_capacity, of_capacity};
use crate::error::{Exit, Failure};
use crate::report::{self, Output};
use crate::ui::bench::LiveBench;
use crate::units::{Percent, TimeSpan};

/// How long each rate is tried, unless told.
const PROBE_TIME: TimeSpan = TimeSpan(Duration::from_secs(10));
/// How close the two ends of the answer are, unless told.
const PRECISION: f64 = 0.05;
/// How often both ends are tried, unless told.
const VOTES: u32 = 3;
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
    #[arg(long, conflicts_with_all = ["number", "duration", "stages", "try"], help_heading = "Highest rate")]
    find_max: bool,
    /// How long each rate is tried [default: 10s]
    #[arg(long, value_name = "TIME", help_heading = "Highest rate")]
    probe_time: Option<TimeSpan>,
    /// How close the two ends of the answer are [default: 5%]
    #[arg(long, value_name = "PERCENT", help_heading = "Highest rate")]
    precision: Option<Percent>,
    /// How often both ends are tried, of which most decide; an odd number [default: 3]
    #[arg(long, value_name = "N", help_heading = "Highest rate")]
    votes: Option<u32>,
}

impl FindMax {
    /// The flags that say how the highest rate is looked for, by identifier and name, as far as they are given.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let flags = [
            (self.probe_time.is_some(), ("probe_time", "--probe-time")),
            (self.precision.is_some(), ("precision", "--precision")),
            (self.votes.is_some(), ("votes", "--votes")),
        ];
        flags.into_iter().filter_map(|(is_given, names)| is_given.then_some(names))
    }

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
        let places = of_capacity(outputs)?;
        outputs::check(outputs)?;
        interrupt_on_signal(config.control.clone())?;
        let is_live = !global.quiet && io::IsTerminal::is_terminal(&io::stderr());
        let run = |config: &Config| bench::run(config, &mut LiveBench::new(!is_live));
        let seen = |probe: &bench::Probe| global.say(&report::probe(probe));
        let found =
            bench::find_max(config, &plan, self.probe_time.unwrap_or(PROBE_TIME), run, seen).map_err(failure)?;
        emit_capacity(&found, &places, columns)?;
        Ok(exit_of(&found))
    }

    fn plan(&self, config: &Config) -> Result<Plan, Failure> {
        let precision = self.precision.map_or(PRECISION, Percent::fraction);
        let votes = self.votes.unwrap_or(VOTES);
        if let Some(given) = self.precision.filter(|_| !(FINEST..=1.0).contains(&precision)) {
            return Err(Failure::usage(format!("the precision must be from 0.5% to 100%, not {given}")));
        }
        if votes.is_multiple_of(2) || votes > 99 {
            let what = format!("the number of votes must be odd and at most 99, not {votes}");
            return Err(Failure::usage(what).hint("an even number may leave no majority"));
        }
        if config.closed_loop {
            return Err(Failure::usage("--find-max needs a rate to begin with, and a closed loop has none")
                .hint("leave --rps max away, or give the first rate, like --rps 100"));
        }
        if !config.stages.is_empty() {
            let what = "the workload is written in stages, and --find-max tries one constant rate after the other";
            return Err(Failure::usage(what).hint("give the first rate, like --rps 100; the workload's requests stay"));
        }
        if let Some(slo) = config.slos.iter().find(|slo| slo.measure() == Measure::Rate) {
            let what = format!("the objective \"{slo}\" is about the rate, which is what --find-max looks for");
            return Err(Failure::usage(what).hint("leave it away: what it finds is the highest rate that holds"));
        }
        if let Some(condition) = config.abort_on.iter().find(|condition| condition.measure() == Measure::Rate) {
            let what = format!("the condition \"{condition}\" is about the rate, which is what --find-max looks for");
            return Err(Failure::usage(what).hint("leave it away, or give one about errors or times"));
        }
        Ok(Plan {
            start: config.rate.per_second(),
            precision,
            votes,
            floor: FLOOR.min(config.rate.per_second()),
            ceiling: CEILING,
            most_probes: MOST_PROBES * votes.div_ceil(3) as usize,
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
