//! The capacity of a target: the highest rate that it sustains, found by probes. Where to look is decided in
//! [`self::search`]; here a probe is made and judged.

pub mod search;

use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::search::{Answer, End, Plan, Purpose, Step, Vote};
use super::clock::nanos;
use super::control::Control;
use super::run::Error;
use crate::bench::record::batches::Batches;
use crate::bench::result::slo::{Measure, Slo, SloResult};
use crate::bench::result::statistics::measured;
use crate::bench::result::summary::{Latency, Summary};
use crate::bench::run::config::Config;
use crate::bench::schedule::Length;
use crate::units::{Rate, TimeSpan};

/// Name and version of the JSON form.
pub const SCHEMA: &str = "scalectl.capacity/1";
/// The share of requests that may fail where no objective is about errors.
pub const ERRORS: f64 = 0.01;
/// How long a target that was overloaded is left alone before the next probe.
const REST: Duration = Duration::from_secs(1);

/// What did not hold in a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Broken {
    /// An objective.
    Slo(SloResult),
    /// More requests failed than [`ERRORS`], as a fraction of those scheduled.
    Errors {
        /// The fraction.
        share: f64,
    },
    /// Requests that were not sent until the grace time ended.
    Unsent {
        /// How many.
        count: u64,
    },
    /// Response times grew all through the probe: the queue has no end, the target only had not met the limit yet.
    FallsBehind {
        /// By how many seconds they grew in each second; in a queue that is by how much the rate is above what it
        /// serves, as a fraction.
        by: f64,
    },
    /// Requests waited for a connection, and there were to be no more of them.
    Connections {
        /// How many there were.
        limit: u64,
    },
    /// The generator itself was the limit.
    Generator {
        /// Why.
        reason: String,
    },
    /// Nothing could be connected to.
    NoConnection {
        /// Why.
        reason: String,
    },
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Arrivals a second.
    pub rate: f64,
    /// Why this rate.
    pub purpose: Purpose,
    /// How it ended.
    pub vote: Vote,
    /// What did not hold; why the generator is to blame comes first.
    pub broke: Vec<Broken>,
    /// Ok answers before its end, a second.
    pub achieved_rate: f64,
    /// 1 − ok / scheduled.
    pub errors: f64,
    /// Response times.
    pub response_time_ns: Latency,
}

/// What a search has found, as its JSON form has it; rates in requests a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// [`SCHEMA`].
    pub schema: String,
    /// What was loaded.
    pub target: String,
    /// The objectives, as they were written.
    pub objectives: Vec<String>,
    /// The highest rate that held.
    pub low: Option<f64>,
    /// The lowest rate above it that did not.
    pub high: Option<f64>,
    /// How the search ended.
    pub end: End,
    /// What did not hold at [`Self::high`], that of its first probe first.
    pub limit: Vec<Broken>,
    /// Whether the generator is that limit.
    pub is_limited_by_generator: bool,
    /// How close the ends were asked to be, as a fraction.
    pub precision: f64,
    /// How long a probe is.
    pub probe_time_ns: u64,
    /// Every probe, in order.
    pub probes: Vec<Probe>,
}

impl Capacity {
    /// Reads what was found from its JSON form; `None` where the text is another result, or none.
    pub fn read(json: &str) -> Option<Result<Self, serde_json::Error>> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let head: Head = serde_json::from_str(json).ok()?;
        (head.schema == SCHEMA).then(|| serde_json::from_str(json))
    }

    fn of(config: &Config, plan: &Plan, probe_time: TimeSpan, probes: Vec<Probe>, answer: Answer) -> Self {
        let Answer { low, high, is_limited_by_generator, end } = answer;
        let mut limit: Vec<Broken> = Vec::new();
        for broken in probes.iter().filter(|p| Some(p.rate) == high).flat_map(|p| &p.broke) {
            if !limit.iter().any(|known| known.is_like(broken)) {
                limit.push(broken.clone());
            }
        }
        Self {
            schema: SCHEMA.to_owned(),
            target: config.target.to_string(),
            objectives: config.slos.iter().map(Slo::to_string).collect(),
            low,
            high,
            end,
            limit,
            is_limited_by_generator,
            precision: plan.precision,
            probe_time_ns: nanos(probe_time.0),
            probes,
        }
    }

    /// The rates whose probes did not agree with each other, ascending, with how many held and how many missed.
    pub fn disagreed(&self) -> Vec<(f64, u32, u32)> {
        search::disagreed(&votes(&self.probes))
    }
}

impl Broken {
    /// Whether both are about the same condition.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Slo(one), Self::Slo(other)) => one.expression == other.expression,
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }
}

fn votes(probes: &[Probe]) -> Vec<(f64, Vote)> {
    probes.iter().map(|p| (p.rate, p.vote)).collect()
}

