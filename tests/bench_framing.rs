//! Where an answer ends, and what becomes of its connection: the generator against a server that answers in every way
//! that HTTP/1.1 allows, and in some that it does not. One connection, so that every request shows what the last one
//! left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod support;
#[path = "support/tls.rs"]
mod tls;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use scalectl::bench::{self, Cause, Config, Length, Phase, Protocol, RequestSpec, Summary};
use scalectl::units::TimeSpan;
use support::{Fate, Seen, Server};
use tls::certificate;

const REQUESTS: u64 = 40;

/// Requests of this method over one connection, each answered in this way.
fn run_with(method: &str, fate: impl Fn(&Seen) -> Fate + Send + 'static) -> (Summary, Server) {
    run_at("200", REQUESTS, method, fate)
}

fn run_at(rps: &str, requests: u64, method: &str, fate: impl Fn(&Seen) -> Fate + Send + 'static) -> (Summary, Server) {
    let server = Server::start(move |seen| fate(seen));
    let mut config = Config::new(server.url().parse().unwrap());
    config.io = support::io();
    config.requests = vec![RequestSpec { method: method.to_owned(), ..RequestSpec::get("/{{ seq() }}") }];
    config.rate = rps.parse().unwrap();
    config.length = Length::Requests(requests);
    config.connections = Some(1);
    config.timeout = TimeSpan::seconds(5);
    let summary = bench::run(&config, &mut ()).unwrap();
    let c = summary.counts;
    assert!(c.holds() && c.scheduled == requests && c.unsent == 0, "{c:?}");
    // Of a request that was sent again nobody knows whether the server saw it before.
    assert_eq!(c.wire, [server.count() - c.retries, server.count()], "{c:?}");
    (summary, server)
}

fn run(fate: impl Fn(&Seen) -> Fate + Send + 'static) -> (Summary, Server) {
    run_with("GET", fate)
}

fn pieces(of: &[&str]) -> Vec<Vec<u8>> {
    of.iter().map(|piece| piece.as_bytes().to_vec()).collect()
}

/// All requests ended well, over this many connections, with this many warnings and bytes an answer.
fn assert_well(found: &(Summary, Server), connections: u64, warnings: u64, bytes: u64) {
    let (summary, server) = found;
    let c = summary.counts;
    assert_eq!((c.ok, c.retries, c.protocol_warnings), (REQUESTS, 0, warnings), "{c:?} {:?}", summary.errors);
    assert_eq!((server.count(), server.connections()), (REQUESTS, connections));
    assert_eq!(summary.bytes.received, REQUESTS * bytes);
}

#[test]
fn a_length_however_it_is_cut() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world";
    for cut in [1, 9, 16, 17, 34, 37, 38, 39, 40, text.len() - 1] {
        let parts = pieces(&[&text[..cut], &text[cut..]]);
        assert_well(&run(move |_| Fate::Bytes(parts.clone())), 1, 0, text.len() as u64);
    }
    let empty = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_well(&run(move |_| Fate::Bytes(pieces(&[empty]))), 1, 0, empty.len() as u64);
}

#[test]
fn chunks_with_trailers_and_odd_cuts() {
    let text =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";
    for cut in [47, 48, 49, 51, 55, 56, 60, 61, 70, 72, 73, text.len() - 3, text.len() - 1] {
        let parts = pieces(&[&text[..cut], &text[cut..]]);
        assert_well(&run(move |_| Fate::Bytes(parts.clone())), 1, 0, text.len() as u64);
    }
    let bytewise: Vec<_> = text.bytes().map(|byte| vec![byte]).collect();
    let found = run(move |seen| Fate::Bytes(if seen.seq == 3 { bytewise.clone() } else { pieces(&[text]) }));
    assert_well(&found, 1, 0, text.len() as u64);
}

#[test]
fn a_body_that_ends_with_its_connection() {
    for head in ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
        let (one, two) = (head.to_owned() + "hel", "lo");
        let found = run(move |_| Fate::BytesAndClose(pieces(&[&one, two])));
        assert_well(&found, REQUESTS, 0, head.len() as u64 + 5);
    }
}

#[test]
fn answers_without_a_body() {
    for status in [204, 304] {
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n");
        let length = text.len() as u64;
        assert_well(&run(move |_| Fate::Bytes(pieces(&[&text]))), 1, 0, length);
    }
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_well(&run_with("HEAD", move |_| Fate::Bytes(pieces(&[text]))), 1, 0, text.len() as u64);
    let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_well(&run_with("HEAD", move |_| Fate::Bytes(pieces(&[text]))), 1, 0, text.len() as u64);
}

#[test]
fn interim_answers_are_skipped() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let length = (interim.len() + last.len()) as u64;
    let found = run(move |_| Fate::Bytes(pieces(&[interim, last])));
    assert_well(&found, 1, 0, length);
    assert_eq!(found.0.status.into_iter().collect::<Vec<_>>(), [(200, REQUESTS)]);
    let together = interim.to_owned() + last;
    assert_well(&run(move |_| Fate::Bytes(pieces(&[&together]))), 1, 0, length);
}

