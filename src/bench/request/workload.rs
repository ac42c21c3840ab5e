//! What a run sends: a weighted mix of requests and flows, as `scalectl.toml`, a bench file and the flags all describe
//! it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fields::Fields;
use super::headers::Headers;
use crate::bench::schedule::stage::{Process, Stage};
use crate::units::{Rate, TimeSpan};

/// A workload: how much load, for how long, and the mix of requests and flows it consists of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Arrivals a second: requests, and starts of flows.
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
    /// Files whose rows give values, `{{ users.email }}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub feeds: BTreeMap<String, FeedSpec>,
    /// The mix; empty, without flows either, means one GET of the target's path.
    #[serde(default)]
    pub requests: Vec<RequestSpec>,
    /// Sequences of requests, part of the mix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<FlowSpec>,
}

impl Workload {
    /// Its requests, the steps of flows among them.
    pub fn every_request(&self) -> impl Iterator<Item = &RequestSpec> {
        every(&self.requests, &self.flows)
    }

    /// Makes the paths of files begin at `folder`; absolute ones stay.
    pub fn begin_paths_at(&mut self, folder: &Path) {
        self.feeds.values_mut().for_each(|feed| feed.file = folder.join(&feed.file));
        for request in every_mut(&mut self.requests, &mut self.flows) {
            if let Some(file) = &mut request.body_file {
                *file = folder.join(&*file);
            }
            for value in request.multipart.values_mut() {
                if let Some(file) = value.strip_prefix('@') {
                    *value = format!("@{}", folder.join(file).display());
                }
            }
        }
    }
}

/// The file that a part of a multipart body is read from, and the type that it names; `None` where the part is a text.
pub fn file_of_part(value: &str) -> Option<(&str, Option<&str>)> {
    let file = value.strip_prefix('@')?;
    Some(file.rsplit_once(";type=").map_or((file, None), |(file, kind)| (file, Some(kind))))
}

/// All requests of a workload: those alone, then the steps of its flows.
pub fn every<'a>(requests: &'a [RequestSpec], flows: &'a [FlowSpec]) -> impl Iterator<Item = &'a RequestSpec> {
    requests.iter().chain(flows.iter().flat_map(|flow| &flow.steps))
}

/// The same, to be changed.
pub fn every_mut<'a>(
    requests: &'a mut [RequestSpec],
    flows: &'a mut [FlowSpec],
) -> impl Iterator<Item = &'a mut RequestSpec> {
    requests.iter_mut().chain(flows.iter_mut().flat_map(|flow| &mut flow.steps))
}

/// One kind of request of a mix, or a step of a flow. Texts may hold generators and values: `{{ zipf(1, 10000) }}`,
/// `{{ uuid() }}`, `{{ users.email }}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Additional headers; a list of texts is a header that is sent more than once.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    /// Cookies that are sent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cookies: BTreeMap<String, String>,
    /// User and password of basic authentication, `"ada:secret"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<String>,
    /// Body as text. One of this, `body_file`, `json`, `form` and `multipart`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// File whose bytes are the body, as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_file: Option<PathBuf>,
    /// Bytes that are the body, as they are; no file has them.
    #[serde(skip)]
    pub body_bytes: Option<Bytes>,
    /// Body as JSON; sets the content type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<serde_json::Value>,
    /// Body as a form (`application/x-www-form-urlencoded`); a list of texts is a field that is sent more than once.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub form: Fields,
    /// Body as `multipart/form-data`; a value that begins with `@` is a file, of a type that `;type=` names behind it. A
    /// list of texts is a part that is sent more than once.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub multipart: Fields,
    /// Statuses that count as ok, like `"200,204"` or `"2xx"`; all below 400 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_status: Option<StatusSet>,
    /// What has to hold of the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assert: Vec<AssertSpec>,
    /// In a flow: values that later steps use as `{{ name }}`, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capture: BTreeMap<String, CaptureSpec>,
    /// In a flow: time between the end of the step before and this one, like `"1s"` or `"500ms..2s"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think: Option<Think>,
}

