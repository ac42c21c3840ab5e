//! `scalectl bench --find-max` against servers whose capacity is known.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod support;

use std::fs;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Fate, Server};

const SECOND: u64 = 1_000_000_000;

/// How long a search is repeated in which this machine was too busy for the generator: what else runs on it, and on the
/// host of a virtual one, comes and goes within minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Searches one after another, and where this process may, before what else runs on the machine.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    #[cfg(target_os = "linux")]
    {
        let thread = nix::unistd::gettid().to_string();
        let _ = Command::new("chrt").args(["-f", "-p", "10", &thread]).output();
    }
    guard
}

fn scalectl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scalectl")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Answers one request after the other, each `service` after the one before, in virtual time: late timers do not add up.
fn queue(service: u64) -> Server {
    let mut free_at = 0;
    Server::start(move |seen| {
        free_at = seen.at_ns.max(free_at) + service;
        Fate::Answer(200, free_at)
    })
}

/// Searches until the target is what was the limit.
fn find_max(server: &Server, more: &[&str]) -> (Value, Output) {
    let begin = Instant::now();
    let mut limits = Vec::new();
    while begin.elapsed() < PATIENCE {
        let output = scalectl(&[&["bench", &server.url(), "--find-max", "--json"], more].concat());
        let read = |e| panic!("{e}: {}", stderr(&output));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(read);
        println!("{}", stderr(&output));
        if found["is_limited_by_generator"] == false {
            return (found, output);
        }
        assert_eq!(output.status.code(), Some(5), "{found}");
        limits.push(found["limit"].clone());
    }
    panic!("the generator was the limit in {} searches: {limits:#?}", limits.len());
}

fn kinds(found: &Value) -> Vec<&str> {
    found["limit"].as_array().unwrap().iter().map(|broken| broken["kind"].as_str().unwrap()).collect()
}

/// A queue of capacity C with an endless line: at a rate of (1 + x)·C its waits grow to x·T, of which p99 is 99%. They
/// stay below the objective L for x < L/(0.99·T): the highest rate that holds is from C to that.
#[test]
fn the_capacity_of_a_queue_is_within_the_interval() {
    let _alone = alone();
    let (capacity, probe, limit) = (180.0, 2.0, 0.05);
    let server = queue((SECOND as f64 / capacity) as u64);
    let slo = format!("p99<{}ms", limit * 1e3);
    let (found, output) = find_max(&server, &["--slo", &slo, "--probe-time", "2s", "--rps", "80"]);
    let [low, high] = ["low", "high"].map(|end| found[end].as_f64().unwrap());
    let highest = capacity * (1.0 + limit / (0.99 * probe));
    assert!(low <= highest && capacity <= high, "from {low} to {high}: {found}");
    assert_eq!((output.status.code(), &found["end"]), (Some(0), &"found".into()), "{found}");
    assert!(high / low <= 1.05, "from {low} to {high}");
    assert!(kinds(&found).contains(&"slo"), "{found}");
    // In a queue, response times grow by the overload.
    let missed = |p: &&Value| p["rate"] == 320.0 && p["vote"] == "missed";
    let overloaded = found["probes"].as_array().unwrap().iter().find(missed).expect("320/s is too much");
    let behind = overloaded["broke"].as_array().unwrap().iter().find(|b| b["kind"] == "falls_behind").unwrap();
    let by = behind["by"].as_f64().unwrap();
    assert!((by - (320.0 / capacity - 1.0)).abs() < 0.1, "the overload of 320/s is {by}");
}

/// Answers at once, but to no more than 25 requests in any quarter of a second: the rest is refused with 503.
#[test]
fn a_target_that_refuses_is_limited_by_errors() {
    let _alone = alone();
    let (mut window, mut count) = (0, 0);
    let server = Server::start(move |seen| {
        let now = seen.at_ns / (SECOND / 4);
        (window, count) = if now == window { (window, count + 1) } else { (now, 1) };
        Fate::Answer(if count > 25 { 503 } else { 200 }, 0)
    });
    let more = ["--probe-time", "2s", "--rps", "60", "--precision", "20%"];
    let (found, output) = find_max(&server, &more);
    let [low, high] = ["low", "high"].map(|end| found[end].as_f64().unwrap());
    // Up to 1% of errors are allowed, and a window may begin with one request more than the next.
    assert!(low <= 100.0 * 1.01 + 4.0 && 100.0 - 4.0 <= high, "from {low} to {high}: {found}");
    assert_eq!((output.status.code(), kinds(&found)), (Some(0), vec!["errors"]));
}

