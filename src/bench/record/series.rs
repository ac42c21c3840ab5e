//! The one-second series: what finished in each second of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::distribution::{Distribution, Packed};
use super::sample::{Outcome, Sample};
use super::spool::Spool;
use crate::bench::schedule::SECOND_NS;

/// What finished in one second, while it can still grow.
#[derive(Debug, Clone, Default)]
pub struct OpenSecond {
    /// Its number after the start.
    pub second: u64,
    ok: u64,
    http_error: u64,
    network_error: u64,
    timeout: u64,
    /// Response times of those that ended well.
    pub response: Distribution,
    /// Service times of those that ended well.
    pub service: Distribution,
    /// Own lag of all that ended.
    pub own_lag: Distribution,
}

impl OpenSecond {
    /// An empty second.
    pub fn new(second: u64) -> Self {
        Self { second, ..Self::default() }
    }

    /// Counts a request that finished in it.
    pub fn record(&mut self, sample: &Sample) {
        match sample.outcome {
            Outcome::Ok => {
                self.ok += 1;
                self.response.record(sample.response_time());
                self.service.record(sample.service_time());
            }
            Outcome::HttpError(_) => self.http_error += 1,
            Outcome::NetworkError(_) => self.network_error += 1,
            Outcome::Timeout(_) => self.timeout += 1,
            Outcome::Unfinished => return,
        }
        self.own_lag.record(sample.own_lag());
    }

    /// Adds what another thread, or another second, counted.
    pub fn merge(&mut self, other: &Self) {
        self.ok += other.ok;
        self.http_error += other.http_error;
        self.network_error += other.network_error;
        self.timeout += other.timeout;
        self.response.merge(&other.response);
        self.service.merge(&other.service);
        self.own_lag.merge(&other.own_lag);
    }
}

/// The second that `ns` after the start lies in.
pub fn second_of(ns: u64) -> u64 {
    ns / SECOND_NS
}

impl Second {
    /// How many ended in it, well or not.
    pub fn ended(&self) -> u64 {
        // A file that was made by hand may hold any numbers.
        [self.http_error, self.network_error, self.timeout].into_iter().fold(self.ok, u64::saturating_add)
    }
}

/// What finished in one second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Its number after the start.
    pub second: u64,
    /// Ended well.
    pub ok: u64,
    /// Ended with a status of 400 or above.
    pub http_error: u64,
    /// Failed.
    pub network_error: u64,
    /// Timed out.
    pub timeout: u64,
    /// Response times of those that ended well.
    pub response: Packed,
    /// Service times of those that ended well.
    pub service: Packed,
    /// Own lag of all that ended.
    pub own_lag: Packed,
}

impl From<&OpenSecond> for Second {
    fn from(open: &OpenSecond) -> Self {
        Self {
            second: open.second,
            ok: open.ok,
            http_error: open.http_error,
            network_error: open.network_error,
            timeout: open.timeout,
            response: (&open.response).into(),
            service: (&open.service).into(),
            own_lag: (&open.own_lag).into(),
        }
    }
}

impl TryFrom<&Second> for OpenSecond {
    type Error = String;
    fn try_from(second: &Second) -> Result<Self, String> {
        Ok(Self {
            second: second.second,
            ok: second.ok,
            http_error: second.http_error,
            network_error: second.network_error,
            timeout: second.timeout,
            response: (&second.response).try_into()?,
            service: (&second.service).try_into()?,
            own_lag: (&second.own_lag).try_into()?,
        })
    }
}

/// Collects the seconds of all threads. A second is packed, and goes to disk, once threads have moved on.
#[derive(Debug, Default)]
pub struct Series {
    open: BTreeMap<u64, OpenSecond>,
    packed: Spool<Second>,
}

impl Series {
    /// How many seconds stay unpacked, for threads that lag behind.
    const OPEN: usize = 4;

    /// Adds a second of one thread.
    pub fn add(&mut self, second: &OpenSecond) {
        self.open.entry(second.second).or_insert_with(|| OpenSecond::new(second.second)).merge(second);
        while self.open.len() > Self::OPEN
            && let Some((_, oldest)) = self.open.pop_first()
        {
            self.packed.add(Second::from(&oldest));
        }
    }

    /// All seconds of a schedule of `duration_ns`, and those after it in which something finished, empty ones included.
    pub fn finish(self, duration_ns: u64) -> Vec<Second> {
        let mut seconds = BTreeMap::new();
        for second in self.packed.finish().into_iter().chain(self.open.values().map(Second::from)) {
            match seconds.remove(&second.second) {
                None => seconds.insert(second.second, second),
                // A thread was far behind.
                Some(earlier) => seconds.insert(second.second, sum(&earlier, &second).unwrap_or(earlier)),
            };
        }
        let finished = seconds.keys().next_back().map_or(0, |last| last + 1);
        (0..finished.max(duration_ns.div_ceil(SECOND_NS)))
            .map(|n| seconds.remove(&n).unwrap_or_else(|| Second::from(&OpenSecond::new(n))))
            .collect()
    }
}

/// Two parts of the same second as one. What this crate packed, it can unpack.
fn sum(one: &Second, other: &Second) -> Option<Second> {
    let mut both = OpenSecond::try_from(one).ok()?;
    both.merge(&OpenSecond::try_from(other).ok()?);
    Some(Second::from(&both))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(finished: u64) -> Sample {
        Sample {
            n: 0,
            kind: 0,
            scheduled: finished - 1_000_000,
            ready: finished - 1_000_000,
            started: finished - 900_000,
            first_byte: finished,
            finished,
            outcome: Outcome::Ok,
            status: Some(200),
            retries: 0,
            redirects: 0,
            bodies: (0, 0),
            wire: (1, 1),
            bytes: (1, 1),
        }
    }

    #[test]
    fn seconds_of_threads_add_up_even_when_one_comes_late_and_gaps_are_filled() {
        let mut series = Series::default();
        let row = |number: u64| {
            let mut second = OpenSecond::new(number);
            second.record(&sample(number * SECOND_NS + 500_000_000));
            second
        };
        for number in [0, 1, 3, 4, 5, 6, 7, 8, 0, 9] {
            series.add(&row(number));
        }
        let seconds = series.finish(11 * SECOND_NS + 1);
        assert_eq!(seconds.iter().map(|s| s.ok).collect::<Vec<_>>(), [2, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0]);
        assert_eq!(seconds[0].response.count, 2);
        assert!(seconds.iter().enumerate().all(|(i, s)| s.second == i as u64));
    }
}
