//! One thread's part of a run: its arrivals, connections and tally. Nothing here is shared with another thread but a
//! stop signal and, ten times a second, a copy of the counts for the display.

mod cadence;
mod closing;
mod deadlines;
mod flight;
mod gather;
mod opening;
mod pool;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use self::cadence::{Ahead, Cadence};
use self::deadlines::Deadlines;
use self::flight::{End, Flight};
use self::gather::Gather;
use self::pool::Pool;
use super::clock::{Timestamps, nanos, now_ns};
use super::control::Control;
use super::schedule::{Arrival, Arrivals};
use super::transport::{Completion, Dialer, Exchange, Reading, Transport, Wait};
use crate::bench::answer::redirect::Lead;
use crate::bench::record::recorder::Recorder;
use crate::bench::record::sample::{Cause, Fault, Outcome, Sample, Side};
use crate::bench::record::series::OpenSecond;
use crate::bench::record::slices::Slice;
use crate::bench::record::tally::Tally;
use crate::bench::request::flows::{Call, Later};
use crate::bench::request::mix::{Mix, Room};
use crate::bench::request::visit::Visit;
use crate::bench::result::summary::Connections;
use crate::bench::result::verdict::SelfWatch;
use crate::bench::run::config::{Io, Pacing};
use crate::bench::run::effort::Effort;
use crate::bench::run::progress::Shard;

