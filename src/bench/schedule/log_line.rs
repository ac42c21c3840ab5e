//! One line of an access log: when its request began, and what was asked for.
//!
//! The common and the combined format, with nginx's `$request_time` at the end or without it, and JSON as nginx and Caddy
//! write it. Both put the time into a line at which the request had ended. Apache's `%t` is the time at which it began, so
//! that nothing is to be subtracted: its `%D` and `%T` are whole numbers, which are not taken for nginx's seconds.

use std::borrow::Cow;
use std::str::FromStr as _;
use std::sync::LazyLock;

use http::uri::PathAndQuery;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use regex::{Captures, Regex};
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
    /// The log ends in the middle of it.
    Cut,
}

impl Skip {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::Unsafe, Self::NoRequest, Self::Path, Self::Cut];

    /// In words, after a number of lines.
    pub fn why(self, count: u64) -> &'static str {
        match (self, count) {
            (Self::NoRequest, 1) => "holds no HTTP request",
            (Self::NoRequest, _) => "hold no HTTP request",
            (Self::Path, 1) => "has a path that cannot be sent",
            (Self::Path, _) => "have a path that cannot be sent",
            (Self::Unsafe, 1) => "is neither GET nor HEAD (--replay-unsafe sends it)",
            (Self::Unsafe, _) => "are neither GET nor HEAD (--replay-unsafe sends them)",
            (Self::Cut, _) => "is cut off by the end of the log",
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

/// A backslash and what it escapes; the digits of `\xHH`, which JSON does not know, apart.
#[expect(clippy::expect_used, reason = "constants, compiled by every test of this file")]
static ESCAPE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\\(?:x([0-9A-Fa-f]{2})|.)").expect("a valid expression"));

/// The text of a line. Bytes that are no UTF-8, which nginx logs with `escape=json`, are percent-encoded: in a path that
/// is what they were, and elsewhere nothing depends on them.
pub fn readable(line: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(line) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(line.len() + 16);
    for chunk in line.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| percent_encoding::percent_encode_byte(*byte)));
    }
    Cow::Owned(text)
}

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
    // A dash, which would do as a method, stands for none in logs.
    if http::Method::from_str(method).is_err() || method.is_empty() || method == "-" {
        return Err(Skip::NoRequest);
    }
    // nginx writes what is no printable letter as \xFF.
    let is_sendable = path.starts_with('/')
        && !path.contains(['\\', '#', '"'])
        && PathAndQuery::from_str(path).is_ok_and(|p| p.as_str() == path);
    if is_sendable { Ok((method.to_owned(), path.to_owned())) } else { Err(Skip::Path) }
}

// The keys of JSON lines: nginx's variables under their own names, Caddy's fields, and what people call either. Of each row
// the first that a line has a value for counts.

const TIMES: [&str; 8] = ["ts", "msec", "time_iso8601", "time_local", "@timestamp", "timestamp", "time", "date"];
const SPANS: [&str; 2] = ["request_time", "duration"];
const METHODS: [&str; 2] = ["request_method", "method"];
/// Path and query as they were received.
const TARGETS: [&str; 1] = ["request_uri"];
/// A path that the server may have decoded and cut the query from, as in nginx's `$uri` and `$document_uri`, and Apache's
/// `%U`. Under the same names people log `$request_uri`, and `$uri$is_args$args`.
const PATHS: [&str; 4] = ["uri", "document_uri", "path", "url"];
/// The query beside such a path, as it was received: nginx's `$args` and `$query_string`, Apache's `%q`, which begins with
/// a question mark.
const QUERIES: [&str; 3] = ["args", "query_string", "query"];

/// What a path does not have as it is: the path percent-encode set of the URL standard but for the question mark, and the
/// backslash, which would be a slash.
const PATH: AsciiSet =
    CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'^').add(b'`').add(b'{').add(b'}').add(b'\\');

fn json(line: &str) -> Result<Line, String> {
    let object: Map<String, Value> =
        object(line).map_err(|e| format!("it is not a JSON object as the first line is: {e}"))?;
    let time = TIMES
        .iter()
        .find_map(|key| object.get(*key))
        .ok_or_else(|| format!("it has no time: expected one of the keys {}", TIMES.join(", ")))?;
    let (ended_ns, is_whole) = json_time(time)?;
    let took_ns = SPANS.iter().find_map(|key| object.get(*key)).and_then(json_span).unwrap_or(0);
    Ok(Line { ended_ns, is_whole, took_ns, request: json_request(&object) })
}

