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
use rand_distr::{Distribution as _, Exp1, StandardNormal};
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

/// A run as it is recorded.
#[derive(Default)]
struct Recorded {
    batches: Batches,
    seconds: Vec<u64>,
    requests: u64,
}

impl Recorded {
    fn answer(&mut self, scheduled: u64, finished: u64) {
        let second = (finished / SECOND) as usize;
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, 0);
        }
        self.seconds[second] += 1;
        self.batches.record(&Sample {
            n: self.requests,
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
        self.requests += 1;
    }

    /// What is known of it, if it has lasted for so many whole seconds.
    fn side(mut self, seconds: usize) -> Side {
        self.seconds.resize(seconds, 0);
        let mut side = Side { scheduled: self.requests, seconds: self.seconds, ..Side::default() };
        side.batches = self.batches.as_slice().iter().filter(|batch| batch.scheduled > 0).cloned().collect();
        side.batches.iter().for_each(|batch| side.response.merge(&Distribution::from(&batch.response)));
        side
    }
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
    let mut run = Recorded::default();
    for _ in 0..requests {
        let gap = draw(SERVICE_NS / rho);
        at += gap;
        left = (left - gap).max(0.0) + draw(SERVICE_NS);
        run.answer(at as u64, (at + left * factor) as u64);
    }
    run.side((at / SECOND as f64) as usize)
}

/// What a target's times follow: their level in one batch and in the next correlate by `phi` (a first-order
/// autoregression on the logarithm, with a standard deviation of 20%).
#[derive(Debug, Clone, Copy)]
struct Drift {
    phi: f64,
    seconds: u64,
}

impl Drift {
    /// A closed loop of two connections to it, whose times are `factor` as long.
    fn run(self, seed: u64, factor: f64) -> Side {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut normal = || -> f64 { StandardNormal.sample(&mut random) };
        let mut run = Recorded { batches: Batches::for_duration(self.seconds * SECOND), ..Recorded::default() };
        let width = run.batches.width_ns() as f64;
        let end = (self.seconds * SECOND) as f64;
        let levels: Vec<f64> = std::iter::successors(Some(normal()), |level| {
            Some(self.phi * level + (1.0 - self.phi * self.phi).sqrt() * normal())
        })
        .take((end / width).ceil() as usize)
        .collect();
        let mut free = [0.0_f64; 2];
        loop {
            let next = usize::from(free[1] < free[0]);
            let at = free[next];
            let Some(level) = levels.get((at / width) as usize).filter(|_| at < end) else { break };
            let unit: f64 = Exp1.sample(&mut random);
            let time = 2.0 * SERVICE_NS * factor * (0.2 * level).exp() * unit;
            free[next] = at + time;
            run.answer(at as u64, (at + time) as u64);
        }
        run.side(self.seconds as usize)
    }
}

/// Comparisons of `pairs` pairs of runs, each drawn from its own seed.
fn compare_runs(pairs: u64, run: impl Fn(u64, bool) -> Side + Copy + Send + 'static) -> Vec<Vec<Change>> {
    let half = move |k: u64| {
        let pair = move |i: u64| changes(&run(2 * i, false), &run(2 * i + 1, true), 0.0);
        thread::spawn(move || (k..pairs).step_by(2).map(pair).collect::<Vec<_>>())
    };
    [half(0), half(1)].into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}