/// The answer counts, the connection does not go on, and what came too much is told.
#[test]
fn garbage_after_an_answer() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokgarbage";
    let found = run(move |_| Fate::Bytes(pieces(&[text])));
    assert_well(&found, REQUESTS, REQUESTS, text.len() as u64);
}

/// The same a moment later, between two requests. Where the next request is on its way already, nobody can tell such
/// bytes from its answer.
#[test]
fn garbage_between_two_requests() {
    let fate = |_: &Seen| Fate::Bytes(pieces(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "garbage\r\n"]));
    // Far enough apart that some of it finds the connection idle.
    let (summary, server) = run_at("20", 8, "GET", fate);
    let c = summary.counts;
    let malformed = summary.errors.iter().filter(|e| e.kind.cause == Cause::Malformed).map(|e| e.count).sum::<u64>();
    assert_eq!(c.ok + malformed, 8, "{c:?} {:?}", summary.errors);
    assert!(c.protocol_warnings > 0, "{c:?}");
    // Garbage ends a connection in one of two ways; after the last answer nobody waits for it.
    let ended = c.protocol_warnings + malformed;
    assert!((ended..=ended + 1).contains(&server.connections()), "{c:?}, {} connections", server.connections());
}

#[test]
fn a_length_that_is_too_long_is_a_connection_closed_in_the_body() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok";
    let (summary, server) = run(move |_| Fate::BytesAndClose(pieces(&[text])));
    assert_eq!((summary.counts.network_error, server.connections()), (REQUESTS, REQUESTS));
    let [error] = &summary.errors[..] else { panic!("{:?}", summary.errors) };
    assert_eq!((error.kind.phase, error.kind.cause), (Phase::Body, Cause::Closed));
    assert_eq!(summary.status.into_iter().collect::<Vec<_>>(), [(200, REQUESTS)]);
}

#[test]
fn what_is_no_answer_is_malformed() {
    for text in [
        "SSH-2.0-OpenSSH_9.2p1\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    ] {
        let (summary, _) = run(move |_| Fate::Bytes(pieces(&[text])));
        assert_eq!(summary.counts.network_error, REQUESTS);
        let [error] = &summary.errors[..] else { panic!("{:?}", summary.errors) };
        assert_eq!((error.kind.phase, error.kind.cause), (Phase::Protocol, Cause::Malformed));
    }
}

#[test]
fn a_head_of_a_hundred_kibibytes() {
    let lines: String = (0..2000).map(|n| format!("X-{n}: {}\r\n", "v".repeat(50))).collect();
    let text = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok");
    assert!(text.len() > 100 * 1024);
    let length = text.len() as u64;
    assert_well(&run(move |_| Fate::Bytes(pieces(&[&text]))), 1, 0, length);
}

#[test]
fn a_body_of_many_mebibytes_and_one_that_trickles() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 2 << 20);
    let big = [head.as_bytes(), &vec![b'x'; 2 << 20]].concat();
    let length = big.len() as u64;
    assert_well(&run(move |_| Fate::Bytes(vec![big.clone()])), 1, 0, length);
    let slow: Vec<_> = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n".bytes().map(|byte| vec![byte]).collect();
    let slow = [slow, vec![b"0123456789".to_vec(); 2]].concat();
    let length = slow.iter().map(Vec::len).sum::<usize>() as u64;
    let quick = vec![slow.concat()];
    let found = run(move |seen| Fate::Bytes(if seen.seq == 7 { slow.clone() } else { quick.clone() }));
    assert_well(&found, 1, 0, length);
    // The trickle took a millisecond a piece at least, and shows as service time.
    assert!(found.0.service_time_ns.max.unwrap() > 30_000_000);
}

/// Every k-th answer ends its connection, in so many words: ⌈N/k⌉ connections, and nobody is surprised.
#[test]
fn connection_close_replaces_the_connection() {
    for k in [1, 3, 7] {
        let found = run(move |seen| {
            let close = if seen.seq % k == k - 1 { "close" } else { "keep-alive" };
            Fate::Bytes(pieces(&[&format!(
                "HTTP/1.1 200 OK\r\nConnection: {close:<10}\r\nContent-Length: 2\r\n\r\nok"
            )]))
        });
        let length = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok".len() as u64;
        assert_well(&found, REQUESTS.div_ceil(k), 0, length);
    }
}

/// A compressed body is bytes like any other.
#[test]
fn gzip_is_counted_as_it_comes() {
    let body = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\x07\x00\x86\xa6\x10\x36\x05\x00\x00\x00";
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
    let text = [head.as_bytes(), body].concat();
    let length = text.len() as u64;
    assert_well(&run(move |_| Fate::Bytes(vec![text.clone()])), 1, 0, length);
}

