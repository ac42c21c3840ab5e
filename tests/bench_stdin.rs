//! What `scalectl bench` reads from its standard input: a log, or a body.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod support;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Fate, Server};

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What is in the log comes, in its order, and nothing that may change something; what is left out is said.
#[test]
fn a_log_is_replayed_from_stdin() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let mut log = String::new();
    for n in 0..100 {
        let method = ["GET", "GET", "HEAD", "POST"][n % 4];
        let second = 10 + n / 50;
        log += &format!("h - - [10/Oct/2000:13:55:{second} +0000] \"{method} /{n}?q HTTP/1.1\" 200 1 \"-\" \"-\"\n");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_scalectl"))
        .args(["bench", &server.url(), "--replay", "-", "--speed", "2", "-c", "1", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(log.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // 5 on a machine that is too busy.
    assert!([0, 5].contains(&output.status.code().unwrap()), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("25 lines of - are left out: 25 are neither GET nor HEAD"), "{said}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["counts"]["ok"], &json["arrivals"]), (&75.into(), &"replay".into()));
    // 75 requests within two seconds, the gap behind the last one included, at twice the speed.
    let duration = json["duration_ns"].as_u64().unwrap();
    assert!((950_000_000..=1_000_000_100).contains(&duration), "{duration}");
    let seen: Vec<_> = server.seen().into_iter().map(|s| format!("{} {}", s.method, s.path)).collect();
    let expected: Vec<_> =
        (0..100).filter(|n| n % 4 < 3).map(|n| format!("{} /{n}?q", if n % 4 == 2 { "HEAD" } else { "GET" })).collect();
    assert_eq!(seen, expected);
}

/// As it is, however often it is sent: a search sends it at one rate after the other.
#[test]
fn a_body_may_come_from_stdin() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let url = server.url();
    let body = b"{{ not a generator }}\0\xff\n";
    let mut sent = 0;
    for (flags, least) in [
        (&["-d", "@-", "-n", "5"][..], 5),
        (&["-D", "-", "-n", "5"], 5),
        (&["-d", "@-", "--find-max", "--probe-time", "200ms", "--slo", "p50<1us"], 20),
        (&["-d", "@-", "--try"], 1),
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_scalectl"))
            .args(["bench", &url, "-m", "PUT", "-r", "100", "-q"])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(body).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_ne!(output.status.code(), Some(2), "{flags:?}: {}", stderr(&output));
        assert!(server.count() >= sent + least, "{flags:?}: {}", stderr(&output));
        sent = server.count();
    }
    assert!(server.seen().iter().all(|seen| seen.method == "PUT" && seen.body == body));
}

/// What is wrong is said before stdin is read, which may take long.
#[test]
fn stdin_is_not_waited_for_in_vain() {
    for flags in [&["--rps", "0.00001", "-n", "0"][..], &["--output", "json=/nowhere/x"], &["--votes", "3"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scalectl"));
        command.args(["bench", "http://127.0.0.1:9/", "-d", "@-"]).args(flags);
        // It stays open until the end.
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let begin = Instant::now();
        let ended = loop {
            match child.try_wait().unwrap() {
                None if begin.elapsed() < Duration::from_secs(60) => thread::sleep(Duration::from_millis(10)),
                ended => break ended,
            }
        };
        drop(stdin);
        assert_eq!(ended.and_then(|status| status.code()), Some(2), "{flags:?}");
    }
}
