//! What a run is asked to do, checked before anything is sent.

use std::thread;
use std::time::Duration;

use super::clock::nanos;
use super::control::Control;
use super::mix::MixError;
use super::schedule::Schedule;
use super::slo::Slo;
use super::target::Target;
use super::workload::{RequestSpec, Workload};
use crate::units::{Rate, TimeSpan};

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So long.
    Duration(TimeSpan),
    /// So many requests.
    Requests(u64),
}

/// What a run is asked to do.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is loaded.
    pub target: Target,
    /// The mix; empty means one GET of the target's path.
    pub requests: Vec<RequestSpec>,
    /// Arrivals a second.
    pub rate: Rate,
    /// How long.
    pub length: Length,
    /// Number of connections, all opened before the start; without it they grow on demand.
    pub connections: Option<u32>,
    /// Number of threads that send; without it by the rate.
    pub threads: Option<u32>,
    /// Longest time an answer may take.
    pub timeout: TimeSpan,
    /// How long after the schedule's end requests are still sent and answers awaited; without it the timeout, at most
    /// 10 s.
    pub grace: Option<TimeSpan>,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Whether every TLS certificate is accepted.
    pub insecure: bool,
    /// Objectives that the result is held against.
    pub slos: Vec<Slo>,
    /// Ends the run early.
    pub control: Control,
}

/// Why a run cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number is out of its range.
    #[error("{what} must be {expected}, not {found}")]
    OutOfRange {
        /// Which.
        what: &'static str,
        /// Its range.
        expected: String,
        /// What it is.
        found: String,
    },
    /// More requests than any run can mean.
    #[error("{count} requests are more than the 10^10 that one run may have; lower --rps or --duration")]
    TooMany {
        /// How many.
        count: u64,
    },
    /// The mix cannot be sent.
    #[error(transparent)]
    Mix(#[from] MixError),
}

impl Config {
    /// 50 requests a second.
    pub const RATE: f64 = 50.0;
    /// 10 seconds.
    pub const DURATION: TimeSpan = TimeSpan::seconds(10);
    /// 10 seconds.
    pub const TIMEOUT: TimeSpan = TimeSpan::seconds(10);
    /// The longest default grace time.
    pub const GRACE: TimeSpan = TimeSpan::seconds(10);
    /// The most requests of one run.
    pub const MOST_REQUESTS: u64 = 10_000_000_000;
    /// The most connections of one run.
    pub const MOST_CONNECTIONS: u32 = 100_000;
    /// Connections that are opened before the start unless a number is given.
    pub const FIRST_CONNECTIONS: u64 = 16;
    /// The most connections unless a number is given.
    pub const DEMAND_CONNECTIONS: u64 = 1024;
    /// What one thread sends at most by default.
    pub const RATE_PER_THREAD: f64 = 20_000.0;

