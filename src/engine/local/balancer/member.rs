//! The members of a balancer: which one takes the next request, and what each has in flight.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::upstream::Pool;

/// Whether a member takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum State {
    /// It takes requests.
    Ready,
    /// Its probe says that it is not ready: it takes requests only where no member is ready. A probe that fails
    /// everywhere says more about the machine or about what all members share than about each, and an answer of the
    /// service, be it a 503 of its own, is better than none.
    Unready,
    /// It did not accept a connection; it takes none until the probe finds it ready.
    Ejected,
    /// It is on its way out: it finishes what it has.
    Draining,
}

impl State {
    fn of(value: u8) -> Self {
        match value {
            0 => Self::Ready,
            1 => Self::Unready,
            2 => Self::Ejected,
            _ => Self::Draining,
        }
    }
}

/// A member as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The name it was added under: that of its replica.
    pub id: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it takes requests.
    pub state: State,
    /// Requests and tunnels that have not ended yet.
    pub in_flight: usize,
    /// Requests it was chosen for.
    pub requests: u64,
    /// Connections it did not accept, and requests it took without answering.
    pub failures: u64,
}

/// One member at one address.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: String,
    pub(super) address: SocketAddr,
    pub(super) pool: Pool,
    state: AtomicU8,
    in_flight: AtomicUsize,
    empty: Notify,
    requests: AtomicU64,
    failures: AtomicU64,
}

