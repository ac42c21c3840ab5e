//! One HTTP/2 connection as a protocol: what is to be written, what was read, and what that comes to for every request
//! on it. No I/O and no clock: whoever moves the bytes tells it how many and when.

use std::collections::{HashMap, VecDeque};
use std::io;

use super::found::Found;
use super::frame::{self, Head, unpadded};
use super::hpack::Table;
use super::outbox::Outbox;
use super::stream::Stream;
use crate::bench::record::sample::{Cause, Fault, Phase, Side};
use crate::bench::transport::session::{Exchange, Request};
use crate::bench::transport::wait::Completion;

/// The longest head of an answer, in bytes as they come.
const MOST_HEAD: usize = 512 * 1024;
/// The window that the peer is given for a connection and every stream: it never has to wait for the generator.
const WINDOW: u32 = 1 << 30;
/// After how many bytes a window is made whole again.
const REPLENISH: u32 = WINDOW / 2;
/// The last stream that a connection begins; the number has 31 bits.
const LAST_STREAM: u32 = 0x7fff_fff1;

/// A head of which more is to come.
#[derive(Debug, Clone, Copy)]
struct Unfinished {
    stream: u32,
    is_end: bool,
    bytes: usize,
}

/// With what a request ends that is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The target says that it did not process it.
    Refused,
    /// Its stream alone.
    Stream,
    /// The whole connection.
    Connection,
}

/// The exchanges of one connection.
#[derive(Debug)]
pub struct Session {
    /// The incomplete frame so far.
    carried: Vec<u8>,
    /// The incomplete head so far.
    block: Vec<u8>,
    unfinished: Option<Unfinished>,
    table: Table,
    outbox: Outbox,
    /// Places whose requests are handed over with the next write.
    starting: Vec<usize>,
    streams: Vec<Stream>,
    free: Vec<usize>,
    places: HashMap<u32, usize>,
    /// Places, with their streams, whose bodies wait for a window.
    stalled: VecDeque<(usize, u32)>,
    next: u32,
    /// The last stream that it begins.
    last: u32,
    window: i64,
    first_window: i64,
    longest: usize,
    allowed: usize,
    consumed: u32,
    is_greeted: bool,
    is_draining: bool,
    /// Whether there are more streams than the peer allows by now.
    is_overfull: bool,
    has_more_room: bool,
}

impl Default for Session {
    fn default() -> Self {
        let mut outbox = Outbox::new(frame::PREFACE.to_vec());
        let setting = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let settings = [setting(frame::ENABLE_PUSH, 0), setting(frame::INITIAL_WINDOW_SIZE, WINDOW)].concat();
        outbox.frame(frame::SETTINGS, 0, 0, &settings);
        let more = WINDOW - frame::WINDOW as u32;
        outbox.frame(frame::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        Self {
            carried: Vec::new(),
            block: Vec::new(),
            unfinished: None,
            table: Table::default(),
            outbox,
            starting: Vec::new(),
            streams: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
            stalled: VecDeque::new(),
            next: 1,
            last: LAST_STREAM,
            window: frame::WINDOW,
            first_window: frame::WINDOW,
            longest: frame::MOST,
            allowed: usize::MAX,
            consumed: 0,
            is_greeted: false,
            is_draining: false,
            is_overfull: false,
            has_more_room: false,
        }
    }
}

impl Session {
    /// A connection that ends after so many requests; 0 is any number.
    pub fn for_at_most(requests: u64) -> Self {
        let last = requests.checked_sub(1).map_or(u64::MAX, |before| before.saturating_mul(2).saturating_add(1));
        Self { last: u32::try_from(last).unwrap_or(u32::MAX).min(LAST_STREAM), ..Self::default() }
    }

