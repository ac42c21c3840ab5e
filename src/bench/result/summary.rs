//! The result of a run: everything that a report, a merge or a comparison needs. Its JSON form is the contract with
//! scripts; durations are whole nanoseconds, and what has no value is `null`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::slo::SloResult;
use super::statistics::Intervals;
use super::verdict::{SelfWatch, Verdict, moves};
use super::warmup::WarmUp;
use crate::bench::clock::{Start, Timestamps};
use crate::bench::record::batches::Batches;
use crate::bench::record::distribution::{Distribution, Percentile};
use crate::bench::record::series::Second;
use crate::bench::record::tally::FlowCounts;
use crate::bench::record::tally::{Counts, Distributions, ErrorCount, Evidence, KindTally, Tally};
use crate::bench::schedule::stage::{Arrangement, Stage};

/// Name and version of the JSON form.
pub const SCHEMA: &str = "scalectl.bench/1";

/// The figures of one distribution that every result carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Mean over what was measured.
    pub mean: Option<u64>,
    /// Shortest measured.
    pub min: Option<u64>,
    /// Longest measured.
    pub max: Option<u64>,
    /// Median.
    pub p50: Option<u64>,
    /// Third quartile.
    pub p75: Option<u64>,
    /// 90th percentile.
    pub p90: Option<u64>,
    /// 95th percentile.
    pub p95: Option<u64>,
    /// 99th percentile.
    pub p99: Option<u64>,
    /// 99.9th percentile.
    #[serde(rename = "p99.9")]
    pub p999: Option<u64>,
    /// 99.99th percentile.
    #[serde(rename = "p99.99")]
    pub p9999: Option<u64>,
}

impl Latency {
    /// The figures of `distribution` among a population of which the rest ranks above all that was measured.
    pub fn of(distribution: &Distribution, population: u64) -> Self {
        let at = |p| distribution.percentile(p, population).value();
        Self {
            mean: distribution.mean(),
            min: distribution.min(),
            max: distribution.max(),
            p50: at(Percentile::P50),
            p75: at(Percentile::P75),
            p90: at(Percentile::P90),
            p95: at(Percentile::P95),
            p99: at(Percentile::P99),
            p999: at(Percentile::P999),
            p9999: at(Percentile::P9999),
        }
    }
}

/// What is known of the connections of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Connections {
    /// The most there may be at once.
    pub limit: u64,
    /// How many were open at the start.
    pub at_start: u64,
    /// The most that were in use at once.
    pub peak: u64,
    /// How many were opened in all.
    pub opened: u64,
    /// Requests at the same time on one of them, where the protocol allows several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<Streams>,
}

/// What is known of the streams of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Streams {
    /// How many a connection was to have at the same time.
    pub per_connection: u64,
    /// The fewest that the target allowed; `None` if it set no limit.
    pub allowed: Option<u64>,
    /// The most that were in use at once, of all connections.
    pub peak: u64,
}

impl Streams {
    /// What is to be said where the target allowed fewer than there were to be.
    pub(in crate::bench) fn note(&self) -> Option<String> {
        let allowed = self.allowed.filter(|allowed| *allowed < self.per_connection)?;
        let asked = self.per_connection;
        Some(format!(
            "the target allowed {allowed} streams at the same time on a connection, not the {asked} asked for"
        ))
    }
}

/// How a run was set up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// What was loaded.
    pub target: String,
    /// Version of scalectl.
    pub version: String,
    /// Arrivals a second that were asked for, of stages and of a log their mean; `None` in a closed loop.
    pub rate: Option<f64>,
    /// Where the arrivals came from.
    pub arrivals: Arrangement,
    /// The stages of the schedule, where it has any.
    #[serde(default)]
    pub stages: Vec<Stage>,
    /// When each of the runs began that were merged into this result; of a single run none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<Start>,
    /// Whether only the first part of a log was replayed.
    #[serde(default)]
    pub replay_shortened: bool,
    /// When the threads woke for what was due.
    #[serde(default)]
    pub pacing: String,
    /// Seed of everything that was drawn.
    pub seed: u64,
    /// Threads that sent.
    pub threads: u64,
    /// The version of HTTP that was spoken.
    #[serde(default)]
    pub protocol: String,
    /// How the sockets were driven.
    pub io: String,
    /// Who noted when answers came.
    #[serde(default)]
    pub timestamps: Timestamps,
    /// Longest time an answer may take.
    pub timeout_ns: u64,
    /// How long after T requests were still sent and answers awaited.
    pub grace_ns: u64,
    /// The start on both clocks.
    pub start: Start,
    /// How long the look-up of the target's name took, before the start; `None` where there was none.
    #[serde(default)]
    pub dns_ns: Option<u64>,
    /// Why it was ended early, where a condition did.
    #[serde(default)]
    pub aborted: Option<Aborted>,
    /// Whether the user ended it early.
    pub interrupted: bool,
}

