//! When a thread wakes for what the schedule says.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::bench::clock::nanos;
use crate::units::TimeSpan;

/// When a thread wakes for what is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pacing {
    /// At every arrival; those that come within 0.1 ms share a wake-up.
    #[default]
    Exact,
    /// At whole multiples of this time only, for all arrivals since the last one: fewer wake-ups, more lag.
    Every(TimeSpan),
    /// Never asleep: a core for each thread.
    Spin,
}

impl Pacing {
    /// How long an arrival waits at most for those that share its wake-up, in nanoseconds. To wake up costs more than a
    /// request: at 10,000 of them a second, two to a wake-up are 40% cheaper.
    const GATHERED_NS: u64 = 100_000;

    /// The instant at which to wake for what is due at `at_ns`, both in nanoseconds after the start; arrivals come
    /// every `gap_ns`, 0 where that is not known.
    pub(in crate::bench) fn wake_for(self, at_ns: u64, gap_ns: u64) -> u64 {
        match self {
            Self::Spin => at_ns,
            Self::Exact => {
                let others = Self::GATHERED_NS.checked_div(gap_ns).unwrap_or(0);
                at_ns.saturating_add(others * gap_ns)
            }
            Self::Every(step) => at_ns.checked_next_multiple_of(nanos(step.0).max(1)).unwrap_or(at_ns),
        }
    }
}

impl FromStr for Pacing {
    type Err = String;

    /// `exact`, `spin`, or a time from 1µs to 1s.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "exact" => Ok(Self::Exact),
            "spin" => Ok(Self::Spin),
            step => match step.parse::<TimeSpan>() {
                Ok(step) if (Duration::from_micros(1)..=Duration::from_secs(1)).contains(&step.0) => {
                    Ok(Self::Every(step))
                }
                _ => Err("pacing is exact, spin, or a time from 1us to 1s between two wake-ups, like 500us".to_owned()),
            },
        }
    }
}

impl fmt::Display for Pacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Every(step) => step.fmt(f),
            Self::Spin => f.write_str("spin"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_pacing_gathers_what_comes_within_a_tenth_of_a_millisecond() {
        let wait = |gap_ns| Pacing::Exact.wake_for(5_000_000, gap_ns) - 5_000_000;
        assert_eq!([100_001, u64::MAX, 0].map(wait), [0; 3]);
        assert_eq!([100_000, 66_667, 50_000, 30_000, 1].map(wait), [100_000, 66_667, 100_000, 90_000, 100_000]);
        assert_eq!(Pacing::Spin.wake_for(5_000_000, 50_000), 5_000_000);
        assert_eq!(Pacing::Exact.wake_for(u64::MAX, 50_000), u64::MAX);
    }

    #[test]
    fn pacing_is_read_printed_and_rounds_up() {
        for (text, at, wake) in [("exact", 1_234_567, 1_234_567), ("spin", 7, 7), ("500us", 1_234_567, 1_500_000)] {
            let pacing: Pacing = text.parse().unwrap();
            assert_eq!(pacing.wake_for(at, 0), wake);
            assert_eq!(pacing.to_string().parse::<Pacing>().unwrap(), pacing);
        }
        assert_eq!("500us".parse::<Pacing>().unwrap().wake_for(1_500_000, 0), 1_500_000);
        assert_eq!("1s".parse::<Pacing>().unwrap().wake_for(u64::MAX, 0), u64::MAX);
        for text in ["", "2s", "0s", "often"] {
            assert!(text.parse::<Pacing>().unwrap_err().contains("500us"), "{text}");
        }
    }
}
