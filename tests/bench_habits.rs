//! Lines as people have them in their fingers from other load generators and from curl: they do what was meant, or say
//! what is written here instead. None of them becomes a run that nobody meant, or none that ends well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod support;

use std::fs;
use std::process::{Command, Output};

use support::{Fate, Server};

fn bench(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scalectl"));
    command.arg("bench").args(arguments).envs(variables.iter().copied()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_flag_of_another_program_is_refused_with_the_one_that_does_it_here() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let url = server.url();
    for (line, said) in [
        // wrk, wrk2
        ("-t2 -c10 -d1s", &["how long requests are sent is -z 1s", "threads are --threads N"][..]),
        ("-t2 -c10 -R50 --latency", &["-R of other programs is --rps RATE here", "percentiles are always printed"]),
        ("-s script.lua", &["--bench-file FILE"]),
        // hey, vegeta: one dash before several letters
        ("-h2", &["has two dashes", "--http 2"]),
        ("-disable-keepalive", &["write --disable-keepalive"]),
        ("-duration=1s", &["write --duration=…"]),
        ("-rate=50", &["write --rate=…"]),
        ("-cpus 1", &["--threads N"]),
        ("-targets x", &["--urls FILE"]),
        // oha
        ("-n 5 -q 50 --no-tui", &["50 requests a second are -r 50", "--no-tui of other programs is --quiet here"]),
        ("-q50", &["50 requests a second are -r 50"]),
        ("--latency-correction", &["always counted from when a request was due"]),
        // k6
        ("--vus 5 --iterations 10", &["--connections N", "--requests N"]),
        ("--stage 10s:100", &["the rate comes first: 100:10s"]),
        ("--slo p(95)<200ms", &["write p95"]),
        // curl
        ("-L -u ada:pw --data x", &["--redirects N", "--user USER:PASSWORD", "--body TEXT"]),
        ("--json {\"a\":1}", &["a body of JSON is --body-json JSON"]),
        ("--user-agent x", &["--header 'User-Agent: TEXT'"]),
        ("--proxy localhost:1", &["no proxy is used"]),
        ("--form file=@Cargo.toml", &["a part with a file is -F 'file=@Cargo.toml'", "-d 'file=%40Cargo.toml'"]),
        // h2load
        ("-m 10", &["--streams 10"]),
        ("-D 10", &["how long requests are sent is -z 10"]),
        // Values, and what only looks like a target
        ("-o result.md", &["write markdown=result.md"]),
        ("-o json:r.json", &["write json=r.json"]),
        ("-c x", &["like 250, 10k or 2M"]),
        ("-r unlimited", &["or max"]),
    ] {
        let words: Vec<_> = line.split(' ').chain([url.as_str()]).collect();
        let output = bench(&[], &words);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", stderr(&output));
        for said in said {
            assert!(stderr(&output).contains(said), "{line}: {}", stderr(&output));
        }
        assert!(!stderr(&output).contains("as a value"), "{line}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{line}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("load.toml").display().to_string();
    fs::write(&file, "").unwrap();
    assert!(stderr(&bench(&[], &[&file])).contains(&format!("--bench-file {file}")));
    assert_eq!(server.count(), 0, "nothing is sent");
}

#[test]
fn what_means_the_same_everywhere_works() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let url = server.url();
    for line in ["-k -X post -r 50/1s -n 3", "-m POST -d 1s -r 3000/1m -n 3", "--insecure -m Post -rmax -n 3"] {
        let words: Vec<_> = line.split(' ').chain(["-q", url.as_str()]).collect();
        let output = bench(&[], &words);
        assert!(stdout(&output).contains("3 ok"), "{line}: {}{}", stdout(&output), stderr(&output));
    }
    assert!(server.seen().iter().all(|seen| seen.method == "POST"));
    let output = bench(&[], &["-rmax", "-n", "1k", "-c", "4", "-q", &url]);
    assert!(stdout(&output).contains("1,000 ok"), "{}", stdout(&output));
    assert_eq!(server.count(), 1009);
}

#[test]
fn what_does_nothing_or_was_not_asked_for_is_noted() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/moved" => Fate::with(302, &["Location: /"], ""),
        _ => Fate::Answer(200, 0),
    });
    let (url, moved) = (server.url(), format!("{}/moved", server.url().trim_end_matches('/')));
    let rate = "no rate is given, so it is 50 requests a second";
    assert!(stderr(&bench(&[], &["-n", "3", "-c", "2", &url])).contains(rate));
    for settled in [&["-n", "3", "-r", "50"][..], &["-n", "3", "-q"], &["--stage", "50rps:0.1s"]] {
        let said = stderr(&bench(&[], &[settled, &[&url]].concat()));
        assert!(!said.contains("no rate"), "{settled:?}: {said}");
    }
    assert!(!stderr(&bench(&[("SCALECTL_RPS", "50")], &["-n", "3", &url])).contains(rate));
    let plain = stderr(&bench(&[], &["-n", "1", "-r", "50", "-k", "--sni", "x", &url]));
    assert!(plain.contains("--insecure does nothing") && plain.contains("settings of TLS do nothing"), "{plain}");
    let variables = [("SCALECTL_BENCH_RPS", "5"), ("SCALECTL_TIMEOUT", "1s"), ("SCALECTL_BENCH_SLO", "errors<1%")];
    let said = stderr(&bench(&variables, &["-n", "1", "-r", "50", &url]));
    for (other, own) in [("SCALECTL_BENCH_RPS", "SCALECTL_RPS"), ("SCALECTL_TIMEOUT", "SCALECTL_BENCH_TIMEOUT")] {
        assert!(said.contains(&format!("the variable {other} is not looked at: that of")), "{said}");
        assert!(said.contains(&format!("is {own}\n")), "{said}");
    }
    assert!(!said.contains("SCALECTL_BENCH_SLO"), "{said}");
    let unfolded = |output: &Output| stdout(output).split_whitespace().collect::<Vec<_>>().join(" ");
    let redirects = "every answer was a redirect; --redirects N follows them";
    assert!(unfolded(&bench(&[], &["-n", "2", "-r", "50", &moved])).contains(redirects));
    assert!(!unfolded(&bench(&[], &["-n", "2", "-r", "50", "--redirects", "1", &moved])).contains(redirects));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("load.toml").display().to_string();
    fs::write(&file, "[[bench.default.requests]]\npath = \"/a\"\n").unwrap();
    let lost = |path: &str| {
        let flags = ["--bench-file", &file, "-n", "1", "-r", "50", &format!("{url}{path}")];
        stderr(&bench(&[], &flags)).contains("of the URL is left out: the workload has paths of its own")
    };
    assert_eq!([lost("/pre"), lost("/a"), lost("/"), lost("")], [true, false, false, false]);
    let slow = Server::start(|seen| Fate::Answer(200, seen.at_ns + 100_000_000));
    let waited = "all 2 connections were in use, and requests waited for one: if the target could answer more at the same \
                  time, raise --connections";
    assert!(unfolded(&bench(&[], &["-n", "20", "-r", "50", "-c", "2", &slow.url()])).contains(waited));
    let never = "p99>1h was never looked at";
    assert!(unfolded(&bench(&[], &["-n", "2", "-r", "50", "--abort-on", "p99>1h", &url])).contains(never));
}