impl Setup {
    /// Whether requests were sent as fast as the target answered: nothing waited then, and no lag has a meaning.
    pub fn is_closed_loop(&self) -> bool {
        self.rate.is_none()
    }
}

/// That a run was ended early, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aborted {
    /// The condition as it was written.
    pub condition: String,
    /// When it held, in nanoseconds after the start.
    pub at_ns: u64,
    /// What it was about: nanoseconds, a fraction, or a rate; `null` for a percentile among what failed.
    pub value: Option<serde_json::Number>,
}

/// The figures of one kind of request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestSummary {
    /// Its name.
    pub name: String,
    /// How many ended how.
    pub counts: Counts,
    /// Response time, ranked among all scheduled of its kind.
    pub response_time_ns: Latency,
    /// Service time, ranked in the same way.
    pub service_time_ns: Latency,
    /// The distributions themselves.
    pub histograms: RequestHistograms,
}

/// The distributions of one kind of request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestHistograms {
    /// Response times.
    pub response: Distribution,
    /// Service times.
    pub service: Distribution,
}

/// Bytes on the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// Read.
    pub received: u64,
    /// Written.
    pub sent: u64,
    /// Of the bodies that were decompressed, as they came; 0 without `--compressed`.
    #[serde(default)]
    pub bodies: u64,
    /// Of the same bodies, decompressed.
    #[serde(default)]
    pub decompressed: u64,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`SCHEMA`].
    #[serde(deserialize_with = "known_schema")]
    pub schema: String,
    /// How it was set up.
    #[serde(flatten)]
    pub setup: Setup,
    /// T: how long arrivals were scheduled.
    pub duration_ns: u64,
    /// From the start to the last answer, at least T.
    pub elapsed_ns: u64,
    /// scheduled / T; `None` in a closed loop, which offers what the target takes.
    pub offered_rate: Option<f64>,
    /// Ok answers that came before T, over T.
    pub achieved_rate: f64,
    /// How many ended how.
    pub counts: Counts,
    /// Requests that ended well before T.
    pub ok_in_time: u64,
    /// finished − scheduled.
    pub response_time_ns: Latency,
    /// finished − started.
    pub service_time_ns: Latency,
    /// ready − scheduled; no values in a closed loop, like the two that follow.
    pub pool_wait_ns: Latency,
    /// started − ready.
    pub own_lag_ns: Latency,
    /// started − scheduled.
    pub send_lag_ns: Latency,
    /// finished − scheduled of what failed.
    pub failed_time_ns: Latency,
    /// Answers by status.
    pub status: BTreeMap<u16, u64>,
    /// Failures by phase, cause and side.
    pub errors: Vec<ErrorCount>,
    /// The first failing exchanges.
    pub evidence: Vec<Evidence>,
    /// The objectives.
    pub slo: Vec<SloResult>,
    /// Whether the generator itself was the limit.
    pub verdict: Verdict,
    /// What the verdict rests on.
    pub generator: SelfWatch,
    /// Connections.
    pub connections: Connections,
    /// Bytes on them.
    pub bytes: Bytes,
    /// By kind of request.
    pub requests: Vec<RequestSummary>,
    /// The distributions.
    pub histograms: Distributions,
    /// What was scheduled in the warm-up, which all else leaves out; `null` where there was none.
    #[serde(default)]
    pub warmup: Option<WarmUp>,
    /// What finished in each second.
    pub series: Vec<Second>,
    /// Response times by when requests were scheduled.
    #[serde(default)]
    pub batches: Batches,
    /// How far the figures can be off.
    #[serde(default)]
    pub intervals: Intervals,
    /// Flows; all 0 in a run without.
    #[serde(default)]
    pub flows: FlowCounts,
}

/// Reads the name and version of the JSON form: another one may mean something else by the same keys.
fn known_schema<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let schema = String::deserialize(deserializer)?;
    if schema == SCHEMA {
        return Ok(schema);
    }
    Err(serde::de::Error::custom(format_args!("its schema is {schema:?}, and this version reads {SCHEMA:?} only")))
}

