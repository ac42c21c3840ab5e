//! What carries a TLS session over the rings.

use std::io::{self, Read, Write};

/// The carrier of a TLS session whose bytes come and go elsewhere.
#[derive(Default)]
pub(super) struct Pipe {
    incoming: Vec<u8>,
    /// How much of it was read.
    taken: usize,
    /// What is to be sent.
    pub(super) outgoing: Vec<u8>,
    /// Whether no more will come.
    pub(super) is_ended: bool,
}

impl Pipe {
    /// Takes bytes that have come.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.taken == self.incoming.len() {
            self.incoming.clear();
            self.taken = 0;
        }
        self.incoming.extend_from_slice(bytes);
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.incoming[self.taken..];
        if rest.is_empty() {
            return if self.is_ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.taken += length;
        Ok(length)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
