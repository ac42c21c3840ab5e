//! Replays of access logs: their first parts, from flags and from a bench file, and logs that a real nginx wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod server;
mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use server::{Fate, Server};
use tempfile::TempDir;

fn scalectl(arguments: &[&str]) -> Output {
    support::scalectl().args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Ten requests in each of four seconds, `/0` to `/39`, each fourth of which changes something.
fn folder_with_log() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let line = |n: usize| {
        let (method, second) = (["GET", "HEAD", "GET", "POST"][n % 4], n / 10);
        format!("h - - [10/Oct/2000:13:55:{second:02} +0000] \"{method} /{n} HTTP/1.1\" 200 1 \"-\" \"-\"\n")
    };
    let path = folder.path().join("access.log");
    fs::write(&path, (0..40).map(line).collect::<String>()).unwrap();
    (folder, path.display().to_string())
}

/// What a run says of itself, its counts held against the server's.
fn result(output: &Output, server: &Server) -> Value {
    // On a machine that is too busy the run is not trusted, and everything else is as it should be.
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", stderr(output));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", stderr(output)));
    let count = |key: &str| json["counts"][key].as_u64().unwrap();
    assert_eq!(count("scheduled"), count("sent") + count("unsent"));
    assert_eq!((count("ok"), json["arrivals"].as_str()), (count("scheduled"), Some("replay")));
    assert_eq!(server.count(), count("scheduled"), "{}", json["counts"]);
    json
}

fn paths(server: &Server) -> Vec<String> {
    server.seen().into_iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
}

/// At ten times the speed the log takes 0.4 s; without the POSTs, 8, 7, 8 and 7 requests are due in its seconds.
#[test]
fn a_duration_and_a_number_take_the_first_part() {
    let (_folder, log) = folder_with_log();
    let sent: Vec<_> = (0..40).filter(|n| n % 4 != 3).collect();
    for (length, number, duration_ns, is_shortened) in [
        (["-z", "200ms"], 15, 200_000_000, true),
        (["-n", "8"], 8, 100_000_000, true),
        (["-n", "30"], 30, 0, false),
        (["-z", "1m"], 30, 0, false),
    ] {
        let server = Server::start(|_| Fate::Answer(200, 0));
        let more = ["--replay", &log, "--speed", "10", "-c", "1", "--json", length[0], length[1]];
        let output = scalectl(&[&["bench", &server.url()], &more[..]].concat());
        let json = result(&output, &server);
        assert_eq!(json["counts"]["scheduled"], number, "{length:?}");
        assert_eq!(json["replay_shortened"], is_shortened, "{length:?}");
        let whole = 300_000_000..=400_000_000;
        let found = json["duration_ns"].as_u64().unwrap();
        assert!(found == duration_ns || (!is_shortened && whole.contains(&found)), "{length:?}: {found}");
        let mean = number as f64 * 1e9 / found as f64;
        assert!((json["offered_rate"].as_f64().unwrap() - mean).abs() < 1e-6 * mean, "{}", json["offered_rate"]);
        let expected = sent.iter().take(number).map(|n| format!("{} /{n}", ["GET", "HEAD"][n % 2]));
        assert_eq!(paths(&server), expected.collect::<Vec<_>>(), "{length:?}");
        assert_eq!(stderr(&output).contains("note: "), length == ["-z", "1m"], "{}", stderr(&output));
    }
}

/// It is set for the runs of a script, and a log that ended early would go unnoticed.
#[test]
fn a_variable_cuts_no_log() {
    let (_folder, log) = folder_with_log();
    let server = Server::start(|_| Fate::Answer(200, 0));
    let output = support::scalectl()
        .args(["bench", &server.url(), "--replay", &log, "--speed", "10", "--json"])
        .env("SCALECTL_DURATION", "100ms")
        .output()
        .unwrap();
    let json = result(&output, &server);
    assert_eq!((&json["counts"]["scheduled"], &json["replay_shortened"]), (&30.into(), &false.into()));
}

