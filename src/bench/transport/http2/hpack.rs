//! Packed heads (RFC 7541). A head is walked through, not unpacked: only what is asked for is decoded, so that an answer
//! costs no allocation. What the peer keeps in its table is kept here too.

use std::collections::VecDeque;

use httlib_huffman::DecoderSpeed;
use httlib_huffman::encoder::table::ENCODE_TABLE;

/// The largest table that a peer may use without asking.
const TABLE: usize = 4096;
/// What an entry counts beside its text (RFC 7541, 4.1).
const ENTRY: usize = 32;

/// Names and values that every peer knows (RFC 7541, Appendix A), from index 1.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The bytes are no packed head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the head of the answer is not valid HPACK")]
pub struct Malformed;

/// A name or a value, as it stands in a head or a table.
#[derive(Debug, Clone, Copy)]
pub enum Text<'a> {
    /// As it is.
    Plain(&'a [u8]),
    /// In the code of RFC 7541, Appendix B.
    Huffman(&'a [u8]),
}

impl<'a> Text<'a> {
    /// The text, which may come to stand in `room`.
    ///
    /// # Errors
    ///
    /// The code is not valid.
    pub fn decode(self, room: &'a mut Vec<u8>) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Plain(bytes) => Ok(bytes),
            Self::Huffman(bytes) => {
                room.clear();
                httlib_huffman::decode(bytes, room, DecoderSpeed::FiveBits).map_err(|_| Malformed)?;
                if is_padded(bytes, room) { Ok(room) } else { Err(Malformed) }
            }
        }
    }
}

/// Whether only ones stand behind the code of a text, and fewer than a byte of them (RFC 7541, 5.2).
fn is_padded(bytes: &[u8], text: &[u8]) -> bool {
    let bits: usize = text.iter().map(|byte| usize::from(ENCODE_TABLE[usize::from(*byte)].0)).sum();
    match (bytes.last(), (8 * bytes.len()).checked_sub(bits)) {
        (None, _) => true,
        (Some(last), Some(padding @ 0..8)) => last.trailing_ones() as usize >= padding,
        _ => false,
    }
}

/// A name and its value.
type Entry = (Box<[u8]>, Box<[u8]>);

/// What the peer has put into its table: the last entry first.
#[derive(Debug)]
pub struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, limit: TABLE }
    }
}

impl Table {
    /// Walks through a head; `take` is given every name and value.
    ///
    /// # Errors
    ///
    /// The head is not valid, or `take` says so.
    pub fn walk(
        &mut self,
        head: &[u8],
        mut take: impl FnMut(Text<'_>, Text<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut rest = head;
        let mut may_resize = true;
        while let Some(first) = rest.first().copied() {
            // Only at the beginning (RFC 7541, 4.2).
            let resizes = (0x20..0x40).contains(&first);
            if resizes && !may_resize {
                return Err(Malformed);
            }
            may_resize = resizes;
            match first {
                0x80.. => {
                    let index = integer(&mut rest, 7)?;
                    let (name, value) = self.entry(index).ok_or(Malformed)?;
                    take(Text::Plain(name), Text::Plain(value))?;
                }
                0x40.. => {
                    let index = integer(&mut rest, 6)?;
                    let (name, value) = self.literal(index, &mut rest)?;
                    take(name, value)?;
                    let own = |text: Text<'_>| text.decode(&mut Vec::new()).map(Box::<[u8]>::from);
                    let (name, value) = (own(name)?, own(value)?);
                    self.add(name, value);
                }
                0x20.. => {
                    let limit = integer(&mut rest, 5)?;
                    if limit > TABLE {
                        return Err(Malformed);
                    }
                    self.limit = limit;
                    self.evict();
                }
                _ => {
                    let index = integer(&mut rest, 4)?;
                    let (name, value) = self.literal(index, &mut rest)?;
                    take(name, value)?;
                }
            }
        }
        Ok(())
    }

    fn literal<'a, 'b: 'a>(&'a self, index: usize, rest: &mut &'b [u8]) -> Result<(Text<'a>, Text<'a>), Malformed> {
        let name = match index {
            0 => text(rest)?,
            index => Text::Plain(self.entry(index).ok_or(Malformed)?.0),
        };
        Ok((name, text(rest)?))
    }

    fn entry(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let index = index.checked_sub(1)?;
        match STATIC.get(index) {
            Some((name, value)) => Some((name.as_bytes(), value.as_bytes())),
            None => self.entries.get(index - STATIC.len()).map(|(name, value)| (&**name, &**value)),
        }
    }

    fn add(&mut self, name: Box<[u8]>, value: Box<[u8]>) {
        self.size += name.len() + value.len() + ENTRY;
        self.entries.push_front((name, value));
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.limit
            && let Some((name, value)) = self.entries.pop_back()
        {
            self.size -= name.len() + value.len() + ENTRY;
        }
    }
}

