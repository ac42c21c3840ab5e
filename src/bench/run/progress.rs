//! What a run tells while it goes on. Measuring does not know who looks.

use std::sync::{Arc, Mutex, PoisonError};

use crate::bench::clock::Start;
use crate::bench::record::distribution::{Distribution, Percentile};
use crate::bench::record::laps::Lap;
use crate::bench::record::tally::{Counts, Tally};
use crate::bench::schedule::stage::Stage;

/// Follows a run; called from the thread that called [`super`], at most ten times a second.
pub trait Observer {
    /// Whether [`Self::snapshot`] is wanted; without it nothing is published at all.
    fn is_watching(&self) -> bool {
        true
    }
    /// The connections are open and the run is about to start.
    fn started(&mut self, _run: &Started) {}
    /// How it stands.
    fn snapshot(&mut self, _snapshot: &Snapshot) {}
    /// Whether [`Self::lap`] is wanted.
    fn wants_laps(&self) -> bool {
        false
    }
    /// A second is over in all threads, and this finished in it; in order, the last one after the end.
    fn lap(&mut self, _lap: &Lap) {}
    /// The last request has ended.
    fn finished(&mut self) {}
}

/// Nobody looks.
impl Observer for () {
    fn is_watching(&self) -> bool {
        false
    }
}

/// What is known at the start of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// What is loaded.
    pub target: String,
    /// Arrivals a second; `None` in a closed loop.
    pub rate: Option<f64>,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// T, in nanoseconds; `u64::MAX` while it is not known.
    pub duration_ns: u64,
    /// Connections that are open.
    pub connections: u64,
    /// Threads that send.
    pub threads: u64,
    /// How much of T, from its beginning, is counted apart, in nanoseconds.
    pub warmup_ns: u64,
    /// The stages of the schedule, where it has any.
    pub stages: Vec<Stage>,
    /// The instant that everything but the warm-up is counted from.
    pub start: Start,
}

/// How a run stands.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Nanoseconds after the start.
    pub elapsed_ns: u64,
    /// T, in nanoseconds; `u64::MAX` while it is not known.
    pub duration_ns: u64,
    /// Requests that have ended so far, in the warm-up or after it.
    pub counts: Counts,
    /// How long these were counted, in nanoseconds without the warm-up, as the mean over the threads: each tells its
    /// counts now and then. 0 while one of them has told none but those of the warm-up.
    pub counted_ns: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// Response times so far.
    pub response: Distribution,
}

impl Snapshot {
    /// What all threads together have published last.
    pub(super) fn of(shards: &[Arc<Shard>], elapsed_ns: u64, duration_ns: u64) -> Self {
        let mut snapshot = Self {
            elapsed_ns,
            duration_ns,
            counts: Counts::default(),
            counted_ns: 0,
            in_flight: 0,
            response: Distribution::default(),
        };
        let counted: Vec<u64> = shards.iter().map(|shard| shard.add_to(&mut snapshot)).collect();
        if !counted.contains(&0) {
            snapshot.counted_ns = counted.iter().sum::<u64>() / counted.len().max(1) as u64;
        }
        snapshot
    }

    /// A percentile of the response times so far, failures above all.
    pub fn percentile(&self, p: Percentile) -> Option<u64> {
        self.response.ranked(p, self.counts.sent)
    }

    /// Requests that have failed so far.
    pub fn failed(&self) -> u64 {
        self.counts.failed()
    }
}

/// One worker's published counts.
#[derive(Default)]
pub struct Shard {
    latest: Mutex<Latest>,
}

#[derive(Default)]
struct Latest {
    counts: Counts,
    counted_ns: u64,
    in_flight: u64,
    response: Distribution,
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

    /// Adds what was published last to a snapshot; gives how long that was counted.
    fn add_to(&self, snapshot: &mut Snapshot) -> u64 {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.counts.merge(&latest.counts);
        snapshot.in_flight += latest.in_flight;
        snapshot.response.merge(&latest.response);
        latest.counted_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_as_old_as_the_threads_say_and_of_the_result_once_all_have_left_the_warm_up() {
        let shards = [Arc::<Shard>::default(), Arc::default()];
        let counted = || Snapshot::of(&shards, 5_000, u64::MAX).counted_ns;
        assert_eq!(counted(), 0, "nothing was told");
        let tally = Tally::new(&["/".to_owned()]);
        shards[0].publish(&tally, 1_000, 0);
        assert_eq!(counted(), 0, "one is still in the warm-up");
        shards[1].publish(&tally, 1_500, 0);
        assert_eq!(counted(), 1_250);
    }
}
