//! How far the figures of one run can be off: intervals of confidence that know that requests wait behind each other.
//!
//! Response times of neighbouring requests resemble each other, in a queue over thousands of requests. Formulas for
//! independent values (the order-statistic interval of a quantile, σ/√n for the mean) are then far too narrow. Here the
//! run is cut into slices of time, long enough that they no longer resemble each other, and the spread *between* them
//! says how far the whole can be off:
//!
//! - the mean: batch means with Student's t (Law, *Simulation Modeling and Analysis*, 5th ed., § 9.5.3), as a ratio
//!   because slices of time hold different numbers of requests (Cochran, *Sampling Techniques*, 3rd ed., § 6.3);
//! - a quantile: the interval of its rank, turned into values (Woodruff, "Confidence intervals for medians and other
//!   position measures", JASA 47, 1952), the rank's error from the batches' shares beyond the quantile (batch means of
//!   the indicator: Iglehart, "Simulating stable stochastic systems, VI: quantile estimation", JACM 23, 1976). Unlike
//!   sectioning, it needs no batch that is large enough to have the quantile itself;
//! - whether batches resemble each other still: von Neumann's ratio (Fishman & Yarberry, "An implementation of the
//!   batch means method", INFORMS J. on Computing 9, 1997), which is the lag-1 autocorrelation with its ends corrected.
//!
//! Between 8 and 32 batches: more than 30 make an interval hardly shorter (Schmeiser, "Batch size effects in the
//! analysis of simulation output", Operations Research 30, 1982).
//!
//! Everything here is pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use crate::bench::record::batches::{Batch, Batches, Span};
use crate::bench::record::distribution::{Distribution, Percentile};

/// The share of runs whose interval holds the truth.
pub const LEVEL: f64 = 0.95;
/// How sure it must be that batches resemble each other before they are taken together, and refused in the end.
const CORRELATED: f64 = 0.95;
/// The fewest batches that an interval is made of.
pub const FEWEST: usize = 8;
/// The most.
pub const MOST: usize = 32;
/// How many independent requests there must be beyond a quantile: with fewer, the normal approximation of their
/// number fails.
pub const BEYOND: f64 = 10.0;

/// Why there is no interval.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The figure itself has no value.
    #[error("the figure itself has no value")]
    NoValue,
    /// The run is too short to be cut.
    #[error("the run is too short for {FEWEST} batches")]
    TooFewBatches,
    /// Batches resemble each other.
    #[error("neighbouring batches resemble each other: load longer, or at a steady rate")]
    Correlated,
    /// There are not enough requests beyond the quantile.
    #[error("as much is known as from {beyond:.1} independent requests beyond it, and {BEYOND} are needed")]
    TooFew {
        /// n(1 − p), n being the number of independent requests that would tell as much as all these do.
        beyond: f64,
    },
    /// The interval reaches the requests that have no response time.
    #[error("it may lie among the requests that did not end well")]
    AmongFailed,
}

/// An estimate and what is known of its error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Its standard error, in the same unit.
    pub error: f64,
    /// How many batches it is from.
    pub batches: usize,
}

impl Estimate {
    /// Degrees of freedom of the error.
    pub fn freedom(&self) -> f64 {
        self.batches as f64 - 1.0
    }

    /// Half the length of its interval at `level`, by Student's t.
    pub fn half_width(&self, level: f64) -> f64 {
        student(level, self.freedom()) * self.error
    }
}

/// The quantile of Student's t that an interval at `level` with this many degrees of freedom reaches to.
pub fn student(level: f64, freedom: f64) -> f64 {
    // Infinite without a degree of freedom: nothing is known.
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(f64::midpoint(1.0, level)))
}