impl Slot {
    fn new(id: &str, address: SocketAddr) -> Self {
        Self {
            id: id.to_owned(),
            address,
            pool: Pool::default(),
            state: AtomicU8::new(State::Ready as u8),
            in_flight: AtomicUsize::new(0),
            empty: Notify::new(),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    pub(super) fn state(&self) -> State {
        State::of(self.state.load(Ordering::SeqCst))
    }

    /// Moves from one state to another; false when it was in neither.
    fn change(&self, from: State, to: State) -> bool {
        self.state.compare_exchange(from as u8, to as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    pub(super) fn set_ready(&self, ready: bool) {
        if ready {
            _ = self.change(State::Unready, State::Ready) || self.change(State::Ejected, State::Ready);
        } else {
            self.change(State::Ready, State::Unready);
        }
    }

    /// Takes it out of the choice; true when it was in.
    pub(super) fn eject(&self) -> bool {
        self.change(State::Ready, State::Ejected) || self.change(State::Unready, State::Ejected)
    }

    pub(super) fn drain(&self) {
        self.state.store(State::Draining as u8, Ordering::SeqCst);
        self.pool.close();
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until nothing is in flight, at most `timeout`; returns what is left.
    pub(super) async fn idle(&self, timeout: Duration) -> usize {
        let wait = async {
            loop {
                let notified = self.empty.notified();
                if self.in_flight.load(Ordering::SeqCst) == 0 {
                    return;
                }
                notified.await;
            }
        };
        _ = tokio::time::timeout(timeout, wait).await;
        self.in_flight.load(Ordering::SeqCst)
    }

    fn view(&self) -> Member {
        Member {
            id: self.id.clone(),
            address: self.address,
            state: self.state(),
            in_flight: self.in_flight.load(Ordering::SeqCst),
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

/// A request's place at a member; in flight until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket(Arc<Slot>);

impl Ticket {
    /// A place at `slot`, unless it has stopped taking requests.
    ///
    /// The state is read after the count was raised, and `drain` followed by `idle` does it the other way round: in
    /// the single order of these SeqCst operations either this sees the drain, or `idle` sees this request.
    fn take(slot: &Arc<Slot>) -> Option<Self> {
        slot.in_flight.fetch_add(1, Ordering::SeqCst);
        let ticket = Self(slot.clone());
        if matches!(slot.state(), State::Ejected | State::Draining) {
            return None;
        }
        slot.requests.fetch_add(1, Ordering::Relaxed);
        Some(ticket)
    }

    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.0
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.empty.notify_waiters();
        }
    }
}

/// All members. The list is replaced as a whole, so that choosing holds the lock for a clone of one pointer.
#[derive(Debug, Default)]
pub(super) struct Members {
    list: RwLock<Arc<[Arc<Slot>]>>,
    turn: AtomicUsize,
}

impl Members {
    pub(super) fn snapshot(&self) -> Arc<[Arc<Slot>]> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn edit(&self, change: impl FnOnce(&mut Vec<Arc<Slot>>)) {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let mut slots = list.to_vec();
        change(&mut slots);
        *list = slots.into();
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Slot>> {
        self.snapshot().iter().find(|slot| slot.id == id).cloned()
    }

    pub(super) fn add(&self, id: &str, address: SocketAddr) {
        self.edit(|slots| match slots.iter_mut().find(|slot| slot.id == id) {
            Some(slot) if slot.address == address => {
                slot.pool.open();
                slot.state.store(State::Ready as u8, Ordering::SeqCst);
            }
            Some(slot) => {
                slot.drain();
                let moved = Slot::new(id, address);
                moved.requests.store(slot.requests.load(Ordering::Relaxed), Ordering::Relaxed);
                moved.failures.store(slot.failures.load(Ordering::Relaxed), Ordering::Relaxed);
                *slot = Arc::new(moved);
            }
            None => slots.push(Arc::new(Slot::new(id, address))),
        });
    }

    pub(super) fn remove(&self, id: &str) {
        self.edit(|slots| {
            slots.retain(|slot| {
                let keep = slot.id != id;
                if !keep {
                    slot.drain();
                }
                keep
            });
        });
    }

    pub(super) fn list(&self) -> Vec<Member> {
        self.snapshot().iter().map(|slot| slot.view()).collect()
    }

    /// Whether a member other than `slot` takes requests.
    pub(super) fn another_is_ready(&self, slot: &Arc<Slot>) -> bool {
        self.snapshot().iter().any(|other| !Arc::ptr_eq(other, slot) && other.state() == State::Ready)
    }

    /// A place at the ready member with the fewest requests in flight, in turn among equals, none of `tried`; where none
    /// is ready, at one whose probe says that it is not.
    pub(super) fn pick(&self, tried: &[Arc<Slot>]) -> Option<Ticket> {
        self.pick_in(State::Ready, tried).or_else(|| self.pick_in(State::Unready, tried))
    }

    fn pick_in(&self, state: State, tried: &[Arc<Slot>]) -> Option<Ticket> {
        let slots = self.snapshot();
        loop {
            let start = self.turn.fetch_add(1, Ordering::Relaxed) % slots.len().max(1);
            let (behind, before) = slots.split_at(start.min(slots.len()));
            let least = before
                .iter()
                .chain(behind)
                .filter(|slot| slot.state() == state && !tried.iter().any(|t| Arc::ptr_eq(t, slot)))
                .min_by_key(|slot| slot.in_flight.load(Ordering::Relaxed))?;
            if let Some(ticket) = Ticket::take(least) {
                return Some(ticket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(n: u16) -> Members {
        let members = Members::default();
        for i in 1..=n {
            members.add(&format!("api-{i}"), SocketAddr::from(([127, 0, 0, 1], 9000 + i)));
        }
        members
    }

    #[test]
    fn equals_take_turns() {
        let members = members(3);
        for _ in 0..9 {
            members.pick(&[]).unwrap();
        }
        assert_eq!(members.list().iter().map(|m| m.requests).collect::<Vec<_>>(), [3, 3, 3]);
    }

    #[test]
    fn the_fewest_in_flight_is_chosen() {
        let members = members(3);
        let held = [members.pick(&[]).unwrap(), members.pick(&[]).unwrap()];
        let busy = held.iter().map(|t| t.slot().id.clone()).collect::<Vec<_>>();
        for _ in 0..5 {
            assert!(!busy.contains(&members.pick(&[]).unwrap().slot().id));
        }
    }

    #[test]
    fn nobody_is_chosen_who_was_tried_ejected_or_drained() {
        let members = members(3);
        members.find("api-1").unwrap().eject();
        members.find("api-2").unwrap().drain();
        let ticket = members.pick(&[]).unwrap();
        assert_eq!(ticket.slot().id, "api-3");
        assert!(members.pick(&[ticket.slot().clone()]).is_none());
        assert!(Members::default().pick(&[]).is_none());
    }

    #[test]
    fn the_unready_are_chosen_only_where_nobody_is_ready() {
        let members = members(3);
        members.find("api-1").unwrap().set_ready(false);
        members.find("api-2").unwrap().eject();
        for _ in 0..5 {
            assert_eq!(members.pick(&[]).unwrap().slot().id, "api-3");
        }
        members.find("api-3").unwrap().set_ready(false);
        let chosen: Vec<_> = (0..6).map(|_| members.pick(&[]).unwrap().slot().id.clone()).collect();
        assert!(chosen.contains(&"api-1".to_owned()) && chosen.contains(&"api-3".to_owned()), "{chosen:?}");
        assert!(!chosen.contains(&"api-2".to_owned()), "{chosen:?}");
    }

    #[test]
    fn a_probe_brings_back_the_ejected_but_not_the_draining() {
        let members = members(2);
        let (first, second) = (members.find("api-1").unwrap(), members.find("api-2").unwrap());
        first.set_ready(false);
        second.drain();
        first.set_ready(true);
        second.set_ready(true);
        assert_eq!((first.state(), second.state()), (State::Ready, State::Draining));
    }

    #[test]
    fn a_member_that_moved_keeps_its_counts() {
        let members = members(1);
        drop(members.pick(&[]));
        members.find("api-1").unwrap().failed();
        let moved = SocketAddr::from(([127, 0, 0, 1], 9999));
        members.add("api-1", moved);
        let view = members.list().remove(0);
        assert_eq!((view.address, view.requests, view.failures, view.state), (moved, 1, 1, State::Ready));
    }

    #[tokio::test]
    async fn waiting_for_the_last_request_ends_with_it() {
        let members = members(1);
        let slot = members.find("api-1").unwrap();
        let ticket = members.pick(&[]).unwrap();
        slot.drain();
        assert_eq!(slot.idle(Duration::from_millis(5)).await, 1);
        let waiting = tokio::spawn(async move { slot.idle(Duration::from_secs(30)).await });
        drop(ticket);
        assert_eq!(waiting.await.unwrap(), 0);
    }
}
