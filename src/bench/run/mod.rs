//! A run: threads set up, started together, followed, and their tallies made one summary.

pub mod config;
pub mod guard;
pub mod host;
pub mod progress;
pub mod trial;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use self::config::{Config, ConfigError};
use self::guard::Guard;
use self::progress::{Observer, Snapshot, Started};
use super::clock::{Start, Timestamps, nanos, now_ns};
use super::schedule::stage::Arrangement;
use super::schedule::{SECOND_NS, Schedule};
use super::transport::{DialError, Dialer};
use super::worker::shard::Shard;
use super::worker::{self, Event, Orders, Report};
use crate::bench::record::batches::Batches;
use crate::bench::record::laps::Laps;
use crate::bench::record::sample::Fault;
use crate::bench::record::series::Series;
use crate::bench::record::slices::Slice;
use crate::bench::record::spool::Spool;
use crate::bench::record::tally::Tally;
use crate::bench::request::mix::Mix;
use crate::bench::result::slo::Measured;
use crate::bench::result::summary::{self, Connections, Parts, Setup, Summary};
use crate::bench::result::verdict::{self, SelfWatch};
use crate::bench::result::warmup::WarmUp;
use crate::bench::target::protocol::Protocol;

/// How often the observer is told.
const SNAPSHOTS: Duration = Duration::from_millis(100);
/// How far ahead the common start is set, so that every thread hears of it before it comes.
const LEAD_NS: u64 = 20_000_000;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The run was refused before anything was sent.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Not one connection could be opened.
    #[error("cannot connect to {address}: {}", fault.detail)]
    NoConnection {
        /// Host and port.
        address: String,
        /// Why.
        fault: Fault,
    },
    /// The user ended it before it started.
    #[error("interrupted before the start")]
    Interrupted,
    /// The system refused a thread, a timer or an event queue.
    #[error("the load generator could not be set up: {0}")]
    Setup(#[from] io::Error),
    /// A thread of the generator ended by a bug.
    #[error("a thread of the load generator ended unexpectedly")]
    Broken,
}

impl From<crate::bench::request::mix::MixError> for Error {
    fn from(error: crate::bench::request::mix::MixError) -> Self {
        Self::Config(error.into())
    }
}

/// Runs a load and gives its result. Blocks until the last request has ended, or the grace time is over.
///
/// # Errors
///
/// The configuration is refused, nothing can be connected to, or the system refuses what the generator needs. A run
/// that has started always has a result.
pub fn run(config: &Config, observer: &mut dyn Observer) -> Result<Summary, Error> {
    config.check()?;
    let schedule = config.schedule();
    if config.control.is_interrupted() {
        return Err(Error::Interrupted);
    }
    let mix = config.mix()?;
    let (dialer, is_http2) = reach(config)?;
    let streams = is_http2.then_some(config.streams as usize);
    let mut guard = Guard::new(&config.abort_on, config.control.clone(), observer);
    let crew = Crew::hire(config, &schedule, &mix, &dialer, streams, guard.is_watching())?;
    let mut summary = crew.work(config, &schedule, &mut guard)?;
    guard.conclude(&mut summary);
    summary.setup.dns_ns = dialer.dns_ns();
    summary.verdict.notes.extend(config.reach.notes(&config.target));
    summary.verdict.notes.extend(only_redirects(config, &summary));
    if let Some(limit) = summary.short_of_connections() {
        summary.verdict.few_connections(limit, config.connections.is_none().then_some(Config::DEMAND_CONNECTIONS));
    }
    Ok(summary)
}

/// That nothing but redirects was measured, which hardly anybody means to.
fn only_redirects(config: &Config, summary: &Summary) -> Option<String> {
    let is_redirect = |status: &u16| matches!(status, 301 | 302 | 303 | 307 | 308);
    let is_all = !summary.status.is_empty() && summary.status.keys().all(is_redirect);
    let is_expected = config.every_request().any(|request| request.expect_status.is_some());
    (is_all && config.redirects == 0 && !is_expected)
        .then(|| "every answer was a redirect; --redirects N follows them".to_owned())
}

