//! Access logs: what is taken from one is in order and can be sent, and a line as a server would have written it for the
//! same request reads the same.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::workload::Sent;
use crate::bench::request::room::Room;
use crate::bench::request::workload::RequestSpec;
use crate::bench::run::config::Config;
use crate::bench::schedule::Length;
use crate::bench::schedule::SECOND_NS;
use crate::bench::schedule::log_line::{Format, Line, readable};
use crate::bench::schedule::replay::{Recording, Speed};
use crate::units::TimeSpan;

/// Reads a log, and its lines.
///
/// # Panics
///
/// What was read is not in order, cannot be sent, or reads differently once it was written again.
pub fn access_log(log: &[u8]) {
    let lines: Vec<_> = log.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()).collect();
    for line in &lines {
        let line = readable(line);
        if let Ok(read) = Format::of(&line).read(&line) {
            is_read_as_written(&read);
        }
    }
    for is_unsafe in [false, true] {
        match Recording::read(log, Speed::default(), is_unsafe) {
            Ok(recording) => is_in_order(recording, lines.len()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// Each known server's line for a request is read as that request.
fn is_read_as_written(line: &Line) {
    let Ok((method, path)) = &line.request else { return };
    let second = line.ended_ns.div_euclid(SECOND_NS as i64);
    let Ok(time) = Timestamp::from_second(second) else { return };
    let clf = time.to_zoned(TimeZone::UTC).strftime("%d/%b/%Y:%H:%M:%S %z");
    let (seconds, millis) = (line.took_ns / SECOND_NS, line.took_ns / 1_000_000 % 1000);
    let took = format!("{seconds}.{millis:03}");
    let request = format!("{method} {path} HTTP/1.1");
    let text = format!("::1 - - [{clf}] \"{request}\" 200 5 \"-\" \"-\" {took}");
    let nginx = json!({"time_iso8601": time.to_string(), "request": request, "request_time": took}).to_string();
    for (format, text) in [(Format::Text, text), (Format::Json, nginx)] {
        let again = read(format, &text);
        assert_eq!((again.ended_ns, again.is_whole), (second * SECOND_NS as i64, true), "{text}");
        assert_eq!(again.request, line.request, "{text}");
        is_near(again.took_ns, line.took_ns / 1_000_000 * 1_000_000, &text);
    }
    // What was encoded once stays.
    let encoded = read(Format::Json, &json!({"msec": second, "method": method, "uri": path}).to_string());
    let Ok((_, target)) = &encoded.request else { panic!("{path} cannot be sent once it was encoded") };
    let again = read(Format::Json, &json!({"msec": second, "method": method, "uri": target}).to_string());
    assert_eq!(again.request, encoded.request, "{path}");
    let seconds = |ns: f64| ns / SECOND_NS as f64;
    let (ended, took) = (seconds(line.ended_ns as f64), seconds(line.took_ns as f64));
    let caddy = json!({"ts": ended, "request": {"method": method, "uri": path}, "duration": took}).to_string();
    let again = read(Format::Json, &caddy);
    assert_eq!(again.request, line.request, "{caddy}");
    is_near(again.ended_ns.abs_diff(0), line.ended_ns.abs_diff(0), &caddy);
    assert!(again.ended_ns == 0 || again.ended_ns.is_negative() == line.ended_ns.is_negative(), "{caddy}");
    is_near(again.took_ns, line.took_ns, &caddy);
}

fn read(format: Format, text: &str) -> Line {
    assert_eq!(Format::of(text), format, "{text}");
    format.read(text).unwrap_or_else(|why| panic!("{text}: {why}"))
}

/// Seconds as floating-point numbers have 53 bits; two operations round once each.
fn is_near(found: u64, expected: u64, text: &str) {
    assert!(found.abs_diff(expected) <= 1 + (expected >> 50), "{found} ns where {expected} ns were written: {text}");
}

fn is_in_order(recording: Recording, lines: usize) {
    assert_eq!(recording.count() + recording.skipped().count(), lines as u64, "every line is sent or left out");
    for part in [1, recording.count() / 2, recording.count()].into_iter().filter(|part| *part > 0) {
        let first = recording.clone().first(Length::Requests(part));
        assert_eq!(first.count(), part);
        let until = Duration::from_nanos(first.duration_ns());
        let as_long = recording.clone().first(Length::Duration(TimeSpan(until)));
        assert!(as_long.count() >= part && as_long.duration_ns() == first.duration_ns(), "{part}");
        can_be_sent_in_order(first);
    }
    can_be_sent_in_order(recording);
}

fn can_be_sent_in_order(recording: Recording) {
    let count = recording.count();
    assert!((1..=count).contains(&recording.peak()), "{} at most of {count}", recording.peak());
    assert_eq!((recording.at_ns(count), recording.request(count)), (None, None));
    let instants: Vec<u64> = (0..count).filter_map(|n| recording.at_ns(n)).collect();
    assert_eq!((instants.len() as u64, instants[0]), (count, 0));
    assert!(instants.is_sorted(), "{instants:?}");
    assert!(instants.last().is_some_and(|last| *last < recording.duration_ns()), "{}", recording.duration_ns());
    can_be_sent(Arc::new(recording));
}

/// What goes to the target has the method and the path that the log has.
fn can_be_sent(recording: Arc<Recording>) {
    let Ok(target) = "http://127.0.0.1:1/".parse() else { return };
    let of_method = |method: &String| RequestSpec { method: method.clone(), ..RequestSpec::get("/") };
    let requests = recording.methods().iter().map(of_method).collect();
    let config = Config { requests, replay: Some(Arc::clone(&recording)), ..Config::new(target) };
    let mix = config.mix().unwrap_or_else(|error| panic!("{error}"));
    let mut room = Room::default();
    for n in 0..recording.count() {
        let Some((method, path)) = recording.request(n) else { panic!("request {n} is none") };
        let (kind, request) = mix.wire(n, None, &mut room);
        assert_eq!(kind, method);
        let sent = Sent::read(&request);
        assert_eq!((&sent.method, sent.path.as_str()), (&recording.methods()[method], path), "request {n}");
    }
}
