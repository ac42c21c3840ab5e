//! Schedules against their integrals, distributions and queues with known answers.

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
        let ramp = |t: f64, p: f64, q: f64, d: f64| p * t.clamp(0.0, d) + (q - p) * t.clamp(0.0, d).powi(2) / 2.0 / d;
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
fn lindley(schedule: &Schedule, mut service_ns: impl FnMut() -> u64) -> crate::bench::Distribution {
    let mut departure = 0;
    let mut response = crate::bench::Distribution::default();
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
    let p99 = shares(drawn.ranked(crate::bench::Percentile::P99, drawn.count()));
    assert!((p99 - 23.03).abs() < 0.7, "M/M/1: p99 {p99}");
}
