//! A run described in a file of its own: read, and written from what the flags say.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml_edit::{Array, DocumentMut, InlineTable, Item, TomlError, Value};

use self::place::place_of;
use self::text::Text;
use super::values::{Count, Replay, Rps};
use crate::bench::{
    Config, ConnectTo, Family, Headers, Io, Length, Pacing, Process, Protocol, RequestSpec, Resolve, Slo, Speed,
    TlsVersion, Workload,
};
use crate::error::Failure;
use crate::units::{Name, TimeSpan};

mod place;
mod text;

/// A bench file: the `[bench.NAME]` tables of a `scalectl.toml`, and beside them what the flags say of a run. Keys that
/// belong to a flag have its name, with `_` for `-`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchFile {
    /// Folder in which the paths in it begin.
    #[serde(skip)]
    folder: PathBuf,
    /// Its own path, for messages.
    #[serde(skip)]
    path: PathBuf,
    /// URL that is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Headers of every request that has none of that name.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    headers: Headers,
    /// The rate of the workload, or `max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rps: Option<Text<Rps>>,
    /// How many requests, instead of the workload's duration; of a log that is replayed, like that, its first part.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<Count<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<Text<Speed>>,
    #[serde(default, skip_serializing_if = "is_false")]
    replay_unsafe: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirects: Option<u32>,
    #[serde(default, skip_serializing_if = "is_false")]
    compressed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<Text<Protocol>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pacing: Option<Text<Pacing>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    io: Option<Text<Io>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<Count<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<TimeSpan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace: Option<TimeSpan>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    slo: Vec<Text<Slo>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    abort_on: Vec<Text<Slo>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unix_socket: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "is_false")]
    insecure: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resolve: Vec<Text<Resolve>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    connect_to: Vec<Text<ConnectTo>>,
    #[serde(default, skip_serializing_if = "is_false")]
    ipv4: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    ipv6: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bind: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_timeout: Option<TimeSpan>,
    #[serde(default, skip_serializing_if = "is_false")]
    no_keepalive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_connection: Option<NonZeroU64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cacert: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sni: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_min: Option<Text<TlsVersion>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_max: Option<Text<TlsVersion>>,
    #[serde(default)]
    bench: BTreeMap<Name, Workload>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

fn texts<T: Clone>(values: &[T]) -> Vec<Text<T>> {
    values.iter().cloned().map(Text).collect()
}

/// What is not at its default.
fn other<T: PartialEq>(value: T, default: &T) -> Option<T> {
    (value != *default).then_some(value)
}

/// Takes what a file says, where it says something.
fn replace<T: Clone>(own: &mut Vec<T>, given: &[Text<T>]) {
    if !given.is_empty() {
        *own = given.iter().map(|text| text.0.clone()).collect();
    }
}

