//! The parts that a schedule is written in: how arrivals are laid out, and stages of a constant or changing rate.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SECOND_NS;
use crate::bench::clock::nanos;
use crate::units::{Rate, TimeSpan};

/// Rates are kept as whole millionths of a request a second, so that arrivals are integer arithmetic.
const MICRO: f64 = 1e6;
/// One arrival, in units of a millionth of a request a second times a nanosecond.
pub const ARRIVAL: u128 = SECOND_NS as u128 * 1_000_000;

/// How arrivals are laid out at a given rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Process {
    /// Evenly spaced.
    #[default]
    Constant,
    /// A Poisson process: independent of each other, as those of many users are.
    Poisson,
}

impl FromStr for Process {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "constant" => Ok(Self::Constant),
            "poisson" => Ok(Self::Poisson),
            _ => Err("arrivals are constant (evenly spaced) or poisson (independent of each other)".to_owned()),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        })
    }
}

/// Where the arrivals of a run came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrangement {
    /// A rate, evenly spaced.
    Constant,
    /// A rate, as a Poisson process.
    Poisson,
    /// A log.
    Replay,
    /// The answers before them: as fast as the target goes.
    ClosedLoop,
}

impl From<Process> for Arrangement {
    fn from(process: Process) -> Self {
        match process {
            Process::Constant => Self::Constant,
            Process::Poisson => Self::Poisson,
        }
    }
}

impl fmt::Display for Arrangement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
            Self::Replay => "replay",
            Self::ClosedLoop => "closed_loop",
        })
    }
}

/// A part of a schedule: a rate, or a linear change from one to another, and for how long. Written `100rps:30s` and
/// `100..5000rps:2m`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = r"^\s*([0-9.]+\s*k?(rps|/s)?\s*\.\.)?\s*[0-9.]+\s*k?(rps|/s)?\s*:[^:]+$"))]
pub struct Stage {
    /// Arrivals a second at its beginning.
    from: f64,
    /// Arrivals a second at its end.
    to: f64,
    /// How long.
    duration: TimeSpan,
}

/// Why a text is no stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a stage: {why}; write one like 100rps:30s or 100..5000rps:2m")]
pub struct StageError {
    text: String,
    why: String,
}

impl Stage {
    /// A linear change from a rate to another, in arrivals a second, within `duration`.
    pub fn ramp(from: f64, to: f64, duration: TimeSpan) -> Self {
        Self { from, to, duration }
    }

    /// The highest rate in it, in arrivals a second.
    pub fn peak(&self) -> f64 {
        self.from.max(self.to)
    }

    /// How long.
    pub fn duration(&self) -> TimeSpan {
        self.duration
    }

    /// What two schedules at the same time come to, stage by stage; nothing unless their stages are as long as each
    /// other's.
    pub fn together(one: &[Self], other: &[Self]) -> Vec<Self> {
        let are_alike = one.iter().map(Self::duration).eq(other.iter().map(Self::duration));
        let sum = |(a, b): (&Self, &Self)| Self { from: a.from + b.from, to: a.to + b.to, duration: a.duration };
        if are_alike { one.iter().zip(other).map(sum).collect() } else { Vec::new() }
    }
}

impl FromStr for Stage {
    type Err = StageError;

    fn from_str(text: &str) -> Result<Self, StageError> {
        let error = |why: String| StageError { text: text.to_owned(), why };
        let (rates, duration) = text.rsplit_once(':').ok_or_else(|| error("it has no \":\"".to_owned()))?;
        if rate_or_zero(rates).is_err() && rates.parse::<TimeSpan>().is_ok() && rate_or_zero(duration).is_ok() {
            return Err(error(format!("the rate comes first: {duration}:{rates}")));
        }
        let duration: TimeSpan = duration.parse().map_err(|e: crate::units::ParseError| error(e.to_string()))?;
        if duration.0.is_zero() {
            return Err(error("it takes no time".to_owned()));
        }
        let rate = |text: &str| rate_or_zero(text).map_err(error);
        let (from, to) = match rates.split_once("..") {
            Some((from, to)) => (rate(from)?, rate(to)?),
            None => (rate(rates)?, rate(rates)?),
        };
        Ok(Self { from, to, duration })
    }
}

