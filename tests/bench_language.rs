//! What is sent, what is expected of the answers, and flows: against a server that says what it saw.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Output};

use scalectl::bench::{self, Cause, Config, Counts, Io, Length, Phase, Summary, Workload};
use scalectl::units::TimeSpan;
use serde_json::{Value, json};
use support::{Fate, Seen, Server};

/// A run of a workload at `server`.
fn config(server: &Server, requests: u64, workload: Value) -> Config {
    let mut config = Config::new(server.url().parse().unwrap());
    let workload: Workload = serde_json::from_value(workload).unwrap();
    config.apply(&workload);
    config.rate = "500".parse().unwrap();
    config.length = Length::Requests(requests);
    config.seed = 1;
    config
}

fn run(config: &Config) -> Summary {
    let summary = bench::run(config, &mut ()).unwrap();
    let c = summary.counts;
    assert!(c.holds(), "{c:?}");
    assert!(summary.flows.holds(), "{:?}", summary.flows);
    let of = |f: fn(&Counts) -> u64| summary.requests.iter().map(|r| f(&r.counts)).sum::<u64>();
    assert_eq!((of(|c| c.scheduled), of(|c| c.sent), of(|c| c.ok)), (c.scheduled, c.sent, c.ok));
    summary
}

/// With either way of driving sockets.
fn every_io(mut test: impl FnMut(Io)) {
    for io in [Io::Epoll, Io::Auto] {
        test(io);
    }
}

fn scalectl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scalectl")).args(arguments).output().unwrap()
}

/// A shop: a token for a login, an order for the token, which needs the cookie of the login; the order can be seen where
/// its `Location` says.
fn shop(seen: &Seen) -> Fate {
    let user = |text: &str| text.rsplit('-').next().unwrap().to_owned();
    match (seen.method.as_str(), seen.path.as_str()) {
        ("POST", "/login") => {
            let name = serde_json::from_slice::<Value>(&seen.body).unwrap()["name"].as_str().unwrap().to_owned();
            let cookie = format!("Set-Cookie: session=s-{name}; Path=/; HttpOnly");
            Fate::with(200, &[&cookie], &json!({"data": {"token": format!("t-{name}")}}).to_string())
        }
        ("POST", "/orders") => {
            let token = seen.header("authorization").unwrap_or_default();
            let cookie = seen.header("cookie").unwrap_or_default();
            if user(token) != user(cookie) {
                return Fate::with(401, &[], "");
            }
            Fate::with(201, &[&format!("Location: /orders/of-{}", user(token))], "<input id=\"nonce\" value=\"n 1\">")
        }
        ("GET", path) if path.starts_with("/orders/of-") => {
            let is_own = seen.header("cookie").is_some_and(|cookie| path.contains(&user(cookie)));
            Fate::with(if is_own && path.ends_with("?nonce=n%201") { 200 } else { 403 }, &[], "paid")
        }
        _ => Fate::with(404, &[], ""),
    }
}

fn shopping(file: &str) -> Value {
    json!({
        "feeds": {"users": {"file": file, "order": "shuffle"}},
        "requests": [{"path": "/none", "weight": 1, "expect_status": "404"}],
        "flows": [{"name": "buy", "weight": 3, "steps": [
            {"method": "POST", "path": "/login", "json": {"name": "{{ users.name }}"},
             "capture": {"token": {"pointer": "/data/token"}}},
            {"name": "order", "method": "POST", "path": "/orders", "bearer": "{{ token }}", "think": "1ms..3ms",
             "expect_status": "201",
             "capture": {"order": {"header": "location"}, "nonce": {"regex": "value=\"([^\"]+)\""}}},
            {"path": "{{ order }}?nonce={{ nonce }}", "name": "look", "assert": [{"contains": "paid"}]},
        ]}],
    })
}

