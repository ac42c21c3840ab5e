//! One thread's part of a run: its arrivals, connections and tally. Nothing here is shared with another thread but a
//! stop signal and, ten times a second, a copy of the counts for the display.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::clock::now_ns;
use super::control::Control;
use super::flight::{Flight, Flown};
use super::host;
use super::mix::Mix;
use super::pool::Pool;
use super::progress::Shard;
use super::recorder::Recorder;
use super::sample::{Cause, Fault, Sample, Side};
use super::schedule::{Arrival, Arrivals};
use super::series::OpenSecond;
use super::summary::Connections;
use super::tally::Tally;
use super::timer::Timer;
use super::transport::{Dialer, Meter, Opened};
use super::verdict::SelfWatch;

/// How often the loop wakes although nothing is due: it looks at the stop signal, and measures its own punctuality.
const HEARTBEAT_NS: u64 = 25_000_000;
/// How often the counts are copied for the display.
const PUBLISH_NS: u64 = 100_000_000;
/// How many due requests are begun before answers are looked at.
const BATCH: usize = 64;

/// What a worker needs to know.
pub struct Orders {
    /// Its arrivals.
    pub arrivals: Arrivals,
    /// What they are.
    pub mix: Arc<Mix>,
    /// How to reach the target.
    pub dialer: Dialer,
    /// The most connections it may have.
    pub limit: usize,
    /// How many of them it opens before the start.
    pub at_start: usize,
    /// T, in nanoseconds.
    pub duration_ns: u64,
    /// How long after T it still sends and waits.
    pub grace_ns: u64,
    /// Longest time an answer may take.
    pub timeout: Duration,
    /// The stop signal.
    pub control: Control,
    /// Where it publishes its counts, if anybody looks.
    pub shard: Option<Arc<Shard>>,
    /// Where it sends what the main thread collects.
    pub events: Sender<Event>,
    /// Tells the common start, an instant of CLOCK_MONOTONIC.
    pub start: oneshot::Receiver<u64>,
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
    /// A second is over.
    Second(Box<OpenSecond>),
}

/// What a worker leaves behind.
pub struct Report {
    /// Everything it counted.
    pub tally: Tally,
    /// What it observed of itself.
    pub watch: SelfWatch,
    /// Its connections.
    pub connections: Connections,
}

/// A worker while it works.
pub(super) struct Worker {
    pub(super) orders: Orders,
    pub(super) start: u64,
    pub(super) pool: RefCell<Pool>,
    pub(super) opened: Cell<u64>,
    arrivals: RefCell<Arrivals>,
    recorder: RefCell<Recorder>,
    flights: RefCell<Vec<Option<Rc<Flight>>>>,
    exhausted: Cell<(u64, u64)>,
    /// Set while the pacer waits for a place, not for time.
    blocked: Cell<bool>,
    place: Notify,
}

/// Opens the connections, waits for the start, and sends until all is answered or the grace time is over. `None` if
/// the run was given up before its start.
///
/// # Errors
///
/// The system refuses a timer.
pub async fn work(mut orders: Orders) -> io::Result<Option<Report>> {
    let timer = Timer::new()?;
    let mut recorder = Recorder::new(&orders.mix.names(), orders.events.clone());
    let mut pool = Pool::new(orders.limit);
    let mut watch = SelfWatch::default();
    let open = open_before_start(&orders, &mut pool, &mut recorder, &mut watch).await;
    let (_, nobody) = oneshot::channel();
    let Ok(start) = std::mem::replace(&mut orders.start, nobody).await else { return Ok(None) };
    let waited = host::run_queue_wait_ns();
    let arrivals = orders.arrivals.clone();
    let worker = Rc::new(Worker {
        orders,
        start,
        pool: RefCell::new(pool),
        opened: Cell::new(open as u64),
        arrivals: RefCell::new(arrivals),
        recorder: RefCell::new(recorder),
        flights: RefCell::default(),
        exhausted: Cell::default(),
        blocked: Cell::new(false),
        place: Notify::new(),
    });
    watch.longest_gap_ns = worker.pace(&timer).await?;
    let waited_since = |before: u64| host::run_queue_wait_ns().map(|now| now.saturating_sub(before));
    watch.run_queue_wait_ns = waited.and_then(waited_since).unwrap_or(0);
    Ok(Some(worker.close(watch, open as u64)))
}

