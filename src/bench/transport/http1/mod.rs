//! Reading HTTP/1.1 answers (RFC 9112): bytes in, in whatever pieces they come; the end of the answer out. No I/O and
//! no clock, so that any way of moving bytes can use it.

mod chunked;
mod framing;

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};
use memchr::memrchr;

use self::chunked::Chunked;
use self::framing::Framing;
use crate::bench::answer::Answer;

/// The longest head, and the most that a chunked body may have beside its data, in bytes.
const MOST_HEAD: usize = 512 * 1024;
/// The longest head that is compared with the next one before that is parsed, in bytes.
const MOST_LAST_HEAD: usize = 1024;
/// Header lines that are parsed without an allocation.
const USUAL_HEADERS: usize = 48;
/// The most header lines of one head.
const MOST_HEADERS: usize = 16 * 1024;

/// Why bytes are no HTTP/1.1 answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not a status line and header lines.
    #[error("the head of the answer is not valid: {0}")]
    Head(httparse::Error),
    /// Beyond what a head may have.
    #[error("the head of the answer is longer than {} KiB", MOST_HEAD / 1024)]
    TooLong,
    /// A length that is no number, or two that differ.
    #[error("the Content-Length of the answer is not valid")]
    Length,
    /// Not chunks.
    #[error("the chunked body of the answer is not valid")]
    Chunk,
    /// 101, which nothing asked for.
    #[error("the target switched protocols unasked")]
    Switched,
}

/// What is left of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of body.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Done,
}

/// Reads one answer after another.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// The incomplete head so far.
    carried: Vec<u8>,
    /// Bytes of the chunked body that are not data.
    overhead: usize,
    status: Option<u16>,
    keeps_alive: bool,
    has_no_body: bool,
    /// The answer so far, where it is kept.
    answer: Option<Box<Answer>>,
    last: Option<Box<Head>>,
}

/// The last head. Most answers of a connection have the same one, until its date changes: to compare bytes is cheaper
/// than to parse them.
#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    meaning: Meaning,
}

/// What a head says.
#[derive(Debug, Clone, Copy, Default)]
struct Meaning {
    code: u16,
    /// Whether it is of HTTP/1.1, and not of HTTP/1.0.
    is_current: bool,
    framing: Framing,
}

impl Default for Decoder {
    fn default() -> Self {
        let (carried, overhead) = (Vec::new(), 0);
        Self {
            state: State::Done,
            carried,
            overhead,
            status: None,
            keeps_alive: true,
            has_no_body: false,
            answer: None,
            last: None,
        }
    }
}

impl Decoder {
    /// Expects the answer to a request, to be kept or not; that to HEAD has no body.
    pub fn expect(&mut self, is_head: bool, keeps_answer: bool) {
        self.carried.clear();
        self.state = State::Head;
        self.overhead = 0;
        self.status = None;
        self.has_no_body = is_head;
        self.answer = keeps_answer.then(Box::default);
    }

    /// The answer, where it was to be kept.
    pub fn take_answer(&mut self) -> Option<Box<Answer>> {
        self.answer.take()
    }

    fn keep(&mut self, bytes: &[u8]) {
        if let Some(answer) = &mut self.answer {
            answer.take_body(bytes);
        }
    }

    /// Status of the answer, once its head is complete.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Whether the connection may be used again after this answer.
    pub fn keeps_alive(&self) -> bool {
        self.keeps_alive
    }

