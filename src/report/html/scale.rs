//! The axes of a chart: from a value to its place, and the round values that are named.

/// An axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// Equal distances are equal differences.
    Linear {
        /// At its beginning.
        low: f64,
        /// At its end.
        high: f64,
    },
    /// Equal distances are equal ratios; both ends are above 0.
    Log {
        /// At its beginning.
        low: f64,
        /// At its end.
        high: f64,
    },
}

/// The most values that are named on an axis of equal differences.
const MOST_TICKS: usize = 6;
/// The most on an axis of equal ratios, before only powers of ten are.
const MOST_RATIOS: usize = 8;

impl Scale {
    /// An axis from 0 to a round number at or above `most`.
    pub fn up_to(most: f64) -> Self {
        let step = round_step(most.max(f64::MIN_POSITIVE) / (MOST_TICKS - 1) as f64);
        Self::Linear { low: 0.0, high: step * (most / step).ceil().max(1.0) }
    }

    /// An axis of durations in nanoseconds that holds `min` and `max`, by ratios, its ends at 1, 2 or 5 times a power
    /// of ten. Below a microsecond nothing is told apart.
    pub fn of_durations(min: u64, max: u64) -> Self {
        let (min, max) = (min.max(1_000), max.max(1_000));
        let steps = || (3..16).flat_map(|e| [1, 2, 5].map(|m| m * 10_u64.pow(e)));
        let low = steps().take_while(|s| *s <= min).last().unwrap_or(1_000);
        let high = steps().find(|s| *s >= max && *s > low).unwrap_or(max);
        Self::Log { low: low as f64, high: high as f64 }
    }

    /// The place of a value, 0 at the beginning and 1 at the end; values beyond are at the ends.
    pub fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { low, high } => (value - low) / (high - low),
            Self::Log { low, high } => (value.max(low) / low).ln() / (high / low).ln(),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Round values on it, ascending.
    pub fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { low, high } => {
                let step = round_step((high - low) / (MOST_TICKS - 1) as f64);
                let first = (low / step).ceil();
                // Where the ends are too near each other to be told apart, there is no step.
                let ticks = (0..2 * MOST_TICKS).map(|i| (first + i as f64) * step);
                ticks.take_while(|tick| *tick <= high * (1.0 + 1e-9)).collect()
            }
            Self::Log { low, high } => {
                let powers = || (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
                let of = |multiples: &'static [f64]| {
                    let all = powers().flat_map(move |e| multiples.iter().map(move |m| m * 10_f64.powi(e)));
                    all.filter(|tick| (low * 0.999..=high * 1.001).contains(tick)).collect::<Vec<_>>()
                };
                let fine = of(&[1.0, 2.0, 5.0]);
                if fine.len() <= MOST_RATIOS { fine } else { of(&[1.0]) }
            }
        }
    }
}

/// The smallest 1, 2 or 5 times a power of ten that is at least `value`.
fn round_step(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= value * (1.0 - 1e-9)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_without_a_length_has_few_values() {
        for at in [0.0, f64::MIN_POSITIVE, 5.0, 1e18, 2e19, f64::INFINITY] {
            let ticks = Scale::Linear { low: at, high: at }.ticks();
            assert!(ticks.len() <= 2 * MOST_TICKS, "{at}: {ticks:?}");
        }
        assert_eq!(Scale::Linear { low: 7e6, high: 7e6 + 1.0 }.ticks().len(), MOST_TICKS);
    }

    #[test]
    fn an_axis_holds_its_values_and_names_few_round_ones() {
        assert_eq!(Scale::up_to(9_870.0), Scale::Linear { low: 0.0, high: 10_000.0 });
        assert_eq!(Scale::up_to(9_870.0).ticks(), [0.0, 2_000.0, 4_000.0, 6_000.0, 8_000.0, 10_000.0]);
        assert_eq!(Scale::up_to(0.0).place(0.0), 0.0);
        let decade = Scale::of_durations(1_300_000, 9_000_000);
        assert_eq!(decade, Scale::Log { low: 1e6, high: 1e7 });
        assert_eq!(decade.ticks(), [1e6, 2e6, 5e6, 1e7]);
        assert_eq!(decade.place(1e6), 0.0);
        assert!((decade.place(10_f64.powf(6.5)) - 0.5).abs() < 1e-9);
        assert_eq!(Scale::of_durations(0, 0), Scale::Log { low: 1e3, high: 2e3 });
        assert_eq!(Scale::of_durations(1_000_000, 1_000_000), Scale::Log { low: 1e6, high: 2e6 });
        for (min, max) in [(0, 0), (1, 3_600_000_000_000), (5, 5), (999_999, 1_000_001), (2_000, 7_000_000_000)] {
            let scale = Scale::of_durations(min, max);
            let ticks = scale.ticks();
            assert!((2..=11).contains(&ticks.len()), "{scale:?}: {ticks:?}");
            assert!(ticks.windows(2).all(|pair| pair[0] < pair[1]));
            for value in [min, max] {
                assert!((0.0..=1.0).contains(&scale.place(value as f64)));
            }
        }
    }
}
