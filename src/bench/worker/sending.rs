//! What is due: whether there is a place for it, and how it goes out.

use super::flight::Flight;
use super::{Slot, Worker};
use crate::bench::clock::now_ns;
use crate::bench::request::flows::Call;
use crate::bench::schedule::Arrival;

/// How many due requests are begun before answers are looked at.
const BATCH: usize = 64;

/// Whether what is due at `at` is still sent at `now`: until the deadline, and after it what fell due before it while the
/// thread slept, since it last `looked`. That is late by the wake-up only; what waited for a connection is not sent.
fn is_in_time(at: u64, now: u64, looked: u64, deadline: u64) -> bool {
    now < deadline || (looked < at && at < deadline)
}

impl Worker {
    /// The next arrival of the schedule, if it is not beyond its end. In a closed loop that is as soon as there is a
    /// slot for it.
    pub(super) fn upcoming(&self, now: u64) -> Option<Arrival> {
        let end = self.end();
        let is_within = |a: &Arrival| if self.orders.arrivals.is_closed_loop() { now < end } else { a.at_ns < end };
        self.orders.arrivals.peek().filter(is_within)
    }

    /// Takes the next step or arrival that is due, if it may still be sent.
    pub(super) fn take_due(&mut self, now: u64) -> Option<Call> {
        let (deadline, looked) = (self.deadline(), self.looked);
        let is_due = |at: u64| at <= now && is_in_time(at, now, looked, deadline);
        let due = self.upcoming(now).filter(|a| is_due(a.at_ns));
        if let Some(step) = self.later.first_due().filter(|at| is_due(*at)) {
            // In a closed loop an arrival is due at any time: those who have begun go first.
            if self.orders.arrivals.is_closed_loop() || due.is_none_or(|a| step <= a.at_ns) {
                return self.later.pop();
            }
        }
        let arrival = due?;
        self.orders.arrivals.next();
        Some(Call { arrival, visit: self.orders.mix.visit(arrival) })
    }

    /// Whether a due request would find a place; those that the target does not allow at present are set aside.
    pub(super) fn has_place(&mut self) -> bool {
        while let Some(slot) = self.pool.first() {
            if self.transport.has_place(slot) {
                return true;
            }
            self.pool.take().into_iter().for_each(|slot| self.pool.set_aside(slot));
        }
        false
    }

    /// Begins what is due while there is a place; says whether there may be more.
    pub(super) fn begin_due(&mut self, now: u64) -> bool {
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
    pub(super) fn begin_due_on_open(&mut self, now: u64) -> bool {
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
    pub(super) fn begin(&mut self, slot: usize, call: Call) {
        let Call { mut arrival, mut visit } = call;
        let ready = arrival.at_ns.max(self.place(slot).free_since);
        if self.orders.arrivals.is_closed_loop() {
            arrival.at_ns = ready;
        }
        if let Some(visit) = visit.as_deref_mut().filter(|visit| visit.step == 0) {
            visit.scheduled = arrival.at_ns;
            self.recorder.flows(arrival.at_ns).started += 1;
        }
        if self.transport.is_open(slot) {
            let n = arrival.n;
            let (kind, request) = self.orders.mix.wire(n, visit.as_deref(), &mut self.room);
            let begun = self.transport.sending_at();
            self.transport.send(slot, &request);
            let mut flight = Flight::new(arrival, ready, begun).on(visit);
            flight.is_of(kind);
            self.place(slot).flight = Some(flight);
        } else {
            self.place(slot).flight = Some(Flight::dialing(arrival, ready, now_ns()).on(visit));
            self.dial(slot);
        }
        self.set_deadline(slot);
    }

    /// Sends the request that a slot's connection was opened for, or what a redirect has made of it; over another
    /// connection where that one has ended.
    pub(super) fn send(&mut self, slot: usize) {
        // In HTTP/2 it may have ended with the requests that went before.
        if !self.transport.is_open(slot) && self.slots.get(slot).is_some_and(|place| place.flight.is_some()) {
            self.dial(slot);
            return self.set_deadline(slot);
        }
        let Some(flight) = self.slots.get_mut(slot).and_then(|s| s.flight.as_mut()) else { return };
        let (kind, request) = self.orders.mix.wire(flight.n(), flight.visit(), &mut self.room);
        flight.is_of(kind);
        match flight.hop() {
            Some(hop) => self.transport.send(slot, &hop.write(&request, &mut self.detour)),
            None => self.transport.send(slot, &request),
        }
    }

    /// Opens a connection for the request of a slot.
    fn dial(&mut self, slot: usize) {
        self.transport.open(slot);
        // Not earlier than the connection itself: when the first has waited long enough, it is as old.
        self.place(slot).dialing = Some(now_ns());
    }

    /// What is known of a slot.
    pub(super) fn place(&mut self, slot: usize) -> &mut Slot {
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, Slot::default);
        }
        &mut self.slots[slot]
    }
}

#[cfg(test)]
mod tests {
    use super::is_in_time;

    #[test]
    fn a_wake_up_just_after_the_deadline_sends_what_it_slept_for_and_nothing_else() {
        let (deadline, looked) = (1_000, 900);
        assert!(is_in_time(850, 999, looked, deadline), "before the deadline all that is due is sent");
        assert!(is_in_time(950, 1_003, looked, deadline));
        assert!(!is_in_time(900, 1_003, looked, deadline), "it found no place at the last look");
        assert!(!is_in_time(1_000, 1_003, looked, deadline), "it was not due before the deadline");
    }
}
