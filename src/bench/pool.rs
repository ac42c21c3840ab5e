//! The connections of one worker: which one a due request takes.

use std::collections::VecDeque;
use std::rc::Rc;

use super::transport::{Connection, Meter};

/// A place for one connection.
#[derive(Default)]
pub struct Slot {
    /// The connection, while no request uses it.
    pub connection: Option<Connection>,
    /// What its exchanges report to.
    pub meter: Rc<Meter>,
    /// Since when it is free, in nanoseconds after the start.
    pub free_since: u64,
}

/// The connections of one worker, at most `limit`.
#[derive(Default)]
pub struct Pool {
    slots: Vec<Slot>,
    /// Free slots with a connection, least recently used first.
    free: VecDeque<usize>,
    /// Free slots whose connection is gone.
    vacant: VecDeque<usize>,
    limit: usize,
    peak: usize,
}

impl Pool {
    /// An empty pool.
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Adds a slot, with the connection that was opened for it beforehand, if any.
    pub fn add(&mut self, connection: Option<Connection>, meter: Rc<Meter>) {
        let index = self.slots.len();
        let queue = if connection.is_some() { &mut self.free } else { &mut self.vacant };
        queue.push_back(index);
        self.slots.push(Slot { connection, meter, free_since: 0 });
    }

    /// Whether a due request would find a place.
    pub fn has_free(&self) -> bool {
        !self.free.is_empty() || !self.vacant.is_empty() || self.slots.len() < self.limit
    }

    /// Takes the least recently used free connection, else a vacant place, else a new one.
    pub fn take(&mut self) -> Option<usize> {
        let taken = self.free.pop_front().or_else(|| self.vacant.pop_front()).or_else(|| {
            (self.slots.len() < self.limit).then(|| {
                self.slots.push(Slot::default());
                self.slots.len() - 1
            })
        });
        self.peak = self.peak.max(self.busy());
        taken
    }

    /// Gives a taken slot back.
    pub fn give_back(&mut self, index: usize, connection: Option<Connection>, free_since: u64) {
        let is_open = connection.is_some();
        if let Some(slot) = self.slots.get_mut(index) {
            slot.connection = connection;
            slot.free_since = free_since;
        }
        if is_open { self.free.push_back(index) } else { self.vacant.push_back(index) }
    }

    /// The slot of an index that [`Self::take`] gave.
    pub fn slot(&mut self, index: usize) -> Option<&mut Slot> {
        self.slots.get_mut(index)
    }

    /// How many are in use.
    pub fn busy(&self) -> usize {
        self.slots.len() - self.free.len() - self.vacant.len()
    }

    /// The most that were in use at once.
    pub fn peak(&self) -> usize {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_grows_to_its_limit_and_reuses_in_order() {
        let mut pool = Pool::new(3);
        pool.add(None, Rc::default());
        let taken: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(taken, [0, 1, 2]);
        assert!(!pool.has_free());
        pool.give_back(2, None, 10);
        pool.give_back(0, None, 20);
        assert_eq!(pool.busy(), 1);
        assert_eq!((pool.take(), pool.take(), pool.take()), (Some(2), Some(0), None));
        assert_eq!(pool.peak(), 3);
    }
}
