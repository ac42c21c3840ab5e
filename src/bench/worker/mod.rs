//! One thread's part of a run: its arrivals, connections and tally. Nothing here is shared with another thread but a
//! stop signal and, ten times a second, a copy of the counts for the display.

mod answering;
mod cadence;
mod closing;
mod deadlines;
mod effort;
mod expiring;
mod flight;
mod gather;
mod opening;
mod pool;
mod recorder;
mod sending;
pub mod shard;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use self::cadence::{Ahead, Cadence};
use self::deadlines::Deadlines;
use self::effort::Effort;
use self::flight::Flight;
use self::gather::Gather;
use self::pool::Pool;
use self::recorder::Recorder;
use self::shard::Shard;
use super::clock::{Timestamps, now_ns};
use super::control::Control;
use super::schedule::Arrivals;
use super::transport::{Dialer, Reading, Transport, Wait};
use crate::bench::record::sample::Fault;
use crate::bench::record::series::OpenSecond;
use crate::bench::record::slices::Slice;
use crate::bench::record::tally::Tally;
use crate::bench::request::flows::Later;
use crate::bench::request::mix::Mix;
use crate::bench::request::room::Room;
use crate::bench::result::summary::Connections;
use crate::bench::result::verdict::SelfWatch;
use crate::bench::schedule::pacing::Pacing;
use crate::bench::transport::Io;

/// How often the counts are copied for the display.
const PUBLISH_NS: u64 = 100_000_000;

/// What a worker needs to know.
pub struct Orders {
    /// Its number.
    pub thread: usize,
    /// Its arrivals.
    pub arrivals: Arrivals,
    /// What they are.
    pub mix: Mix,
    /// How to reach the target.
    pub dialer: Dialer,
    /// How many requests a connection carries at the same time, in HTTP/2; `None` in HTTP/1.1.
    pub streams: Option<usize>,
    /// The most connections it may have.
    pub limit: usize,
    /// How many of them it opens before the start.
    pub at_start: usize,
    /// T, in nanoseconds.
    pub duration_ns: u64,
    /// How much of T, from its beginning, is counted apart.
    pub warmup_ns: u64,
    /// How long after T it still sends and waits.
    pub grace_ns: u64,
    /// Longest time an answer may take.
    pub timeout: Duration,
    /// Longest time that opening a connection may take; at most the timeout.
    pub connect_timeout: Duration,
    /// When it wakes for what is due.
    pub pacing: Pacing,
    /// What drives its sockets.
    pub io: Io,
    /// The stop signal.
    pub control: Control,
    /// Where it publishes its counts, if anybody looks.
    pub shard: Option<Arc<Shard>>,
    /// Where it sends what the main thread collects.
    pub events: Sender<Event>,
    /// Tells the common start, an instant of CLOCK_MONOTONIC.
    pub start: Receiver<u64>,
}

impl Orders {
    /// When it reads answers. Those that something follows from are read at once.
    fn reading(&self) -> Reading {
        let is_paced = !self.arrivals.is_closed_loop() && self.pacing != Pacing::Spin;
        if is_paced && !self.goes_on() { Reading::Late } else { Reading::AtOnce }
    }

    /// Whether something follows from answers.
    fn goes_on(&self) -> bool {
        self.mix.has_flows() || self.mix.follows_redirects()
    }
}

/// What a worker tells the main thread while it works.
pub enum Event {
    /// It has opened its connections, but for those that failed.
    Opened {
        /// How many are open.
        open: usize,
        /// Why others are not.
        faults: Vec<Fault>,
    },
    /// It ends with this, which before the start is the end of the run.
    NotSetUp(io::Error),
    /// What finished in a second, or a part of it.
    Second(Box<OpenSecond>),
    /// What was scheduled in a slice of the run, or a part of it.
    Slice(Box<Slice>),
    /// All that finished before a second has been handed over.
    Past {
        /// By which worker.
        thread: usize,
        /// The second.
        second: u64,
    },
}

/// What a worker leaves behind.
pub struct Report {
    /// Everything it counted.
    pub tally: Tally,
    /// The same of the warm-up.
    pub warmup: Tally,
    /// What it observed of itself.
    pub watch: SelfWatch,
    /// Its connections.
    pub connections: Connections,
    /// What drove its sockets.
    pub io: &'static str,
    /// Who noted when answers came.
    pub timestamps: Timestamps,
}

/// A worker while it works.
struct Worker {
    orders: Orders,
    start: u64,
    transport: Transport,
    slots: Vec<Slot>,
    pool: Pool,
    recorder: Recorder,
    deadlines: Deadlines,
    room: Room,
    /// Room for what redirects make of requests.
    detour: Room,
    /// The next steps of flows, once they are scheduled.
    later: Later,
    /// When it last began what was due, in nanoseconds after the start.
    looked: u64,
    opened: u64,
    watch: SelfWatch,
}

/// What belongs to a slot of the driver.
#[derive(Default)]
struct Slot {
    flight: Option<Flight>,
    /// Since when it is free, in nanoseconds after the start.
    free_since: u64,
    /// Since when its connection is being opened.
    dialing: Option<u64>,
}