#[test]
fn a_flow_uses_what_earlier_answers_gave_and_keeps_its_cookies() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.csv");
    fs::write(&file, "name\nada\nbob\neve\nkim\n").unwrap();
    every_io(|io| {
        let server = Server::start(shop);
        let mut config = config(&server, 400, shopping(file.to_str().unwrap()));
        config.io = io;
        let summary = run(&config);
        let flows = summary.flows;
        assert_eq!(summary.errors, []);
        assert_eq!((flows.completed, flows.broken, flows.unfinished), (flows.started, 0, 0));
        // 300 of 400 on average; 5 deviations of a binomial.
        assert!((300 - 44..300 + 44).contains(&flows.started), "{flows:?}");
        let counts: BTreeMap<_, _> = summary.requests.iter().map(|r| (r.name.as_str(), r.counts.ok)).collect();
        let expected = [("GET /none", 400 - flows.started), ("buy: POST /login", flows.started)];
        let steps = ["buy: order", "buy: look"].map(|name| (name, flows.started));
        assert_eq!(counts, expected.into_iter().chain(steps).collect());
        assert_eq!(summary.counts.scheduled, 400 + 2 * flows.started);
        assert_eq!(summary.counts.wire, [server.count(); 2]);
        let names: BTreeSet<_> = server.seen().into_iter().filter(|s| s.path == "/login").map(|s| s.body).collect();
        assert_eq!(names.len(), 4, "every row of the feed was used");
    });
}

/// Steps are not sent before the think time is over, counted from the end of the step before.
#[test]
fn think_times_are_waited_for() {
    const THINK_NS: u64 = 50_000_000;
    let server = Server::start(|_| Fate::Answer(200, 0));
    let steps = json!([{"path": "/{{ seq() }}/a"}, {"path": "/{{ seq() }}/b", "think": "50ms"}]);
    let summary = run(&config(&server, 20, json!({"flows": [{"name": "f", "steps": steps}]})));
    assert_eq!((summary.flows.completed, summary.counts.ok), (20, 40));
    let seen = server.seen();
    for n in 0..20 {
        let at = |end: &str| seen.iter().find(|s| s.path == format!("/{n}/{end}")).unwrap().at_ns;
        assert!(at("b") - at("a") >= THINK_NS, "flow {n}: {} ns", at("b") - at("a"));
    }
}

#[test]
fn a_flow_breaks_at_the_step_that_fails() {
    let server = Server::start(|seen| {
        if seen.path.ends_with("/b") && seen.seq % 4 == 0 { Fate::Reset } else { Fate::with(200, &[], "{}") }
    });
    let steps = json!([
        {"path": "/{{ seq() }}/a"}, {"path": "/{{ seq() }}/b", "method": "POST"},
        {"path": "/c", "capture": {"x": {"pointer": "/none"}}}, {"path": "/{{ x }}"}
    ]);
    let summary = run(&config(&server, 100, json!({"flows": [{"name": "f", "steps": steps}]})));
    assert_eq!((summary.flows.started, summary.flows.broken, summary.flows.completed), (100, 100, 0));
    let counts = summary.counts;
    assert_eq!((counts.scheduled, counts.ok, counts.network_error, counts.http_error), (275, 175, 25, 75));
    let missing = summary.errors.iter().find(|e| e.kind.cause == Cause::Assertion).unwrap();
    assert_eq!((missing.kind.phase, missing.count), (Phase::Assertion, 75));
}

/// Flows that are at it when the grace time ends are unfinished, between two steps as well.
#[test]
fn flows_that_do_not_end_are_unfinished() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let steps = json!([{"path": "/a"}, {"path": "/b", "think": "1h"}]);
    let mut config = config(&server, 20, json!({"flows": [{"name": "f", "steps": steps}]}));
    config.grace = Some("100ms".parse().unwrap());
    let summary = run(&config);
    assert_eq!((summary.flows.started, summary.flows.unfinished), (20, 20));
    assert_eq!((summary.counts.scheduled, summary.counts.ok, summary.counts.unsent), (20, 20, 0));
}

