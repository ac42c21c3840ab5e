//! When to send: arrivals as a pure function of their number, without a network or a clock.
//!
//! A schedule is a unit process u₀, u₁, … put through the inverse of a cumulated rate, arrival(n) = Λ⁻¹(uₙ). For
//! evenly spaced arrivals uₙ = n, for a Poisson process it is a sum of n + 1 draws from Exp(1). Λ is continuous across
//! stages. All of it is integer arithmetic but for the square root in a ramp, so that any number of workers sees the
//! same arrivals.

pub mod log_line;
pub mod replay;
pub mod stage;

use std::sync::Arc;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1};

use self::replay::Recording;
use self::stage::{ARRIVAL, Leg, Stage, clamp, micro};
use crate::units::Rate;

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;
/// The stream of the seeded generator that arrivals are drawn from; request n draws its content from stream n.
const STREAM: u64 = u64::MAX;
/// How many random gaps are drawn before it is asked whether they are still wanted.
const DRAWS: u64 = 1 << 20;

/// One arrival of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its number in the whole run, from 0.
    pub n: u64,
    /// When it is due, in nanoseconds after the start.
    pub at_ns: u64,
}

/// How arrivals are laid out in time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Profile {
    /// Evenly spaced at the rate of these legs.
    Even(Arc<[Leg]>),
    /// A Poisson process of that rate, drawn with a seed.
    Poisson(Arc<[Leg]>, u64),
    /// At the instants of a log.
    Recorded(Arc<Recording>),
    /// As soon as a connection is free: no instants of its own.
    ClosedLoop,
}

/// All arrivals of a run: those with `at_ns` below its duration T.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    profile: Profile,
    /// T in nanoseconds.
    duration_ns: u64,
    /// The most arrivals there may be.
    limit: u64,
}

impl Schedule {
    /// A constant rate for `duration_ns`: every n with floor(n / rate) < T.
    pub fn constant_for(rate: Rate, duration_ns: u64) -> Self {
        let legs = [Leg::constant(micro(rate), duration_ns)].into();
        Self { profile: Profile::Even(legs), duration_ns, limit: u64::MAX }
    }

    /// A constant rate for exactly `count` arrivals; T is the instant at which the next one would be due.
    pub fn constant_count(rate: Rate, count: u64) -> Self {
        let micro_rps = micro(rate);
        let duration_ns = clamp((u128::from(count) * ARRIVAL).div_ceil(u128::from(micro_rps)));
        let legs = [Leg::constant(micro_rps, duration_ns)].into();
        Self { profile: Profile::Even(legs), duration_ns, limit: count }
    }

    /// Stages that follow each other, the rate cumulated across them without a gap.
    pub fn stages(stages: &[Stage]) -> Self {
        let legs: Arc<[Leg]> = Leg::all(stages).into();
        let duration_ns = legs.last().map_or(0, Leg::end_ns);
        Self { profile: Profile::Even(legs), duration_ns, limit: u64::MAX }
    }

    /// The instants of a log.
    pub fn recorded(recording: Arc<Recording>) -> Self {
        let (duration_ns, limit) = (recording.duration_ns(), recording.count());
        Self { profile: Profile::Recorded(recording), duration_ns, limit }
    }

    /// Arrivals whenever a connection is free: for `duration_ns`, or `count` of them, whichever ends first.
    pub fn closed_loop(duration_ns: u64, count: u64) -> Self {
        Self { profile: Profile::ClosedLoop, duration_ns, limit: count }
    }

    /// The same rate, with arrivals that are independent of each other. An exact number of them stays exact, and T
    /// becomes the instant of the one that would follow; otherwise T stays, and their number is random.
    #[must_use]
    pub fn poisson(self, seed: u64) -> Self {
        self.poisson_unless(seed, || false)
    }

    /// The same, but that drawing many of them may be given up: then what there is means nothing.
    #[must_use]
    pub(in crate::bench) fn poisson_unless(mut self, seed: u64, is_given_up: impl Fn() -> bool) -> Self {
        let Profile::Even(legs) = &mut self.profile else { return self };
        if let [leg] = legs.as_ref()
            && self.limit < u64::MAX
        {
            let mut walk = Walk::new(seed);
            let mut left = self.limit.saturating_add(1);
            while left > 0 && !is_given_up() {
                let steps = left.min(DRAWS);
                walk.go(steps, u128::MAX);
                left -= steps;
            }
            self.duration_ns = leg.instant(walk.units).saturating_add(1);
            *legs = [leg.lasting(self.duration_ns)].into();
        }
        self.profile = Profile::Poisson(Arc::clone(legs), seed);
        self
    }

