//! The intervals of confidence of a result, on simulated queues whose true figures are known.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Exp1};
use scalectl::bench::statistics::{Interval, Refusal, mean_interval, measured, quantile_interval};
use scalectl::bench::{Batches, Distribution, Outcome, Percentile, Sample, Span};

/// Service time and distance of arrivals: ρ = 0.8. The response time of an M/M/1 queue is exponential with the mean
/// s/(1 − ρ).
const SERVICE_NS: f64 = 5e6;
const GAP_NS: f64 = 6.25e6;
const MEAN_NS: f64 = 25e6;
const RUNS: u64 = 300;
const FIGURES: [Percentile; 4] = [Percentile::P50, Percentile::P90, Percentile::P95, Percentile::P99];

/// A run as it would be recorded.
struct Run {
    batches: Batches,
    whole: Distribution,
    requests: u64,
}

impl Run {
    /// `requests` of a queue that is empty at the start, by the Lindley recursion.
    fn of_queue(seed: u64, requests: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut draw = |mean: f64| {
            let unit: f64 = Exp1.sample(&mut random);
            unit * mean
        };
        let (mut at, mut left) = (0.0, 0.0_f64);
        let mut batches = Batches::for_duration((requests as f64 * GAP_NS) as u64);
        for n in 0..requests {
            let gap = draw(GAP_NS);
            at += gap;
            left = (left - gap).max(0.0) + draw(SERVICE_NS);
            let (scheduled, finished) = (at as u64, (at + left) as u64);
            batches.record(&Sample {
                n,
                kind: 0,
                scheduled,
                ready: scheduled,
                started: scheduled,
                first_byte: finished,
                finished,
                outcome: Outcome::Ok,
                status: None,
                retries: 0,
                redirects: 0,
                bodies: (0, 0),
                wire: (1, 1),
                bytes: (0, 0),
            });
        }
        let mut whole = Distribution::default();
        batches.as_slice().iter().for_each(|batch| whole.merge(&Distribution::from(&batch.response)));
        Self { batches, whole, requests }
    }

    fn quantile(&self, p: Percentile) -> Result<Interval, Refusal> {
        quantile_interval(measured(&self.batches), Span::Response, &self.whole, self.requests, p)
    }

    fn mean(&self) -> Result<Interval, Refusal> {
        mean_interval(measured(&self.batches), Span::Response, &self.whole)
    }

    /// The interval that takes requests for independent.
    fn order_statistic(&self, p: Percentile) -> Interval {
        let (n, p) = (self.requests as f64, p.fraction());
        let half = 1.96 * (n * p * (1.0 - p)).sqrt();
        let at = |rank: f64| self.whole.at_rank(rank as u64).unwrap();
        Interval { low: at((n * p - half).floor()), high: at((n * p + half).ceil()) }
    }
}

fn truth(p: Percentile) -> f64 {
    -MEAN_NS * (1.0 - p.fraction()).ln()
}

fn holds(interval: Interval, truth: f64) -> bool {
    (interval.low as f64..=interval.high as f64).contains(&truth)
}

/// Of each figure: how many intervals were given, and how many of them hold the truth.
#[derive(Debug, Default, Clone, Copy)]
struct Found {
    given: u64,
    hits: u64,
}

impl Found {
    fn count(&mut self, interval: Result<Interval, Refusal>, truth: f64) {
        if let Ok(interval) = interval {
            self.given += 1;
            self.hits += u64::from(holds(interval, truth));
        }
    }
}

/// The four percentiles, the mean, and the order-statistic interval of p99.
fn simulate(seeds: impl Iterator<Item = u64>, requests: u64) -> [Found; 6] {
    let mut found = [Found::default(); 6];
    for seed in seeds {
        let run = Run::of_queue(seed, requests);
        for (found, p) in found.iter_mut().zip(FIGURES) {
            found.count(run.quantile(p), truth(p));
        }
        found[4].count(run.mean(), MEAN_NS);
        found[5].count(Ok(run.order_statistic(Percentile::P99)), truth(Percentile::P99));
    }
    found
}

fn on_two_threads(requests: u64) -> [Found; 6] {
    let half = |k: usize| thread::spawn(move || simulate((0..RUNS).skip(k).step_by(2), requests));
    let halves = [half(0), half(1)].map(|thread| thread.join().unwrap());
    std::array::from_fn(|i| Found {
        given: halves[0][i].given + halves[1][i].given,
        hits: halves[0][i].hits + halves[1][i].hits,
    })
}

#[test]
fn intervals_of_simulated_queues_hold_the_truth() {
    let found = on_two_threads(120_000);
    println!("{found:?}");
    for found in &found[..5] {
        assert!(found.given * 2 >= RUNS, "refused too often: {found:?}");
        let coverage = found.hits as f64 / found.given as f64;
        assert!((0.90..=0.99).contains(&coverage), "{coverage}: {found:?}");
    }
    let naive = found[5];
    assert!(naive.hits * 2 < RUNS, "these runs tell nothing: requests taken for independent do as well, {naive:?}");
}

/// 6000 requests of such a queue say little about its p99: almost all are refused, and p50 is not wrong for it.
#[test]
fn a_run_that_says_too_little_is_refused() {
    let found = on_two_threads(6_000);
    println!("{found:?}");
    assert!(found[3].given * 10 < RUNS, "{:?}", found[3]);
    assert!(found[0].hits * 10 >= found[0].given * 8, "{:?}", found[0]);
}
