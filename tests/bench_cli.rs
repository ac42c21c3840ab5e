//! `scalectl bench` and `scalectl report` as scripts use them: exit codes, streams, formats.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod support;

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::Value;
use support::{Fate, Server};

fn scalectl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scalectl")).args(arguments).output().unwrap()
}

/// The same, with a file as standard input.
fn scalectl_reading(arguments: &[&str], file: &str) -> Output {
    let input = fs::File::open(file).unwrap();
    Command::new(env!("CARGO_BIN_EXE_scalectl")).args(arguments).stdin(input).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs on a machine that is too busy end with 5; everything else about them is as it should be.
fn assert_exit(output: &Output, expected: i32) {
    let code = output.status.code().unwrap();
    let json: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    let says_so = || String::from_utf8_lossy(&output.stdout).contains("not trusted");
    let is_untrusted = json.map_or_else(says_so, |json| json["verdict"]["trusted"] == false);
    let expected = if is_untrusted { 5 } else { expected };
    assert_eq!(code, expected, "{}{}", String::from_utf8_lossy(&output.stdout), stderr(output));
}

#[test]
fn what_is_wrong_is_refused_before_anything_is_sent() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let url = server.url();
    for (arguments, said) in [
        (&["--rps", "0"][..], "a rate in requests a second above 0"),
        (&["--rps", "fast"], "a rate"),
        (&["-n", "0"], "the number of requests must be at least 1"),
        (&["-n", "5", "-z", "5s"], "cannot be used with"),
        (&["-z", "0s"], "the duration must be longer than 0"),
        (&["-z", "10 parsecs"], "a duration like"),
        (&["--stage", "100rps"], "write one like 100rps:30s"),
        (&["--stage", "5..0:1s", "--rps", "5"], "cannot be used with"),
        (&["--stage", "0rps:1s"], "above 0 in at least one stage"),
        (&["--arrivals", "often"], "constant (evenly spaced) or poisson"),
        (&["--arrivals", "poisson", "--rps", "max"], "leave out --rps max"),
        (&["--warmup", "10s"], "the warm-up must be shorter than the whole schedule, 10s, not 10s"),
        (&["--replay", "/nowhere.log"], "/nowhere.log cannot be replayed"),
        (&["--replay", "Cargo.toml"], "line 1: it is neither in the common"),
        (&["--replay", "x.log", "--rps", "5"], "cannot be used with"),
        (&["--speed", "2"], "--speed is about a log that is replayed"),
        (&["--replay-unsafe"], "--replay-unsafe is about a log"),
        (&["--key", "k.pem"], "give the certificate as well"),
        (&["-a", "ada"], "has no password"),
        (&["-F", "a=@Cargo.toml;type="], "which is none, write one like @FILE;type=image/png"),
        (&["-F", "a=@-;type=text/plain"], "a part is not read from stdin"),
        (&["--try", "--output", "json"], "cannot be used with"),
        (&["--try", "--metrics-listen", "127.0.0.1:0"], "cannot be used with"),
        (&["-c", "0"], "the number of connections"),
        (&["--rps", "most"], "or max"),
        (&["--pacing", "often"], "a time from 1us to 1s"),
        (&["--io", "magic"], "driven by auto"),
        (&["--rps", "10000k", "-z", "1h"], "10^10"),
        (&["-H", "no colon"], "has no colon"),
        (&["-m", "G T"], "not an HTTP method"),
        (&["-d", "{{ ziff(1, 2) }}"], "did you mean \"zipf\"?"),
        (&["--slo", "p99=5ms"], "write one like"),
        (&["--output", "jsn"], "there are text, json"),
        (&["--output", "text", "--json"], "only one format can go to stdout"),
        (&["--output", "json=/nowhere/x.json"], "cannot write /nowhere/x.json"),
        (&["--output", "json=x.out", "--output", "csv=./x.out"], "json and csv go to the same file"),
        (&["--workload", "mix"], "--workload names a mix of a scalectl.toml"),
        (&["--votes", "5"], "--votes is about --find-max"),
        (&["--probe-time", "1s"], "--probe-time is about --find-max"),
        (&["--try", "--find-max"], "cannot be used with"),
        (&["--urls", "/dev/null"], "/dev/null: no URL in it"),
        (&["-d", "@-", "--print-config"], "cannot hold a body that is read from stdin"),
        (&["-D", "-", "--replay", "-"], "cannot be used with"),
        (&["-F", "a=@-"], "a part is not read from stdin"),
        (&["--rps", "20000000"], "up to 10000k"),
        (&["--rps", "1e9"], "without an exponent"),
    ] {
        let output = scalectl(&[&["bench", &url], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
    for (url, said) in [("ftp://x/", "ftp"), ("http://x:99999/", "port"), ("http://", "names no host")] {
        let output = scalectl(&["bench", url]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    let output = scalectl(&["bench", "http://ada:hunter2@localhost/"]);
    let said = stderr(&output);
    assert!(output.status.code() == Some(2) && said.contains("--user") && !said.contains("hunter2"), "{said}");
    assert_eq!(server.count(), 0);
    assert_eq!(server.connections(), 0);
}

fn printed(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scalectl"));
    command.args(["bench", "http://127.0.0.1:9/", "--print-config", "--seed", "1"]).args(arguments);
    std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("SCALECTL_")).for_each(
        |name| {
            command.env_remove(name);
        },
    );
    command.envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn a_file_that_contradicts_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.toml");
    let path = file.to_str().unwrap();
    for (head, workload, said) in [
        ("requests = 4", "stages = ['5rps:1s']", "both requests and stages"),
        ("", "stages = ['5rps:1s']\nrate = 5", "both stages, and a rate or duration"),
        ("", "stages = ['5rps:1s']\nduration = '1s'", "both stages, and a rate or duration"),
        ("rps = 7", "stages = ['5rps:1s']", "both stages, and a rate or duration"),
        ("connect_timeout = '0s'", "", "a connect_timeout of 0"),
        ("unix_socket = '/s'\nipv4 = true", "", "both unix_socket, and ipv4 or ipv6"),
        ("unix_socket = '/s'\nbind = ['127.0.0.1']", "", "both unix_socket, and resolve, connect_to or bind"),
        ("ipv4 = true\nipv6 = true", "", "both ipv4 and ipv6"),
        ("key = 'k.pem'", "", "a key without cert"),
        ("speed = '2'", "", "speed or replay_unsafe alone"),
    ] {
        fs::write(&file, format!("{head}\n[bench.default]\n{workload}\n")).unwrap();
        let output = printed(&["--bench-file", path], &[]);
        assert_eq!(output.status.code(), Some(2), "{head} {workload}");
        assert!(stderr(&output).contains(said), "{head} {workload}: {}", stderr(&output));
    }
}

/// What is printed of a file and flags that replace a part of it can be read again.
#[test]
fn what_flags_make_of_a_file_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.toml");
    let path = file.to_str().unwrap();
    let log = folder.path().join("log");
    fs::write(&log, "h - - [10/Oct/2000:13:55:01 +0000] \"GET /x HTTP/1.1\" 200 1 \"-\" \"-\"\n").unwrap();
    for (head, workload, flags) in [
        ("requests = 4", "rate = 5", &["--stage", "5rps:1s"][..]),
        ("rps = 7", "duration = '3s'", &["--stage", "5rps:1s"]),
        ("", "stages = ['5rps:1s']", &["--rps", "5", "-z", "2s"]),
        ("ipv4 = true\nbind = ['127.0.0.1']", "", &["--unix-socket", "/s"]),
        ("unix_socket = '/s'", "", &["-4"]),
        ("unix_socket = '/s'", "", &["--connect-to", "::localhost:"]),
        ("replay = 'log'", "requests = [{ path = '/foo', json = { a = 1 } }]", &[]),
        ("replay = 'log'", "", &["--speed", "2"]),
        ("replay = 'log'", "", &["--replay-unsafe"]),
    ] {
        fs::write(&file, format!("{head}\n[bench.default]\n{workload}\n")).unwrap();
        let once = printed(&[&["--bench-file", path], flags].concat(), &[]);
        assert!(once.status.success(), "{head} {workload} {flags:?}: {}", stderr(&once));
        fs::write(&file, &once.stdout).unwrap();
        let twice = printed(&["--bench-file", path], &[]);
        assert!(twice.status.success(), "{head} {workload} {flags:?}: {}", stderr(&twice));
        assert_eq!(once.stdout, twice.stdout, "{head} {workload} {flags:?}");
    }
}

/// A flag goes before the variables that it cannot be used with, and a variable that is empty is none.
#[test]
fn a_flag_goes_before_variables() {
    for (variable, flags) in [
        (("SCALECTL_DURATION", "5s"), &["-n", "5"][..]),
        (("SCALECTL_BENCH_REQUESTS", "5"), &["-z", "7s"]),
        (("SCALECTL_RPS", "7"), &["--stage", "5rps:2s"]),
        (("SCALECTL_RPS", "7"), &["--rps", "5"]),
        (("SCALECTL_HTTP", "1.1"), &["--http2"]),
        (("SCALECTL_ARRIVALS", "poisson"), &["--replay", "LOG"]),
        (("SCALECTL_DURATION", "5s"), &["--find-max"]),
        (("SCALECTL_BENCH_BODY", "x"), &["--form", "a=b"]),
        (("SCALECTL_BENCH_TRY", "0"), &[]),
        (("SCALECTL_RPS", ""), &[]),
        (("SCALECTL_DURATION", ""), &[]),
        (("SCALECTL_BENCH_HTTP2", ""), &[]),
        // Set for other runs.
        (("SCALECTL_WORKLOAD", "mix"), &[]),
        (("SCALECTL_BENCH_VOTES", "5"), &[]),
        (("SCALECTL_BENCH_SPEED", "2"), &[]),
        (("SCALECTL_BENCH_INSECURE", "1"), &["--rps", "5"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log").display().to_string();
        let line = "h - - [10/Oct/2000:13:55:01 +0000] \"GET /x HTTP/1.1\" 200 1 \"-\" \"-\"\n";
        fs::write(&log, line.repeat(2)).unwrap();
        let flags: Vec<&str> = flags.iter().map(|flag| if *flag == "LOG" { &log } else { *flag }).collect();
        let (with, without) = (printed(&flags, &[variable]), printed(&flags, &[]));
        let said = stderr(&with);
        assert!(with.status.success() && without.status.success(), "{variable:?} {flags:?}: {said}");
        let text = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap().replace("insecure = true\n", "");
        assert_eq!(text(&with), text(&without), "{variable:?} {flags:?}");
    }
    // A log that a bench file names has a schedule of its own.
    let folder = tempfile::tempdir().unwrap();
    let (log, file) = (folder.path().join("log"), folder.path().join("replay.toml"));
    fs::write(&log, "h - - [10/Oct/2000:13:55:01 +0000] \"GET /x HTTP/1.1\" 200 1 \"-\" \"-\"\n").unwrap();
    fs::write(&file, format!("replay = \"{}\"\n[bench.default]\n", log.display())).unwrap();
    let flags = ["--bench-file", file.to_str().unwrap()];
    for (variable, value) in
        [("SCALECTL_RPS", "max"), ("SCALECTL_ARRIVALS", "poisson"), ("SCALECTL_BENCH_STAGE", "5rps:1s")]
    {
        let (with, without) = (printed(&flags, &[(variable, value)]), printed(&flags, &[]));
        assert!(with.status.success(), "{variable}: {}", stderr(&with));
        assert_eq!(with.stdout, without.stdout, "{variable}");
    }
    // It counts where nothing contradicts it.
    let text = String::from_utf8(printed(&["-n", "5"], &[("SCALECTL_RPS", "7")]).stdout).unwrap();
    assert!(text.contains("rate = \"7\""), "{text}");
    for (variables, said) in [
        (&[("SCALECTL_RPS", "fast")][..], "--rps is set by the variable SCALECTL_RPS"),
        (
            &[("SCALECTL_RPS", "5"), ("SCALECTL_BENCH_STAGE", "5rps:1s")],
            "--stage is set by the variable SCALECTL_BENCH_STAGE",
        ),
        // What contradicts itself only by its values.
        (
            &[("SCALECTL_RPS", "max"), ("SCALECTL_ARRIVALS", "poisson")],
            "set in the environment: SCALECTL_RPS, SCALECTL_ARRIVALS",
        ),
    ] {
        let output = printed(&[], variables);
        assert!(output.status.code() == Some(2) && stderr(&output).contains(said), "{}", stderr(&output));
    }
}

#[test]
fn colours_are_as_told_on_stderr_too() {
    let coloured = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_scalectl")).args(arguments).env("CLICOLOR_FORCE", "1").output();
        stderr(&output.unwrap()).contains('\u{1b}')
    };
    let help =
        Command::new(env!("CARGO_BIN_EXE_scalectl")).args(["bench", "-h", "--color", "always"]).output().unwrap();
    assert!(help.stdout.contains(&0x1b), "help is coloured as told");
    // Of the program itself, and of what reads its arguments.
    for wrong in [&["report", "/nowhere"][..], &["bench", "--rps", "fast"]] {
        assert!(coloured(wrong), "{wrong:?}: forced by the environment");
        assert!(!coloured(&[&["--color", "never"], wrong].concat()), "{wrong:?}");
        let piped = scalectl(&[&["--color", "always"], wrong].concat());
        assert!(stderr(&piped).contains('\u{1b}') && !stderr(&scalectl(wrong)).contains('\u{1b}'), "{wrong:?}");
    }
}

#[test]
fn numbers_of_a_bench_file_need_no_quotes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("load.toml").display().to_string();
    fs::write(&file, "target = \"http://127.0.0.1:9/\"\nrps = 5\nhttp = 1.1\n[bench.default]\n").unwrap();
    let output = scalectl(&["bench", "--bench-file", &file, "--print-config"]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.contains("rate = \"5\""), "{text}{}", stderr(&output));
    fs::write(&file, "target = \"http://127.0.0.1:9/\"\nrps = true\n[bench.default]\n").unwrap();
    let output = scalectl(&["bench", "--bench-file", &file, "--print-config"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("a text or a number"), "{}", stderr(&output));
}

#[test]
fn a_target_that_cannot_be_reached_is_named_with_the_cause() {
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = scalectl(&["bench", &address.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("cannot connect to {address}")), "{}", stderr(&output));
    assert!(stderr(&output).contains("refused"));
    let output = scalectl(&["bench", "http://name.invalid/"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("name.invalid:80") && stderr(&output).contains("dns"), "{}", stderr(&output));
    let output = scalectl(&["bench", "http://[::1]:9/", "--bind", "127.0.0.1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("::1 has IPv6 addresses only") && !said.contains("spelling"), "{said}");
    // It speaks no TLS, and waits for the end of a request that never comes.
    let server = Server::start(|_| Fate::Close);
    let output = scalectl(&["bench", &server.url().replace("http://", "https://"), "--timeout", "500ms"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("tls"), "{}", stderr(&output));
}

#[test]
fn exit_codes_say_how_it_went() {
    let server = Server::start(|seen| Fate::Answer(if seen.path.starts_with("/404") { 404 } else { 200 }, 0));
    let url = server.url();
    let bench = |path: &str, more: &[&str]| {
        let url = format!("{url}{path}");
        let output = scalectl(&[&["bench", &url, "-n", "20", "--rps", "100", "--json", "-q"], more].concat());
        assert!(output.stderr.is_empty(), "quiet: {}", stderr(&output));
        output
    };
    assert_exit(&bench("/", &[]), 0);
    assert_exit(&bench("/", &["--slo", "p50<1m", "--slo", "errors<=0%"]), 0);
    assert_exit(&bench("/", &["--slo", "p50<1m", "--slo", "rate>=1000"]), 4);
    assert_exit(&bench("/404", &[]), 1);
    assert_exit(&bench("/404", &["--slo", "errors<1%"]), 4);
}

#[test]
fn the_core_of_the_json_is_the_contract() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let output = scalectl(&["bench", &server.url(), "-n", "30", "--rps", "300", "--json", "--slo", "p99<1m", "-q"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["schema"], "scalectl.bench/1");
    let latency = ["mean", "min", "max", "p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99"];
    for name in ["response_time_ns", "service_time_ns", "pool_wait_ns", "own_lag_ns", "send_lag_ns", "failed_time_ns"] {
        for key in latency {
            let value = json[name].get(key).unwrap_or_else(|| panic!("{name}.{key} is missing"));
            assert!(value.is_u64() || value.is_null(), "{name}.{key}: {value}");
        }
    }
    assert!(json["response_time_ns"]["p90"].is_u64() && json["response_time_ns"]["p99"].is_null());
    let counts = &json["counts"];
    for key in ["scheduled", "sent", "unsent", "ok", "http_error", "network_error", "timeout", "unfinished", "retries"]
    {
        assert!(counts[key].is_u64(), "counts.{key}");
    }
    assert_eq!(counts["wire"], serde_json::json!([30, 30]));
    assert_eq!(server.count(), 30);
    assert_eq!(json["status"], serde_json::json!({"200": 30}));
    assert_eq!(json["slo"][0]["expression"], "p99<1m");
    assert!(json["slo"][0]["ok"].is_boolean() && json["verdict"]["trusted"].is_boolean());
    assert!(json["verdict"]["reasons"].is_array() && json["verdict"]["notes"].is_array());
    for key in
        ["target", "duration_ns", "elapsed_ns", "offered_rate", "achieved_rate", "errors", "seed", "io", "version"]
    {
        assert!(!json[key].is_null(), "{key}");
    }
}

/// What a closed loop cannot say is null, and what it says is labelled.
#[test]
fn a_closed_loop_says_that_it_is_one() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let more = ["--rps", "max", "-n", "300", "-c", "3", "--threads", "2", "--pacing", "1ms"];
    let output = scalectl(&[&["bench", &server.url(), "--json", "-q"][..], &more].concat());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((json["counts"]["ok"].as_u64(), server.count(), server.connections()), (Some(300), 300, 3));
    assert_eq!((&json["arrivals"], &json["threads"]), (&"closed_loop".into(), &2.into()));
    assert_eq!(json["pacing"], "1ms");
    for null in [&json["offered_rate"], &json["rate"], &json["own_lag_ns"]["p50"], &json["pool_wait_ns"]["max"]] {
        assert!(null.is_null(), "{null}");
    }
    // It is as long as its requests take.
    let (duration, elapsed) = (json["duration_ns"].as_u64().unwrap(), json["elapsed_ns"].as_u64().unwrap());
    assert_eq!(duration, elapsed);
    let rate = 300.0 / (duration as f64 / 1e9);
    assert!((json["achieved_rate"].as_f64().unwrap() / rate - 1.0).abs() < 0.01, "{} of {rate}", json["achieved_rate"]);
    let text = scalectl(&["bench", &server.url(), "--rps", "max", "-z", "200ms", "-q"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("closed loop: omits waiting") && !text.contains("offered"), "{text}");
}

/// Nothing but their number ends it: it lasts until the last answer, in every figure that depends on that.
#[test]
fn a_closed_loop_of_a_number_is_as_long_as_it_takes() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, log) = (path("a.json"), path("a.hlog"));
    let outputs = ["-o", &format!("json={json}"), "-o", &format!("hlog={log}")];
    for more in [&[][..], &["--warmup", "1ms"]] {
        let flags = ["--rps", "max", "-n", "2000", "-c", "2", "--slo", "rate>=1", "-q"];
        let output = scalectl(&[&["bench", &server.url()], &flags[..], &outputs[..], more].concat());
        let result: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        let (duration, elapsed) = (result["duration_ns"].as_u64().unwrap(), result["elapsed_ns"].as_u64().unwrap());
        assert!((1..=elapsed).contains(&duration), "{duration} of {elapsed} ns, {}", stderr(&output));
        assert_eq!(result["slo"][0]["ok"], true, "{}", result["slo"]);
        let laps = fs::read_to_string(&log).unwrap().lines().filter(|line| line.starts_with("Tag=response")).count();
        assert!(laps as u64 <= elapsed / 1_000_000_000 + 2, "{laps} laps of {elapsed} ns");
    }
    let compared = scalectl(&["compare", &json, &json]);
    assert!([0, 5].contains(&compared.status.code().unwrap()), "{}", stderr(&compared));
}

/// A thread that cannot have its descriptors ends the run before it begins.
#[test]
fn a_generator_that_cannot_be_set_up_says_what_it_lacks() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let line =
        format!("ulimit -n 20; exec {} bench {} --threads 4 -c 4 -n 4", env!("CARGO_BIN_EXE_scalectl"), server.url());
    let output = Command::new("timeout").args(["60", "sh", "-c", &line]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    for said in ["Too many open files", "ulimit -n", "--threads"] {
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    assert_eq!(server.count(), 0);
}

#[test]
fn a_rate_goes_before_a_file_that_has_none() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("max.toml");
    fs::write(&file, format!("target = \"{}\"\nrps = \"max\"\nrequests = 20\n[bench.default]\n", server.url()))
        .unwrap();
    let file = file.to_str().unwrap();
    let arrivals = |flags: &[&str]| {
        let output = scalectl(&[&["bench", "--bench-file", file, "-q", "--json"], flags].concat());
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
        json["arrivals"].as_str().unwrap().to_owned()
    };
    assert_eq!(arrivals(&[]), "closed_loop");
    assert_eq!(arrivals(&["--rps", "200"]), "constant");
    assert_eq!(arrivals(&["--stage", "100rps:100ms"]), "constant");
    assert_eq!(arrivals(&["--rps", "200", "--arrivals", "poisson"]), "poisson");
    fs::write(file, format!("target = \"{}\"\nrequests = 20\n[bench.default]\narrivals = \"poisson\"\n", server.url()))
        .unwrap();
    assert_eq!(arrivals(&["--rps", "max"]), "closed_loop");
}

#[test]
fn a_seed_repeats_what_was_sent() {
    let sent = |seed: &str| {
        let server = Server::start(|_| Fate::Answer(200, 0));
        let url = format!("{}/{{{{ seq() }}}}/{{{{ uuid() }}}}", server.url());
        scalectl(&["bench", &url, "-n", "20", "--rps", "400", "-q", "--seed", seed]);
        let mut paths: Vec<_> = server.seen().into_iter().map(|s| s.path).collect();
        paths.sort();
        assert_eq!(paths.len(), 20);
        paths
    };
    assert_eq!(sent("7"), sent("7"));
    assert_ne!(sent("7"), sent("8"));
}

#[test]
fn a_report_from_the_json_is_the_report_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, text) = (path("run.json"), path("run.txt"));
    let server = Server::start(|seen| Fate::Answer(if seen.path == "/x" { 503 } else { 200 }, 0));
    let outputs = [format!("json={json}"), format!("text={text}")];
    let run = [
        "-n",
        "50",
        "--rps",
        "500",
        "-m",
        "POST",
        "-d",
        "hello",
        "-q",
        "--output",
        &outputs[0],
        "--output",
        &outputs[1],
    ];
    let bench = scalectl(&[&["bench", &server.url()][..], &run].concat());
    let printed = String::from_utf8(bench.stdout).unwrap();
    assert_eq!(printed, std::fs::read_to_string(&text).unwrap());
    assert!(!printed.contains('\x1b'), "no colours in a pipe");
    assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
    assert_eq!(server.seen()[0].method, "POST");

    let report = scalectl(&["report", &json]);
    assert_eq!((report.status.code(), String::from_utf8(report.stdout).unwrap()), (Some(0), printed));
    let again = scalectl(&["report", &json, "--json"]);
    assert_eq!(again.stdout, std::fs::read(&json).unwrap());
    let piped = scalectl_reading(&["report", "-", "--json"], &json);
    assert_eq!((piped.status.code(), piped.stdout), (Some(0), again.stdout));

    let other = path("other.json");
    let output = format!("json={other}");
    scalectl(&[&["bench", &server.url()][..], &run[..run.len() - 4], &["--output", &output]].concat());
    let merged: Value = serde_json::from_slice(&scalectl(&["report", &json, &other, "--json"]).stdout).unwrap();
    assert_eq!(merged["counts"]["scheduled"], 100);
    let newer = path("newer.json");
    let text_of_newer = std::fs::read_to_string(&json).unwrap().replace("scalectl.bench/1", "scalectl.bench/9");
    std::fs::write(&newer, text_of_newer).unwrap();
    for (results, said) in [
        (&[json.as_str(), &other, &json][..], "result 3 is the same run as result 1"),
        (&[&newer], "its schema is \"scalectl.bench/9\""),
        (&["-", "-"], "standard input has one result"),
    ] {
        let refused = scalectl(&[&["report"], results].concat());
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{results:?}");
        assert!(stderr(&refused).contains(said), "{results:?}: {}", stderr(&refused));
    }

    let wrong = scalectl(&["report", &text]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("is not the result of a bench"));
    assert_eq!(scalectl(&["report", &path("nothing.json")]).status.code(), Some(2));
}

#[test]
fn a_damaged_result_is_one_error_before_anything_is_written() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let run = scalectl(&["bench", &server.url(), "-n", "20", "--rps", "500", "--json", "-q"]);
    let result: Value = serde_json::from_slice(&run.stdout).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [file, page] = ["r.json", "r.html"].map(|name| folder.path().join(name));
    let [file, page] = [&file, &page].map(|path| path.display().to_string());
    let most = u64::MAX;
    for (place, value, said) in [
        ("/schema", "scalectl.bench/2".into(), "its schema is \"scalectl.bench/2\", and this version reads"),
        ("/duration_ns", most.into(), "more than a year"),
        ("/elapsed_ns", 1.into(), "it took 1 ns"),
        ("/counts/ok", 21.into(), "they do not add up"),
        ("/counts/scheduled", most.into(), "more than any run has"),
        ("/connections/limit", most.into(), "connections.limit"),
        ("/achieved_rate", (-1.0).into(), "achieved_rate is -1e0"),
        ("/series/0/second", most.into(), "where 0 would be"),
        ("/histograms/response/sum_ns", 0.into(), "of 0 ns in all"),
        ("/series/0/response/v2", "HIST".into(), "second 0 of its series"),
    ] {
        let mut damaged = result.clone();
        *damaged.pointer_mut(place).unwrap() = value;
        std::fs::write(&file, damaged.to_string()).unwrap();
        let output = scalectl(&["report", &file, "--output", &format!("html={page}")]);
        assert_eq!(output.status.code(), Some(2), "{place}: {}", stderr(&output));
        assert!(stderr(&output).contains(said) && stderr(&output).contains("is not the result of a bench"), "{place}");
        assert!(output.stdout.is_empty() && !std::path::Path::new(&page).exists(), "{place}");
        // A comparison has no use for the histograms of the series.
        let is_compared = place.ends_with("v2");
        let output = scalectl(&["compare", &file, &file]);
        assert_eq!(output.status.code(), Some(if is_compared { 0 } else { 2 }), "{place}: {}", stderr(&output));
    }
}

#[test]
fn without_a_terminal_there_is_a_line_a_second_on_stderr() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let output = scalectl(&["bench", &server.url(), "-z", "2500ms"]);
    let lines = stderr(&output).lines().filter(|line| line.contains("in flight")).count();
    assert!((1..=3).contains(&lines), "{}", stderr(&output));
}

#[test]
fn of_formats_on_stdout_a_flag_goes_before_a_variable() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    for (flags, variable, is_json) in [
        (&["--output", "text"][..], ("SCALECTL_JSON", "1"), false),
        (&["--json"], ("SCALECTL_BENCH_OUTPUT", "text"), true),
        (&[], ("SCALECTL_JSON", "1"), true),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scalectl"));
        let output = command.args(["bench", &server.url(), "-n", "5"]).args(flags).envs([variable]).output().unwrap();
        assert_ne!(output.status.code(), Some(2), "{flags:?} {variable:?}: {}", stderr(&output));
        assert_eq!(output.stdout.starts_with(b"{"), is_json, "{flags:?} {variable:?}");
    }
}

#[test]
fn a_run_that_does_not_begin_leaves_the_logs_of_others_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old.hlog"), folder.path().join("new.hlog"));
    fs::write(&old, "an earlier run\n".repeat(1000)).unwrap();
    let outputs = [&old, &new].map(|path| format!("hlog={}", path.display()));
    let flags = ["-n", "5", "-q", "-o", &outputs[0], "-o", &outputs[1]];
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let server = Server::start(|_| Fate::Answer(200, 0));
    for (url, more, code) in [("http://127.0.0.1:1/", &[][..], 1), (&server.url(), &["--metrics-listen", &address], 2)]
    {
        let output = scalectl(&[&["bench", url], &flags[..], more].concat());
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(fs::read_to_string(&old).unwrap().starts_with("an earlier run\n") && !new.exists());
    }
    assert_exit(&scalectl(&[&["bench", &server.url()], &flags[..]].concat()), 0);
    for path in [&old, &new] {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with('#') && !text.contains("earlier"), "{text}");
    }
}