/// The condition ends the probes that are too much, and only those: the ones that follow send all they have to.
#[test]
fn a_condition_that_ends_a_probe_early_ends_no_other() {
    let _alone = alone();
    let (mut window, mut count) = (0, 0);
    let server = Server::start(move |seen| {
        let now = seen.at_ns / (SECOND / 4);
        (window, count) = if now == window { (window, count + 1) } else { (now, 1) };
        Fate::Answer(if count > 50 { 503 } else { 200 }, 0)
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.toml");
    std::fs::write(&file, "abort_on = [\"errors>4%\"]\n[[bench.default.requests]]\npath = \"/\"\n").unwrap();
    let file = file.display().to_string();
    let more =
        ["--bench-file", &file, "--slo", "errors<3%", "--probe-time", "3s", "--rps", "300", "--precision", "20%"];
    let (found, output) = find_max(&server, &more);
    let [low, high] = ["low", "high"].map(|end| found[end].as_f64().unwrap_or_default());
    assert!(low <= 200.0 * 1.03 + 8.0 && 200.0 - 8.0 <= high, "from {low} to {high}: {found}");
    let broke = |p: &Value| p["broke"].as_array().unwrap().iter().any(|b| b["expression"] == "errors<=4%");
    let probes = found["probes"].as_array().unwrap();
    assert!(probes.iter().any(|p| broke(p) && p["vote"] == "missed"), "{found}");
    assert!(probes.iter().any(|p| p["vote"] == "held" && p["achieved_rate"].as_f64().unwrap() > 100.0), "{found}");
    // 5 on a machine that is too busy.
    assert!([0, 5].contains(&output.status.code().unwrap()), "{found}");
}

#[test]
fn an_objective_that_nothing_meets_ends_with_4() {
    let _alone = alone();
    let server = queue(SECOND / 50);
    let more = ["--probe-time", "300ms", "--rps", "8", "--slo", "p50<1ms", "-q"];
    let (found, output) = find_max(&server, &more);
    assert!(found["low"].is_null(), "{found}");
    assert_eq!(output.status.code(), Some(4), "{found}");
    assert!(output.stderr.is_empty(), "quiet: {}", stderr(&output));
}

/// What a bench file and the variables say of the rate is for runs at one rate.
#[test]
fn what_a_file_says_of_the_rate_is_left_out() {
    let server = queue(0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.toml");
    let lines = ["slo = [\"p50<1us\", \"rate>=9000\"]", "abort_on = [\"rate<9000\"]", "[bench.default]", "rate = 8"];
    std::fs::write(&file, format!("target = \"{}\"\n{}\n", server.url(), lines.join("\n"))).unwrap();
    let arguments = ["bench", "--find-max", "--probe-time", "300ms", "--json", "--bench-file", file.to_str().unwrap()];
    for variable in [None, Some(("SCALECTL_BENCH_SLO", "rate>=9000")), Some(("SCALECTL_BENCH_ABORT_ON", "rate<9000"))] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scalectl"));
        let output = command.args(arguments).envs(variable).output().unwrap();
        let said = stderr(&output);
        for condition in ["rate>=9000", "rate<9000"] {
            assert!(said.contains(&format!("note: \"{condition}\" is left out")), "{variable:?}: {said}");
        }
        assert_ne!(output.status.code(), Some(2), "{variable:?}: {said}");
    }
}

/// Two connections answer one request each in a tenth of a second: twenty a second, whatever the target could do.
#[test]
fn too_few_connections_are_named_as_the_limit_and_what_was_found_is_rendered_again() {
    let _alone = alone();
    let server = Server::start(|seen| Fate::Answer(200, seen.at_ns + SECOND / 10));
    let flags =
        ["--rps", "10", "-c", "2", "--slo", "p99<400ms", "--probe-time", "2s", "--votes", "1", "--precision", "50%"];
    let (found, output) = find_max(&server, &flags);
    let limits = found["limit"].as_array().unwrap();
    assert!(limits.contains(&serde_json::json!({"kind": "connections", "limit": 2})), "{found:#}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("found.json").display().to_string();
    fs::write(&file, &output.stdout).unwrap();
    let report = |more: &[&str]| scalectl(&[&["report", &file], more].concat());
    let text = String::from_utf8(report(&[]).stdout).unwrap();
    assert!(text.contains("all 2 connections were in use; if the target could answer more at once"), "{text}");
    assert!(String::from_utf8(report(&["-o", "markdown"]).stdout).unwrap().starts_with("### Capacity of `"));
    assert_eq!(report(&["--json"]).stdout, output.stdout);
    for (more, said) in [(&["-o", "html"][..], "not html"), (&[file.as_str()], "merged with no other")] {
        let refused = report(more);
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr(&refused).contains(said), "{}", stderr(&refused));
    }
}

#[test]
fn what_cannot_be_searched_is_refused_before_anything_is_sent() {
    let server = queue(0);
    let url = server.url();
    for (arguments, said) in [
        (&["--rps", "max"][..], "a closed loop has none"),
        (&["-n", "5"], "each for --probe-time"),
        (&["-z", "5s"], "each for --probe-time"),
        (&["--stage", "5rps:5s"], "each for --probe-time"),
        (&["--slo", "rate>=5"], "is about the rate"),
        (&["--abort-on", "rate<5"], "is about the rate"),
        (&["--votes", "2"], "must be odd"),
        (&["--precision", "0.1%"], "from 0.5% to 100%"),
        (&["--precision", "5"], "a percentage"),
        (&["--probe-time", "0s"], "the duration must be longer than 0"),
        (&["--output", "json=/nowhere/x.json"], "cannot write /nowhere/x.json"),
        (&["--output", "csv"], "is written as text, json and markdown, not csv"),
    ] {
        let output = scalectl(&[&["bench", &url, "--find-max"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("staged.toml");
    fs::write(&file, format!("target = \"{url}\"\n[bench.default]\nstages = [\"5rps:5s\"]\n")).unwrap();
    let output = scalectl(&["bench", "--bench-file", file.to_str().unwrap(), "--find-max", "--slo", "p99<1m"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("written in stages"), "{}", stderr(&output));
    assert_eq!(server.count(), 0);
}
