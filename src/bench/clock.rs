//! The one clock of a run: CLOCK_MONOTONIC, in nanoseconds.
//!
//! A clock step of the machine changes nothing, and a `timerfd` armed with these values wakes at exactly them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Now, in nanoseconds of CLOCK_MONOTONIC.
pub fn now_ns() -> u64 {
    // The call cannot fail for this clock; 0 would show at once as a nonsensical instant.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |t| t.tv_sec().cast_unsigned() * 1_000_000_000 + t.tv_nsec().cast_unsigned())
}

/// A duration in nanoseconds, saturating after 584 years.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Who noted when answers came; the lesser is the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timestamps {
    /// The kernel, as they came in: what the generator took to wake up and read them is part of no time.
    Kernel,
    /// The generator, as it read them.
    #[default]
    Process,
}

/// The start of a run on both clocks, so that series of several machines can be laid over each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Nanoseconds since the Unix epoch.
    pub unix_ns: u64,
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub monotonic_ns: u64,
}

impl Start {
    /// The start `monotonic_ns`, with the wall clock's reading of the same instant.
    pub fn at(monotonic_ns: u64) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos);
        let unix_ns = wall.saturating_add(monotonic_ns).saturating_sub(now_ns());
        Self { unix_ns, monotonic_ns }
    }
}
