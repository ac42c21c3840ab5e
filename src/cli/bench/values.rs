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