/// A JSON object, also one with `\xHH` in it: nginx writes that without `escape=json`, for one in the name of a browser.
fn object(line: &str) -> serde_json::Result<Map<String, Value>> {
    serde_json::from_str(line).or_else(|error| {
        let encoded = ESCAPE.replace_all(line, |escape: &Captures<'_>| match escape.get(1) {
            Some(digits) => format!("%{}", digits.as_str()),
            None => escape[0].to_owned(),
        });
        serde_json::from_str(&encoded).map_err(|_| error)
    })
}

fn json_request(object: &Map<String, Value>) -> Result<(String, String), Skip> {
    // Caddy has an object, nginx's $request is the whole line.
    let (inner, is_caddy) = match object.get("request") {
        Some(Value::String(line)) => return request_line(line),
        Some(Value::Object(inner)) => (inner, true),
        _ => (object, false),
    };
    let value = |key: &&str| inner.get(*key).and_then(Value::as_str).filter(|text| !["", "-"].contains(text));
    let first = |keys: &[&str]| keys.iter().find_map(&value);
    let method = first(&METHODS).ok_or(Skip::NoRequest)?;
    match (first(&TARGETS), first(&PATHS)) {
        (Some(target), _) => request(method, target),
        (None, Some(path)) if is_caddy => request(method, path),
        (None, Some(path)) => request(method, &asked_for(path, first(&QUERIES))),
        (None, None) => Err(Skip::NoRequest),
    }
}

/// Path and query that were asked for, of a path that may be decoded. Where it has a query, that one counts: nginx changes
/// its `$args` with every rewrite.
fn asked_for(path: &str, query: Option<&str>) -> String {
    let (path, query) = match path.split_once('?') {
        Some((path, own)) => (path, Some(own)),
        None => (path, query.map(|query| query.strip_prefix('?').unwrap_or(query))),
    };
    let mut parts = path.split('%');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // What is no escape was one, %25.
        let is_escape = part.len() >= 2 && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
        whole.push_str(if is_escape { "%" } else { "%25" });
        whole.push_str(part);
    }
    let mut target = utf8_percent_encode(&whole, &PATH).to_string();
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    target
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