    /// Queues a request whose head is `block`; gives its place and its stream.
    pub fn send(&mut self, slot: usize, request: &Request<'_>, block: &[u8]) -> (usize, u32) {
        let id = self.next;
        self.next += 2;
        self.is_draining |= request.closes || self.next > self.last;
        let place = self.free.pop().unwrap_or_else(|| {
            self.streams.push(Stream::default());
            self.streams.len() - 1
        });
        let body = &request.bytes[request.head..];
        let stream = &mut self.streams[place];
        let mut kept = std::mem::take(&mut stream.body);
        kept.clear();
        kept.extend_from_slice(body);
        let (is_head, is_sent, window) = (request.is_head, body.is_empty(), self.first_window);
        let answer = request.keeps_answer.then(Box::default);
        *stream = Stream { id, slot, is_head, is_sent, window, answer, body: kept, ..Stream::default() };
        self.places.insert(id, place);
        self.starting.push(place);
        self.head(place, block, body.is_empty());
        self.pump(place);
        (place, id)
    }

    /// Queues a head, in as many frames as it needs.
    fn head(&mut self, place: usize, block: &[u8], is_end: bool) {
        let id = self.streams[place].id;
        let before = self.outbox.length();
        let mut kind = frame::HEADERS;
        let mut flags = if is_end { frame::END_STREAM } else { 0 };
        let mut rest = block;
        loop {
            let (piece, behind) = rest.split_at(rest.len().min(self.longest));
            if behind.is_empty() {
                flags |= frame::END_HEADERS;
            }
            self.outbox.frame(kind, flags, id, piece);
            if behind.is_empty() {
                break;
            }
            (rest, kind, flags) = (behind, frame::CONTINUATION, 0);
        }
        self.outbox.mark(place, id, before, true);
    }

    /// Queues as much of a body as the peer takes.
    fn pump(&mut self, place: usize) {
        loop {
            let stream = &mut self.streams[place];
            let (id, left) = (stream.id, stream.body.len() - stream.gone);
            if id == 0 || left == 0 {
                return;
            }
            let room = stream.window.min(self.window).max(0) as usize;
            let length = left.min(room).min(self.longest);
            if length == 0 {
                self.stalled.push_back((place, id));
                return;
            }
            let before = self.outbox.length();
            stream.is_sent = length == left;
            let flags = if stream.is_sent { frame::END_STREAM } else { 0 };
            let piece = &stream.body[stream.gone..stream.gone + length];
            self.outbox.frame(frame::DATA, flags, id, piece);
            stream.gone += length;
            stream.window -= length as i64;
            self.window -= length as i64;
            self.outbox.mark(place, id, before, false);
        }
    }

    /// Takes bodies up again that wait for a window.
    fn unstall(&mut self) {
        for _ in 0..self.stalled.len() {
            if let Some((place, id)) = self.stalled.pop_front()
                && self.streams[place].id == id
            {
                self.pump(place);
            }
        }
    }

    /// What is still to be written.
    pub fn outgoing(&self) -> &[u8] {
        self.outbox.waiting()
    }

    /// Takes note of when the bytes of new requests are handed over.
    pub fn started(&mut self, now: u64) {
        for place in self.starting.drain(..) {
            self.streams[place].exchange.started = now;
        }
    }

    /// Counts bytes of [`Self::outgoing`] that were written.
    pub fn wrote(&mut self, bytes: usize) {
        let streams = &mut self.streams;
        self.outbox.wrote(bytes, |mark| {
            let stream = &mut streams[mark.place];
            if stream.id == mark.id {
                stream.exchange.written += mark.bytes as u64;
                stream.exchange.head_is_written |= mark.is_head;
            }
        });
    }

