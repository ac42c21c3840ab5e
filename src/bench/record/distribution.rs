//! A distribution of durations: the buckets of a histogram of fixed bounds, with exact minimum, maximum and sum beside them.

use std::fmt;
use std::str::FromStr;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::buckets::{Buckets, bucket_of, lowest_of};
use super::encoding;

/// The finest duration told apart: 1 µs (the histogram's unit below it is 512 ns).
pub const LOWEST_NS: u64 = 1_000;
/// The longest duration told apart: 1 h. Longer ones are counted there, and as saturated.
pub const HIGHEST_NS: u64 = 3_600_000_000_000;
/// The most durations, or anything else that is counted, that are read back: sums of many such stay far from the end of
/// a u64.
pub const MOST: u64 = 1 << 48;
/// Significant decimal digits.
pub const DIGITS: u8 = 3;

/// A percentile, kept in hundred-thousandths so that ranks are exact: p99.9 is 99 900.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percentile(u32);

impl Percentile {
    const WHOLE: u32 = 100_000;
    /// The median.
    pub const P50: Self = Self(50_000);
    /// The third quartile.
    pub const P75: Self = Self(75_000);
    /// The 90th.
    pub const P90: Self = Self(90_000);
    /// The 95th.
    pub const P95: Self = Self(95_000);
    /// The 99th.
    pub const P99: Self = Self(99_000);
    /// The 99.9th.
    pub const P999: Self = Self(99_900);
    /// The 99.99th.
    pub const P9999: Self = Self(99_990);
    /// Those that every result prints, ascending.
    pub const PRINTED: [Self; 7] = [Self::P50, Self::P75, Self::P90, Self::P95, Self::P99, Self::P999, Self::P9999];

    /// The nearest rank among `population` values, from 1: ceil(p·N).
    pub fn rank(self, population: u64) -> u64 {
        let rank = (u128::from(population) * u128::from(self.0)).div_ceil(u128::from(Self::WHOLE));
        u64::try_from(rank).unwrap_or(u64::MAX).max(1)
    }

    /// The percentile as a fraction of one.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE)
    }

    /// Whether a population of this size has at least one value beyond the percentile; otherwise the percentile would
    /// be the maximum under another name.
    pub fn is_supported_by(self, population: u64) -> bool {
        u128::from(population) * u128::from(Self::WHOLE - self.0) >= u128::from(Self::WHOLE)
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("p{}", f64::from(self.0) / 1000.0))
    }
}

impl FromStr for Percentile {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let value: f64 = text.strip_prefix('p').and_then(|t| t.parse().ok()).ok_or(())?;
        let scaled = (value * 1000.0).round();
        let is_inside = scaled >= 1.0 && scaled < f64::from(Self::WHOLE);
        if is_inside && (scaled / 1000.0 - value).abs() < 1e-9 { Ok(Self(scaled as u32)) } else { Err(()) }
    }
}

/// What can be said of a percentile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantile {
    /// Its value in nanoseconds.
    Is(u64),
    /// It lies among what has no value (failed, unsent): it is at least the largest measured one.
    AtLeast(u64),
    /// The population is too small to tell it from the maximum.
    TooFew,
}

impl Quantile {
    /// The value, where there is one.
    pub fn value(self) -> Option<u64> {
        match self {
            Self::Is(value) => Some(value),
            Self::AtLeast(_) | Self::TooFew => None,
        }
    }
}

/// A distribution of durations in nanoseconds. Its size depends on the longest of them, not on how many are recorded.
#[derive(Clone)]
pub struct Distribution {
    buckets: Buckets,
    min: u64,
    max: u64,
    sum: u64,
    saturated: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { buckets: Buckets::default(), min: u64::MAX, max: 0, sum: 0, saturated: 0 }
    }
}

impl Distribution {
    /// Records one duration.
    pub fn record(&mut self, ns: u64) {
        self.buckets.add(ns, 1);
        self.saturated += u64::from(ns > HIGHEST_NS);
        self.min = self.min.min(ns);
        self.max = self.max.max(ns);
        self.sum = self.sum.saturating_add(ns);
    }

