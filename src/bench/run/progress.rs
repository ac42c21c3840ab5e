//! What a run tells while it goes on. Measuring does not know who looks.

use std::sync::Arc;

use crate::bench::clock::Start;
use crate::bench::record::distribution::{Distribution, Percentile};
use crate::bench::record::laps::Lap;
use crate::bench::record::tally::Counts;
use crate::bench::schedule::stage::Stage;
use crate::bench::worker::shard::{Latest, Shard};

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
        let counted: Vec<u64> = shards.iter().map(|shard| shard.read(|latest| snapshot.add(latest))).collect();
        if !counted.contains(&0) {
            snapshot.counted_ns = counted.iter().sum::<u64>() / counted.len().max(1) as u64;
        }
        snapshot
    }

    /// Adds what a worker published last; gives how long that was counted.
    fn add(&mut self, latest: &Latest) -> u64 {
        self.counts.merge(&latest.counts);
        self.in_flight += latest.in_flight;
        self.response.merge(&latest.response);
        latest.counted_ns
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::tally::Tally;

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