#[test]
fn the_summary_says_that_it_was_a_part() {
    let (_folder, log) = folder_with_log();
    let server = Server::start(|_| Fate::Answer(200, 0));
    let run = ["bench", &server.url(), "--replay", &log, "--speed", "10"];
    for (length, said) in [
        (&["-n", "8"][..], "80 rps on average for 0.1 s, replay of the first part of a log"),
        (&[], "replay of a log,"),
    ] {
        let output = scalectl(&[&run[..], length, &["-q"]].concat());
        let words = String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(said), "{words}");
    }
    let output = scalectl(&[&run[..], &["-n", "31"]].concat());
    let note = format!("note: {log} has 30 requests to send, fewer than 31");
    assert!(stderr(&output).contains(&note), "{}", stderr(&output));
    let output = scalectl(&[&run[..], &["-z", "2s"]].concat());
    assert!(stderr(&output).contains(&format!("note: {log} is over after ")), "{}", stderr(&output));
}

/// What is tried is in the log: a path that nobody asked for may change something.
#[test]
fn a_trial_is_of_the_first_request_of_each_method() {
    let (_folder, log) = folder_with_log();
    let server = Server::start(|_| Fate::Answer(200, 0));
    for unsafe_too in [&[][..], &["--replay-unsafe"]] {
        scalectl(&[&["bench", &server.url(), "--replay", &log, "--try", "-q"], unsafe_too].concat());
    }
    assert_eq!(paths(&server), ["GET /0", "HEAD /1", "GET /0", "HEAD /1", "POST /3"]);
}

/// A workload's request gives its headers to those of the log, and neither its path nor its body.
#[test]
fn of_a_workload_only_the_headers_are_sent() {
    let (folder, _log) = folder_with_log();
    let file = folder.path().join("bench.toml");
    let server = Server::start(|_| Fate::Answer(200, 0));
    let request = "{ path = '/foo', headers = { x-own = '1' }, json = { a = 1 } }";
    let text = format!("target = '{}'\nreplay = 'access.log'\n[bench.default]\nrequests = [{request}]\n", server.url());
    fs::write(&file, text).unwrap();
    result(&scalectl(&["bench", "--bench-file", file.to_str().unwrap(), "-n", "4", "-c", "1", "--json"]), &server);
    assert_eq!(paths(&server), ["GET /0", "HEAD /1", "GET /2", "GET /4"]);
    assert!(server.seen().iter().all(|seen| seen.body.is_empty() && seen.header("x-own") == Some("1")));
}

/// A method that the first part does not have is not tried.
#[test]
fn a_trial_is_of_the_first_part() {
    let (_folder, log) = folder_with_log();
    let server = Server::start(|_| Fate::Answer(200, 0));
    scalectl(&["bench", &server.url(), "--replay", &log, "-n", "1", "--try", "-q"]);
    assert_eq!(server.seen().iter().map(|seen| seen.method.as_str()).collect::<Vec<_>>(), ["GET"]);
}

