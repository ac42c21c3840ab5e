//! HTTP/2 against servers whose every frame is known, against one made of another library, and against nginx.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use scalectl::bench::{self, Cause, Config, Length, Phase, Protocol, RequestSpec, Side, Summary};
use scalectl::units::TimeSpan;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200`, `204`, packed.
const OK: &[u8] = &[0x88];
const NO_CONTENT: &[u8] = &[0x89];

/// A request as a server sees it.
struct Asked {
    /// Which of its connection, from 0.
    nth: u64,
    /// Which of all, from 0.
    total: u64,
    stream: u32,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<_> =
        pairs.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// The whole answer with this head and no body.
fn answer(head: &[u8], stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, head)
}

/// The bytes that a request is answered with; `None` for a request that is not processed, after those bytes.
type Script = Box<dyn Fn(&Asked) -> (bool, Vec<u8>) + Send + Sync>;

/// What a server has counted.
#[derive(Default)]
struct Counted {
    connections: AtomicU64,
    requests: AtomicU64,
    body: AtomicU64,
    resets: AtomicU64,
}

impl Counted {
    fn get(&self) -> (u64, u64) {
        (self.connections.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
    }
}

fn exactly<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).map(|()| bytes)
}

fn serve(mut stream: impl Read + Write, hello: &[u8], script: &Script, counted: &Counted) -> io::Result<()> {
    counted.connections.fetch_add(1, Ordering::SeqCst);
    assert_eq!(&exactly::<24>(&mut stream)?, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    stream.write_all(hello)?;
    let mut nth = 0;
    loop {
        let head = exactly::<9>(&mut stream)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match head[3] {
            SETTINGS if head[4] == 0 => stream.write_all(&frame(SETTINGS, 1, 0, &[]))?,
            RST_STREAM => drop(counted.resets.fetch_add(1, Ordering::SeqCst)),
            DATA => drop(counted.body.fetch_add(length as u64, Ordering::SeqCst)),
            HEADERS => {
                let asked = Asked { nth, total: counted.requests.load(Ordering::SeqCst), stream: id };
                let (is_processed, bytes) = script(&asked);
                nth += 1;
                counted.requests.fetch_add(u64::from(is_processed), Ordering::SeqCst);
                stream.write_all(&bytes)?;
            }
            _ => {}
        }
    }
}

/// A server whose connections begin with `hello`; gives its port. Its threads end with the process.
fn server(hello: Vec<u8>, script: Script) -> (u16, Arc<Counted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let counted = Arc::<Counted>::default();
    let (own, script) = (Arc::clone(&counted), Arc::new(script));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (hello, script, counted) = (hello.clone(), Arc::clone(&script), Arc::clone(&own));
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || serve(stream, &hello, &script, &counted));
        }
    });
    (port, counted)
}

/// One that answers every request with these bytes.
fn answering(bytes: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> (u16, Arc<Counted>) {
    server(settings(&[]), Box::new(move |asked| (true, bytes(asked.stream))))
}

fn config(url: &str) -> Config {
    let mut config = Config::new(url.parse().unwrap());
    config.protocol = Protocol::Http2;
    config.rate = "400".parse().unwrap();
    config.length = Length::Requests(200);
    config.connections = Some(2);
    config.threads = Some(1);
    config.timeout = TimeSpan::seconds(5);
    config
}

fn local(port: u16) -> Config {
    config(&format!("http://127.0.0.1:{port}/"))
}

fn run(config: &Config) -> Summary {
    let summary = bench::run(config, &mut ()).unwrap();
    assert!(summary.counts.holds());
    assert_eq!(summary.setup.protocol, "HTTP/2");
    summary
}

#[test]
fn open_and_closed_loops_with_one_ten_and_a_hundred_streams() {
    for (streams, closed_loop) in [(1, false), (10, false), (100, false), (1, true), (10, true), (100, true)] {
        let (port, counted) = answering(|stream| {
            let body = frame(DATA, END_STREAM, stream, &[b'x'; 500]);
            [frame(HEADERS, END_HEADERS, stream, OK), body].concat()
        });
        let mut config = local(port);
        (config.streams, config.closed_loop) = (streams, closed_loop);
        config.length = Length::Requests(1003);
        config.rate = "5000".parse().unwrap();
        let summary = run(&config);
        assert_eq!((summary.counts.ok, summary.counts.wire), (1003, [1003; 2]), "{:?}", summary.evidence);
        assert_eq!(counted.get(), (2, 1003));
        let used = summary.connections.streams.unwrap();
        assert_eq!((used.per_connection, used.allowed), (u64::from(streams), None));
        assert!((1..=2 * u64::from(streams)).contains(&used.peak), "{used:?}");
        if closed_loop {
            assert_eq!((used.peak, summary.connections.peak), (2 * u64::from(streams), 2));
        }
        assert!(summary.bytes.received >= 1003 * 500);
        assert_eq!((summary.connections.opened, summary.histograms.first_byte.count()), (2, 1003));
    }
}

#[test]
fn connections_end_after_as_many_requests_as_they_may_carry() {
    for (each, streams, closed_loop) in [(1, 1, false), (7, 1, true), (7, 5, true), (50, 5, false)] {
        let (port, counted) = answering(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, OK));
        let mut config = local(port);
        (config.streams, config.closed_loop, config.connections) = (streams, closed_loop, Some(1));
        config.reach.requests_per_connection = Some(each.try_into().unwrap());
        let summary = run(&config);
        assert_eq!((summary.counts.ok, summary.counts.retries), (200, 0), "{:?}", summary.evidence);
        let (connections, requests) = counted.get();
        assert_eq!((connections, requests), (summary.connections.opened, 200));
        // One that was opened for the last requests may have come too late for any.
        let least = 200_u64.div_ceil(each);
        assert!((least..=least + 1).contains(&connections), "{connections} with {each} requests");
    }
}

/// The target takes a hundred requests a connection, says so by its goodbye, and does not process what comes after.
#[test]
fn what_a_goodbye_leaves_unprocessed_is_sent_again_and_counted_once() {
    for method in ["GET", "POST"] {
        let (port, counted) = server(
            settings(&[]),
            Box::new(|asked| match asked.nth {
                0..100 => (true, answer(OK, asked.stream)),
                100 => {
                    let goodbye = [(asked.stream - 2).to_be_bytes(), [0; 4]].concat();
                    (false, frame(GOAWAY, 0, 0, &goodbye))
                }
                _ => (false, Vec::new()),
            }),
        );
        let mut config = local(port);
        config.requests = vec![RequestSpec { method: method.to_owned(), ..RequestSpec::get("/") }];
        (config.streams, config.closed_loop) = (10, true);
        config.length = Length::Requests(1000);
        let summary = run(&config);
        let counts = summary.counts;
        assert_eq!((counts.ok, counts.wire), (1000, [1000; 2]), "{counts:?} {:?}", summary.evidence);
        assert!(counts.retries > 0);
        let (connections, requests) = counted.get();
        assert_eq!((requests, connections), (1000, summary.connections.opened));
        assert!(connections >= 10);
    }
}

#[test]
fn what_the_target_refuses_is_sent_again_and_what_it_resets_is_an_error() {
    let refused = |code: u32| {
        server(
            settings(&[]),
            Box::new(move |asked| match asked.nth % 10 {
                9 => (code != 7, frame(RST_STREAM, 0, asked.stream, &code.to_be_bytes())),
                _ => (true, answer(OK, asked.stream)),
            }),
        )
    };
    let (port, counted) = refused(7);
    let summary = run(&Config { connections: Some(1), ..local(port) });
    assert_eq!((summary.counts.ok, summary.counts.wire, counted.get()), (200, [200; 2], (1, 200)));
    // Nine of ten are taken: the 200th is the 222nd attempt.
    assert_eq!(summary.counts.retries, 22);
    let (port, counted) = refused(2);
    let summary = run(&Config { connections: Some(1), ..local(port) });
    let counts = summary.counts;
    assert_eq!((counts.ok, counts.network_error, counts.wire, counted.get()), (180, 20, [200; 2], (1, 200)));
    let [error] = summary.errors.as_slice() else { panic!("{:?}", summary.errors) };
    assert_eq!((error.kind.phase, error.kind.cause, error.kind.side), (Phase::Head, Cause::Reset, Side::Server));
    assert!(summary.evidence[0].detail.contains("INTERNAL_ERROR"), "{:?}", summary.evidence);
}

/// A target that allows one stream, and refuses a second one; then one that takes its permission back in the middle.
#[test]
fn the_targets_limit_of_streams_is_kept() {
    let active = Arc::new(AtomicU64::new(0));
    let most = Arc::new(AtomicU64::new(0));
    let (port, counted) = server(
        settings(&[(3, 1)]),
        Box::new({
            let (active, most) = (Arc::clone(&active), Arc::clone(&most));
            move |asked| {
                // Answers come with a delay: whoever sends two at once has two requests waiting here.
                most.fetch_max(active.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(1));
                active.fetch_sub(1, Ordering::SeqCst);
                (true, answer(OK, asked.stream))
            }
        }),
    );
    let mut config = local(port);
    (config.streams, config.connections, config.closed_loop) = (10, Some(1), true);
    let summary = run(&config);
    assert_eq!((summary.counts.ok, counted.get()), (200, (1, 200)));
    let streams = summary.connections.streams.unwrap();
    assert_eq!((streams.per_connection, streams.allowed, streams.peak), (10, Some(1), 1));
    assert!(summary.verdict.notes.iter().any(|n| n.contains("allowed 1 streams")), "{:?}", summary.verdict);

    let (port, counted) = server(
        settings(&[(3, 10)]),
        Box::new(|asked| {
            let change = match asked.total {
                50 => settings(&[(3, 1)]),
                100 => {
                    thread::sleep(Duration::from_millis(500));
                    settings(&[(3, 10)])
                }
                _ => Vec::new(),
            };
            (true, [change, answer(OK, asked.stream)].concat())
        }),
    );
    let summary = run(&Config { connections: Some(1), ..Config { target: local(port).target, ..config } });
    assert_eq!((summary.counts.ok, counted.get()), (200, (1, 200)));
    assert_eq!(summary.connections.streams.unwrap().allowed, Some(1));
    // Those that could not be sent meanwhile were not due: only the one that was under way has waited.
    let response = &summary.histograms.response;
    assert_eq!(response.count() - response.count_to(490_000_000), 1, "{:?}", summary.response_time_ns);
}

/// Ten requests share a connection that is there at once, and are answered after twice the time it may take to be there.
#[test]
fn the_time_for_a_connection_ends_when_it_is_there() {
    let (port, counted) = server(
        settings(&[]),
        Box::new(|asked| {
            let all = (0..10).map(|earlier| answer(OK, asked.stream - 2 * earlier));
            match asked.nth {
                9 => {
                    thread::sleep(Duration::from_millis(1000));
                    (true, all.collect::<Vec<_>>().concat())
                }
                _ => (true, Vec::new()),
            }
        }),
    );
    let mut config = local(port);
    (config.streams, config.connections, config.closed_loop) = (10, Some(1), true);
    (config.length, config.reach.connect_timeout) = (Length::Requests(20), Some(TimeSpan::millis(500)));
    config.reach.requests_per_connection = Some(10.try_into().unwrap());
    let summary = run(&config);
    assert_eq!((summary.counts.ok, counted.get()), (20, (2, 20)), "{:?}", summary.evidence);
}

/// The second connection is taken, and nothing comes on it: it is given up for a third, although requests wait for it
/// at any time.
#[test]
fn a_connection_that_is_never_there_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let script: Arc<Script> = Arc::new(Box::new(|asked| (true, answer(OK, asked.stream))));
        let mut silent = Vec::new();
        for (nth, stream) in listener.incoming().flatten().enumerate() {
            let script = Arc::clone(&script);
            match nth {
                1 => silent.push(stream),
                _ => drop(thread::spawn(move || serve(stream, &settings(&[]), &script, &Counted::default()))),
            }
        }
    });
    let mut config = local(port);
    (config.streams, config.connections, config.length) = (10, Some(1), Length::Requests(40));
    (config.rate, config.reach.connect_timeout) = ("8".parse().unwrap(), Some(TimeSpan::seconds(1)));
    config.reach.requests_per_connection = Some(20.try_into().unwrap());
    let summary = run(&config);
    assert_eq!(summary.counts.ok + summary.counts.timeout, 40, "{:?}", summary.evidence);
    // All that are due while one waits, at most; without an end of it, all twenty.
    assert!((1..16).contains(&summary.counts.timeout), "{:?}", summary.counts);
}

/// A target that takes nothing of a body before it says so, and then little by little.
#[test]
fn a_body_waits_for_the_targets_window() {
    let (port, counted) = server(
        settings(&[(4, 0)]),
        Box::new(|asked| {
            let mut bytes = Vec::new();
            for _ in 0..10 {
                bytes.extend(frame(WINDOW_UPDATE, 0, asked.stream, &1000u32.to_be_bytes()));
                bytes.extend(frame(WINDOW_UPDATE, 0, 0, &1000u32.to_be_bytes()));
                bytes.extend(frame(PING, 0, 0, &[0; 8]));
            }
            // The rest of it all at once, by a change of the setting that is taken back.
            bytes.extend(settings(&[(4, 2_000)]));
            bytes.extend(settings(&[(4, 0)]));
            (true, bytes)
        }),
    );
    let body = "x".repeat(12_000);
    let mut config = local(port);
    config.requests = vec![RequestSpec { method: "POST".to_owned(), body: Some(body), ..RequestSpec::get("/") }];
    (config.streams, config.connections, config.length) = (1, Some(1), Length::Requests(3));
    (config.timeout, config.closed_loop) = (TimeSpan::millis(400), true);
    let summary = run(&config);
    // Nothing answers; what counts is what went out, and that the connection outlived every timeout.
    assert_eq!(
        (summary.counts.timeout, summary.counts.wire, counted.get()),
        (3, [3; 2], (1, 3)),
        "{:?}",
        summary.errors
    );
    assert_eq!(counted.body.load(Ordering::SeqCst), 3 * 12_000);
    assert_eq!(counted.resets.load(Ordering::SeqCst), 2);
}

#[test]
fn answers_without_a_body_with_trailers_and_with_interim_heads() {
    let trailers = [0x00, 0x01, b't', 0x01, b'1'];
    let only = move |stream| [frame(HEADERS, END_HEADERS, stream, OK), answer(&trailers, stream)].concat();
    let early =
        |stream| [frame(HEADERS, END_HEADERS, stream, &[0x08, 0x03, b'1', b'0', b'3']), answer(OK, stream)].concat();
    // content-length: 5, for a HEAD and in vain.
    let long = [0x88, 0x0f, 0x0d, 0x01, b'5'];
    let head = move |stream| answer(&long, stream);
    let padded = |stream| {
        let (head, body) = ([&[3][..], OK, &[0; 3]].concat(), [&[2][..], b"hello", &[0; 2]].concat());
        [frame(HEADERS, END_HEADERS | 8, stream, &head), frame(DATA, END_STREAM | 8, stream, &body)].concat()
    };
    type Answer = Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>;
    let cases: [(&str, &str, Answer); 5] = [
        ("GET", "204", Box::new(|stream| answer(NO_CONTENT, stream))),
        ("GET", "200", Box::new(only)),
        ("GET", "200", Box::new(early)),
        ("HEAD", "200", Box::new(head)),
        ("GET", "200", Box::new(padded)),
    ];
    for (method, status, bytes) in cases {
        let (port, counted) = answering(bytes);
        let mut config = local(port);
        config.requests = vec![RequestSpec { method: method.to_owned(), ..RequestSpec::get("/") }];
        let summary = run(&config);
        assert_eq!((summary.counts.ok, counted.get().1), (200, 200), "{:?}", summary.evidence);
        assert_eq!(summary.status, BTreeMap::from([(status.parse().unwrap(), 200)]));
    }
    let (port, _) = answering(head);
    let summary = run(&local(port));
    assert_eq!(summary.counts.network_error, 200);
    assert!(summary.evidence[0].detail.contains("Content-Length"), "{:?}", summary.evidence);
}

/// `size` bytes of headers, in as many frames as they need.
fn headers(size: usize, stream: u32) -> Vec<u8> {
    let mut block = OK.to_vec();
    while block.len() < size {
        // A literal without a place in the table, with a name of one byte and a value of 100.
        block.extend([0x00, 0x01, b'x', 100]);
        block.extend([b'y'; 100]);
    }
    let pieces: Vec<_> = block.chunks(16_000).collect();
    let last = pieces.len() - 1;
    let framed = pieces.iter().enumerate().flat_map(|(n, piece)| {
        let kind = if n == 0 { HEADERS } else { CONTINUATION };
        let end = if n == 0 { END_STREAM } else { 0 };
        frame(kind, end | if n == last { END_HEADERS } else { 0 }, stream, piece)
    });
    framed.collect()
}

#[test]
fn long_heads_are_taken_and_endless_ones_are_not() {
    let (port, counted) = answering(|stream| headers(100 * 1024, stream));
    let summary = run(&local(port));
    assert_eq!((summary.counts.ok, counted.get()), (200, (2, 200)), "{:?}", summary.evidence);
    let (port, _) = answering(|stream| headers(600 * 1024, stream));
    let summary = run(&Config { length: Length::Requests(5), ..local(port) });
    assert_eq!(summary.counts.network_error, 5);
    assert_eq!(summary.errors[0].kind.phase, Phase::Protocol);
    assert!(summary.evidence[0].detail.contains("512 KiB"), "{:?}", summary.evidence);
}

#[test]
fn garbage_ends_the_connection_and_the_next_one_goes_on() {
    let garbage: [Vec<u8>; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        frame(HEADERS, END_HEADERS | END_STREAM, 99_999, OK),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 40]),
        frame(CONTINUATION, END_HEADERS, 1, OK),
        frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x88]),
    ];
    for bytes in garbage {
        let (port, counted) = server(
            settings(&[]),
            Box::new(
                move |asked| {
                    if asked.total % 10 == 9 { (true, bytes.clone()) } else { (true, answer(OK, asked.stream)) }
                },
            ),
        );
        let summary = run(&Config { connections: Some(1), ..local(port) });
        assert_eq!((summary.counts.ok, summary.counts.network_error), (180, 20), "{:?}", summary.evidence);
        assert_eq!(summary.errors[0].kind.phase, Phase::Protocol);
        assert_eq!((counted.get(), summary.counts.wire), ((20, 200), [200; 2]));
    }
}

#[test]
fn a_target_that_does_not_speak_it_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let error = bench::run(&local(port), &mut ()).unwrap_err();
    let bench::Error::NoConnection { fault, .. } = error else { panic!("{error}") };
    assert_eq!(fault.kind.phase, Phase::Protocol);
    assert!(fault.detail.contains("does not speak HTTP/2"), "{fault:?}");
}

#[test]
fn a_request_that_takes_too_long_leaves_its_connection_to_the_others() {
    let (port, counted) = server(
        settings(&[]),
        Box::new(|asked| (true, if asked.total % 50 == 49 { Vec::new() } else { answer(OK, asked.stream) })),
    );
    let mut config = local(port);
    (config.streams, config.connections, config.timeout) = (10, Some(1), TimeSpan::millis(300));
    let summary = run(&config);
    assert_eq!((summary.counts.ok, summary.counts.timeout, counted.get()), (196, 4, (1, 200)));
    assert_eq!(summary.counts.wire, [200; 2]);
    assert_eq!(summary.connections.opened, 1);
}

#[test]
fn through_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let counted = Arc::<Counted>::default();
    let own = Arc::clone(&counted);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let counted = Arc::clone(&own);
            let script: Script = Box::new(|asked| (true, answer(OK, asked.stream)));
            thread::spawn(move || serve(stream, &settings(&[]), &script, &counted));
        }
    });
    let mut config = config("http://localhost/");
    config.unix_socket = Some(path);
    let summary = run(&config);
    assert_eq!((summary.counts.ok, counted.get()), (200, (2, 200)));
}

/// What another library makes of the requests is what was asked for.
#[test]
fn another_library_reads_the_same_requests() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let own = Arc::clone(&seen);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Arc::clone(&own);
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let seen = Arc::clone(&seen);
                        tokio::spawn(async move {
                            let (head, mut body) = request.into_parts();
                            let mut length = 0;
                            while let Some(Ok(bytes)) = body.data().await {
                                length += bytes.len();
                                body.flow_control().release_capacity(bytes.len()).unwrap();
                            }
                            let id = head.headers["x-id"].to_str().unwrap().to_owned();
                            seen.lock().unwrap().push(format!("{} {} {id} {length}", head.method, head.uri));
                            let answer = http::Response::builder().header("x-new", id).body(()).unwrap();
                            let mut stream = respond.send_response(answer, false).unwrap();
                            stream.send_data(vec![b'x'; 40_000].into(), true).unwrap();
                        });
                    }
                });
            }
        });
    });
    let mut config = local(port);
    let spec = serde_json::json!({
        "method": "PUT", "path": "/{{ seq() }}", "body": "x".repeat(100_000), "headers": {"X-Id": "n{{ seq() }}"},
    });
    config.requests = vec![serde_json::from_value(spec).unwrap()];
    (config.streams, config.closed_loop, config.length) = (10, true, Length::Requests(300));
    let summary = run(&config);
    assert_eq!((summary.counts.ok, summary.counts.wire), (300, [300; 2]), "{:?}", summary.evidence);
    assert!(summary.bytes.received > 300 * 40_000 && summary.bytes.sent > 300 * 100_000);
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    let mut expected: Vec<_> = (0..300).map(|n| format!("PUT http://127.0.0.1:{port}/{n} n{n} 100000")).collect();
    expected.sort();
    assert_eq!(seen, expected);
}

/// What nginx compresses.
fn text() -> String {
    ["all work and no play"; 40].join(" ")
}

/// nginx with HTTP/2 over TLS, HTTP/1.1 over TLS, and HTTP/2 without TLS.
struct Nginx {
    child: Child,
    folder: tempfile::TempDir,
    ports: [u16; 3],
}

impl Nginx {
    /// One that listens.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display().to_string();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path().join("cert"), made.cert.pem()).unwrap();
        fs::write(folder.path().join("key"), made.signing_key.serialize_pem()).unwrap();
        let free: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = [0, 1, 2].map(|n: usize| free[n].local_addr().unwrap().port());
        drop(free);
        let [two, one, plain] = ports;
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {root}/{what};"))
            .concat();
        let tls = format!("ssl_certificate {root}/cert; ssl_certificate_key {root}/key;");
        let pages = format!(
            "location / {{ return 200 'hello world'; }} location /from {{ return 302 /to; }}
            location /text {{ gzip on; gzip_types *; return 200 '{}'; }}",
            text()
        );
        let text = format!(
            "daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;
            events {{ worker_connections 1000; }}
            http {{ {temporary} log_format own '$server_protocol $status'; access_log {root}/access.log own;
                keepalive_requests 100;
                server {{ listen 127.0.0.1:{two} ssl http2; {tls} {pages} }}
                server {{ listen 127.0.0.1:{one} ssl; {tls} {pages} }}
                server {{ listen 127.0.0.1:{plain} http2; {pages} }} }}"
        );
        fs::write(folder.path().join("conf"), text).unwrap();
        let child = Command::new("nginx").args(["-c", &format!("{root}/conf"), "-e", "stderr"]).spawn();
        let child = child.expect("nginx could not be started");
        let nginx = Self { child, folder, ports };
        nginx.until("it listens", || ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()));
        nginx
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..500 {
            if is_so() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("nginx: not {what} within 10 s");
    }

    /// How many requests it has logged with this beginning of a line.
    fn logged(&self, line: &str) -> usize {
        let log = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        log.lines().filter(|l| l.starts_with(line)).count()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// nginx says goodbye after a hundred requests of each connection: all are answered, and it has counted as many.
#[test]
fn nginx_over_tls_and_without_it() {
    let nginx = Nginx::start();
    let [two, one, plain] = nginx.ports;
    let mut logged = 0;
    for (url, protocol, streams, closed_loop) in [
        (format!("https://localhost:{two}/"), Protocol::Http2, 10, true),
        (format!("https://localhost:{two}/"), Protocol::Auto, 1, false),
        (format!("http://localhost:{plain}/"), Protocol::Http2, 100, true),
        (format!("http://localhost:{plain}/"), Protocol::Http2, 3, false),
    ] {
        let mut config = config(&url);
        (config.insecure, config.protocol, config.streams, config.closed_loop) = (true, protocol, streams, closed_loop);
        config.length = Length::Requests(1000);
        config.rate = "2000".parse().unwrap();
        let summary = run(&config);
        assert_eq!(summary.counts.ok, 1000, "{url}: {:?} {:?}", summary.counts, summary.evidence);
        assert_eq!(summary.counts.wire, [1000; 2], "{url}");
        assert!(summary.connections.opened >= 10, "{:?}", summary.connections);
        logged += 1000;
        nginx.until("all are logged", || nginx.logged("HTTP/2.0 200") >= logged);
        assert_eq!(nginx.logged("HTTP/2.0 200"), logged);
        let is_tls = url.starts_with("https");
        assert_eq!(summary.histograms.tls.count(), if is_tls { summary.connections.opened } else { 0 });
    }
    // What is tried is spoken as it will be.
    for (port, asked, said) in
        [(two, Protocol::Http2, "HTTP/2"), (two, Protocol::Auto, "HTTP/2"), (one, Protocol::Auto, "HTTP/1.1")]
    {
        let mut config = config(&format!("https://localhost:{port}/"));
        (config.insecure, config.protocol, config.reach.without_keepalive) = (true, asked, true);
        let tried = bench::try_out(&config).unwrap().remove(0);
        assert_eq!(tried.outcome, bench::Outcome::Ok, "{tried:?}");
        let (sent, answer) = (tried.request[..tried.head].to_vec(), tried.answer.unwrap());
        assert!(sent.starts_with(format!("GET / {said}\r\n").as_bytes()), "{}", sent.escape_ascii());
        // HTTP/2 has no such field (RFC 9113, 8.2.2).
        let text = String::from_utf8_lossy(&sent).to_lowercase();
        assert!(text.contains("host: localhost") && text.contains("connection:") == (said == "HTTP/1.1"), "{text}");
        assert!(sent.ends_with(b"\r\n\r\n") && answer.head().starts_with(said.as_bytes()), "{answer:?}");
        logged += usize::from(said == "HTTP/2");
    }
    // Redirects, which nginx writes as whole URLs.
    for url in [format!("https://localhost:{two}/from"), format!("http://localhost:{plain}/from")] {
        let mut config = config(&url);
        (config.insecure, config.protocol, config.streams, config.redirects) = (true, Protocol::Http2, 10, 1);
        config.length = Length::Requests(500);
        config.closed_loop = true;
        let summary = run(&config);
        let c = summary.counts;
        assert_eq!((c.ok, c.redirects, c.wire), (500, 500, [1000; 2]), "{url}: {c:?} {:?}", summary.evidence);
        logged += 500;
        nginx.until("all are logged", || nginx.logged("HTTP/2.0 200") >= logged);
        assert_eq!(nginx.logged("HTTP/2.0 200"), logged);
    }
    assert_eq!(nginx.logged("HTTP/2.0 302"), 1000);
    // Compressed by nginx.
    for (port, protocol) in [(two, Protocol::Http2), (one, Protocol::Http1)] {
        let mut config = config(&format!("https://localhost:{port}/text"));
        (config.insecure, config.protocol, config.compressed) = (true, protocol, true);
        config.length = Length::Requests(200);
        let assertion = format!("body equals {}", text()).parse().unwrap();
        config.requests = vec![bench::RequestSpec { assert: vec![assertion], ..bench::RequestSpec::get("/text") }];
        let summary = bench::run(&config, &mut ()).unwrap();
        assert_eq!(summary.counts.ok, 200, "{:?}", summary.evidence);
        assert_eq!(summary.bytes.decompressed, 200 * text().len() as u64);
        assert!(summary.bytes.bodies < summary.bytes.decompressed / 3, "{:?}", summary.bytes);
    }
    let mut config = config(&format!("https://localhost:{one}/"));
    (config.insecure, config.protocol) = (true, Protocol::Auto);
    let summary = bench::run(&config, &mut ()).unwrap();
    assert_eq!((summary.counts.ok, summary.setup.protocol.as_str()), (200, "HTTP/1.1"));
    assert_eq!(summary.connections.streams, None);
    config.protocol = Protocol::Http2;
    let error = bench::run(&config, &mut ()).unwrap_err();
    let bench::Error::NoConnection { fault, .. } = error else { panic!("{error}") };
    assert_eq!((fault.kind.phase, fault.detail.as_str()), (Phase::Protocol, "the target does not offer HTTP/2"));
}