/// What reaches the target, and whether that speaks HTTP/2. To find out may take its time, in which the user may give up.
pub(in crate::bench) fn reach(config: &Config) -> Result<(Dialer, bool), Error> {
    let (sender, found) = mpsc::channel();
    let own = config.clone();
    thread::Builder::new().name("reach".to_owned()).spawn(move || {
        let dialer = dialer(&own).map(|dialer| dialer.reachable_first(own.connect_timeout().0));
        // Whoever no longer listens has given the run up.
        let _ = sender.send(dialer.map(|dialer| dialer.speaking(own.protocol, own.timeout.0)));
    })?;
    loop {
        match found.recv_timeout(SNAPSHOTS) {
            Ok(found) => return found,
            Err(RecvTimeoutError::Timeout) if config.control.is_interrupted() => return Err(Error::Interrupted),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Broken),
        }
    }
}

fn dialer(config: &Config) -> Result<Dialer, Error> {
    let refused = |error| match error {
        DialError::Reach(error) => Error::Config(error.into()),
        DialError::Fault(fault) => Error::NoConnection { address: address(config), fault },
    };
    Dialer::new(&config.target, config.unix_socket.as_ref(), config.insecure, &config.reach).map_err(refused)
}

/// The threads of a run.
struct Crew {
    threads: Vec<JoinHandle<io::Result<Option<Report>>>>,
    starts: Vec<Sender<u64>>,
    shards: Vec<Arc<Shard>>,
    events: Receiver<Event>,
}

impl Crew {
    fn hire(
        config: &Config,
        schedule: &Schedule,
        mix: &Mix,
        dialer: &Dialer,
        streams: Option<usize>,
        is_watched: bool,
    ) -> Result<Self, Error> {
        let (limit, at_start) = config.connection_numbers(schedule.count(), host::raise_file_limit());
        let number = config.thread_number(limit);
        let (sender, events) = mpsc::channel();
        let mut crew = Self { threads: Vec::new(), starts: Vec::new(), shards: Vec::new(), events };
        for k in 0..number {
            let share = |total: u64| (total / number + u64::from(k < total % number)) as usize;
            let shard = is_watched.then(Arc::<Shard>::default);
            let (start, told) = mpsc::channel();
            let orders = Orders {
                thread: k as usize,
                arrivals: schedule.arrivals(k, number),
                mix: mix.clone(),
                dialer: dialer.clone(),
                streams,
                limit: share(limit),
                at_start: share(at_start),
                duration_ns: schedule.duration_ns(),
                warmup_ns: config.warmup_ns(),
                grace_ns: nanos(config.grace().0),
                timeout: config.timeout.0,
                connect_timeout: config.connect_timeout().0,
                pacing: config.pacing,
                io: config.io,
                control: config.control.clone(),
                shard: shard.clone(),
                events: sender.clone(),
                start: told,
            };
            crew.starts.push(start);
            crew.shards.extend(shard);
            crew.threads.push(thread::Builder::new().name(format!("bench-{k}")).spawn(|| work(orders))?);
        }
        Ok(crew)
    }

    fn work(self, config: &Config, schedule: &Schedule, observer: &mut dyn Observer) -> Result<Summary, Error> {
        let open = self.wait_for_connections(config)?;
        let start = now_ns() + LEAD_NS;
        let threads = self.threads.len() as u64;
        let warm = start + config.warmup_ns();
        let mut before = Before::now();
        for told in self.starts {
            // A thread that is gone shows when it is joined.
            let _ = told.send(start);
        }
        observer.started(&Started {
            target: config.target.to_string(),
            rate: rate(config),
            seed: config.seed,
            duration_ns: schedule.duration_ns(),
            connections: open,
            threads,
            warmup_ns: config.warmup_ns(),
            stages: config.stages.clone(),
            start: Start::at(warm),
        });
        // The user may end the schedule at any time.
        let duration = || schedule.duration_ns().min(config.control.stop_after(start));
        let follower = Follower { events: &self.events, shards: &self.shards, start, warm, duration: &duration };
        let mut laps = observer.wants_laps().then(|| Laps::new(self.threads.len()));
        let (series, slices) = follower.follow(observer, &mut before, laps.as_mut());
        let Report { mut tally, warmup, mut watch, connections, io, timestamps } = collect(self.threads)?;
        tally.batches = Batches::of_slices(slices.finish());
        observer.finished();
        before.until_now(&mut watch);
        let duration_ns = match duration() {
            // A closed loop of a number of requests is as long as they take.
            u64::MAX => tally.last_finished,
            ended => ended.saturating_sub(config.warmup_ns()),
        };
        if let Some(laps) = laps {
            laps.finish(duration_ns, tally.last_finished, &mut |lap| observer.lap(lap));
        }
        let is_http2 = connections.streams.is_some();
        let setup = Setup {
            protocol: if is_http2 { Protocol::HTTP_2 } else { Protocol::HTTP_1_1 }.to_owned(),
            timestamps,
            ..setup(config, threads, io, Start::at(warm))
        };
        let warmup = config.warmup.map(|_| WarmUp::of(&warmup, duration().min(config.warmup_ns())));
        Ok(conclude(config, setup, duration_ns, tally, warmup, series, watch, connections))
    }

