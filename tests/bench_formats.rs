//! The formats of a result, read by the tools that they are meant for: HdrHistogram's own reader from PyPI, an XML parser,
//! Prometheus' parser.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/python.rs"]
mod python;
#[path = "support/server.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{Fate, Server};

/// Two seconds at 200 a second, of which every tenth request fails, in every format; the result, and what the tools read.
fn formats(folder: &Path) -> (Value, Value) {
    let mut number = 0;
    let server = Server::start(move |_| {
        number += 1;
        if number % 10 == 0 { Fate::Answer(503, 0) } else { Fate::Answer(200, 1_000_000) }
    });
    let file = |format: &str, name: &str| format!("{format}={}", folder.join(name).display());
    let output = Command::new(env!("CARGO_BIN_EXE_scalectl"))
        .args(["bench", &server.url(), "--rps", "200", "-z", "2s", "-q"])
        .args(["--slo", "p50<10s", "--slo", "errors<1%"])
        .args(["--output", "json", "--output", &file("hlog", "r.hlog"), "--output", &file("hgrm", "r.hgrm")])
        .args(["--output", &file("junit", "r.xml"), "--output", &file("prometheus", "r.prom")])
        .args(["--output", &file("csv", "r.csv"), "--output", &file("markdown", "r.md")])
        .output()
        .unwrap();
    let result = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));

    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let environment = python::python_environment(&tests.join("formats.lock"));
    let read = Command::new(environment.join("bin/python"))
        .arg(tests.join("formats.py"))
        .args(["r.hlog", "r.hgrm", "r.xml", "r.prom"].map(|name| folder.join(name)))
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    (result, serde_json::from_slice(&read.stdout).unwrap())
}

#[test]
fn every_format_says_what_the_result_says() {
    let folder = tempfile::tempdir().unwrap();
    let (result, read) = formats(folder.path());
    let counts = &result["counts"];
    assert_eq!((counts["scheduled"].as_u64(), counts["ok"].as_u64()), (Some(400), Some(360)), "{counts}");

    let seconds = result["series"].as_array().unwrap().len() as u64;
    for (tag, count) in [("response", 360), ("service", 360), ("lag", 400)] {
        let of_tag = &read["hlog"][tag];
        assert_eq!(
            (of_tag["count"].as_u64(), of_tag["lines"].as_u64()),
            (Some(count), Some(seconds)),
            "{tag}: {of_tag}"
        );
    }

    let spectrum: Vec<Vec<f64>> = serde_json::from_value(read["hgrm"].clone()).unwrap();
    let last = spectrum.last().unwrap();
    // A tenth has no value, and ranks above all that has.
    assert!((last[1] - 0.9).abs() < 1e-9 && last[2] == 360.0, "{last:?}");
    assert!(spectrum.windows(2).all(|rows| rows[0][0] <= rows[1][0] && rows[0][1] <= rows[1][1]));
    let p50 = result["response_time_ns"]["p50"].as_f64().unwrap() / 1e6;
    let at_p50 = spectrum.iter().find(|row| row[1] >= 0.5).unwrap()[0];
    // Three digits of the histogram, and of the text as many behind the point.
    assert!(at_p50 >= p50 * 0.999 - 0.0005, "{at_p50} ms for {p50} ms");

    let junit = &read["junit"];
    assert_eq!((junit["tests"].as_str(), junit["failures"].as_str()), (Some("3"), Some("1")), "{junit}");
    assert_eq!(junit["cases"]["errors<1%"], serde_json::json!(["failure"]));
    assert_eq!(junit["cases"]["p50<10s"], serde_json::json!([]));

    let metrics = &read["prometheus"];
    assert_eq!(metrics["scalectl_bench_requests_total,outcome=ok"], 360.0, "{metrics}");
    assert_eq!(metrics["scalectl_bench_requests_total,outcome=http_error"], 40.0);
    assert_eq!(metrics["scalectl_bench_slo_met,objective=errors<1%"], 0.0);
    let seconds_at_p50 = metrics["scalectl_bench_response_time_seconds,quantile=0.5"].as_f64().unwrap();
    assert!((seconds_at_p50 * 1e3 - p50).abs() < 1e-6, "{seconds_at_p50} s for {p50} ms");

    let csv = fs::read_to_string(folder.path().join("r.csv")).unwrap();
    let mut rows = csv.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let head = rows.next().unwrap();
    let rows: Vec<_> = rows.collect();
    assert!(rows.iter().all(|row| row.len() == head.len()), "{csv}");
    let sum = |column: &str| -> u64 {
        let at = head.iter().position(|name| *name == column).unwrap();
        rows.iter().map(|row| row[at].parse::<u64>().unwrap()).sum()
    };
    assert_eq!((sum("ok"), sum("http_error"), rows.len() as u64), (360, 40, seconds));

    let markdown = fs::read_to_string(folder.path().join("r.md")).unwrap();
    assert!(markdown.contains("| 400 | 360 | 40 | 0 |"), "{markdown}");
    assert!(markdown.contains("| `errors<1%` | 10.0% | **missed** |"), "{markdown}");
}
