//! Which request or flow an arrival turns out to be: drawn by weight.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// What an arrival turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// The single request of this kind.
    Request(usize),
    /// The flow of this number.
    Flow(usize),
}

/// All that an arrival can be, with their weights.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    all: Vec<Entry>,
    /// Running sums of the weights.
    bounds: Vec<u64>,
}

impl Entries {
    /// One more.
    pub(super) fn add(&mut self, entry: Entry, weight: u32) {
        self.all.push(entry);
        self.bounds.push(self.total() + u64::from(weight));
    }

    /// All of them, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry> {
        self.all.iter().copied()
    }

    /// The sum of all weights.
    pub(super) fn total(&self) -> u64 {
        self.bounds.last().copied().unwrap_or(0)
    }

    /// The only one, for which nothing is drawn.
    pub(super) fn only(&self) -> Option<Entry> {
        if let [entry] = self.all.as_slice() { Some(*entry) } else { None }
    }

    /// One of several, by weight; there is one of a weight above 0.
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> Entry {
        let drawn = rng.random_range(0..self.total().max(1));
        self.all[self.bounds.partition_point(|bound| *bound <= drawn)]
    }
}