/// Reads a rate that, unlike that of a whole run, may be 0.
fn rate_or_zero(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches("rps").trim_end_matches("/s").trim();
    if number.parse() == Ok(0.0) {
        return Ok(0.0);
    }
    text.parse::<Rate>().map(Rate::per_second).map_err(|e| e.to_string())
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from != self.to {
            write!(f, "{}..", self.from)?;
        }
        write!(f, "{}rps:{}", self.to, self.duration)
    }
}

impl TryFrom<String> for Stage {
    type Error = StageError;
    fn try_from(text: String) -> Result<Self, StageError> {
        text.parse()
    }
}

impl From<Stage> for String {
    fn from(stage: Stage) -> Self {
        stage.to_string()
    }
}

/// A stage in its place in a schedule, in integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    start_ns: u64,
    duration_ns: u64,
    /// Millionths of a request a second at its beginning and at its end.
    from: u64,
    to: u64,
    /// The rate cumulated over all that lies before it, in parts of an [`ARRIVAL`].
    before: u128,
}

/// A rate as whole millionths of a request a second, at least one.
pub fn micro(rate: Rate) -> u64 {
    ((rate.per_second() * MICRO).round() as u64).max(1)
}

impl Leg {
    /// A constant rate of `micro_rps` millionths of a request a second from the start on.
    pub fn constant(micro_rps: u64, duration_ns: u64) -> Self {
        Self { start_ns: 0, duration_ns, from: micro_rps, to: micro_rps, before: 0 }
    }

    /// The legs of stages that follow each other.
    pub fn all(stages: &[Stage]) -> Vec<Self> {
        let (mut start_ns, mut before) = (0u64, 0);
        let leg = |stage: &Stage| {
            let whole = |rate: f64| (rate * MICRO).round() as u64;
            let duration_ns = nanos(stage.duration.0);
            let leg = Self { start_ns, duration_ns, from: whole(stage.from), to: whole(stage.to), before };
            start_ns = start_ns.saturating_add(duration_ns);
            before += leg.within();
            leg
        };
        stages.iter().map(leg).collect()
    }

    /// The same for another time.
    #[must_use]
    pub fn lasting(&self, duration_ns: u64) -> Self {
        Self { duration_ns, ..*self }
    }

    /// The rate cumulated over it.
    fn within(&self) -> u128 {
        (u128::from(self.from) + u128::from(self.to)) * u128::from(self.duration_ns) / 2
    }

    /// The rate cumulated up to its end.
    pub fn up_to_end(&self) -> u128 {
        self.before + self.within()
    }

    /// Its end, in nanoseconds after the start.
    pub fn end_ns(&self) -> u64 {
        self.start_ns.saturating_add(self.duration_ns)
    }

    /// Arrivals a second at `at_ns` after the start.
    pub fn rate_at(&self, at_ns: u64) -> f64 {
        let share = at_ns.saturating_sub(self.start_ns) as f64 / self.duration_ns.max(1) as f64;
        (self.from as f64 + (self.to as f64 - self.from as f64) * share) / MICRO
    }