/// Opens the connections, waits for the start, and sends until all is answered or the grace time is over. `None` if
/// the run was given up before its start.
///
/// # Errors
///
/// The system refuses an event queue or a timer.
pub fn work(orders: Orders) -> io::Result<Option<Report>> {
    let transport = match orders.streams {
        Some(streams) => Transport::multiplexed(orders.dialer.clone(), streams, orders.connect_timeout)?,
        None => Transport::new(orders.io, orders.dialer.clone(), orders.reading())?,
    };
    let mut worker = Worker {
        start: 0,
        transport,
        slots: Vec::new(),
        pool: Pool::new(orders.limit * orders.streams.unwrap_or(1)),
        recorder: Recorder::new(
            &orders.mix.names(),
            orders.duration_ns,
            orders.warmup_ns,
            orders.thread,
            orders.events.clone(),
        ),
        deadlines: Deadlines::default(),
        room: Room::default(),
        detour: Room::default(),
        later: Later::default(),
        looked: 0,
        opened: 0,
        watch: SelfWatch::default(),
        orders,
    };
    worker.open_before_start()?;
    let at_start = worker.opened;
    let Ok(start) = worker.orders.start.recv() else { return Ok(None) };
    worker.start = start;
    let mut effort = Effort::begin(now_ns());
    worker.pace(&mut effort)?;
    worker.watch.run_queue_wait_ns = effort.waited_ns();
    // A thread that spins by order is never idle.
    if worker.orders.pacing != Pacing::Spin {
        worker.watch.never_idle_ns = effort.never_idle_ns();
    }
    Ok(Some(worker.close(at_start)))
}

impl Worker {
    /// Nanoseconds after the start; 0 before it.
    fn now(&self) -> u64 {
        now_ns().saturating_sub(self.start)
    }

    /// T, or the instant at which the user ended the schedule.
    fn end(&self) -> u64 {
        self.orders.control.stop_at().saturating_sub(self.start).min(self.orders.duration_ns)
    }

    fn deadline(&self) -> u64 {
        self.end().saturating_add(self.orders.grace_ns)
    }

    /// Deals with what has come, begins what is due, sleeps until the next arrival, and so on to the end.
    fn pace(&mut self, effort: &mut Effort) -> io::Result<()> {
        while now_ns() < self.start {
            // A connection that was closed in the meantime shows here.
            while self.transport.next().is_some() {}
            self.transport.wait(Wait::Until(self.start))?;
        }
        let is_steady = self.orders.arrivals.is_closed_loop() && !self.orders.goes_on();
        let gather = (is_steady && self.transport.gathers()).then(|| Gather::new(self.orders.limit));
        let mut cadence = Cadence::new(self.orders.pacing, gather, self.start);
        let mut published = 0;
        let mut is_warm = self.orders.warmup_ns == 0;
        loop {
            let woken = cadence.woke(now_ns());
            let puts_due_first = woken.is_for_due && !self.transport.closes_idle();
            let has_begun = !puts_due_first || self.begin_due_on_open(woken.at);
            // An answer that is not read yet may free a connection, or have come before the end.
            if woken.is_unread && (!has_begun || woken.at >= self.deadline()) {
                self.transport.wait(Wait::Not)?;
            }
            let answers = self.deal_with_completions();
            let now = self.now();
            cadence.worked(answers, now);
            if !is_warm && now >= self.orders.warmup_ns {
                is_warm = true;
                cadence.warmed_up();
                self.warmed_up();
                *effort = Effort::begin(self.start.saturating_add(now));
            }
            self.expire(now)?;
            let is_behind = self.begin_due(now);
            self.looked = now;
            let ahead = self.ahead(now, is_behind);
            self.watch.longest_gap_ns = cadence.longest_gap_ns();
            if self.is_over(now, &ahead) {
                return Ok(());
            }
            if now.saturating_sub(published) >= PUBLISH_NS {
                published = now;
                self.publish();
                self.recorder.advance(now);
                effort.look(self.start.saturating_add(now));
            }
            let asked = self.transport.wait(cadence.next(now, &ahead))?;
            cadence.slept(asked);
        }
    }

    fn ahead(&self, now: u64, is_behind: bool) -> Ahead {
        Ahead {
            arrival: self.upcoming(now).map(|a| a.at_ns),
            gap_ns: self.orders.arrivals.gap_ns(),
            step: self.later.first_due(),
            end: if now < self.end() { self.end() } else { self.deadline() },
            deadline: self.deadline(),
            expiry: self.deadlines.first().map_or(u64::MAX, |at| at.saturating_sub(self.start)),
            has_place: self.pool.first().is_some(),
            has_reserve: self.pool.has_reserve(),
            busy: self.pool.busy(),
            is_behind,
        }
    }

    fn is_over(&self, now: u64, ahead: &Ahead) -> bool {
        let has_ended = now >= self.end() || self.orders.arrivals.is_closed_loop();
        let is_done = ahead.arrival.is_none() && ahead.step.is_none() && self.pool.busy() == 0;
        (has_ended && is_done) || now >= self.deadline() || self.orders.control.is_aborted()
    }

    /// From here on it watches itself for the result. Connections that it could not open are missing from there on, too.
    fn warmed_up(&mut self) {
        let SelfWatch { not_opened, out_of_descriptors, out_of_ports, .. } = self.watch;
        self.watch = SelfWatch { not_opened, out_of_descriptors, out_of_ports, ..SelfWatch::default() };
        self.recorder.warmed_up(self.transport.warnings());
    }

    fn publish(&mut self) {
        let now = self.now();
        if let Some(shard) = &self.orders.shard {
            let counted_ns = now.saturating_sub(self.orders.warmup_ns);
            shard.publish(self.recorder.tally(now), counted_ns, self.pool.busy() as u64);
        }
    }
}