/// A number whose first byte leaves `bits` to it (RFC 7541, 5.1).
fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let (first, mut behind) = rest.split_first().ok_or(Malformed)?;
    let most = (1usize << bits) - 1;
    let mut value = usize::from(*first) & most;
    if value == most {
        // More than four further bytes are beyond any length that makes sense.
        for shift in [0, 7, 14, 21] {
            let (byte, next) = behind.split_first().ok_or(Malformed)?;
            behind = next;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *rest = behind;
                return Ok(value);
            }
        }
        return Err(Malformed);
    }
    *rest = behind;
    Ok(value)
}

/// A text with its length before it (RFC 7541, 5.2).
fn text<'a>(rest: &mut &'a [u8]) -> Result<Text<'a>, Malformed> {
    let is_coded = rest.first().ok_or(Malformed)? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (bytes, behind) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = behind;
    Ok(if is_coded { Text::Huffman(bytes) } else { Text::Plain(bytes) })
}

/// Appends a name and a value so that the peer puts nothing into its table: every head can be made once and sent at any
/// time, on any connection.
pub fn write(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let known = |(n, _): &(&str, &str)| n.as_bytes() == name;
    let exact = STATIC.iter().position(|entry| known(entry) && entry.1.as_bytes() == value && !value.is_empty());
    if let Some(index) = exact {
        return write_integer(out, 0x80, 7, index + 1);
    }
    match STATIC.iter().position(known) {
        Some(index) => write_integer(out, 0, 4, index + 1),
        None => {
            out.push(0);
            write_text(out, name);
        }
    }
    write_text(out, value);
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

fn write_integer(out: &mut Vec<u8>, pattern: u8, bits: u32, value: usize) {
    let most = (1usize << bits) - 1;
    if value < most {
        return out.push(pattern | value as u8);
    }
    out.push(pattern | most as u8);
    let mut left = value - most;
    while left >= 0x80 {
        out.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(table: &mut Table, head: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
        let mut found = Vec::new();
        table.walk(head, |name, value| {
            let own = |text: Text<'_>| {
                let mut room = Vec::new();
                text.decode(&mut room).map(|t| String::from_utf8(t.to_vec()).unwrap())
            };
            found.push((own(name)?, own(value)?));
            Ok(())
        })?;
        Ok(found)
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    /// RFC 7541, C.6: three answers on one connection, Huffman-coded, with a table of 256 bytes that evicts.
    #[test]
    fn the_answers_of_the_rfc_are_read() {
        let mut table = Table { limit: 256, ..Table::default() };
        let first = hex(
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        );
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let date = "Mon, 21 Oct 2013 20:13:21 GMT";
        let expected = [
            pair(":status", "302"),
            pair("cache-control", "private"),
            pair("date", date),
            pair("location", "https://www.example.com"),
        ];
        assert_eq!(read(&mut table, &first).unwrap(), expected);
        assert_eq!((table.entries.len(), table.size), (4, 222));
        let second = read(&mut table, &hex("4883 640e ffc1 c0bf")).unwrap();
        assert_eq!(second[0], pair(":status", "307"));
        assert_eq!(second[1..], expected[1..]);
        assert_eq!(table.size, 222);
        let third = hex(
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        );
        let third = read(&mut table, &third).unwrap();
        assert_eq!(third[0], pair(":status", "200"));
        assert_eq!(third[4], pair("content-encoding", "gzip"));
        assert_eq!(third[5], pair("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"));
        assert_eq!((table.entries.len(), table.size), (3, 215));
    }

    #[test]
    fn what_is_written_is_read_and_leaves_no_trace() {
        let long = "x".repeat(70_000);
        let fields = [(":method", "GET"), (":path", "/a"), (":method", "PUT"), ("x-own", ""), ("accept", &long)];
        let mut block = Vec::new();
        fields.iter().for_each(|(name, value)| write(&mut block, name.as_bytes(), value.as_bytes()));
        assert_eq!(block[0], 0x82);
        let mut table = Table::default();
        let found = read(&mut table, &block).unwrap();
        assert!(found.iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(fields));
        assert_eq!(table.size, 0);
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for bad in ["80", "be", "ff", "ffffffffffffff", "00", "0005 61", "4003 6162", "3fe2 1f", "88 20"] {
            let error = read(&mut Table::default(), &hex(bad));
            assert!(error.is_err(), "{bad}: {error:?}");
        }
        // "a" is 00011: behind it three ones, not zeros, not a byte more.
        assert_eq!(read(&mut Table::default(), &hex("0081 1f 81 1f")).unwrap()[0].1, "a");
        for bad in ["0081 1f 81 18", "0081 1f 82 1fff", "0081 1f 81 ff", "0081 1f 84 ffff ffff"] {
            assert_eq!(read(&mut Table::default(), &hex(bad)), Err(Malformed), "{bad}");
        }
        let padded = [&hex("0001 61 7f 8080 8080 00")[..], &[b'x'; 127]].concat();
        assert_eq!(read(&mut Table::default(), &padded), Err(Malformed));
        // The peer may make its table smaller, and as large as it was.
        assert_eq!(read(&mut Table::default(), &hex("20 3fe1 1f 88")).unwrap().len(), 1);
    }
}
