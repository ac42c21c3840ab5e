//! What can be asked of a load while it runs, and what ends it early: the command as scripts use it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Fate, Server};

fn load(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scalectl"));
    command.args(["bench", "--json", "-q"]).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn result(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_condition_that_holds_ends_the_run_as_a_missed_objective() {
    let server = Server::start(|seen| Fate::Answer(if seen.seq % 2 == 0 { 200 } else { 500 }, 0));
    let url = format!("{}/{{{{ seq() }}}}", server.url());
    let begun = Instant::now();
    let output = load(&[&url, "--rps", "200", "-z", "10m", "--abort-on", "errors>5%"]).output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(300), "it ran on");
    let result = result(&output);
    assert_eq!(result["aborted"]["condition"], "errors>5%");
    assert!(result["aborted"]["value"].as_f64().unwrap() > 0.05, "{}", result["aborted"]);
    assert_eq!((&result["slo"][0]["expression"], &result["slo"][0]["ok"]), (&"errors<=5%".into(), &false.into()));
    assert!(result["verdict"]["notes"].to_string().contains("ended early"), "{}", result["verdict"]);
    let expected = if result["verdict"]["trusted"] == true { 4 } else { 5 };
    assert_eq!((output.status.code(), &result["interrupted"]), (Some(expected), &false.into()));
}

#[test]
fn a_condition_that_does_not_hold_leaves_the_run_alone() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let output = load(&[&server.url(), "--rps", "150", "-z", "2s", "--abort-on", "errors>5%"]).output().unwrap();
    let result = result(&output);
    assert_eq!((&result["aborted"], &result["counts"]["ok"]), (&Value::Null, &300.into()));
    assert!(matches!(output.status.code(), Some(0 | 5)));
}

/// Of 200 requests a second, answered after half a second, 100 had come after the first.
#[test]
fn a_rate_is_not_judged_by_the_warm_up_nor_by_answers_that_are_on_their_way() {
    let server = Server::start(|seen| Fate::Answer(200, seen.at_ns + 500_000_000));
    let run = ["--rps", "200", "--warmup", "1s", "-z", "5s", "--abort-on", "rate<150"];
    let output = load(&[&[server.url().as_str()][..], &run].concat()).output().unwrap();
    let result = result(&output);
    assert_eq!((&result["aborted"], &result["counts"]["scheduled"]), (&Value::Null, &800.into()), "{result}");
}

#[test]
fn a_target_that_answers_no_more_misses_a_rate() {
    // The first second is the warm-up.
    let server = Server::start(|seen| Fate::Answer(if seen.seq < 600 { 200 } else { 500 }, 0));
    let url = format!("{}/{{{{ seq() }}}}", server.url());
    let run = ["--rps", "200", "--warmup", "1s", "-z", "10m", "--abort-on", "rate<100"];
    let output = load(&[&[url.as_str()][..], &run].concat()).output().unwrap();
    let result = result(&output);
    assert_eq!(result["aborted"]["condition"], "rate<100");
    assert!(result["aborted"]["value"].as_f64().unwrap() < 100.0, "{}", result["aborted"]);
    assert!(result["counts"]["scheduled"].as_u64().unwrap() >= 400, "{}", result["counts"]);
    assert!(matches!(output.status.code(), Some(4 | 5)));
}

fn page(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn the_running_figures_are_served_to_prometheus() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    // Taken: it says so, and sends nothing.
    let refused = load(&[&server.url(), "--metrics-listen", &address]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), server.count()), (Some(2), 0), "{said}");
    assert!(said.contains("--metrics-listen"), "{said}");
    drop(free);
    let mut running =
        load(&[&server.url(), "--rps", "100", "-z", "10m", "--metrics-listen", &address]).spawn().unwrap();
    let ok = |text: &str| {
        let line = text.lines().find(|l| l.starts_with("scalectl_bench_requests_total{outcome=\"ok\"}"))?;
        line.rsplit(' ').next()?.parse::<u64>().ok()
    };
    let begun = Instant::now();
    let text = loop {
        // As many as a 99th percentile needs.
        let found = page(&address).filter(|text| ok(text) > Some(150));
        assert!(begun.elapsed() < Duration::from_secs(60), "no figures");
        match found {
            Some(text) => break text,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("version=0.0.4"), "{text}");
    assert!(text.contains("scalectl_bench_response_time_seconds{quantile=\"0.99\"}"), "{text}");
    assert!(ok(&text).unwrap() <= server.count());
    running.kill().unwrap();
    running.wait().unwrap();
}