impl BenchFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no bench file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!("{} cannot be read", path.display()))
                .because(error.to_string())
                .hint("`scalectl bench URL --print-config` writes such a file, with what its other flags say")
        })?;
        Self::parse(&text, path)
    }

    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    ///
    /// It is no bench file.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let mut file: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let message = error.message().trim();
            let shown_line = text.lines().nth(line - 1).unwrap_or_default();
            let usual = || "a bench file has a target, and [bench.default] tables as in scalectl.toml".to_owned();
            Failure::usage(format!("{shown}:{line}: {message}"))
                .hint(place_of(message, shown_line).unwrap_or_else(usual))
        })?;
        file.folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        file.path = path.to_path_buf();
        Ok(file)
    }

    /// The URL that is loaded, if it says so.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// The log that is replayed, if it says so, as far as the number of requests or the duration of the workload of this
    /// name, or `default`, goes.
    pub fn replay(&self, workload: Option<&Name>) -> Option<Replay> {
        let log = self.folder.join(self.replay.as_ref()?);
        let speed = self.speed.as_ref().map(|text| text.0).unwrap_or_default();
        let duration = self.bench.get(workload.map_or("default", Name::as_str)).and_then(|workload| workload.duration);
        let length = self.requests().map(Length::Requests).or(duration.map(Length::Duration));
        Some(Replay { log, speed, is_unsafe: self.replay_unsafe, length })
    }

    fn requests(&self) -> Option<u64> {
        self.requests.map(|count| count.0)
    }

    /// Takes all that it says into a run, with the workload of this name, or `default`; but for [`Self::replay`].
    ///
    /// # Errors
    ///
    /// There is no such workload, or two of its keys contradict each other.
    pub fn apply(&self, config: &mut Config, workload: Option<&Name>) -> Result<(), Failure> {
        let shown = self.path.display();
        let name = workload.map_or("default", Name::as_str);
        let usual = (self.bench.is_empty() && workload.is_none()).then(Workload::default);
        let mut workload = self.bench.get(name).cloned().or(usual).ok_or_else(|| {
            let known: Vec<_> = self.bench.keys().map(Name::as_str).collect();
            Failure::usage(format!("{shown} has no [bench.{name}]")).hint(format!("there are: {}", known.join(", ")))
        })?;
        let (is_replay, is_staged) = (self.replay.is_some(), !workload.stages.is_empty());
        let has_addresses = !(self.resolve.is_empty() && self.connect_to.is_empty() && self.bind.is_empty());
        let has_rate = self.rps.is_some() || workload.rate.is_some();
        for (is_given, what) in [
            (self.ipv4 && self.ipv6, "both ipv4 and ipv6"),
            (self.key.is_some() && self.cert.is_none(), "a key without cert"),
            (self.requests.is_some() && is_staged, "both requests and stages"),
            (is_staged && (has_rate || workload.duration.is_some()), "both stages, and a rate or duration"),
            (self.connect_timeout.is_some_and(|time| time.0.is_zero()), "a connect_timeout of 0"),
            (self.unix_socket.is_some() && (self.ipv4 || self.ipv6), "both unix_socket, and ipv4 or ipv6"),
            (self.unix_socket.is_some() && has_addresses, "both unix_socket, and resolve, connect_to or bind"),
            (self.replay.is_none() && (self.speed.is_some() || self.replay_unsafe), "speed or replay_unsafe alone"),
            (is_replay && has_rate, "both replay and a rate: a log has its own timing"),
            (is_replay && is_staged, "both replay and stages: a log has its own timing"),
            (is_replay && workload.arrivals.is_some(), "both replay and arrivals: a log has its own timing"),
            (is_replay && !workload.flows.is_empty(), "both replay and flows: a log has its own requests"),
        ] {
            if is_given {
                return Err(Failure::usage(format!("{shown} has {what}")));
            }
        }
        workload.begin_paths_at(&self.folder);
        config.apply(&workload);
        if config.requests.is_empty() && config.flows.is_empty() {
            config.requests = vec![RequestSpec::get(&config.target.path)];
        }
        for request in config.every_request_mut() {
            let own = request.headers.clone();
            for (name, value) in self.headers.iter().filter(|(name, _)| !own.has(name)) {
                request.headers.add(name, value);
            }
        }
        match &self.rps {
            Some(Text(Rps::Max)) => config.closed_loop = true,
            Some(Text(Rps::Rate(rate))) => config.rate = *rate,
            None => {}
        }
        config.length = self.requests().map_or(config.length, Length::Requests);
        config.redirects = self.redirects.unwrap_or(config.redirects);
        config.compressed |= self.compressed;
        config.protocol = self.http.as_ref().map_or(config.protocol, |text| text.0);
        config.streams = self.streams.unwrap_or(config.streams);
        config.pacing = self.pacing.as_ref().map_or(config.pacing, |text| text.0);
        config.io = self.io.as_ref().map_or(config.io, |text| text.0);
        config.connections = self.connections.map(|count| count.0).or(config.connections);
        config.threads = self.threads.or(config.threads);
        config.timeout = self.timeout.unwrap_or(config.timeout);
        config.grace = self.grace.or(config.grace);
        config.seed = self.seed.unwrap_or(config.seed);
        config.insecure |= self.insecure;
        config.slos.extend(self.slo.iter().map(|text| text.0.clone()));
        replace(&mut config.abort_on, &self.abort_on);
        let from_here = |path: &PathBuf| self.folder.join(path);
        config.unix_socket = self.unix_socket.as_ref().map(from_here);
        let reach = &mut config.reach;
        replace(&mut reach.resolve, &self.resolve);
        replace(&mut reach.connect_to, &self.connect_to);
        reach.family = self.ipv4.then_some(Family::V4).or(self.ipv6.then_some(Family::V6));
        reach.sources.clone_from(&self.bind);
        reach.connect_timeout = self.connect_timeout;
        reach.without_keepalive = self.no_keepalive;
        reach.requests_per_connection = self.requests_per_connection;
        let tls = &mut reach.tls;
        tls.authorities = self.cacert.iter().map(from_here).collect();
        let key = self.key.as_ref().or(self.cert.as_ref()).map(from_here);
        tls.client = self.cert.as_ref().map(from_here).zip(key);
        tls.name.clone_from(&self.sni);
        tls.oldest = self.tls_min.as_ref().map(|text| text.0);
        tls.newest = self.tls_max.as_ref().map(|text| text.0);
        Ok(())
    }

    /// The file that describes this run, whose requests come from `replay` where there is one. Its paths are absolute.
    ///
    /// # Errors
    ///
    /// Something in it has no form in TOML, or the log is read from stdin.
    pub fn of(config: &Config, replay: Option<&Replay>) -> Result<Self, Failure> {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let default = Config::new(config.target.clone());
        let is_paced = config.stages.is_empty() && replay.is_none() && !config.closed_loop;
        // Stages have their own durations, and rates.
        let is_staged = !config.stages.is_empty() && replay.is_none();
        let length = replay.map_or(Some(config.length), |replay| replay.length).filter(|_| !is_staged);
        let mut workload = Workload {
            rate: other(config.rate, &default.rate).filter(|_| !is_staged).or(is_paced.then_some(config.rate)),
            duration: match length {
                Some(Length::Duration(span)) => {
                    other(span, &Config::DURATION).or(config.stages.is_empty().then_some(span))
                }
                Some(Length::Requests(_)) | None => None,
            },
            arrivals: other(config.arrivals, &Process::default()),
            stages: config.stages.clone(),
            warmup: config.warmup,
            feeds: config.feeds.clone(),
            requests: match replay {
                // One for each method of the log: what they have in common.
                Some(_) => config.requests.first().map(like).into_iter().collect(),
                None => config.requests.clone(),
            },
            flows: config.flows.clone(),
        };
        if let Ok(here) = std::env::current_dir() {
            workload.begin_paths_at(&here);
        }
        if replay.is_some_and(|replay| replay.log.as_os_str() == "-") {
            return Err(Failure::usage("a bench file cannot hold a log that is read from stdin")
                .hint("write the log to a file, and give its name to --replay"));
        }
        let reach = &config.reach;
        let tls = &reach.tls;
        let file = Self {
            folder: PathBuf::new(),
            path: PathBuf::new(),
            target: Some(config.target.to_string()),
            headers: Headers::default(),
            rps: config.closed_loop.then_some(Text(Rps::Max)),
            requests: match length {
                Some(Length::Requests(number)) => Some(Count(number)),
                Some(Length::Duration(_)) | None => None,
            },
            replay: replay.map(|replay| absolute(&replay.log)),
            speed: replay.and_then(|replay| other(replay.speed, &Speed::default())).map(Text),
            replay_unsafe: replay.is_some_and(|replay| replay.is_unsafe),
            redirects: other(config.redirects, &default.redirects),
            compressed: config.compressed,
            http: other(config.protocol, &default.protocol).map(Text),
            streams: other(config.streams, &default.streams),
            pacing: other(config.pacing, &default.pacing).map(Text),
            io: other(config.io, &default.io).map(Text),
            connections: config.connections.map(Count),
            threads: config.threads,
            seed: Some(config.seed),
            timeout: other(config.timeout, &default.timeout),
            grace: config.grace,
            slo: texts(&config.slos),
            abort_on: texts(&config.abort_on),
            unix_socket: config.unix_socket.as_ref().map(absolute),
            insecure: config.insecure,
            resolve: texts(&reach.resolve),
            connect_to: texts(&reach.connect_to),
            ipv4: reach.family == Some(Family::V4),
            ipv6: reach.family == Some(Family::V6),
            bind: reach.sources.clone(),
            connect_timeout: reach.connect_timeout,
            no_keepalive: reach.without_keepalive,
            requests_per_connection: reach.requests_per_connection,
            cacert: tls.authorities.iter().map(absolute).collect(),
            cert: tls.client.as_ref().map(|(cert, _)| absolute(cert)),
            key: tls.client.as_ref().filter(|(cert, key)| cert != key).map(|(_, key)| absolute(key)),
            sni: tls.name.clone(),
            tls_min: tls.oldest.map(Text),
            tls_max: tls.newest.map(Text),
            bench: BTreeMap::new(),
        };
        let name = "default".parse::<Name>().map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Self { bench: BTreeMap::from([(name, workload)]), ..file })
    }

    /// The file's text.
    ///
    /// # Errors
    ///
    /// Something in it has no form in TOML.
    pub fn text(&self) -> Result<String, Failure> {
        let mut plain = self.clone();
        plain.bench.values_mut().flat_map(requests_mut).for_each(|(_, request)| request.json = None);
        let refused = |why: &dyn Display| {
            Failure::usage(format!("the run cannot be written as a bench file: {why}"))
                .hint("give a JSON body that TOML cannot hold as text: -d TEXT -T application/json")
        };
        if let Some(seed) = self.seed.filter(|seed| i64::try_from(*seed).is_err()) {
            return Err(Failure::usage(format!("a bench file cannot hold the seed {seed}"))
                .hint(format!("choose one up to {}", i64::MAX)));
        }
        let text = toml::to_string_pretty(&plain).map_err(|error| refused(&error))?;
        let mut document: DocumentMut = text.parse().map_err(|error: TomlError| refused(&error))?;
        // A table of its own would have its keys in another order, and the body other bytes.
        for (name, workload) in &self.bench {
            for (place, request) in requests_mut(&mut workload.clone()) {
                let Some(json) = &request.json else { continue };
                let of_workload = document.get_mut("bench").and_then(|bench| bench.get_mut(name.as_str()));
                let found = of_workload.and_then(|workload| match place {
                    Place::Request(i) => workload.get_mut("requests")?.get_mut(i),
                    Place::Step(i, j) => workload.get_mut("flows")?.get_mut(i)?.get_mut("steps")?.get_mut(j),
                });
                if let Some(table) = found.and_then(Item::as_table_like_mut) {
                    table.insert("json", Item::Value(inline(json).map_err(|why| refused(&why))?));
                }
            }
        }
        Ok(document.to_string())
    }

    /// Whether what it sends holds a password, a token or a cookie.
    pub fn holds_credentials(&self) -> bool {
        self.bench.values().flat_map(Workload::every_request).any(|request| {
            let is_given = request.user.is_some() || request.bearer.is_some() || !request.cookies.is_empty();
            is_given || ["authorization", "cookie"].iter().any(|name| request.headers.has(name))
        })
    }
}

