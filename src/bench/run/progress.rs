//! What a run tells while it goes on. Measuring does not know who looks.

use std::sync::{Mutex, PoisonError};

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
    /// Requests under way.
    pub in_flight: u64,
    /// Response times so far.
    pub response: Distribution,
}

impl Snapshot {
    /// A percentile of the response times so far, failures above all.
    pub fn percentile(&self, p: Percentile) -> Option<u64> {
        self.response.ranked(p, self.counts.sent)
    }

    /// Requests that have failed so far.
    pub fn failed(&self) -> u64 {
        self.counts.http_error + self.counts.network_error + self.counts.timeout
    }
}

/// One worker's published counts.
#[derive(Default)]
pub struct Shard {
    latest: Mutex<(Counts, u64, Distribution)>,
}

impl Shard {
    /// Replaces what was published.
    pub fn publish(&self, tally: &Tally, in_flight: u64) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.0 = tally.counts;
        latest.1 = in_flight;
        latest.2.clone_from(&tally.distributions.response);
    }

    /// Adds what was published last to a snapshot.
    pub fn add_to(&self, snapshot: &mut Snapshot) {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.counts.merge(&latest.0);
        snapshot.in_flight += latest.1;
        snapshot.response.merge(&latest.2);
    }
}