/// Estimates Σ numerators / Σ denominators with its error, from the pairs of slices in order of time. Slices are taken
/// together, the same number each, until neighbours no longer resemble each other.
///
/// # Errors
///
/// There are too few slices, they go on resembling each other, or all denominators are 0.
pub fn ratio(slices: &[(f64, f64)]) -> Result<Estimate, Refusal> {
    let mut together = slices.len().div_ceil(MOST).max(1);
    let mut refusal = Refusal::TooFewBatches;
    while slices.len() / together >= FEWEST {
        let batches = grouped(slices, together);
        let (above, below) = batches.iter().fold((0.0, 0.0), |sum, b| (sum.0 + b.0, sum.1 + b.1));
        if below <= 0.0 {
            return Err(Refusal::NoValue);
        }
        let value = above / below;
        let residuals: Vec<f64> = batches.iter().map(|(above, below)| above - value * below).collect();
        if !resemble(&residuals) {
            let b = residuals.len() as f64;
            let squares: f64 = residuals.iter().map(|r| r * r).sum();
            let error = (b / (b - 1.0) * squares).sqrt() / below;
            return Ok(Estimate { value, error, batches: residuals.len() });
        }
        refusal = Refusal::Correlated;
        together *= 2;
    }
    Err(refusal)
}

/// The sums of every `together` slices; what is left over at the end belongs to the last.
fn grouped(slices: &[(f64, f64)], together: usize) -> Vec<(f64, f64)> {
    let number = slices.len() / together;
    let mut groups = vec![(0.0, 0.0); number];
    for (i, slice) in slices.iter().enumerate() {
        if let Some(group) = groups.get_mut((i / together).min(number.saturating_sub(1))) {
            group.0 += slice.0;
            group.1 += slice.1;
        }
    }
    groups
}

/// Whether neighbours among values resemble each other more than chance explains.
fn resemble(values: &[f64]) -> bool {
    score(values).is_some_and(|score| score > Normal::standard().inverse_cdf(CORRELATED))
}

/// The lag-1 autocorrelation of values with its ends corrected, 1 − ratio/2, where von Neumann's ratio is that of the
/// squares of differences to the squares of the values; `None` where all are the same, or too few.
pub(super) fn autocorrelation(values: &[f64]) -> Option<f64> {
    let b = values.len() as f64;
    let mean = values.iter().sum::<f64>() / b;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let differences: f64 = values.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
    (b >= 3.0 && squares > 0.0).then(|| 1.0 - differences / (2.0 * squares))
}

/// How much neighbours among values resemble each other: standard normal where they are independent, √((b² − 1)/(b − 2))
/// times the autocorrelation.
pub(super) fn score(values: &[f64]) -> Option<f64> {
    let b = values.len() as f64;
    autocorrelation(values).map(|found| ((b * b - 1.0) / (b - 2.0)).sqrt() * found)
}

/// The slices between the first and the last in which something was scheduled.
pub fn measured(batches: &Batches) -> &[Batch] {
    let all = batches.as_slice();
    let is_used = |batch: &Batch| batch.scheduled > 0;
    let first = all.iter().position(is_used).unwrap_or(0);
    let last = all.iter().rposition(is_used).map_or(first, |last| last + 1);
    &all[first..last]
}

/// Of each slice: the sum of the times of what ended well, in nanoseconds, and their number.
pub(super) fn times(batches: &[Batch], span: Span) -> Vec<(f64, f64)> {
    batches.iter().map(|b| (b.times(span).total(), b.times(span).count() as f64)).collect()
}

/// Of each slice: how many took longer than `limit_ns` or did not end well, and how many were scheduled.
pub(super) fn beyond(batches: &[Batch], span: Span, limit_ns: u64) -> Vec<(f64, f64)> {
    let beyond = |b: &Batch| (b.scheduled - b.times(span).count_to(limit_ns).min(b.scheduled)) as f64;
    batches.iter().map(|b| (beyond(b), b.scheduled as f64)).collect()
}

/// The mean time in nanoseconds, over what ended well; `whole` has all of the times.
///
/// # Errors
///
/// See [`ratio`].
pub fn mean(batches: &[Batch], span: Span, whole: &Distribution) -> Result<Estimate, Refusal> {
    let mut estimate = ratio(&times(batches, span))?;
    // Never surer than independent requests would be, even where the batches happen to be much alike.
    estimate.error = estimate.error.max(whole.deviation() / (whole.count() as f64).sqrt());
    Ok(estimate)
}