/// How often the counts are copied for the display.
const PUBLISH_NS: u64 = 100_000_000;
/// How many due requests are begun before answers are looked at.
const BATCH: usize = 64;
/// How many answers are dealt with before the clock is looked at.
const ANSWERS: usize = 1024;

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
        Some(streams) => Transport::multiplexed(orders.dialer.clone(), streams)?,
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

    /// The next arrival of the schedule, if it is not beyond its end. In a closed loop that is as soon as there is a
    /// slot for it.
    fn upcoming(&self, now: u64) -> Option<Arrival> {
        let end = self.end();
        let is_within = |a: &Arrival| if self.orders.arrivals.is_closed_loop() { now < end } else { a.at_ns < end };
        self.orders.arrivals.peek().filter(is_within)
    }

    /// Takes the next step or arrival that is due.
    fn take_due(&mut self, now: u64) -> Option<Call> {
        if now >= self.deadline() {
            return None;
        }
        let due = self.upcoming(now).filter(|a| a.at_ns <= now);
        if let Some(step) = self.later.first_due().filter(|at| *at <= now) {
            // In a closed loop an arrival is due at any time: those who have begun go first.
            if self.orders.arrivals.is_closed_loop() || due.is_none_or(|a| step <= a.at_ns) {
                return self.later.pop();
            }
        }
        let arrival = due?;
        self.orders.arrivals.next();
        let visit = self.orders.mix.visit(arrival);
        if visit.is_some() {
            self.recorder.flows(arrival.at_ns).started += 1;
        }
        Some(Call { arrival, visit })
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
            let has_begun = !woken.is_for_due || self.begin_due_on_open(woken.at);
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

    /// From here on it watches itself for the result.
    fn warmed_up(&mut self) {
        self.watch = SelfWatch { not_opened: self.watch.not_opened, ..SelfWatch::default() };
        self.recorder.warmed_up(self.transport.warnings());
    }

    /// Says how many it has dealt with.
    fn deal_with_completions(&mut self) -> usize {
        let mut dealt = 0;
        while dealt < ANSWERS
            && let Some(completion) = self.transport.next()
        {
            self.complete(completion);
            dealt += 1;
        }
        if self.transport.regained() {
            self.pool.restore();
        }
        dealt
    }

    /// Whether a due request would find a place; those that the target does not allow at present are set aside.
    fn has_place(&mut self) -> bool {
        while let Some(slot) = self.pool.first() {
            if self.transport.has_place(slot) {
                return true;
            }
            self.pool.take().into_iter().for_each(|slot| self.pool.set_aside(slot));
        }
        false
    }

    /// Begins what is due while there is a place; says whether there may be more.
    fn begin_due(&mut self, now: u64) -> bool {
        for _ in 0..BATCH {
            if !self.has_place() {
                return false;
            }
            let Some(call) = self.take_due(now) else { return false };
            let Some(slot) = self.pool.take() else { return false };
            self.begin(slot, call);
        }
        true
    }

    /// Begins what is due before answers are read, which can wait, on connections that are known to be free; says
    /// whether there were enough of them.
    fn begin_due_on_open(&mut self, now: u64) -> bool {
        for _ in 0..BATCH {
            let is_free = |slot: &usize| self.transport.is_open(*slot);
            let Some(slot) = self.pool.first().filter(is_free) else { return false };
            let Some(call) = self.take_due(now) else { return true };
            self.pool.take();
            self.begin(slot, call);
        }
        true
    }

    /// Begins a request on a slot, with a connection if it has none.
    fn begin(&mut self, slot: usize, call: Call) {
        let Call { mut arrival, visit } = call;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, Slot::default);
        }
        let place = &mut self.slots[slot];
        let ready = arrival.at_ns.max(place.free_since);
        if self.orders.arrivals.is_closed_loop() {
            arrival.at_ns = ready;
        }
        if self.transport.is_open(slot) {
            let n = arrival.n;
            let (kind, request) = self.orders.mix.wire(n, visit.as_deref(), &mut self.room);
            let begun = self.transport.sending_at();
            self.transport.send(slot, &request);
            let mut flight = Flight::new(arrival, ready, begun).on(visit);
            flight.is_of(kind);
            place.flight = Some(flight);
        } else {
            place.flight = Some(Flight::dialing(arrival, ready, now_ns()).on(visit));
            self.dial(slot);
        }
        self.set_deadline(slot);
    }

    /// Sends the request that a slot's connection was opened for, or what a redirect has made of it.
    fn send(&mut self, slot: usize) {
        let Some(flight) = self.slots.get_mut(slot).and_then(|s| s.flight.as_mut()) else { return };
        let (kind, request) = self.orders.mix.wire(flight.n(), flight.visit(), &mut self.room);
        flight.is_of(kind);
        match flight.hop() {
            Some(hop) => self.transport.send(slot, &hop.write(&request, &mut self.detour)),
            None => self.transport.send(slot, &request),
        }
    }

    /// Sends it again, over another connection where this one has ended.
    fn send_again(&mut self, slot: usize) {
        // In HTTP/2 the failure of a request is not always that of its connection.
        if self.transport.is_open(slot) {
            self.send(slot);
        } else {
            self.dial(slot);
            self.set_deadline(slot);
        }
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Opened { slot, connect_ns, tls_ns } => {
                self.connected(connect_ns, tls_ns);
                if let Some(place) = self.slots.get_mut(slot) {
                    place.dialing = None;
                }
                self.send(slot);
            }
            Completion::Joined { slot } => self.send(slot),
            Completion::Answered { slot, status, exchange, mut answer } => {
                let Some(flight) = self.slots.get_mut(slot).and_then(|s| s.flight.as_mut()) else { return };
                let (lead, mut bodies) =
                    (self.orders.mix.lead(flight.n(), status, answer.as_deref(), flight.parts()), (0, 0));
                let outcome = match lead {
                    Lead::To(hop) => {
                        flight.redirect(&exchange, hop);
                        return self.send_again(slot);
                    }
                    Lead::Lost(fault) => Outcome::HttpError(fault),
                    Lead::End => match self.orders.mix.unpack(answer.as_deref_mut()) {
                        Err(fault) => Outcome::HttpError(fault),
                        Ok(unpacked) => {
                            bodies = unpacked;
                            let kind = flight.kind_in(&self.orders.mix);
                            self.orders.mix.judge(kind, status, answer.as_deref(), flight.visit_mut())
                        }
                    },
                };
                let finished = exchange.last_read;
                self.finish(slot, End { outcome, status: Some(status), finished, exchange, bodies });
            }
            Completion::Failed { slot, fault, status, exchange, is_reused } => {
                if is_reused && self.goes_again(slot, &fault, &exchange) {
                    self.send_again(slot);
                } else {
                    let outcome = Outcome::NetworkError(fault);
                    self.finish(slot, End { outcome, status, finished: now_ns(), exchange, bodies: (0, 0) });
                }
            }
        }
    }

    fn goes_again(&mut self, slot: usize, fault: &Fault, exchange: &Exchange) -> bool {
        let Some(flight) = self.slots.get_mut(slot).and_then(|s| s.flight.as_mut()) else { return false };
        let again = flight.may_go_again(&self.orders.mix, fault, exchange);
        if again {
            flight.go_again(exchange);
        }
        again
    }

    /// Records the request of a slot, and begins the next one if it is due already.
    fn finish(&mut self, slot: usize, end: End) {
        let Some(mut flight) = self.slots.get_mut(slot).and_then(|s| s.flight.take()) else { return };
        let visit = flight.take_visit();
        if let Outcome::NetworkError(fault) | Outcome::Timeout(fault) = &end.outcome {
            self.note_fault(fault);
        }
        let sample = flight.sample(self.start, &self.orders.mix, end);
        let finished = sample.finished;
        let next = visit.and_then(|visit| self.next_call(visit, &sample));
        self.recorder.record(sample, self.end());
        self.slots[slot].free_since = finished;
        self.slots[slot].dialing = None;
        if let Some(next) = next {
            self.later.push(next);
        }
        if !self.transport.has_place(slot) {
            return self.pool.set_aside(slot);
        }
        self.pool.give_back(slot, self.transport.is_open(slot));
        // A due request takes the least recently used connection, which may be another.
        if let Some(next) = self.take_due(finished)
            && let Some(slot) = self.pool.take()
        {
            self.begin(slot, next);
        }
    }

    /// The step of a flow that follows the one which has ended, if it goes on.
    fn next_call(&mut self, mut visit: Box<Visit>, ended: &Sample) -> Option<Call> {
        let counts = self.recorder.flows(visit.scheduled);
        if ended.outcome != Outcome::Ok {
            counts.broken += 1;
            return None;
        }
        match self.orders.mix.next_step(ended.n, &mut visit) {
            None => {
                counts.completed += 1;
                None
            }
            Some(think_ns) => {
                let arrival = Arrival { n: ended.n, at_ns: ended.finished.saturating_add(think_ns) };
                Some(Call { arrival, visit: Some(visit) })
            }
        }
    }

    /// When the request of a slot takes too long (CLOCK_MONOTONIC), as it stands.
    fn due_by(&self, slot: usize) -> Option<u64> {
        let place = &self.slots[slot];
        let answered = place.flight.as_ref()?.begun().saturating_add(nanos(self.orders.timeout));
        let connected =
            place.dialing.map_or(u64::MAX, |since| since.saturating_add(nanos(self.orders.connect_timeout)));
        Some(answered.min(connected))
    }

    /// Sees to it that the slot is looked at when its request takes too long.
    fn set_deadline(&mut self, slot: usize) {
        if let Some(due) = self.due_by(slot) {
            self.deadlines.set(slot, due);
        }
    }

    /// Ends the requests that take too long; `now` is in nanoseconds after the start. One whose answer has come in time
    /// does not, even if this thread was kept from reading it.
    fn expire(&mut self, now: u64) -> io::Result<()> {
        let now = now.saturating_add(self.start);
        if self.deadlines.first().is_none_or(|at| now < at) {
            return Ok(());
        }
        self.transport.wait(Wait::Not)?;
        self.deal_with_completions();
        while let Some(slot) = self.deadlines.pop(now) {
            // The slot may have another request by now.
            if self.due_by(slot).is_some_and(|due| due <= now) {
                self.time_out(slot);
            }
            self.set_deadline(slot);
        }
        Ok(())
    }

    fn time_out(&mut self, slot: usize) {
        let (phase, exchange) = self.transport.abort(slot);
        let detail = match self.slots[slot].dialing {
            Some(_) => format!("no connection within {:?}", self.orders.connect_timeout),
            None => format!("no complete answer within {:?}", self.orders.timeout),
        };
        let outcome = Outcome::Timeout(Fault::new(phase, Cause::Timeout, Side::Server, detail));
        self.finish(slot, End { outcome, status: None, finished: now_ns(), exchange, bodies: (0, 0) });
    }

    /// Opens a connection for the request of a slot.
    fn dial(&mut self, slot: usize) {
        if let Some(place) = self.slots.get_mut(slot) {
            place.dialing = Some(now_ns());
        }
        self.transport.open(slot);
    }

    /// Takes note of a connection that was opened.
    fn connected(&mut self, connect_ns: u64, tls_ns: Option<u64>) {
        self.opened += 1;
        self.recorder.connected(connect_ns, tls_ns);
    }

    /// Takes note of what this machine ran out of.
    fn note_fault(&mut self, fault: &Fault) {
        if fault.kind.side == Side::Client {
            self.watch.out_of_descriptors += u64::from(fault.kind.cause == Cause::Descriptors);
            self.watch.out_of_ports += u64::from(fault.kind.cause == Cause::Ports);
        }
    }

    fn publish(&mut self) {
        let now = self.now();
        if let Some(shard) = &self.orders.shard {
            shard.publish(self.recorder.tally(now), self.pool.busy() as u64);
        }
    }
}
