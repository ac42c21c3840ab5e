//! How many durations lie in each bucket of an HdrHistogram: the same buckets, but only as many as the longest duration
//! needs. Nothing is cleared and no page touched for those that no run ever reaches, which are most of them: up to an
//! hour they take a quarter of a megabyte, and a thread counts into dozens of such.

use super::distribution::HIGHEST_NS;

/// The parts of the lowest bucket, as a power of two: twice what three decimal digits tell apart (HdrHistogram's rule).
const PARTS: u32 = 11;
/// The finest unit as a power of two of nanoseconds: 512 ns (that of [`super::distribution::LOWEST_NS`]).
const UNIT: u32 = 9;
/// By how many they grow: 4 KiB.
const MORE: usize = 512;

/// The bucket that `ns` lies in: HdrHistogram's own, numbered without gaps. The first 2048 are 512 ns wide; each next
/// 1024 are twice as wide as those before.
pub fn bucket_of(ns: u64) -> u16 {
    let units = ns.min(HIGHEST_NS) >> UNIT;
    let doublings = (u64::BITS - units.leading_zeros()).saturating_sub(PARTS);
    // At most 24 doublings up to the highest duration.
    (u64::from(doublings) * (1 << (PARTS - 1)) + (units >> doublings)) as u16
}

/// The lowest duration that lies in a bucket, in nanoseconds.
pub fn lowest_of(bucket: u16) -> u64 {
    let half = 1 << (PARTS - 1);
    let bucket = u64::from(bucket);
    let doublings = (bucket / half).saturating_sub(1);
    (bucket - doublings * half) << doublings << UNIT
}

/// The highest duration that lies in a bucket, in nanoseconds.
fn highest_of(bucket: u16) -> u64 {
    lowest_of(bucket + 1) - 1
}

/// How many durations lie in each bucket.
#[derive(Debug, Clone, Default)]
pub struct Buckets {
    counts: Vec<u64>,
    total: u64,
}

impl Buckets {
    /// Counts a duration in nanoseconds so many times.
    pub fn add(&mut self, ns: u64, times: u64) {
        let bucket = usize::from(bucket_of(ns));
        if bucket >= self.counts.len() {
            self.counts.resize((bucket + 1).next_multiple_of(MORE), 0);
        }
        // A file that was made by hand may hold any count.
        self.counts[bucket] = self.counts[bucket].saturating_add(times);
        self.total = self.total.saturating_add(times);
    }

    /// Adds everything that others count.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (own, other) in self.counts.iter_mut().zip(&other.counts) {
            *own = own.saturating_add(*other);
        }
        self.total = self.total.saturating_add(other.total);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.clear();
        self.total = 0;
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many are at most as long as `ns`, or in the same bucket.
    pub fn count_to(&self, ns: u64) -> u64 {
        self.counts.iter().take(usize::from(bucket_of(ns)) + 1).sum()
    }

    /// Of each bucket in which something lies, ascending: the highest duration, in nanoseconds, and how many there are.
    pub fn recorded(&self) -> impl Iterator<Item = (u64, u64)> {
        (0_u16..).zip(&self.counts).filter(|(_, count)| **count > 0).map(|(bucket, count)| (highest_of(bucket), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::super::distribution::{DIGITS, LOWEST_NS};
    use super::*;

    #[test]
    fn buckets_are_numbered_without_gaps() {
        let mut last = 0;
        for bucket in 0..=bucket_of(HIGHEST_NS) {
            let lowest = lowest_of(bucket);
            assert_eq!(bucket_of(lowest), bucket);
            assert!(bucket == 0 || bucket_of(lowest - 1) == bucket - 1);
            assert!(bucket == 0 || lowest > last);
            last = lowest;
        }
    }

    #[test]
    fn they_are_those_of_the_histogram() {
        let mut histogram = hdrhistogram::Histogram::<u64>::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS).unwrap();
        let mut buckets = Buckets::default();
        let powers = (0..42).flat_map(|p| [(1_u64 << p) - 1, 1 << p, (1 << p) + 1, (1 << p) + (1 << p) / 3]);
        for ns in powers.filter(|ns| *ns <= HIGHEST_NS).chain([HIGHEST_NS]) {
            histogram.record_n(ns, ns % 3 + 1).unwrap();
            buckets.add(ns, ns % 3 + 1);
            assert_eq!(buckets.count_to(ns), histogram.count_between(0, ns), "{ns} ns");
        }
        let theirs = histogram.iter_recorded().map(|b| (b.value_iterated_to(), b.count_since_last_iteration()));
        assert!(buckets.recorded().eq(theirs));
        assert_eq!(buckets.total(), histogram.len());
    }
}
