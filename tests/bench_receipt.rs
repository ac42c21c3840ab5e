//! When answers came: the kernel's note of it, whatever the generator does in the meantime.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Fate, Server};

const STOPPED: Duration = Duration::from_secs(2);
const STOPPED_NS: u64 = 2_000_000_000;

/// Whether none of its threads goes on.
fn is_stopped(process: Pid) -> bool {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let states = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat")).unwrap());
    // `pid (name) state …`, where the name may hold anything.
    states.into_iter().all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
}

/// Five a second over one connection: each is answered before the next is due, so that only one waits to be read.
const SLOW: [&str; 4] = ["--rps", "5", "-c", "1"];

/// A run of so many requests, all of which end well, and of these flags, whose generator is stopped before an answer is sent when `after` were, and goes on two seconds
/// after that.
fn stopped_while_an_answer_comes(requests: u64, after: u64, flags: &[&str]) -> Value {
    let generator = Arc::new(AtomicI32::new(0));
    let pid = Arc::clone(&generator);
    let mut answered = 0;
    let server = Server::start(move |_| {
        let pid = Pid::from_raw(pid.load(Ordering::SeqCst));
        answered += 1;
        if answered == after + 1 && pid.as_raw() > 0 {
            kill(pid, Signal::SIGSTOP).unwrap();
            while !is_stopped(pid) {
                thread::yield_now();
            }
            thread::spawn(move || {
                thread::sleep(STOPPED);
                kill(pid, Signal::SIGCONT).unwrap();
            });
        }
        Fate::Answer(200, 0)
    });
    let url = server.url();
    let child = Command::new(env!("CARGO_BIN_EXE_scalectl"))
        .args(["bench", &url, "-n", &requests.to_string(), "--json", "--quiet"])
        .args(flags)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    generator.store(child.id().cast_signed(), Ordering::SeqCst);
    let output = child.wait_with_output().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no result: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(result["counts"]["ok"], requests, "{result}");
    // It was stopped, whoever notes the answers.
    assert_eq!(output.status.code(), Some(5));
    result
}

/// The result of a run with one thread.
fn measured(server: &Server, flags: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_scalectl"))
        .args(["bench", &server.url(), "--threads", "1", "--timeout", "1m", "--json", "--quiet"])
        .args(flags)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_answer_that_is_read_late_has_come_when_it_came() {
    let result = stopped_while_an_answer_comes(10, 4, &SLOW);
    assert_eq!((&result["timestamps"], &result["io"]), (&"kernel".into(), &"epoll".into()));
    let service = &result["service_time_ns"];
    // It came while the generator was stopped; half of that time is room enough for a machine that is slow.
    assert!(service["max"].as_u64().unwrap() < STOPPED_NS / 2, "{service}");
    // The requests that were due meanwhile were late by the generator's own fault.
    assert!(result["own_lag_ns"]["max"].as_u64().unwrap() > STOPPED_NS / 2, "{}", result["own_lag_ns"]);
}

/// The kernel takes notes for as long as a socket asks for them; here none is open between two requests.
#[test]
fn the_kernel_goes_on_noting_while_no_connection_is_open() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let result = measured(&server, &["--rps", "50", "-n", "30", "-c", "1", "--no-keepalive"]);
    assert_eq!((&result["timestamps"], &result["counts"]["ok"]), (&"kernel".into(), &30.into()));
    assert_eq!(server.connections(), 30);
}

/// Several answers wait to be read when the generator is stopped, for longer than a request may take.
#[test]
fn an_answer_that_came_in_time_is_no_timeout_though_it_is_read_too_late() {
    let flags = ["--rps", "2000", "-c", "8", "--threads", "1", "--timeout", "1s", "--grace", "1m"];
    let result = stopped_while_an_answer_comes(400, 200, &flags);
    assert_eq!((&result["counts"]["timeout"], &result["timestamps"]), (&0.into(), &"kernel".into()), "{result}");
    assert!(result["service_time_ns"]["max"].as_u64().unwrap() < STOPPED_NS / 2, "{}", result["service_time_ns"]);
}

/// Answers that wait to be read hold their connections; that is no reason to open others, or to be late.
#[test]
fn connections_are_free_again_as_soon_as_they_are_needed() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let result = measured(&server, &["--rps", "5000", "-n", "2000", "-c", "4"]);
    assert_eq!((&result["counts"]["ok"], &result["connections"]["opened"]), (&2000.into(), &4.into()), "{result}");
    assert_eq!(result["timestamps"], "kernel");
}

/// At 10,000 a second every other request waits a tenth of a millisecond for the next one; a wake-up that is late makes
/// that more. The histogram has three digits.
#[test]
fn requests_that_are_due_close_to_each_other_share_a_wake_up() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let result = measured(&server, &["--rps", "10000", "-n", "5000", "-c", "16"]);
    assert_eq!((&result["counts"]["ok"], &result["timestamps"]), (&5000.into(), &"kernel".into()), "{result}");
    assert!(result["own_lag_ns"]["p75"].as_u64().unwrap() >= 99_000, "{}", result["own_lag_ns"]);
    // One that is due on its own waits for nobody; how long it does depends on the machine.
    let result = measured(&server, &["--rps", "5000", "-n", "2500", "-c", "16"]);
    assert!(result["own_lag_ns"]["min"].as_u64().unwrap() < 99_000, "{}", result["own_lag_ns"]);
}

/// At 2,000 a second it sleeps between requests without a look at answers; those that no socket holds are read at once.
#[test]
fn answers_small_and_large_are_whole_though_nothing_wakes_the_generator() {
    for length in [0, 12, 200_000] {
        let server = Server::start(move |_| Fate::with(200, &[], &"x".repeat(length)));
        let result = measured(&server, &["--rps", "2000", "-n", "400", "-c", "20"]);
        assert_eq!((&result["counts"]["ok"], &result["timestamps"]), (&400.into(), &"kernel".into()), "{result}");
        assert_eq!(server.count(), 400);
        assert!(result["bytes"]["received"].as_u64().unwrap() >= 400 * length as u64);
        // Nothing has come before it was asked for, nor after the end.
        let (least, most) = (&result["service_time_ns"]["min"], &result["service_time_ns"]["max"]);
        assert!(least.as_u64().unwrap() > 0 && most.as_u64() <= result["elapsed_ns"].as_u64(), "{least} {most}");
    }
}

/// What follows from an answer makes it be read at once, and by the generator's own clock.
#[test]
fn without_a_note_of_the_kernel_an_answer_has_come_when_it_is_read() {
    let result = stopped_while_an_answer_comes(10, 4, &[&SLOW[..], &["--redirects", "1", "--io", "epoll"]].concat());
    assert_eq!(result["timestamps"], "process");
    assert!(result["service_time_ns"]["max"].as_u64().unwrap() > STOPPED_NS / 2, "{}", result["service_time_ns"]);
}