/// All that is due in the last step of the pacing falls due before the run is over.
#[test]
fn without_a_grace_time_everything_that_is_due_is_sent() {
    for io in ["epoll", "auto"] {
        let server = Server::start(|_| Fate::Answer(200, 0));
        let run = ["--rps", "200", "-z", "1s", "--grace", "0s", "--pacing", "50ms", "--io", io, "--json", "-q"];
        let output = scalectl(&[&["bench", &format!("{}/{{{{ seq() }}}}", server.url())][..], &run].concat());
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let counts = &json["counts"];
        assert_eq!((&counts["scheduled"], &counts["unsent"]), (&200.into(), &0.into()), "{io}: {counts}");
        assert_eq!(json["generator"]["unsent_while_free"], 0, "{}", json["verdict"]);
        // Nothing is waited for: the server sees the last ones or not.
        assert!(server.count() <= counts["wire"][1].as_u64().unwrap(), "{io}: {counts} {}", server.count());
    }
}

/// What cannot be written at the end does not keep the rest from being written.
#[test]
fn one_output_that_fails_costs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let csv = format!("csv={}", file("run.csv").display());
    let server = Server::start(|_| Fate::Answer(200, 0));
    let flags = ["-n", "5", "-q", "-o", "json=/dev/full", "-o", "markdown=/dev/full", "-o", &csv, "-o", "text"];
    let output = scalectl(&[&["bench", &server.url()], &flags[..]].concat());
    let said = stderr(&output);
    assert!(output.status.code() == Some(1) && said.matches("/dev/full").count() == 2, "{said}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("response"));
    assert_eq!(fs::read_to_string(file("run.csv")).unwrap().lines().count(), 2);
    // To look whether a file can be written changes none.
    fs::write(file("old.json"), "an earlier run").unwrap();
    let outputs = [format!("json={}", file("old.json").display()), format!("csv={}", file("new.csv").display())];
    let output = scalectl(&["bench", "http://127.0.0.1:1/", "-o", &outputs[0], "-o", &outputs[1]]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(file("old.json")).unwrap(), "an earlier run");
    assert!(!file("new.csv").exists());
    // Links are other names of the same file, and one that leads nowhere is a file that cannot be written.
    fs::hard_link(file("old.json"), file("hard.csv")).unwrap();
    std::os::unix::fs::symlink("new.csv", file("soft.json")).unwrap();
    std::os::unix::fs::symlink("nowhere/new.json", file("lost.json")).unwrap();
    let to = |format: &str, name: &str| format!("{format}={}", file(name).display());
    for (outputs, said) in [
        ([to("json", "old.json"), to("csv", "hard.csv")], "json and csv go to the same file"),
        ([to("json", "soft.json"), to("csv", "new.csv")], "json and csv go to the same file"),
        ([to("json", "lost.json"), to("csv", "new.csv")], "cannot write"),
    ] {
        let output = scalectl(&["bench", &server.url(), "-n", "1", "-o", &outputs[0], "-o", &outputs[1]]);
        assert!(output.status.code() == Some(2) && stderr(&output).contains(said), "{outputs:?}: {}", stderr(&output));
    }
    assert_eq!((server.count(), file("new.csv").exists()), (5, false));
}

/// Whatever the environment says of proxies: the load goes to the target, and the result says so.
#[test]
fn proxy_variables_are_ignored_and_told() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let output = Command::new(env!("CARGO_BIN_EXE_scalectl"))
        .args(["bench", &server.url(), "-n", "5", "--rps", "50", "--json", "-q"])
        .envs([("http_proxy", "http://127.0.0.1:1"), ("ALL_PROXY", "http://127.0.0.1:1")])
        .output()
        .unwrap();
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["counts"]["ok"], server.count()), (&5.into(), 5), "{result}");
    let notes = result["verdict"]["notes"].to_string();
    assert!(notes.contains("http_proxy") && notes.contains("ALL_PROXY"), "{notes}");
}
