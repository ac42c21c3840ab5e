//! Frames as they stand on the wire (RFC 9113, 4.1 and 6).

/// Length of what stands before every frame.
pub const HEAD: usize = 9;
/// What a client sends first, before its settings.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest frame that a peer may send unless it is allowed more.
pub const MOST: usize = 16_384;
/// The window of a connection and of a stream, unless settings say otherwise.
pub const WINDOW: i64 = 65_535;
/// The largest window.
pub const MOST_WINDOW: i64 = (1 << 31) - 1;

/// Bytes of a body.
pub const DATA: u8 = 0;
/// A head, or its beginning.
pub const HEADERS: u8 = 1;
/// The end of a stream by force.
pub const RST_STREAM: u8 = 3;
/// What a side can take.
pub const SETTINGS: u8 = 4;
/// An answer that nothing asked for.
pub const PUSH_PROMISE: u8 = 5;
/// A sign of life.
pub const PING: u8 = 6;
/// The coming end of the connection.
pub const GOAWAY: u8 = 7;
/// More room for bodies.
pub const WINDOW_UPDATE: u8 = 8;
/// More of a head.
pub const CONTINUATION: u8 = 9;

/// DATA, HEADERS: the last of the stream.
pub const END_STREAM: u8 = 0x1;
/// SETTINGS, PING: the answer to one.
pub const ACK: u8 = 0x1;
/// HEADERS, CONTINUATION: the last of the head.
pub const END_HEADERS: u8 = 0x4;
/// DATA, HEADERS: padded.
pub const PADDED: u8 = 0x8;
/// HEADERS: with a priority.
pub const PRIORITY: u8 = 0x20;

/// Setting: whether a server may push.
pub const ENABLE_PUSH: u16 = 2;
/// Setting: how many streams there may be at once.
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
/// Setting: the window that streams begin with.
pub const INITIAL_WINDOW_SIZE: u16 = 4;
/// Setting: the longest frame.
pub const MAX_FRAME_SIZE: u16 = 5;

/// Error code: none.
pub const NO_ERROR: u32 = 0;
/// Error code: the peer does not keep to the protocol.
pub const PROTOCOL_ERROR: u32 = 1;
/// Error code: the request was not processed.
pub const REFUSED_STREAM: u32 = 7;
/// Error code: the answer is no longer wanted.
pub const CANCEL: u32 = 8;

/// What stands before a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes that follow.
    pub length: usize,
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream; 0 is the connection.
    pub stream: u32,
}

impl Head {
    /// Reads it; `None` if it is not all there.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = *bytes.first_chunk::<HEAD>()?;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Some(Self { length, kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff })
    }

    /// Appends it.
    pub fn write(self, out: &mut Vec<u8>) {
        let [_, _, _, _, _, a, b, c] = (self.length as u64).to_be_bytes();
        out.extend_from_slice(&[a, b, c, self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
    }

    /// Whether a flag is set.
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame.
pub fn write(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    Head { length: payload.len(), kind, flags, stream }.write(out);
    out.extend_from_slice(payload);
}

/// The number at the beginning of a payload.
pub fn number(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The pairs of a SETTINGS frame.
pub fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    payload.chunks_exact(6).map(|pair| {
        let [a, b, c, d, e, f] = [pair[0], pair[1], pair[2], pair[3], pair[4], pair[5]];
        (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))
    })
}

/// The name of an error code, as RFC 9113, 7, has it.
pub fn error_name(code: u32) -> &'static str {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    NAMES.get(code as usize).copied().unwrap_or("an unknown error")
}

/// A payload without what it is padded with; `None` if that is longer than the frame.
pub fn unpadded(head: Head, payload: &[u8]) -> Option<&[u8]> {
    if !head.has(PADDED) {
        return Some(payload);
    }
    payload.split_first().and_then(|(padding, rest)| {
        let length = rest.len().checked_sub(usize::from(*padding))?;
        rest.get(..length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_frame_survives_the_wire() {
        let head = Head { length: 0x01_02_03, kind: HEADERS, flags: END_HEADERS | PADDED, stream: 0x7fff_fffd };
        let mut bytes = Vec::new();
        head.write(&mut bytes);
        assert_eq!(bytes, [1, 2, 3, 1, 12, 0x7f, 0xff, 0xff, 0xfd]);
        assert_eq!(Head::read(&bytes), Some(head));
        assert_eq!(Head::read(&bytes[..8]), None);
        // The bit before the stream's number has no meaning.
        bytes[5] = 0xff;
        assert_eq!(Head::read(&bytes), Some(head));
    }
}
