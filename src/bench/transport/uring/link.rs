//! A connection of the rings: its socket, and what is on its way to it.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use super::pipe::Pipe;
use super::ring::Ring;
use crate::bench::transport::channel::{Socket, Tls};
use crate::bench::transport::session::{Session, Step};

/// A socket, and what the kernel does with it.
pub(super) struct Link {
    /// The socket.
    pub(super) socket: Socket,
    /// What its bytes go through, unless they are plain.
    pub(super) tls: Option<Box<Tls<Pipe>>>,
    /// To be sent when what is being sent has gone.
    next: Vec<u8>,
    /// Room of an earlier send.
    pub(super) spare: Vec<u8>,
    /// How much of what is being sent has gone.
    pub(super) gone: usize,
    /// Whether the kernel is sending.
    pub(super) is_sending: bool,
    /// Why nothing more can be sent, in the middle of a request.
    pub(super) broken: Option<io::Error>,
    /// How much was sent quietly, and no failure was heard of since.
    pub(super) quiet: usize,
    /// How many operations the kernel has.
    pub(super) operations: u32,
}

impl Link {
    /// Of a socket of which the kernel has no operation.
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            tls: None,
            next: Vec::new(),
            spare: Vec::new(),
            gone: 0,
            is_sending: false,
            broken: None,
            quiet: 0,
            operations: 0,
        }
    }

    /// Whether the rest of a request is in the way of the next one.
    pub(super) fn is_in_the_way(&self) -> bool {
        self.is_sending || self.broken.is_some()
    }

    /// What the end of the connection makes of its exchange. Nobody knows whether an answer is whole that ends with a
    /// connection which broke.
    pub(super) fn ended(&mut self, session: &mut Session) -> Step {
        match self.broken.take() {
            Some(error) => session.broke(&error),
            None => session.ended(),
        }
    }

    /// Whether nothing is to be sent or being sent, by plain TCP or a Unix socket.
    pub(super) fn is_idle(&self) -> bool {
        self.tls.is_none() && !self.is_sending && self.next.is_empty()
    }

    /// Counts what was sent quietly as written.
    pub(super) fn confirm(&mut self, session: &mut Session) {
        if self.quiet > 0 {
            session.wrote(std::mem::take(&mut self.quiet));
        }
    }

    /// Takes bytes to be sent; whether they count as written at once, because TLS has taken them.
    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else {
            self.next.extend_from_slice(bytes);
            return Ok(false);
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = tls.write(rest)?;
            rest = &rest[written..];
        }
        self.encrypt();
        Ok(true)
    }

    /// Takes over what TLS wants to be sent.
    pub(super) fn encrypt(&mut self) {
        if let Some(tls) = &mut self.tls {
            self.next.append(&mut tls.carrier_mut().outgoing);
        }
    }

    /// Hands over what is to be sent, one send at a time.
    pub(super) fn push(&mut self, ring: &mut Ring, tag: u64) {
        if self.is_sending || self.next.is_empty() {
            return;
        }
        self.spare.clear();
        let bytes = std::mem::replace(&mut self.next, std::mem::take(&mut self.spare));
        self.gone = 0;
        self.go_on(ring, bytes, tag);
    }

    /// Hands over what has not gone yet of `bytes`.
    pub(super) fn go_on(&mut self, ring: &mut Ring, bytes: Vec<u8>, tag: u64) {
        self.is_sending = true;
        self.operations += 1;
        ring.send(self.socket.as_fd().as_raw_fd(), bytes, self.gone, tag);
    }
}
