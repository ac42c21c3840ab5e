//! One line of an access log: when its request began, and what was asked for.
//!
//! The common and the combined format, with nginx's `$request_time` at the end or without it, and JSON as nginx and Caddy
//! write it. Servers write a line when a request has ended.

use std::str::FromStr as _;
use std::sync::LazyLock;

use http::uri::PathAndQuery;
use jiff::Timestamp;
use regex::Regex;
use serde_json::{Map, Value};

use super::SECOND_NS;
use crate::bench::clock::nanos;
use crate::units::TimeSpan;

/// How the lines of a log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `host - user [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 2326`, and what follows it.
    Text,
    /// An object a line.
    Json,
}

/// What is read from one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When the request had ended, in nanoseconds since the Unix epoch.
    pub ended_ns: i64,
    /// Whether that is a whole second, so that the instant within it is not known.
    pub is_whole: bool,
    /// How long the request took, in nanoseconds; 0 where it is not logged.
    pub took_ns: u64,
    /// Method, and path with query; or why there is nothing that could be sent.
    pub request: Result<(String, String), Skip>,
}

/// Why a line is no request that could be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// What was received, or logged, is no HTTP request.
    NoRequest,
    /// Its path is none that can be sent.
    Path,
    /// Its method may change something.
    Unsafe,
}

impl Skip {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::Unsafe, Self::NoRequest, Self::Path];

    /// In words, after a number of lines.
    pub fn why(self) -> &'static str {
        match self {
            Self::NoRequest => "hold no HTTP request",
            Self::Path => "have a path that cannot be sent",
            Self::Unsafe => "are neither GET nor HEAD (--replay-unsafe sends them)",
        }
    }
}

#[expect(clippy::expect_used, reason = "constants, compiled by every test of this file")]
static COMMON: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^[^\[]*\[([^\]]+)\] "((?:[^"\\]|\\.)*)" (?:\d{3}|-) (?:\d+|-)(.*)$"#).expect("a valid expression")
});

/// A time in nginx's form, in seconds with three digits behind the point, as the last word: bare, in quotes, or `rt=`.
#[expect(clippy::expect_used, reason = "constants, compiled by every test of this file")]
static REQUEST_TIME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#" (?:[a-z_]+=)?(?:"(\d+\.\d{3})"|(\d+\.\d{3}))\s*$"#).expect("a valid expression"));

impl Format {
    /// The format that a line is written in, by how it begins.
    pub fn of(line: &str) -> Self {
        if line.trim_start().starts_with('{') { Self::Json } else { Self::Text }
    }

    /// Reads a line.
    ///
    /// # Errors
    ///
    /// It is not written in this format; the text says what is missing.
    pub fn read(self, line: &str) -> Result<Line, String> {
        match self {
            Self::Text => text(line),
            Self::Json => json(line),
        }
    }
}

fn text(line: &str) -> Result<Line, String> {
    let parts = COMMON.captures(line).ok_or(
        "it is neither in the common nor in the combined format: host - user [time] \"request\" status bytes …",
    )?;
    let ended_ns = clf_time(&parts[1])?;
    let seconds = REQUEST_TIME.captures(&parts[3]).and_then(|c| c.get(1).or(c.get(2)));
    let took_ns = seconds.and_then(|s| s.as_str().parse().ok()).and_then(seconds_to_ns).unwrap_or(0);
    Ok(Line { ended_ns, is_whole: true, took_ns, request: request_line(&parts[2]) })
}

/// A time like `10/Oct/2000:13:55:36 -0700`.
fn clf_time(text: &str) -> Result<i64, String> {
    let parsed = jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).and_then(|time| time.to_timestamp());
    parsed.map_err(|_| format!("\"{text}\" is not a time like 10/Oct/2000:13:55:36 -0700")).and_then(since_epoch)
}

fn since_epoch(time: Timestamp) -> Result<i64, String> {
    i64::try_from(time.as_nanosecond()).map_err(|_| format!("{time} is too far away"))
}

fn seconds_to_ns(seconds: f64) -> Option<u64> {
    let ns = seconds * SECOND_NS as f64;
    (0.0..=u64::MAX as f64 / 4.0).contains(&ns).then_some(ns.round() as u64)
}

