//! The same requests through everything that carries them: TCP, TLS, a unix socket; and in a closed loop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/tls.rs"]
mod tls;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use scalectl::bench::{self, Cause, Config, Io, Length, Pacing, Phase, RequestSpec, Summary, Timestamps};
use scalectl::units::TimeSpan;
use tls::certificate;

/// What the servers here have counted.
#[derive(Default)]
struct Counted {
    connections: AtomicU64,
    requests: AtomicU64,
}

impl Counted {
    fn get(&self) -> (u64, u64) {
        (self.connections.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
    }
}

/// Answers every request of a connection with a body of this length, until the other side closes it.
fn serve(mut stream: impl Read + Write, length: usize, counted: &Counted) {
    counted.connections.fetch_add(1, Ordering::SeqCst);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    let answer = [head.as_bytes(), &vec![b'x'; length]].concat();
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        while let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            bytes.drain(..end + 4);
            counted.requests.fetch_add(1, Ordering::SeqCst);
            if stream.write_all(&answer).and_then(|()| stream.flush()).is_err() {
                return;
            }
        }
        // Whatever is no head is a body.
        bytes.drain(..bytes.len().saturating_sub(3));
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

/// A server on TCP, with TLS or without; gives its port. Its threads end with the process.
fn tcp(length: usize, tls: Option<Arc<ServerConfig>>) -> (u16, Arc<Counted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let counted = Arc::<Counted>::default();
    let own = Arc::clone(&counted);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, tls, counted) = (stream.unwrap(), tls.clone(), Arc::clone(&own));
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || match tls {
                Some(config) => {
                    serve(StreamOwned::new(ServerConnection::new(config).unwrap(), stream), length, &counted);
                }
                None => serve(stream, length, &counted),
            });
        }
    });
    (port, counted)
}

fn config(url: &str) -> Config {
    let mut config = Config::new(url.parse().unwrap());
    config.io = std::env::var("SCALECTL_IO").map_or_else(|_| Io::default(), |io| io.parse().unwrap());
    config.rate = "400".parse().unwrap();
    config.length = Length::Requests(200);
    config.connections = Some(3);
    config.timeout = TimeSpan::seconds(5);
    config
}

fn run(config: &Config) -> Summary {
    let summary = bench::run(config, &mut ()).unwrap();
    assert!(summary.counts.holds());
    summary
}

#[test]
fn through_tls_with_answers_small_and_large() {
    for length in [0, 12, 300_000] {
        let (port, counted) = tcp(length, Some(certificate()));
        let mut config = config(&format!("https://localhost:{port}/"));
        config.insecure = true;
        if length == 12 {
            // Fast enough for it to sleep without a look at answers.
            config.rate = "2000".parse().unwrap();
        }
        let summary = run(&config);
        if cfg!(target_os = "linux") && config.io != Io::Uring {
            assert_eq!(summary.setup.timestamps, Timestamps::Kernel);
        }
        assert_eq!((summary.counts.ok, summary.counts.wire), (200, [200, 200]), "{:?}", summary.errors);
        assert_eq!(counted.get(), (3, 200));
        assert_eq!((summary.histograms.tls.count(), summary.histograms.connect.count()), (3, 3));
        assert!(summary.bytes.received >= 200 * length as u64);
    }
}

#[test]
fn a_body_that_no_socket_takes_at_once_goes_through_tls_too() {
    let (port, counted) = tcp(2, Some(certificate()));
    let mut config = config(&format!("https://localhost:{port}/"));
    config.insecure = true;
    // The server counts ends of heads; the body has none.
    let body = Some("x".repeat(16 << 20));
    config.requests = vec![RequestSpec { method: "POST".to_owned(), body, ..RequestSpec::get("/") }];
    (config.rate, config.length) = ("20".parse().unwrap(), Length::Requests(4));
    config.connections = Some(1);
    config.timeout = TimeSpan::seconds(20);
    let summary = run(&config);
    assert_eq!((summary.counts.ok, summary.counts.wire), (4, [4, 4]), "{:?}", summary.evidence);
    assert_eq!(counted.get().1, 4);
}

#[test]
fn a_certificate_that_nobody_knows_is_a_failed_handshake() {
    let (port, _) = tcp(2, Some(certificate()));
    let error = bench::run(&config(&format!("https://localhost:{port}/")), &mut ()).unwrap_err();
    let bench::Error::NoConnection { fault, .. } = error else { panic!("{error}") };
    assert_eq!((fault.kind.phase, fault.kind.cause), (Phase::Tls, Cause::Handshake), "{fault:?}");
}