/// A time that a request took: seconds with a fraction, or a text like `"1.5ms"`. A whole number is in a unit that it does
/// not tell: Apache's `%D` are microseconds, Caddy's may be nanoseconds.
fn json_span(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) if number.is_f64() => number.as_f64().and_then(seconds_to_ns),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => None,
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

    /// Formats of Apache's mod_log_config: `%D` and `%T` behind the combined format, combinedio (`%I %O`), a virtual host
    /// before it. `%t` is when the request began, so that nothing is subtracted.
    #[test]
    fn what_apache_adds_to_the_combined_format_changes_nothing() {
        for (before, behind) in [
            ("", " 2500"),
            ("", " 2"),
            ("", " 2/2500123"),
            ("", " 2 2500123"),
            ("", " 512 4096"),
            ("", " **2/2500123**"),
            ("www.example.com ", ""),
            ("www.example.com:80 ", " 2500"),
        ] {
            let line = format!(
                r#"{before}127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif?a HTTP/1.0" 200 2326 "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"{behind}"#
            );
            let expected = Line { ended_ns: THEN, is_whole: true, took_ns: 0, request: get("/apache_pb.gif?a") };
            assert_eq!(read(&line), expected, "{line}");
        }
        let line =
            r#"{"time":"2000-10-10T13:55:36-0700","method":"GET","uri":"/a b","query":"?c=%20","duration":2500}"#;
        let expected = Line { ended_ns: THEN, is_whole: true, took_ns: 0, request: get("/a%20b?c=%20") };
        assert_eq!(read(line), expected);
    }

    /// As nginx 1.22 wrote them for the request that stands first: `$uri` is decoded and normalised, `$args` is as it came.
    #[test]
    fn a_path_that_nginx_has_decoded_is_encoded_again() {
        for (asked, keys) in [
            ("/", r#""uri":"/","args":"""#),
            ("/plain?a=1&b=2", r#""uri":"/plain","args":"a=1&b=2""#),
            ("/plain?a=1&b=2", r#""document_uri":"/plain","query_string":"a=1&b=2""#),
            ("/a%20b?x=1%202", r#""uri":"/a b","args":"x=1%202""#),
            ("/a%20b?x=1%202", r#""uri":"/a b?x=1%202""#),
            ("/%C3%A4/%E2%82%AC?q=%C3%BC", r#""uri":"/ä/€","args":"q=%C3%BC""#),
            ("/100%25", r#""uri":"/100%","args":"""#),
            ("/q%22uote%5C?%22", r#""uri":"/q\"uote\\","args":"%22""#),
            ("/hash%23tag", r#""uri":"/hash#tag","args":"""#),
            ("/%7Bid%7D?a={b}|^", r#""uri":"/{id}","args":"a={b}|^""#),
            // Without escape=json.
            ("/", r#""uri":"/","query_string":"-""#),
            ("/%C3%A4/%E2%82%AC?q=%C3%BC", r#""uri":"/\xC3\xA4/\xE2\x82\xAC","query_string":"q=%C3%BC""#),
            ("/q%22uote%5C?%22", r#""uri":"/q\x22uote\x5C","query_string":"%22""#),
            ("/plain", r#""uri":"/plain","query_string":"-","agent":"Mozilla \x225\x22""#),
            // What was received goes before what was made of it, and has its query.
            ("/up//twice?a", r#""uri":"/up/twice","args":"b","request_uri":"/up//twice?a""#),
            ("/a?x=1", r#""uri":"/a?x=1","args":"q=/a&x=1""#),
            ("/a?x=1", r#""path":"/a?x=1","args":"x=1""#),
        ] {
            let line = format!(r#"{{"msec":971211336.500,"method":"GET",{keys}}}"#);
            assert_eq!(read(&line).request, get(asked), "{line}");
        }
        for keys in [r#""method":"","uri":"","args":"""#, r#""method":"-","uri":"-","args":"-""#, r#""method":"GET""#] {
            let line = format!(r#"{{"msec":971211336.500,{keys}}}"#);
            assert_eq!(read(&line).request, Err(Skip::NoRequest), "{line}");
        }
        // Caddy's is what it received.
        let caddy = r#"{"ts":971211336.5,"request":{"method":"GET","uri":"/a^b"}}"#;
        assert_eq!(read(caddy).request, get("/a^b"));
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_those_of_the_path() {
        let line = readable(b"{\"msec\":971211336.500,\"method\":\"GET\",\"uri\":\"/b\xE4d\xFC/\xC3\xA4\"}");
        assert_eq!(read(&line).request, get("/b%E4d%FC/%C3%A4"));
        assert_eq!(readable("ä".as_bytes()), "ä");
    }

    /// Apache's microseconds, and whatever else has no fraction and no unit.
    #[test]
    fn a_time_without_a_unit_is_not_subtracted() {
        for (took, expected) in [
            ("2500", 0),
            (r#""2500""#, 0),
            ("2.5", 2_500_000_000),
            (r#""2.500""#, 2_500_000_000),
            (r#""2500us""#, 2_500_000),
        ] {
            for key in SPANS {
                let line = format!(r#"{{"msec":971211336.500,"method":"GET","uri":"/","{key}":{took}}}"#);
                assert_eq!(read(&line).took_ns, expected, "{line}");
            }
        }
    }

    #[test]
    fn what_is_malformed_is_said() {
        for (format, line, said) in [
            (Format::Text, "hello", "neither in the common nor in the combined format"),
            (Format::Text, r#"x - - [yesterday] "GET / HTTP/1.1" 200 1"#, "\"yesterday\" is not a time like"),
            (Format::Text, r#"x - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1"#, "neither"),
            (Format::Json, r#"{"ts": 1"#, "not a JSON object"),
            (Format::Json, r#"{"ts": 1, "agent": "\x22"#, "not a JSON object"),
            (Format::Json, r#"{"method": "GET"}"#, "it has no time: expected one of the keys ts, msec"),
            (Format::Json, r#"{"ts": "noon"}"#, "\"noon\" is not a time"),
            (Format::Json, r#"{"ts": 1e300}"#, "is not a time"),
        ] {
            let error = format.read(line).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
