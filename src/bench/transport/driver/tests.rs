//! Connections that a target closes.

use std::io::Write as _;
use std::net::TcpListener;

use super::*;
use crate::bench::target::reach::Reach;

/// A driver with one open connection, and its other side.
fn connected(reading: Reading) -> (Driver, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let dialer = Dialer::new(&url.parse().unwrap(), None, false, &Reach::default()).unwrap();
    let mut driver = Driver::new(dialer, reading).unwrap();
    driver.open(0);
    let (peer, _) = listener.accept().unwrap();
    assert!(matches!(happened(&mut driver), Completion::Opened { slot: 0, .. }));
    (driver, peer)
}

fn happened(driver: &mut Driver) -> Completion {
    loop {
        driver.wait(Wait::Until(now_ns() + 1_000_000)).unwrap();
        if let Some(completion) = driver.next() {
            return completion;
        }
    }
}

fn is_answered(driver: &mut Driver, peer: &mut std::net::TcpStream, answer: &str) {
    let bytes = b"GET / HTTP/1.1\r\n\r\n";
    driver.send(0, &Request { bytes, head: bytes.len(), ..Request::default() });
    peer.write_all(answer.as_bytes()).unwrap();
    assert!(matches!(happened(driver), Completion::Answered { slot: 0, status: 200, .. }));
}

#[test]
fn a_target_that_closes_what_it_said_it_would_keep_is_known() {
    let (mut driver, mut peer) = connected(Reading::Late);
    is_answered(&mut driver, &mut peer, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert!(driver.is_open(0) && !driver.closes_idle());
    drop(peer);
    while driver.is_open(0) {
        driver.wait(Wait::Until(now_ns() + 1_000_000)).unwrap();
        assert!(driver.next().is_none());
    }
    assert!(driver.closes_idle() && driver.reading == Reading::AtOnce);
}

#[test]
fn a_target_that_says_that_it_closes_a_connection_may() {
    let (mut driver, mut peer) = connected(Reading::Late);
    is_answered(&mut driver, &mut peer, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    drop(peer);
    driver.wait(Wait::Not).unwrap();
    assert!(driver.next().is_none() && !driver.is_open(0) && !driver.closes_idle());
}

#[test]
fn a_request_that_meets_the_end_of_its_connection_is_such_a_close() {
    let (mut driver, mut peer) = connected(Reading::Late);
    is_answered(&mut driver, &mut peer, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let bytes = b"GET / HTTP/1.1\r\n\r\n";
    drop(peer);
    driver.send(0, &Request { bytes, head: bytes.len(), ..Request::default() });
    assert!(matches!(happened(&mut driver), Completion::Failed { slot: 0, is_reused: true, .. }));
    assert!(driver.closes_idle());
}