    /// Takes bytes that were read at `now`; what they come to is added to `done`.
    ///
    /// # Errors
    ///
    /// They are no HTTP/2. The rest of the connection means nothing.
    pub fn received(&mut self, bytes: &[u8], now: u64, done: &mut VecDeque<Completion>) -> Result<(), Fault> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.carried.is_empty()
                && let Some(head) = Head::read(rest)
                && rest.len() >= frame::HEAD + head.length
            {
                let (frame, behind) = rest.split_at(frame::HEAD + head.length);
                self.frame(head, &frame[frame::HEAD..], now, done)?;
                rest = behind;
                continue;
            }
            let whole = Head::read(&self.carried).map_or(frame::HEAD, |head| frame::HEAD + head.length);
            let (piece, behind) = rest.split_at(rest.len().min(whole - self.carried.len()));
            self.carried.extend_from_slice(piece);
            rest = behind;
            let Some(head) = Head::read(&self.carried) else { continue };
            self.check(head)?;
            if self.carried.len() == frame::HEAD + head.length {
                let mut carried = std::mem::take(&mut self.carried);
                self.frame(head, &carried[frame::HEAD..], now, done)?;
                carried.clear();
                self.carried = carried;
            }
        }
        Ok(())
    }

    /// Whether a frame can come now.
    fn check(&self, head: Head) -> Result<(), Fault> {
        if !self.is_greeted && (head.kind != frame::SETTINGS || head.has(frame::ACK) || head.length > frame::MOST) {
            return Err(malformed("the target does not speak HTTP/2: it does not begin with its settings"));
        }
        if head.length > frame::MOST {
            return Err(malformed("a frame is longer than the target may send"));
        }
        match self.unfinished {
            Some(unfinished) if head.kind != frame::CONTINUATION || head.stream != unfinished.stream => {
                Err(malformed("a head was interrupted by another frame"))
            }
            None if head.kind == frame::CONTINUATION => Err(malformed("the continuation of a head came without one")),
            _ => Ok(()),
        }
    }

    fn frame(&mut self, head: Head, payload: &[u8], now: u64, done: &mut VecDeque<Completion>) -> Result<(), Fault> {
        self.check(head)?;
        match head.kind {
            frame::DATA => self.data(head, payload, now, done),
            frame::HEADERS => {
                let bytes = frame::HEAD + payload.len();
                let payload = unpadded(head, payload).ok_or_else(too_padded)?;
                let skipped = if head.has(frame::PRIORITY) { 5 } else { 0 };
                let block = payload.get(skipped..).ok_or_else(|| malformed("a head is too short"))?;
                let unfinished = Unfinished { stream: head.stream, is_end: head.has(frame::END_STREAM), bytes };
                if head.has(frame::END_HEADERS) {
                    return self.answer(unfinished, block, now, done);
                }
                self.block.clear();
                self.block.extend_from_slice(block);
                self.unfinished = Some(unfinished);
                Ok(())
            }
            frame::CONTINUATION => self.continuation(head, payload, now, done),
            frame::RST_STREAM => {
                let code = frame::number(payload).ok_or_else(|| malformed("a reset is too short"))?;
                self.reset(head.stream, code, done);
                Ok(())
            }
            frame::SETTINGS if head.has(frame::ACK) => Ok(()),
            frame::SETTINGS => self.settings(payload),
            frame::PUSH_PROMISE => Err(malformed("the target pushes although it was told not to")),
            frame::PING if !head.has(frame::ACK) => {
                self.outbox.frame(frame::PING, frame::ACK, 0, payload);
                Ok(())
            }
            frame::GOAWAY => {
                let last = frame::number(payload).ok_or_else(|| malformed("a goodbye is too short"))? & 0x7fff_ffff;
                let code = payload.get(4..).and_then(frame::number).unwrap_or_default();
                self.go_away(last, code, done);
                Ok(())
            }
            frame::WINDOW_UPDATE => self.window_update(head, payload),
            // Priorities, and what later versions add.
            _ => Ok(()),
        }
    }

    fn continuation(
        &mut self,
        head: Head,
        payload: &[u8],
        now: u64,
        done: &mut VecDeque<Completion>,
    ) -> Result<(), Fault> {
        let Some(mut unfinished) = self.unfinished.take() else { return Ok(()) };
        self.block.extend_from_slice(payload);
        unfinished.bytes += frame::HEAD + payload.len();
        if self.block.len() > MOST_HEAD {
            return Err(malformed(format!("the head of an answer is longer than {} KiB", MOST_HEAD / 1024)));
        }
        if !head.has(frame::END_HEADERS) {
            self.unfinished = Some(unfinished);
            return Ok(());
        }
        let block = std::mem::take(&mut self.block);
        let answered = self.answer(unfinished, &block, now, done);
        self.block = block;
        answered
    }

    /// Takes the head of an answer, or what comes after its body.
    fn answer(&mut self, of: Unfinished, block: &[u8], now: u64, done: &mut VecDeque<Completion>) -> Result<(), Fault> {
        // Read whoever it is for: the table is the connection's.
        let place = self.place(of.stream)?;
        let keeps = place.is_some_and(|place| self.streams[place].answer.is_some());
        let found = Found::read(&mut self.table, block, keeps).map_err(|error| malformed(error.to_string()))?;
        let Some(place) = place else { return Ok(()) };
        let stream = &mut self.streams[place];
        stream.read(of.bytes, now);
        if found.has_bad_line {
            self.refuse(place, "a header of the answer is not valid", done);
            return Ok(());
        }
        match (stream.status, found.status) {
            (None, Some(100..200)) if found.status != Some(101) && !of.is_end => return Ok(()),
            (None, Some(status @ 200..)) => {
                stream.status = Some(status);
                stream.expected = found.length;
                if let (Some(answer), Some(lines)) = (&mut stream.answer, found.lines) {
                    answer.take_head(&[format!("HTTP/2 {status}\r\n").as_bytes(), &lines, b"\r\n"].concat());
                }
            }
            (Some(_), None) if of.is_end => {}
            _ => {
                self.refuse(place, "the head of the answer is not valid", done);
                return Ok(());
            }
        }
        if of.is_end {
            self.complete(place, done);
        }
        Ok(())
    }

    fn data(&mut self, head: Head, payload: &[u8], now: u64, done: &mut VecDeque<Completion>) -> Result<(), Fault> {
        let data = unpadded(head, payload).ok_or_else(too_padded)?;
        let whole = payload.len() as u32;
        self.consumed += whole;
        if self.consumed >= REPLENISH {
            self.outbox.frame(frame::WINDOW_UPDATE, 0, 0, &self.consumed.to_be_bytes());
            self.consumed = 0;
        }
        let Some(place) = self.place(head.stream)? else { return Ok(()) };
        let stream = &mut self.streams[place];
        stream.read(frame::HEAD + payload.len(), now);
        if stream.status.is_none() {
            self.refuse(place, "the body of the answer came before its head", done);
            return Ok(());
        }
        stream.received += data.len() as u64;
        if let Some(answer) = &mut stream.answer {
            answer.take_body(data);
        }
        stream.consumed += whole;
        if head.has(frame::END_STREAM) {
            self.complete(place, done);
        } else if stream.consumed >= REPLENISH {
            let more = std::mem::take(&mut stream.consumed);
            self.outbox.frame(frame::WINDOW_UPDATE, 0, head.stream, &more.to_be_bytes());
        }
        Ok(())
    }

    /// The place of a stream; `None` if it has ended.
    fn place(&self, stream: u32) -> Result<Option<usize>, Fault> {
        match self.places.get(&stream) {
            Some(place) => Ok(Some(*place)),
            None if stream % 2 == 1 && stream < self.next => Ok(None),
            None => Err(malformed("an answer came to what was not asked")),
        }
    }

    fn settings(&mut self, payload: &[u8]) -> Result<(), Fault> {
        for (id, value) in frame::settings(payload) {
            match id {
                frame::MAX_CONCURRENT_STREAMS => {
                    let allowed = value as usize;
                    self.has_more_room |= allowed > self.allowed;
                    self.allowed = allowed;
                    self.is_overfull = self.active() > allowed;
                }
                frame::INITIAL_WINDOW_SIZE => {
                    let window = i64::from(value);
                    if window > frame::MOST_WINDOW {
                        return Err(malformed("the target's window is too large"));
                    }
                    let more = window - self.first_window;
                    self.first_window = window;
                    self.streams.iter_mut().filter(|s| s.id != 0).for_each(|s| s.window += more);
                }
                frame::MAX_FRAME_SIZE => {
                    self.longest = usize::try_from(value).unwrap_or(frame::MOST).max(frame::MOST);
                }
                _ => {}
            }
        }
        self.is_greeted = true;
        self.outbox.frame(frame::SETTINGS, frame::ACK, 0, &[]);
        self.unstall();
        Ok(())
    }

    fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let more = frame::number(payload).ok_or_else(|| malformed("a window update is too short"))? & 0x7fff_ffff;
        let window = match head.stream {
            0 => &mut self.window,
            stream => match self.place(stream)? {
                Some(place) => &mut self.streams[place].window,
                None => return Ok(()),
            },
        };
        *window += i64::from(more);
        if *window > frame::MOST_WINDOW || more == 0 {
            return Err(malformed("a window update is out of range"));
        }
        self.unstall();
        Ok(())
    }

    /// The target has ended a stream.
    fn reset(&mut self, stream: u32, code: u32, done: &mut VecDeque<Completion>) {
        let Some(place) = self.places.get(&stream).copied() else { return };
        let detail = format!("the target reset the stream: {}", frame::error_name(code));
        let fault = Fault::new(self.streams[place].phase(), Cause::Reset, Side::Server, detail);
        let end = if code == frame::REFUSED_STREAM { Ending::Refused } else { Ending::Stream };
        self.fail(place, fault, end, done);
    }

    /// The target processes nothing beyond stream `last`.
    fn go_away(&mut self, last: u32, code: u32, done: &mut VecDeque<Completion>) {
        self.is_draining = true;
        for place in 0..self.streams.len() {
            if self.streams[place].id > last {
                let detail = format!("the target went away before it took the request: {}", frame::error_name(code));
                self.fail(place, Fault::new(Phase::Head, Cause::Closed, Side::Server, detail), Ending::Refused, done);
            }
        }
    }

    fn complete(&mut self, place: usize, done: &mut VecDeque<Completion>) {
        if !self.streams[place].is_whole() {
            return self.refuse(place, "the body of the answer is not as long as its Content-Length says", done);
        }
        let stream = &self.streams[place];
        let (slot, status) = (stream.slot, stream.status.unwrap_or_default());
        if !stream.is_sent {
            // An answer that came before the request was written is one; nobody waits for the rest.
            self.cancel(place, frame::NO_ERROR);
        }
        let answer = self.streams[place].answer.take();
        let exchange = self.release(place);
        done.push_back(Completion::Answered { slot, status, exchange, answer });
    }

    /// Ends a request whose answer is not valid.
    fn refuse(&mut self, place: usize, why: &str, done: &mut VecDeque<Completion>) {
        self.cancel(place, frame::PROTOCOL_ERROR);
        self.fail(place, Fault::new(Phase::Protocol, Cause::Malformed, Side::Server, why), Ending::Stream, done);
    }

    /// Ends a request that the target did not process, or that failed, alone or with its connection.
    fn fail(&mut self, place: usize, fault: Fault, end: Ending, done: &mut VecDeque<Completion>) {
        let (is_refused, ends_connection) = (end == Ending::Refused, end == Ending::Connection);
        let (slot, status, id) = (self.streams[place].slot, self.streams[place].status, self.streams[place].id);
        let mut exchange = self.release(place);
        exchange.is_refused = is_refused;
        // The end of a stream alone is no sign of an idle connection that was being closed.
        let is_reused = is_refused || (ends_connection && id > 1);
        done.push_back(Completion::Failed { slot, fault, status, exchange, is_reused });
    }

    /// Ends what is under way with the connection.
    pub fn fail_all(&mut self, fault: &Fault, done: &mut VecDeque<Completion>) {
        for place in 0..self.streams.len() {
            if self.streams[place].id != 0 {
                let phase = match fault.kind.phase {
                    Phase::Protocol => Phase::Protocol,
                    _ => self.streams[place].phase(),
                };
                let Fault { kind, detail } = fault;
                self.fail(place, Fault::new(phase, kind.cause, kind.side, detail.clone()), Ending::Connection, done);
            }
        }
    }

    /// Ends a request of which no more is wanted; gives how far it was, and what was seen.
    pub fn abort(&mut self, place: usize, id: u32) -> (Phase, Exchange) {
        match self.streams.get(place) {
            Some(stream) if stream.id == id => {
                let phase = stream.phase();
                self.cancel(place, frame::CANCEL);
                (phase, self.release(place))
            }
            _ => (Phase::Head, Exchange::default()),
        }
    }

    /// Takes back what of a stream is not being written yet, and tells the peer of its end if it has heard of it.
    fn cancel(&mut self, place: usize, code: u32) {
        let id = self.streams[place].id;
        // What it gives back of the window is not for the rest of its own body.
        self.stalled.retain(|(_, waiting)| *waiting != id);
        let taken = self.outbox.take_back(id);
        self.window += taken.body;
        if !taken.is_unheard {
            self.outbox.frame(frame::RST_STREAM, 0, id, &code.to_be_bytes());
        }
        if taken.bytes > 0 {
            self.unstall();
        }
    }

    /// Frees the place of a stream; gives what was seen of it.
    fn release(&mut self, place: usize) -> Exchange {
        let id = std::mem::take(&mut self.streams[place].id);
        let mut exchange = self.streams[place].exchange;
        // Part of a frame may have gone out.
        exchange.written += self.outbox.begun(id);
        self.starting.retain(|starting| *starting != place);
        self.places.remove(&id);
        self.free.push(place);
        if self.is_overfull && self.active() <= self.allowed {
            self.is_overfull = false;
            self.has_more_room = true;
        }
        exchange
    }

    /// How many requests are under way.
    pub fn active(&self) -> usize {
        self.places.len()
    }

    /// How many the peer allows at the same time.
    pub fn allowed(&self) -> usize {
        self.allowed
    }

    /// Whether another request would be one too many.
    pub fn is_full(&self) -> bool {
        self.active() >= self.allowed
    }

    /// Whether there are more requests under way than the peer allows by now.
    pub fn is_overfull(&self) -> bool {
        self.is_overfull
    }

    /// Whether there is room again where there was none, since it was last asked.
    pub fn regained(&mut self) -> bool {
        std::mem::take(&mut self.has_more_room)
    }

    /// Whether the peer has sent its settings.
    pub fn is_greeted(&self) -> bool {
        self.is_greeted
    }

    /// Whether no further request can be sent.
    pub fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// What the end of the connection comes to.
    pub fn ended(&self) -> Fault {
        if self.is_greeted {
            let detail = "the connection was closed before the answer was complete";
            Fault::new(Phase::Head, Cause::Closed, Side::Server, detail)
        } else {
            let detail = "the target closed the connection before it said a word of HTTP/2";
            Fault::new(Phase::Protocol, Cause::Closed, Side::Server, detail)
        }
    }

    /// What a failure of the connection comes to.
    pub fn broke(&self, error: &io::Error) -> Fault {
        Fault::io(if self.is_greeted { Phase::Head } else { Phase::Protocol }, error)
    }
}

fn too_padded() -> Fault {
    malformed("a frame has more padding than it is long")
}

fn malformed(why: impl Into<String>) -> Fault {
    Fault::new(Phase::Protocol, Cause::Malformed, Side::Server, why)
}

#[cfg(test)]
mod tests;