    /// Whether arrivals have no instants of their own but come whenever a connection is free.
    pub fn is_closed_loop(&self) -> bool {
        self.profile == Profile::ClosedLoop
    }

    /// T: how long arrivals are scheduled, in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.duration_ns
    }

    /// Number of arrivals; of a random one without a fixed number what is to be expected, rounded up.
    pub fn count(&self) -> u64 {
        match &self.profile {
            Profile::Poisson(..) | Profile::ClosedLoop if self.limit < u64::MAX => self.limit,
            Profile::Even(_) | Profile::Poisson(..) => clamp(self.units().div_ceil(ARRIVAL)).min(self.limit),
            Profile::Recorded(_) => self.limit,
            Profile::ClosedLoop => u64::MAX,
        }
    }

    /// Arrivals a second that the profile asks for at `at_ns`; `None` in a closed loop, of a log, and beyond the end.
    pub fn rate_at(&self, at_ns: u64) -> Option<f64> {
        self.legs().iter().find(|leg| at_ns < leg.end_ns()).map(|leg| leg.rate_at(at_ns))
    }

    /// The arrivals of worker `k` of `workers`: those with n ≡ k (mod workers), in order. The union over all k is the
    /// same whatever the number of workers.
    ///
    /// Each worker draws the whole of a random sequence: a draw costs some nanoseconds, and nothing is stored.
    pub fn arrivals(&self, k: u64, workers: u64) -> Arrivals {
        let mut arrivals =
            Arrivals { schedule: self.clone(), upcoming: None, gap_ns: 0, step: workers.max(1), leg: 0, walk: None };
        if let Profile::Poisson(_, seed) = self.profile {
            arrivals.walk = Some(Walk::new(seed));
        }
        arrivals.upcoming = arrivals.arrival(k, k.saturating_add(1));
        arrivals
    }

    fn legs(&self) -> &[Leg] {
        match &self.profile {
            Profile::Even(legs) | Profile::Poisson(legs, _) => legs,
            Profile::Recorded(_) | Profile::ClosedLoop => &[],
        }
    }

    /// The rate cumulated over all of it, in parts of an [`ARRIVAL`].
    fn units(&self) -> u128 {
        self.legs().last().map_or(0, Leg::up_to_end)
    }
}

/// A Poisson process of rate 1, in parts of an [`ARRIVAL`]: whole numbers, so that sums are exact in any order.
#[derive(Debug, Clone)]
struct Walk {
    rng: ChaCha8Rng,
    units: u128,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(STREAM);
        Self { rng, units: 0 }
    }

    /// Goes `steps` arrivals on, or to the first one that is not below `end`.
    fn go(&mut self, steps: u64, end: u128) {
        for _ in 0..steps {
            let gap: f64 = Exp1.sample(&mut self.rng);
            self.units += (gap * ARRIVAL as f64) as u128;
            if self.units >= end {
                return;
            }
        }
    }
}

/// The arrivals of one worker, in order.
#[derive(Debug, Clone)]
pub struct Arrivals {
    schedule: Schedule,
    upcoming: Option<Arrival>,
    /// See [`Self::gap_ns`].
    gap_ns: u64,
    step: u64,
    /// The leg that the upcoming one lies in: later ones do not lie before it.
    leg: usize,
    /// Where the sum of random gaps stands.
    walk: Option<Walk>,
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

    /// How long after the one before it the next arrival comes, in nanoseconds; 0 for the first. Where arrivals are not
    /// evenly spaced, one gap says nothing of the next: then it is that of the last ones, smoothed.
    pub fn gap_ns(&self) -> u64 {
        self.gap_ns
    }

