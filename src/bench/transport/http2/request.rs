//! Heads of requests, from HTTP/1.1 to blocks of HTTP/2 (RFC 9113, 8.3.1).

use std::mem::MaybeUninit;

use super::hpack;

/// How many heads are kept: a mix of more constant requests than that has its heads made anew.
const KEPT: usize = 16;
/// Header lines that are parsed without an allocation.
const USUAL_HEADERS: usize = 48;
/// Headers of HTTP/1.1 that concern one connection, and have no place in HTTP/2 (RFC 9113, 8.2.2).
const LEFT_OUT: [&str; 7] =
    ["host", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings"];

/// Whether a header of HTTP/1.1 has no place in HTTP/2.
pub fn is_left_out(name: &[u8], value: &[u8]) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    LEFT_OUT.into_iter().any(is) || is("te") && !value.eq_ignore_ascii_case(b"trailers")
}

/// Makes blocks of heads, and keeps the last ones: most requests are like one before.
pub struct Encoder {
    scheme: &'static [u8],
    kept: Vec<(Vec<u8>, Vec<u8>)>,
    oldest: usize,
    lower: Vec<u8>,
}

impl Encoder {
    /// For requests that go through TLS, or do not.
    pub fn new(is_tls: bool) -> Self {
        let scheme: &[u8] = if is_tls { b"https" } else { b"http" };
        Self { scheme, kept: Vec::with_capacity(KEPT), oldest: 0, lower: Vec::new() }
    }

    /// The block of a head in HTTP/1.1.
    pub fn block(&mut self, head: &[u8]) -> &[u8] {
        let at = match self.kept.iter().position(|(known, _)| known == head) {
            Some(at) => at,
            None => self.make(head),
        };
        &self.kept[at].1
    }

    /// Makes a block in the place of the one that was made first; gives that place.
    fn make(&mut self, head: &[u8]) -> usize {
        if self.kept.len() < KEPT {
            self.oldest = self.kept.len();
            self.kept.push(Default::default());
        } else {
            self.oldest = (self.oldest + 1) % KEPT;
        }
        let (known, block) = &mut self.kept[self.oldest];
        known.clear();
        known.extend_from_slice(head);
        block.clear();
        let mut usual = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
        if !translate(head, self.scheme, &mut usual, &mut self.lower, block) {
            block.clear();
            let lines = memchr::memchr_iter(b'\n', head).count();
            translate(head, self.scheme, &mut vec![MaybeUninit::uninit(); lines], &mut self.lower, block);
        }
        self.oldest
    }
}

/// Says whether the headers had enough room.
fn translate<'b>(
    head: &'b [u8],
    scheme: &[u8],
    room: &mut [MaybeUninit<httparse::Header<'b>>],
    lower: &mut Vec<u8>,
    block: &mut Vec<u8>,
) -> bool {
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(head, room);
    if parsed == Err(httparse::Error::TooManyHeaders) {
        return false;
    }
    hpack::write(block, b":method", request.method.unwrap_or("GET").as_bytes());
    hpack::write(block, b":scheme", scheme);
    let host = request.headers.iter().find(|h| h.name.eq_ignore_ascii_case("host"));
    if let Some(host) = host {
        hpack::write(block, b":authority", host.value);
    }
    hpack::write(block, b":path", request.path.unwrap_or("/").as_bytes());
    for header in request.headers.iter() {
        if !is_left_out(header.name.as_bytes(), header.value) {
            lower.clear();
            lower.extend(header.name.bytes().map(|b| b.to_ascii_lowercase()));
            hpack::write(block, lower, header.value);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::transport::http2::hpack::{Table, Text};

    fn read(block: &[u8]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let own = |text: Text<'_>| String::from_utf8(text.decode(&mut Vec::new()).unwrap().to_vec()).unwrap();
        Table::default()
            .walk(block, |name, value| {
                found.push((own(name), own(value)));
                Ok(())
            })
            .unwrap();
        found
    }

    #[test]
    fn a_head_becomes_the_same_request() {
        let mut encoder = Encoder::new(true);
        let head =
            b"PUT /a?b HTTP/1.1\r\nHost: x:1\r\nX-Own: y\r\nConnection: close\r\nte: gzip\r\nAccept: */*\r\n\r\n";
        let expected = [
            (":method", "PUT"),
            (":scheme", "https"),
            (":authority", "x:1"),
            (":path", "/a?b"),
            ("x-own", "y"),
            ("accept", "*/*"),
        ];
        assert!(read(encoder.block(head)).iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(expected));
    }

    #[test]
    fn every_head_has_its_own_block_whatever_is_kept() {
        let mut encoder = Encoder::new(false);
        for round in 0..3 {
            for n in 0..2 * KEPT + round {
                let head = format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n");
                assert_eq!(read(encoder.block(head.as_bytes()))[3].1, format!("/{n}"));
                assert_eq!(read(encoder.block(head.as_bytes()))[3].1, format!("/{n}"));
            }
        }
        let many: String = (0..100).map(|n| format!("X-{n}: {n}\r\n")).collect();
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n");
        assert_eq!(read(encoder.block(head.as_bytes())).len(), 104);
    }
}