    /// When the cumulated rate reaches `units`, which lie within it, in nanoseconds after the start: exactly at a
    /// constant rate, rounded down; within a nanosecond of the exact instant in a ramp of up to ten days.
    ///
    /// In a ramp from p to q that takes D, Λ(t) = p·t + (q − p)·t² / 2D. Solved for t as 2u / (p + √(p² + 2(q − p)u/D)),
    /// and from the end on where the rate falls, nothing is subtracted, so that no digits are lost.
    pub fn instant(&self, units: u128) -> u64 {
        let into = units.saturating_sub(self.before);
        if self.from == self.to {
            let after = into.checked_div(u128::from(self.from)).unwrap_or_default();
            return self.start_ns.saturating_add(clamp(after));
        }
        let (low, high) = (self.from.min(self.to) as f64, self.from.max(self.to) as f64);
        let duration = self.duration_ns as f64;
        let solve = |units: u128| {
            let units = units as f64;
            // 0 where both are 0: the cast makes 0 of what is not a number.
            2.0 * units / (low + (low * low + 2.0 * (high - low) * units / duration).sqrt())
        };
        let after = if self.from < self.to {
            solve(into) as u64
        } else {
            self.duration_ns.saturating_sub(solve(self.within().saturating_sub(into)).ceil() as u64)
        };
        self.start_ns.saturating_add(after.min(self.duration_ns.saturating_sub(1)))
    }
}

/// As much of a number as fits.
pub fn clamp(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_at_the_same_time_add_up_if_they_are_as_long() {
        let read = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Stage>>();
        let (one, other) = (read(&["0..100rps:5s", "100rps:10s"]), read(&["50rps:5s", "50..0rps:10s"]));
        assert_eq!(Stage::together(&one, &other), read(&["50..150rps:5s", "150..100rps:10s"]));
        for other in [&[][..], &["50rps:5s"], &["50rps:5s", "50rps:9s"]] {
            assert_eq!(Stage::together(&one, &read(other)), []);
        }
    }

    #[test]
    fn a_stage_is_read_and_printed() {
        for (text, from, to, seconds, printed) in [
            ("100rps:30s", 100.0, 100.0, 30, "100rps:30s"),
            ("100..5000rps:2m", 100.0, 5000.0, 120, "100..5000rps:2m"),
            ("0..1krps:10s", 0.0, 1000.0, 10, "0..1000rps:10s"),
            ("2.5 : 1h", 2.5, 2.5, 3600, "2.5rps:1h"),
            ("0rps:5s", 0.0, 0.0, 5, "0rps:5s"),
            ("1k..0rps:5s", 1000.0, 0.0, 5, "1000..0rps:5s"),
        ] {
            let stage: Stage = text.parse().unwrap();
            assert_eq!(stage, Stage::ramp(from, to, TimeSpan::seconds(seconds)), "{text}");
            assert_eq!(stage.to_string(), printed);
            assert_eq!(printed.parse(), Ok(stage));
        }
        for (text, said) in [
            ("100rps", "no \":\""),
            ("100rps:0s", "no time"),
            ("100rps:long", "a duration"),
            ("fast:1s", "a rate"),
            ("1..2..3rps:1s", "a rate"),
            ("-1rps:1s", "a rate"),
            ("99999krps:1s", "a rate"),
        ] {
            let error = text.parse::<Stage>().unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("100..5000rps:2m"), "{text}: {error}");
        }
    }

    /// Beyond what is lost by rounding down, less than a nanosecond.
    #[test]
    fn a_ramp_is_inverted_within_a_nanosecond() {
        for text in
            ["0..1000rps:10s", "1000..0rps:10s", "100..5000rps:2m", "5000..100rps:24h", "0.001..10000000rps:24h"]
        {
            let leg = Leg::all(&[text.parse().unwrap()])[0];
            // Λ in integers; its two divisions lose less than 2.
            let cumulated = |t: u64| {
                let (p, q, d, t) = (leg.from as i128, leg.to as i128, leg.duration_ns as i128, t as i128);
                p * t + (q - p) * t / d * t / 2 + (q - p) * t % d * t / (2 * d)
            };
            for step in 0..1000u128 {
                let units = leg.within() / 1000 * step;
                let t = leg.instant(units);
                let (before, after) = (cumulated(t.saturating_sub(1)), cumulated(t + 2));
                assert!(before <= units as i128 && units as i128 <= after + 2, "{text}: {step} of 1000 at {t}");
            }
        }
    }
}