    /// Arrival `n`, which comes `steps` after the last one that was asked for.
    fn arrival(&mut self, n: u64, steps: u64) -> Option<Arrival> {
        if n >= self.schedule.limit {
            return None;
        }
        match &self.schedule.profile {
            Profile::ClosedLoop => return Some(Arrival { n, at_ns: 0 }),
            Profile::Recorded(recording) => return recording.at_ns(n).map(|at_ns| Arrival { n, at_ns }),
            Profile::Even(_) | Profile::Poisson(..) => {}
        }
        let end = self.schedule.units();
        let units = match &mut self.walk {
            Some(walk) => {
                walk.go(steps, end);
                walk.units
            }
            None => u128::from(n) * ARRIVAL,
        };
        if units >= end {
            return None;
        }
        let legs = self.schedule.legs();
        self.leg += legs.iter().skip(self.leg).take_while(|leg| leg.up_to_end() <= units).count();
        legs.get(self.leg).map(|leg| Arrival { n, at_ns: leg.instant(units) })
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;
    fn next(&mut self) -> Option<Arrival> {
        let arrival = self.upcoming?;
        self.upcoming = self.arrival(arrival.n.saturating_add(self.step), self.step);
        let gap_ns = self.upcoming.map_or(0, |next| next.at_ns.saturating_sub(arrival.at_ns));
        self.gap_ns = match self.schedule.profile {
            Profile::Even(_) | Profile::ClosedLoop => gap_ns,
            Profile::Poisson(..) | Profile::Recorded(_) if self.gap_ns == 0 => gap_ns,
            Profile::Poisson(..) | Profile::Recorded(_) => self.gap_ns - self.gap_ns / 8 + gap_ns / 8,
        };
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
    fn drawing_for_hours_can_be_given_up() {
        let asked = std::cell::Cell::new(0);
        let endless = Schedule::constant_count(rate(1e6), u64::MAX - 1);
        let _ = endless.poisson_unless(7, || asked.replace(asked.get() + 1) == 2);
        assert_eq!(asked.get(), 3);
        let (some, all) = (3 * DRAWS + 5, Schedule::constant_count(rate(1e6), 3 * DRAWS + 5));
        assert_eq!(all.clone().poisson(7).duration_ns(), {
            let mut walk = Walk::new(7);
            walk.go(some + 1, u128::MAX);
            all.legs()[0].instant(walk.units) + 1
        });
    }

    #[test]
    fn the_gap_of_random_arrivals_is_that_of_their_rate() {
        let mut arrivals = Schedule::constant_for(rate(2000.0), 5 * SECOND_NS).poisson(7).arrivals(0, 1);
        let (mut close, mut gaps) = (0, Vec::new());
        let mut last = arrivals.next().unwrap().at_ns;
        while let Some(arrival) = arrivals.next() {
            close += u64::from(arrival.at_ns - last < 100_000);
            last = arrival.at_ns;
            gaps.push(arrivals.gap_ns());
        }
        assert!(close > 1_500, "a fifth of them come within 0.1 ms of the one before: {close}");
        let few = gaps.iter().filter(|gap| **gap < 200_000).count();
        assert!(few * 100 < gaps.len(), "at half a millisecond on average: {few} of {}", gaps.len());
        let mut even = Schedule::constant_for(rate(2000.0), SECOND_NS).arrivals(0, 1);
        even.next();
        assert_eq!(even.gap_ns(), 500_000);
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
            let next = Schedule::constant_for(rate(r), u64::MAX).arrivals(count, u64::MAX).next().unwrap();
            assert!(next.at_ns.abs_diff(schedule.duration_ns()) <= 1);
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

    fn stages(texts: &[&str]) -> Schedule {
        Schedule::stages(&texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<_>>())
    }

    fn instants(schedule: &Schedule) -> Vec<u64> {
        schedule.arrivals(0, 1).map(|a| a.at_ns).collect()
    }

    /// One stage is the same as a rate and a duration, to the nanosecond.
    #[test]
    fn a_stage_of_a_constant_rate_is_that_rate() {
        for r in ["0.7", "333.3", "9999.5"] {
            let whole = Schedule::constant_for(r.parse().unwrap(), 20 * SECOND_NS);
            for split in [&[format!("{r}rps:20s")][..], &[format!("{r}rps:7.3s"), format!("{r}rps:12.7s")]] {
                let split = stages(&split.iter().map(String::as_str).collect::<Vec<_>>());
                assert_eq!((split.count(), split.duration_ns()), (whole.count(), whole.duration_ns()));
                let differ = |(a, b): (u64, u64)| a.abs_diff(b) > 1;
                assert!(!instants(&split).into_iter().zip(instants(&whole)).any(differ), "{r}");
            }
        }
    }

    /// In any window of any stages there is the integral of the rate, within one.
    #[test]
    fn ramps_hold_their_integral_within_one() {
        let schedule = stages(&["0..1000rps:10s", "1000rps:5s", "0rps:3s", "1000..200rps:20s", "200..0rps:4s"]);
        let integral = |t: f64| {
            let ramp =
                |t: f64, p: f64, q: f64, d: f64| p * t.clamp(0.0, d) + (q - p) * t.clamp(0.0, d).powi(2) / 2.0 / d;
            ramp(t, 0.0, 1000.0, 10.0)
                + ramp(t - 10.0, 1000.0, 1000.0, 5.0)
                + ramp(t - 18.0, 1000.0, 200.0, 20.0)
                + ramp(t - 38.0, 200.0, 0.0, 4.0)
        };
        let at = instants(&schedule);
        assert_eq!(schedule.duration_ns(), 42 * SECOND_NS);
        assert_eq!((at.len() as u64, schedule.count()), (22_400, 22_400));
        assert!(at.is_sorted() && at.iter().all(|t| *t < schedule.duration_ns()));
        assert!(!at.iter().any(|t| (15 * SECOND_NS..18 * SECOND_NS).contains(t)), "nothing in the pause");
        for from in 0..84 {
            for to in [from + 1, from + 7, 84] {
                let (from, to) = (f64::from(from) / 2.0, f64::from(to.min(84)) / 2.0);
                let found = at.iter().filter(|t| ((from * 1e9) as u64..(to * 1e9) as u64).contains(*t)).count() as f64;
                let expected = integral(to) - integral(from);
                assert!((found - expected).abs() <= 1.0, "{found} from {from} to {to}, should be {expected}");
            }
        }
        for (t, rate) in [(0, 0.0), (5, 500.0), (12, 1000.0), (16, 0.0), (28, 600.0), (40, 100.0)] {
            assert_eq!(schedule.rate_at(t * SECOND_NS), Some(rate));
        }
        assert_eq!(schedule.rate_at(42 * SECOND_NS), None);
    }

    /// Kolmogorov–Smirnov: for the right distribution, √n·D is above 1.95 once in a thousand seeds.
    #[test]
    fn random_gaps_are_exponential() {
        let schedule = Schedule::constant_for(rate(1000.0), 100 * SECOND_NS).poisson(1);
        let at = instants(&schedule);
        let mut gaps: Vec<f64> = at.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e6).collect();
        gaps.sort_by(f64::total_cmp);
        let n = gaps.len() as f64;
        let distance = gaps.iter().enumerate().map(|(i, gap)| {
            let truth = 1.0 - (-gap).exp();
            (truth - i as f64 / n).abs().max((truth - (i + 1) as f64 / n).abs())
        });
        let distance = distance.fold(0.0, f64::max) * n.sqrt();
        assert!(distance < 1.95, "{distance}");
        // Their number is Poisson: five standard deviations.
        assert!((n - 100_000.0).abs() < 5.0 * 100_000f64.sqrt(), "{n} arrivals");
    }

    /// Of a Poisson process with a changing rate too: variance over mean of the counts in windows of an equal integral
    /// is 1, with a standard deviation of √(2 / windows).
    #[test]
    fn random_counts_vary_as_much_as_their_mean() {
        let constant = stages(&["100rps:1000s"]).poisson(2);
        let ramp = stages(&["0..200rps:1000s"]).poisson(3);
        for (schedule, window) in [
            (constant, (|t| t as f64 / 1e9) as fn(u64) -> f64),
            // Λ(t) = t²/10, so that a window is an equal step in it.
            (ramp, |t| (t as f64 / 1e9).powi(2) / 1000.0),
        ] {
            let mut counts = vec![0f64; 1000];
            instants(&schedule).into_iter().for_each(|t| counts[window(t) as usize] += 1.0);
            let mean = counts.iter().sum::<f64>() / 1000.0;
            let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / 999.0;
            assert!((mean - 100.0).abs() < 5.0 * (100.0f64 / 1000.0).sqrt(), "{mean}");
            assert!((variance / mean - 1.0).abs() < 5.0 * (2.0f64 / 999.0).sqrt(), "{variance} / {mean}");
        }
    }

    #[test]
    fn any_number_of_workers_draws_the_same_arrivals() {
        let ramp = || stages(&["0..500rps:2s", "50rps:3s"]);
        for schedule in [ramp(), ramp().poisson(7), Schedule::constant_count(rate(100.0), 1001).poisson(7)] {
            let whole: Vec<_> = schedule.arrivals(0, 1).collect();
            assert!(whole.iter().map(|a| a.n).eq(0..whole.len() as u64) && whole.len() > 500);
            for workers in [2, 3, 64, 5000] {
                let mut parts: Vec<_> = (0..workers).flat_map(|k| schedule.arrivals(k, workers)).collect();
                parts.sort_by_key(|a| a.n);
                assert_eq!(parts, whole, "{workers} workers");
            }
        }
        assert_ne!(instants(&ramp().poisson(7)), instants(&ramp().poisson(8)));
    }

    #[test]
    fn an_exact_number_stays_exact_where_arrivals_are_random() {
        let even = Schedule::constant_count(rate(50.0), 1000);
        let random = even.clone().poisson(5);
        let at = instants(&random);
        assert_eq!((at.len(), random.count()), (1000, 1000));
        assert!(at.iter().all(|t| *t < random.duration_ns()));
        // T ends where the next would come, as long as the sum of 1001 gaps: five standard deviations.
        let longer = Schedule::constant_count(rate(50.0), 1001).poisson(5);
        assert_eq!(longer.arrivals(1000, 1).next().unwrap().at_ns + 1, random.duration_ns());
        let mean_gap = random.duration_ns() as f64 / 1001.0 / 20e6;
        assert!((mean_gap - 1.0).abs() < 5.0 / 1001f64.sqrt(), "{mean_gap}");
    }

    /// Response times of one server, in units of the service time, over 10⁷ arrivals at ρ = 0.8, by the recursion of
    /// Lindley (1952): departure = max(arrival, previous departure) + service.
    fn lindley(schedule: &Schedule, mut service_ns: impl FnMut() -> u64) -> super::super::Distribution {
        let mut departure = 0;
        let mut response = super::super::Distribution::default();
        for arrival in schedule.arrivals(0, 1) {
            departure = arrival.at_ns.max(departure) + service_ns();
            response.record(departure - arrival.at_ns);
        }
        response
    }

    /// The closed forms, in units of s = 5 ms: D/D/1 1; M/D/1 mean 1 + ρ/2(1 − ρ) = 3.0 (Pollaczek–Khinchine); M/M/1
    /// mean 1/(1 − ρ) = 5.0, p99 ln(100)/(1 − ρ) = 23.03.
    ///
    /// The variance of the mean over n arrivals of an M/M/1 queue is ρ(2 + 5ρ − 4ρ² + ρ³)/(1 − ρ)⁴/n (Daley 1968): a
    /// deviation of 0.014 for n = 10⁷. Response times stay correlated over 1976/25 = 79 arrivals, with which p99, of
    /// density 0.01/5 there, deviates by about √(0.01·79/10⁷)/0.002 = 0.14. Five deviations each.
    #[test]
    fn queues_of_ten_million_arrivals_have_their_closed_forms() {
        const S: u64 = 5_000_000;
        let even = || Schedule::constant_count(rate(160.0), 10_000_000);
        let random = even().poisson(11);
        let shares = |of: Option<u64>| of.unwrap() as f64 / S as f64;
        let deterministic = lindley(&Schedule::constant_count(rate(160.0), 100_000), || S);
        assert_eq!((deterministic.min(), deterministic.max()), (Some(S), Some(S)));

        let fixed = lindley(&random, || S);
        assert!((shares(fixed.mean()) - 3.0).abs() < 0.07, "M/D/1: {}", shares(fixed.mean()));

        let mut rng = ChaCha8Rng::seed_from_u64(12);
        let drawn = lindley(&random, || (S as f64 * rand_distr::Distribution::<f64>::sample(&Exp1, &mut rng)) as u64);
        assert!((shares(drawn.mean()) - 5.0).abs() < 0.07, "M/M/1: {}", shares(drawn.mean()));
        let p99 = shares(drawn.ranked(super::super::Percentile::P99, drawn.count()));
        assert!((p99 - 23.03).abs() < 0.7, "M/M/1: p99 {p99}");
    }
}
