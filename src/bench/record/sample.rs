//! What is known of one request after its end.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// Where in an exchange it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The look-up of the name.
    Dns,
    /// The TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// While the request was being written.
    Write,
    /// After the request was written, before the head of the answer was complete.
    Head,
    /// After the head of the answer, before the end of its body.
    Body,
    /// The answer is not valid HTTP.
    Protocol,
    /// The answer is not what was asserted.
    Assertion,
}

/// Why it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nobody listens.
    Refused,
    /// The peer reset the connection.
    Reset,
    /// The peer closed the connection.
    Closed,
    /// No route.
    Unreachable,
    /// It took longer than it may.
    Timeout,
    /// The name is unknown.
    UnknownHost,
    /// The TLS handshake failed, the certificate included.
    Handshake,
    /// A status of 400 or above.
    Status,
    /// It could not be parsed.
    Malformed,
    /// It redirects to where the request cannot go.
    Redirect,
    /// Its body is not what its content encoding says.
    Decompression,
    /// It is not what was asserted, or has not what was to be captured.
    Assertion,
    /// This machine ran out of file descriptors.
    Descriptors,
    /// This machine ran out of local ports.
    Ports,
    /// Something else; the evidence has its text.
    Other,
}

/// On which side the reason lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// This machine.
    Client,
    /// Between the two.
    Network,
    /// The target.
    Server,
}

macro_rules! display_as_serialized {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.serialize(f)
            }
        }
    )*};
}
display_as_serialized!(Phase, Cause, Side);

/// A failure by its three coordinates, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FaultKind {
    /// Where.
    pub phase: Phase,
    /// Why.
    pub cause: Cause,
    /// On which side.
    pub side: Side,
}

/// A failure with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What it is counted as.
    pub kind: FaultKind,
    /// What was observed, for a person.
    pub detail: String,
}

impl Fault {
    /// A failure with its text.
    pub fn new(phase: Phase, cause: Cause, side: Side, detail: impl Into<String>) -> Self {
        Self { kind: FaultKind { phase, cause, side }, detail: detail.into() }
    }

    /// The failure that an I/O error in `phase` is.
    pub fn io(phase: Phase, error: &io::Error) -> Self {
        use nix::errno::Errno;
        let errno = error.raw_os_error().map(Errno::from_raw);
        let (cause, side) = match (errno, error.kind()) {
            (Some(Errno::EMFILE | Errno::ENFILE), _) => (Cause::Descriptors, Side::Client),
            (Some(Errno::EADDRNOTAVAIL | Errno::EADDRINUSE), _) => (Cause::Ports, Side::Client),
            (_, io::ErrorKind::ConnectionRefused) => (Cause::Refused, Side::Server),
            (_, io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe) => {
                (Cause::Reset, Side::Server)
            }
            (_, io::ErrorKind::UnexpectedEof) => (Cause::Closed, Side::Server),
            (_, io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                (Cause::Unreachable, Side::Network)
            }
            (_, io::ErrorKind::TimedOut) => (Cause::Timeout, Side::Network),
            (Some(Errno::ENOMEM | Errno::ENOBUFS), _) => (Cause::Other, Side::Client),
            _ => (Cause::Other, Side::Network),
        };
        Self::new(phase, cause, side, error.to_string())
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer came, and is what was expected: a status below 400 unless something else was said.
    Ok,
    /// The whole answer came, but is not what was expected.
    HttpError(Fault),
    /// It failed before the whole answer came.
    NetworkError(Fault),
    /// The answer took longer than the timeout.
    Timeout(Fault),
    /// The run ended before the answer came.
    Unfinished,
}

/// One request after its end. Instants are nanoseconds after the start of the run.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Number of the arrival.
    pub n: u64,
    /// Index of its kind in the mix.
    pub kind: usize,
    /// What the schedule said.
    pub scheduled: u64,
    /// Due, and a connection was free for it.
    pub ready: u64,
    /// Just before the action that began it.
    pub started: u64,
    /// The first byte of the answer came; 0 if none did.
    pub first_byte: u64,
    /// The last byte of the answer came, or the failure was known.
    pub finished: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Status of the answer, where a head came.
    pub status: Option<u16>,
    /// How often it was sent again.
    pub retries: u64,
    /// How many redirects it went through.
    pub redirects: u64,
    /// Bytes of the body of its answer as they came, and decompressed; 0 where nothing is decompressed.
    pub bodies: (u64, u64),
    /// How many heads the server must have counted for it, at least and at most.
    pub wire: (u64, u64),
    /// Bytes read and written.
    pub bytes: (u64, u64),
}

impl Sample {
    /// Takes its instants as nanoseconds after one `ns` later, before which nothing of it happened.
    pub fn rebase(&mut self, ns: u64) {
        for instant in
            [&mut self.scheduled, &mut self.ready, &mut self.started, &mut self.first_byte, &mut self.finished]
        {
            *instant = instant.saturating_sub(ns);
        }
    }

    /// finished − scheduled: what a user feels.
    pub fn response_time(&self) -> u64 {
        self.finished.saturating_sub(self.scheduled)
    }

    /// finished − started: what the server did.
    pub fn service_time(&self) -> u64 {
        self.finished.saturating_sub(self.started)
    }

    /// ready − scheduled: the wait for a connection.
    pub fn pool_wait(&self) -> u64 {
        self.ready.saturating_sub(self.scheduled)
    }

    /// started − ready: what the generator added.
    pub fn own_lag(&self) -> u64 {
        self.started.saturating_sub(self.ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_runs_out_of_is_its_own_fault() {
        let kind = |code| Fault::io(Phase::Connect, &io::Error::from_raw_os_error(code)).kind;
        for (errno, cause, side) in [
            (nix::errno::Errno::EMFILE, Cause::Descriptors, Side::Client),
            (nix::errno::Errno::EADDRNOTAVAIL, Cause::Ports, Side::Client),
            (nix::errno::Errno::ECONNREFUSED, Cause::Refused, Side::Server),
            (nix::errno::Errno::ECONNRESET, Cause::Reset, Side::Server),
            (nix::errno::Errno::EHOSTUNREACH, Cause::Unreachable, Side::Network),
        ] {
            assert_eq!(kind(errno as i32), FaultKind { phase: Phase::Connect, cause, side });
        }
    }

    #[test]
    fn coordinates_print_as_they_stand_in_the_json() {
        assert_eq!(Cause::UnknownHost.to_string(), "unknown_host");
        assert_eq!(serde_json::to_string(&Phase::Dns).unwrap(), "\"dns\"");
    }
}
