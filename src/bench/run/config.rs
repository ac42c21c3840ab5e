//! What a run is asked to do, checked before anything is sent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::bench::answer::redirect::Following;
use crate::bench::answer::unpack;
use crate::bench::clock::nanos;
use crate::bench::control::Control;
use crate::bench::request::mix::{Ingredients, Mix, MixError};
use crate::bench::request::workload::{FeedSpec, FlowSpec, RequestSpec, Workload, every, every_mut};
use crate::bench::result::slo::Slo;
use crate::bench::schedule::pacing::Pacing;
use crate::bench::schedule::replay::Recording;
use crate::bench::schedule::stage::{Process, Stage};
use crate::bench::schedule::{Length, Schedule};
use crate::bench::target::Target;
use crate::bench::target::protocol::Protocol;
use crate::bench::target::reach::{Reach, ReachError};
use crate::bench::transport::Io;
use crate::units::{Rate, TimeSpan};

/// What a run is asked to do.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is loaded.
    pub target: Target,
    /// The mix; empty means one GET of the target's path.
    pub requests: Vec<RequestSpec>,
    /// Flows, part of the mix.
    pub flows: Vec<FlowSpec>,
    /// The most redirects that a request goes through.
    pub redirects: u32,
    /// Whether answers are asked to be compressed, and decompressed after their end.
    pub compressed: bool,
    /// Files whose rows give values.
    pub feeds: BTreeMap<String, FeedSpec>,
    /// Arrivals a second; without a meaning in a closed loop.
    pub rate: Rate,
    /// Whether every connection sends its next request when the last has ended, instead of at a rate.
    pub closed_loop: bool,
    /// When a thread wakes for what is due.
    pub pacing: Pacing,
    /// How sockets are driven; the result says what was chosen.
    pub io: Io,
    /// How long; a log that is replayed was shortened to it when it was read, if at all.
    pub length: Length,
    /// Rates that follow each other, instead of the one rate and the length.
    pub stages: Vec<Stage>,
    /// A log whose instants, methods and paths are taken, instead of a rate; of the mix only the headers are.
    pub replay: Option<Arc<Recording>>,
    /// How much of the schedule, from its beginning, is counted apart.
    pub warmup: Option<TimeSpan>,
    /// How arrivals are laid out at a rate.
    pub arrivals: Process,
    /// Number of connections, all opened before the start; without it they grow on demand.
    pub connections: Option<u32>,
    /// Which version of HTTP.
    pub protocol: Protocol,
    /// How many requests a connection carries at the same time; more than one needs HTTP/2.
    pub streams: u32,
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
    /// Unix socket that is connected to instead of the target's host and port.
    pub unix_socket: Option<PathBuf>,
    /// How connections reach the target.
    pub reach: Reach,
    /// Objectives that the result is held against.
    pub slos: Vec<Slo>,
    /// Conditions that end the run early.
    pub abort_on: Vec<Slo>,
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
    /// A schedule for what has none.
    #[error("a closed loop sends whenever a connection is free, and takes no {what}; leave out --rps max")]
    ClosedLoop {
        /// What was asked for.
        what: &'static str,
    },
    /// The target cannot be reached in this way.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// Two settings contradict each other.
    #[error("{what} cannot be had with {with}: {why}")]
    Contradiction {
        /// The one.
        what: &'static str,
        /// The other.
        with: &'static str,
        /// What to do.
        why: &'static str,
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
    /// The most requests at the same time on one connection.
    pub const MOST_STREAMS: u32 = 1000;
    /// The most connections of one run.
    pub const MOST_CONNECTIONS: u32 = 100_000;
    /// Connections that are opened before the start unless a number is given.
    pub const FIRST_CONNECTIONS: u64 = 16;
    /// Descriptors that are left to timers, event queues and files where the file limit is what there can be no more of.
    const OTHER_DESCRIPTORS: u64 = 32;
    /// The most connections unless a number is given.
    pub const DEMAND_CONNECTIONS: u64 = 1024;
    /// What one thread sends at most by default.
    pub const RATE_PER_THREAD: f64 = 20_000.0;

    /// A run of `target` with every setting at its default, and a seed of its own.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            requests: Vec::new(),
            flows: Vec::new(),
            redirects: 0,
            compressed: false,
            feeds: BTreeMap::new(),
            rate: Self::default_rate(),
            closed_loop: false,
            pacing: Pacing::default(),
            io: Io::default(),
            length: Length::Duration(Self::DURATION),
            stages: Vec::new(),
            replay: None,
            warmup: None,
            arrivals: Process::default(),
            connections: None,
            protocol: Protocol::default(),
            streams: 1,
            threads: None,
            timeout: Self::TIMEOUT,
            grace: None,
            seed: rand::random::<u32>().into(),
            insecure: false,
            unix_socket: None,
            reach: Reach::default(),
            slos: Vec::new(),
            abort_on: Vec::new(),
            control: Control::default(),
        }
    }

    fn default_rate() -> Rate {
        #[expect(clippy::expect_used, reason = "a constant within the range, pinned by a test")]
        Rate::new(Self::RATE).expect("a valid rate")
    }

    /// Takes the schedule and the mix from a workload, as far as it has them.
    pub fn apply(&mut self, workload: &Workload) {
        if let Some(rate) = workload.rate {
            self.rate = rate;
        }
        if let Some(duration) = workload.duration {
            self.length = Length::Duration(duration);
        }
        self.arrivals = workload.arrivals.unwrap_or(self.arrivals);
        self.stages.clone_from(&workload.stages);
        self.warmup = workload.warmup;
        self.requests.clone_from(&workload.requests);
        self.flows.clone_from(&workload.flows);
        self.feeds.clone_from(&workload.feeds);
    }

    /// Its requests, the steps of flows among them.
    pub fn every_request(&self) -> impl Iterator<Item = &RequestSpec> {
        every(&self.requests, &self.flows)
    }

    /// The same, to be changed.
    pub fn every_request_mut(&mut self) -> impl Iterator<Item = &mut RequestSpec> {
        every_mut(&mut self.requests, &mut self.flows)
    }

    /// The mix, compiled.
    ///
    /// # Errors
    ///
    /// It cannot be sent.
    pub fn mix(&self) -> Result<Mix, MixError> {
        let is_default = self.requests.is_empty() && self.flows.is_empty();
        let mut requests = if is_default { vec![RequestSpec::get(&self.target.path)] } else { self.requests.clone() };
        let mut flows = self.flows.clone();
        for request in every_mut(&mut requests, &mut flows) {
            if self.reach.without_keepalive {
                request.headers.set("Connection", "close");
            }
            if self.compressed && !request.headers.has("accept-encoding") {
                request.headers.add("accept-encoding", unpack::ACCEPTED);
            }
        }
        let ingredients = Ingredients { requests: &requests, flows: &flows, feeds: &self.feeds };
        let following = Following::new(&self.target, self.redirects);
        let mix = Mix::of(&self.target, ingredients, self.seed)?.following(following).unpacking(self.compressed);
        Ok(match &self.replay {
            Some(recording) => mix.replaying(Arc::clone(recording)),
            None => mix,
        })
    }

    /// The arrivals.
    ///
    /// Without meaning once the user has interrupted the run: random arrivals are drawn here, and may be many.
    pub fn schedule(&self) -> Schedule {
        let even = self.schedule_without_draws();
        match self.arrivals {
            Process::Constant => even,
            Process::Poisson => even.poisson_unless(self.seed, || self.control.is_interrupted()),
        }
    }

    /// The same rates with evenly spaced arrivals, which cost nothing to count.
    pub(in crate::bench) fn schedule_without_draws(&self) -> Schedule {
        if let Some(recording) = &self.replay {
            return Schedule::recorded(Arc::clone(recording));
        }
        match self.length {
            Length::Duration(span) if self.closed_loop => Schedule::closed_loop(nanos(span.0), u64::MAX),
            Length::Requests(count) if self.closed_loop => Schedule::closed_loop(u64::MAX, count),
            _ if !self.stages.is_empty() => Schedule::stages(&self.stages),
            Length::Duration(span) => Schedule::constant_for(self.rate, nanos(span.0)),
            Length::Requests(count) => Schedule::constant_count(self.rate, count),
        }
    }

    /// The highest rate that is asked for, in arrivals a second.
    fn peak_rate(&self) -> f64 {
        if let Some(recording) = &self.replay {
            return recording.peak() as f64;
        }
        if self.stages.is_empty() {
            return self.rate.per_second();
        }
        self.stages.iter().map(Stage::peak).fold(0.0, f64::max)
    }

    /// How much of the schedule, from its beginning, is counted apart, in nanoseconds.
    pub fn warmup_ns(&self) -> u64 {
        self.warmup.map_or(0, |span| nanos(span.0))
    }

    /// Longest time that opening a connection may take.
    pub fn connect_timeout(&self) -> TimeSpan {
        self.reach.connect_timeout.unwrap_or(self.timeout).min(self.timeout)
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
        self.check_protocol()?;
        if let Some(found) = self.threads.filter(|t| !(1..=1024).contains(t)) {
            return Err(out("the number of threads", "from 1 to 1024", found.to_string()));
        }
        if !self.stages.is_empty() && self.closed_loop {
            return Err(ConfigError::ClosedLoop { what: "stages" });
        }
        if self.arrivals == Process::Poisson && self.closed_loop {
            return Err(ConfigError::ClosedLoop { what: "random arrivals" });
        }
        // What is too much must be refused before as many arrivals are drawn.
        let schedule = self.schedule_without_draws();
        let count = schedule.count();
        if count == 0 {
            let rates = self.stages.iter().map(Stage::to_string).collect::<Vec<_>>().join(", ");
            return Err(out("the rate", "above 0 in at least one stage", rates));
        }
        if self.warmup_ns() >= schedule.duration_ns() {
            let whole = TimeSpan(Duration::from_nanos(schedule.duration_ns()));
            let expected = format!("shorter than the whole schedule, {whole}");
            return Err(out("the warm-up", &expected, self.warmup.unwrap_or_default().to_string()));
        }
        let is_bounded_by_time = schedule.is_closed_loop() && count == u64::MAX;
        if count > Self::MOST_REQUESTS && !is_bounded_by_time { Err(ConfigError::TooMany { count }) } else { Ok(()) }
    }

    fn check_protocol(&self) -> Result<(), ConfigError> {
        if !(1..=Self::MOST_STREAMS).contains(&self.streams) {
            let expected = format!("from 1 to {}", Self::MOST_STREAMS);
            let (what, found) = ("the number of streams", self.streams.to_string());
            return Err(ConfigError::OutOfRange { what, expected, found });
        }
        let contradiction = |what, with, why| Err(ConfigError::Contradiction { what, with, why });
        if self.streams > 1 && self.protocol == Protocol::Http1 {
            let why = "a connection carries one request at a time; use --http 2";
            return contradiction("several streams", "HTTP/1.1", why);
        }
        if self.io == Io::Uring && self.protocol != Protocol::Http1 {
            return contradiction("HTTP/2", "io_uring", "leave --io out");
        }
        Ok(())
    }

    /// The most connections there may be, and how many are opened before the start.
    pub(in crate::bench) fn connection_numbers(&self, requests: u64, file_limit: u64) -> (u64, u64) {
        match self.connections {
            Some(fixed) => (fixed.into(), fixed.into()),
            // There is no demand that they could grow on.
            None if self.closed_loop => (Self::FIRST_CONNECTIONS, Self::FIRST_CONNECTIONS),
            None => {
                let spare = file_limit.saturating_sub(Self::OTHER_DESCRIPTORS).max(1);
                let limit = Self::DEMAND_CONNECTIONS.min(spare);
                (limit, Self::FIRST_CONNECTIONS.min(limit).min(requests.max(1)))
            }
        }
    }

    /// How many threads send.
    pub(in crate::bench) fn thread_number(&self, connections: u64) -> u64 {
        let cores = thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let by_rate = match self.closed_loop {
            true => u64::MAX,
            false => (self.peak_rate() / Self::RATE_PER_THREAD).ceil() as u64,
        };
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
            (Config { streams: 0, ..config() }, "streams"),
            (Config { streams: 2, ..config() }, "--http 2"),
            (Config { protocol: Protocol::Http2, io: Io::Uring, ..config() }, "io_uring"),
            (Config { threads: Some(0), ..config() }, "threads"),
            (Config { rate: "10000".parse().unwrap(), length: long, ..config() }, "10^10"),
            (Config { stages: vec!["1000..2000rps:3000h".parse().unwrap()], ..config() }, "10^10"),
            (Config { stages: vec!["0rps:3s".parse().unwrap(); 2], ..config() }, "0rps:3s, 0rps:3s"),
            (Config { stages: vec!["1rps:3s".parse().unwrap()], closed_loop: true, ..config() }, "takes no stages"),
            (
                Config { warmup: Some(TimeSpan::seconds(10)), ..config() },
                "shorter than the whole schedule, 10s, not 10s",
            ),
            (Config { arrivals: Process::Poisson, closed_loop: true, ..config() }, "takes no random"),
            (Config { arrivals: Process::Poisson, length: Length::Requests(u64::MAX), ..config() }, "10^10"),
        ] {
            assert!(config.check().unwrap_err().to_string().contains(said));
        }
    }

    #[test]
    fn connections_and_threads_follow_the_contract() {
        assert_eq!(config().connection_numbers(500, 1_000_000), (1024, 16));
        assert_eq!(config().connection_numbers(1, 1_000_000), (1024, 1));
        assert_eq!(config().connection_numbers(500, 256), (224, 16));
        let fixed = Config { connections: Some(8), ..config() };
        assert_eq!(fixed.connection_numbers(1, 10), (8, 8));
        assert_eq!(fixed.thread_number(8), 1);
        assert_eq!(Config { threads: Some(16), ..config() }.thread_number(8), 8);
        let closed = Config { closed_loop: true, ..config() };
        assert_eq!(closed.connection_numbers(u64::MAX, 1_000_000), (16, 16));
        assert!((1..=16).contains(&closed.thread_number(16)));
        assert_eq!(closed.check(), Ok(()));
    }
}
