//! The instants and byte counts of one exchange, taken at the socket itself: just before the first write and right
//! after the last read, so that no queue inside a library hides in them.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::bench::clock::now_ns;
use crate::bench::sample::Phase;

/// What was observed of the current attempt of an exchange. Instants are CLOCK_MONOTONIC, 0 where not reached.
#[derive(Debug, Default)]
pub struct Meter {
    begun: Cell<u64>,
    first_read: Cell<u64>,
    last_read: Cell<u64>,
    written: Cell<u64>,
    read: Cell<u64>,
    shaking_hands: Cell<bool>,
    /// How much of the blank line that ends a head was seen: 4 means the head is written.
    blank_line: Cell<usize>,
}

impl Meter {
    /// Forgets the last attempt. The first action of the next one sets [`Self::begun`].
    pub fn reset(&self) {
        for cell in self.all() {
            cell.set(0);
        }
        self.blank_line.set(0);
        self.shaking_hands.set(false);
    }

    /// Says whether a TLS handshake is going on.
    pub(super) fn set_shaking_hands(&self, is_on: bool) {
        self.shaking_hands.set(is_on);
    }

    /// The phase of an exchange that gets no further.
    pub fn phase(&self) -> Phase {
        if self.shaking_hands.get() {
            Phase::Tls
        } else if self.bytes_written() == 0 {
            Phase::Connect
        } else if !self.head_is_written() {
            Phase::Write
        } else if self.bytes_read() == 0 {
            Phase::Head
        } else {
            Phase::Body
        }
    }

    fn all(&self) -> [&Cell<u64>; 5] {
        [&self.begun, &self.first_read, &self.last_read, &self.written, &self.read]
    }

    /// Says that the attempt begins now, with a look-up or a connection rather than a write.
    pub fn begin(&self) {
        if self.begun.get() == 0 {
            self.begun.set(now_ns());
        }
    }

    /// Just before the action that began the attempt.
    pub fn begun(&self) -> u64 {
        self.begun.get()
    }

    /// The first byte of the answer.
    pub fn first_read(&self) -> u64 {
        self.first_read.get()
    }

    /// The last byte so far.
    pub fn last_read(&self) -> u64 {
        self.last_read.get()
    }

    /// Bytes read in this attempt.
    pub fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    /// Bytes written in this attempt.
    pub fn bytes_written(&self) -> u64 {
        self.written.get()
    }

    /// Whether the whole head of the request was written.
    pub fn head_is_written(&self) -> bool {
        self.blank_line.get() == 4
    }

    fn wrote(&self, bytes: &[u8]) {
        self.written.set(self.written.get() + bytes.len() as u64);
        let mut seen = self.blank_line.get();
        if seen < 4 && bytes.ends_with(b"\r\n\r\n") {
            seen = 4;
        }
        for byte in bytes {
            if seen == 4 {
                break;
            }
            seen = match (byte, seen) {
                (b'\r', 0 | 2) | (b'\n', 1 | 3) => seen + 1,
                (b'\r', _) => 1,
                _ => 0,
            };
        }
        self.blank_line.set(seen);
    }

    fn got(&self, bytes: usize) {
        let now = now_ns();
        if self.first_read.get() == 0 {
            self.first_read.set(now);
        }
        self.last_read.set(now);
        self.read.set(self.read.get() + bytes as u64);
    }
}

/// A stream that reports to a [`Meter`].
pub struct Metered<S> {
    stream: S,
    meter: Rc<Meter>,
}

impl<S> Metered<S> {
    /// Lets `stream` report to `meter`.
    pub fn new(stream: S, meter: Rc<Meter>) -> Self {
        Self { stream, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        if read > 0 {
            self.meter.got(read);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.meter.begin();
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = &polled {
            self.meter.wrote(&buf[..*written]);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_head_is_seen_however_it_is_cut() {
        let head = b"POST / HTTP/1.1\r\nhost: x\r\n\r\n";
        for cut in 1..head.len() {
            let meter = Meter::default();
            meter.wrote(&head[..cut]);
            assert!(!meter.head_is_written(), "cut at {cut}");
            meter.wrote(&head[cut..]);
            assert!(meter.head_is_written(), "cut at {cut}");
        }
        let meter = Meter::default();
        meter.wrote(b"POST / HTTP/1.1\r\nhost: x\r\n\r\nbody");
        assert!(meter.head_is_written());
        meter.reset();
        assert!(!meter.head_is_written());
        assert_eq!(meter.bytes_written(), 0);
    }
}
