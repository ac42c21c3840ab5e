//! `scalectl compare`, and its false alarms and misses on simulated queues.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp1};
use scalectl::bench::compare::{Change, Figure, Finding, Side, changes};
use scalectl::bench::{Batches, Distribution, Outcome, Sample};
use serde_json::Value;
use support::{Fate, Server};

const SECOND: u64 = 1_000_000_000;
const SERVICE_NS: f64 = 5e6;

/// How long runs are repeated of which this machine's own ups and downs allow no interval: what else runs on it, and on the
/// host of a virtual one, comes and goes within minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs one after another: simulations leave no processor for what is measured.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run of an M/M/1 queue that starts empty, by the Lindley recursion: `requests` at a load of ρ, with times `factor`
/// as long for the same arrivals.
fn queue(seed: u64, requests: u64, rho: f64, factor: f64) -> Side {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut draw = |mean: f64| {
        let unit: f64 = Exp1.sample(&mut random);
        unit * mean
    };
    let (mut at, mut left) = (0.0, 0.0_f64);
    let mut batches = Batches::default();
    let mut seconds = Vec::new();
    for n in 0..requests {
        let gap = draw(SERVICE_NS / rho);
        at += gap;
        left = (left - gap).max(0.0) + draw(SERVICE_NS);
        let (scheduled, finished) = (at as u64, (at + left * factor) as u64);
        let second = (finished / SECOND) as usize;
        if seconds.len() <= second {
            seconds.resize(second + 1, 0);
        }
        seconds[second] += 1;
        batches.record(&Sample {
            n,
            kind: 0,
            scheduled,
            ready: scheduled,
            started: scheduled,
            first_byte: finished,
            finished,
            outcome: Outcome::Ok,
            status: None,
            retries: 0,
            redirects: 0,
            bodies: (0, 0),
            wire: (1, 1),
            bytes: (0, 0),
        });
    }
    seconds.truncate((at / SECOND as f64) as usize);
    let mut side = Side { scheduled: requests, seconds, ..Side::default() };
    side.batches = batches.as_slice().iter().filter(|batch| batch.scheduled > 0).cloned().collect();
    side.batches.iter().for_each(|batch| side.response.merge(&Distribution::from(&batch.response)));
    side
}

/// Comparisons of `pairs` pairs, of which the second has times `factor` as long.
fn compare(pairs: u64, requests: u64, rho: f64, factor: f64) -> Vec<Vec<Change>> {
    let half = move |k: u64| {
        let pair = move |i: u64| {
            let [before, after] = [(2 * i, 1.0), (2 * i + 1, factor)].map(|(s, f)| queue(s, requests, rho, f));
            changes(&before, &after, 0.0)
        };
        thread::spawn(move || (k..pairs).step_by(2).map(pair).collect::<Vec<_>>())
    };
    [half(0), half(1)].into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}

fn known(found: &[Vec<Change>], figure: Figure) -> usize {
    found.iter().flatten().filter(|c| c.figure == figure && c.finding != Finding::Unknown).count()
}

fn is_called_different(found: &[Change]) -> bool {
    found.iter().any(|c| !matches!(c.finding, Finding::NotShown | Finding::Unknown))
}

/// Pairs of equal runs, with any difference counted: over all six figures together at most 5% are called different.
#[test]
fn equal_runs_are_called_different_in_at_most_five_of_a_hundred() {
    let _alone = alone();
    for (rho, requests, pairs) in [(0.5, 20_000, 300), (0.8, 120_000, 100)] {
        let found = compare(pairs, requests, rho, 1.0);
        let alarms = found.iter().filter(|pair| is_called_different(pair)).count();
        let given = Figure::ALL.map(|figure| known(&found, figure));
        println!("rho {rho}: {alarms} false alarms in {pairs} pairs; intervals given {given:?} of {:?}", Figure::ALL);
        assert!(alarms as f64 <= 0.05 * pairs as f64, "rho {rho}: {alarms} of {pairs}");
        // A comparison that says nothing raises no false alarms either.
        for (figure, given) in Figure::ALL.into_iter().zip(given) {
            assert!(given as u64 * 2 >= pairs, "rho {rho}, {figure:?}: {given} of {pairs} intervals");
        }
    }
}

