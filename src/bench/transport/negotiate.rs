//! Which version of HTTP is spoken, where TLS leaves the choice to the target (ALPN, RFC 7301).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::channel::{Channel, Socket};
use super::dial::Dialer;
use crate::bench::target::protocol::Protocol;

/// What HTTP/2 is called in TLS.
pub const H2: &[u8] = b"h2";
/// What HTTP/1.1 is called in TLS.
pub const HTTP_1_1: &[u8] = b"http/1.1";

impl Dialer {
    /// The same, made to speak a version of HTTP, and whether that is HTTP/2. Where the target has the choice, it is
    /// asked first, for at most `timeout`.
    pub fn speaking(self, protocol: Protocol, timeout: Duration) -> (Self, bool) {
        let is_http2 = match protocol {
            Protocol::Http1 => false,
            Protocol::Http2 => true,
            Protocol::Auto => self.is_tls() && self.prefers_http2(timeout),
        };
        (self.offering(&[if is_http2 { H2 } else { HTTP_1_1 }]), is_http2)
    }

    /// The same, offering these protocols over TLS, the preferred one first.
    fn offering(mut self, protocols: &[&[u8]]) -> Self {
        if let Some((config, _)) = &mut self.tls {
            Arc::make_mut(config).alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        }
        self
    }

    /// Whether connections go through TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether the target chooses HTTP/2 where it has the choice, asked on a connection of its own. Whatever prevents
    /// that shows again on the connections of the run. Blocks.
    fn prefers_http2(&self, timeout: Duration) -> bool {
        let asking = self.clone().offering(&[H2, HTTP_1_1]);
        let until = Instant::now() + timeout;
        let sockets = (0..).map_while(|index| asking.connect(index)).flatten();
        sockets.into_iter().find_map(|socket| asking.ask(socket, until).ok()).unwrap_or(false)
    }

    fn ask(&self, mut socket: Socket, until: Instant) -> io::Result<bool> {
        let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(8));
        socket.watch(poll.registry(), Token(0))?;
        let mut wait = || {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { poll.poll(&mut events, Some(left)) }
        };
        while !socket.is_connected()? {
            wait()?;
        }
        let channel = self.over(socket).map_err(|fault| io::Error::other(fault.detail))?;
        let Channel::Tls(mut tls) = channel else { return Ok(false) };
        while !tls.shake_hands()? {
            wait()?;
        }
        Ok(tls.protocol() == Some(H2))
    }
}
