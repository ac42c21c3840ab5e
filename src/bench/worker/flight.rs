//! One request from its due time to its end, over all its attempts and redirects.

use crate::bench::answer::redirect::Hop;
use crate::bench::record::sample::{Cause, Fault, Outcome, Sample};
use crate::bench::request::mix::Mix;
use crate::bench::request::visit::Visit;
use crate::bench::schedule::Arrival;
use crate::bench::transport::Exchange;

/// How often a request is sent again because the target says that it did not process it.
const MOST_REFUSALS: u64 = 3;

/// A request under way.
#[derive(Debug)]
pub struct Flight {
    arrival: Arrival,
    /// Nanoseconds after the start.
    ready: u64,
    /// When its first attempt began (CLOCK_MONOTONIC).
    begun: u64,
    /// Its kind, once its content is known.
    kind: Option<usize>,
    retries: u64,
    /// Attempts that the target says it did not process.
    refusals: u64,
    /// What redirects have made of it.
    hop: Option<Box<Hop>>,
    /// How many it went through.
    redirects: u64,
    /// When it started (CLOCK_MONOTONIC), once it was redirected: before that its last attempt says so.
    started: Option<u64>,
    /// Heads that earlier attempts wrote, at least and at most as the server counts them.
    wire: (u64, u64),
    /// Bytes that earlier attempts read and wrote.
    bytes: (u64, u64),
    /// Whether it needed a connection to be opened: at its beginning, or for another attempt.
    dials: bool,
    /// The run through a flow of which it is a step.
    visit: Option<Box<Visit>>,
}

/// How a request ended.
#[derive(Debug)]
pub struct End {
    /// Well or not.
    pub outcome: Outcome,
    /// Status of the answer, where its head came.
    pub status: Option<u16>,
    /// When (CLOCK_MONOTONIC).
    pub finished: u64,
    /// What was seen of its last attempt.
    pub exchange: Exchange,
    /// Bytes of the answer's body as they came, and decompressed; 0 where nothing is decompressed.
    pub bodies: (u64, u64),
}

impl Flight {
    /// A request that begins at `begun`; `ready` is in nanoseconds after the start.
    pub fn new(arrival: Arrival, ready: u64, begun: u64) -> Self {
        Self {
            arrival,
            ready,
            begun,
            kind: None,
            retries: 0,
            refusals: 0,
            hop: None,
            redirects: 0,
            started: None,
            wire: (0, 0),
            bytes: (0, 0),
            dials: false,
            visit: None,
        }
    }

    /// A request that begins with the opening of a connection.
    pub fn dialing(arrival: Arrival, ready: u64, begun: u64) -> Self {
        Self { dials: true, ..Self::new(arrival, ready, begun) }
    }

    /// Says that it is a step of a flow.
    #[must_use]
    pub fn on(self, visit: Option<Box<Visit>>) -> Self {
        Self { visit, ..self }
    }

    /// The run through a flow of which it is a step.
    pub fn visit(&self) -> Option<&Visit> {
        self.visit.as_deref()
    }

    /// What redirects have made of it, and the run through a flow, to be changed.
    pub fn parts(&mut self) -> (Option<&Hop>, Option<&mut Visit>) {
        (self.hop.as_deref(), self.visit.as_deref_mut())
    }

    /// The same, to be changed.
    pub fn visit_mut(&mut self) -> Option<&mut Visit> {
        self.visit.as_deref_mut()
    }

    /// Takes the run through a flow out, for its next step.
    pub fn take_visit(&mut self) -> Option<Box<Visit>> {
        self.visit.take()
    }

    /// Its number in the run.
    pub fn n(&self) -> u64 {
        self.arrival.n
    }

    /// When its first attempt began (CLOCK_MONOTONIC).
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Says what its content turned out to be.
    pub fn is_of(&mut self, kind: usize) {
        self.kind = Some(kind);
    }

    /// Whether a failed attempt on a reused connection is followed by another.
    ///
    /// That is the idle-close race: the server closed the connection while the request was on its way. Once, and only
    /// what may be sent twice. A request of which not a byte was written was not sent, and is not sent again. One that
    /// the target says it did not process is, whatever it is.
    pub fn may_go_again(&self, mix: &Mix, fault: &Fault, exchange: &Exchange) -> bool {
        let is_race = self.retries == 0
            && exchange.read == 0
            && matches!(fault.kind.cause, Cause::Closed | Cause::Reset)
            && mix.is_idempotent(self.kind_in(mix));
        let is_unprocessed = exchange.is_refused && self.refusals < MOST_REFUSALS;
        exchange.written == 0 || is_race || is_unprocessed
    }

    /// Takes note of an attempt that another follows.
    pub fn go_again(&mut self, exchange: &Exchange) {
        if exchange.written > 0 {
            self.retries += 1;
            self.refusals += u64::from(exchange.is_refused);
            // The rule takes it that the server never saw the first one; it cannot know.
            self.wire.1 += u64::from(exchange.head_is_written && !exchange.is_refused);
        }
        self.dials = true;
        self.bytes.0 += exchange.read;
        self.bytes.1 += exchange.written;
    }

    /// What redirects have made of it, if it went through one.
    pub fn hop(&self) -> Option<&Hop> {
        self.hop.as_deref()
    }

    /// Takes note of an answer that leads on.
    pub fn redirect(&mut self, exchange: &Exchange, hop: Hop) {
        self.started = Some(self.started(exchange));
        self.hop = Some(Box::new(hop));
        self.redirects += 1;
        self.wire.0 += u64::from(exchange.head_is_written);
        self.wire.1 += u64::from(exchange.written > 0);
        self.bytes.0 += exchange.read;
        self.bytes.1 += exchange.written;
    }

    /// When it started (CLOCK_MONOTONIC): when its first bytes were handed over, or a connection for them begun.
    fn started(&self, exchange: &Exchange) -> u64 {
        let first = if self.dials { self.begun } else { self.begun.max(exchange.started) };
        self.started.unwrap_or(first)
    }

    /// What is known of it after its end, in a run that began at `start` (CLOCK_MONOTONIC).
    pub fn sample(&self, start: u64, mix: &Mix, end: End) -> Sample {
        let after_start = |instant: u64| instant.saturating_sub(start);
        let End { outcome, status, finished, exchange, bodies } = end;
        let wire_most = u64::from(exchange.written > 0 && !exchange.is_refused);
        Sample {
            n: self.arrival.n,
            kind: self.kind_in(mix),
            scheduled: self.arrival.at_ns,
            ready: self.ready,
            started: after_start(self.started(&exchange)),
            first_byte: after_start(exchange.first_read),
            finished: after_start(finished),
            outcome,
            status,
            retries: self.retries,
            redirects: self.redirects,
            bodies,
            wire: (self.wire.0 + u64::from(exchange.head_is_written && !exchange.is_refused), self.wire.1 + wire_most),
            bytes: (self.bytes.0 + exchange.read, self.bytes.1 + exchange.written),
        }
    }

    /// Its kind.
    pub fn kind_in(&self, mix: &Mix) -> usize {
        match (self.kind, self.visit()) {
            (Some(kind), _) => kind,
            (None, Some(visit)) => mix.kind_of_step(visit),
            (None, None) => mix.kind_of(self.arrival.n),
        }
    }
}