/// A request line, `GET / HTTP/1.1`.
fn request_line(text: &str) -> Result<(String, String), Skip> {
    let words: Vec<_> = text.split(' ').collect();
    match words.as_slice() {
        [method, path, version] if version.starts_with("HTTP/") => request(method, path),
        _ => Err(Skip::NoRequest),
    }
}

fn request(method: &str, path: &str) -> Result<(String, String), Skip> {
    if http::Method::from_str(method).is_err() || method.is_empty() {
        return Err(Skip::NoRequest);
    }
    // nginx writes what is no printable letter as \xFF.
    let is_sendable = path.starts_with('/')
        && !path.contains(['\\', '#', '"'])
        && PathAndQuery::from_str(path).is_ok_and(|p| p.as_str() == path);
    if is_sendable { Ok((method.to_owned(), path.to_owned())) } else { Err(Skip::Path) }
}

const TIMES: [&str; 8] = ["ts", "msec", "time_iso8601", "time_local", "@timestamp", "timestamp", "time", "date"];

fn json(line: &str) -> Result<Line, String> {
    let object: Map<String, Value> =
        serde_json::from_str(line).map_err(|e| format!("it is not a JSON object as the first line is: {e}"))?;
    let time = TIMES
        .iter()
        .find_map(|key| object.get(*key))
        .ok_or_else(|| format!("it has no time: expected one of the keys {}", TIMES.join(", ")))?;
    let (ended_ns, is_whole) = json_time(time)?;
    let took_ns = ["request_time", "duration"].iter().find_map(|key| object.get(*key)).and_then(json_span).unwrap_or(0);
    Ok(Line { ended_ns, is_whole, took_ns, request: json_request(&object) })
}

fn json_request(object: &Map<String, Value>) -> Result<(String, String), Skip> {
    // Caddy has an object, nginx's $request is the whole line.
    let inner = match object.get("request") {
        Some(Value::String(line)) => return request_line(line),
        Some(Value::Object(inner)) => inner,
        _ => object,
    };
    let first = |keys: &[&str]| keys.iter().find_map(|key| inner.get(*key)).and_then(Value::as_str);
    let method = first(&["request_method", "method"]);
    let path = first(&["request_uri", "uri", "path", "url"]);
    let (method, path) = method.zip(path).ok_or(Skip::NoRequest)?;
    request(method, path)
}

/// Nanoseconds since the epoch, and whether they are a whole second.
fn json_time(value: &Value) -> Result<(i64, bool), String> {
    let wrong = || format!("{value} is not a time: expected seconds since 1970, or 2000-10-10T13:55:36-07:00");
    match value {
        Value::Number(number) => epoch(number.as_f64().ok_or_else(wrong)?, number.is_f64()).ok_or_else(wrong),
        Value::String(text) => {
            if let Ok(number) = text.parse() {
                return epoch(number, text.contains('.')).ok_or_else(wrong);
            }
            match text.parse::<Timestamp>() {
                Ok(time) => Ok((since_epoch(time)?, !text.contains('.'))),
                Err(_) => clf_time(text).map(|ns| (ns, true)).map_err(|_| wrong()),
            }
        }
        _ => Err(wrong()),
    }
}

/// Seconds since the epoch, or milliseconds where seconds would lie in a far future.
fn epoch(number: f64, has_fraction: bool) -> Option<(i64, bool)> {
    let is_millis = number.abs() >= 1e11;
    let ns = number * if is_millis { 1e6 } else { 1e9 };
    (ns.abs() < i64::MAX as f64).then_some((ns.round() as i64, !is_millis && !has_fraction))
}

