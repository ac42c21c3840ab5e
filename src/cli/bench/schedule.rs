//! When requests are sent, as flags.

use crate::bench::{Config, Length, Process, Stage};
use crate::error::Failure;
use crate::units::TimeSpan;

/// The part of the arguments that says when requests are sent.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Load")]
pub struct ScheduleArgs {
    /// How requests are laid out at a rate: constant (evenly spaced) or poisson (independent of each other, as those
    /// of many users are) [default: constant]
    #[arg(long, value_name = "PROCESS", env = "SCALECTL_ARRIVALS")]
    arrivals: Option<Process>,
    /// Part of the schedule, instead of --rps and --duration: a rate (100rps:30s), or a linear change from one to
    /// another (100..5000rps:2m); repeat for more
    #[arg(long = "stage", value_name = "RATE:TIME", conflicts_with_all = ["rps", "duration", "number"])]
    stages: Vec<Stage>,
    /// How much of the schedule, from its beginning, is reported apart: the figures are about the rest
    #[arg(long, value_name = "TIME", env = "SCALECTL_WARMUP")]
    warmup: Option<TimeSpan>,
}

impl ScheduleArgs {
    /// Whether there are stages among the flags.
    pub fn has_stages(&self) -> bool {
        !self.stages.is_empty()
    }

    /// Whether the flags say how requests are laid out at a rate.
    pub fn has_arrivals(&self) -> bool {
        self.arrivals.is_some()
    }

    /// The flags but for those that `is_left_out` by their identifiers.
    pub fn without(&self, is_left_out: impl Fn(&str) -> bool) -> Self {
        Self {
            arrivals: self.arrivals.filter(|_| !is_left_out("arrivals")),
            stages: if is_left_out("stages") { Vec::new() } else { self.stages.clone() },
            warmup: self.warmup,
        }
    }

    /// Takes the flags, over what `config` has from a workload.
    ///
    /// # Errors
    ///
    /// A length was given for what has its length from a workload's stages.
    pub fn apply(&self, config: &mut Config, has_rate: bool, length: Option<Length>) -> Result<(), Failure> {
        config.arrivals = self.arrivals.unwrap_or(config.arrivals);
        if has_rate {
            config.stages.clear();
        }
        if length.is_some() && !config.stages.is_empty() {
            let why = "the workload is written in stages, which have their own durations";
            return Err(Failure::usage(why).hint("give --rps as well, or --stage instead"));
        }
        if !self.stages.is_empty() {
            config.stages.clone_from(&self.stages);
            config.closed_loop = false;
        }
        config.warmup = self.warmup.or(config.warmup);
        config.length = length.unwrap_or(config.length);
        Ok(())
    }
}
