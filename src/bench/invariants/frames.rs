//! A connection of HTTP/2: what a target's bytes come to does not depend on how they were cut, every request ends once,
//! and what is written are frames that the target allowed.

use std::collections::{HashMap, VecDeque};

use super::answer::is_clean;
use super::cut;
use crate::bench::record::sample::Fault;
use crate::bench::transport::http2::frame::{self, Head};
use crate::bench::transport::http2::request::Encoder;
use crate::bench::transport::http2::session::Session;
use crate::bench::transport::{Completion, Request};

/// The requests that are under way: the first without a body, the second without one in its answer, the third with more
/// than a window of it.
const REQUESTS: [(&str, usize); 3] = [
    ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 0),
    ("HEAD /b HTTP/1.1\r\nhost: a\r\n\r\n", 0),
    ("POST /c HTTP/1.1\r\nhost: a\r\ncontent-length: 70000\r\n\r\n", 70_000),
];
/// The instant at which everything happens.
const NOW: u64 = 7;

/// A connection with what has gone over it.
struct Connection {
    session: Session,
    encoder: Encoder,
    done: VecDeque<Completion>,
    /// Place and stream of each slot.
    places: Vec<(usize, u32)>,
    aborted: usize,
    written: Vec<u8>,
}

impl Connection {
    fn new() -> Self {
        let mut connection = Self {
            session: Session::default(),
            encoder: Encoder::new(false),
            done: VecDeque::new(),
            places: Vec::new(),
            aborted: 0,
            written: Vec::new(),
        };
        (0..REQUESTS.len()).for_each(|number| connection.send(number));
        connection
    }

    fn send(&mut self, number: usize) {
        let (head, body) = REQUESTS[number % REQUESTS.len()];
        let mut bytes = head.as_bytes().to_vec();
        bytes.resize(head.len() + body, b'x');
        let is_head = head.starts_with("HEAD");
        let request = Request {
            bytes: &bytes,
            head: head.len(),
            is_head,
            keeps_answer: number.is_multiple_of(2),
            ..Request::default()
        };
        let slot = self.places.len();
        let block = self.encoder.block(head.as_bytes());
        self.places.push(self.session.send(slot, &request, block));
    }

    fn write(&mut self, most: usize) {
        self.session.started(NOW);
        let outgoing = self.session.outgoing();
        let piece = &outgoing[..outgoing.len().min(most)];
        self.written.extend_from_slice(piece);
        self.session.wrote(piece.len());
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.session.received(bytes, NOW, &mut self.done)
    }

