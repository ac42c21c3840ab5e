//! A connection of HTTP/2: its frames, moved when its socket is ready.

use std::collections::VecDeque;
use std::io;

use super::session::Session;
use crate::bench::clock::now_ns;
use crate::bench::record::sample::{Cause, Fault};
use crate::bench::transport::channel::Channel;
use crate::bench::transport::wait::Completion;

/// How many full reads one connection gets before others have their turn.
const TURN: usize = 16;

/// A connection whose bytes are those of HTTP/2.
pub struct Connection {
    /// Its bytes.
    pub channel: Channel,
    /// What they mean.
    pub session: Session,
    /// How long it took to connect, in nanoseconds.
    pub connect_ns: u64,
    /// How long the TLS handshake took, where there was one.
    pub tls_ns: Option<u64>,
    /// Whether the target has sent its settings.
    pub is_open: bool,
}

impl Connection {
    /// Writes what is queued, as far as it goes.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.session.outgoing().is_empty() {
            self.session.started(now_ns());
        }
        while !self.session.outgoing().is_empty() {
            match self.channel.write(self.session.outgoing()) {
                Ok(written) => self.session.wrote(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.channel.flush()?;
        Ok(())
    }

    /// Writes what could not be written before and reads what has come; says whether it was all.
    pub fn advance(
        &mut self,
        buffer: &mut [u8],
        is_ended: bool,
        done: &mut VecDeque<Completion>,
    ) -> Result<bool, Fault> {
        match self.flush() {
            Ok(()) => self.read(buffer, is_ended, done),
            Err(error) => Err(self.salvage(&error, buffer, done)),
        }
    }

    /// Reads what came before nothing more could be written: answers, and which requests were not processed.
    pub fn salvage(&mut self, broken: &io::Error, buffer: &mut [u8], done: &mut VecDeque<Completion>) -> Fault {
        match self.read(buffer, true, done) {
            Err(fault) if fault.kind.cause == Cause::Malformed => fault,
            _ => self.session.broke(broken),
        }
    }

    fn read(&mut self, buffer: &mut [u8], is_ended: bool, done: &mut VecDeque<Completion>) -> Result<bool, Fault> {
        for _ in 0..TURN {
            match self.channel.read(buffer) {
                Ok(0) => return Err(self.session.ended()),
                Ok(read) => {
                    self.session.received(&buffer[..read], now_ns(), done)?;
                    if read < buffer.len() && self.channel.reads_all() && !is_ended {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.session.broke(&error)),
            }
        }
        Ok(false)
    }
}