impl RequestSpec {
    /// A plain GET of `path`.
    pub fn get(path: &str) -> Self {
        Self {
            weight: one(),
            name: None,
            method: get(),
            path: path.to_owned(),
            headers: Headers::default(),
            cookies: BTreeMap::new(),
            user: None,
            bearer: None,
            body: None,
            body_file: None,
            body_bytes: None,
            json: None,
            form: Fields::default(),
            multipart: Fields::default(),
            expect_status: None,
            assert: Vec::new(),
            capture: BTreeMap::new(),
            think: None,
        }
    }

    /// What it has beside method, path and body.
    #[must_use]
    pub fn without_content(&self) -> Self {
        Self {
            path: "/".to_owned(),
            body: None,
            body_file: None,
            body_bytes: None,
            json: None,
            form: Fields::default(),
            multipart: Fields::default(),
            ..self.clone()
        }
    }

    /// The keys that describe a body, of those that are given.
    pub fn bodies(&self) -> Vec<&'static str> {
        let given = [
            ("body", self.body.is_some()),
            ("body_file", self.body_file.is_some()),
            ("body_bytes", self.body_bytes.is_some()),
            ("json", self.json.is_some()),
            ("form", !self.form.is_empty()),
            ("multipart", !self.multipart.is_empty()),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key).collect()
    }
}

fn one() -> u32 {
    1
}

fn get() -> String {
    "GET".to_owned()
}

/// Requests one after another, each when the one before has ended well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowSpec {
    /// Share of this flow among the arrivals: its weight over the sum of the weights of requests and flows.
    #[serde(default = "one")]
    pub weight: u32,
    /// Name in the results, before that of each step.
    pub name: String,
    /// The requests.
    pub steps: Vec<RequestSpec>,
}

/// A file whose rows give values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedSpec {
    /// A CSV file with a line of names, a file of JSON objects a line (.jsonl, .ndjson), or of plain lines (.txt, whose
    /// value is named `line`).
    pub file: PathBuf,
    /// Which row a request, or flow, has.
    #[serde(default)]
    pub order: FeedOrder,
}

/// Which row of a feed a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeedOrder {
    /// The next one; after the last the first.
    #[default]
    Sequential,
    /// Any, all equally likely.
    Random,
    /// The next one of all in a random order.
    Shuffle,
}

/// Something that has to hold of an answer: of a header, of a value in its JSON body, or of the body.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssertSpec {
    /// Name of the header that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// JSON pointer (RFC 6901) to the value in the body that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// It is this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<serde_json::Value>,
    /// It has this in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// This regular expression finds something in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
}

impl FromStr for AssertSpec {
    type Err = String;

    /// `body contains TEXT`, `header NAME matches REGEX`, `/json/pointer equals VALUE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is no assertion: write one like 'body contains ok', 'header etag matches ^W/' or \
                 '/items/0/id equals 7'"
            )
        };
        let (subject, rest) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let mut spec = Self::default();
        let rest = match subject {
            "body" => rest.trim_start(),
            "header" => {
                let (name, rest) = rest.trim_start().split_once(' ').ok_or_else(wrong)?;
                spec.header = Some(name.to_owned());
                rest.trim_start()
            }
            pointer if pointer.starts_with('/') => {
                spec.pointer = Some(pointer.to_owned());
                rest.trim_start()
            }
            _ => return Err(wrong()),
        };
        let (how, value) = rest.split_once(' ').ok_or_else(wrong)?;
        match how {
            "equals" if spec.pointer.is_some() => {
                spec.equals = Some(serde_json::from_str(value).unwrap_or_else(|_| value.into()));
            }
            "equals" => spec.equals = Some(value.into()),
            "contains" => spec.contains = Some(value.to_owned()),
            "matches" => spec.matches = Some(value.to_owned()),
            _ => return Err(wrong()),
        }
        Ok(spec)
    }
}

/// Where a value of an answer is found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureSpec {
    /// JSON pointer (RFC 6901) into the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Name of a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Regular expression over the body, or over the header: its first group, or all that it finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
}