#[test]
fn a_closed_loop_of_flows_takes_its_steps() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let steps = json!([{"path": "/a"}, {"path": "/b"}, {"path": "/c"}]);
    let mut config = config(&server, 200, json!({"flows": [{"name": "f", "steps": steps}]}));
    (config.closed_loop, config.connections) = (true, Some(4));
    let summary = run(&config);
    assert_eq!((summary.flows.completed, summary.counts.ok, server.count()), (200, 600, 600));
    // Whoever has begun goes first: never more than the connections hold.
    let mut open = 0i64;
    for seen in server.seen() {
        open += match seen.path.as_str() {
            "/a" => 1,
            "/c" => -1,
            _ => 0,
        };
        assert!((0..=4).contains(&open), "{open}");
    }
    // A warm-up has its own.
    let half =
        Config { length: Length::Duration(TimeSpan::millis(600)), warmup: Some(TimeSpan::millis(300)), ..config };
    let summary = run(&half);
    assert!(summary.flows.started > 0 && summary.flows.holds(), "{:?}", summary.flows);
    assert_eq!(summary.flows.started, summary.requests[0].counts.scheduled);
}

#[test]
fn an_answer_that_is_not_as_asserted_is_an_error() {
    every_io(|io| {
        let server = Server::start(|seen| {
            let body = json!({"n": seen.seq % 2, "padding": "x".repeat(100_000)}).to_string();
            let pieces = body.as_bytes().chunks(30_000).flat_map(|piece| {
                [format!("{:x}\r\n", piece.len()).into_bytes(), piece.to_vec(), b"\r\n".to_vec()].concat()
            });
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".iter().copied();
            Fate::Bytes(vec![head.chain(pieces).chain(*b"0\r\n\r\n").collect()])
        });
        let request = json!({"path": "/{{ seq() }}", "assert": [{"pointer": "/n", "equals": 0}]});
        let mut config = config(&server, 100, json!({ "requests": [request] }));
        config.io = io;
        let summary = run(&config);
        assert_eq!((summary.counts.ok, summary.counts.http_error), (50, 50));
        let kind = summary.errors[0].kind;
        assert_eq!((kind.phase, kind.cause, summary.errors[0].count), (Phase::Assertion, Cause::Assertion, 50));
        assert!(summary.evidence[0].detail.contains("the value at \"/n\" is 1, not 0"), "{:?}", summary.evidence[0]);
    });
}