    /// A run of `target` with every setting at its default, and a seed of its own.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            requests: Vec::new(),
            rate: Self::default_rate(),
            length: Length::Duration(Self::DURATION),
            connections: None,
            threads: None,
            timeout: Self::TIMEOUT,
            grace: None,
            seed: rand::random::<u32>().into(),
            insecure: false,
            slos: Vec::new(),
            control: Control::default(),
        }
    }

    fn default_rate() -> Rate {
        #[expect(clippy::expect_used, reason = "a constant within the range, pinned by a test")]
        Rate::new(Self::RATE).expect("a valid rate")
    }

    /// Takes rate, duration and mix from a workload, as far as it has them.
    pub fn apply(&mut self, workload: &Workload) {
        if let Some(rate) = workload.rate {
            self.rate = rate;
        }
        if let Some(duration) = workload.duration {
            self.length = Length::Duration(duration);
        }
        self.requests.clone_from(&workload.requests);
    }

    /// The arrivals.
    pub fn schedule(&self) -> Schedule {
        match self.length {
            Length::Duration(span) => Schedule::constant_for(self.rate, nanos(span.0)),
            Length::Requests(count) => Schedule::constant_count(self.rate, count),
        }
    }

    /// The grace time.
    pub fn grace(&self) -> TimeSpan {
        self.grace.unwrap_or(self.timeout.min(Self::GRACE))
    }

    /// Refuses what cannot be run.
    ///
    /// # Errors
    ///
    /// What is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let out =
            |what, expected: &str, found: String| ConfigError::OutOfRange { what, expected: expected.into(), found };
        match self.length {
            Length::Duration(span) if span.0 == Duration::ZERO => {
                return Err(out("the duration", "longer than 0", span.to_string()));
            }
            Length::Requests(0) => return Err(out("the number of requests", "at least 1", "0".into())),
            Length::Duration(_) | Length::Requests(_) => {}
        }
        if self.timeout.0 == Duration::ZERO {
            return Err(out("the timeout", "longer than 0", self.timeout.to_string()));
        }
        let connections = 1..=Self::MOST_CONNECTIONS;
        if let Some(found) = self.connections.filter(|c| !connections.contains(c)) {
            let expected = format!("from 1 to {}", Self::MOST_CONNECTIONS);
            return Err(out("the number of connections", &expected, found.to_string()));
        }
        if let Some(found) = self.threads.filter(|t| !(1..=1024).contains(t)) {
            return Err(out("the number of threads", "from 1 to 1024", found.to_string()));
        }
        let count = self.schedule().count();
        if count > Self::MOST_REQUESTS { Err(ConfigError::TooMany { count }) } else { Ok(()) }
    }

    /// The most connections there may be, and how many are opened before the start.
    pub(super) fn connection_numbers(&self, requests: u64, file_limit: u64) -> (u64, u64) {
        match self.connections {
            Some(fixed) => (fixed.into(), fixed.into()),
            None => {
                // Some descriptors are taken by timers, event queues, files.
                let spare = file_limit.saturating_sub(64).max(1);
                let limit = Self::DEMAND_CONNECTIONS.min(spare);
                (limit, Self::FIRST_CONNECTIONS.min(limit).min(requests.max(1)))
            }
        }
    }

    /// How many threads send.
    pub(super) fn thread_number(&self, connections: u64) -> u64 {
        let cores = thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let by_rate = (self.rate.per_second() / Self::RATE_PER_THREAD).ceil() as u64;
        let wanted = self.threads.map_or(by_rate.min(cores.saturating_sub(1)), u64::from);
        wanted.clamp(1, connections.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new("localhost:1".parse().unwrap())
    }

    #[test]
    fn the_default_is_fifty_a_second_for_ten_seconds() {
        let schedule = config().schedule();
        assert_eq!((schedule.count(), schedule.duration_ns()), (500, 10_000_000_000));
        assert_eq!(config().check(), Ok(()));
        assert_eq!(config().grace(), TimeSpan::seconds(10));
        assert_eq!(Config { timeout: TimeSpan::seconds(2), ..config() }.grace(), TimeSpan::seconds(2));
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        let long = Length::Duration("400h".parse().unwrap());
        for (config, said) in [
            (Config { length: Length::Duration(TimeSpan::seconds(0)), ..config() }, "duration"),
            (Config { length: Length::Requests(0), ..config() }, "number of requests"),
            (Config { timeout: TimeSpan::seconds(0), ..config() }, "timeout"),
            (Config { connections: Some(0), ..config() }, "connections"),
            (Config { connections: Some(200_000), ..config() }, "connections"),
            (Config { threads: Some(0), ..config() }, "threads"),
            (Config { rate: "10000".parse().unwrap(), length: long, ..config() }, "10^10"),
        ] {
            assert!(config.check().unwrap_err().to_string().contains(said));
        }
    }

    #[test]
    fn connections_and_threads_follow_the_contract() {
        assert_eq!(config().connection_numbers(500, 1_000_000), (1024, 16));
        assert_eq!(config().connection_numbers(1, 1_000_000), (1024, 1));
        assert_eq!(config().connection_numbers(500, 256), (192, 16));
        let fixed = Config { connections: Some(8), ..config() };
        assert_eq!(fixed.connection_numbers(1, 10), (8, 8));
        assert_eq!(fixed.thread_number(8), 1);
        assert_eq!(Config { threads: Some(16), ..config() }.thread_number(8), 8);
    }
}