/// Opens `at_start` connections at the same time; says how many are open.
async fn open_before_start(orders: &Orders, pool: &mut Pool, recorder: &mut Recorder, watch: &mut SelfWatch) -> usize {
    let attempts = (0..orders.at_start).map(|_| async {
        let meter = Rc::new(Meter::default());
        let opened = tokio::time::timeout(orders.timeout, orders.dialer.open(&meter)).await;
        let late = |phase| {
            let detail = format!("no connection within {:?}", orders.timeout);
            Err(Fault::new(phase, Cause::Timeout, Side::Server, detail))
        };
        let opened = opened.unwrap_or_else(|_| late(meter.phase()));
        (meter, opened)
    });
    let mut faults = Vec::new();
    let mut open = 0;
    for (meter, opened) in futures_util::future::join_all(attempts).await {
        match opened {
            Ok(opened) => {
                recorder.connected(&opened);
                pool.add(Some(opened.connection), meter);
                open += 1;
            }
            Err(fault) => {
                watch.not_opened += 1;
                watch.out_of_descriptors += u64::from(fault.kind.cause == Cause::Descriptors);
                watch.out_of_ports += u64::from(fault.kind.cause == Cause::Ports);
                pool.add(None, meter);
                faults.push(fault);
            }
        }
    }
    // Whoever no longer listens has given the run up.
    let _ = orders.events.send(Event::Opened { open, faults });
    open
}

impl Worker {
    /// Nanoseconds after the start; 0 before it.
    pub(super) fn now(&self) -> u64 {
        now_ns().saturating_sub(self.start)
    }

    /// T, or the instant at which the user ended the schedule.
    fn end(&self) -> u64 {
        self.orders.control.stop_at().saturating_sub(self.start).min(self.orders.duration_ns)
    }

    fn deadline(&self) -> u64 {
        self.end().saturating_add(self.orders.grace_ns)
    }

    /// The next arrival of the schedule, if it is not beyond its end.
    fn upcoming(&self) -> Option<Arrival> {
        self.arrivals.borrow().peek().filter(|a| a.at_ns < self.end())
    }

    /// Takes the next arrival if it is due.
    fn take_due(&self, now: u64) -> Option<Arrival> {
        let due = self.upcoming().filter(|a| a.at_ns <= now && now < self.deadline())?;
        self.arrivals.borrow_mut().next();
        Some(due)
    }

    /// Begins what is due, sleeps until the next arrival, and so on to the end. Says by how much it woke too late at
    /// worst.
    async fn pace(self: &Rc<Self>, timer: &Timer) -> io::Result<u64> {
        let mut longest_gap = 0;
        let mut published = 0;
        while now_ns() < self.start {
            timer.until(self.start).await?;
        }
        loop {
            let is_batch_full = self.begin_due();
            let now = self.now();
            let upcoming = self.upcoming();
            let is_over = upcoming.is_none() && now >= self.end() && self.pool.borrow().busy() == 0;
            if is_over || now >= self.deadline() || self.orders.control.is_aborted() {
                return Ok(longest_gap);
            }
            if now.saturating_sub(published) >= PUBLISH_NS {
                published = now;
                self.publish();
            }
            if is_batch_full {
                tokio::task::yield_now().await;
                continue;
            }
            let wake = self.wake_at(now, upcoming);
            let asked = self.start.saturating_add(wake);
            self.blocked.set(upcoming.is_none_or(|a| a.at_ns <= now));
            tokio::select! {
                biased;
                slept = timer.until(asked) => {
                    slept?;
                    longest_gap = longest_gap.max(now_ns().saturating_sub(asked));
                }
                () = self.place.notified(), if self.blocked.get() => {}
            }
            self.blocked.set(false);
        }
    }

    /// When to look again: at the next arrival, at the deadline, and now and then in between.
    fn wake_at(&self, now: u64, upcoming: Option<Arrival>) -> u64 {
        let heartbeat = now + HEARTBEAT_NS;
        let arrival = upcoming.map(|a| a.at_ns).filter(|at| *at > now).unwrap_or(heartbeat);
        let end = if now < self.end() { self.end() } else { self.deadline() };
        arrival.min(heartbeat).min(end)
    }

