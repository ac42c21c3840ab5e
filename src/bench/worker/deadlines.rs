//! When to look whether requests have taken too long.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The slots to look at, by when: at most one entry a slot counts, and it is never too late. A slot is usually looked at
/// for nothing, as its request has ended and another begun; that is cheaper than an entry for every request.
#[derive(Debug, Default)]
pub struct Deadlines {
    /// When (CLOCK_MONOTONIC), and which.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    /// The entry of a slot that counts.
    looked_at: Vec<Option<u64>>,
}

impl Deadlines {
    /// When the first slot is to be looked at (CLOCK_MONOTONIC).
    pub fn first(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Sees to it that a slot is looked at by `due` (CLOCK_MONOTONIC).
    pub fn set(&mut self, slot: usize, due: u64) {
        if self.looked_at.len() <= slot {
            self.looked_at.resize(slot + 1, None);
        }
        if self.looked_at[slot].is_none_or(|at| due < at) {
            self.looked_at[slot] = Some(due);
            self.due.push(Reverse((due, slot)));
        }
    }

    /// Takes the next slot that is to be looked at by `now` (CLOCK_MONOTONIC).
    pub fn pop(&mut self, now: u64) -> Option<usize> {
        while let Some(Reverse((at, slot))) = self.due.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.due.pop();
            // An earlier one may have taken its place.
            if self.looked_at[slot] == Some(at) {
                self.looked_at[slot] = None;
                return Some(slot);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_looked_at_once_and_as_early_as_asked_for() {
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.first(), None);
        deadlines.set(3, 50);
        deadlines.set(0, 40);
        deadlines.set(3, 60);
        deadlines.set(3, 30);
        assert_eq!(deadlines.first(), Some(30));
        assert_eq!(deadlines.pop(29), None);
        assert_eq!([deadlines.pop(50), deadlines.pop(50), deadlines.pop(100)], [Some(3), Some(0), None]);
        deadlines.set(3, 70);
        assert_eq!(deadlines.pop(70), Some(3));
    }

    #[test]
    fn many_requests_of_a_slot_make_one_entry() {
        let mut deadlines = Deadlines::default();
        (100..1_100).for_each(|due| deadlines.set(0, due));
        assert_eq!(deadlines.due.len(), 1);
    }
}
