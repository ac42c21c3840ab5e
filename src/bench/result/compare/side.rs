//! What is known of one side of a comparison: each figure with its interval.

use super::Figure;
use crate::bench::record::batches::{Batch, Span};
use crate::bench::record::distribution::{Distribution, LOWEST_NS, Percentile};
use crate::bench::result::resemblance::{self, COARSE};
use crate::bench::result::statistics::{self, BEYOND, Estimate, Refusal, measured};
use crate::bench::result::summary::Summary;
use crate::bench::schedule::SECOND_NS;

/// What a histogram's three digits do not tell apart.
const RESOLUTION: f64 = 1e-3;

/// What the interval of a figure rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Many batches that do not resemble each other.
    Fine,
    /// Few, which may.
    Coarse,
}

/// What is known of one side.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// Its slices of time, one result after the other.
    pub batches: Vec<Batch>,
    /// How many results.
    pub results: usize,
    /// All response times.
    pub response: Distribution,
    /// How many were scheduled.
    pub scheduled: u64,
    /// How many ended well in each whole second.
    pub seconds: Vec<u64>,
}

impl Side {
    /// The results of one side.
    pub fn of(results: &[Summary]) -> Self {
        let mut side = Self { results: results.len(), ..Self::default() };
        for result in results {
            side.batches.extend_from_slice(measured(&result.batches));
            side.response.merge(&result.histograms.response);
            side.scheduled += result.counts.scheduled;
            let whole = (result.duration_ns / SECOND_NS) as usize;
            side.seconds.extend(result.series.iter().take(whole).map(|second| second.ok));
            // Seconds after the last answer are not in the series.
            side.seconds.extend(vec![0; whole.saturating_sub(result.series.len())]);
        }
        side
    }

    pub(super) fn estimate(&self, figure: Figure, evidence: Evidence) -> Result<Between, Refusal> {
        match figure {
            Figure::Mean => {
                let mut found = self.ratio(&statistics::times(&self.batches, Span::Response), evidence)?;
                // Never surer than independent requests would be.
                found.error = found.error.max(self.response.deviation() / (self.response.count() as f64).sqrt());
                Ok(Between::times(found.value, found.half_width(Figure::level())))
            }
            Figure::P50 => self.quantile(Percentile::P50, evidence),
            Figure::P90 => self.quantile(Percentile::P90, evidence),
            Figure::P99 => self.quantile(Percentile::P99, evidence),
            Figure::Rate => {
                let slices: Vec<_> = self.seconds.iter().map(|ok| (*ok as f64, 1.0)).collect();
                let found = self.ratio(&slices, evidence)?;
                Ok(Between::times(found.value, found.half_width(Figure::level())))
            }
            Figure::Errors => self.errors(evidence),
        }
    }

    fn ratio(&self, slices: &[(f64, f64)], evidence: Evidence) -> Result<Estimate, Refusal> {
        match evidence {
            Evidence::Fine => resemblance::fine(slices),
            Evidence::Coarse => resemblance::coarse(slices, self.results),
        }
    }

    fn quantile(&self, percentile: Percentile, evidence: Evidence) -> Result<Between, Refusal> {
        let value = self.response.percentile(percentile, self.scheduled).value().ok_or(Refusal::NoValue)?;
        let found = match evidence {
            Evidence::Fine => self.quantile_by_rank(percentile, value)?,
            Evidence::Coarse => self.quantile_by_parts(percentile, value)?,
        };
        let blur = |ns: f64| (ns * RESOLUTION).max(LOWEST_NS as f64);
        Ok(Between { low: (found.low - blur(found.low)).max(0.0), high: found.high + blur(found.high), ..found })
    }

    /// The interval of the rank, turned into times.
    fn quantile_by_rank(&self, percentile: Percentile, value: u64) -> Result<Between, Refusal> {
        let mut beyond = resemblance::fine(&statistics::beyond(&self.batches, Span::Response, value))?;
        let (p, n) = (percentile.fraction(), self.scheduled as f64);
        beyond.error = beyond.error.max((beyond.value * (1.0 - beyond.value) / n).sqrt());
        let variance = beyond.error * beyond.error;
        let independent = if variance > 0.0 { beyond.value * (1.0 - beyond.value) / variance } else { 0.0 };
        if independent * (1.0 - p) < BEYOND {
            return Err(Refusal::TooFew { beyond: independent * (1.0 - p) });
        }
        let half = beyond.half_width(Figure::level());
        let at = |share: f64| self.response.at_rank((share * n).ceil().max(1.0) as u64).map(|ns| ns as f64);
        // Among those that did not end well there is no longest time.
        let (low, high) = (at(p - half).unwrap_or(value as f64), at(p + half).unwrap_or(f64::INFINITY));
        Ok(Between { low, value: value as f64, high })
    }

