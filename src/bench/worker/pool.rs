//! The slots of one worker, a place for one connection each: which one a due request takes.

use std::collections::VecDeque;

/// The slots of one worker, at most `limit`.
#[derive(Debug, Default)]
pub struct Pool {
    slots: usize,
    /// Free slots with a connection, least recently used first.
    free: VecDeque<usize>,
    /// Free slots without one.
    vacant: VecDeque<usize>,
    /// Slots that cannot be used at present.
    aside: Vec<usize>,
    limit: usize,
    peak: usize,
}

impl Pool {
    /// An empty pool.
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Takes the slot of the least recently used free connection, else a vacant one, else a new one.
    pub fn take(&mut self) -> Option<usize> {
        let taken = self.free.pop_front().or_else(|| self.vacant.pop_front()).or_else(|| {
            (self.slots < self.limit).then(|| {
                self.slots += 1;
                self.slots - 1
            })
        });
        self.peak = self.peak.max(self.busy());
        taken
    }

    /// The slot that [`Self::take`] would give.
    pub fn first(&self) -> Option<usize> {
        let fresh = || (self.slots < self.limit).then_some(self.slots);
        self.free.front().or(self.vacant.front()).copied().or_else(fresh)
    }

    /// Keeps a taken slot from being used until [`Self::restore`].
    pub fn set_aside(&mut self, slot: usize) {
        self.aside.push(slot);
    }

    /// Has all slots used again that were set aside; says which.
    pub fn restore(&mut self) -> Vec<usize> {
        let restored = std::mem::take(&mut self.aside);
        self.vacant.extend(&restored);
        restored
    }

    /// Gives a taken slot back, with its connection or without.
    pub fn give_back(&mut self, slot: usize, is_open: bool) {
        if is_open { self.free.push_back(slot) } else { self.vacant.push_back(slot) }
    }

    /// Whether a quarter of its slots are free and have a connection.
    pub fn has_reserve(&self) -> bool {
        self.free.len() * 4 >= self.slots
    }

    /// How many are in use.
    pub fn busy(&self) -> usize {
        self.slots - self.free.len() - self.vacant.len() - self.aside.len()
    }

    /// The most that were in use at once since [`Self::forget_peak`].
    pub fn peak(&self) -> usize {
        self.peak
    }

    /// Begins to watch the peak anew.
    pub fn forget_peak(&mut self) {
        self.peak = self.busy();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_grows_to_its_limit_and_reuses_in_order() {
        let mut pool = Pool::new(3);
        let taken: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(taken, [0, 1, 2]);
        assert_eq!(pool.first(), None);
        pool.give_back(2, false);
        pool.give_back(0, true);
        assert_eq!(pool.busy(), 1);
        assert_eq!((pool.take(), pool.take(), pool.take()), (Some(0), Some(2), None));
        assert_eq!(pool.peak(), 3);
        pool.give_back(1, true);
        pool.forget_peak();
        assert_eq!(pool.peak(), 2);
    }

    #[test]
    fn a_quarter_is_a_reserve() {
        let mut pool = Pool::new(8);
        let mut taken: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert!(!pool.has_reserve());
        pool.give_back(taken.remove(0), true);
        pool.give_back(taken.remove(0), false);
        assert!(!pool.has_reserve(), "one in eight, and one that has no connection");
        pool.give_back(taken.remove(0), true);
        assert!(pool.has_reserve());
    }

    #[test]
    fn what_is_set_aside_is_neither_free_nor_busy() {
        let mut pool = Pool::new(2);
        assert_eq!(pool.first(), Some(0));
        let slot = pool.take().unwrap();
        pool.set_aside(slot);
        assert_eq!((pool.busy(), pool.first()), (0, Some(1)));
        assert_eq!(pool.take(), Some(1));
        assert_eq!((pool.first(), pool.take()), (None, None));
        assert_eq!(pool.restore(), [0]);
        assert_eq!((pool.busy(), pool.take()), (1, Some(0)));
    }
}