#[test]
fn flags_make_the_request_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body.bin");
    fs::write(&file, [0, 255, b'{', b'{']).unwrap();
    let at_file = format!("@{}", file.display());
    let basic = "Basic YWRhOnB3"; // "ada:pw", RFC 7617.
    let server = Server::start(|_| Fate::with(200, &["X-Kind: test"], "hello"));
    let url = server.url();
    type Expected<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)], &'a [u8]);
    let cases: [(&[&str], Expected<'_>); 8] = [
        (&[], ("GET", &[("content-length", None), ("accept", Some("*/*"))], b"")),
        (&["-m", "PUT", "-d", "x", "-T", "a/b"], ("PUT", &[("content-type", Some("a/b"))], b"x")),
        (&["-D", file.to_str().unwrap(), "-A", "c/d"], ("GET", &[("accept", Some("c/d"))], &[0, 255, b'{', b'{'])),
        (&["-d", &at_file], ("GET", &[("content-length", Some("4"))], &[0, 255, b'{', b'{'])),
        (
            &["--body-json", "{\"a\": \"{{ choice(\\\"b\\\") }}\"}"],
            ("POST", &[("content-type", Some("application/json"))], b"{\"a\":\"b\"}"),
        ),
        (
            &["--form", "a=b c", "--form", "d={{ seq() }}"],
            ("POST", &[("content-type", Some("application/x-www-form-urlencoded"))], b"a=b%20c&d=0"),
        ),
        (
            &["-a", "ada:pw", "--cookie", "a=1; b=2", "--cookie", "c=3"],
            ("GET", &[("authorization", Some(basic)), ("cookie", Some("a=1; b=2; c=3"))], b""),
        ),
        (
            &["--bearer", "t", "--host", "shop.test", "-H", "X-A: b"],
            ("GET", &[("authorization", Some("Bearer t")), ("host", Some("shop.test")), ("x-a", Some("b"))], b""),
        ),
    ];
    for (arguments, (method, headers, body)) in cases {
        let output = scalectl(&[&["bench", &url, "-n", "1", "-q", "--json"], arguments].concat());
        let json: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{arguments:?}: {e}: {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(json["counts"]["ok"], 1, "{arguments:?}");
        let seen = server.seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.body.as_slice()), (method, body), "{arguments:?}");
        for (name, value) in headers {
            assert_eq!(seen.header(name), *value, "{arguments:?}: {}", seen.head);
        }
    }
    scalectl(&["bench", &url, "-n", "1", "-q", "-H", "X-B: 1", "-H", "X-A: 2", "-H", "x-b: 3", "-H", "Host: h"]);
    let head = server.seen().pop().unwrap().head.to_lowercase();
    let own: Vec<_> = head.lines().filter(|line| line.starts_with("x-") || line.starts_with("host")).collect();
    assert_eq!(own, ["x-b: 1", "x-b: 3", "x-a: 2", "host: h"]);
    for (arguments, why) in [
        (&["-H", "Host: a", "-H", "host: b"][..], "two hosts"),
        (&["-H", "Content-Length: 1", "-H", "content-length: 2"], "two lengths"),
        (&["--host", "a", "-H", "Host: b"], "--host and -H"),
        (&["--accept", "a/b", "-H", "accept: c/d"], "--accept and -H"),
        (&["--cookie", "a=1; a=2"], "\"a\" is given twice"),
    ] {
        let output = scalectl(&[&["bench", &url, "-n", "1"], arguments].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(why), "{arguments:?}: {error}");
    }
    for (arguments, key) in [
        (
            &["--expect-status", "200", "--assert", "header x-kind equals test", "--assert", "body contains ell"][..],
            "ok",
        ),
        (&["--expect-status", "201,204"], "http_error"),
        (&["--assert", "body contains bye"], "http_error"),
    ] {
        let output = scalectl(&[&["bench", &url, "-n", "3", "-q", "--json"], arguments].concat());
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["counts"][key], 3, "{arguments:?}: {}", json["counts"]);
    }
}

