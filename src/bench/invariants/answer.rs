//! Answers of HTTP/1.1: what they come to does not depend on how they were cut, nor on what came before.

use http::{HeaderName, HeaderValue};

use super::cut;
use crate::bench::answer::Answer;
use crate::bench::request::visit::Cookies;
use crate::bench::transport::http1::{Decoder, Malformed};

/// What bytes come to.
#[derive(Debug, PartialEq)]
enum Found {
    Complete { status: Option<u16>, keeps_alive: bool, length: usize, answer: Option<Box<Answer>> },
    Malformed(Malformed),
    More,
}

/// Reads an answer to HEAD, or another one, from a connection that ends behind the last piece, or does not.
fn read<'b>(decoder: &mut Decoder, is_head: bool, pieces: impl IntoIterator<Item = &'b [u8]>, ends: bool) -> Found {
    decoder.expect(is_head, true);
    let mut length = 0;
    let complete = |decoder: &mut Decoder, length| Found::Complete {
        status: decoder.status(),
        keeps_alive: decoder.keeps_alive(),
        length,
        answer: decoder.take_answer(),
    };
    for piece in pieces {
        match decoder.feed(piece) {
            Ok(Some(used)) => {
                assert!(used <= piece.len(), "{used} of {} bytes", piece.len());
                return complete(decoder, length + used);
            }
            Ok(None) => length += piece.len(),
            Err(malformed) => return Found::Malformed(malformed),
        }
    }
    if ends && decoder.end() { complete(decoder, length) } else { Found::More }
}

/// Any cut of the bytes gives the same answer, and one reader of all answers the same as one for each.
///
/// # Panics
///
/// It is not so.
pub fn answer(bytes: &[u8]) {
    for (is_head, ends) in [(false, false), (false, true), (true, false), (true, true)] {
        let whole = read(&mut Decoder::default(), is_head, [bytes], ends);
        let singly = read(&mut Decoder::default(), is_head, bytes.chunks(1), ends);
        assert_eq!(singly, whole, "byte by byte; to HEAD: {is_head}, to its end: {ends}");
        let pieces = cut(bytes);
        let in_pieces = read(&mut Decoder::default(), is_head, pieces.iter().copied(), ends);
        assert_eq!(in_pieces, whole, "in {pieces:?}; to HEAD: {is_head}, to its end: {ends}");
        one_after_another(is_head, bytes);
    }
}

/// What is kept of an answer holds nothing that would break the next request.
pub(super) fn is_clean(answer: &Answer) {
    let mut cookies = Cookies::default();
    cookies.take(answer);
    let mut line = Vec::new();
    cookies.write(&mut line);
    assert!(HeaderValue::from_bytes(&line).is_ok(), "{:?}", String::from_utf8_lossy(&line));
    for line in answer.head().split(|byte| *byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        assert!(line.is_empty() || HeaderName::from_bytes(name).is_ok(), "{:?}", String::from_utf8_lossy(line));
    }
}

fn one_after_another(is_head: bool, bytes: &[u8]) {
    let mut decoder = Decoder::default();
    let mut rest = bytes;
    loop {
        let found = read(&mut decoder, is_head, [rest], false);
        assert_eq!(found, read(&mut Decoder::default(), is_head, [rest], false), "at {}", bytes.len() - rest.len());
        let Found::Complete { status, length, answer, .. } = found else { return };
        let answer = answer.unwrap_or_default();
        assert!(status.is_some_and(|status| status >= 200), "{status:?}");
        assert!(answer.head().len() + answer.body().len() <= length, "{answer:?} in {length} bytes");
        assert!(!answer.head().is_empty() && length > 0);
        is_clean(&answer);
        rest = &rest[length..];
    }
}