    /// Begins what is due while there is a place; says whether there may be more.
    fn begin_due(self: &Rc<Self>) -> bool {
        let now = self.now();
        for _ in 0..BATCH {
            if !self.pool.borrow().has_free() {
                return false;
            }
            let Some(arrival) = self.take_due(now) else { return false };
            let Some(slot) = self.pool.borrow_mut().take() else { return false };
            tokio::task::spawn_local(Rc::clone(self).serve(slot, arrival));
        }
        true
    }

    /// Sends requests on one slot as long as one is due, then gives the slot back.
    async fn serve(self: Rc<Self>, slot: usize, mut arrival: Arrival) {
        let (mut connection, meter, mut free_since) = match self.pool.borrow_mut().slot(slot) {
            Some(slot) => (slot.connection.take(), Rc::clone(&slot.meter), slot.free_since),
            None => return,
        };
        loop {
            let ready = arrival.at_ns.max(free_since);
            let flight = Rc::new(Flight::new(arrival, ready, Rc::clone(&meter)));
            self.board(slot, Some(Rc::clone(&flight)));
            let Flown { sample, connection: kept } = flight.fly(&self, connection).await;
            self.board(slot, None);
            self.record(&sample);
            connection = kept;
            free_since = sample.finished;
            match self.take_due(self.now()) {
                Some(next) => arrival = next,
                None => break,
            }
        }
        self.pool.borrow_mut().give_back(slot, connection, free_since);
        if self.blocked.get() {
            self.place.notify_one();
        }
    }

    fn board(&self, slot: usize, flight: Option<Rc<Flight>>) {
        let mut flights = self.flights.borrow_mut();
        if flights.len() <= slot {
            flights.resize_with(slot + 1, || None);
        }
        flights[slot] = flight;
    }

    fn record(&self, sample: &Sample) {
        self.recorder.borrow_mut().record(sample, self.end());
    }

    /// Takes note of a connection that was opened during the run.
    pub(super) fn connected(&self, opened: &Opened) {
        self.opened.set(self.opened.get() + 1);
        self.recorder.borrow_mut().connected(opened);
    }

    /// Takes note of what this machine ran out of.
    pub(super) fn note_fault(&self, fault: &Fault) {
        if fault.kind.side == Side::Client {
            let (descriptors, ports) = self.exhausted.get();
            let is = |cause| u64::from(fault.kind.cause == cause);
            self.exhausted.set((descriptors + is(Cause::Descriptors), ports + is(Cause::Ports)));
        }
    }

    fn publish(&self) {
        if let Some(shard) = &self.orders.shard {
            let recorder = self.recorder.borrow();
            shard.publish(recorder.tally(), self.pool.borrow().busy() as u64);
        }
    }

    /// Counts what is still in flight, and what was never sent.
    fn close(&self, mut watch: SelfWatch, at_start: u64) -> Report {
        let mut recorder = self.recorder.borrow_mut();
        let end = self.end();
        let mix = &self.orders.mix;
        let is_aborted = self.orders.control.is_aborted();
        for flight in self.flights.borrow_mut().drain(..).flatten() {
            match flight.unfinished(self.start, mix) {
                Some(sample) => recorder.record(&sample, end),
                None => {
                    recorder.unsent(mix.kind_of(flight.arrival().n));
                    watch.unsent_while_free += u64::from(!is_aborted);
                }
            }
        }
        let pool = self.pool.borrow();
        let mut left = 0;
        while let Some(arrival) = self.upcoming() {
            self.arrivals.borrow_mut().next();
            recorder.unsent(mix.kind_of(arrival.n));
            left += 1;
        }
        if pool.has_free() && !is_aborted {
            watch.unsent_while_free += left;
        }
        let (descriptors, ports) = self.exhausted.get();
        watch.out_of_descriptors += descriptors;
        watch.out_of_ports += ports;
        let connections = Connections {
            limit: self.orders.limit as u64,
            at_start,
            peak: pool.peak() as u64,
            opened: self.opened.get(),
        };
        Report { tally: recorder.finish(), watch, connections }
    }
}