#[test]
fn urls_of_a_file_are_asked_for_equally_often() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("urls.txt");
    fs::write(&file, format!("# two\n{0}/a\n\n{0}/b?c=d\n/e\n", server.url())).unwrap();
    let output = scalectl(&[
        "bench",
        "--urls",
        file.to_str().unwrap(),
        "-n",
        "300",
        "--rps",
        "1000",
        "--json",
        "-q",
        "--seed",
        "1",
    ]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<_> = json["requests"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["GET /a", "GET /b?c=d", "GET /e"]);
    for path in ["/a", "/b?c=d", "/e"] {
        // 100 of 300 on average; 5 deviations of a binomial.
        let count = server.seen().iter().filter(|s| s.path == path).count();
        assert!((100 - 41..100 + 41).contains(&count), "{path}: {count}");
    }
    fs::write(&file, format!("{}/a\nhttp://other.test/\n", server.url())).unwrap();
    let before = server.count();
    let output = scalectl(&["bench", "--urls", file.to_str().unwrap(), "-n", "3"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(2) && said.contains("urls.txt:2: http://other.test is another target"),
        "{said}"
    );
    assert_eq!(server.count(), before);
}

/// A bench file, its flow tried out: every step is printed with what was captured for it, and nothing else is sent.
#[test]
fn a_bench_file_is_tried_out_and_run() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("users.csv"), "name\nada\n").unwrap();
    let file = folder.path().join("load.toml");
    let server = Server::start(shop);
    let mut described = serde_json::Map::new();
    described.insert("target".to_owned(), server.url().into());
    described.insert("headers".to_owned(), json!({"X-From": "file"}));
    described.insert("connections".to_owned(), 2.into());
    described.insert("slo".to_owned(), json!(["errors<1%"]));
    described.insert("bench".to_owned(), json!({"default": shopping("users.csv")}));
    fs::write(&file, toml::to_string(&described).unwrap()).unwrap();
    let arguments = ["bench", "--bench-file", file.to_str().unwrap()];
    let output = scalectl(&[&arguments[..], &["--try"]].concat());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.count(), 4);
    for said in [
        "> GET /none HTTP/1.1\n",
        "< HTTP/1.1 404 X\n",
        "buy: POST /login\n",
        "> {\"name\":\"ada\"}\n",
        "> authorization: Bearer t-ada\n",
        "> cookie: session=s-ada\n",
        "> GET /orders/of-ada?nonce=n%201 HTTP/1.1\n",
        "> x-from: file\n",
        "< paid\n",
        "ok: connected in ",
    ] {
        assert!(printed.contains(said), "{said}: {printed}");
    }
    let output = scalectl(&[&arguments[..], &["-n", "40", "--json", "-q", "--rps", "500"]].concat());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["counts"]["ok"], json["counts"]["scheduled"], "{}", json["errors"]);
    assert_eq!((&json["connections"]["limit"], &json["slo"][0]["ok"]), (&json!(2), &json!(true)));
    assert_eq!(json["counts"]["wire"][0], server.count() - 4);
    // Headers, cookies and credentials among the flags are every request's, and go before its own.
    let before = server.count();
    let added = ["--try", "-H", "X-From: flag", "-H", "X-Trace: 1", "-H", "X-Trace: 2"];
    let output = scalectl(&[&arguments[..], &added].concat());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), server.count()), (Some(0), before + 4), "{printed}");
    for said in ["> x-from: flag\n", "> x-trace: 1\n> x-trace: 2\n"] {
        assert_eq!(printed.matches(said).count(), 4, "{said}: {printed}");
    }
    assert!(printed.contains("buy: POST /login\n") && !printed.contains("x-from: file"), "{printed}");
    let own = r#"[{path = "/own", bearer = "t", cookies = {a = "0", b = "2"}, headers = {Authorization = "x", Cookie = "c=3; a=5"}}]"#;
    let small = folder.path().join("small.toml");
    fs::write(&small, format!("target = \"{}\"\n[bench.default]\nrequests = {own}\n", server.url())).unwrap();
    let small = ["bench", "--bench-file", small.to_str().unwrap(), "-n", "1", "-q"];
    scalectl(&[&small[..], &["--user", "ada:pw", "--cookie", "a=1"]].concat());
    let seen = server.seen().pop().unwrap();
    assert_eq!((seen.path.as_str(), seen.header("cookie")), ("/own", Some("c=3; a=1; b=2")));
    assert_eq!(seen.header("authorization"), Some("Basic YWRhOnB3"), "{}", seen.head);
    // A method, a body or URLs are another request.
    let output = scalectl(&[&arguments[..], &["--try", "-m", "PUT", "-H", "X-Trace: 1"]].concat());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("> PUT / HTTP/1.1\n") && printed.contains("> x-trace: 1\n"), "{printed}");
    // What fails says why, and the flow goes no further.
    let output = scalectl(&[&arguments[..], &["--try", "--assert", "body contains nothing", "--json"]].concat());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let exchanges = json["exchanges"].as_array().unwrap();
    assert_eq!((output.status.code(), exchanges.len()), (Some(1), 2));
    assert_eq!(exchanges[1]["error"]["cause"], "assertion");
    for (text, said) in [
        ("target = 'x'\n[bench.default]\nrte = 5\n", "load.toml:3: unknown field `rte`"),
        ("target = 'x'\n[bench.other]\n", "has no [bench.default]"),
        ("target = 'x'\nslo = ['fast']\n[bench.default]\n", ":2: "),
        ("target = 'x'\nduration = '1s'\n", "it belongs to [bench.default]: duration"),
        ("target = 'x'\nmethod = 'POST'\n", "it belongs to [[bench.default.requests]]: method"),
        ("target = 'x'\n[bench.default]\nrps = 5\n", "it belongs to the top, before the first table: rps"),
        ("target = 'x'\n[bench.default]\nrequests = 4\n", "above the first table: requests = 10000"),
        ("target = 'x'\nslo = 5\n", "a bench file has a target"),
        ("target = 'x'\nrequests = '1x'\n", "like 250, 10k or 2M"),
    ] {
        fs::write(&file, text).unwrap();
        let output = scalectl(&arguments);
        let said_so = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said_so.contains(said), "{said_so}");
    }
    // Without a workload it is the target that is asked for.
    fs::write(&file, format!("target = \"{}/plain\"\nrps = 50\nrequests = 2\n", server.url())).unwrap();
    let output = scalectl(&[&arguments[..], &["-q"]].concat());
    assert!(String::from_utf8_lossy(&output.stdout).contains("2 scheduled, 2 sent"), "{output:?}");
    assert_eq!(server.seen().pop().unwrap().path, "/plain");
}