/// Times that are 20% longer are found in most pairs, as worse and never as better.
#[test]
fn a_real_difference_of_a_fifth_is_found_in_most() {
    let _alone = alone();
    for (rho, requests) in [(0.5, 10_000), (0.8, 60_000)] {
        let pairs = 50;
        let found = compare(pairs, requests, rho, 1.2);
        let with = |finding| found.iter().filter(|pair| pair.iter().any(|c| c.finding == finding)).count() as u64;
        let (worse, better) = (with(Finding::Worse), with(Finding::Better));
        println!("rho {rho}: {worse} of {pairs} found");
        assert!(worse * 2 > pairs, "rho {rho}: {worse} of {pairs}");
        assert!(better * 20 <= pairs, "rho {rho}: {better} of {pairs} called better");
    }
}

fn scalectl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scalectl")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A result of 9 seconds of a server that answers after 10 to 18 ms and `more`. The spread is its own, and far wider than
/// the machine's ups and downs, which neighbouring requests share.
fn bench(folder: &Path, name: &str, more_ns: u64, arguments: &[&str]) -> String {
    let server = Server::start(move |seen| {
        let spread = SmallRng::seed_from_u64(seen.at_ns).random_range(0..8_000_000);
        Fate::Answer(200, seen.at_ns + 10_000_000 + spread + more_ns)
    });
    let file = folder.join(name).display().to_string();
    let output = format!("json={file}");
    let run = [&["bench", &server.url(), "--rps", "100", "-z", "9s", "-c", "20", "-q", "--output", &output], arguments];
    let done = scalectl(&run.concat());
    assert!(matches!(done.status.code(), Some(0 | 5)), "{}", stderr(&done));
    file
}

#[test]
fn a_slower_server_is_a_regression() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let compare = |arguments: &[&str]| {
        let output = scalectl(&[&["compare", "--json"], arguments].concat());
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", stderr(&output)));
        (json, output.status.code().unwrap())
    };
    let finding = |json: &Value, figure: &str| {
        let change = json["changes"].as_array().unwrap().iter().find(|c| c["figure"] == figure).unwrap();
        change["finding"].as_str().unwrap().to_owned()
    };
    let measure = || {
        let runs = [("a", 0), ("b", 0), ("slow", 30_000_000)];
        let threads = runs.map(|(name, more)| {
            let folder = folder.path().to_owned();
            thread::spawn(move || bench(&folder, name, more, &[]))
        });
        threads.map(|thread| thread.join().unwrap())
    };
    let begin = Instant::now();
    let ([a, b, slow], (worse, code)) = std::iter::repeat_with(|| {
        let files = measure();
        let compared = compare(&[&files[0], &files[2], "--fail-on", "regression"]);
        (files, compared)
    })
    .take_while(|_| begin.elapsed() < PATIENCE)
    .find(|(_, (worse, _))| finding(worse, "p50") != "unknown")
    .expect("a machine that is quiet for 9 s");
    assert_eq!((code, finding(&worse, "p50").as_str(), finding(&worse, "errors").as_str()), (4, "worse", "not_shown"));
    let warnings = worse["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|w| w.as_str().unwrap().starts_with("the targets differ")), "{warnings:?}");

    let (better, code) = compare(&[&slow, &a, "--fail-on", "regression"]);
    assert_eq!((code, finding(&better, "p50").as_str()), (0, "better"));
    assert_eq!(compare(&[&slow, &a, "--fail-on", "difference"]).1, 4);
    assert_eq!(compare(&[&a, &slow]).1, 0, "only where it is asked for");
    let (both, code) = compare(&["--before", &a, &b, "--after", &slow, "--fail-on", "regression"]);
    assert_eq!((code, both["before"]["results"].as_u64()), (4, Some(2)), "{both}");

    let text = scalectl(&["compare", &a, &slow]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("worse") && text.contains("Before: 1 result of 900 requests."), "{text}");
    let markdown = folder.path().join("pr.md").display().to_string();
    scalectl(&["compare", &a, &slow, "--output", &format!("markdown={markdown}")]);
    assert!(std::fs::read_to_string(&markdown).unwrap().contains("| figure | before |"));
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.json").display().to_string();
    std::fs::write(&other, r#"{"schema": "something else"}"#).unwrap();
    for (arguments, said) in [
        (&["one.json"][..], "2 values"),
        (&[], "required"),
        (&["--before", "one.json"], "--after"),
        (&["missing.json", "missing.json"], "cannot read missing.json"),
        (&[&other, &other], "is not the result of a bench"),
        (&[&other, &other, "--threshold", "5"], "a percentage"),
        (&[&other, &other, "--output", "csv"], "text, json and markdown, not csv"),
    ] {
        let output = scalectl(&[&["compare"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
}
