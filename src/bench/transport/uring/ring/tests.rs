//! Operations on real sockets.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

use super::*;
use crate::bench::clock::now_ns;

/// A ring and a pair of sockets, where the kernel has rings.
fn start() -> Option<(Ring, UnixStream, UnixStream)> {
    let (own, peer) = UnixStream::pair().unwrap();
    Some((Ring::new().ok()?, own, peer))
}

#[test]
fn of_quiet_sends_only_failures_are_told() {
    let Some((mut ring, own, mut peer)) = start() else { return };
    let text = b"hello".to_vec();
    for _ in 0..100 {
        ring.send_quietly(own.as_raw_fd(), &text, 7);
    }
    ring.submit().unwrap();
    assert!(ring.next().is_none());
    let mut received = [0; 500];
    peer.read_exact(&mut received).unwrap();
    assert_eq!(received, text.repeat(100).as_slice());
    assert_eq!(ring.kept.len(), 1);

    own.shutdown(Shutdown::Write).unwrap();
    ring.send_quietly(own.as_raw_fd(), &text, 7);
    ring.submit().unwrap();
    match ring.next() {
        Some(Event::NotSent { tag: 7, error }) => assert_eq!(error.kind(), io::ErrorKind::BrokenPipe),
        other => panic!("{other:?}"),
    }
    assert!(ring.next().is_none());
    assert_eq!(ring.outstanding, 0);
}

#[test]
fn other_bytes_at_the_same_address_are_others() {
    let Some((mut ring, own, mut peer)) = start() else { return };
    let mut text = *b"one";
    ring.send_quietly(own.as_raw_fd(), &text, 1);
    text = *b"two";
    ring.send_quietly(own.as_raw_fd(), &text, 1);
    ring.submit().unwrap();
    let mut received = [0; 6];
    peer.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"onetwo");
}

#[test]
fn a_ring_ends_while_a_quiet_send_waits_for_room() {
    let Some((mut ring, own, mut peer)) = start() else { return };
    let filler = vec![0; 64 * 1024];
    own.set_nonblocking(true).unwrap();
    while (&own).write(&filler).is_ok() {}
    ring.send_quietly(own.as_raw_fd(), b"late", 1);
    ring.receive(own.as_raw_fd(), 2);
    ring.submit().unwrap();
    assert!(ring.next().is_none());
    drop(ring);
    drop(own);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert!(!received.ends_with(b"late"), "it was given up");
}

#[test]
fn a_wait_ends_with_what_comes_and_not_with_a_quiet_send() {
    let Some((mut ring, own, mut peer)) = start() else { return };
    ring.receive(own.as_raw_fd(), 2);
    ring.send_quietly(own.as_raw_fd(), b"ask", 1);
    let answering = std::thread::spawn(move || {
        let mut received = [0; 3];
        peer.read_exact(&mut received).unwrap();
        peer.write_all(b"answer").unwrap();
        peer
    });
    // Far more than an answer takes: the time limit is not what ends it.
    let now = now_ns();
    ring.wait(now + 60_000_000_000, now, 1).unwrap();
    match ring.next() {
        Some(Event::Received { tag: 2, filled: Ok(Some(filled)), is_armed: true }) => {
            assert_eq!(ring.bytes(&filled), b"answer");
        }
        other => panic!("{other:?}"),
    }
    answering.join().unwrap();
}

#[test]
fn a_wait_for_several_ends_with_the_last_of_them() {
    let Some((mut ring, own, mut peer)) = start() else { return };
    let (other, mut other_peer) = UnixStream::pair().unwrap();
    ring.receive(own.as_raw_fd(), 1);
    ring.receive(other.as_raw_fd(), 2);
    peer.write_all(b"one").unwrap();
    let answering = std::thread::spawn(move || {
        // Long after the wait has begun, and however late that is, the wait is not over before it.
        std::thread::sleep(Duration::from_millis(20));
        other_peer.write_all(b"two").unwrap();
        other_peer
    });
    let now = now_ns();
    ring.wait(now + 60_000_000_000, now, 2).unwrap();
    let tags = std::iter::from_fn(|| ring.next()).map(|event| match event {
        Event::Received { tag, filled: Ok(Some(_)), .. } => tag,
        other => panic!("{other:?}"),
    });
    assert_eq!(tags.collect::<Vec<_>>(), [1, 2]);
    answering.join().unwrap();
}

#[test]
fn a_wait_for_several_ends_at_its_time() {
    let Some((mut ring, own, mut peer)) = start() else { return };
    ring.receive(own.as_raw_fd(), 1);
    peer.write_all(b"one").unwrap();
    let now = now_ns();
    ring.wait(now + 5_000_000, now, 100).unwrap();
    assert!(now_ns() >= now + 5_000_000);
    assert!(matches!(ring.next(), Some(Event::Received { tag: 1, .. })));
}

#[test]
fn a_wait_for_several_ends_though_its_alarm_went_off_before_it_began() {
    let Some((mut ring, own, _peer)) = start() else { return };
    ring.receive(own.as_raw_fd(), 1);
    // Handed over, and gone off, as an alarm is that a busy thread is late for.
    let now = now_ns();
    ring.wait(now + 1, now, 1).unwrap();
    ring.alarm_ns = now_ns() + 5_000_000;
    let now = now_ns();
    ring.wait(ring.alarm_ns, now, 100).unwrap();
    assert!(now_ns() >= now + 5_000_000 && ring.next().is_none());
}