/// What is printed for flags is the same run: the server sees the same bytes, generators included.
#[test]
fn a_printed_run_sends_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("printed.toml");
    fs::write(folder.path().join("body.bin"), b"\x00\xff{{ not a text }}").unwrap();
    let upload = format!("f=@{}", folder.path().join("body.bin").display());
    let body = format!("@{}", folder.path().join("body.bin").display());
    for flags in [
        &[
            "-H",
            "X-N: {{ seq() }}",
            "-H",
            "b: 1",
            "-H",
            "X-N: 2",
            "-H",
            "b: 3",
            "--cookie",
            "a={{ uuid() }}",
            "--user",
            "ada:s",
            "--no-keepalive",
        ][..],
        &["--body-json", r#"{"z":{"y":[1.5,{"b":"{{ uuid() }}"}]},"a":"{{ int(1, 9) }}","m":7}"#, "--bearer", "t"],
        &["--multipart", "name=ü", "--multipart", &upload, "--expect-status", "200"],
        &["-m", "PUT", "-d", &body, "--arrivals", "poisson", "--pacing", "10ms"],
    ] {
        let server = Server::start(|_| Fate::with(200, &[], "ok"));
        let url = format!("{}/x?a=b", server.url().trim_end_matches('/'));
        let line = [&["bench", &url, "-n", "20", "--rps", "400", "--seed", "9", "-c", "1", "-q"], flags].concat();
        let printed = scalectl(&[&line[..], &["--print-config"]].concat());
        assert_eq!(printed.status.code(), Some(0), "{}", String::from_utf8_lossy(&printed.stderr));
        assert_eq!(server.count(), 0, "nothing is sent");
        fs::write(&file, &printed.stdout).unwrap();
        for arguments in [&line[..], &["bench", "--bench-file", file.to_str().unwrap(), "-q"]] {
            let output = scalectl(&[arguments, &["--json"]].concat());
            let json: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(json["counts"]["ok"], 20, "{arguments:?}: {}", json["errors"]);
        }
        let sent: Vec<_> = server.seen().into_iter().map(|seen| (seen.head, seen.body)).collect();
        assert_eq!(sent.len(), 40);
        assert_eq!(sent[..20], sent[20..], "{}", String::from_utf8_lossy(&printed.stdout));
    }
}

/// Leads on twice, the second time with another method, each time by another way of writing where to.
fn leading(seen: &Seen) -> Fate {
    match seen.path.as_str() {
        "/start/here" => Fate::with(307, &["Location: ../next?x=1#part", "Set-Cookie: a=1"], "not here"),
        "/next?x=1" => Fate::with(303, &["location: /end", "connection: close"], ""),
        "/end" if seen.method == "GET" && seen.header("content-length").is_none() && seen.body.is_empty() => {
            Fate::with(200, &[], &json!({"cookie": seen.header("cookie")}).to_string())
        }
        "/loop" => Fate::with(302, &["Location: /loop"], ""),
        "/away" => Fate::with(302, &["Location: http://other.test/"], ""),
        _ => Fate::with(500, &[], "not to be asked for"),
    }
}

