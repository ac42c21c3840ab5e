//! What a worker shows of its counts while it goes on.

use std::sync::{Mutex, PoisonError};

use crate::bench::record::distribution::Distribution;
use crate::bench::record::tally::{Counts, Tally};

/// One worker's published counts.
#[derive(Default)]
pub struct Shard {
    latest: Mutex<Latest>,
}

/// What was published last.
#[derive(Default)]
pub struct Latest {
    /// How many ended how.
    pub counts: Counts,
    /// How long that was counted, in nanoseconds; 0 in the warm-up.
    pub counted_ns: u64,
    /// How many requests were under way.
    pub in_flight: u64,
    /// Response times of those that ended well.
    pub response: Distribution,
}

impl Shard {
    /// Replaces what was published; it was counted for `counted_ns` nanoseconds, 0 in the warm-up.
    pub fn publish(&self, tally: &Tally, counted_ns: u64, in_flight: u64) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.counts = tally.counts;
        latest.counted_ns = counted_ns;
        latest.in_flight = in_flight;
        latest.response.clone_from(&tally.distributions.response);
    }

    /// Looks at what was published last.
    pub fn read<T>(&self, look: impl FnOnce(&Latest) -> T) -> T {
        look(&self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
