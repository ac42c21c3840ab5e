//! Workloads: refused with a reason, or every request of it is one.

use std::path::{Component, Path};

use http::Method;
use http::header::{CONNECTION, HeaderName, TRANSFER_ENCODING};

use super::heads::read;
use crate::bench::request::mix::Mix;
use crate::bench::request::room::Room;
use crate::bench::request::visit::Visit;
use crate::bench::request::workload::{RequestSpec, file_of_part};
use crate::bench::run::config::Config;
use crate::bench::schedule::Arrival;
use crate::bench::transport;
use crate::bench::transport::http2::hpack::Table;
use crate::bench::transport::http2::request::Encoder;

/// The numbers of the requests that are looked at.
const SOME: [u64; 6] = [0, 1, 2, 3, 1000, u64::MAX - 1];
/// The most arrivals that are looked at.
const ARRIVALS: usize = 200;
/// What captured values are: all that has a meaning somewhere, nothing, a URL, no path.
const CAPTURED: [&str; 4] = ["/ü \"\\\r\nx: y#?%&={{", "", "https://other/é?x", "a b"];

/// Checks and compiles a run, and looks at some of its requests and arrivals. No file outside of `folder` is read.
///
/// # Panics
///
/// An arrival or a request that is none.
pub fn sendable(config: &Config, folder: &Path) {
    if !files(config).all(|file| is_inside(file, folder)) {
        return;
    }
    match config.check() {
        Ok(()) => arrivals(config),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match config.mix() {
        Ok(mix) => requests(config, &mix),
        Err(error) => assert!(!error.to_string().is_empty() && error.hint().is_none_or(|hint| !hint.is_empty())),
    }
}

fn files(config: &Config) -> impl Iterator<Item = &Path> {
    let feeds = config.feeds.values().map(|feed| feed.file.as_path());
    let bodies = config.every_request().filter_map(|spec| spec.body_file.as_deref());
    let parts = config
        .every_request()
        .flat_map(|spec| spec.multipart.iter())
        .filter_map(|(_, value)| Some(file_of_part(value)?.0));
    feeds.chain(bodies).chain(parts.map(Path::new))
}

/// Whether a file lies in a folder: a device may never end.
fn is_inside(file: &Path, folder: &Path) -> bool {
    let within = file.strip_prefix(folder);
    within.is_ok_and(|path| path.components().all(|part| matches!(part, Component::Normal(_))))
}

fn arrivals(config: &Config) {
    let schedule = config.schedule();
    let (count, duration) = (schedule.count(), schedule.duration_ns());
    let arrivals: Vec<_> = schedule.arrivals(0, 1).take(ARRIVALS).collect();
    assert!(arrivals.len() as u64 <= count || config.arrivals == crate::bench::Process::Poisson);
    assert!(arrivals.is_sorted_by_key(|arrival| arrival.at_ns), "{arrivals:?}");
    assert!(arrivals.iter().all(|arrival| arrival.at_ns < duration), "{arrivals:?} in {duration} ns");
    for (n, arrival) in arrivals.iter().enumerate() {
        assert_eq!(arrival.n, n as u64);
    }
}

fn requests(config: &Config, mix: &Mix) {
    let specs: Vec<_> = config.every_request().collect();
    let kinds = mix.names().len();
    assert_eq!(kinds, specs.len().max(1));
    let mut room = Room::default();
    for n in SOME {
        assert!(mix.kind_of(n) < kinds, "request {n}");
        let Some(mut visit) = mix.visit(Arrival { n, at_ns: 0 }) else {
            let (kind, request) = mix.wire(n, None, &mut room);
            let sent = Sent::of(&request, specs.get(kind).copied());
            // The time goes on between the two.
            if !format!("{:?}", specs.get(kind)).contains("now") {
                is_the_same(mix, n, kind, &sent);
            }
            continue;
        };
        loop {
            let captured = CAPTURED[(n % CAPTURED.len() as u64) as usize];
            visit.captured.iter_mut().for_each(|value| captured.clone_into(value));
            let (kind, request) = mix.wire(n, Some(&visit), &mut room);
            assert_eq!(kind, mix.kind_of_step(&visit));
            Sent::of(&request, specs.get(kind).copied());
            step(mix, kind, &mut visit);
            if mix.next_step(n, &mut visit).is_none() {
                break;
            }
        }
    }
}

/// An answer of no special form comes to something.
fn step(mix: &Mix, kind: usize, visit: &mut Visit) {
    let mut answer = crate::bench::Answer::default();
    answer.take_head(b"HTTP/1.1 200 OK\r\nset-cookie: a=b; path=/\r\netag: \"x\"\r\n\r\n");
    answer.take_body(b"{\"id\": 7, \"items\": [{\"id\": \"a/b c\"}]}");
    let _ = mix.judge(kind, 200, Some(&answer), Some(visit));
}

/// The request in its parts is the one that is written.
fn is_the_same(mix: &Mix, n: u64, kind: usize, sent: &Sent) {
    let (index, request) = mix.request(n);
    assert_eq!(index, kind, "request {n}");
    assert_eq!(request.method().as_str(), sent.method, "request {n}");
    assert_eq!(request.uri().to_string(), sent.path, "request {n}");
    for (name, value) in request.headers() {
        let is_sent = sent
            .headers
            .iter()
            .any(|(known, text)| known == name.as_str() && text.trim_ascii() == value.as_bytes().trim_ascii());
        assert!(is_sent, "request {n} has no {name}: {value:?}");
    }
    assert_eq!(request.body(), &sent.body, "request {n}");
}

/// A request as its target reads it.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

impl Sent {
    /// Reads one head and what follows it.
    pub(super) fn read(request: &transport::Request<'_>) -> Self {
        let shown = String::from_utf8_lossy(request.bytes);
        let mut room = vec![httparse::EMPTY_HEADER; request.bytes.len()];
        let mut parsed = httparse::Request::new(&mut room);
        match parsed.parse(request.bytes) {
            Ok(httparse::Status::Complete(head)) => assert_eq!(head, request.head, "{shown:?}"),
            other => panic!("{other:?} of {shown:?}"),
        }
        assert_eq!(parsed.version, Some(1), "{shown:?}");
        let headers = parsed.headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec()));
        Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            path: parsed.path.unwrap_or_default().to_owned(),
            headers: headers.collect(),
            body: request.bytes[request.head..].to_vec(),
        }
    }

    /// Reads one, and holds it against what it was made of.
    fn of(request: &transport::Request<'_>, spec: Option<&RequestSpec>) -> Self {
        let sent = Self::read(request);
        assert!(sent.path.starts_with('/'), "{sent:?}");
        assert_eq!(request.is_head, sent.method == Method::HEAD.as_str());
        let Some(spec) = spec else { return sent };
        assert_eq!(sent.method, spec.method);
        let names: Vec<&str> = sent.headers.iter().map(|(name, _)| name.as_str()).collect();
        let added =
            ["host", "user-agent", "accept", "content-type", "authorization", "content-length", "cookie", "connection"];
        let is_own = |name: &&str| spec.headers.has(name);
        assert!(names.iter().all(|name| added.contains(name) || is_own(name)), "{names:?}");
        if spec.json.is_some() {
            let valid: Result<serde_json::Value, _> = serde_json::from_slice(&sent.body);
            assert!(valid.is_ok(), "{valid:?} of {:?}", String::from_utf8_lossy(&sent.body));
        }
        let frames_itself = ["content-length", "transfer-encoding"].iter().any(is_own);
        let length = sent.headers.iter().find(|(name, _)| name == "content-length");
        let length = length.and_then(|(_, value)| str::from_utf8(value).ok()?.parse().ok());
        if !frames_itself {
            assert_eq!(length.unwrap_or(0), sent.body.len(), "{sent:?}");
        }
        sent.is_packed(&request.bytes[..request.head]);
        sent
    }

    /// HTTP/2 asks for the same.
    pub(super) fn is_packed(&self, head: &[u8]) {
        let mut encoder = Encoder::new(false);
        let block = encoder.block(head);
        let fields = read(&mut Table::default(), block).unwrap_or_else(|error| panic!("{error}: {block:?}"));
        let value = |name: &[u8]| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice());
        assert_eq!(value(b":method"), Some(self.method.as_bytes()));
        assert_eq!(value(b":path"), Some(self.path.as_bytes()));
        let host = self.headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value.as_slice());
        assert_eq!(value(b":authority"), host);
        let pseudo = fields.iter().take_while(|(name, _)| name.starts_with(b":")).count();
        for (name, _) in &fields[pseudo..] {
            let name = HeaderName::from_lowercase(name);
            assert!(name.is_ok_and(|name| name != CONNECTION && name != TRANSFER_ENCODING), "{fields:?}");
        }
    }
}