/// The share of scheduled requests that took longer than `limit_ns` or did not end well.
///
/// # Errors
///
/// See [`ratio`].
pub fn share_beyond(batches: &[Batch], span: Span, limit_ns: u64) -> Result<Estimate, Refusal> {
    let slices = beyond(batches, span, limit_ns);
    let mut estimate = ratio(&slices)?;
    let n: f64 = slices.iter().map(|slice| slice.1).sum();
    estimate.error = estimate.error.max((estimate.value * (1.0 - estimate.value) / n).sqrt());
    Ok(estimate)
}

/// An interval of durations in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: u64,
    /// Its upper end.
    pub high: u64,
}

/// The interval of the mean.
///
/// # Errors
///
/// It is refused: see [`Refusal`].
pub fn mean_interval(batches: &[Batch], span: Span, whole: &Distribution) -> Result<Interval, Refusal> {
    let estimate = mean(batches, span, whole)?;
    let half = estimate.half_width(LEVEL);
    Ok(Interval { low: (estimate.value - half).max(0.0) as u64, high: (estimate.value + half).ceil() as u64 })
}

/// The interval of a percentile of `whole`, which ranks among `scheduled` requests.
///
/// # Errors
///
/// It is refused: see [`Refusal`].
pub fn quantile_interval(
    batches: &[Batch],
    span: Span,
    whole: &Distribution,
    scheduled: u64,
    percentile: Percentile,
) -> Result<Interval, Refusal> {
    let value = whole.percentile(percentile, scheduled).value().ok_or(Refusal::NoValue)?;
    let beyond = share_beyond(batches, span, value)?;
    let variance = beyond.error * beyond.error;
    let p = percentile.fraction();
    // All that lie at the value itself: it is the largest, and nothing is known of what is beyond.
    let effective = if variance > 0.0 { beyond.value * (1.0 - beyond.value) / variance } else { 0.0 };
    if effective * (1.0 - p) < BEYOND {
        return Err(Refusal::TooFew { beyond: effective * (1.0 - p) });
    }
    let half = beyond.half_width(LEVEL);
    let rank = |share: f64| (share * scheduled as f64).ceil().max(1.0) as u64;
    let low = whole.at_rank(rank(p - half)).ok_or(Refusal::AmongFailed)?;
    let high = whole.at_rank(rank(p + half)).ok_or(Refusal::AmongFailed)?;
    Ok(Interval { low, high })
}

/// The intervals of the figures of a time; `None` where one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LatencyIntervals {
    /// Mean.
    pub mean: Option<Interval>,
    /// Median.
    pub p50: Option<Interval>,
    /// Third quartile.
    pub p75: Option<Interval>,
    /// 90th percentile.
    pub p90: Option<Interval>,
    /// 95th percentile.
    pub p95: Option<Interval>,
    /// 99th percentile.
    pub p99: Option<Interval>,
    /// 99.9th percentile.
    #[serde(rename = "p99.9")]
    pub p999: Option<Interval>,
    /// 99.99th percentile.
    #[serde(rename = "p99.99")]
    pub p9999: Option<Interval>,
}

/// The intervals of a result.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Intervals {
    /// The share of runs whose interval holds the truth.
    pub level: f64,
    /// Of the response time.
    pub response_time_ns: LatencyIntervals,
    /// Of the service time.
    #[serde(default)]
    pub service_time_ns: LatencyIntervals,
    /// Why the response time has none, by figure.
    pub refused: BTreeMap<String, String>,
    /// Why the service time has none, by figure.
    #[serde(default)]
    pub refused_of_service: BTreeMap<String, String>,
}

impl LatencyIntervals {
    /// The interval of one of the percentiles that every result prints.
    pub fn percentile(&self, percentile: Percentile) -> Option<Interval> {
        match percentile {
            Percentile::P50 => self.p50,
            Percentile::P75 => self.p75,
            Percentile::P90 => self.p90,
            Percentile::P95 => self.p95,
            Percentile::P99 => self.p99,
            Percentile::P999 => self.p999,
            Percentile::P9999 => self.p9999,
            _ => None,
        }
    }

