//! When to send: arrivals as a pure function of their number, without a network or a clock.
//!
//! A schedule is a unit process u₀, u₁, … put through the inverse of a cumulated rate, arrival(n) = Λ⁻¹(uₙ). For a
//! constant rate uₙ = n and Λ(t) = R·t, all in integers. Other processes and rates are further variants of
//! [`Profile`]; nothing outside this file knows which one is in use.

use serde::{Deserialize, Serialize};

use crate::units::Rate;

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;
/// Rates are kept as whole millionths of a request a second, so that arrivals are integer arithmetic.
const MICRO: u128 = 1_000_000;

/// One arrival of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its number in the whole run, from 0.
    pub n: u64,
    /// When it is due, in nanoseconds after the start.
    pub at_ns: u64,
}

/// How arrivals are laid out in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "arrivals")]
enum Profile {
    /// Evenly spaced.
    Constant {
        /// Millionths of a request a second.
        micro_rps: u64,
    },
    /// As soon as a connection is free: no instants of its own.
    ClosedLoop,
}

/// All arrivals of a run: those with `at_ns` below its duration T.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    #[serde(flatten)]
    profile: Profile,
    /// T in nanoseconds.
    duration_ns: u64,
    /// Number of arrivals.
    count: u64,
}

impl Schedule {
    /// A constant rate for `duration_ns`: every n with floor(n / rate) < T.
    pub fn constant_for(rate: Rate, duration_ns: u64) -> Self {
        let micro_rps = micro(rate);
        // floor(n·1e15 / p) < T  ⟺  n < T·p / 1e15, because T is whole.
        let count = (u128::from(duration_ns) * u128::from(micro_rps)).div_ceil(u128::from(SECOND_NS) * MICRO);
        Self { profile: Profile::Constant { micro_rps }, duration_ns, count: clamp(count) }
    }

    /// A constant rate for exactly `count` arrivals; T is the instant at which the next one would be due.
    pub fn constant_count(rate: Rate, count: u64) -> Self {
        let micro_rps = micro(rate);
        let duration_ns = clamp((u128::from(count) * u128::from(SECOND_NS) * MICRO).div_ceil(u128::from(micro_rps)));
        Self { profile: Profile::Constant { micro_rps }, duration_ns, count }
    }

    /// Arrivals whenever a connection is free: for `duration_ns`, or `count` of them, whichever ends first.
    pub fn closed_loop(duration_ns: u64, count: u64) -> Self {
        Self { profile: Profile::ClosedLoop, duration_ns, count }
    }

    /// Whether arrivals have no instants of their own but come whenever a connection is free.
    pub fn is_closed_loop(&self) -> bool {
        self.profile == Profile::ClosedLoop
    }

    /// T: how long arrivals are scheduled, in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.duration_ns
    }

    /// Number of arrivals.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Arrivals a second that the profile asks for at `at_ns`; `None` in a closed loop.
    pub fn rate_at(&self, _at_ns: u64) -> Option<f64> {
        match self.profile {
            Profile::Constant { micro_rps } => Some(micro_rps as f64 / MICRO as f64),
            Profile::ClosedLoop => None,
        }
    }

    /// The arrivals of worker `k` of `workers`: those with n ≡ k (mod workers), in order. The union over all k is the
    /// same whatever the number of workers.
    pub fn arrivals(&self, k: u64, workers: u64) -> Arrivals {
        Arrivals { schedule: self.clone(), upcoming: self.arrival(k), step: workers.max(1) }
    }

    fn arrival(&self, n: u64) -> Option<Arrival> {
        (n < self.count).then(|| Arrival { n, at_ns: self.at(n) })
    }

    fn at(&self, n: u64) -> u64 {
        match self.profile {
            Profile::Constant { micro_rps } => {
                clamp(u128::from(n) * u128::from(SECOND_NS) * MICRO / u128::from(micro_rps))
            }
            Profile::ClosedLoop => 0,
        }
    }
}

fn micro(rate: Rate) -> u64 {
    ((rate.per_second() * MICRO as f64).round() as u64).max(1)
}