#[test]
fn through_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let counted = Arc::<Counted>::default();
    let own = Arc::clone(&counted);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let counted = Arc::clone(&own);
            thread::spawn(move || serve(stream.unwrap(), 100_000, &counted));
        }
    });
    let mut config = config("http://localhost/");
    config.unix_socket = Some(path.clone());
    let summary = run(&config);
    assert_eq!((summary.counts.ok, summary.counts.wire), (200, [200, 200]), "{:?}", summary.errors);
    assert_eq!(counted.get(), (3, 200));
    config.unix_socket = Some(folder.path().join("nobody"));
    let error = bench::run(&config, &mut ()).unwrap_err();
    assert!(error.to_string().contains("nobody"), "{error}");
}

/// Every connection sends its next request when the last has ended: nothing waits, nothing is left over, and there are
/// no lags to speak of.
#[test]
fn a_closed_loop_sends_what_the_target_takes() {
    for (threads, length) in
        [(1, Length::Requests(331)), (3, Length::Requests(331)), (2, Length::Duration(TimeSpan::millis(300)))]
    {
        let (port, counted) = tcp(12, None);
        let mut config = config(&format!("127.0.0.1:{port}"));
        (config.closed_loop, config.length, config.threads) = (true, length, Some(threads));
        config.connections = Some(7);
        let summary = run(&config);
        let c = summary.counts;
        assert_eq!((c.scheduled, c.sent, c.unsent), (c.ok, c.ok, 0), "{c:?}");
        assert_eq!(counted.get(), (7, c.ok));
        assert_eq!(c.wire, [c.ok; 2]);
        match length {
            Length::Requests(number) => {
                assert_eq!(c.ok, number);
                assert_eq!((summary.duration_ns, summary.ok_in_time), (summary.elapsed_ns, number));
            }
            Length::Duration(span) => {
                assert_eq!(u128::from(summary.duration_ns), span.0.as_nanos());
                assert!(c.ok > 100, "{c:?}");
            }
        }
        assert_eq!((summary.offered_rate, summary.setup.rate), (None, None));
        assert!(summary.achieved_rate > 0.0);
        assert_eq!((summary.own_lag_ns.max, summary.pool_wait_ns.max, summary.send_lag_ns.max), (None, None, None));
        assert!(summary.response_time_ns.p50.is_some() && summary.service_time_ns.p50.is_some());
        let mut text = Vec::new();
        scalectl::report::text(&summary, &mut text, 80).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains("closed loop: omits waiting") && !text.contains("pool wait"), "{text}");
        let back: Summary = serde_json::from_str(&serde_json::to_string(&summary).unwrap()).unwrap();
        assert_eq!(back, summary);
        assert_eq!(Summary::merge(&[summary]).unwrap().counts, c);
    }
}

/// The end of the schedule ends a closed loop; a target that never answers leaves what is in flight unfinished.
#[test]
fn a_closed_loop_ends_though_nothing_is_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(&listener.local_addr().unwrap().to_string());
    (config.closed_loop, config.length) = (true, Length::Duration(TimeSpan::millis(200)));
    config.grace = Some(TimeSpan::millis(100));
    let summary = run(&config);
    let c = summary.counts;
    assert_eq!((c.scheduled, c.unfinished, c.unsent), (3, 3, 0), "{c:?}");
}

#[test]
fn pacing_changes_when_requests_go_out_and_not_which() {
    for pacing in ["exact", "5ms", "spin"] {
        let (port, counted) = tcp(12, None);
        let mut config = config(&format!("127.0.0.1:{port}"));
        config.pacing = pacing.parse().unwrap();
        let summary = run(&config);
        assert_eq!((summary.counts.ok, counted.get()), (200, (3, 200)));
        assert_eq!(summary.setup.pacing, pacing);
        let lag = summary.own_lag_ns.mean.unwrap() + summary.pool_wait_ns.mean.unwrap();
        if config.pacing == Pacing::Every("5ms".parse().unwrap()) {
            // Arrivals 2.5 ms apart wait for 0 and 2.5 ms in turn: 1.25 ms in the mean, and never less.
            assert!(lag >= 1_240_000, "{lag}");
        }
        assert!(summary.elapsed_ns >= Duration::from_millis(497).as_nanos() as u64);
    }
}
