//! Service level objectives: `p99<50ms`, `errors<0.1%`, `rate>=9900`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bench::clock::nanos;
use crate::bench::record::distribution::{Distribution, Percentile};
use crate::units::{Percent, Rate, TimeSpan};

/// What an objective is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measure {
    /// A percentile of the response time.
    Percentile(Percentile),
    /// Mean response time of the requests that ended well.
    Mean,
    /// Longest response time of the requests that ended well.
    Max,
    /// 1 − ok / scheduled.
    Errors,
    /// Ok answers a second (achieved rate).
    Rate,
}

/// How the measure is compared with the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

/// One objective; in files, a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slo {
    measure: Measure,
    comparison: Comparison,
    /// Nanoseconds, a fraction, or a rate, as the measure is.
    limit: f64,
    text: String,
}

/// Why a text is no objective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an objective: {why}")]
pub struct SloError {
    text: String,
    why: String,
}

/// What objectives are held against.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// Response times of the requests that ended well.
    pub response: &'a Distribution,
    /// How many were scheduled.
    pub scheduled: u64,
    /// Ok answers a second.
    pub achieved_rate: f64,
}

/// How a result stands to one objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SloResult {
    /// The objective.
    pub expression: Slo,
    /// What was measured: nanoseconds, a fraction, or a rate; `null` where the percentile has no value.
    pub value: Option<serde_json::Number>,
    /// Whether it is met.
    pub ok: bool,
}

/// What a measure is called here that other programs have under this name.
fn usual_name(other: &str) -> Option<String> {
    let percentile = other.strip_prefix("p(").and_then(|rest| rest.strip_suffix(')'));
    match other {
        "avg" | "average" => Some("mean".to_owned()),
        "med" | "median" => Some("p50".to_owned()),
        "rps" | "throughput" => Some("rate".to_owned()),
        "error_rate" | "failed" | "http_req_failed" => Some("errors".to_owned()),
        _ => percentile.filter(|rank| rank.parse::<f64>().is_ok()).map(|rank| format!("p{rank}")),
    }
}

impl FromStr for Slo {
    type Err = SloError;

    fn from_str(text: &str) -> Result<Self, SloError> {
        let error = |why: String| SloError { text: text.to_owned(), why };
        let example = "write one like 'p99<50ms', 'errors<0.1%' or 'rate>=9900'";
        let at = text.find(['<', '>']).ok_or_else(|| error(example.to_owned()))?;
        let (name, rest) = text.split_at(at);
        let (comparison, limit) = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("<", Comparison::Below),
            (">", Comparison::Above),
        ]
        .into_iter()
        .find_map(|(sign, comparison)| rest.strip_prefix(sign).map(|limit| (comparison, limit.trim())))
        .ok_or_else(|| error(example.to_owned()))?;
        let measure = match name.trim() {
            "mean" => Measure::Mean,
            "max" => Measure::Max,
            "errors" => Measure::Errors,
            "rate" => Measure::Rate,
            other => other.parse().map(Measure::Percentile).map_err(|()| match usual_name(other) {
                Some(name) => error(format!("there is no measure \"{other}\": write {name}")),
                None => {
                    error(format!("there is no measure \"{other}\"; there are p50 to p99.999, mean, max, errors, rate"))
                }
            })?,
        };
        let limit = match measure {
            Measure::Percentile(_) | Measure::Mean | Measure::Max => {
                if limit.parse::<f64>().is_ok() {
                    return Err(error("its limit has no unit, write \"50ms\"".to_owned()));
                }
                limit.parse::<TimeSpan>().map(|t| nanos(t.0) as f64).map_err(|e| error(e.to_string()))?
            }
            Measure::Errors => limit.parse::<Percent>().map(Percent::fraction).map_err(|e| error(e.to_string()))?,
            Measure::Rate => limit.parse::<Rate>().map(Rate::per_second).map_err(|e| error(e.to_string()))?,
        };
        Ok(Self { measure, comparison, limit, text: text.trim().to_owned() })
    }
}

impl TryFrom<String> for Slo {
    type Error = SloError;

    fn try_from(text: String) -> Result<Self, SloError> {
        text.parse()
    }
}