fn clamp(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// The arrivals of one worker, in order.
#[derive(Debug, Clone)]
pub struct Arrivals {
    schedule: Schedule,
    upcoming: Option<Arrival>,
    step: u64,
}

impl Arrivals {
    /// Whether they come whenever a connection is free; their instants mean nothing then.
    pub fn is_closed_loop(&self) -> bool {
        self.schedule.is_closed_loop()
    }

    /// The next arrival, left in place.
    pub fn peek(&self) -> Option<Arrival> {
        self.upcoming
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;
    fn next(&mut self) -> Option<Arrival> {
        let arrival = self.upcoming?;
        self.upcoming = self.schedule.arrival(arrival.n.saturating_add(self.step));
        Some(arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: f64) -> Rate {
        Rate::new(per_second).unwrap()
    }

    #[test]
    fn a_constant_rate_is_exact_to_the_nanosecond() {
        let arrivals: Vec<_> = Schedule::constant_for(rate(3.0), SECOND_NS).arrivals(0, 1).collect();
        let at: Vec<_> = arrivals.iter().map(|a| a.at_ns).collect();
        assert_eq!(at, [0, 333_333_333, 666_666_666]);
        // An arrival at exactly T is not part of the run.
        assert_eq!(Schedule::constant_for(rate(10.0), SECOND_NS).count(), 10);
        assert_eq!(Schedule::constant_for(rate(10.0), SECOND_NS + 1).count(), 11);
        assert_eq!(Schedule::constant_for(rate(0.5), SECOND_NS).count(), 1);
    }

    #[test]
    fn every_window_holds_its_share_within_one() {
        for r in [0.7, 3.0, 333.3, 1000.0, 9_999.5] {
            let schedule = Schedule::constant_for(rate(r), 10 * SECOND_NS);
            let at: Vec<_> = schedule.arrivals(0, 1).map(|a| a.at_ns).collect();
            assert!(at.iter().all(|t| *t < schedule.duration_ns()));
            assert!(at.is_sorted());
            for (from, to) in [(0, SECOND_NS), (123_456_789, 987_654_321), (SECOND_NS, 9 * SECOND_NS)] {
                let found = at.iter().filter(|t| (from..to).contains(*t)).count() as f64;
                let expected = r * (to - from) as f64 / SECOND_NS as f64;
                assert!((found - expected).abs() <= 1.0, "{r}: {found} in a window that should hold {expected}");
            }
        }
    }

    #[test]
    fn any_number_of_workers_gives_the_same_arrivals() {
        let schedule = Schedule::constant_for(rate(777.7), 3 * SECOND_NS);
        let whole: Vec<_> = schedule.arrivals(0, 1).collect();
        for workers in [2, 3, 7, 64, 5000] {
            let mut parts: Vec<_> = (0..workers).flat_map(|k| schedule.arrivals(k, workers)).collect();
            parts.sort_by_key(|a| a.n);
            assert_eq!(parts, whole, "{workers} workers");
        }
    }

    #[test]
    fn a_count_is_kept_exactly_and_its_duration_is_where_the_next_would_be_due() {
        for (r, count) in [(50.0, 7), (3.0, 10), (1e7, 12_345_678), (0.001, 2)] {
            let schedule = Schedule::constant_count(rate(r), count);
            assert_eq!(schedule.count(), count);
            let last = schedule.arrivals(count - 1, u64::MAX).next().unwrap();
            assert!(last.at_ns < schedule.duration_ns());
            assert!(schedule.at(count).abs_diff(schedule.duration_ns()) <= 1);
        }
    }

    #[test]
    fn a_closed_loop_shares_its_number_out_and_has_no_instants() {
        let schedule = Schedule::closed_loop(SECOND_NS, 10);
        assert!(schedule.is_closed_loop() && schedule.arrivals(0, 3).is_closed_loop());
        let mut all: Vec<_> = (0..3).flat_map(|k| schedule.arrivals(k, 3)).map(|a| (a.n, a.at_ns)).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq((0..10).map(|n| (n, 0))));
    }

    #[test]
    fn ten_years_at_the_highest_rate_do_not_overflow() {
        let schedule = Schedule::constant_for(rate(1e7), 10 * 366 * 86_400 * SECOND_NS);
        let last = schedule.arrivals(schedule.count() - 1, u64::MAX).next().unwrap();
        assert!(last.at_ns < schedule.duration_ns());
    }
}