    /// Waits until every thread has opened what it can.
    fn wait_for_connections(&self, config: &Config) -> Result<u64, Error> {
        let mut reason = None;
        let (mut open, mut reports) = (0, 0);
        while reports < self.threads.len() {
            match self.events.recv_timeout(SNAPSHOTS) {
                Ok(Event::Opened { open: more, faults }) => {
                    open += more as u64;
                    reports += 1;
                    reason = reason.or(faults.into_iter().next());
                }
                Ok(Event::NotSetUp(reason)) => return Err(Error::Setup(reason)),
                Ok(Event::Second(_) | Event::Slice(_) | Event::Past { .. }) => {}
                Err(RecvTimeoutError::Timeout) if config.control.is_interrupted() => return Err(Error::Interrupted),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        match reason {
            Some(fault) if open == 0 => Err(Error::NoConnection { address: address(config), fault }),
            _ => Ok(open),
        }
    }
}

/// What a thread does. The main thread waits for it to open its connections, and is told if it never will.
fn work(orders: Orders) -> io::Result<Option<Report>> {
    let events = orders.events.clone();
    worker::work(orders).inspect_err(|error| {
        let same = error.raw_os_error().map(io::Error::from_raw_os_error);
        // Whoever no longer listens has given the run up.
        let _ = events.send(Event::NotSetUp(same.unwrap_or_else(|| io::Error::other(error.to_string()))));
    })
}

/// What the process had used when what is measured began.
struct Before {
    throttled_ns: Option<u64>,
    cpu_ns: u64,
}

impl Before {
    fn now() -> Self {
        Self { throttled_ns: host::throttled_ns(), cpu_ns: host::cpu_ns() }
    }

    /// Takes note of what was used since.
    fn until_now(&self, watch: &mut SelfWatch) {
        watch.cpu_ns = host::cpu_ns().saturating_sub(self.cpu_ns);
        let throttled = host::throttled_ns().zip(self.throttled_ns);
        watch.throttled_ns = throttled.map_or(0, |(now, then)| now.saturating_sub(then));
    }
}

/// What the main thread does while the others send.
struct Follower<'a> {
    events: &'a Receiver<Event>,
    shards: &'a [Arc<Shard>],
    start: u64,
    /// When the warm-up ends (CLOCK_MONOTONIC).
    warm: u64,
    /// T as it stands, in nanoseconds.
    duration: &'a dyn Fn() -> u64,
}

impl Follower<'_> {
    /// Tells of the seconds that are over. A last one that is no whole second waits for the end.
    fn tell(&self, laps: &mut Laps, observer: &mut dyn Observer) {
        let measured = match (self.duration)() {
            u64::MAX => u64::MAX,
            duration => duration.saturating_sub(self.warm - self.start),
        };
        while let Some(lap) = laps.take(measured.saturating_sub(SECOND_NS - 1)) {
            observer.lap(&lap);
        }
    }