    /// Those that are not refused, and by figure why the others are.
    fn of(
        slices: &[Batch],
        span: Span,
        whole: &Distribution,
        scheduled: u64,
        refused: &mut BTreeMap<String, String>,
    ) -> Self {
        let mut keep = |name: String, found: Result<Interval, Refusal>| match found {
            Ok(interval) => Some(interval),
            Err(why) => {
                refused.insert(name, why.to_string());
                None
            }
        };
        let mean = keep("mean".to_owned(), mean_interval(slices, span, whole));
        let mut at = |p: Percentile| keep(p.to_string(), quantile_interval(slices, span, whole, scheduled, p));
        Self {
            mean,
            p50: at(Percentile::P50),
            p75: at(Percentile::P75),
            p90: at(Percentile::P90),
            p95: at(Percentile::P95),
            p99: at(Percentile::P99),
            p999: at(Percentile::P999),
            p9999: at(Percentile::P9999),
        }
    }
}

impl Intervals {
    /// The intervals of `response` and `service`, which rank among `scheduled` requests, from their batches.
    pub fn of(batches: &Batches, response: &Distribution, service: &Distribution, scheduled: u64) -> Self {
        let slices = measured(batches);
        let (mut refused, mut refused_of_service) = Default::default();
        let response_time_ns = LatencyIntervals::of(slices, Span::Response, response, scheduled, &mut refused);
        let service_time_ns = LatencyIntervals::of(slices, Span::Service, service, scheduled, &mut refused_of_service);
        Self { level: LEVEL, response_time_ns, service_time_ns, refused, refused_of_service }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::sample::{Outcome, Sample};

    const MS: u64 = 1_000_000;

    /// 64 batches of 100 requests that take 1 to 100 ms and `extra` more in a batch, of which the last `failed` do not
    /// end well.
    fn batches(extra: impl Fn(u64) -> u64, failed: u64) -> (Vec<Batch>, Distribution) {
        let mut whole = Distribution::default();
        let batches = (0..64).map(|b| {
            let mut batch = Batch { scheduled: 100, ..Batch::default() };
            (1..=100 - failed).for_each(|i| batch.response.record((i + extra(b)) * MS));
            whole.merge(&Distribution::from(&batch.response));
            batch
        });
        let batches = batches.collect();
        (batches, whole)
    }

    /// Of no pattern that neighbours share: multiples of a large prime.
    fn scattered(b: u64) -> u64 {
        b * 7919 % 13
    }

    #[test]
    fn the_error_of_a_ratio_is_that_of_its_batches() {
        // Eight values of mean 4.5 whose neighbours differ: the error is the standard deviation (√6) over √8.
        let slices: Vec<_> = [1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0].map(|v| (v * 10.0, 10.0)).into();
        let found = ratio(&slices).unwrap();
        assert_eq!((found.value, found.batches), (4.5, 8));
        assert!((found.error - (6.0_f64 / 8.0).sqrt()).abs() < 1e-12, "{found:?}");
        // From a table of Student's t: 97.5% at 7 degrees of freedom.
        assert!((student(0.95, 7.0) - 2.3646).abs() < 1e-4);
        assert!((found.half_width(0.95) - 2.3646 * found.error).abs() < 1e-4);
        assert_eq!(student(0.95, 0.0), f64::INFINITY);
    }

    #[test]
    fn slices_are_taken_together_until_neighbours_no_longer_resemble_each_other() {
        let of = |value: fn(usize) -> f64| (0..64).map(|i| (value(i), 1.0)).collect::<Vec<_>>();
        let alternating = ratio(&of(|i| [1.0, 3.0][i / 2 % 2])).unwrap();
        assert_eq!(alternating.batches, 32, "pairs alternate");
        // Runs of sixteen slices: neighbours are alike at 32 batches and at 16, no more than by chance at 8.
        assert_eq!(ratio(&of(|i| [1.0, 3.0][i / 16 % 2])).unwrap().batches, 8);
        assert_eq!(ratio(&of(|i| i as f64)), Err(Refusal::Correlated), "a rising one is no steady state");
        assert_eq!(ratio(&of(|_| 1.0)).unwrap().error, 0.0);
        assert_eq!(ratio(&[(1.0, 1.0); 7]), Err(Refusal::TooFewBatches));
        assert_eq!(ratio(&[]), Err(Refusal::TooFewBatches));
        assert_eq!(ratio(&[(0.0, 0.0); 64]), Err(Refusal::NoValue));
    }

    #[test]
    fn an_interval_holds_the_figure_and_grows_with_the_spread_between_batches() {
        let length = |interval: Interval| interval.high - interval.low;
        let mut lengths = Vec::new();
        for spread in [1, 4] {
            let (batches, whole) = batches(|b| scattered(b) * spread, 0);
            let p50 = quantile_interval(&batches, Span::Response, &whole, 6400, Percentile::P50).unwrap();
            let value = whole.ranked(Percentile::P50, 6400).unwrap();
            assert!(p50.low <= value && value <= p50.high, "{value} in {p50:?}");
            let mean = mean_interval(&batches, Span::Response, &whole).unwrap();
            assert!(mean.low <= whole.mean().unwrap() && whole.mean().unwrap() <= mean.high);
            lengths.push((length(p50), length(mean)));
        }
        assert!(lengths[0].0 < lengths[1].0 && lengths[0].1 < lengths[1].1, "{lengths:?}");
    }

    #[test]
    fn the_service_time_has_intervals_of_its_own() {
        let mut batches = Batches::default();
        let (mut response, mut service) = (Distribution::default(), Distribution::default());
        for n in 0..6400_u64 {
            let scheduled = n * 10 * MS;
            let (waited, took) = (n % 100 * MS, (10 + scattered(n)) * MS);
            batches.record(&Sample {
                n,
                kind: 0,
                scheduled,
                ready: scheduled + waited,
                started: scheduled + waited,
                first_byte: scheduled + waited + took,
                finished: scheduled + waited + took,
                outcome: Outcome::Ok,
                status: Some(200),
                retries: 0,
                redirects: 0,
                bodies: (0, 0),
                wire: (1, 1),
                bytes: (1, 1),
            });
            response.record(waited + took);
            service.record(took);
        }
        let found = Intervals::of(&batches, &response, &service, 6400);
        for (of, whole) in [(&found.response_time_ns, &response), (&found.service_time_ns, &service)] {
            let (p90, value) = (of.p90.unwrap(), whole.ranked(Percentile::P90, 6400).unwrap());
            assert!(p90.low <= value && value <= p90.high, "{value} in {p90:?}");
        }
        assert!(found.service_time_ns.p90.unwrap().high < found.response_time_ns.p90.unwrap().low);
    }

    #[test]
    fn what_cannot_be_known_is_refused_with_its_reason() {
        let at = |extra: fn(u64) -> u64, failed: u64, p| {
            let (batches, whole) = batches(extra, failed);
            quantile_interval(&batches, Span::Response, &whole, 6400, p)
        };
        // 6.4 of 6400 lie beyond the 99.9th percentile, and the 99.99th is the maximum under another name.
        assert!(matches!(at(scattered, 0, Percentile::P999), Err(Refusal::TooFew { beyond }) if beyond <= 6.5));
        assert_eq!(at(scattered, 0, Percentile::P9999), Err(Refusal::NoValue));
        assert_eq!(at(|b| b, 0, Percentile::P50), Err(Refusal::Correlated));
        // Ten of a hundred failed: p95 lies among them, p90 may.
        assert_eq!(at(scattered, 10, Percentile::P95), Err(Refusal::NoValue));
        assert_eq!(at(scattered, 10, Percentile::P90), Err(Refusal::AmongFailed));
        assert!(at(scattered, 10, Percentile::P75).is_ok());

        let (batches, whole) = batches(scattered, 0);
        assert_eq!(mean_interval(&batches[..7], Span::Response, &whole), Err(Refusal::TooFewBatches));
        let none = Intervals::of(&Batches::default(), &Distribution::default(), &Distribution::default(), 0);
        assert_eq!((none.response_time_ns, none.refused.len()), (LatencyIntervals::default(), 8));
    }
}
