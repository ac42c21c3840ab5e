//! Numbers as people read them.

use crate::bench::statistics::Interval;
use crate::bench::{Distribution, Measure, Percentile, Quantile, SloResult, Summary};

/// A duration in nanoseconds with three significant digits: `123 µs`, `1.23 ms`, `12.3 s`.
pub fn duration(ns: u64) -> String {
    let value = ns as f64;
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..999_500 => (value / 1e3, "µs"),
        999_500..999_500_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    let digits = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit}")
}

/// The heads of the columns of [`phases`].
pub const PHASES: [&str; 5] = ["phase", "times", "p50", "p99", "max"];

/// What connections and answers are made of, as far as there were any: look-up of the name, connect and TLS handshake of
/// every connection, and the time from a request's start to the first byte of its answer.
pub fn phases(summary: &Summary) -> Vec<[String; 5]> {
    let row = |name: &str, d: &Distribution| {
        let at = |p| quantile(d.percentile(p, d.count()));
        let longest = duration_or(d.max(), "-");
        (d.count() > 0).then(|| [name.to_owned(), count(d.count()), at(Percentile::P50), at(Percentile::P99), longest])
    };
    let of = &summary.histograms;
    let look_up = summary.setup.dns_ns.map(|ns| ["look-up", "1", "", "", &duration(ns)].map(str::to_owned));
    let others = [("connect", &of.connect), ("TLS", &of.tls), ("first byte", &of.first_byte)];
    look_up.into_iter().chain(others.into_iter().filter_map(|(name, d)| row(name, d))).collect()
}

/// A duration, or `otherwise` where there is none.
pub fn duration_or(ns: Option<u64>, otherwise: &str) -> String {
    ns.map_or_else(|| otherwise.to_owned(), duration)
}

/// A whole number with its thousands set apart: `12,345,678`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate a second: `9,999/s`, `49.8/s`, `0.500/s`.
pub fn rate(per_second: f64) -> String {
    if per_second == 0.0 {
        "0/s".to_owned()
    } else if per_second >= 1000.0 {
        format!("{}/s", count(per_second.round() as u64))
    } else if per_second >= 10.0 {
        format!("{per_second:.1}/s")
    } else {
        format!("{per_second:.3}/s")
    }
}

/// A fraction as a percentage with three significant digits; what is not nothing never reads 0%, and what is not all
/// never reads 100%.
pub fn percent(fraction: f64) -> String {
    let value = fraction * 100.0;
    match value {
        v if v <= 0.0 => "0%".to_owned(),
        v if v < 0.001 => "<0.001%".to_owned(),
        v if v < 1.0 => format!("{v:.3}%"),
        v if v < 10.0 => format!("{v:.2}%"),
        v if v >= 100.0 => "100%".to_owned(),
        v if v > 99.9 => format!("{:.3}%", (v * 1000.0).floor() / 1000.0),
        v => format!("{v:.1}%"),
    }
}

/// What can be said of a percentile: its value, at least what, or that there are too few for it.
pub fn quantile(quantile: Quantile) -> String {
    match quantile {
        Quantile::Is(ns) => duration(ns),
        Quantile::AtLeast(0) => "none ok".to_owned(),
        Quantile::AtLeast(ns) => format!("≥ {}", duration(ns)),
        Quantile::TooFew => "too few".to_owned(),
    }
}

/// An interval of durations: `1.23–1.45 ms`, `980 µs–1.02 ms`.
pub fn interval(interval: Interval) -> String {
    let (low, high) = (duration(interval.low), duration(interval.high));
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!("{number}–{high}"),
        _ => format!("{low}–{high}"),
    }
}

/// An interval, or `otherwise` where it is refused.
pub fn interval_or(found: Option<Interval>, otherwise: &str) -> String {
    found.map_or_else(|| otherwise.to_owned(), interval)
}

/// What was measured for an objective, in its own unit.
pub fn slo_value(slo: &SloResult) -> String {
    match slo.value.as_ref().and_then(serde_json::Number::as_f64) {
        None => "none: too many failed".to_owned(),
        Some(value) => match slo.expression.measure() {
            Measure::Errors => percent(value),
            Measure::Rate => rate(value),
            Measure::Percentile(_) | Measure::Mean | Measure::Max => duration(value as u64),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_significant_digits() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_234, "1.23 µs"),
            (123_456, "123 µs"),
            (999_499, "999 µs"),
            (999_999, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (99_990_000, "100 ms"),
            (1_234_567_890, "1.23 s"),
            (3_600_000_000_000, "3600 s"),
        ] {
            assert_eq!(duration(ns), text);
        }
        let between = |low, high| interval(Interval { low, high });
        assert_eq!(between(1_234_000, 1_345_000), "1.23–1.34 ms");
        assert_eq!(between(980_000, 1_020_000), "980 µs–1.02 ms");
        assert_eq!((count(0), count(999), count(12_345_678)), ("0".into(), "999".into(), "12,345,678".into()));
        assert_eq!((rate(9_999.4), rate(49.84), rate(0.5)), ("9,999/s".into(), "49.8/s".into(), "0.500/s".into()));
        assert_eq!((percent(0.0), percent(1e-9), percent(0.001)), ("0%".into(), "<0.001%".into(), "0.100%".into()));
        assert_eq!((percent(0.9999999), percent(1.0)), ("99.999%".into(), "100%".into()));
    }
}
