//! What a mix sends: its shares, and the bytes of its requests.

use super::*;

fn target() -> Target {
    "http://127.0.0.1:8080/".parse().unwrap()
}

fn spec(json: serde_json::Value) -> RequestSpec {
    serde_json::from_value(json).unwrap()
}

fn shop(seed: u64) -> Mix {
    let specs = [
        spec(serde_json::json!({"weight": 9, "path": "/users/{{ zipf(1, 10000) }}"})),
        spec(
            serde_json::json!({"weight": 1, "method": "POST", "path": "/users", "json": {"email": "{{ uuid() }}@example.com"}}),
        ),
    ];
    Mix::compile(&target(), &specs, seed).unwrap()
}

#[test]
fn content_depends_on_seed_and_number_only() {
    let (one, same, other) = (shop(1), shop(1), shop(2));
    let text = |mix: &Mix, n| format!("{:?}", mix.request(n));
    let mut differ = 0;
    for n in (0..200).rev() {
        assert_eq!(text(&one, n), text(&same, n));
        assert_eq!(one.kind_of(n), one.request(n).0);
        differ += u32::from(text(&one, n) != text(&other, n));
    }
    assert!(differ > 150, "{differ} of 200 differ under another seed");
}

/// The number of kind 0 is binomial; five standard deviations are beyond one in a million.
#[test]
fn kinds_have_their_shares() {
    let mix = shop(7);
    let total = 100_000u64;
    let first = (0..total).filter(|n| mix.kind_of(*n) == 0).count() as f64;
    let (mean, deviation) = (total as f64 * 0.9, (total as f64 * 0.9 * 0.1).sqrt());
    assert!((first - mean).abs() < 5.0 * deviation, "{first} of {total}");
}

/// What threads, and several results, have counted of a kind is put together by its name.
#[test]
fn no_two_kinds_have_the_same_name() {
    let names = |names: &[&str]| {
        let named = |name: &&str| RequestSpec { name: Some((*name).to_owned()), ..RequestSpec::get("/") };
        let specs: Vec<_> = names.iter().map(named).collect();
        Mix::compile(&target(), &specs, 0).unwrap().names()
    };
    assert_eq!(names(&["a", "b", "a", "a"]), ["a", "b", "a (2)", "a (3)"]);
    assert_eq!(names(&["a (2)", "a", "a"]), ["a (2)", "a", "a (3)"]);
    assert_eq!(names(&["a (3)", "a", "a"]), ["a (3)", "a", "a (4)"]);
}

#[test]
fn a_request_has_the_usual_headers_and_its_own() {
    let spec = spec(serde_json::json!({"path": "/", "headers": {"accept": "text/html", "X-Id": "{{ seq() }}"}}));
    let (_, request) = Mix::compile(&target(), &[spec], 0).unwrap().request(5);
    assert_eq!(request.headers()["host"], "127.0.0.1:8080");
    assert_eq!(request.headers()["accept"], "text/html");
    assert_eq!(request.headers().get_all("accept").iter().count(), 1);
    assert_eq!(request.headers()["x-id"], "5");
    let (kind, post) = (0..).map(|n| shop(1).request(n)).find(|(kind, _)| *kind == 1).unwrap();
    assert_eq!(post.headers()["content-type"], "application/json");
    assert!(post.body().starts_with(b"{\"email\":\""));
    assert!(!shop(1).is_idempotent(kind));
}