/// What a summary is made of.
#[derive(Debug)]
pub struct Parts {
    /// How the run was set up.
    pub setup: Setup,
    /// T.
    pub duration_ns: u64,
    /// Everything counted.
    pub tally: Tally,
    /// The warm-up, where there was one.
    pub warmup: Option<WarmUp>,
    /// What finished in each second.
    pub series: Vec<Second>,
    /// The objectives' results.
    pub slo: Vec<SloResult>,
    /// The verdict.
    pub verdict: Verdict,
    /// What it rests on.
    pub generator: SelfWatch,
    /// Connections.
    pub connections: Connections,
}

/// ok answers before T, over T.
pub fn achieved_rate(tally: &Tally, duration_ns: u64) -> f64 {
    per_second(tally.ok_in_time, duration_ns)
}

fn per_second(count: u64, duration_ns: u64) -> f64 {
    if duration_ns == 0 { 0.0 } else { count as f64 / (duration_ns as f64 / 1e9) }
}

impl Summary {
    /// How many connections there were, if all of them were in use and requests waited for one so long that it matters:
    /// a millisecond, and a tenth of the response time, on average; or until the end. In a closed loop their number is
    /// what was asked for.
    pub fn short_of_connections(&self) -> Option<u64> {
        if self.setup.is_closed_loop() {
            return None;
        }
        let Connections { limit, peak, .. } = self.connections;
        let wait = self.pool_wait_ns.mean.unwrap_or(0);
        let is_long = moves(wait, self.response_time_ns.mean.unwrap_or(0));
        (limit > 0 && peak >= limit && (is_long || self.counts.unsent > 0)).then_some(limit)
    }

    /// Derives all figures from what was counted.
    pub fn new(parts: Parts) -> Self {
        let Parts { setup, duration_ns, tally, warmup, series, slo, verdict, generator, connections } = parts;
        let achieved_rate = achieved_rate(&tally, duration_ns);
        let Tally {
            counts,
            ok_in_time,
            distributions,
            status,
            errors,
            evidence,
            kinds,
            bytes,
            bodies,
            last_finished,
            batches,
            flows,
        } = tally;
        let intervals = Intervals::of(&batches, &distributions.response, &distributions.service, counts.scheduled);
        let ranked = |distribution: &Distribution, population| Latency::of(distribution, population);
        let failed = distributions.failed.count();
        let is_closed_loop = setup.is_closed_loop();
        let lag = |distribution, population| {
            if is_closed_loop { Latency::default() } else { Latency::of(distribution, population) }
        };
        Self {
            schema: SCHEMA.to_owned(),
            setup,
            duration_ns,
            elapsed_ns: last_finished.max(duration_ns),
            offered_rate: (!is_closed_loop).then(|| per_second(counts.scheduled, duration_ns)),
            achieved_rate,
            counts,
            ok_in_time,
            response_time_ns: ranked(&distributions.response, counts.scheduled),
            service_time_ns: ranked(&distributions.service, counts.scheduled),
            pool_wait_ns: lag(&distributions.pool_wait, counts.scheduled),
            own_lag_ns: lag(&distributions.own_lag, counts.sent),
            send_lag_ns: lag(&distributions.send_lag, counts.scheduled),
            failed_time_ns: ranked(&distributions.failed, failed),
            status,
            errors: errors.into_iter().map(|(kind, count)| ErrorCount { kind, count }).collect(),
            evidence,
            slo,
            verdict,
            generator,
            connections,
            bytes: Bytes { received: bytes[0], sent: bytes[1], bodies: bodies[0], decompressed: bodies[1] },
            requests: kinds.into_iter().map(RequestSummary::from).collect(),
            histograms: distributions,
            warmup,
            series,
            batches,
            intervals,
            flows,
        }
    }

    /// Whether every objective is met.
    pub fn slo_met(&self) -> bool {
        self.slo.iter().all(|slo| slo.ok)
    }
}

impl From<KindTally> for RequestSummary {
    fn from(kind: KindTally) -> Self {
        let scheduled = kind.counts.scheduled;
        Self {
            name: kind.name,
            counts: kind.counts,
            response_time_ns: Latency::of(&kind.response, scheduled),
            service_time_ns: Latency::of(&kind.service, scheduled),
            histograms: RequestHistograms { response: kind.response, service: kind.service },
        }
    }
}