/// A request spans its redirects: each is a request of its own for the server, and none for the schedule.
#[test]
fn redirects_are_followed_as_far_as_allowed() {
    every_io(|io| {
        let server = Server::start(leading);
        let request = json!({"method": "POST", "path": "/start/here", "body": "hi", "assert": [{"contains": "null"}]});
        let mut config = config(&server, 40, json!({"requests": [request]}));
        (config.io, config.redirects) = (io, 2);
        let c = run(&config).counts;
        assert_eq!((c.ok, c.redirects, c.wire), (40, 80, [120, 120]));
        assert_eq!(server.count(), 120);
        let posts = server.seen().iter().filter(|seen| seen.method == "POST" && seen.body == b"hi").count();
        assert_eq!(posts, 80, "307 keeps method and body, 303 does not");
        // One less, none at all.
        for (redirects, ok, wire) in [(1, 0, 80), (0, 0, 40)] {
            config.redirects = redirects;
            let summary = run(&config);
            let c = summary.counts;
            assert_eq!((c.ok, c.http_error, c.redirects, c.wire[0]), (ok, 40, u64::from(redirects) * 40, wire));
            let cause = if redirects == 0 { Cause::Assertion } else { Cause::Redirect };
            assert_eq!(summary.errors[0].kind.cause, cause);
        }
        assert_eq!(server.count(), 240);
    });
}

#[test]
fn redirects_that_lead_nowhere_are_errors_and_flows_keep_their_cookies() {
    every_io(|io| {
        let server = Server::start(leading);
        for (path, wire, said) in [("/loop", 120, "after 3 redirects"), ("/away", 30, "a run has one target")] {
            let before = server.count();
            let mut config = config(&server, 30, json!({"requests": [{"path": path}]}));
            (config.io, config.redirects) = (io, 3);
            let summary = run(&config);
            assert_eq!((summary.counts.http_error, summary.counts.wire), (30, [wire, wire]), "{path}");
            assert_eq!(server.count() - before, wire);
            assert!(summary.evidence[0].detail.contains(said), "{:?}", summary.evidence[0]);
        }
        let step =
            json!({"method": "POST", "path": "/start/here", "assert": [{"pointer": "/cookie", "equals": "a=1"}]});
        let mut config = config(&server, 30, json!({"flows": [{"name": "f", "steps": [step]}]}));
        (config.io, config.redirects) = (io, 5);
        let summary = run(&config);
        let c = summary.counts;
        assert_eq!((c.ok, summary.flows.completed, c.redirects), (30, 30, 60), "{:?}", summary.evidence);
    });
    // Tried out, each answer is shown.
    let server = Server::start(leading);
    let url = format!("{}/start/here", server.url().trim_end_matches('/'));
    let output = scalectl(&["bench", &url, "-d", "hi", "-m", "POST", "--redirects", "2", "--try"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), server.count()), (Some(0), 3), "{printed}");
    for said in ["> POST /start/here HTTP/1.1\n", "> POST /next?x=1 HTTP/1.1\n", "> GET /end HTTP/1.1\n"] {
        assert!(printed.contains(said), "{said}: {printed}");
    }
}

/// The document that the server compresses.
fn document() -> String {
    json!({"items": (0..400).map(|i| json!({"id": i, "name": format!("item {}", i * i)})).collect::<Vec<_>>()})
        .to_string()
}