impl From<Slo> for String {
    fn from(slo: Slo) -> Self {
        slo.text
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Slo {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it is about.
    pub fn measure(&self) -> Measure {
        self.measure
    }

    /// The objective that is met exactly where this one is not.
    pub fn negated(&self) -> Self {
        let (comparison, sign) = match self.comparison {
            Comparison::Below => (Comparison::AtLeast, ">="),
            Comparison::AtMost => (Comparison::Above, ">"),
            Comparison::Above => (Comparison::AtMost, "<="),
            Comparison::AtLeast => (Comparison::Below, "<"),
        };
        let is_sign = |c| matches!(c, '<' | '>' | '=');
        let name = self.text.split(is_sign).next().unwrap_or_default();
        let limit = self.text.rsplit(is_sign).next().unwrap_or_default();
        Self { comparison, text: format!("{}{sign}{}", name.trim(), limit.trim()), ..self.clone() }
    }

    /// Holds the objective against a result. A percentile among what failed or was not sent has no value and misses;
    /// where the sample is too small for a percentile, the nearest rank is the maximum, and that is compared.
    pub fn evaluate(&self, measured: Measured<'_>) -> SloResult {
        let Measured { response, scheduled, achieved_rate } = measured;
        let whole = |value: Option<u64>| value.map(|v| (v as f64, serde_json::Number::from(v)));
        let fraction = |value: f64| serde_json::Number::from_f64(value).map(|n| (value, n));
        let value = match self.measure {
            Measure::Percentile(p) => whole(response.ranked(p, scheduled)),
            Measure::Mean => whole(response.mean()),
            Measure::Max => whole(if response.count() < scheduled { None } else { response.max() }),
            Measure::Errors if scheduled == 0 => None,
            Measure::Errors => fraction((scheduled - response.count().min(scheduled)) as f64 / scheduled as f64),
            Measure::Rate => fraction(achieved_rate),
        };
        let ok = value.as_ref().is_some_and(|(value, _)| match self.comparison {
            Comparison::Below => *value < self.limit,
            Comparison::AtMost => *value <= self.limit,
            Comparison::Above => *value > self.limit,
            Comparison::AtLeast => *value >= self.limit,
        });
        SloResult { expression: self.clone(), value: value.map(|(_, number)| number), ok }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(response: &Distribution, scheduled: u64) -> Measured<'_> {
        Measured { response, scheduled, achieved_rate: 95.0 }
    }

    #[test]
    fn objectives_are_held_against_all_scheduled_requests() {
        let mut response = Distribution::default();
        (1..=95).for_each(|i| response.record(i * 1_000_000));
        for (text, ok) in [
            ("p50<51ms", true),
            ("p50<40ms", false),
            ("p95<=95ms", true),
            ("p95 < 95ms", false),
            ("p99<1h", false), // among the five that failed
            ("max<1h", false),
            ("mean<49ms", true),
            ("errors<5.1%", true),
            ("errors<5%", false),
            ("rate>=95", true),
            ("rate>95", false),
        ] {
            let result = text.parse::<Slo>().unwrap().evaluate(measured(&response, 100));
            assert_eq!(result.ok, ok, "{text}: {result:?}");
        }
        let none = "p99<1h".parse::<Slo>().unwrap().evaluate(measured(&response, 100));
        assert_eq!(none.value, None);
    }

    #[test]
    fn a_negated_objective_is_met_where_the_other_is_not() {
        for (text, negated) in
            [("errors > 5%", "errors<=5%"), ("p99<5ms", "p99>=5ms"), ("rate>=9", "rate<9"), ("max<=1s", "max>1s")]
        {
            let objective = text.parse::<Slo>().unwrap().negated();
            assert_eq!(objective, negated.parse().unwrap());
            assert_eq!(objective.negated().negated(), objective);
        }
    }

    #[test]
    fn a_small_sample_is_held_to_its_maximum() {
        let mut response = Distribution::default();
        [1_000_000, 9_000_000].iter().for_each(|v| response.record(*v));
        let result = "p99<5ms".parse::<Slo>().unwrap().evaluate(measured(&response, 2));
        assert_eq!((result.ok, result.value), (false, Some(9_000_000u64.into())));
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        for (text, said) in [
            ("p99", "write one like"),
            ("p99=5ms", "write one like"),
            ("p990<5ms", "no measure \"p990\""),
            ("p99<5", "has no unit"),
            ("p99<5%", "duration"),
            ("errors<0.1", "percentage"),
            ("rate>=fast", "rate"),
            ("<5ms", "no measure \"\""),
        ] {
            let error = text.parse::<Slo>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
