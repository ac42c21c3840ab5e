//! Where an answer ends, as its header lines say (RFC 9112, 6).

use httparse::Header;

use super::Malformed;

/// What the header lines say about the body and the connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Framing {
    /// Bytes of the body, if it says so.
    pub(super) length: Option<u64>,
    /// Whether there is a transfer coding.
    pub(super) is_encoded: bool,
    /// Whether the last one of them is chunked.
    pub(super) is_chunked: bool,
    says_close: bool,
    says_keep_alive: bool,
}

impl Framing {
    /// Reads header lines.
    ///
    /// # Errors
    ///
    /// A length that is no number, or two that differ.
    pub(super) fn of(headers: &[Header<'_>]) -> Result<Self, Malformed> {
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

    /// Whether the connection may be used again (RFC 9112, 9.3).
    pub(super) fn keeps_alive(&self, is_1_1: bool) -> bool {
        !self.says_close && (is_1_1 || self.says_keep_alive)
    }
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}
