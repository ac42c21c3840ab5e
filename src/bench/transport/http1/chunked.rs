//! Framing of a chunked body (RFC 9112, 7.1), byte by byte.

use super::Malformed;

/// Where in a chunked body. What stands in angle brackets in RFC 9112, 7.1, by the byte that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunked {
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

impl Chunked {
    /// Before the first chunk.
    pub(super) const START: Self = Self::Size { value: 0, digits: 0 };

    /// Where the next byte leads, which is none of data; `None` at the end of the body.
    ///
    /// # Errors
    ///
    /// It is not what comes here.
    pub(super) fn next(self, byte: u8) -> Result<Option<Self>, Malformed> {
        Ok(Some(match (self, byte) {
            (Self::Size { value, digits: 1.. }, b'\r') => Self::SizeEnd { value },
            (Self::Size { value, digits: 1.. }, b';' | b' ' | b'\t') => Self::Extension { value },
            (Self::Size { value, digits: digits @ 0..16 }, byte) => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed::Chunk)?;
                Self::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Extension { value }, b'\r') => Self::SizeEnd { value },
            (Self::Extension { value }, byte) if byte != b'\n' => Self::Extension { value },
            (Self::SizeEnd { value: 0 }, b'\n') => Self::TrailerStart,
            (Self::SizeEnd { value }, b'\n') => Self::Data(value),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { value: 0, digits: 0 },
            (Self::TrailerStart, b'\r') => Self::LastLf,
            (Self::TrailerStart, byte) if byte != b'\n' => Self::Trailer,
            (Self::Trailer, b'\n') => Self::TrailerStart,
            (Self::Trailer, _) => Self::Trailer,
            (Self::LastLf, b'\n') => return Ok(None),
            _ => return Err(Malformed::Chunk),
        }))
    }
}