/// Where a request stands in a workload.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Its number.
    Request(usize),
    /// The flow's number, and its own in there.
    Step(usize, usize),
}

fn requests_mut(workload: &mut Workload) -> Vec<(Place, &mut RequestSpec)> {
    let alone = workload.requests.iter_mut().enumerate().map(|(i, request)| (Place::Request(i), request));
    let steps = workload
        .flows
        .iter_mut()
        .enumerate()
        .flat_map(|(i, flow)| flow.steps.iter_mut().enumerate().map(move |(j, step)| (Place::Step(i, j), step)));
    alone.chain(steps).collect()
}

/// A JSON value as TOML has it within a line.
fn inline(json: &serde_json::Value) -> Result<Value, &'static str> {
    use serde_json::Value as Json;
    Ok(match json {
        Json::Null => return Err("TOML has no null"),
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), ..) => value.into(),
            (None, None, Some(value)) => value.into(),
            _ => return Err("TOML has no whole numbers above 9223372036854775807"),
        },
        Json::String(text) => text.into(),
        Json::Array(values) => Value::Array(values.iter().map(inline).collect::<Result<Array, _>>()?),
        Json::Object(fields) => {
            let mut table = InlineTable::new();
            for (name, value) in fields {
                table.insert(name, inline(value)?);
            }
            Value::InlineTable(table)
        }
    })
}

