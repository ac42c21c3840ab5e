//! Names, durations, percentages, sizes and rates as domain types.
//!
//! Each parses the text that people write (`FromStr`), prints it back (`Display`), and is used directly by
//! `scalectl.toml` (serde, JSON Schema) and by command-line flags (clap), so that nothing is parsed twice.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is not the value it should be: what was expected, as a noun phrase with an example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found \"{found}\"")]
pub struct ParseError {
    /// What would have been accepted.
    pub expected: &'static str,
    /// What stood there.
    pub found: String,
}

impl ParseError {
    fn new(expected: &'static str, found: &str) -> Self {
        Self { expected, found: found.to_owned() }
    }
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len()))
}

/// Splits `"250ms"` into the number and the unit behind it.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let (number, unit) = split_number(text.trim());
    let value: f64 = number.parse().ok()?;
    value.is_finite().then(|| (value, unit.trim()))
}

/// Serde and JSON Schema for a type that is written as a text, or as a plain number where `from_number` allows it.
macro_rules! text_type {
    ($type:ident, $expected:expr, $pattern:expr, number: $from_number:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(de::Error::custom)
                    }
                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                        self.visit_f64(number as f64)
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$type, E> {
                        self.visit_f64(number as f64)
                    }
                    fn visit_f64<E: de::Error>(self, number: f64) -> Result<$type, E> {
                        let convert: fn(f64) -> Option<$type> = $from_number;
                        convert(number).ok_or_else(|| {
                            de::Error::custom(ParseError { expected: $expected, found: number.to_string() })
                        })
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let convert: fn(f64) -> Option<$type> = $from_number;
                if convert(1.0).is_some() {
                    json_schema!({ "anyOf": [{ "type": "string", "pattern": $pattern }, { "type": "number" }], "description": $expected })
                } else {
                    json_schema!({ "type": "string", "pattern": $pattern, "description": $expected })
                }
            }
        }
    };
}

/// A name that Docker, Kubernetes and a DNS label all accept: lower-case letters, digits and inner hyphens, at most
/// 40 characters, beginning with a letter.
///
/// 63 is the limit of a DNS label; 40 leaves room for `-worker-12` behind it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The longest name, in characters.
    pub const MAX: usize = 40;
    const EXPECTED: &'static str =
        "a name of at most 40 lower-case letters, digits and inner hyphens that begins with a letter, like \"my-shop\"";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest valid name, for a hint; `None` where nothing of the text can be kept.
    pub fn suggestion(text: &str) -> Option<String> {
        let lowered = text.to_lowercase();
        let mut parts =
            lowered.split(|c: char| !c.is_ascii_alphanumeric()).filter(|p| !p.is_empty()).collect::<Vec<_>>();
        while parts.first().is_some_and(|p| p.starts_with(|c: char| c.is_ascii_digit())) {
            parts.remove(0);
        }
        let joined = parts.join("-");
        let cut = joined.chars().take(Self::MAX).collect::<String>();
        let cut = cut.trim_end_matches('-');
        (!cut.is_empty()).then(|| cut.to_owned())
    }
}

