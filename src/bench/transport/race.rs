//! Which of several addresses takes connections, tried before the run: one that answers nothing would take all the time
//! that a connection may take, each time.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::channel::Socket;
use super::dial::Dialer;

/// How long an address is tried alone before the next one is, too (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

impl Dialer {
    /// The same, which tries that address first that was the first to take a connection. Where there is one address, none
    /// is tried. Blocks, for at most `timeout`.
    pub fn reachable_first(mut self, timeout: Duration) -> Self {
        if self.addresses() > 1 {
            // Whatever prevents that shows again on the connections of the run.
            self.put_first(self.first_to_answer(timeout).ok().flatten().unwrap_or(0));
        }
        self
    }

    fn first_to_answer(&self, timeout: Duration) -> io::Result<Option<usize>> {
        let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(8));
        let begun = Instant::now();
        let (mut next, mut next_at) = (0, begun);
        let mut trying: Vec<(usize, Socket)> = Vec::new();
        while begun.elapsed() < timeout {
            let now = Instant::now();
            while next < self.addresses() && (trying.is_empty() || next_at <= now) {
                if let Some(Ok(mut socket)) = self.connect(next) {
                    socket.watch(poll.registry(), Token(next))?;
                    trying.push((next, socket));
                    next_at = now + HEAD_START;
                }
                next += 1;
            }
            if trying.is_empty() {
                return Ok(None);
            }
            let end = begun + timeout;
            let until = if next < self.addresses() { end.min(next_at) } else { end };
            poll.poll(&mut events, Some(until.saturating_duration_since(now)))?;
            let before = trying.len();
            let mut first = None;
            trying.retain_mut(|(index, socket)| {
                let is_connected = socket.is_connected();
                if first.is_none() && matches!(is_connected, Ok(true)) {
                    first = Some(*index);
                }
                is_connected.is_ok()
            });
            if first.is_some() {
                return Ok(first);
            }
            if trying.len() < before {
                next_at = now;
            }
        }
        Ok(None)
    }
}
