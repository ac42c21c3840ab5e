//! What the head of an answer says.

use http::HeaderName;

use super::hpack::{Malformed, Table, Text};

/// What an answer's head says that matters here.
#[derive(Debug, Default)]
pub struct Found {
    /// The status, if it has one.
    pub status: Option<u16>,
    /// The length of the body, if it is said.
    pub length: Option<u64>,
    /// All the others as header lines, where they are wanted.
    pub lines: Option<Vec<u8>>,
    /// Whether one of them is none in HTTP/1.1 either: it could pass for several.
    pub has_bad_line: bool,
}

impl Found {
    /// Reads the block of a head; its lines are kept where they are wanted.
    ///
    /// # Errors
    ///
    /// It is no block of this connection's, or says what is no status or length.
    pub fn read(table: &mut Table, block: &[u8], keeps: bool) -> Result<Self, Malformed> {
        let mut found = Self { lines: keeps.then(Vec::new), ..Self::default() };
        let mut room = Vec::new();
        let mut is_first = true;
        table.walk(block, |name, value| {
            // A server has one pseudo-header, and it comes before all others.
            let is_status = match name {
                Text::Plain(name) => name == b":status",
                Text::Huffman(_) => is_first && name.decode(&mut room)? == b":status",
            };
            is_first = false;
            if is_status {
                found.status =
                    Some(number(value.decode(&mut room)?).filter(|s| (100..1000).contains(s)).ok_or(Malformed)? as u16);
                return Ok(());
            }
            if matches!(name, Text::Plain(b"content-length")) {
                found.length = Some(number(value.decode(&mut room)?).ok_or(Malformed)?);
            }
            if let Some(lines) = &mut found.lines {
                let name = name.decode(&mut room)?;
                found.has_bad_line |= HeaderName::from_lowercase(name).is_err();
                lines.extend_from_slice(name);
                lines.extend_from_slice(b": ");
                let value = value.decode(&mut room)?;
                found.has_bad_line |= value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
                lines.extend_from_slice(value);
                lines.extend_from_slice(b"\r\n");
            }
            Ok(())
        })?;
        Ok(found)
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = str::from_utf8(digits).ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}