/// Reads a little of a request, and answers it.
fn refuse(mut stream: impl Read + Write) {
    stream.read_exact(&mut [0; 1000]).unwrap();
    stream.write_all(b"HTTP/1.1 413 X\r\nContent-Length: 2\r\n\r\nno").unwrap();
    stream.flush().unwrap();
}

/// An answer that comes before the request is written counts; its connection cannot be used again. With unread bytes in
/// it, a connection that is closed is reset: behind its answer.
#[test]
fn a_body_that_nobody_reads() {
    for tls in [None, Some(certificate())] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
        let mut config = Config::new(url.parse().unwrap());
        (config.io, config.insecure) = (support::io(), true);
        let body = Some("x".repeat(16 << 20));
        config.requests = vec![RequestSpec { method: "POST".to_owned(), body, ..RequestSpec::get("/") }];
        (config.rate, config.length) = ("100".parse().unwrap(), Length::Requests(3));
        (config.connections, config.timeout, config.protocol) = (Some(1), TimeSpan::seconds(20), Protocol::Http1);
        let is_encrypted = tls.is_some();
        let served = std::thread::spawn(move || {
            for nth in 0..3 {
                let (stream, _) = listener.accept().unwrap();
                // What waits to be sent is thrown away where a connection is reset.
                stream.set_nodelay(true).unwrap();
                match &tls {
                    None => refuse(&stream),
                    Some(config) => {
                        let session = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
                        refuse(rustls::StreamOwned::new(session, &stream));
                    }
                }
                if nth == 1 {
                    std::mem::forget(stream);
                }
            }
        });
        let summary = bench::run(&config, &mut ()).unwrap();
        served.join().unwrap();
        let c = summary.counts;
        assert_eq!((c.http_error, c.retries, c.wire), (3, 0, [3, 3]), "{url} {c:?} {:?}", summary.evidence);
        // Over io_uring a request is encrypted as a whole, and counts as written.
        let is_whole = is_encrypted && summary.setup.io == "io_uring";
        assert!(is_whole || summary.bytes.sent < 3 * (16 << 20));
    }
}

/// A backlog that is full: the kernel answers no further connection. One connection is served, one waits in the backlog
/// for ever, the others are never made; each ends after the timeout, in its phase, and frees its place.
#[test]
fn a_full_backlog_times_out_while_connecting() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.listen(0).unwrap()
    });
    let mut config = Config::new(listener.local_addr().unwrap().to_string().parse().unwrap());
    config.io = support::io();
    (config.rate, config.length) = ("50".parse().unwrap(), Length::Requests(50));
    (config.connections, config.timeout) = (Some(4), TimeSpan::millis(300));
    config.grace = Some(TimeSpan::seconds(30));
    let server = std::thread::spawn(move || {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        runtime.block_on(async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut answered = 0u32;
            while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                // Long enough that other connections are needed.
                tokio::time::sleep(std::time::Duration::from_millis(50 * u64::from(answered > 0))).await;
                answered += 1;
                if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
                    break;
                }
            }
            answered
        })
    });
    let summary = bench::run(&config, &mut ()).unwrap();
    let answered: u32 = server.join().unwrap();
    let c = summary.counts;
    assert!(c.holds() && c.ok > 0 && c.ok + c.timeout == 50, "{c:?} {:?}", summary.errors);
    assert!(c.ok <= answered.into(), "{c:?}");
    let in_phase = |phase| summary.errors.iter().filter(|e| e.kind.phase == phase).map(|e| e.count).sum::<u64>();
    assert!(in_phase(Phase::Connect) > 0, "{:?}", summary.errors);
    assert_eq!(in_phase(Phase::Connect) + in_phase(Phase::Head), c.timeout);
    // Only what was connected was written.
    assert_eq!(c.wire, [c.ok + in_phase(Phase::Head); 2]);
    assert!(summary.failed_time_ns.min.unwrap() >= 300_000_000);
    assert_eq!(summary.response_time_ns.p99, None);
}

/// A reset under every tenth request, on whatever connection: each is one failure and costs no other request.
#[test]
fn a_reset_in_the_body_is_told_from_one_before_the_answer() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    let (summary, server) = run(move |seen| match seen.seq % 10 {
        // Closed, because nothing was unread: a reset would take the half answer with it.
        4 => Fate::BytesAndClose(pieces(&[half])),
        9 if seen.repeats == 0 => Fate::Reset,
        _ => Fate::Answer(200, 0),
    });
    // What was reset before a byte came may be sent again; what was cut in the middle is not.
    let c = summary.counts;
    assert_eq!((c.ok, c.network_error, c.retries, server.count()), (36, 4, 4, 44), "{c:?} {:?}", summary.errors);
    let [error] = &summary.errors[..] else { panic!("{:?}", summary.errors) };
    assert_eq!((error.kind.phase, error.kind.cause, error.count), (Phase::Body, Cause::Closed, 4));
}
