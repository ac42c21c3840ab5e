//! Reading HTTP/1.1 answers (RFC 9112): bytes in, in whatever pieces they come; the end of the answer out. No I/O and
//! no clock, so that any way of moving bytes can use it.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};
use memchr::memrchr;

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

/// Where in a chunked body. What stands in angle brackets in RFC 9112, 7.1, by the byte that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunked {
    Size { value: u64, digits: u8 },
    Extension { value: u64 },
    SizeEnd { value: u64 },
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    LastLf,
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
                State::Chunked(Chunked::Size { value: 0, digits: 0 })
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
        let next = match (at, bytes[0]) {
            (Chunked::Size { value, digits: 1.. }, b'\r') => Chunked::SizeEnd { value },
            (Chunked::Size { value, digits: 1.. }, b';' | b' ' | b'\t') => Chunked::Extension { value },
            (Chunked::Size { value, digits: digits @ 0..16 }, byte) => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed::Chunk)?;
                Chunked::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Chunked::Extension { value }, b'\r') => Chunked::SizeEnd { value },
            (Chunked::Extension { value }, byte) if byte != b'\n' => Chunked::Extension { value },
            (Chunked::SizeEnd { value: 0 }, b'\n') => Chunked::TrailerStart,
            (Chunked::SizeEnd { value }, b'\n') => Chunked::Data(value),
            (Chunked::DataCr, b'\r') => Chunked::DataLf,
            (Chunked::DataLf, b'\n') => Chunked::Size { value: 0, digits: 0 },
            (Chunked::TrailerStart, b'\r') => Chunked::LastLf,
            (Chunked::TrailerStart, byte) if byte != b'\n' => Chunked::Trailer,
            (Chunked::Trailer, b'\n') => Chunked::TrailerStart,
            (Chunked::Trailer, _) => Chunked::Trailer,
            (Chunked::LastLf, b'\n') => return Ok((1, State::Done)),
            _ => return Err(Malformed::Chunk),
        };
        Ok((1, State::Chunked(next)))
    }
}

/// What the header lines say about the body and the connection.
#[derive(Debug, Clone, Copy, Default)]
struct Framing {
    length: Option<u64>,
    is_encoded: bool,
    is_chunked: bool,
    says_close: bool,
    says_keep_alive: bool,
}

impl Framing {
    fn of(headers: &[Header<'_>]) -> Result<Self, Malformed> {
        let mut framing = Self::default();
        for header in headers {
            // The length tells most of them apart.
            match header.name.len() {
                10 if header.name.eq_ignore_ascii_case("connection") => framing.connection(header.value),
                14 if header.name.eq_ignore_ascii_case("content-length") => framing.content_length(header.value)?,
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                    framing.is_encoded = true;
                    framing.is_chunked =
                        tokens(header.value).last().is_some_and(|t| t.eq_ignore_ascii_case(b"chunked"));
                }
                _ => {}
            }
        }
        Ok(framing)
    }

    fn connection(&mut self, value: &[u8]) {
        for token in tokens(value) {
            self.says_close |= token.eq_ignore_ascii_case(b"close");
            self.says_keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// A list of equal numbers counts as one (RFC 9110, 8.6).
    fn content_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        for token in tokens(value) {
            let digits = str::from_utf8(token).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
            let length = digits.and_then(|t| t.parse().ok()).ok_or(Malformed::Length)?;
            if self.length.replace(length).is_some_and(|earlier| earlier != length) {
                return Err(Malformed::Length);
            }
        }
        Ok(())
    }

    fn keeps_alive(&self, is_1_1: bool) -> bool {
        !self.says_close && (is_1_1 || self.says_keep_alive)
    }
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// What an answer came to: status, whether the connection stays, how many bytes it had; or why it failed, or that
    /// it needs more.
    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Found {
        Complete { status: Option<u16>, keeps_alive: bool, length: usize },
        Failed,
        More,
    }

    fn read<'b>(is_head: bool, pieces: impl IntoIterator<Item = &'b [u8]>, ends: bool) -> Found {
        let mut decoder = Decoder::default();
        decoder.expect(is_head, true);
        let mut length = 0;
        let complete = |decoder: &Decoder, length| Found::Complete {
            status: decoder.status(),
            keeps_alive: decoder.keeps_alive(),
            length,
        };
        for piece in pieces {
            match decoder.feed(piece) {
                Ok(Some(used)) => return complete(&decoder, length + used),
                Ok(None) => length += piece.len(),
                Err(_) => return Found::Failed,
            }
        }
        if ends && decoder.end() { complete(&decoder, length) } else { Found::More }
    }