/// Comparisons of `pairs` pairs of queues, of which the second has times `factor` as long.
fn compare(pairs: u64, requests: u64, rho: f64, factor: f64) -> Vec<Vec<Change>> {
    compare_runs(pairs, move |seed, is_after| queue(seed, requests, rho, if is_after { factor } else { 1.0 }))
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

/// How long runs are, and how much their neighbouring batches resemble each other: memory fades to 1/e within a ninth to
/// a half of the run.
fn drifts() -> impl Iterator<Item = Drift> {
    [10, 30, 60].into_iter().flat_map(|seconds| [0.8, 0.9, 0.95].map(|phi| Drift { phi, seconds }))
}

/// Runs that drift are called different as seldom as others.
#[test]
fn equal_runs_whose_batches_resemble_each_other_are_called_different_in_at_most_five_of_a_hundred() {
    let _alone = alone();
    let pairs = 200;
    for drift in drifts() {
        let found = compare_runs(pairs, move |seed, _| drift.run(seed, 1.0));
        let alarms = found.iter().filter(|pair| is_called_different(pair)).count();
        println!("{drift:?}: {alarms} false alarms in {pairs} pairs");
        assert!(alarms as f64 <= 0.05 * pairs as f64, "{drift:?}: {alarms} of {pairs}");
    }
}

/// Times that are four times as long are found in most pairs in spite of the drift, and never without a finding.
#[test]
fn a_target_that_is_four_times_slower_is_found_although_batches_resemble_each_other() {
    let _alone = alone();
    let pairs = 60;
    for drift in drifts() {
        let found = compare_runs(pairs, move |seed, is_after| drift.run(seed, if is_after { 4.0 } else { 1.0 }));
        for figure in [Figure::Mean, Figure::P50, Figure::P90, Figure::Rate] {
            let of: Vec<_> = found.iter().flatten().filter(|c| c.figure == figure).collect();
            let with = |finding| of.iter().filter(|c| c.finding == finding).count() as u64;
            let (worse, better, unknown) = (with(Finding::Worse), with(Finding::Better), with(Finding::Unknown));
            let wide = of.iter().filter(|c| c.only_large).count();
            println!("{drift:?}, {figure:?}: {worse} of {pairs} found, {unknown} unknown, {wide} of coarse evidence");
            assert!(worse * 2 > pairs, "{drift:?}, {figure:?}: {worse} of {pairs} found");
            assert_eq!((better, unknown), (0, 0), "{drift:?}, {figure:?}");
        }
    }
}

/// Several runs of a side that differ among themselves: what differs between runs is counted, too. (Two may be alike by
/// chance.)
#[test]
fn equal_sides_of_runs_that_differ_are_called_different_in_at_most_five_of_a_hundred() {
    let _alone = alone();
    let pairs = 200;
    for results in [3, 5] {
        let side = move |seed: u64, _| {
            let mut levels = SmallRng::seed_from_u64(1_000_000 + seed);
            let mut whole = Side { results: results as usize, ..Side::default() };
            for k in 0..results {
                let level: f64 = StandardNormal.sample(&mut levels);
                let one = Drift { phi: 0.0, seconds: 10 }.run(10 * seed + k, (0.2 * level).exp());
                whole.batches.extend(one.batches);
                whole.response.merge(&one.response);
                whole.scheduled += one.scheduled;
                whole.seconds.extend(one.seconds);
            }
            whole
        };
        let found = compare_runs(pairs, side);
        let alarms = found.iter().filter(|pair| is_called_different(pair)).count();
        println!("{results} results a side: {alarms} false alarms in {pairs} pairs");
        assert!(alarms as f64 <= 0.05 * pairs as f64, "{results} results: {alarms} of {pairs}");
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
    let run = folder.path().join("run.json").display().to_string();
    let server = Server::start(|_| Fate::Answer(200, 0));
    scalectl(&["bench", &server.url(), "-n", "5", "-q", "--output", &format!("json={run}")]);
    for (arguments, said) in [
        (&["one.json"][..], "2 values"),
        (&[], "required"),
        (&["--before", "one.json"], "--after"),
        (&["--before", &run, &run, "--after", &run], "run.json is the same run as "),
        (&[&run, &run, "--output", "json=/nowhere/x.json"], "cannot write /nowhere/x.json"),
        (&["missing.json", "missing.json"], "cannot read missing.json"),
        (&[&other, &other], "is not the result of a bench"),
        (&[&other, &other, "--threshold", "5"], "a percentage"),
        (&[&other, &other, "--output", "csv"], "text, json and markdown, not csv"),
    ] {
        let output = scalectl(&[&["compare"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
    let same = scalectl(&["compare", &run, &run]);
    assert!(String::from_utf8_lossy(&same.stdout).contains("the same run is on both sides"), "{}", stderr(&same));
}
