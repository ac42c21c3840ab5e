//! The interval log while a run goes on: a line for every second, which can be read whatever happens to the generator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod server;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use server::{Fate, Server};

/// Begin and length in milliseconds, and how many are counted.
type Line = (u128, u128, u64);

/// The lines of each tag, in their order.
fn lines(log: &[u8]) -> BTreeMap<String, Vec<Line>> {
    let mut lines = BTreeMap::<String, Vec<Line>>::new();
    for entry in IntervalLogIterator::new(log) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
            let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            let tag = interval.tag().unwrap().as_str().to_owned();
            let line = (interval.start_timestamp().as_millis(), interval.duration().as_millis(), histogram.len());
            lines.entry(tag).or_default().push(line);
        }
    }
    lines
}

fn bench(server: &Server, log: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scalectl"));
    command.args(["bench", &server.url(), "--rps", "100", "-q", "--threads", "2", "-c", "4", "--output", "json"]);
    command.arg("--output").arg(format!("hlog={}", log.display())).args(arguments);
    command
}

/// The target stops answering after a second of three: the seconds in which nothing finished have lines, and the sums
/// are those of the result.
#[test]
fn empty_seconds_have_lines_and_the_lines_sum_to_the_total() {
    let folder = tempfile::tempdir().unwrap();
    let (log, again) = (folder.path().join("run.hlog"), folder.path().join("again.hlog"));
    let mut number = 0;
    let server = Server::start(move |_| {
        number += 1;
        if number <= 100 { Fate::Answer(200, 0) } else { Fate::Silence }
    });
    let output = bench(&server, &log, &["-z", "3s", "--grace", "100ms"]).output().unwrap();
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["counts"]["ok"], 100, "{}", result["counts"]);

    let found = lines(&fs::read(&log).unwrap());
    assert_eq!(found.keys().collect::<Vec<_>>(), ["lag", "response", "service"]);
    for (tag, lines) in &found {
        let times: Vec<_> = lines.iter().map(|line| (line.0, line.1)).collect();
        assert_eq!(times, [(0, 1000), (1000, 1000), (2000, 1000)], "{tag}");
        assert_eq!(lines.iter().map(|line| line.2).sum::<u64>(), 100, "{tag}: {lines:?}");
        assert_eq!(lines[2].2, 0, "{tag}: {lines:?}");
    }

    let json = folder.path().join("run.json");
    fs::write(&json, &output.stdout).unwrap();
    let rendered = Command::new(env!("CARGO_BIN_EXE_scalectl"))
        .arg("report")
        .args([&json])
        .args(["--output", "text", "--output", &format!("hlog={}", again.display())])
        .output()
        .unwrap();
    assert!(rendered.status.success(), "{rendered:?}");
    assert_eq!(lines(&fs::read(&again).unwrap()), found, "the log from the result is the log of the run");
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_killed_run_leaves_the_seconds_that_were_over() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("run.hlog");
    let server = Server::start(|_| Fate::Answer(200, 0));
    let mut run = Killed(bench(&server, &log, &["-z", "10m"]).stdout(Stdio::null()).spawn().unwrap());
    support::wait_for("two lines of each tag", Duration::from_secs(60), || {
        let text = fs::read_to_string(&log).ok()?;
        (text.matches("Tag=lag").count() >= 2 && text.ends_with('\n')).then_some(())
    });
    run.0.kill().unwrap();
    run.0.wait().unwrap();
    let found = lines(&fs::read(&log).unwrap());
    for (tag, lines) in &found {
        assert!(lines.len() >= 2, "{tag}: {lines:?}");
        for (second, line) in (0..).zip(lines) {
            assert_eq!((line.0, line.1), (second * 1000, 1000), "{tag}");
        }
        // 100 a second are due; how late one may finish is the machine's doing.
        assert!(lines.iter().map(|line| line.2).sum::<u64>() > 0, "{tag}: {lines:?}");
    }
    assert_eq!(found.len(), 3);
}