impl FromStr for Name {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let ok = text.len() <= Self::MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !text.ends_with('-');
        if ok { Ok(Self(text.to_owned())) } else { Err(ParseError::new(Self::EXPECTED, text)) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

text_type!(Name, Name::EXPECTED, "^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", number: |_| None);

/// A span of time, written `"50ms"`, `"30s"`, `"1m30s"`, `"2h"`, `"500us"`; a plain number is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TimeSpan(pub Duration);

impl TimeSpan {
    const EXPECTED: &'static str = "a duration like \"500us\", \"50ms\", \"30s\", \"1m30s\" or \"2h\"";
    /// A hundred years: longer than anybody waits, short enough for every sum of instants.
    const MAX_SECONDS: f64 = 100.0 * 365.25 * 86_400.0;

    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A span of whole milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    fn from_nanos(nanos: u128) -> Option<Self> {
        let most = Duration::from_secs_f64(Self::MAX_SECONDS);
        u64::try_from(nanos).ok().map(Duration::from_nanos).filter(|span| *span <= most).map(Self)
    }

    fn from_seconds(seconds: f64) -> Option<Self> {
        (seconds.is_finite() && (0.0..=Self::MAX_SECONDS).contains(&seconds))
            .then(|| Self(Duration::from_secs_f64(seconds)))
    }
}

impl FromStr for TimeSpan {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new(Self::EXPECTED, text);
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(error());
        }
        if let Ok(seconds) = rest.parse::<f64>() {
            return Self::from_seconds(seconds).ok_or_else(error);
        }
        let mut nanos = 0u128;
        while !rest.is_empty() {
            let (value, behind) = number_and_unit(rest).ok_or_else(error)?;
            let end = behind.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(behind.len());
            let (unit, next) = behind.split_at(end);
            let unit: u64 = match unit {
                "ns" => 1,
                "us" | "µs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" | "min" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                "d" => 86_400_000_000_000,
                _ => return Err(error()),
            };
            // Whole numbers stay exact, however long the span.
            nanos = nanos.saturating_add(match split_number(rest).0.parse::<u128>() {
                Ok(whole) => whole.saturating_mul(unit.into()),
                Err(_) => (value * unit as f64).round() as u128,
            });
            rest = next.trim_start();
        }
        Self::from_nanos(nanos).ok_or_else(error)
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let text = match nanos {
            0 => "0s".to_owned(),
            n if n % 1_000 != 0 => format!("{n}ns"),
            n if n % 1_000_000 != 0 => format!("{}us", n / 1_000),
            n if n % 1_000_000_000 != 0 => format!("{}ms", n / 1_000_000),
            n => {
                let seconds = n / 1_000_000_000;
                let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
                [(h, "h"), (m, "m"), (s, "s")]
                    .iter()
                    .filter(|(value, _)| *value > 0)
                    .map(|(value, unit)| format!("{value}{unit}"))
                    .collect()
            }
        };
        f.pad(&text)
    }
}

text_type!(TimeSpan, TimeSpan::EXPECTED, r"^\s*([0-9.]+\s*(ns|us|µs|ms|s|m|min|h|d)?\s*)+$", number: TimeSpan::from_seconds);

/// A share of a whole, written `"0.1%"`; kept as a fraction from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Percent {
    const EXPECTED: &'static str = "a percentage from 0% to 100%, like \"0.1%\"";

    /// As a fraction from 0 to 1.
    pub fn fraction(self) -> f64 {
        self.0
    }
}

impl FromStr for Percent {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match number_and_unit(text) {
            Some((value, "%")) if (0.0..=100.0).contains(&value) => Ok(Self(value / 100.0)),
            _ => Err(ParseError::new(Self::EXPECTED, text)),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Twelve digits undo the rounding of the division by 100 (0.1 / 100 * 100).
        let value = (self.0 * 100.0 * 1e12).round() / 1e12;
        write!(f, "{value}%")
    }
}

text_type!(Percent, Percent::EXPECTED, r"^\s*[0-9.]+\s*%$", number: |_| None);

