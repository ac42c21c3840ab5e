//! A request on its way over HTTP/2, from its head to the end of its answer.

use crate::bench::answer::Answer;
use crate::bench::record::sample::Phase;
use crate::bench::transport::session::Exchange;

/// A request on its way.
#[derive(Debug, Default)]
pub struct Stream {
    /// 0 if the place is free.
    pub id: u32,
    /// Of the driver.
    pub slot: usize,
    /// What was seen of it.
    pub exchange: Exchange,
    /// Of the answer, once its head is there.
    pub status: Option<u16>,
    /// Whether it is a HEAD request: its answer has no body.
    pub is_head: bool,
    /// Whether the request is queued to its end.
    pub is_sent: bool,
    /// How much of the body the peer takes now.
    pub window: i64,
    /// What is left of the body from `gone` on.
    pub body: Vec<u8>,
    /// See `body`.
    pub gone: usize,
    /// How long the body of the answer is to be, if its head says so.
    pub expected: Option<u64>,
    /// How long it is so far.
    pub received: u64,
    /// Bytes since its window was last made whole.
    pub consumed: u32,
    /// The answer so far, where it is kept.
    pub answer: Option<Box<Answer>>,
}

impl Stream {
    /// How far the exchange has come.
    pub fn phase(&self) -> Phase {
        if !self.exchange.head_is_written {
            Phase::Write
        } else if self.status.is_none() {
            Phase::Head
        } else {
            Phase::Body
        }
    }

    /// Counts bytes of the answer that were read at `now`.
    pub fn read(&mut self, bytes: usize, now: u64) {
        if self.exchange.first_read == 0 {
            self.exchange.first_read = now;
        }
        self.exchange.last_read = now;
        self.exchange.read += bytes as u64;
    }

    /// Whether the answer is as long as it said (RFC 9113, 8.1.1).
    pub fn is_whole(&self) -> bool {
        let has_no_body = self.is_head || matches!(self.status, Some(204 | 304));
        has_no_body || self.expected.is_none_or(|expected| expected == self.received)
    }
}