/// Searches for the highest rate that holds every objective of `config`, fewer errors than [`ERRORS`] where none is about
/// them, and that the target keeps up with. `probe` makes a run; `seen` is told what came of it.
///
/// # Errors
///
/// The first probe cannot be made, or a later one for another reason than that nothing can be connected to.
pub fn find_max(
    config: &Config,
    plan: &Plan,
    probe_time: TimeSpan,
    mut probe: impl FnMut(&Config) -> Result<Summary, Error>,
    mut seen: impl FnMut(&Probe),
) -> Result<Capacity, Error> {
    let mut probes: Vec<Probe> = Vec::new();
    let control = &config.control;
    let end = loop {
        let (rate, purpose) = match plan.next(&votes(&probes)) {
            Step::Done(answer) => return Ok(Capacity::of(config, plan, probe_time, probes, answer)),
            Step::Probe(rate, purpose) => (rate, purpose),
        };
        if probes.last().is_some_and(|last| last.vote != Vote::Held) {
            rest(control);
        }
        if control.is_interrupted() {
            break End::Interrupted;
        }
        let found = match probe(&of_rate(config, rate, probe_time, probes.len())) {
            Ok(summary) if summary.setup.interrupted => break End::Interrupted,
            Ok(summary) => judged(&summary, rate, purpose, config, plan.precision),
            Err(Error::NoConnection { fault, .. }) if !probes.is_empty() => gone(rate, purpose, fault.detail),
            Err(Error::Interrupted) if !probes.is_empty() => break End::Interrupted,
            Err(error) => return Err(error),
        };
        seen(&found);
        probes.push(found);
        let is_gone = |p: &Probe| p.broke.iter().any(|b| matches!(b, Broken::NoConnection { .. }));
        // Once may be a restart.
        if probes.iter().rev().take_while(|p| is_gone(p)).count() >= 2 {
            break End::TargetGone;
        }
    };
    let answer = plan.answer(&votes(&probes), end);
    Ok(Capacity::of(config, plan, probe_time, probes, answer))
}

fn rest(control: &Control) {
    const STEP: Duration = Duration::from_millis(50);
    for _ in 0..REST.as_millis() / STEP.as_millis() {
        if !control.is_interrupted() {
            thread::sleep(STEP);
        }
    }
}

/// The run of one probe, after the warm-up if there is one; it draws other values than the one before. A condition that
/// ends it early ends no other.
fn of_rate(config: &Config, rate: f64, probe_time: TimeSpan, number: usize) -> Config {
    let mut config = config.clone();
    config.rate = Rate::new(rate).unwrap_or(config.rate);
    let warmup = config.warmup.map_or(Duration::ZERO, |span| span.0);
    config.length = Length::Duration(TimeSpan(probe_time.0 + warmup));
    config.stages.clear();
    config.seed = config.seed.wrapping_add(number as u64);
    config.control = config.control.of_another_run();
    config
}

fn gone(rate: f64, purpose: Purpose, reason: String) -> Probe {
    let broke = vec![Broken::NoConnection { reason }];
    let response_time_ns = Latency::default();
    Probe { rate, purpose, vote: Vote::Missed, broke, achieved_rate: 0.0, errors: 1.0, response_time_ns }
}

fn judged(summary: &Summary, rate: f64, purpose: Purpose, config: &Config, precision: f64) -> Probe {
    let mut broke = broken(summary, &config.slos, precision);
    // Own lag only ever makes a figure worse, so what holds with it holds. What is missed may be missed because of it.
    let vote = match (broke.is_empty(), summary.verdict.trusted) {
        (true, _) => Vote::Held,
        (false, true) => Vote::Missed,
        (false, false) => Vote::Untrusted,
    };
    if vote == Vote::Untrusted {
        let reasons = summary.verdict.reasons.iter().map(|reason| Broken::Generator { reason: reason.clone() });
        broke.splice(0..0, reasons);
    }
    Probe {
        rate,
        purpose,
        vote,
        broke,
        achieved_rate: summary.achieved_rate,
        errors: summary.counts.error_rate(),
        response_time_ns: summary.response_time_ns,
    }
}

/// What did not hold, the objectives first.
fn broken(summary: &Summary, slos: &[Slo], precision: f64) -> Vec<Broken> {
    let counts = &summary.counts;
    let mut broken: Vec<_> = summary.slo.iter().filter(|slo| !slo.ok).cloned().map(Broken::Slo).collect();
    let share = counts.error_rate();
    if share > ERRORS && !slos.iter().any(|slo| slo.measure() == Measure::Errors) {
        broken.push(Broken::Errors { share });
    }
    if counts.unsent > 0 {
        broken.push(Broken::Unsent { count: counts.unsent });
    }
    // Half of what the search tells apart: less than that is within its answer.
    broken.extend(growth(&summary.batches).filter(|by| *by > precision / 2.0).map(|by| Broken::FallsBehind { by }));
    // Cause or effect: only who knows the target can tell.
    let limit = summary.short_of_connections().filter(|_| !broken.is_empty() && summary.verdict.trusted);
    broken.extend(limit.map(|limit| Broken::Connections { limit }));
    broken
}

