//! Answers cut, damaged and put one after the other.

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