    fn whole(bytes: &[u8]) -> Found {
        read(false, [bytes], true)
    }

    fn ok(length: usize) -> Found {
        Found::Complete { status: Some(200), keeps_alive: true, length }
    }

    fn last(length: usize) -> Found {
        Found::Complete { status: Some(200), keeps_alive: false, length }
    }

    /// What a text of a length comes to.
    type Expected = fn(usize) -> Found;

    /// Answers and what they come to.
    fn corpus() -> Vec<(Vec<u8>, Found)> {
        let full = |text: &str| ok(text.len());
        let texts: Vec<(&str, Expected)> = vec![
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", ok),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ok),
            ("HTTP/1.1 200\r\ncontent-length:1\r\n\r\nx", ok),
            ("HTTP/1.1 200 OK\ncontent-length: 1\n\nx", ok),
            ("\r\nHTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", ok),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\ncontent-LENGTH: 1\r\n\r\nx", ok),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", ok),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\nA;x=\"y\"\r\n0123456789\r\n00\r\n\r\n", ok),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n", ok),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
                ok,
            ),
            ("HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 1\r\n\r\nx", last),
            ("HTTP/1.1 200 OK\r\nConnection: te, close\r\nContent-Length: 1\r\n\r\nx", last),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", last),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", ok),
            ("HTTP/1.0 200 OK\r\n\r\nuntil the end", last),
            ("HTTP/1.1 200 OK\r\n\r\nuntil the end", last),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 3\r\n\r\nuntil the end", last),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", last),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", |_| Found::More),
            ("HTTP/1.1 200 OK\r\nContent-Length", |_| Found::More),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", |_| Found::More),
            ("", |_| Found::More),
            ("SSH-2.0-OpenSSH_9.2\r\n", |_| Found::Failed),
            ("HTTP/2.0 200 OK\r\n\r\n", |_| Found::Failed),
            ("HTTP/1.1 101 Switching\r\n\r\n", |_| Found::Failed),
            ("HTTP/1.1 020 OK\r\nContent-Length: 0\r\n\r\n", |_| Found::Failed),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", |_| Found::Failed),
            ("HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", |_| Found::Failed),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", |_| Found::Failed),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", |_| Found::Failed),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", |_| Found::Failed),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", |_| Found::Failed),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello", |_| Found::Failed),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloo", |_| Found::Failed),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", |_| Found::Failed),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\rx", |_| Found::Failed),
        ];
        let mut corpus: Vec<_> =
            texts.into_iter().map(|(text, found)| (text.as_bytes().to_vec(), found(text.len()))).collect();
        for (status, found) in [("204 No Content", 204), ("304 Not Modified", 304)] {
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n");
            let found = Found::Complete { status: Some(found), keeps_alive: true, length: text.len() };
            corpus.push((text.into_bytes(), found));
        }
        let lines: String = (0..3000).map(|n| format!("X-{n}: {}\r\n", "v".repeat(30))).collect();
        let many = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok");
        assert!(many.len() > 100 * 1024);
        corpus.push((many.clone().into_bytes(), full(&many)));
        let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "v".repeat(200 * 1024));
        corpus.push((long.clone().into_bytes(), full(&long)));
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "v".repeat(MOST_HEAD));
        corpus.push((endless.into_bytes(), Found::Failed));
        corpus
    }

    #[test]
    fn an_answer_is_read_the_same_whatever_came_before_it() {
        let answers: Vec<_> = corpus().into_iter().map(|(bytes, _)| bytes).collect();
        let first = |decoder: &mut Decoder, bytes: &[u8], is_head| {
            decoder.expect(is_head, true);
            let used = decoder.feed(bytes);
            let is_ended = decoder.end();
            (used, is_ended, decoder.status(), decoder.keeps_alive(), format!("{:?}", decoder.take_answer()))
        };
        for (earlier, later) in answers.iter().flat_map(|a| answers.iter().map(move |b| (a, b))) {
            for is_head in [false, true] {
                let mut used = Decoder::default();
                let _ = first(&mut used, earlier, false);
                let (seen, alone) = (first(&mut used, later, is_head), first(&mut Decoder::default(), later, is_head));
                assert_eq!(seen.0, alone.0, "{}", later.escape_ascii());
                // Before a head is complete, nothing is said of the connection.
                if alone.0.is_ok() && alone.2.is_some() {
                    assert_eq!(seen, alone, "{}", later.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn answers_end_where_the_standard_says() {
        for (bytes, expected) in corpus() {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
            assert_eq!(whole(&bytes), expected, "{shown:?}");
        }
    }

    #[test]
    fn an_empty_line_before_an_answer_is_no_part_of_what_is_kept() {
        let mut decoder = Decoder::default();
        decoder.expect(false, true);
        decoder.feed(b"\r\nHTTP/1.1 204 Gone: away\r\nA: b\r\n\r\n").unwrap();
        let answer = decoder.take_answer().unwrap();
        assert!(answer.head().starts_with(b"HTTP/1.1 204"));
        assert_eq!((answer.header("HTTP/1.1 204 Gone"), answer.header("a")), (None, Some("b")));
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(read(true, [&text[..]], false), ok(text.len()));
        assert_eq!(read(false, [&text[..]], false), Found::More);
    }

    #[test]
    fn what_follows_an_answer_is_not_taken() {
        for (mut bytes, expected) in corpus() {
            if let Found::Complete { length, .. } = expected
                && read(false, [&bytes[..]], false) == expected
            {
                bytes.extend_from_slice(b"garbage\r\n\r\n");
                assert_eq!(whole(&bytes), expected);
                assert_eq!(length + 11, bytes.len());
            }
        }
    }

    fn cut<'b>(bytes: &'b [u8], rng: &mut ChaCha8Rng) -> Vec<&'b [u8]> {
        let mut rest = bytes;
        let mut pieces = Vec::new();
        let longest = [1, 2, 7, 100, 65_536][rng.random_range(0..5)];
        let longest = if bytes.len() > 4096 { longest.max(100) } else { longest };
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rng.random_range(1..=longest).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces
    }

    #[test]
    fn any_cut_of_the_bytes_gives_the_same_answer() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        for (bytes, expected) in corpus() {
            for _ in 0..if bytes.len() > 4096 { 5 } else { 200 } {
                assert_eq!(read(false, cut(&bytes, rng), true), expected);
            }
            if bytes.len() < 4096 {
                for at in 0..bytes.len() {
                    assert_eq!(read(false, [&bytes[..at], &bytes[at..]], true), expected);
                }
            }
        }
    }

    /// Damaged answers: a few bytes replaced, dropped or doubled. Whatever comes of it, it is the same for any cut, and
    /// no panic.
    #[test]
    fn damaged_bytes_give_the_same_answer_for_any_cut() {
        let rng = &mut ChaCha8Rng::seed_from_u64(2);
        let corpus: Vec<_> = corpus().into_iter().filter(|(b, _)| (1..4096).contains(&b.len())).collect();
        let alphabet = b"\r\n \t:;,0123456789abcfFHTP/.\0\x7f\xff-";
        for _ in 0..20_000 {
            let mut bytes = corpus[rng.random_range(0..corpus.len())].0.clone();
            for _ in 0..rng.random_range(1..5) {
                let at = rng.random_range(0..bytes.len().max(1));
                let byte = alphabet[rng.random_range(0..alphabet.len())];
                match rng.random_range(0..3) {
                    0 if at < bytes.len() => bytes[at] = byte,
                    1 if at < bytes.len() => {
                        bytes.remove(at);
                    }
                    _ => bytes.insert(at.min(bytes.len()), byte),
                }
            }
            let is_head = rng.random();
            let expected = read(is_head, [&bytes[..]], true);
            for _ in 0..3 {
                let found = read(is_head, cut(&bytes, rng), true);
                assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(&bytes));
            }
        }
    }
}
