//! A load in the background, and what has to hold of its result.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::process::{Child, Output};

use serde_json::Value;

use crate::project::{Project, all, eventually, kill};

/// A load in the background, longer than any test: it is ended by Ctrl-C.
pub struct Load(Child);

impl Load {
    /// Another seed draws other users: the same ones a second time would be refused.
    pub fn start(project: &Project, rate: &str, seed: &str) -> Self {
        let args = [
            "bench",
            "--rps",
            rate,
            "--duration",
            "20m",
            "-c",
            "50",
            "--timeout",
            "60s",
            "--seed",
            seed,
            "--json",
            "-q",
        ];
        let served = requests_served(project);
        let load = Self(project.spawn(&args));
        eventually("the load arrives", || {
            let in_use = project.replicas("api").iter().any(|r| r["member"] == true);
            (in_use && requests_served(project) > served + 50).then_some(())
        });
        load
    }

    /// Ends the schedule, waits for the last answers, and returns the summary.
    pub fn end(self) -> Value {
        kill(self.0.id(), "INT");
        let out: Output = self.0.wait_with_output().unwrap();
        let summary: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", all(&out)));
        let count = |key: &str| summary["counts"][key].as_u64().unwrap();
        assert_eq!(count("scheduled"), count("sent") + count("unsent"), "{summary}");
        let ended = ["ok", "http_error", "network_error", "timeout", "unfinished"].map(count).iter().sum::<u64>();
        assert_eq!(count("sent"), ended, "{}", summary["counts"]);
        summary
    }
}

/// Requests on `/users` and `/users/{id}` that all present replicas of `api` have counted.
pub fn requests_served(project: &Project) -> u64 {
    let replicas = project.replicas("api");
    let addresses = replicas.iter().filter_map(|r| r["address"].as_str()).map(str::to_owned);
    addresses.map(|address| requests_of(&address)).sum()
}

fn requests_of(address: &str) -> u64 {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return 0 };
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let counted = |line: &&str| line.starts_with("http_requests_total{") && line.contains("route=\"/users");
    text.lines().filter(counted).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

/// Asserts that every request that was due was answered well.
pub fn assert_nothing_failed(summary: &Value, title: &str) {
    let counts = &summary["counts"];
    for kind in ["unsent", "http_error", "network_error", "timeout", "unfinished"] {
        assert_eq!(counts[kind], 0, "{title}: {counts}\n{}\n{}", summary["status"], summary["errors"]);
    }
    assert_eq!(counts["ok"], counts["scheduled"], "{title}: {counts}");
}

/// As [`assert_nothing_failed`], on a machine that may be too busy for the rate: what was sent was answered well, or was
/// still on its way when the load ended; what never got its turn was not lost.
pub fn assert_nothing_lost(summary: &Value, title: &str) {
    let counts = &summary["counts"];
    for kind in ["http_error", "network_error", "timeout"] {
        assert_eq!(counts[kind], 0, "{title}: {counts}\n{}\n{}", summary["status"], summary["errors"]);
    }
    assert!(counts["ok"].as_u64() > Some(1000), "{title}: {counts}");
}