#[test]
fn a_bench_file_has_the_length_as_it_has_that_of_a_rate() {
    let (folder, log) = folder_with_log();
    let file = |text: &str| {
        let path = folder.path().join("bench.toml");
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    for (head, workload, flags, number) in [
        ("", "duration = '200ms'", &[][..], 15),
        ("requests = 8", "", &[], 8),
        ("requests = 8", "duration = '200ms'", &[], 8),
        ("", "", &[], 30),
        ("requests = 8", "", &["-z", "200ms"], 15),
        ("", "duration = '200ms'", &["-n", "3"], 3),
        // At the speed of the flags.
        ("requests = 8", "", &["--speed", "20"], 8),
        // A log from a flag comes with the flags' length, whatever the file is about otherwise.
        ("requests = 8", "duration = '200ms'", &["--replay", &log, "--speed", "10"], 30),
    ] {
        let server = Server::start(|_| Fate::Answer(200, 0));
        let text = format!("replay = 'access.log'\nspeed = '10'\n{head}\n[bench.default]\n{workload}\n");
        let run = ["bench", &server.url(), "--bench-file", &file(&text)];
        let printed = scalectl(&[&run[..], flags, &["--print-config"]].concat());
        assert_eq!(printed.status.code(), Some(0), "{}", stderr(&printed));
        let json = result(&scalectl(&[&run[..], flags, &["-c", "1", "--json"]].concat()), &server);
        assert_eq!(json["counts"]["scheduled"], number, "{text} {flags:?}");

        // What is printed is the same run.
        let server = Server::start(|_| Fate::Answer(200, 0));
        let printed = String::from_utf8(printed.stdout).unwrap();
        assert_eq!(printed.contains("duration = \"200ms\""), number == 15, "{printed}");
        assert_eq!(printed.contains("requests = "), [3, 8].contains(&number), "{printed}");
        let target = printed.lines().find(|line| line.starts_with("target = ")).unwrap();
        let printed = printed.replace(target, &format!("target = '{}'", server.url()));
        let json = result(&scalectl(&["bench", "--bench-file", &file(&printed), "--json"]), &server);
        assert_eq!(json["counts"]["scheduled"], number, "{printed}");
    }
}

#[test]
fn what_makes_no_sense_with_a_log_is_refused() {
    let (folder, log) = folder_with_log();
    let server = Server::start(|_| Fate::Answer(200, 0));
    let refused = |arguments: &[&str], said: &str| {
        let output = scalectl(&[&["bench", &server.url()], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    };
    for (more, said) in [
        (&["-n", "0"][..], "the number of requests must be at least 1, not 0"),
        (&["-z", "0s"], "the duration must be longer than 0, not 0s"),
        (&["-n", "5", "-z", "1s"], "cannot be used with"),
        (&["-r", "5"], "cannot be used with"),
        (&["--stage", "5rps:1s"], "cannot be used with"),
        (&["--find-max"], "cannot be used with"),
        (&["-z", "1s", "--warmup", "1s"], "shorter than the whole schedule, 1s, not 1s"),
        (&["-n", "10", "--warmup", "1m"], "the warm-up must be shorter than the whole schedule"),
    ] {
        refused(&[&["--replay", &log], more].concat(), said);
    }
    let file = folder.path().join("bench.toml");
    let path = file.display().to_string();
    for (head, workload, said) in [
        ("rps = 'max'", "", "both replay and a rate: a log has its own timing"),
        ("", "rate = 50", "both replay and a rate"),
        ("", "stages = ['5rps:1s']", "both replay and stages"),
        ("", "arrivals = 'poisson'", "both replay and arrivals"),
        (
            "",
            "[[bench.default.flows]]\nname = 'buy'\nsteps = [{ path = '/' }]",
            "both replay and flows: a log has its own requests",
        ),
        ("requests = 0", "", "the number of requests must be at least 1"),
    ] {
        fs::write(&file, format!("replay = 'access.log'\n{head}\n[bench.default]\n{workload}\n")).unwrap();
        refused(&["--bench-file", &path], said);
    }
    fs::write(&file, "replay = 'access.log'\n[bench.default]\n").unwrap();
    for flags in [["-r", "5"], ["--stage", "5rps:1s"], ["--arrivals", "poisson"]] {
        refused(&[&["--bench-file", &path], &flags[..]].concat(), "the bench file replays a log, which");
    }
    assert_eq!(server.count(), 0);
}

/// An nginx with a log in each of its formats.
struct Nginx {
    process: Child,
    folder: TempDir,
    port: u16,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Name, escaping and format of each log.
const FORMATS: [(&str, &str, &str); 7] = [
    ("combined", "", ""),
    ("timed", "", r#"$remote_addr - - [$time_local] "$request" $status $body_bytes_sent "-" "-" $request_time"#),
    ("request", "escape=json", r#"{"time":"$time_iso8601","request":"$request","request_time":$request_time}"#),
    (
        "request_uri",
        "escape=json",
        r#"{"msec":"$msec","request_method":"$request_method","request_uri":"$request_uri","request_time":"$request_time"}"#,
    ),
    ("uri", "escape=json", r#"{"msec":$msec,"method":"$request_method","uri":"$uri","args":"$args"}"#),
    ("is_args", "escape=json", r#"{"msec":$msec,"method":"$request_method","path":"$uri$is_args$args"}"#),
    (
        "escaped",
        "",
        r#"{"time":"$time_local","method":"$request_method","document_uri":"$document_uri","query_string":"$query_string","agent":"$http_user_agent"}"#,
    ),
];

impl Nginx {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let logs = FORMATS.map(|(name, escape, format)| {
            let format =
                if format.is_empty() { String::new() } else { format!("log_format {name} {escape} '{format}';") };
            format!("{format} access_log {name}.log {name};\n")
        });
        let conf = format!(
            "pid nginx.pid; error_log error.log; worker_processes 1; events {{}}\nhttp {{ client_body_temp_path body; \
             proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi; {} \
             server {{ listen 127.0.0.1:{port}; location / {{ return 200; }} }} }}\n",
            logs.concat()
        );
        fs::write(folder.path().join("nginx.conf"), conf).unwrap();
        let process = Command::new("nginx")
            .args(["-e", "error.log", "-p"])
            .arg(folder.path())
            .args(["-c", "nginx.conf", "-g", "daemon off; master_process off;"])
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx (Debian: nginx-light)");
        let nginx = Self { process, folder, port };
        support::wait_for("nginx to listen", Duration::from_secs(20), || TcpStream::connect(("127.0.0.1", port)).ok());
        nginx
    }

    /// Sends bytes as they are, and reads what comes back until the end.
    fn send(&self, bytes: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }

    /// The file of a log, once it has this many lines.
    fn log(&self, name: &str, lines: usize) -> String {
        let path = self.folder.path().join(format!("{name}.log"));
        let count = |path: &Path| fs::read(path).ok().map(|text| text.split(|byte| *byte == b'\n').count() - 1);
        support::wait_for("the log", Duration::from_secs(20), || count(&path).filter(|found| *found >= lines));
        path.display().to_string()
    }
}

/// What is sent to nginx comes again from every log that it writes: as it was where the log has that, else an equivalent
/// path where the log has what the server made of it.
#[test]
fn what_nginx_logs_is_what_is_sent_again() {
    let nginx = Nginx::start();
    // What was asked for, and `$uri` with `$args` where they are something else.
    let asked = [
        ("/0", None),
        ("/1?a=1&b=2", None),
        ("/2/a%20b?x=1%202", None),
        ("/3/%C3%A4/%E2%82%AC?q=%C3%BC", None),
        ("/4/100%25", None),
        ("/5/q%22uote%5C?%22", None),
        ("/6/hash%23tag", None),
        ("/7/dir/../up//twice", Some("/7/up/twice")),
        ("/8/empty?", Some("/8/empty")),
        ("/9/%7Bid%7D?a={b}|^", None),
        ("/10/%41%3A", Some("/10/A:")),
    ];
    for (path, _) in asked {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: \"5\"\r\nConnection: close\r\n\r\n");
        nginx.send(head.as_bytes());
    }
    nginx.send(b"GET /11/b\xe4d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    nginx.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xe8\x9b\n");
    nginx.send(b"GARBAGE\r\n\r\n");
    for (name, escape, format) in FORMATS {
        let log = nginx.log(name, asked.len() + 3);
        let server = Server::start(|_| Fate::Answer(200, 0));
        let output = scalectl(&["bench", &server.url(), "--replay", &log, "--speed", "10", "-c", "1", "--json"]);
        result(&output, &server);
        let is_decoded = ["$uri", "$document_uri"].iter().any(|variable| format.contains(variable));
        let of = |(asked, made): &(&str, Option<&'static str>)| match made.filter(|_| is_decoded) {
            Some(made) => format!("GET {made}"),
            None => format!("GET {asked}"),
        };
        let mut expected: Vec<_> = asked.iter().map(of).collect();
        let is_text = !format.starts_with('{');
        if !is_text {
            expected.push("GET /11/b%E4d".to_owned());
        }
        // nginx may have taken a millisecond for one, which is then sent before another of its instant.
        let mut found = paths(&server);
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{name} {escape}");
        let said = if is_text {
            "3 lines of LOG are left out: 2 hold no HTTP request, the first in line 13, 1 has a path that cannot be \
             sent, in line 12"
        } else {
            "2 lines of LOG are left out: 2 hold no HTTP request, the first in line 13"
        };
        assert!(stderr(&output).contains(&said.replace("LOG", &log)), "{name}: {}", stderr(&output));
    }
}