    /// Collects seconds and slices, and shows snapshots until the last thread has nothing more to say.
    fn follow(
        &self,
        observer: &mut dyn Observer,
        before: &mut Before,
        mut laps: Option<&mut Laps>,
    ) -> (Series, Spool<Slice>) {
        let mut series = Series::default();
        let mut slices = Spool::default();
        let mut shown = now_ns();
        let mut is_warm = self.warm == self.start;
        loop {
            let until_warm = if is_warm { u64::MAX } else { self.warm.saturating_sub(now_ns()) };
            match self.events.recv_timeout(SNAPSHOTS.min(Duration::from_nanos(until_warm))) {
                Ok(Event::Second(second)) => {
                    series.add(&second);
                    if let Some(laps) = &mut laps {
                        laps.add(&second);
                    }
                }
                Ok(Event::Slice(slice)) => slices.add(*slice),
                Ok(Event::Past { thread, second }) => {
                    if let Some(laps) = &mut laps {
                        laps.is_past(thread, second);
                        self.tell(laps, observer);
                    }
                }
                // What ends a thread of a run that has begun shows when it is joined.
                Ok(Event::Opened { .. } | Event::NotSetUp(_)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return (series, slices),
            }
            if !is_warm && now_ns() >= self.warm {
                is_warm = true;
                *before = Before::now();
            }
            if !self.shards.is_empty() && now_ns().saturating_sub(shown) >= nanos(SNAPSHOTS) {
                shown = now_ns();
                observer.snapshot(&Snapshot::of(self.shards, shown.saturating_sub(self.start), (self.duration)()));
            }
        }
    }
}

/// What all threads together leave behind.
fn collect(threads: Vec<JoinHandle<io::Result<Option<Report>>>>) -> Result<Report, Error> {
    let mut all: Option<Report> = None;
    for thread in threads {
        let report = thread.join().map_err(|_| Error::Broken)??.ok_or(Error::Broken)?;
        match &mut all {
            None => all = Some(report),
            Some(all) => {
                all.tally.merge(&report.tally);
                all.warmup.merge(&report.warmup);
                all.watch.merge(&report.watch);
                all.connections.merge(&report.connections);
                all.timestamps = all.timestamps.max(report.timestamps);
            }
        }
    }
    all.ok_or(Error::Broken)
}

/// What is connected to.
fn address(config: &Config) -> String {
    config.unix_socket.as_ref().map_or_else(|| config.target.address(), |path| path.display().to_string())
}

/// Arrivals a second, of stages and of a log their mean; `None` in a closed loop.
fn rate(config: &Config) -> Option<f64> {
    match config.schedule_without_draws() {
        _ if config.closed_loop => None,
        stages if !config.stages.is_empty() || config.replay.is_some() => {
            Some(stages.count() as f64 * 1e9 / stages.duration_ns().max(1) as f64)
        }
        _ => Some(config.rate.per_second()),
    }
}

/// Where the arrivals come from.
fn arrivals(config: &Config) -> Arrangement {
    match &config.replay {
        Some(_) => Arrangement::Replay,
        None if config.closed_loop => Arrangement::ClosedLoop,
        None => config.arrivals.into(),
    }
}

fn setup(config: &Config, threads: u64, io: &str, start: Start) -> Setup {
    Setup {
        target: config.target.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rate: rate(config),
        arrivals: arrivals(config),
        stages: config.stages.clone(),
        merged: Vec::new(),
        replay_shortened: config.replay.as_ref().is_some_and(|recording| recording.is_shortened()),
        pacing: config.pacing.to_string(),
        seed: config.seed,
        threads,
        protocol: String::new(),
        io: io.to_owned(),
        timestamps: Timestamps::default(),
        timeout_ns: nanos(config.timeout.0),
        grace_ns: nanos(config.grace().0),
        start,
        dns_ns: None,
        aborted: None,
        interrupted: config.control.is_interrupted(),
    }
}

/// Judges the run and holds it against its objectives.
#[expect(clippy::too_many_arguments, reason = "each is a part of the result, made elsewhere")]
fn conclude(
    config: &Config,
    setup: Setup,
    duration_ns: u64,
    tally: Tally,
    warmup: Option<WarmUp>,
    series: Series,
    generator: SelfWatch,
    connections: Connections,
) -> Summary {
    debug_assert!(tally.counts.holds(), "{:?}", tally.counts);
    debug_assert!(tally.flows.holds(), "{:?}", tally.flows);
    let measured = Measured {
        response: &tally.distributions.response,
        scheduled: tally.counts.scheduled,
        achieved_rate: summary::achieved_rate(&tally, duration_ns),
    };
    let slo = config.slos.iter().map(|slo| slo.evaluate(measured)).collect();
    let mut verdict = verdict::judge(&generator, &tally, &config.slos, duration_ns, config.pacing);
    if tally.counts.scheduled == 0 && warmup.as_ref().is_some_and(|warmup| warmup.counts.scheduled > 0) {
        verdict.notes.push("every request was one of the warm-up: nothing is left to report".to_owned());
    }
    verdict.notes.extend(connections.streams.and_then(|streams| streams.note()));
    Summary::new(Parts {
        setup,
        duration_ns,
        tally,
        warmup,
        series: series.finish(duration_ns),
        slo,
        verdict,
        generator,
        connections,
    })
}