/// What the requests of a replay have beside method, path and body.
fn like(request: &RequestSpec) -> RequestSpec {
    RequestSpec { name: None, method: "GET".to_owned(), ..request.without_content() }
}

/// What has to hold of any text, as [`crate::bench::invariants`] has it: it is refused with a reason, or every request of
/// it can be sent, and it describes the same run once it was written again. Files are read in `folder` only.
///
/// # Panics
///
/// It is not so.
#[cfg(any(test, fuzzing))]
pub fn describes_a_run(text: &str, folder: &Path) {
    let path = folder.join("bench.toml");
    let run = |text: &str| {
        let file = BenchFile::parse(text, &path).ok()?;
        let mut config = Config::new(file.target().unwrap_or("http://localhost:1/").parse().ok()?);
        config.seed = 1;
        file.apply(&mut config, None).ok().map(|()| (config, file.replay(None)))
    };
    let Some((config, replay)) = run(text) else { return };
    crate::bench::invariants::sendable(&config, folder);
    let Ok(written) = BenchFile::of(&config, replay.as_ref()).and_then(|file| file.text()) else { return };
    let Some((again, replayed)) = run(&written) else { panic!("it is refused once it was written: {written}") };
    assert_eq!(format!("{again:#?}"), format!("{config:#?}"), "{written}");
    assert_eq!(format!("{replayed:?}"), format!("{replay:?}"), "{written}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_describes_a_run() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
        let seeds: Vec<_> = fs::read_dir(folder.join("seeds/workload")).unwrap().map(|f| f.unwrap().path()).collect();
        assert!(!seeds.is_empty());
        for seed in seeds {
            let (text, files) = (fs::read_to_string(&seed).unwrap(), folder.join("files"));
            let file = BenchFile::parse(&text, &files.join("bench.toml")).unwrap();
            let mut config = Config::new(file.target().unwrap_or("http://localhost:1/").parse().unwrap());
            file.apply(&mut config, None).unwrap();
            assert!(config.check().is_ok() && config.mix().is_ok(), "{}: {:?}", seed.display(), config.mix().err());
            describes_a_run(&text, &files);
        }
    }
}
