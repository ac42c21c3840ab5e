//! An open connection: the bytes of its exchanges, moved when its socket is ready.

use std::io;

use super::channel::Channel;
use super::receipt::Clocks;
use super::session::{Request, Session, Step};
use crate::bench::clock::now_ns;
use crate::bench::record::sample::Cause;

/// How many full reads one connection gets before others have their turn.
const TURN: usize = 16;

/// A connection that requests can be sent on.
pub struct Connection {
    /// Its bytes.
    pub channel: Channel,
    /// What they mean.
    pub session: Session,
    /// Why nothing more can be written, in the middle of a request.
    broken: Option<io::Error>,
}

impl Connection {
    /// A connection that is open.
    pub fn new(channel: Channel, session: Session) -> Self {
        Self { channel, session, broken: None }
    }

    /// Whether an answer has begun to come, or the request has not gone out.
    pub fn is_urgent(&self) -> bool {
        let session = &self.session;
        session.is_busy() && (session.exchange().read > 0 || !session.unsent().is_empty())
    }

    /// Begins an exchange; what does not fit is written by [`Self::advance`].
    pub fn send(&mut self, request: &Request<'_>) -> Step {
        self.session.begin(request);
        let mut rest = request.bytes;
        while !rest.is_empty() {
            match self.channel.write(rest) {
                Ok(written) => {
                    self.session.wrote(written);
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.session.keep(rest);
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if rest.len() == request.bytes.len() => return self.session.broke(&error),
                // There may be an answer: it is looked for when the queue tells of the end of the connection.
                Err(error) => {
                    self.session.keep(rest);
                    self.broken = Some(error);
                    break;
                }
            }
        }
        Step::Wait
    }

    /// Writes what is left of the request and reads what has come of the answer; `None` if more has come than fits a
    /// turn.
    pub fn advance(&mut self, buffer: &mut [u8], is_ended: bool, clocks: &Clocks) -> Option<Step> {
        if self.broken.is_none() {
            self.broken = self.catch_up().err();
        }
        if self.broken.is_none() {
            return self.read(buffer, is_ended, clocks);
        }
        // A target that has answered before it read the whole request, and closed then, has answered.
        self.session.spend();
        let step = self.read(buffer, true, clocks)?;
        let is_broken = match &step {
            Step::Wait => true,
            Step::Failed(fault) => fault.kind.cause != Cause::Malformed,
            Step::Answered(_) => false,
        };
        let broken = self.broken.take().filter(|_| is_broken);
        Some(broken.map_or(step, |error| self.session.broke(&error)))
    }

    fn read(&mut self, buffer: &mut [u8], is_ended: bool, clocks: &Clocks) -> Option<Step> {
        for _ in 0..TURN {
            match self.channel.read(buffer) {
                // Nobody knows whether an answer is whole that ends with a connection which broke.
                Ok(0) => {
                    return Some(match self.broken.take() {
                        Some(error) => self.session.broke(&error),
                        None => self.session.ended(),
                    });
                }
                Ok(read) => {
                    if is_ended {
                        self.session.spend();
                    }
                    let came = self.channel.came().and_then(|came| clocks.instant_of(came));
                    let step = self.session.received(&buffer[..read], came.unwrap_or_else(now_ns));
                    let is_all = read < buffer.len() && self.channel.reads_all() && !is_ended;
                    if step != Step::Wait || is_all {
                        return Some(step);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(Step::Wait),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(self.session.broke(&error)),
            }
        }
        None
    }

    fn catch_up(&mut self) -> io::Result<()> {
        while !self.session.unsent().is_empty() {
            match self.channel.write(self.session.unsent()) {
                Ok(written) => self.session.caught_up(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.channel.flush()?;
        Ok(())
    }

    /// Whether the connection, on which no request is under way, can still be used.
    pub fn is_idle(&mut self, buffer: &mut [u8]) -> bool {
        match self.channel.read(buffer) {
            Ok(0) => false,
            Ok(_) => {
                self.session.unsolicited();
                false
            }
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }
}
