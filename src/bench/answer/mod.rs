//! An answer that is kept, because something is to be found in it.

pub mod check;
pub mod redirect;
pub mod unpack;

use std::ops::Range;

/// How much of a body is kept, in bytes.
pub const MOST_BODY: usize = 1024 * 1024;
/// How much is kept of a body that came compressed, in bytes: without its end it cannot be decompressed.
pub const MOST_PACKED: usize = 16 * 1024 * 1024;

/// Head and body of an answer. What is beyond [`MOST_BODY`], of a compressed body beyond [`MOST_PACKED`], is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    head: Vec<u8>,
    body: Vec<u8>,
    is_cut: bool,
}

impl Answer {
    /// Takes the head: status line and header lines.
    pub fn take_head(&mut self, head: &[u8]) {
        self.head.clear();
        self.head.extend_from_slice(head);
    }

    /// Takes the next bytes of the body, without their framing.
    pub fn take_body(&mut self, bytes: &[u8]) {
        let is_long = self.body.len() + bytes.len() > MOST_BODY;
        let most = if is_long && !self.encodings().is_empty() { MOST_PACKED } else { MOST_BODY };
        let room = most.saturating_sub(self.body.len());
        self.is_cut |= bytes.len() > room;
        self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Puts another body in its place, which was `length` bytes long before it was cut.
    pub fn replace_body(&mut self, body: Vec<u8>, length: u64) {
        self.is_cut = length > body.len() as u64;
        self.body = body;
    }

    /// Status line and header lines as they came.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The body, or its beginning.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether the body was longer than what is kept.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The values of all headers of this name.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.lines().filter_map(move |line| {
            let text = str::from_utf8(line).ok()?;
            let (key, value) = text.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// How the body is encoded, the last that was applied at the end; in lower case.
    pub fn encodings(&self) -> Vec<String> {
        self.headers("content-encoding")
            .flat_map(|value| value.split(','))
            .map(|encoding| encoding.trim().to_ascii_lowercase())
            .filter(|encoding| !encoding.is_empty() && encoding != "identity")
            .collect()
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// Whether there is a header of this name, whatever its value is made of.
    pub fn has_header(&self, name: &str) -> bool {
        self.lines().any(|line| {
            let colon = line.iter().position(|byte| *byte == b':');
            colon.is_some_and(|at| line[..at].trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
        })
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let after_status = self.head.iter().position(|b| *b == b'\n').map_or(self.head.len(), |at| at + 1);
        let lines: Range<usize> = after_status..self.head.len();
        self.head[lines].split(|byte| *byte == b'\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_whatever_their_case_and_bodies_are_bounded() {
        let mut answer = Answer::default();
        answer.take_head(b"HTTP/1.1 200 OK: no\r\nSet-Cookie: a=1\r\nset-cookie:b=2 \r\nX: y:z\r\n\r\n");
        assert_eq!(answer.headers("SET-COOKIE").collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!(answer.header("x"), Some("y:z"));
        assert_eq!(answer.header("HTTP/1.1 200 OK"), None);
        answer.take_head(b"HTTP/1.1 302 Found\r\nLocation: /\xff\r\n\r\n");
        assert!(answer.header("location").is_none() && answer.has_header("location") && !answer.has_header("x"));
        answer.take_body(&vec![1; MOST_BODY - 1]);
        answer.take_body(&[2]);
        assert!(!answer.is_cut());
        answer.take_body(&[3]);
        assert!(answer.is_cut() && answer.body().len() == MOST_BODY && answer.body().last() == Some(&2));
        let mut packed = Answer::default();
        packed.take_head(b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\n\r\n");
        (0..16).for_each(|_| packed.take_body(&vec![1; MOST_BODY]));
        assert!(!packed.is_cut() && packed.body().len() == MOST_PACKED);
        packed.take_body(&[2]);
        assert!(packed.is_cut() && packed.body().len() == MOST_PACKED);
    }
}
