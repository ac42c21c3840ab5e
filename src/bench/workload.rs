//! What a run sends: a weighted mix of requests, as `scalectl.toml` and the flags both describe it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::{Process, Stage};
use crate::units::{Rate, TimeSpan};

/// A workload: how much load, for how long, and the mix of requests it consists of.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Requests a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How long requests are scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<TimeSpan>,
    /// How arrivals are laid out: `constant` (evenly spaced, the default) or `poisson` (independent of each other).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<Process>,
    /// Rates that follow each other, instead of `rate` and `duration`: `"100rps:30s"`, `"100..5000rps:2m"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// How much of the schedule, from its beginning, is counted apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<TimeSpan>,
    /// The mix; empty means one `GET /`.
    #[serde(default)]
    pub requests: Vec<RequestSpec>,
}

/// One kind of request of a mix. Texts may hold generators: `{{ zipf(1, 10000) }}`, `{{ uuid() }}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestSpec {
    /// Share of this kind among all: its weight over the sum of the weights.
    #[serde(default = "one")]
    pub weight: u32,
    /// Name in the results; method and path unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// HTTP method; GET unless given.
    #[serde(default = "get")]
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Additional headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Body as text. Either this or `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Body as JSON; sets the content type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<serde_json::Value>,
}

impl RequestSpec {
    /// A plain GET of `path`.
    pub fn get(path: &str) -> Self {
        Self {
            weight: one(),
            name: None,
            method: get(),
            path: path.to_owned(),
            headers: BTreeMap::new(),
            body: None,
            json: None,
        }
    }
}

fn one() -> u32 {
    1
}

fn get() -> String {
    "GET".to_owned()
}