fn gzipped(text: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Compressed answers: chunked and split at every place that a packet may end, whole, broken, and not compressed at all.
#[test]
fn compressed_answers_are_decompressed_before_they_are_judged() {
    let packed = gzipped(&document());
    let chunked = |pieces: usize| {
        let body: Vec<u8> = packed
            .chunks(packed.len().div_ceil(pieces))
            .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
            .chain(*b"0\r\n\r\n")
            .collect();
        let head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
        let whole = [&head[..], &body].concat();
        whole.chunks(whole.len().div_ceil(pieces * 2)).map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let of_length = |body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
        vec![[head.as_bytes(), body].concat()]
    };
    let (several, two) = (chunked(7), chunked(2));
    let (whole, cut) = (of_length(&packed), of_length(&packed[..packed.len() - 9]));
    let script = move |seen: &Seen| {
        if seen.header("accept-encoding") != Some("gzip, deflate, br, zstd") {
            return Fate::with(200, &[], &document());
        }
        match seen.path.as_str() {
            "/several" => Fate::Bytes(several.clone()),
            "/two" => Fate::Bytes(two.clone()),
            "/whole" => Fate::Bytes(whole.clone()),
            "/cut" => Fate::Bytes(cut.clone()),
            _ => Fate::with(200, &[], &document()),
        }
    };
    let holds = json!([{"pointer": "/items/399/name", "equals": "item 159201"}]);
    let server = Server::start(script);
    every_io(|io| {
        for (path, ratio) in [("/several", true), ("/two", true), ("/whole", true), ("/plain", false)] {
            let before = server.count();
            let mut config = config(&server, 30, json!({"requests": [{"path": path, "assert": holds}]}));
            (config.io, config.compressed) = (io, true);
            let summary = run(&config);
            let (c, bytes) = (summary.counts, summary.bytes);
            assert_eq!((c.ok, c.wire), (30, [30, 30]), "{path}: {:?}", summary.evidence);
            assert_eq!(server.count() - before, 30);
            let (came, is) = (if ratio { packed.len() } else { document().len() }, document().len());
            assert_eq!((bytes.bodies, bytes.decompressed), (30 * came as u64, 30 * is as u64), "{path}");
            // Without it, bodies are as they come, and nothing is asked for.
            config.compressed = false;
            let summary = run(&config);
            assert_eq!((summary.counts.ok, summary.bytes.bodies), (30, 0), "{path}");
        }
        let mut config = config(&server, 30, json!({"requests": [{"path": "/cut"}]}));
        (config.io, config.compressed) = (io, true);
        let summary = run(&config);
        let error = summary.errors[0];
        assert_eq!((summary.counts.http_error, summary.counts.wire), (30, [30, 30]));
        assert_eq!((error.kind.phase, error.kind.cause, error.count), (Phase::Body, Cause::Decompression, 30));
    });
    // What is tried out is shown as it is read.
    let url = format!("{}/several", server.url().trim_end_matches('/'));
    let output = scalectl(&["bench", &url, "--compressed", "--try"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && printed.contains("{\"items\":[{\"id\":0,"), "{printed}");
    let output = scalectl(&["bench", &url, "--compressed", "-n", "20", "-r", "200"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("Bodies ") && printed.contains(" decompressed"), "{printed}");
}

#[test]
fn what_cannot_be_sent_is_refused_with_what_can() {
    let server = Server::start(|_| Fate::Answer(200, 0));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.csv");
    fs::write(&file, "email\na@b\n").unwrap();
    let feeds = json!({"users": {"file": file}});
    let flow = |steps: Value| json!({"feeds": feeds, "flows": [{"name": "f", "steps": steps}]});
    for (workload, said, hint) in [
        (json!({"requests": [{"path": "/{{ users.email }}"}]}), "no value \"users.email\"", "no feed"),
        (
            json!({"feeds": feeds, "requests": [{"path": "/{{ users.mail }}"}]}),
            "did you mean \"users.email\"",
            "users.email",
        ),
        (json!({"feeds": {"u": {"file": "/none.csv"}}}), "/none.csv", ""),
        (
            flow(json!([{"path": "/{{ late }}"}, {"path": "/", "capture": {"late": {"header": "a"}}}])),
            "no value \"late\"",
            "",
        ),
        (flow(json!([])), "no step", ""),
        (flow(json!([{"path": "/", "think": "1s"}])), "no step before it", ""),
        (json!({"requests": [{"path": "/", "capture": {"a": {"header": "b"}}}]}), "only steps of a flow", ""),
        (json!({"requests": [{"path": "/", "body_file": "/none"}]}), "/none cannot be read", ""),
        (json!({"requests": [{"path": "/", "user": "a", "bearer": "b"}]}), "both a user and a bearer", ""),
    ] {
        let error = bench::run(&config(&server, 1, workload.clone()), &mut ()).unwrap_err();
        let bench::Error::Config(bench::ConfigError::Mix(mix)) = &error else { panic!("{workload}: {error}") };
        assert!(error.to_string().contains(said), "{workload}: {error}");
        assert!(mix.hint().unwrap_or_default().contains(hint), "{workload}: {:?}", mix.hint());
    }
    assert_eq!(server.connections(), 0);
}