    /// Adds everything that `other` recorded: the result equals one distribution that saw both.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.merge(&other.buckets);
        self.saturated += other.saturated;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buckets.clear();
        (self.min, self.max, self.sum, self.saturated) = (u64::MAX, 0, 0, 0);
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.total()
    }

    /// The shortest, exactly.
    pub fn min(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.min)
    }

    /// The longest, exactly.
    pub fn max(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max)
    }

    /// The mean, from the exact sum.
    pub fn mean(&self) -> Option<u64> {
        self.sum.checked_div(self.count())
    }

    /// The sum of all, in nanoseconds.
    pub fn total(&self) -> f64 {
        self.sum as f64
    }

    /// A distribution of so many durations each, with what is known exactly of all: the shortest, the longest, the sum
    /// in nanoseconds, and how many were longer than [`HIGHEST_NS`].
    pub(in crate::bench) fn from_parts(
        counted: impl Iterator<Item = (u64, u64)>,
        min: u64,
        max: u64,
        sum: u64,
        saturated: u64,
    ) -> Self {
        let mut buckets = Buckets::default();
        counted.for_each(|(ns, count)| buckets.add(ns, count));
        Self { buckets, min, max, sum, saturated }
    }

    /// What [`Self::from_parts`] takes beside the durations: minimum (`u64::MAX` for none), maximum, sum, saturated.
    pub(in crate::bench) fn exact(&self) -> (u64, u64, u64, u64) {
        (self.min, self.max, self.sum, self.saturated)
    }

    /// A duration of each bucket in which something lies, ascending, and how many lie in it.
    pub(in crate::bench) fn recorded(&self) -> impl Iterator<Item = (u64, u64)> {
        self.buckets.recorded()
    }

    /// How many are at most as long as `ns`, within the histogram's resolution: all that it does not tell apart from
    /// `ns` count.
    pub fn count_to(&self, ns: u64) -> u64 {
        self.buckets.count_to(ns)
    }

    /// How many were longer than [`HIGHEST_NS`].
    pub fn saturated(&self) -> u64 {
        self.saturated
    }

    /// The value of the given rank (from 1) in ascending order; `None` beyond what was recorded. Exact at both ends,
    /// otherwise within the histogram's three digits.
    pub fn at_rank(&self, rank: u64) -> Option<u64> {
        if rank == 0 || rank > self.count() {
            return None;
        }
        if rank == self.count() {
            return Some(self.max);
        }
        if rank == 1 {
            return Some(self.min);
        }
        let mut seen = 0;
        for (highest, count) in self.buckets.recorded() {
            seen += count;
            if seen >= rank {
                return Some(self.value_of(highest));
            }
        }
        Some(self.max)
    }

    /// The value that stands for a bucket whose highest value is `highest`: that one, but 0 for the bucket that begins
    /// there, so that no wait does not read as half a microsecond.
    fn value_of(&self, highest: u64) -> u64 {
        let value = if highest < LOWEST_NS { 0 } else { highest };
        value.clamp(self.min, self.max)
    }

    /// The nearest-rank percentile among `population` values, of which those that were not recorded here rank above
    /// all that were. `None` if it lies among them.
    pub fn ranked(&self, percentile: Percentile, population: u64) -> Option<u64> {
        if population == 0 { None } else { self.at_rank(percentile.rank(population)) }
    }

    /// [`Self::ranked`], refused where the population is too small for the percentile.
    pub fn percentile(&self, percentile: Percentile, population: u64) -> Quantile {
        if !percentile.is_supported_by(population) {
            return Quantile::TooFew;
        }
        match self.ranked(percentile, population) {
            Some(value) => Quantile::Is(value),
            None => Quantile::AtLeast(if self.count() == 0 { 0 } else { self.max }),
        }
    }

    /// How many recorded values lie in each of the ranges that `edges` (ascending) begin; the last is open, and the
    /// first takes everything below it too.
    pub fn counts_between(&self, edges: &[u64]) -> Vec<u64> {
        let mut counts = vec![0; edges.len()];
        for (highest, recorded) in self.buckets.recorded() {
            let value = self.value_of(highest);
            let range = edges.partition_point(|edge| *edge <= value).saturating_sub(1);
            if let Some(count) = counts.get_mut(range) {
                *count += recorded;
            }
        }
        counts
    }

    /// Values in nanoseconds and how many lie at or below them, in `ticks` steps to each halving of what is left above.
    pub fn spectrum(&self, ticks: u32) -> Vec<(u64, u64)> {
        let mut total = 0;
        let steps = self.histogram();
        let steps = steps.iter_quantiles(ticks).map(|step| {
            total += step.count_since_last_iteration();
            (step.value_iterated_to().min(self.max), total)
        });
        steps.collect()
    }

    /// The standard deviation in nanoseconds, within the histogram's resolution.
    pub fn deviation(&self) -> f64 {
        self.histogram().stdev()
    }

    /// How many buckets the histogram has, and how many parts each of them.
    pub fn buckets(&self) -> (u64, u64) {
        // Twice the largest number that its digits tell apart, as a power of two (HdrHistogram's own rule).
        let parts = (2 * 10_u64.pow(DIGITS.into())).next_power_of_two();
        (empty().buckets().into(), parts)
    }

    /// The histogram in HdrHistogram's V2 format, compressed and in base64, as its official tools read it.
    pub fn encode(&self) -> String {
        encoding::encode(self.buckets.recorded())
    }

    fn decode(v2: &str) -> Result<Buckets, String> {
        let mut buckets = Buckets::default();
        encoding::decode(v2)?.into_iter().for_each(|(bucket, count)| buckets.add(lowest_of(bucket), count));
        Ok(buckets)
    }

    fn histogram(&self) -> Histogram<u64> {
        let mut histogram = empty();
        self.buckets.recorded().for_each(|(ns, count)| histogram.saturating_record_n(ns, count));
        histogram
    }
}