/// A time that a request took: seconds, or a text like `"1.5ms"`.
fn json_span(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_f64().and_then(seconds_to_ns),
        Value::String(text) => text.parse::<TimeSpan>().ok().map(|span| nanos(span.0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10 Oct 2000 13:55:36 −0700.
    const THEN: i64 = 971_211_336_000_000_000;

    fn read(line: &str) -> Line {
        Format::of(line).read(line).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    fn get(path: &str) -> Result<(String, String), Skip> {
        Ok(("GET".to_owned(), path.to_owned()))
    }

    #[test]
    fn lines_as_apache_nginx_and_caddy_write_them() {
        for (line, after_ns, is_whole, took_ns, request) in [
            // The example of Apache's documentation.
            (
                r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326"#,
                0,
                true,
                0,
                get("/apache_pb.gif"),
            ),
            (
                r#"::1 - - [10/Oct/2000:20:55:37 +0000] "GET /a?b=c%20d HTTP/1.1" 304 - "http://x/\"y\"" "Mozilla/5.0 12.345""#,
                1_000_000_000,
                true,
                0,
                get("/a?b=c%20d"),
            ),
            (
                r#"1.2.3.4 - - [10/Oct/2000:20:55:36 +0000] "HEAD / HTTP/1.1" 200 0 "-" "curl/8" 0.017"#,
                0,
                true,
                17_000_000,
                Ok(("HEAD".to_owned(), "/".to_owned())),
            ),
            (
                r#"1.2.3.4 - - [10/Oct/2000:20:55:36 +0000] "GET / HTTP/1.1" 200 0 "-" "curl/8" "0.017""#,
                0,
                true,
                17_000_000,
                get("/"),
            ),
            (
                r#"1.2.3.4 - - [10/Oct/2000:20:55:36 +0000] "GET / HTTP/1.1" 200 0 "-" "curl/8" rt=12.000"#,
                0,
                true,
                12_000_000_000,
                get("/"),
            ),
            (
                r#"1.2.3.4 - - [10/Oct/2000:20:55:36 +0000] "\x16\x03\x01" 400 157 "-" "-""#,
                0,
                true,
                0,
                Err(Skip::NoRequest),
            ),
            (r#"1.2.3.4 - - [10/Oct/2000:20:55:36 +0000] "-" 408 0 "-" "-""#, 0, true, 0, Err(Skip::NoRequest)),
            (r#"1.2.3.4 - - [10/Oct/2000:20:55:36 +0000] "GET /\x22x HTTP/1.1" 400 157"#, 0, true, 0, Err(Skip::Path)),
            (
                r#"1.2.3.4 - - [10/Oct/2000:20:55:36 +0000] "CONNECT x:443 HTTP/1.1" 400 157"#,
                0,
                true,
                0,
                Err(Skip::Path),
            ),
            (
                r#"{"level":"info","ts":971211336.25,"logger":"http.log.access","msg":"handled request","request":{"method":"GET","host":"x","uri":"/c?d"},"duration":0.0015,"status":200}"#,
                250_000_000,
                false,
                1_500_000,
                get("/c?d"),
            ),
            (
                r#"{"time_iso8601":"2000-10-10T13:55:36-07:00","request":"GET /n HTTP/2.0","request_time":"0.250"}"#,
                0,
                true,
                250_000_000,
                get("/n"),
            ),
            (
                r#"{"msec":"971211336.500","request_method":"GET","request_uri":"/u","request_time":"-"}"#,
                500_000_000,
                false,
                0,
                get("/u"),
            ),
            (
                r#"{"timestamp":971211336750,"method":"GET","path":"/p","duration":"1.5ms"}"#,
                750_000_000,
                false,
                1_500_000,
                get("/p"),
            ),
            // As far as an instant of a log goes.
            (r#"{"ts":9111211336,"method":"GET","path":"/p"}"#, 8_140_000_000_000_000_000, true, 0, get("/p")),
            (r#"{"time_local":"10/Oct/2000:13:55:36 -0700","method":"GET","url":"/l"}"#, 0, true, 0, get("/l")),
            (r#"{"ts":971211336,"msg":"serving initial configuration"}"#, 0, true, 0, Err(Skip::NoRequest)),
        ] {
            let expected = Line { ended_ns: THEN + after_ns, is_whole, took_ns, request };
            assert_eq!(read(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_malformed_is_said() {
        for (format, line, said) in [
            (Format::Text, "hello", "neither in the common nor in the combined format"),
            (Format::Text, r#"x - - [yesterday] "GET / HTTP/1.1" 200 1"#, "\"yesterday\" is not a time like"),
            (Format::Text, r#"x - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1"#, "neither"),
            (Format::Json, r#"{"ts": 1"#, "not a JSON object"),
            (Format::Json, r#"{"method": "GET"}"#, "it has no time: expected one of the keys ts, msec"),
            (Format::Json, r#"{"ts": "noon"}"#, "\"noon\" is not a time"),
            (Format::Json, r#"{"ts": 1e300}"#, "is not a time"),
        ] {
            let error = format.read(line).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