/// A number of bytes, written `"256Mi"`, `"1Gi"`, `"500MB"` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    const EXPECTED: &'static str = "a size like \"256Mi\", \"1Gi\" or \"500MB\"";
    const BINARY: [(&'static str, u64); 4] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];

    fn from_number(number: f64) -> Option<Self> {
        (number.is_finite() && (0.0..=(1u64 << 50) as f64).contains(&number)).then_some(Self(number as u64))
    }
}

impl FromStr for Bytes {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new(Self::EXPECTED, text);
        let (value, unit) = number_and_unit(text).ok_or_else(error)?;
        let factor = match unit.strip_suffix(['B', 'b']).unwrap_or(unit) {
            "" => 1.0,
            "k" | "K" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "T" => 1e12,
            binary => Self::BINARY.iter().find(|(u, _)| *u == binary).map(|(_, f)| *f as f64).ok_or_else(error)?,
        };
        Self::from_number(value * factor).ok_or_else(error)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::BINARY.iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

text_type!(Bytes, Bytes::EXPECTED, r"^\s*[0-9.]+\s*([kKMGT]i?)?[Bb]?$", number: Bytes::from_number);

/// A share of processors, written `"250m"` (thousandths), `"1.5"` or as a plain number; kept in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cpu(u32);

impl Cpu {
    const EXPECTED: &'static str = "a number of processors like \"250m\", \"0.5\" or 2";

    /// In thousandths of one processor.
    pub fn millis(self) -> u32 {
        self.0
    }

    fn from_cores(cores: f64) -> Option<Self> {
        let millis = (cores * 1000.0).round();
        (millis.is_finite() && (1.0..=10_000_000.0).contains(&millis)).then_some(Self(millis as u32))
    }
}

impl FromStr for Cpu {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let cores = match number_and_unit(text) {
            Some((value, "m")) => Some(value / 1000.0),
            Some((value, "")) => Some(value),
            _ => None,
        };
        cores.and_then(Self::from_cores).ok_or_else(|| ParseError::new(Self::EXPECTED, text))
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

text_type!(Cpu, Cpu::EXPECTED, r"^\s*[0-9.]+\s*m?$", number: Cpu::from_cores);

/// Arrivals a second, written `1000`, `"0.5"`, `"10k"` or `"100rps"`; more than zero.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    const EXPECTED: &'static str = "a rate in requests a second above 0 and up to 10000k, without an exponent, like 1000, \
                                    \"0.5\", \"10k\" or \"100rps\"";
    /// Ten million a second: above what one machine's clock and network can mean.
    const MAX: f64 = 1e7;

    /// Per second.
    pub fn per_second(self) -> f64 {
        self.0
    }

    /// A rate from a number of arrivals a second; `None` outside (0, 10⁷].
    pub fn new(per_second: f64) -> Option<Self> {
        (per_second.is_finite() && per_second > 0.0 && per_second <= Self::MAX).then_some(Self(per_second))
    }
}

/// So many in a time, as vegeta writes it: `3000/1m`.
fn in_time(text: &str) -> Option<f64> {
    let (number, time) = text.split_once('/')?;
    let time: TimeSpan = time.parse().ok()?;
    match number_and_unit(number)? {
        (value, "") => Some(value / time.0.as_secs_f64()),
        (value, "k") => Some(value * 1e3 / time.0.as_secs_f64()),
        _ => None,
    }
}

impl FromStr for Rate {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let value = match number_and_unit(text) {
            Some((value, "" | "rps" | "/s")) => Some(value),
            Some((value, "k" | "krps" | "k/s")) => Some(value * 1e3),
            _ => in_time(text),
        };
        value.and_then(Self::new).ok_or_else(|| ParseError::new(Self::EXPECTED, text))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

text_type!(Rate, Rate::EXPECTED, r"^\s*[0-9.]+\s*k?(rps|/s|/[0-9].*)?$", number: Rate::new);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_and_printed_in_its_largest_exact_units() {
        for (text, nanos, printed) in [
            ("50ms", 50_000_000, "50ms"),
            ("1m30s", 90_000_000_000, "1m30s"),
            ("0.5s", 500_000_000, "500ms"),
            ("2h", 7_200_000_000_000, "2h"),
            ("500us", 500_000, "500us"),
            ("10", 10_000_000_000, "10s"),
            ("347d13h40m1s999999999ns", 30_030_001_999_999_999, "30030001999999999ns"),
            ("30030001999999999ns", 30_030_001_999_999_999, "30030001999999999ns"),
            ("0", 0, "0s"),
        ] {
            let span: TimeSpan = text.parse().unwrap();
            assert_eq!(span.0.as_nanos(), nanos, "{text}");
            assert_eq!(span.to_string(), printed);
        }
        for wrong in ["", "s", "-1s", "10 parsecs", "1e999", "nan", "inf", "99999999999999h"] {
            assert!(wrong.parse::<TimeSpan>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_what_docker_and_kubernetes_accept() {
        for good in ["shop", "my-shop", "a", "api2"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "Shop", "2shop", "-a", "a-", "a_b", "a.b", &"x".repeat(41), "ü"] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        assert_eq!(Name::suggestion("My Shop!").as_deref(), Some("my-shop"));
        assert_eq!(Name::suggestion("2 Fast_4u").as_deref(), Some("fast-4u"));
        assert_eq!(Name::suggestion("!!"), None);
    }

    #[test]
    fn percentages_sizes_processors_and_rates_round_trip() {
        assert_eq!("0.1%".parse::<Percent>().unwrap().to_string(), "0.1%");
        assert!("101%".parse::<Percent>().is_err());
        assert!("0.1".parse::<Percent>().is_err());
        assert_eq!("256Mi".parse::<Bytes>().unwrap(), Bytes(256 << 20));
        assert_eq!("256Mi".parse::<Bytes>().unwrap().to_string(), "256Mi");
        assert_eq!("500MB".parse::<Bytes>().unwrap(), Bytes(500_000_000));
        assert_eq!("250m".parse::<Cpu>().unwrap().millis(), 250);
        assert_eq!("1.5".parse::<Cpu>().unwrap().to_string(), "1500m");
        assert_eq!("10k".parse::<Rate>().unwrap().per_second(), 10_000.0);
        assert!("0".parse::<Rate>().is_err());
        assert!("-1".parse::<Rate>().is_err());
    }
}
