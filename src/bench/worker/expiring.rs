//! What takes too long.

use std::io;

use super::Worker;
use super::flight::End;
use crate::bench::clock::{nanos, now_ns};
use crate::bench::record::sample::{Cause, Fault, Outcome, Side};
use crate::bench::transport::Wait;

impl Worker {
    /// When the request of a slot takes too long (CLOCK_MONOTONIC), as it stands.
    fn due_by(&self, slot: usize) -> Option<u64> {
        let place = &self.slots[slot];
        let answered = place.flight.as_ref()?.begun().saturating_add(nanos(self.orders.timeout));
        let connected =
            place.dialing.map_or(u64::MAX, |since| since.saturating_add(nanos(self.orders.connect_timeout)));
        Some(answered.min(connected))
    }

    /// Sees to it that the slot is looked at when its request takes too long.
    pub(super) fn set_deadline(&mut self, slot: usize) {
        if let Some(due) = self.due_by(slot) {
            self.deadlines.set(slot, due);
        }
    }

    /// Ends the requests that take too long; `now` is in nanoseconds after the start. One whose answer has come in time
    /// does not, even if this thread was kept from reading it.
    pub(super) fn expire(&mut self, now: u64) -> io::Result<()> {
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
}
