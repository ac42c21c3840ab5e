//! What has come: answers and failures, what follows from them, and what is recorded.

use super::Worker;
use super::flight::End;
use crate::bench::answer::redirect::Lead;
use crate::bench::clock::now_ns;
use crate::bench::record::sample::{Cause, Fault, Outcome, Sample, Side};
use crate::bench::request::flows::Call;
use crate::bench::request::visit::Visit;
use crate::bench::schedule::Arrival;
use crate::bench::transport::{Completion, Exchange};

/// How many answers are dealt with before the clock is looked at.
const ANSWERS: usize = 1024;

impl Worker {
    /// Says how many it has dealt with.
    pub(super) fn deal_with_completions(&mut self) -> usize {
        let mut dealt = 0;
        while dealt < ANSWERS
            && let Some(completion) = self.transport.next()
        {
            self.complete(completion);
            dealt += 1;
        }
        if self.transport.regained() {
            let now = self.now();
            // They were no place for a request before.
            for slot in self.pool.restore() {
                self.place(slot).free_since = now;
            }
        }
        dealt
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Opened { slot, connect_ns, tls_ns } => {
                self.connected(connect_ns, tls_ns);
                self.place(slot).dialing = None;
                self.send(slot);
            }
            Completion::Joined { slot } => {
                self.place(slot).dialing = None;
                self.send(slot);
            }
            Completion::Answered { slot, status, exchange, mut answer } => {
                let Some(flight) = self.slots.get_mut(slot).and_then(|s| s.flight.as_mut()) else { return };
                let (lead, mut bodies) =
                    (self.orders.mix.lead(flight.n(), status, answer.as_deref(), flight.parts()), (0, 0));
                let outcome = match lead {
                    Lead::To(hop) => {
                        flight.redirect(&exchange, hop);
                        return self.send(slot);
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
                    self.send(slot);
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
    pub(super) fn finish(&mut self, slot: usize, end: End) {
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

    /// Takes note of what this machine ran out of.
    pub(super) fn note_fault(&mut self, fault: &Fault) {
        if fault.kind.side == Side::Client {
            self.watch.out_of_descriptors += u64::from(fault.kind.cause == Cause::Descriptors);
            self.watch.out_of_ports += u64::from(fault.kind.cause == Cause::Ports);
        }
    }

    /// Takes note of a connection that was opened.
    pub(super) fn connected(&mut self, connect_ns: u64, tls_ns: Option<u64>) {
        self.opened += 1;
        self.recorder.connected(connect_ns, tls_ns);
    }
}
