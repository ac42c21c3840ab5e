//! The connections that are there at the start.

use std::io;

use super::{Event, Worker};
use crate::bench::clock::{nanos, now_ns};
use crate::bench::record::sample::{Cause, Fault, Side};
use crate::bench::transport::{Completion, Wait};

/// How many connections are being opened at the same time before the start, so that the target's backlog holds them.
const OPENING: usize = 128;

impl Worker {
    /// Opens `at_start` connections, many at the same time, and tells the main thread how that went.
    pub(super) fn open_before_start(&mut self) -> io::Result<()> {
        let mut faults = Vec::new();
        let mut opening = Vec::new();
        // Given back when all are there: until then each connection has a slot of its own.
        let mut taken = Vec::new();
        let streams = self.orders.streams.unwrap_or(1);
        let mut left = self.orders.at_start;
        let mut deadline = u64::MAX;
        while left > 0 || !opening.is_empty() {
            while opening.len() < OPENING && left > 0 {
                left -= 1;
                let Some(slot) = self.pool.take() else { break };
                // The others of the same connection are the next ones.
                for _ in 1..streams {
                    let _ = self.pool.take();
                }
                opening.push(slot);
                taken.push(slot);
                self.transport.open(slot);
                deadline = now_ns().saturating_add(nanos(self.orders.connect_timeout));
            }
            self.transport.wait(Wait::Until(deadline))?;
            while let Some(completion) = self.transport.next() {
                let slot = completion.slot();
                opening.retain(|o| *o != slot);
                match completion {
                    Completion::Opened { connect_ns, tls_ns, .. } => self.connected(connect_ns, tls_ns),
                    Completion::Failed { fault, .. } => faults.push(fault),
                    Completion::Answered { .. } | Completion::Joined { .. } => {}
                }
            }
            if now_ns() >= deadline {
                for slot in opening.drain(..) {
                    let (phase, _) = self.transport.abort(slot);
                    let detail = format!("no connection within {:?}", self.orders.connect_timeout);
                    faults.push(Fault::new(phase, Cause::Timeout, Side::Server, detail));
                }
            }
        }
        // So that requests go to all connections before one has two.
        for slot in (0..streams).flat_map(|place| taken.iter().map(move |slot| slot + place)) {
            self.pool.give_back(slot, self.transport.is_open(slot));
        }
        self.pool.forget_peak();
        self.watch.not_opened = faults.len() as u64;
        faults.iter().for_each(|fault| self.note_fault(fault));
        // Whoever no longer listens has given the run up.
        let _ = self.orders.events.send(Event::Opened { open: self.opened as usize, faults });
        Ok(())
    }
}
