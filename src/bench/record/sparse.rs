//! A distribution of durations that keeps only the buckets in which something lies.
//!
//! A run has many batches, each with few distinct values: a histogram of all buckets, most of which stay empty, would
//! let the memory of a run grow with every batch that it reaches.

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::buckets::{bucket_of, lowest_of};
use super::distribution::{Distribution, HIGHEST_NS};

/// A distribution of the same resolution as [`Distribution`], of a size that depends on how many different durations
/// were recorded. It serializes as it is; results have its [`packed`] form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sparse {
    /// Ascending.
    buckets: Vec<u16>,
    /// How many lie in each of them.
    counts: Vec<u64>,
    count: u64,
    min: u64,
    max: u64,
    sum: u64,
    saturated: u64,
}

impl Default for Sparse {
    fn default() -> Self {
        Self { buckets: Vec::new(), counts: Vec::new(), count: 0, min: u64::MAX, max: 0, sum: 0, saturated: 0 }
    }
}

impl Sparse {
    /// Records one duration.
    pub fn record(&mut self, ns: u64) {
        let bucket = bucket_of(ns);
        match self.buckets.binary_search(&bucket) {
            Ok(place) => self.counts[place] += 1,
            Err(place) => {
                self.buckets.insert(place, bucket);
                self.counts.insert(place, 1);
            }
        }
        self.count += 1;
        self.saturated += u64::from(ns > HIGHEST_NS);
        self.min = self.min.min(ns);
        self.max = self.max.max(ns);
        self.sum = self.sum.saturating_add(ns);
    }

    /// Adds everything that `other` recorded: the result equals one distribution that saw both.
    pub fn merge(&mut self, other: &Self) {
        let most = self.buckets.len() + other.buckets.len();
        let (mut buckets, mut counts) = (Vec::with_capacity(most), Vec::with_capacity(most));
        let (mut own, mut others) = (self.entries().peekable(), other.entries().peekable());
        loop {
            let (bucket, count) = match (own.peek().copied(), others.peek().copied()) {
                (None, None) => break,
                (Some(a), Some(b)) => match a.0.cmp(&b.0) {
                    Ordering::Less => own.next().unwrap_or(a),
                    Ordering::Greater => others.next().unwrap_or(b),
                    Ordering::Equal => {
                        own.next();
                        others.next();
                        (a.0, a.1 + b.1)
                    }
                },
                (Some(a), None) => own.next().unwrap_or(a),
                (None, Some(b)) => others.next().unwrap_or(b),
            };
            buckets.push(bucket);
            counts.push(count);
        }
        drop(own);
        (self.buckets, self.counts) = (buckets, counts);
        self.count += other.count;
        self.saturated += other.saturated;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all, in nanoseconds.
    pub fn total(&self) -> f64 {
        self.sum as f64
    }

    /// How many are at most as long as `ns`: [`Distribution::count_to`].
    pub fn count_to(&self, ns: u64) -> u64 {
        let end = self.buckets.partition_point(|b| *b <= bucket_of(ns));
        self.counts.iter().take(end).sum()
    }

    fn entries(&self) -> impl Iterator<Item = (u16, u64)> {
        self.buckets.iter().copied().zip(self.counts.iter().copied())
    }
}

impl From<&Sparse> for Distribution {
    fn from(sparse: &Sparse) -> Self {
        let entries = sparse.entries().map(|(bucket, count)| (lowest_of(bucket), count));
        Self::from_parts(entries, sparse.min, sparse.max, sparse.sum, sparse.saturated)
    }
}

impl From<&Distribution> for Sparse {
    fn from(distribution: &Distribution) -> Self {
        let (buckets, counts) = distribution.recorded().map(|(ns, count)| (bucket_of(ns), count)).unzip();
        let (min, max, sum, saturated) = distribution.exact();
        Self { buckets, counts, count: distribution.count(), min, max, sum, saturated }
    }
}

/// The form of a result: that of [`Distribution`].
pub mod packed {
    use super::*;

    /// Writes it as a histogram.
    ///
    /// # Errors
    ///
    /// The serializer's.
    pub fn serialize<S: Serializer>(sparse: &Sparse, serializer: S) -> Result<S::Ok, S::Error> {
        Distribution::from(sparse).serialize(serializer)
    }

    /// Reads it from a histogram.
    ///
    /// # Errors
    ///
    /// The deserializer's, and those of a damaged histogram.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sparse, D::Error> {
        Distribution::deserialize(deserializer).map(|distribution| Sparse::from(&distribution))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Durations of every magnitude, on both sides of every power of two, and some between.
    fn durations() -> Vec<u64> {
        let powers = (0..42).flat_map(|p| [(1_u64 << p) - 1, 1 << p, (1 << p) + 1, (1 << p) + (1 << p) / 3]);
        powers.chain([0, 511, 512, 1000, HIGHEST_NS, HIGHEST_NS + 1, u64::MAX / 2]).collect()
    }

    fn both(values: impl IntoIterator<Item = u64>) -> (Sparse, Distribution) {
        let mut pair = (Sparse::default(), Distribution::default());
        for value in values {
            pair.0.record(value);
            pair.1.record(value);
        }
        pair
    }

    #[test]
    fn it_is_the_same_distribution() {
        for step in [1, 2, 7, 1000] {
            let (sparse, whole) = both(durations().into_iter().step_by(step));
            assert_eq!(Distribution::from(&sparse), whole);
            assert_eq!(Sparse::from(&whole), sparse);
            assert_eq!((sparse.count(), sparse.total()), (whole.count(), whole.total()));
            for limit in durations() {
                assert_eq!(sparse.count_to(limit), whole.count_to(limit), "{limit} ns");
            }
        }
        let (none, whole) = both([]);
        assert_eq!((Distribution::from(&none), Sparse::from(&whole)), (whole, none));
    }

    #[test]
    fn merging_any_split_equals_the_whole_and_json_brings_it_back() {
        let whole = both(durations()).0;
        for parts in [2, 3, 50] {
            let mut merged = Sparse::default();
            for k in 0..parts {
                merged.merge(&both(durations().into_iter().skip(k).step_by(parts)).0);
            }
            assert_eq!(merged, whole, "{parts} parts");
        }
        let json = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Sparse>(&json).unwrap(), whole);
        let mut text = Vec::new();
        packed::serialize(&whole, &mut serde_json::Serializer::new(&mut text)).unwrap();
        assert_eq!(packed::deserialize(&mut serde_json::Deserializer::from_slice(&text)).unwrap(), whole);
    }
}
