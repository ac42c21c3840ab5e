//! What drives the sockets: io_uring where the kernel allows it, and never silently anything else.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod server;
mod support;

use std::process::{Command, Output};

use io_uring::IoUring;
use serde_json::Value;
use server::{Fate, Server, now_ns};

/// Asks the kernel itself for what the generator needs.
fn kernel_has_rings() -> bool {
    IoUring::<io_uring::squeue::Entry, io_uring::cqueue::Entry>::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(8)
        .is_ok()
}

/// `scalectl bench` with these flags, in a closed loop unless they say otherwise, behind `wrapper`.
fn bench(wrapper: &[&str], server: &Server, flags: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_scalectl");
    let mut words = wrapper.to_vec();
    let url = server.url();
    words.extend([program, "bench", url.as_str(), "-n", "20", "--json", "--quiet"]);
    words.extend(flags);
    Command::new(words[0]).args(&words[1..]).env("SCALECTL_RPS", "max").output().unwrap()
}

fn io_of(output: &Output) -> String {
    let result: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no result: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(result["counts"]["ok"], 20, "{result}");
    result["io"].as_str().unwrap().to_owned()
}

const NO_RINGS: &str = "the kernel has no rings of the kind that is used";
const WITHOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/without-uring");

/// At a rate, the kernel's notes make epoll the cheaper way.
#[test]
fn the_way_depends_on_whether_answers_may_be_read_late() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    assert_eq!(io_of(&bench(&[], &server, &["--rps", "1000"])), "epoll");
    if !kernel_has_rings() {
        return support::skip("the_way_depends_on_whether_answers_may_be_read_late", NO_RINGS);
    }
    assert_eq!(io_of(&bench(&[], &server, &["--rps", "1000", "--redirects", "2"])), "io_uring");
}

#[test]
fn io_uring_is_used_where_the_kernel_allows_it() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    assert_eq!(io_of(&bench(&[], &server, &["--io", "epoll"])), "epoll");
    if !kernel_has_rings() {
        return support::skip("io_uring_is_used_where_the_kernel_allows_it", NO_RINGS);
    }
    assert_eq!(io_of(&bench(&[], &server, &[])), "io_uring");
    assert_eq!(io_of(&bench(&[], &server, &["--io", "uring"])), "io_uring");
}

#[test]
fn where_the_kernel_refuses_io_uring_epoll_takes_over_unless_it_was_asked_for() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    assert_eq!(io_of(&bench(&[WITHOUT], &server, &[])), "epoll");
    let refused = bench(&[WITHOUT], &server, &["--io", "uring"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("io_uring") && said.contains("--io auto"), "{said}");
    assert!(refused.stdout.is_empty());
}

/// Of 64 connections, up to 32 may be answered before one answer is read; an end that is in between, and a target that
/// holds some answers back for a while, cost none.
#[test]
fn a_closed_loop_that_reads_several_answers_at_once_loses_none() {
    if !kernel_has_rings() {
        return support::skip("a_closed_loop_that_reads_several_answers_at_once_loses_none", NO_RINGS);
    }
    for held in [0, 8] {
        let mut number = 0;
        let server = Server::start(move |_| {
            number += 1;
            Fate::Answer(200, if number % 500 < held { now_ns() + 30_000_000 } else { 0 })
        });
        let (url, number) = (server.url(), 10_007);
        let flags = ["--rps", "max", "--threads", "1", "-c", "64", "--json", "--quiet", "-n", "10007"];
        let output = Command::new(env!("CARGO_BIN_EXE_scalectl")).args(["bench", &url]).args(flags).output().unwrap();
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&result["counts"]["ok"], &result["io"]), (&number.into(), &"io_uring".into()), "{result}");
        assert_eq!(server.count(), number);
    }
}

/// Whoever waits for several answers of a target that gives none any more still sees time-outs and the end.
#[test]
fn a_closed_loop_that_waits_for_several_answers_sees_time_outs() {
    if !kernel_has_rings() {
        return support::skip("a_closed_loop_that_waits_for_several_answers_sees_time_outs", NO_RINGS);
    }
    let mut number = 0;
    let server = Server::start(move |_| {
        number += 1;
        // 64 in a row, so that every connection falls silent at once.
        if number > 5_000 && number <= 5_064 { Fate::Silence } else { Fate::Answer(200, 0) }
    });
    let flags =
        ["--rps", "max", "--threads", "1", "-c", "64", "--timeout", "300ms", "--json", "--quiet", "-n", "10000"];
    let output =
        Command::new(env!("CARGO_BIN_EXE_scalectl")).args(["bench", &server.url()]).args(flags).output().unwrap();
    let counts = &serde_json::from_slice::<Value>(&output.stdout).unwrap()["counts"];
    assert_eq!((&counts["ok"], &counts["timeout"]), (&9_936.into(), &64.into()), "{counts}");
}