/// By how many seconds response times certainly grew in each second of the schedule: two standard errors below the slope
/// of a line through the batches' means (ordinary least squares, each batch weighed by its requests).
///
/// In a queue that gets λ requests a second and serves μ, the wait of the one that comes at t is (λ/μ − 1)·t: the slope is
/// the overload.
fn growth(batches: &Batches) -> Option<f64> {
    let points: Vec<(f64, f64, f64)> = (0..)
        .zip(measured(batches))
        .filter(|(_, batch)| batch.response.count() > 0)
        .map(|(i, batch)| {
            let at = f64::from(i) * batches.width_ns() as f64;
            (at, batch.response.total() / batch.response.count() as f64, batch.response.count() as f64)
        })
        .collect();
    let weight: f64 = points.iter().map(|p| p.2).sum();
    let mean = |of: fn(&(f64, f64, f64)) -> f64| points.iter().map(|p| of(p) * p.2).sum::<f64>() / weight;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let sum = |of: &dyn Fn(&(f64, f64, f64)) -> f64| points.iter().map(|p| of(p) * p.2).sum::<f64>();
    let spread = sum(&|p| (p.0 - x).powi(2));
    if points.len() < 8 || spread <= 0.0 {
        return None;
    }
    let slope = sum(&|p| (p.0 - x) * (p.1 - y)) / spread;
    let residuals = sum(&|p| (p.1 - y - slope * (p.0 - x)).powi(2));
    let error = (residuals / (points.len() as f64 - 2.0) / spread).sqrt();
    Some(slope - 2.0 * error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::sample::{Outcome, Sample};

    const MS: u64 = 1_000_000;

    /// Ten seconds of a queue that serves one request every 10 ms, at `rate` a second.
    fn queue(rate: f64) -> Batches {
        let mut batches = Batches::default();
        let mut left = 0_u64;
        for n in 0..(10.0 * rate) as u64 {
            let scheduled = (n as f64 * 1e9 / rate) as u64;
            left = left.max(scheduled) + 10 * MS;
            batches.record(&Sample {
                n,
                kind: 0,
                scheduled,
                ready: scheduled,
                started: scheduled,
                first_byte: left,
                finished: left,
                outcome: Outcome::Ok,
                status: Some(200),
                retries: 0,
                redirects: 0,
                bodies: (0, 0),
                wire: (1, 1),
                bytes: (0, 0),
            });
        }
        batches
    }

    #[test]
    fn response_times_of_an_overloaded_queue_grow_by_the_overload() {
        for overload in [0.02, 0.05, 0.5, 1.0] {
            let found = growth(&queue(100.0 * (1.0 + overload))).unwrap();
            assert!((found - overload).abs() < 0.1 * overload, "{found} for {overload}");
        }
        for rate in [10.0, 50.0, 99.0, 100.0] {
            assert!(growth(&queue(rate)).unwrap().abs() < 1e-6, "{rate}");
        }
        assert_eq!(growth(&Batches::default()), None);
    }

    #[test]
    fn a_probe_that_ends_early_ends_no_other() {
        let config = Config::new("http://127.0.0.1:9/".parse().unwrap());
        let probe = |number| of_rate(&config, 20.0, TimeSpan(Duration::from_secs(2)), number);
        let (first, second) = (probe(0), probe(1));
        first.control.end_schedule();
        assert!(first.control.stop_at() < u64::MAX);
        assert_eq!([&second, &config].map(|c| c.control.stop_at()), [u64::MAX; 2]);
        config.control.interrupt();
        assert!(second.control.stop_at() < u64::MAX && second.control.is_interrupted(), "the user ends them all");
    }

    #[test]
    fn each_condition_is_told_once() {
        let one = Broken::Errors { share: 0.1 };
        assert!(one.is_like(&Broken::Errors { share: 0.2 }) && !one.is_like(&Broken::Unsent { count: 1 }));
        let json = serde_json::to_value(&one).unwrap();
        assert_eq!(json, serde_json::json!({"kind": "errors", "share": 0.1}));
        let slo = Broken::Slo(SloResult { expression: "p99<1ms".parse().unwrap(), value: Some(2.into()), ok: false });
        assert_eq!(serde_json::from_value::<Broken>(serde_json::to_value(&slo).unwrap()).unwrap(), slo);
    }
}