    /// From the quantile of each of eight parts of the run.
    fn quantile_by_parts(&self, percentile: Percentile, value: u64) -> Result<Between, Refusal> {
        let beyond = self.scheduled as f64 * (1.0 - percentile.fraction());
        if beyond < BEYOND {
            return Err(Refusal::TooFew { beyond });
        }
        if self.batches.len() < COARSE {
            return Err(Refusal::TooFewBatches);
        }
        let mut logarithms = [0.0; COARSE];
        for (logarithm, part) in logarithms.iter_mut().zip(resemblance::parts(&self.batches, COARSE)) {
            let mut whole = Batch::default();
            part.iter().for_each(|batch| whole.merge(batch));
            let own = Distribution::from(&whole.response).ranked(percentile, whole.scheduled);
            *logarithm = (own.ok_or(Refusal::AmongFailed)?.max(1) as f64).ln();
        }
        let half = resemblance::coarse_mean(&logarithms, self.results).half_width(Figure::level());
        Ok(Between::times(value as f64, half * value as f64))
    }

    fn errors(&self, evidence: Evidence) -> Result<Between, Refusal> {
        let failed = |b: &Batch| b.scheduled.saturating_sub(b.response.count()) as f64;
        let slices: Vec<_> = self.batches.iter().map(|b| (failed(b), b.scheduled as f64)).collect();
        let found = self.ratio(&slices, evidence)?;
        let p = found.value;
        // Never surer than independent requests would be.
        let variance = (found.error * found.error).max(p * (1.0 - p) / self.scheduled as f64);
        let n = if variance > 0.0 { p * (1.0 - p) / variance } else { self.scheduled as f64 };
        let t = statistics::student(Figure::level(), found.freedom());
        let (t2, whole) = (t * t, n + t * t);
        let middle = (n * p + t2 / 2.0) / whole;
        let half = t / whole * (n * p * (1.0 - p) + t2 / 4.0).sqrt();
        Ok(Between { low: (middle - half).clamp(0.0, p), value: p, high: (middle + half).clamp(p, 1.0) })
    }
}

/// A figure and its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Between {
    pub(super) low: f64,
    pub(super) value: f64,
    pub(super) high: f64,
}

impl Between {
    /// The interval of a time or rate whose error is so large a part of it: on the logarithm.
    fn times(value: f64, half: f64) -> Self {
        if value <= 0.0 {
            return Self { low: 0.0, value, high: half };
        }
        let factor = (half / value).exp();
        Self { low: value / factor, value, high: value * factor }
    }

    pub(super) fn ln(self) -> Self {
        // No time is shorter than a nanosecond, no rate lower than one in a lifetime.
        let ln = |v: f64| v.max(1e-9).ln();
        Self {
            low: if self.low > 0.0 { ln(self.low) } else { f64::NEG_INFINITY },
            value: ln(self.value),
            high: ln(self.high),
        }
    }

    /// The interval of `self` − `before`, from those of both.
    pub(super) fn minus(self, before: Self) -> Self {
        let value = self.value - before.value;
        let below = (self.value - self.low).hypot(before.high - before.value);
        let above = (self.high - self.value).hypot(before.value - before.low);
        Self { low: value - below, value, high: value + above }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn between(low: f64, value: f64, high: f64) -> Between {
        Between { low, value, high }
    }

    #[test]
    fn a_difference_has_the_interval_of_both_sides() {
        // 3 and 4 make 5: below, the lower half of the one and the upper half of the other.
        let found = between(7.0, 10.0, 22.0).minus(between(-12.0, 0.0, 4.0));
        assert_eq!((found.low, found.value), (5.0, 10.0));
        assert!((found.high - (10.0 + 12.0_f64.hypot(12.0))).abs() < 1e-12);
        // Nothing is known above: nothing is known of the difference above, yet something below.
        let open = between(7.0, 10.0, f64::INFINITY).minus(between(-12.0, 0.0, 4.0));
        assert_eq!((open.low, open.high), (5.0, f64::INFINITY));
        assert_eq!(between(0.0, 1.0, 2.0).ln().low, f64::NEG_INFINITY);
    }

    /// 64 slices of 100 requests that take `ms` + 1 to 100 ms, of which `failed` fail.
    pub fn side(ms: u64, failed: u64) -> Side {
        let mut side = Side::default();
        for slice in 0..64 {
            let mut batch = Batch { scheduled: 100, ..Batch::default() };
            // Neighbours do not resemble each other: multiples of a large prime.
            let extra = slice * 7919 % 13;
            (1..=100 - failed).for_each(|i| batch.response.record((ms + i + extra) * 1_000_000));
            side.response.merge(&Distribution::from(&batch.response));
            side.scheduled += 100;
            side.seconds.push(100 - failed);
            side.batches.push(batch);
        }
        side
    }

    #[test]
    fn no_errors_among_few_do_not_prove_that_there_are_none() {
        let none = side(100, 0).estimate(Figure::Errors, Evidence::Fine).unwrap();
        assert_eq!((none.low, none.value), (0.0, 0.0));
        // Wilson's bound for none of n is t²/(n + t²).
        let t = statistics::student(Figure::level(), 31.0);
        assert!((none.high - t * t / (6400.0 + t * t)).abs() < 1e-9, "{none:?}");
    }
}