/// A histogram of the bounds that all have.
pub(in crate::bench) fn empty() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "constant bounds that the constructor accepts, pinned by every test")]
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS).expect("valid bounds")
}

impl fmt::Debug for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Distribution({} values, {:?}..{:?} ns)", self.count(), self.min(), self.max())
    }
}

impl PartialEq for Distribution {
    /// Equal if everything that can be asked of them is.
    fn eq(&self, other: &Self) -> bool {
        let exact = |d: &Self| (d.count(), d.min, d.max, d.sum, d.saturated);
        exact(self) == exact(other) && self.recorded().eq(other.recorded())
    }
}

/// A distribution as it stands in a result's JSON: a few hundred bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// How many were recorded.
    pub count: u64,
    /// The shortest, exactly.
    pub min_ns: Option<u64>,
    /// The longest, exactly.
    pub max_ns: Option<u64>,
    /// The sum, exactly (saturating after 584 years).
    pub sum_ns: u64,
    /// How many were longer than the histogram's bound.
    pub saturated: u64,
    /// The histogram in HdrHistogram's V2 format, compressed and in base64.
    pub v2: String,
}

impl From<&Distribution> for Packed {
    fn from(d: &Distribution) -> Self {
        Self {
            count: d.count(),
            min_ns: d.min(),
            max_ns: d.max(),
            sum_ns: d.sum,
            saturated: d.saturated,
            v2: d.encode(),
        }
    }
}

impl TryFrom<&Packed> for Distribution {
    type Error = String;
    fn try_from(packed: &Packed) -> Result<Self, String> {
        let buckets = Self::decode(&packed.v2)?;
        if buckets.total() != packed.count {
            return Err(format!("a histogram of {} values where {} are announced", buckets.total(), packed.count));
        }
        if packed.count > MOST || packed.saturated > packed.count {
            return Err(format!(
                "{} values, {} of them too long: more than any run has",
                packed.count, packed.saturated
            ));
        }
        let (min, max) = match (packed.min_ns, packed.max_ns) {
            _ if packed.count == 0 => (u64::MAX, 0),
            (Some(min), Some(max)) if min > max => {
                return Err(format!("the shortest value is {min} ns, and the longest {max} ns"));
            }
            (Some(min), Some(max)) => (min, max),
            _ => return Err(format!("{} values without a shortest and a longest", packed.count)),
        };
        let outer = |ns: Option<(u64, u64)>| ns.map(|(ns, _)| bucket_of(ns));
        let ends = [buckets.recorded().next(), buckets.recorded().last()].map(outer);
        if packed.count > 0 && ends != [min, max].map(|ns| Some(bucket_of(ns))) {
            return Err(format!("a histogram of other values than from {min} ns to {max} ns"));
        }
        if packed.count > 0 && (packed.saturated > 0) != (max > HIGHEST_NS) {
            return Err(format!("{} values are too long, and the longest is {max} ns", packed.saturated));
        }
        let [least, most] = [min, max].map(|ns| ns.saturating_mul(packed.count));
        if packed.count > 0 && !(least..=most).contains(&packed.sum_ns) {
            return Err(format!("{} values from {min} ns to {max} ns, of {} ns in all", packed.count, packed.sum_ns));
        }
        Ok(Self { buckets, min, max, sum: packed.sum_ns, saturated: packed.saturated })
    }
}

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Packed::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Distribution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(&Packed::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
