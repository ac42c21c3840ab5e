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
    limit: usize,
    peak: usize,
}

impl Pool {
    /// An empty pool.
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Whether a due request would find a place.
    pub fn has_free(&self) -> bool {
        !self.free.is_empty() || !self.vacant.is_empty() || self.slots < self.limit
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

    /// Gives a taken slot back, with its connection or without.
    pub fn give_back(&mut self, slot: usize, is_open: bool) {
        if is_open { self.free.push_back(slot) } else { self.vacant.push_back(slot) }
    }

    /// How many are in use.
    pub fn busy(&self) -> usize {
        self.slots - self.free.len() - self.vacant.len()
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
        assert!(!pool.has_free());
        pool.give_back(2, false);
        pool.give_back(0, true);
        assert_eq!(pool.busy(), 1);
        assert_eq!((pool.take(), pool.take(), pool.take()), (Some(0), Some(2), None));
        assert_eq!(pool.peak(), 3);
        pool.give_back(1, true);
        pool.forget_peak();
        assert_eq!(pool.peak(), 2);
    }
}
