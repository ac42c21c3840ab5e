//! A bench that is ended from outside: by Ctrl-C, by who cancels it, by a terminal or a reader that goes away. What was
//! measured until then is a result all the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Read as _};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Fate, Server};

/// A bench under way.
struct Running {
    child: Child,
    progress: Lines<BufReader<ChildStderr>>,
}

impl Running {
    /// One of these arguments. What started the tests may have had signals ignored, as `nohup` does, and programs
    /// inherit that.
    fn bench(url: &str, flags: &[&str]) -> Self {
        Self::start(&mut Self::command(url, flags))
    }

    fn command(url: &str, flags: &[&str]) -> Command {
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP,INT", env!("CARGO_BIN_EXE_scalectl"), "bench", url]).args(flags);
        command
    }

    /// That of a command, once it has said how it is getting on.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut progress = BufReader::new(child.stderr.take().unwrap()).lines();
        progress.next().unwrap().unwrap();
        Self { child, progress }
    }

    fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Its exit code, and what it has written to stdout.
    fn end(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code(), text)
    }
}

#[test]
fn an_interrupt_prints_the_result_so_far() {
    for signals in [1, 2] {
        let server = Server::start(
            move |seen| {
                if signals == 2 && seen.earlier > 0 { Fate::Silence } else { Fate::Answer(200, 0) }
            },
        );
        let flags = ["-z", "1m", "--rps", "100", "-c", "4", "--timeout", "1m", "--grace", "1m", "--json"];
        let mut running = Running::bench(&server.url(), &flags);
        running.send(Signal::SIGINT);
        if signals == 2 {
            // It goes on waiting until the second one.
            let is_waiting = |line: &std::io::Result<String>| line.as_ref().unwrap().contains("waiting for the last");
            running.progress.find(is_waiting).expect("it ended without a second interrupt").unwrap();
            running.send(Signal::SIGINT);
        }
        let (code, text) = running.end();
        assert_eq!(code, Some(130));
        let json: Value = serde_json::from_str(&text).unwrap();
        let count = |key: &str| json["counts"][key].as_u64().unwrap();
        assert_eq!(count("scheduled"), count("sent") + count("unsent"));
        assert_eq!(count("sent"), count("ok") + count("unfinished"));
        assert_eq!(json["interrupted"], true);
        if signals == 2 {
            assert!(count("unfinished") == 4 && count("unsent") > 0, "{}", json["counts"]);
        } else {
            assert_eq!(count("ok"), server.count());
        }
    }
}

/// A target that takes connections, and says nothing when it is asked for the protocol it prefers.
#[test]
fn an_interrupt_before_the_start_ends_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let flags = ["--http", "auto", "--timeout", "20m"];
    let child = Running::command(&url, &flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let asked = listener.accept().unwrap();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(asked);
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("interrupted before the start"), "{said}");
}

/// CI systems cancel with SIGTERM, and a terminal that goes away sends SIGHUP: what was measured is not lost.
#[test]
fn a_cancelled_run_writes_its_result() {
    let folder = tempfile::tempdir().unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let server = Server::start(|_| Fate::Answer(200, 0));
        let file = folder.path().join(signal.as_str());
        let output = format!("json={}", file.display());
        let running = Running::bench(&server.url(), &["-z", "10m", "--rps", "20", "-o", &output]);
        running.send(signal);
        let (code, text) = running.end();
        assert_eq!(code, Some(130), "{signal}");
        assert!(text.contains("response"), "{text}");
        let json: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!((&json["interrupted"], json["counts"]["ok"].as_u64()), (&true.into(), Some(server.count())));
    }
}

/// Whoever sends SIGTERM sends SIGKILL some seconds later, and does not wait for a target that never answers.
#[test]
fn a_cancelled_run_does_not_wait_out_its_grace_time() {
    let server = Server::start(|_| Fate::Silence);
    let flags = ["-z", "20m", "--grace", "20m", "--timeout", "20m", "--rps", "20", "--json"];
    let running = Running::bench(&server.url(), &flags);
    running.send(Signal::SIGTERM);
    let (code, text) = running.end();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["interrupted"]), (Some(130), &true.into()));
    assert_eq!(json["counts"]["unfinished"].as_u64(), Some(server.count()), "{}", json["counts"]);
}

/// What `nohup` does is not undone.
#[test]
fn a_hangup_that_is_ignored_ends_nothing() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let line = format!("{} bench {} -n 30 --rps 20 --json", env!("CARGO_BIN_EXE_scalectl"), server.url());
    let running = Running::start(Command::new("sh").args(["-c", &format!("trap '' HUP; exec {line}")]));
    running.send(Signal::SIGHUP);
    let (_, text) = running.end();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["interrupted"], &json["counts"]["ok"]), (&false.into(), &30.into()));
}

/// Nobody reads the progress any more: the run goes on, and its result is written.
#[test]
fn the_result_outlives_the_reader_of_the_progress() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let Running { child, progress } = Running::bench(&server.url(), &["-n", "50", "--rps", "20", "--json"]);
    drop(progress);
    let json: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(json["counts"]["ok"], 50);
}
