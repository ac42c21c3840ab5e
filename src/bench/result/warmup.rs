//! The first part of a run, which its figures leave out: reported apart.

use serde::{Deserialize, Serialize};

use super::summary::{Latency, RequestHistograms, achieved_rate};
use crate::bench::record::tally::{Counts, Tally};

/// What happened to the requests that were scheduled in the warm-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WarmUp {
    /// How long it was, in nanoseconds; the rest of the run began at its end.
    pub duration_ns: u64,
    /// How many ended how.
    pub counts: Counts,
    /// Requests that ended well before its end.
    pub ok_in_time: u64,
    /// `ok_in_time` a second.
    pub achieved_rate: f64,
    /// finished − scheduled.
    pub response_time_ns: Latency,
    /// finished − started.
    pub service_time_ns: Latency,
    /// The distributions themselves.
    pub histograms: RequestHistograms,
}

impl WarmUp {
    /// The figures of what was counted in it.
    pub fn of(tally: &Tally, duration_ns: u64) -> Self {
        let scheduled = tally.counts.scheduled;
        let (response, service) = (&tally.distributions.response, &tally.distributions.service);
        Self {
            duration_ns,
            counts: tally.counts,
            ok_in_time: tally.ok_in_time,
            achieved_rate: achieved_rate(tally, duration_ns),
            response_time_ns: Latency::of(response, scheduled),
            service_time_ns: Latency::of(service, scheduled),
            histograms: RequestHistograms { response: response.clone(), service: service.clone() },
        }
    }

    /// That of two parts of a run, or of two runs.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let mut both = self.tally();
        both.merge(&other.tally());
        Self::of(&both, self.duration_ns)
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally { counts: self.counts, ok_in_time: self.ok_in_time, ..Tally::default() };
        tally.distributions.response.clone_from(&self.histograms.response);
        tally.distributions.service.clone_from(&self.histograms.service);
        tally
    }
}