    /// Ends the connection; every request has ended once.
    fn end(mut self, why: Result<(), Fault>) -> (Vec<String>, Vec<u8>) {
        self.session.fail_all(&why.err().unwrap_or_else(|| self.session.ended()), &mut self.done);
        assert_eq!(self.session.active(), 0);
        let mut ended = vec![0; self.places.len()];
        for completion in &self.done {
            match completion {
                Completion::Answered { slot, status, answer, .. } => {
                    answer.iter().for_each(|answer| is_clean(answer));
                    assert!((200..1000).contains(status), "{status}");
                    ended[*slot] += 1;
                }
                Completion::Failed { slot, .. } => ended[*slot] += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(ended.iter().all(|times| *times <= 1), "{ended:?}");
        assert_eq!(ended.iter().sum::<usize>() + self.aborted, self.places.len(), "{:?}", self.done);
        (self.done.iter().map(|completion| format!("{completion:?}")).collect(), self.written)
    }
}

/// Receives bytes on a connection with some requests under way.
///
/// # Panics
///
/// The requests end differently if the bytes are cut, one ends twice or never, or a frame is written that the target did
/// not allow.
pub fn frames(bytes: &[u8]) {
    for is_written in [false, true] {
        let whole = receive([bytes], is_written);
        assert_eq!(receive(bytes.chunks(1), is_written), whole, "byte by byte; written before: {is_written}");
        assert_eq!(receive(cut(bytes), is_written), whole, "in {:?}; written before: {is_written}", cut(bytes));
    }
    intertwine(bytes);
}

/// What the requests come to, and what is written, before or after the bytes.
fn receive<'b>(pieces: impl IntoIterator<Item = &'b [u8]>, is_written: bool) -> (Vec<String>, Vec<u8>) {
    let mut connection = Connection::new();
    if is_written {
        connection.write(usize::MAX);
    }
    let received = pieces.into_iter().try_for_each(|piece| connection.receive(piece));
    connection.write(usize::MAX);
    connection.end(received)
}

/// Everything in turn, as the bytes say: what is read, what is written, what is no longer wanted, what is asked for.
fn intertwine(bytes: &[u8]) {
    let mut connection = Connection::new();
    let mut received = Ok(());
    for piece in cut(bytes) {
        received = connection.receive(piece);
        if received.is_err() {
            break;
        }
        let first = usize::from(piece[0]);
        match first % 4 {
            0 => connection.write(first * 37),
            1 => connection.write(first),
            2 if !connection.session.is_full() && !connection.session.is_draining() && connection.places.len() < 50 => {
                connection.send(first / 4);
            }
            3 => {
                let (place, stream) = connection.places[first / 4 % connection.places.len()];
                let before = connection.session.active();
                connection.session.abort(place, stream);
                connection.aborted += before - connection.session.active();
            }
            _ => {}
        }
    }
    connection.write(usize::MAX);
    let (_, written) = connection.end(received);
    Written::default().read(&written, &Allowed::by(bytes));
}

/// What the target allowed in all.
struct Allowed {
    longest: usize,
    window: u64,
}

impl Allowed {
    fn by(bytes: &[u8]) -> Self {
        let mut allowed = Self { longest: frame::MOST, window: frame::WINDOW as u64 };
        let mut rest = bytes;
        while let Some((head, payload)) = Head::read(rest).and_then(|head| Some((head, rest.get(frame::HEAD..)?))) {
            let Some((payload, behind)) = payload.split_at_checked(head.length) else { break };
            match head.kind {
                frame::WINDOW_UPDATE if head.stream == 0 => {
                    allowed.window += u64::from(frame::number(payload).unwrap_or_default() & 0x7fff_ffff);
                }
                frame::SETTINGS if !head.has(frame::ACK) => {
                    let longest = frame::settings(payload).filter(|(id, _)| *id == frame::MAX_FRAME_SIZE);
                    allowed.longest = longest.map(|(_, value)| value as usize).fold(allowed.longest, usize::max);
                }
                _ => {}
            }
            rest = behind;
        }
        allowed
    }
}

/// What a target has read.
#[derive(Default)]
struct Written {
    /// Whether the client has ended it, by stream.
    streams: HashMap<u32, bool>,
    last: u32,
    /// The stream whose head is not complete.
    unfinished: Option<u32>,
    data: u64,
}

impl Written {
    fn read(&mut self, bytes: &[u8], allowed: &Allowed) {
        let Some(mut rest) = bytes.strip_prefix(frame::PREFACE) else { panic!("it does not begin with the preface") };
        while !rest.is_empty() {
            let Some(head) = Head::read(rest) else { panic!("{rest:?} is no frame") };
            assert!(head.length <= allowed.longest, "{head:?}");
            let Some((_, behind)) = rest.split_at_checked(frame::HEAD + head.length) else { panic!("{head:?} is cut") };
            self.frame(head);
            rest = behind;
        }
        assert_eq!(self.unfinished, None);
        assert!(self.data <= allowed.window, "{} bytes of bodies where {} were allowed", self.data, allowed.window);
    }

    fn frame(&mut self, head: Head) {
        let Head { kind, stream, length, .. } = head;
        assert_eq!(self.unfinished.is_some(), kind == frame::CONTINUATION, "{head:?}");
        match kind {
            frame::HEADERS => {
                assert!(stream % 2 == 1 && stream > self.last, "{head:?} after stream {}", self.last);
                self.last = stream;
                self.streams.insert(stream, head.has(frame::END_STREAM));
                self.unfinished = (!head.has(frame::END_HEADERS)).then_some(stream);
            }
            frame::CONTINUATION => {
                assert_eq!(self.unfinished, Some(stream));
                self.unfinished = (!head.has(frame::END_HEADERS)).then_some(stream);
            }
            frame::DATA => {
                assert_eq!(self.streams.insert(stream, head.has(frame::END_STREAM)), Some(false), "{head:?}");
                self.data += length as u64;
            }
            frame::RST_STREAM => {
                assert!(self.streams.contains_key(&stream), "{head:?} of a stream that was not begun");
                self.streams.insert(stream, true);
            }
            frame::WINDOW_UPDATE => assert!(stream == 0 || self.streams.contains_key(&stream), "{head:?}"),
            frame::SETTINGS | frame::PING => assert_eq!(stream, 0, "{head:?}"),
            _ => panic!("{head:?} is none that a client writes"),
        }
    }
}
