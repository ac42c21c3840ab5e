//! What goes out and comes in on a connection.

use super::*;
use crate::bench::transport::http2::hpack;

/// Type and stream of each frame that is to be written.
fn queued(session: &Session) -> Vec<(u8, u32)> {
    let mut rest = session.outgoing();
    let mut frames = Vec::new();
    while let Some(head) = Head::read(rest) {
        frames.push((head.kind, head.stream));
        rest = &rest[frame::HEAD + head.length..];
    }
    frames
}

/// RFC 9113, 8.2.1.
#[test]
fn a_header_that_could_pass_for_two_is_refused() {
    for (name, value, is_valid) in
        [("x-a", "b\tc", true), ("x-a", "b\r\nset-cookie: c=d", false), ("X-A", "b", false), ("x a", "b", false)]
    {
        let mut session = Session::default();
        let request = Request { keeps_answer: true, ..Request::default() };
        session.send(0, &request, &[0x82]);
        let mut block = vec![0x88];
        hpack::write(&mut block, name.as_bytes(), value.as_bytes());
        let mut bytes = Vec::new();
        frame::write(&mut bytes, frame::SETTINGS, 0, 0, &[]);
        frame::write(&mut bytes, frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, 1, &block);
        let mut done = VecDeque::new();
        session.received(&bytes, 1, &mut done).unwrap();
        match done.pop_front() {
            Some(Completion::Answered { answer, .. }) => {
                assert!(is_valid, "{name}: {value}");
                assert_eq!(answer.unwrap().header(name), Some(value));
            }
            Some(Completion::Failed { fault, .. }) => {
                assert!(!is_valid && fault.detail.contains("a header"), "{name}: {value}: {fault:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nothing_is_sent_of_a_request_that_was_taken_back() {
    let mut session = Session::default();
    session.wrote(session.outgoing().len());
    // Both bodies are longer than the window.
    let bytes = vec![b'x'; 100_000];
    let request = Request { bytes: &bytes, ..Request::default() };
    let (place, stream) = session.send(0, &request, &[0x83]);
    session.send(1, &request, &[0x83]);
    session.abort(place, stream);
    let frames = queued(&session);
    assert_eq!(frames[0], (frame::HEADERS, 3));
    assert!(frames[1..].iter().all(|frame| *frame == (frame::DATA, 3)) && frames.len() > 1, "{frames:?}");
    assert_eq!(session.active(), 1);
}
