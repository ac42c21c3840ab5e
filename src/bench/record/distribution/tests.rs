//! Quantiles, merges and what is refused.

use super::*;

fn of(values: impl IntoIterator<Item = u64>) -> Distribution {
    let mut distribution = Distribution::default();
    values.into_iter().for_each(|v| distribution.record(v));
    distribution
}

/// Three digits: a value is off by at most one part in a thousand, or by the finest unit.
fn close(found: u64, truth: u64) -> bool {
    found.abs_diff(truth) <= (truth / 1000).max(LOWEST_NS)
}

#[test]
fn percentiles_are_the_nearest_ranks_of_known_lists() {
    let values: Vec<u64> = (1..=10_000).map(|i| i * 10_000).collect();
    let distribution = of(values.iter().copied());
    for p in Percentile::PRINTED {
        let truth = values[p.rank(10_000) as usize - 1];
        let found = distribution.ranked(p, 10_000).unwrap();
        assert!(close(found, truth), "{p}: {found} for {truth}");
    }
    let few = of([3_000_000, 1_000_000, 2_000_000]);
    assert_eq!(few.at_rank(1), Some(1_000_000));
    assert!(close(few.ranked(Percentile::P50, 3).unwrap(), 2_000_000));
    assert_eq!(few.ranked(Percentile::P99, 3), Some(3_000_000));
    assert_eq!(few.mean(), Some(2_000_000));
    let waits = of([0, 0, 0, 5_000_000]);
    assert_eq!(waits.ranked(Percentile::P50, 4), Some(0));
}

#[test]
fn ranks_are_exact_where_floating_point_would_slip() {
    assert_eq!(Percentile::P999.rank(1000), 999);
    assert_eq!(Percentile::P95.rank(100), 95);
    assert_eq!(Percentile::P9999.rank(10_000), 9_999);
    assert_eq!("p99.9".parse(), Ok(Percentile::P999));
    assert_eq!("p99.99".parse(), Ok(Percentile::P9999));
    assert_eq!(Percentile::P999.to_string(), "p99.9");
    for wrong in ["p0", "p0.00000000000000001", "p99.9999999999", "p100", "99", "p", "p99.9999999", "pnan"] {
        assert_eq!(wrong.parse::<Percentile>(), Err(()), "{wrong}");
    }
}

#[test]
fn what_has_no_value_ranks_above_everything_measured() {
    // 95 measured of 100: p90 and p95 are known, p99 lies among the five that are not.
    let distribution = of((1..=95).map(|i| i * 1_000_000));
    assert!(matches!(distribution.percentile(Percentile::P90, 100), Quantile::Is(v) if close(v, 90_000_000)));
    assert_eq!(distribution.percentile(Percentile::P95, 100), Quantile::Is(95_000_000));
    assert_eq!(distribution.percentile(Percentile::P99, 100), Quantile::AtLeast(95_000_000));
    assert_eq!(distribution.percentile(Percentile::P999, 100), Quantile::TooFew);
    assert_eq!(of([]).percentile(Percentile::P50, 10), Quantile::AtLeast(0));
    assert_eq!(of([]).percentile(Percentile::P50, 0), Quantile::TooFew);
}

#[test]
fn merging_any_split_equals_the_whole() {
    let values: Vec<u64> = (0..5_000u64).map(|i| i * i * 977 % 7_000_000_000 + i).collect();
    let whole = of(values.iter().copied());
    for parts in [2, 3, 7, 100] {
        let mut merged = Distribution::default();
        for k in 0..parts {
            merged.merge(&of(values.iter().copied().skip(k).step_by(parts)));
        }
        assert_eq!(merged, whole, "{parts} parts");
    }
}

#[test]
fn the_json_form_brings_the_same_distribution_back() {
    for distribution in [of([]), of([0, 0]), of([0, 1, 999, 1_000_000, HIGHEST_NS, HIGHEST_NS + 5])] {
        let json = serde_json::to_string(&distribution).unwrap();
        assert_eq!(serde_json::from_str::<Distribution>(&json).unwrap(), distribution, "{json}");
    }
    assert_eq!(of([HIGHEST_NS + 5]).saturated(), 1);
    assert_eq!(of([HIGHEST_NS + 5]).max(), Some(HIGHEST_NS + 5));
    assert!(of([]).encode().starts_with("HIST"), "the official tools know the format by this prefix");
}

#[test]
fn what_is_damaged_or_made_up_is_refused() {
    let whole = of([1_000_000, 2_000_000]).encode();
    let read = |count: u64, range: &str, saturated: u64, v2: &str| {
        let json = format!(r#"{{"count":{count},{range}"saturated":{saturated},"v2":"{v2}"}}"#);
        serde_json::from_str::<Distribution>(&json)
    };
    let range = r#""min_ns":1000000,"max_ns":2000000,"sum_ns":3000000,"#;
    assert!(read(2, range, 0, &whole).is_ok());
    for (wrong, why) in [
        (r#""min_ns":1000000,"max_ns":2000000,"sum_ns":1999999,"#, "a mean below the shortest"),
        (r#""min_ns":1000000,"max_ns":2000000,"sum_ns":4000001,"#, "a mean above the longest"),
        (r#""min_ns":1100000,"max_ns":2000000,"sum_ns":3000000,"#, "nothing as short as the shortest"),
        (r#""min_ns":1000000,"max_ns":18446744073709551615,"sum_ns":3000000,"#, "nothing as long as the longest"),
    ] {
        assert!(read(2, wrong, 0, &whole).is_err(), "{why}");
    }
    assert!(read(2, range, 1, &whole).is_err(), "too long, and the longest is not");
    assert!(read(1, range, 0, &whole).is_err(), "another count");
    assert!(read(2, range, 3, &whole).is_err(), "more that are too long than there are");
    let exchanged = r#""min_ns":2000000,"max_ns":1000000,"sum_ns":3000000,"#;
    assert!(read(2, exchanged, 0, &whole).is_err(), "the shortest is the longer one");
    assert!(read(2, r#""sum_ns":3000000,"#, 0, &whole).is_err(), "no shortest and no longest");
    assert!(read(2, range, 0, "AAAA").is_err());
    let mut many = Buckets::default();
    many.add(1_500_000, MOST + 1);
    assert!(read(MOST + 1, range, 0, &encoding::encode(many.recorded())).is_err(), "more than any run has");
}

#[test]
fn ranges_count_what_lies_in_them() {
    let distribution = of([500_000, 1_500_000, 1_600_000, 9_000_000]);
    assert_eq!(distribution.counts_between(&[1_000_000, 2_000_000]), [3, 1]);
}