    /// Takes the next bytes. Gives how many of them belong to the answer, once it is complete. After a failure the
    /// rest of the connection means nothing.
    ///
    /// # Errors
    ///
    /// They are no HTTP/1.1 answer.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match self.state {
                State::Done => return Ok(Some(used)),
                State::UntilClose => {
                    self.keep(rest);
                    return Ok(None);
                }
                State::Head => match self.head(rest)? {
                    Some(taken) => used += taken,
                    None => return Ok(None),
                },
                State::Length(left) => {
                    let taken = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    used += taken;
                    self.keep(&rest[..taken]);
                    self.state = match left - taken as u64 {
                        0 => State::Done,
                        left => State::Length(left),
                    };
                    if self.state != State::Done {
                        return Ok(None);
                    }
                }
                State::Chunked(_) if rest.is_empty() => return Ok(None),
                State::Chunked(at) => {
                    let (taken, next) = self.chunked(at, rest)?;
                    used += taken;
                    self.state = next;
                }
            }
        }
    }

    /// Takes the end of the connection; says whether that completes the answer.
    pub fn end(&mut self) -> bool {
        let is_complete = self.state == State::UntilClose;
        if is_complete {
            self.state = State::Done;
        }
        is_complete
    }

    /// Gives how many of the bytes belong to a head that they complete.
    ///
    /// Only whole lines are parsed, so that the answer does not depend on how the bytes were cut.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        if let Some(last) = &self.last
            && self.carried.is_empty()
            && bytes.starts_with(&last.bytes)
        {
            let (meaning, same) = (last.meaning, last.bytes.len());
            self.apply(meaning, &bytes[..same]);
            return Ok(Some(same));
        }
        let lines = memrchr(b'\n', bytes).map_or(0, |last| last + 1);
        let earlier = self.carried.len();
        let mut length = None;
        if lines > 0 && earlier == 0 {
            length = self.parse(&bytes[..lines])?;
        } else if lines > 0 {
            let mut carried = std::mem::take(&mut self.carried);
            carried.extend_from_slice(&bytes[..lines]);
            length = self.parse(&carried)?;
            carried.truncate(earlier);
            self.carried = carried;
        }
        if length.unwrap_or(earlier + bytes.len()) > MOST_HEAD {
            return Err(Malformed::TooLong);
        }
        match length {
            Some(_) => self.carried.clear(),
            None => self.carried.extend_from_slice(bytes),
        }
        Ok(length.map(|length| length - earlier))
    }

    /// Parses whole lines; gives the length of the head if it ends in them.
    fn parse(&mut self, lines: &[u8]) -> Result<Option<usize>, Malformed> {
        match self.parse_with(lines, &mut [const { MaybeUninit::uninit() }; USUAL_HEADERS]) {
            Err(Malformed::Head(httparse::Error::TooManyHeaders)) => {
                let most = memchr::memchr_iter(b'\n', lines).count().min(MOST_HEADERS);
                self.parse_with(lines, &mut vec![MaybeUninit::uninit(); most])
            }
            parsed => parsed,
        }
    }

    fn parse_with<'b>(
        &mut self,
        lines: &'b [u8],
        room: &mut [MaybeUninit<Header<'b>>],
    ) -> Result<Option<usize>, Malformed> {
        let mut response = Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, lines, room);
        let Status::Complete(length) = parsed.map_err(Malformed::Head)? else { return Ok(None) };
        let code = response.code.unwrap_or_default();
        match code {
            101 => return Err(Malformed::Switched),
            // Three digits that are no status (RFC 9110, 15).
            ..100 => return Err(Malformed::Head(httparse::Error::Status)),
            // Interim: the answer proper follows.
            100..200 => {}
            _ => {
                let framing = Framing::of(response.headers)?;
                let meaning = Meaning { code, is_current: response.version == Some(1), framing };
                let mut last = self.last.take().unwrap_or_default();
                if length <= MOST_LAST_HEAD {
                    last.meaning = meaning;
                    last.bytes.clear();
                    last.bytes.extend_from_slice(&lines[..length]);
                    self.last = Some(last);
                }
                self.apply(meaning, &lines[..length]);
            }
        }
        Ok(Some(length))
    }

    /// Takes the head `bytes`.
    fn apply(&mut self, meaning: Meaning, bytes: &[u8]) {
        let Meaning { code, is_current, framing } = meaning;
        self.status = Some(code);
        if let Some(answer) = &mut self.answer {
            // Empty lines before it are let pass (RFC 9112, 2.2).
            answer.take_head(bytes.trim_ascii_start());
        }
        self.keeps_alive = framing.keeps_alive(is_current);
        self.state = self.body(code, framing);
    }

    /// RFC 9112, 6.3.
    fn body(&mut self, code: u16, framing: Framing) -> State {
        if self.has_no_body || matches!(code, 204 | 304) {
            return State::Done;
        }
        match (framing.is_encoded, framing.is_chunked, framing.length) {
            (true, true, length) => {
                // Both at once is a sign of a confused sender.
                self.keeps_alive &= length.is_none();
                State::Chunked(Chunked::START)
            }
            (false, _, Some(0)) => State::Done,
            (false, _, Some(length)) => State::Length(length),
            (true, false, _) | (false, _, None) => {
                self.keeps_alive = false;
                State::UntilClose
            }
        }
    }

    /// One step through a chunked body; `bytes` is not empty.
    fn chunked(&mut self, at: Chunked, bytes: &[u8]) -> Result<(usize, State), Malformed> {
        if let Chunked::Data(left) = at {
            let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.keep(&bytes[..taken]);
            let next = match left - taken as u64 {
                0 => Chunked::DataCr,
                left => Chunked::Data(left),
            };
            return Ok((taken, State::Chunked(next)));
        }
        self.overhead = match at {
            // The longest run of the smallest chunks is no reason to refuse a body: only what has no bound counts.
            Chunked::Extension { .. } | Chunked::Trailer => self.overhead + 1,
            _ => self.overhead,
        };
        if self.overhead > MOST_HEAD {
            return Err(Malformed::TooLong);
        }
        Ok((1, at.next(bytes[0])?.map_or(State::Done, State::Chunked)))
    }
}

#[cfg(test)]
mod tests;
