//! The histogram that is drawn in the terminal.

use crate::bench::Distribution;

/// A row of the chart: from this duration (inclusive) up to the next row's, and how many lie there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Where it begins, in nanoseconds.
    pub from: u64,
    /// Where it ends, in nanoseconds.
    pub to: u64,
    /// How many lie in it.
    pub count: u64,
}

/// Where the first row begins at the earliest.
const FINEST_NS: u64 = 1_000;
/// The most rows a chart has.
const MOST_ROWS: usize = 12;

/// Cuts what was measured into rows at round numbers: evenly where it spans less than a decade, else by 1–2–5, else
/// by decades.
pub fn rows(distribution: &Distribution) -> Vec<Row> {
    let (Some(min), Some(max)) = (distribution.min(), distribution.max()) else { return Vec::new() };
    // Below a microsecond the histogram tells nothing apart; the first row takes what lies there.
    let edges = edges(min.max(FINEST_NS), max.max(FINEST_NS));
    let counts = distribution.counts_between(&edges);
    let ends = edges.iter().skip(1).copied().chain([max]);
    edges.iter().zip(ends).zip(counts).map(|((from, to), count)| Row { from: *from, to, count }).collect()
}

fn edges(min: u64, max: u64) -> Vec<u64> {
    if max / min < 8 {
        let step = round_up((max - min) / (MOST_ROWS as u64 - 2));
        let first = min / step * step;
        return (0..).map(|i| first + i * step).take_while(|edge| *edge <= max).collect();
    }
    let by_three = round_numbers(&[1, 2, 5], min, max);
    if by_three.len() <= MOST_ROWS { by_three } else { round_numbers(&[1], min, max) }
}

/// The smallest 1, 2 or 5 times a power of ten that is at least `value`.
fn round_up(value: u64) -> u64 {
    (0..18).flat_map(|e| [1, 2, 5].map(|m| m * 10u64.pow(e))).find(|r| *r >= value).unwrap_or(u64::MAX)
}

/// Multiples of powers of ten, from the last one at or below `min` to the last one at or below `max`.
fn round_numbers(multiples: &[u64], min: u64, max: u64) -> Vec<u64> {
    let all: Vec<u64> = (0..18).flat_map(|e| multiples.iter().map(move |m| m * 10u64.pow(e))).collect();
    let first = all.partition_point(|edge| *edge <= min).saturating_sub(1);
    all.into_iter().skip(first).take_while(|edge| *edge <= max).collect()
}

/// A bar of up to `width` columns for `share` (0 to 1), in eighths of a column; anything above 0 is visible.
pub fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if share <= 0.0 {
        return String::new();
    }
    let eighths = ((share * width as f64 * 8.0).round() as usize).clamp(1, width * 8);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Distribution {
        let mut distribution = Distribution::default();
        values.iter().for_each(|v| distribution.record(*v));
        distribution
    }

    #[test]
    fn rows_are_few_round_and_lose_nothing() {
        for values in [
            &[1_000_000][..],
            &[1, 1],
            &[0, 3_600_000_000_000],
            &[100_000, 140_000, 180_000, 250_000],
            &[90_000, 1_000_000, 80_000_000],
            &[1_000, 1_000_000_000],
        ] {
            let rows = rows(&of(values));
            assert!((1..=MOST_ROWS).contains(&rows.len()), "{values:?}: {rows:?}");
            assert_eq!(rows.iter().map(|r| r.count).sum::<u64>(), values.len() as u64);
            assert!(rows.windows(2).all(|pair| pair[0].to == pair[1].from));
        }
        assert!(rows(&of(&[])).is_empty());
    }

    #[test]
    fn bars_show_what_is_little_and_never_overflow() {
        assert_eq!(bar(0.0, 10), "");
        assert_eq!(bar(1e-9, 10), "▏");
        assert_eq!(bar(0.5, 4), "██");
        assert_eq!(bar(2.0, 4), "████");
    }
}
