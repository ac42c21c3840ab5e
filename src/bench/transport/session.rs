//! One HTTP/1.1 connection as a protocol: what is to be written, what was read, and what that comes to. No I/O and no
//! clock: whoever moves the bytes tells it how many and when.

use std::io;

use super::http1::Decoder;
use crate::bench::answer::Answer;
use crate::bench::record::sample::{Cause, Fault, Phase, Side};

/// A request, ready to be written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// Head and body.
    pub bytes: &'a [u8],
    /// How many of them are the head.
    pub head: usize,
    /// Whether its answer has no body whatever its head says.
    pub is_head: bool,
    /// Whether it asks for the connection to be closed.
    pub closes: bool,
    /// Whether its answer is kept: see [`Session::take_answer`].
    pub keeps_answer: bool,
    /// Whether these are the bytes of many requests.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only io_uring asks for it"))]
    pub is_constant: bool,
}

/// What was seen of one attempt of a request. Instants are CLOCK_MONOTONIC, 0 where not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exchange {
    /// When its bytes were handed over, where that is later than their being given to the connection.
    pub started: u64,
    /// The first byte of the answer.
    pub first_read: u64,
    /// The last byte so far.
    pub last_read: u64,
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
    /// Whether the whole head was written.
    pub head_is_written: bool,
    /// Whether the target says that it did not process the request (RFC 9113, 8.7). HTTP/2 only.
    pub is_refused: bool,
}

/// What bytes, or their end, come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// More is to come.
    Wait,
    /// The answer is complete.
    Answered(u16),
    /// There is no complete answer.
    Failed(Fault),
}

/// The exchanges of one connection, one after another.
#[derive(Debug, Default)]
pub struct Session {
    decoder: Decoder,
    exchange: Exchange,
    /// What could not be written at once, and how much of it has been since.
    unsent: Vec<u8>,
    gone: usize,
    head_left: usize,
    requests: u64,
    /// After how many the connection is closed; 0 is never.
    most_requests: u64,
    is_busy: bool,
    is_spent: bool,
    warnings: u64,
}

impl Session {
    /// A connection that ends after so many exchanges; 0 is any number.
    pub fn for_at_most(requests: u64) -> Self {
        Self { most_requests: requests, ..Self::default() }
    }

    /// Begins the next exchange; its bytes are the caller's to write.
    pub fn begin(&mut self, request: &Request<'_>) {
        self.decoder.expect(request.is_head, request.keeps_answer);
        self.exchange = Exchange::default();
        self.unsent.clear();
        self.gone = 0;
        self.head_left = request.head;
        self.requests += 1;
        self.is_busy = true;
        self.is_spent |= request.closes || self.requests == self.most_requests;
    }

    /// Takes note of when the bytes of the exchange were handed over.
    #[cfg(target_os = "linux")]
    pub fn started(&mut self, now: u64) {
        self.exchange.started = now;
    }

    /// Counts bytes that were written.
    pub fn wrote(&mut self, bytes: usize) {
        self.exchange.written += bytes as u64;
        self.head_left = self.head_left.saturating_sub(bytes);
        self.exchange.head_is_written = self.head_left == 0;
    }

    /// Keeps what could not be written yet.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// What is still to be written.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent[self.gone..]
    }

    /// Counts bytes of [`Self::unsent`] that were written.
    pub fn caught_up(&mut self, bytes: usize) {
        self.gone += bytes;
        self.wrote(bytes);
    }

    /// Takes bytes that came at `at`.
    pub fn received(&mut self, bytes: &[u8], at: u64) -> Step {
        if self.exchange.first_read == 0 {
            self.exchange.first_read = at;
        }
        self.exchange.last_read = at;
        self.exchange.read += bytes.len() as u64;
        match self.decoder.feed(bytes) {
            Ok(None) => Step::Wait,
            Ok(Some(used)) => {
                if used < bytes.len() {
                    self.unsolicited();
                }
                self.answered()
            }
            Err(malformed) => {
                let fault = Fault::new(Phase::Protocol, Cause::Malformed, Side::Server, malformed.to_string());
                self.failed(fault)
            }
        }
    }

    /// Takes the end of the connection.
    pub fn ended(&mut self) -> Step {
        self.is_spent = true;
        if self.decoder.end() {
            return self.answered();
        }
        let detail = "the connection was closed before the answer was complete";
        self.failed(Fault::new(self.phase(), Cause::Closed, Side::Server, detail))
    }

    /// Takes a failure of the connection.
    pub fn broke(&mut self, error: &io::Error) -> Step {
        self.failed(Fault::io(self.phase(), error))
    }

    /// Takes note of bytes that nothing asked for.
    pub fn unsolicited(&mut self) {
        self.warnings += 1;
        self.is_spent = true;
    }

    /// Says that nothing more will come on the connection, whatever is complete by now.
    pub fn spend(&mut self) {
        self.is_spent = true;
    }

    fn answered(&mut self) -> Step {
        // An answer that came before the request was written is one; the rest of that request is in the way.
        self.is_spent |= !self.decoder.keeps_alive() || !self.unsent().is_empty();
        self.is_busy = false;
        Step::Answered(self.decoder.status().unwrap_or_default())
    }

    fn failed(&mut self, fault: Fault) -> Step {
        self.is_spent = true;
        self.is_busy = false;
        Step::Failed(fault)
    }

    /// How far the exchange has come.
    pub fn phase(&self) -> Phase {
        if !self.exchange.head_is_written {
            Phase::Write
        } else if self.decoder.status().is_none() {
            Phase::Head
        } else {
            Phase::Body
        }
    }

    /// Whether an exchange is under way.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Whether another request can be sent.
    pub fn is_reusable(&self) -> bool {
        !self.is_spent
    }

    /// What was seen of the current exchange, or the last one.
    pub fn exchange(&self) -> Exchange {
        self.exchange
    }

    /// Status of the current answer, once its head is there.
    pub fn status(&self) -> Option<u16> {
        self.decoder.status()
    }

    /// The last answer, where it was to be kept.
    pub fn take_answer(&mut self) -> Option<Box<Answer>> {
        self.decoder.take_answer()
    }

    /// How many requests were begun.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// How often the target sent what nothing asked for.
    pub fn warnings(&self) -> u64 {
        self.warnings
    }
}
