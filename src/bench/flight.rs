//! One request from its due time to its end: a connection if it has none, the exchange, the one retry that is allowed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;

use super::clock::now_ns;
use super::mix::Mix;
use super::sample::{Cause, Fault, Outcome, Phase, Sample, Side};
use super::schedule::Arrival;
use super::transport::{Connection, Failed, Meter};
use super::worker::Worker;

/// A request under way.
pub struct Flight {
    arrival: Arrival,
    ready: u64,
    meter: Rc<Meter>,
    /// When its first attempt began (CLOCK_MONOTONIC), once a second one replaces it in the meter.
    begun: Cell<u64>,
    retries: Cell<u64>,
    /// Heads that earlier attempts wrote, at least and at most as the server counts them.
    wire: Cell<(u64, u64)>,
    bytes: Cell<(u64, u64)>,
}

/// A request that has ended, and its connection if another request can go out on it.
pub struct Flown {
    /// What is known of it.
    pub sample: Sample,
    /// The connection.
    pub connection: Option<Connection>,
}

struct Ended {
    outcome: Outcome,
    status: Option<StatusCode>,
    finished: u64,
    connection: Option<Connection>,
}

impl Flight {
    /// A request that is about to begin; `ready` is in nanoseconds after the start.
    pub fn new(arrival: Arrival, ready: u64, meter: Rc<Meter>) -> Self {
        meter.reset();
        Self {
            arrival,
            ready,
            meter,
            begun: Cell::default(),
            retries: Cell::default(),
            wire: Cell::default(),
            bytes: Cell::default(),
        }
    }

    /// What it was scheduled as.
    pub fn arrival(&self) -> Arrival {
        self.arrival
    }

    /// Flies to the end: an answer, a failure or the timeout.
    pub(super) async fn fly(&self, worker: &Worker, connection: Option<Connection>) -> Flown {
        let (kind, request) = worker.orders.mix.request(self.arrival.n);
        let timeout = worker.orders.timeout;
        let exchange = self.exchange(worker, kind, request, connection);
        let ended = match tokio::time::timeout(timeout, exchange).await {
            Ok(ended) => ended,
            Err(_) => self.timed_out(timeout),
        };
        if let Outcome::NetworkError(fault) | Outcome::Timeout(fault) = &ended.outcome {
            worker.note_fault(fault);
        }
        let finished = ended.finished.saturating_sub(worker.start);
        let sample = self.sample(worker.start, kind, finished, ended.outcome, ended.status);
        Flown { sample, connection: ended.connection }
    }

    async fn exchange(
        &self,
        worker: &Worker,
        kind: usize,
        request: http::Request<bytes::Bytes>,
        connection: Option<Connection>,
    ) -> Ended {
        let mut open = connection.filter(Connection::is_open);
        loop {
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => {
                    self.meter.begin();
                    match worker.orders.dialer.open(&self.meter).await {
                        Ok(opened) => {
                            worker.connected(&opened);
                            opened.connection
                        }
                        Err(fault) => return Ended::failed(fault, None),
                    }
                }
            };
            let was_used = connection.is_used();
            match connection.exchange(request.clone()).await {
                Ok(answer) => return self.answered(answer.status, connection),
                Err(failed) => {
                    let again = was_used && (self.meter.bytes_written() == 0 || self.may_retry(worker, kind, &failed));
                    if !again {
                        return Ended::failed(failed.fault, failed.status);
                    }
                    self.prepare_second_attempt();
                }
            }
        }
    }

    /// The idle-close race: the server closed the reused connection while the request was on its way. Once, and only
    /// what may be sent twice.
    fn may_retry(&self, worker: &Worker, kind: usize, failed: &Failed) -> bool {
        self.retries.get() == 0
            && worker.orders.mix.is_idempotent(kind)
            && self.meter.bytes_read() == 0
            && matches!(failed.fault.kind.cause, Cause::Closed | Cause::Reset)
    }

    fn prepare_second_attempt(&self) {
        if self.begun.get() == 0 {
            self.begun.set(self.meter.begun());
        }
        // A request that not a byte was written of was not sent, and is not sent again.
        if self.meter.bytes_written() > 0 {
            self.retries.set(self.retries.get() + 1);
            // The rule takes it that the server never saw the first one; it cannot know.
            let (low, high) = self.wire.get();
            self.wire.set((low, high + u64::from(self.meter.head_is_written())));
        }
        let (read, written) = self.bytes.get();
        self.bytes.set((read + self.meter.bytes_read(), written + self.meter.bytes_written()));
        self.meter.reset();
    }

    fn answered(&self, status: StatusCode, connection: Connection) -> Ended {
        let outcome = if status.as_u16() < 400 {
            Outcome::Ok
        } else {
            Outcome::HttpError(Fault::new(Phase::Head, Cause::Status, Side::Server, format!("status {status}")))
        };
        Ended { outcome, status: Some(status), finished: self.meter.last_read(), connection: Some(connection) }
    }

    fn timed_out(&self, timeout: Duration) -> Ended {
        let detail = format!("no complete answer within {timeout:?}");
        let fault = Fault::new(self.meter.phase(), Cause::Timeout, Side::Server, detail);
        Ended { outcome: Outcome::Timeout(fault), status: None, finished: now_ns(), connection: None }
    }

    /// The sample of a request that is still under way when the run ends; `None` if it has not even begun.
    pub fn unfinished(&self, start: u64, mix: &Mix) -> Option<Sample> {
        let begun = self.begun.get().max(self.meter.begun());
        (begun > 0).then(|| {
            let finished = now_ns().saturating_sub(start);
            self.sample(start, mix.kind_of(self.arrival.n), finished, Outcome::Unfinished, None)
        })
    }

    fn sample(&self, start: u64, kind: usize, finished: u64, outcome: Outcome, status: Option<StatusCode>) -> Sample {
        let after_start = |instant: u64| instant.saturating_sub(start);
        let begun = if self.begun.get() > 0 { self.begun.get() } else { self.meter.begun() };
        // A failure before anything was begun (a dead connection, no descriptor) began when it was known.
        let started = if begun > 0 { after_start(begun) } else { finished };
        let (low, high) = self.wire.get();
        let head = u64::from(self.meter.head_is_written());
        let maybe = u64::from(self.meter.bytes_written() > 0);
        let (read, written) = self.bytes.get();
        Sample {
            n: self.arrival.n,
            kind,
            scheduled: self.arrival.at_ns,
            ready: self.ready,
            started,
            first_byte: after_start(self.meter.first_read()),
            finished,
            outcome,
            status: status.map(|s| s.as_u16()),
            retries: self.retries.get(),
            wire: (low + head, high + maybe),
            bytes: (read + self.meter.bytes_read(), written + self.meter.bytes_written()),
        }
    }
}

impl Ended {
    fn failed(fault: Fault, status: Option<StatusCode>) -> Self {
        Self { outcome: Outcome::NetworkError(fault), status, finished: now_ns(), connection: None }
    }
}