/// Statuses, as they are written: `"200,204"`, `"2xx"`, `"200-299"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct StatusSet {
    ranges: Vec<(u16, u16)>,
    text: String,
}

impl StatusSet {
    /// Whether a status is among them.
    pub fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&status))
    }
}

impl FromStr for StatusSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = |part: &str| {
            let number = |text: &str| text.parse::<u16>().ok().filter(|n| (100..=599).contains(n));
            if let Some(class) = part.strip_suffix("xx") {
                return number(&format!("{class}00")).map(|low| (low, low + 99));
            }
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            number(low.trim()).zip(number(high.trim())).filter(|(low, high)| low <= high)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(|part| range(part.trim())).collect();
        let ranges =
            ranges.ok_or_else(|| format!("expected statuses like \"200,204\" or \"2xx\", found \"{text}\""))?;
        Ok(Self { ranges, text: text.to_owned() })
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for StatusSet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<StatusSet> for String {
    fn from(set: StatusSet) -> Self {
        set.text
    }
}

/// Time between two steps: always the same, or drawn evenly from a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Think {
    /// The shortest.
    pub least: TimeSpan,
    /// The longest.
    pub most: TimeSpan,
}

impl FromStr for Think {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let span = |text: &str| text.trim().parse::<TimeSpan>().map_err(|error| error.to_string());
        let think = Self { least: span(least)?, most: span(most)? };
        if think.least <= think.most {
            Ok(think)
        } else {
            Err(format!("expected a time or a range of times like \"500ms..2s\", found the empty range \"{text}\""))
        }
    }
}

impl fmt::Display for Think {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least == self.most { self.least.fmt(f) } else { write!(f, "{}..{}", self.least, self.most) }
    }
}

impl TryFrom<String> for Think {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Think> for String {
    fn from(think: Think) -> Self {
        think.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_as_people_write_them() {
        let set: StatusSet = "200, 3xx,410-412".parse().unwrap();
        let found: Vec<u16> = (100..600).filter(|status| set.contains(*status)).collect();
        let expected: Vec<u16> = [200].into_iter().chain(300..400).chain(410..413).collect();
        assert_eq!(found, expected);
        assert_eq!(set.to_string().parse::<StatusSet>().unwrap(), set);
        for text in ["", "ok", "2x", "700", "204-200", "200,,201"] {
            assert!(text.parse::<StatusSet>().unwrap_err().contains("2xx"), "{text}");
        }
    }

    #[test]
    fn a_think_time_is_one_time_or_a_range() {
        for (text, least, most) in [("1s", 1000, 1000), ("500ms..2s", 500, 2000)] {
            let think: Think = text.parse().unwrap();
            assert_eq!(think, Think { least: TimeSpan::millis(least), most: TimeSpan::millis(most) });
            assert_eq!(think.to_string(), text);
        }
        assert!("2s..1s".parse::<Think>().unwrap_err().contains("empty range"));
        assert!("soon".parse::<Think>().unwrap_err().contains("soon"));
    }

    #[test]
    fn assertions_are_read_from_one_line() {
        let read = |text: &str| serde_json::to_value(text.parse::<AssertSpec>().unwrap()).unwrap();
        for (text, json) in [
            ("body contains a b", serde_json::json!({"contains": "a b"})),
            ("body equals 7", serde_json::json!({"equals": "7"})),
            ("header etag matches ^W/", serde_json::json!({"header": "etag", "matches": "^W/"})),
            ("/items/0 equals 7", serde_json::json!({"pointer": "/items/0", "equals": 7})),
            ("/name equals Ada", serde_json::json!({"pointer": "/name", "equals": "Ada"})),
        ] {
            assert_eq!(read(text), json, "{text}");
        }
        for text in ["", "body", "body has x", "status equals 200", "header etag"] {
            assert!(text.parse::<AssertSpec>().unwrap_err().contains("body contains ok"), "{text}");
        }
    }
}