/// What is written, read back by a parser, is the request.
#[test]
fn the_bytes_of_a_request_are_the_request() {
    let specs = [
        serde_json::json!({"path": "/constant?a=b#fragment"}),
        serde_json::json!({"path": "/{{ seq() }}", "headers": {"X": "{{ uuid() }}", "connection": "TE, close"}}),
        serde_json::json!({"path": "/", "method": "POST"}),
        serde_json::json!({"path": "/{{ uuid() }}", "method": "PUT", "body": "ü{{ int(1, 9999) }}"}),
        serde_json::json!({"path": "/", "method": "HEAD", "headers": {"Host": "other"}}),
        serde_json::json!({"path": "/", "method": "POST", "body": "x", "headers": {"Content-Length": "1"}}),
    ];
    let specs = specs.map(spec);
    let mix = Mix::compile(&target(), &specs, 3).unwrap();
    let mut room = Room::default();
    let mut kinds = std::collections::BTreeSet::new();
    for n in 0..200 {
        let (kind, expected) = mix.request(n);
        let (same, wire) = mix.wire(n, None, &mut room);
        assert_eq!((same, mix.kind_of(n)), (kind, kind));
        kinds.insert(kind);
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut parsed = httparse::Request::new(&mut headers);
        assert_eq!(parsed.parse(wire.bytes).unwrap().unwrap(), wire.head);
        assert_eq!(parsed.method.unwrap(), expected.method().as_str());
        assert_eq!(parsed.path.unwrap(), expected.uri().to_string());
        assert_eq!(&wire.bytes[wire.head..], expected.body());
        let (mut own, rest): (Vec<_>, Vec<_>) = parsed
            .headers
            .iter()
            .map(|h| (h.name.to_owned(), h.value.to_vec()))
            .partition(|(name, _)| expected.headers().contains_key(name));
        own.sort();
        let mut all: Vec<_> = expected.headers().iter().map(|(k, v)| (k.to_string(), v.as_bytes().to_vec())).collect();
        all.sort();
        assert_eq!(own, all);
        let length = expected.body().len().to_string().into_bytes();
        let stated = if [2, 3].contains(&kind) { vec![("content-length".to_owned(), length)] } else { vec![] };
        assert_eq!(rest, stated);
        assert_eq!((wire.is_head, wire.closes), (kind == 4, kind == 1));
    }
    assert_eq!(kinds.len(), 6);
}

#[test]
fn a_log_gives_method_and_path_and_the_mix_the_rest() {
    let line = |request: &str| format!("h - - [10/Oct/2000:13:55:36 +0000] \"{request} HTTP/1.1\" 200 1\n");
    let log = ["GET /a?b=c", "HEAD /", "GET /{{no}}", "POST /long/path"].map(line).concat();
    let recording = Arc::new(Recording::read(log.as_bytes(), Default::default(), true).unwrap());
    let kinds = ["GET", "HEAD", "POST"].map(|method| {
        spec(serde_json::json!({"name": method, "method": method, "path": "/", "headers": {"X-Id": "{{ seq() }}"}}))
    });
    let mix = Mix::compile(&target(), &kinds, 0).unwrap().replaying(recording);
    let mut room = Room::default();
    for (n, expected, kind) in [(0, "GET /a?b=c", 0), (1, "HEAD /", 1), (3, "POST /long/path", 2)] {
        let (index, wire) = mix.wire(n, None, &mut room);
        let text = std::str::from_utf8(wire.bytes).unwrap();
        assert!(text.starts_with(&format!("{expected} HTTP/1.1\r\n")), "{text}");
        assert!(text.contains(&format!("x-id: {n}\r\n")) && text.ends_with("\r\n\r\n"), "{text}");
        assert_eq!((wire.head, wire.is_head, index, mix.kind_of(n)), (wire.bytes.len(), kind == 1, kind, kind));
        let (same, request) = mix.request(n);
        assert_eq!((same, format!("{} {}", request.method(), request.uri())), (kind, expected.to_owned()));
    }
}

#[test]
fn what_cannot_be_sent_is_refused_before_the_run() {
    for (json, said) in [
        (serde_json::json!({"path": "users"}), "does not begin with"),
        (serde_json::json!({"path": "{{ choice(/a, b) }}"}), "its path \"b\" does not begin with"),
        (serde_json::json!({"path": "{{ choice(a, /b) }}"}), "its path \"a\" does not begin with"),
        (serde_json::json!({"path": "/a b"}), "is not a path"),
        (serde_json::json!({"path": "/", "method": "G T"}), "not an HTTP method"),
        (serde_json::json!({"path": "/", "headers": {"a b": "c"}}), "name of a header"),
        (serde_json::json!({"path": "/", "headers": {"a": "c\nd"}}), "not a valid value"),
        (serde_json::json!({"path": "/", "body": "x", "json": 1}), "both"),
        (serde_json::json!({"path": "/{{ ziff(1, 2) }}"}), "did you mean \"zipf\""),
        (serde_json::json!({"path": "/", "weight": 0}), "weights"),
    ] {
        let error = Mix::compile(&target(), &[spec(json.clone())], 0).unwrap_err().to_string();
        assert!(error.contains(said), "{json}: {error}");
    }
}
