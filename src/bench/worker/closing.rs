//! What a worker leaves behind when its time is over.

use super::flight::End;
use super::{Report, Worker};
use crate::bench::clock::now_ns;
use crate::bench::record::sample::Outcome;
use crate::bench::result::summary::{Connections, Streams};

impl Worker {
    /// Counts the flows that are between two steps; gives how many steps were due and never sent.
    fn close_flows(&mut self) -> u64 {
        let over = self.now().min(self.deadline());
        let mut left = 0;
        while let Some(call) = self.later.pop() {
            let Some(visit) = call.visit else { continue };
            self.recorder.flows(visit.scheduled).unfinished += 1;
            if call.arrival.at_ns < over {
                self.recorder.unsent(self.orders.mix.kind_of_step(&visit), call.arrival.at_ns);
                left += 1;
            }
        }
        left
    }

    /// Counts what is still in flight, and what was never sent.
    pub(super) fn close(mut self, at_start: u64) -> Report {
        let end = self.end();
        let is_aborted = self.orders.control.is_aborted();
        for slot in 0..self.slots.len() {
            let Some(flight) = self.slots[slot].flight.take() else { continue };
            if let Some(visit) = flight.visit() {
                self.recorder.flows(visit.scheduled).unfinished += 1;
            }
            let (_, exchange) = self.transport.abort(slot);
            let outcome = Outcome::Unfinished;
            let unfinished = End { outcome, status: None, finished: now_ns(), exchange, bodies: (0, 0) };
            let sample = flight.sample(self.start, &self.orders.mix, unfinished);
            self.recorder.record(sample, end);
        }
        let mut left = self.close_flows();
        // In a closed loop nothing is scheduled that is not sent.
        while !self.orders.arrivals.is_closed_loop()
            && let Some(arrival) = self.upcoming(0)
        {
            self.orders.arrivals.next();
            self.recorder.unsent(self.orders.mix.kind_of(arrival.n), arrival.at_ns);
            left += u64::from(arrival.at_ns >= self.orders.warmup_ns);
        }
        if self.has_place() && !is_aborted {
            self.watch.unsent_while_free += left;
        }
        self.recorder.warned(self.transport.warnings());
        let usage = self.transport.usage().zip(self.orders.streams);
        let connections = Connections {
            limit: self.orders.limit as u64,
            at_start,
            peak: usage.map_or(self.pool.peak(), |((peak, _), _)| peak.connections) as u64,
            opened: self.opened,
            streams: usage.map(|((peak, allowed), streams)| Streams {
                per_connection: streams as u64,
                allowed: allowed.map(|allowed| allowed as u64),
                peak: peak.streams as u64,
            }),
        };
        let (tally, warmup) = self.recorder.finish();
        let (io, timestamps) = (self.transport.name(), self.transport.timestamps());
        Report { tally, warmup, watch: self.watch, connections, io, timestamps }
    }
}
