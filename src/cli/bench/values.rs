//! Values that flags and bench files have in common.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::bench::{Length, Speed};
use crate::units::Rate;

/// A log that is replayed, and how.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// Its file; `-` is stdin.
    pub log: PathBuf,
    /// How many times as fast.
    pub speed: Speed,
    /// Whether every method is sent.
    pub is_unsafe: bool,
    /// How much of it, from its beginning, at that speed; all of it where it is `None`.
    pub length: Option<Length>,
}

/// Reads a number of things: `250`, `10k`, `2M`.
///
/// # Errors
///
/// It is no such number, or too large.
pub fn count<N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1_000),
        None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1_000_000)),
    };
    let number = digits.parse::<u64>().ok().filter(|_| digits.starts_with(|c: char| c.is_ascii_digit()));
    let number = number.and_then(|number| number.checked_mul(factor)).and_then(|number| N::try_from(number).ok());
    number.ok_or_else(|| "expected a whole number, like 250, 10k or 2M".to_owned())
}

/// A number of things, as [`count`] reads it.
#[derive(Debug, Clone, Copy)]
pub struct Count<N>(pub N);

impl<N: fmt::Display> fmt::Display for Count<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<N: TryFrom<u64>> FromStr for Count<N> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        count(text).map(Self)
    }
}

/// A rate, or as much as the target takes.
#[derive(Debug, Clone, Copy)]
pub enum Rps {
    /// So many a second.
    Rate(Rate),
    /// As many as it takes.
    Max,
}

impl fmt::Display for Rps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(rate) => rate.fmt(f),
            Self::Max => f.write_str("max"),
        }
    }
}

impl FromStr for Rps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "max" => Ok(Self::Max),
            rate => rate.parse().map(Self::Rate).map_err(|error| format!("{error}, or max")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_be_written_in_thousands_and_millions() {
        for (text, number) in [("0", 0), ("250", 250), ("10k", 10_000), ("10K", 10_000), ("2M", 2_000_000)] {
            assert_eq!(count::<u64>(text), Ok(number), "{text}");
        }
        for wrong in ["", "k", "-1", "+1", "1.5", "10m", "1e3", "99999999999999999M"] {
            assert!(count::<u64>(wrong).is_err(), "{wrong}");
        }
        assert!(count::<u32>("5000M").is_err());
    }

    #[test]
    fn a_rate_may_be_so_many_in_a_time() {
        let rate = |text: &str| match text.parse() {
            Ok(Rps::Rate(rate)) => rate.per_second(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!([rate("50/1s"), rate("3000/1m"), rate("50/s"), rate("1k")], [50.0, 50.0, 50.0, 1000.0]);
        assert!(matches!("max".parse(), Ok(Rps::Max)));
        for wrong in ["0", "5/0s", "/1s", "unlimited"] {
            assert!(wrong.parse::<Rps>().unwrap_err().ends_with("or max"), "{wrong}");
        }
    }
}
