//! How bytes get to the target and back.
//!
//! A worker knows slots, requests and completions: it asks a [`Transport`] to open a connection or to send a request on a
//! slot, and is told what came of it (`wait`). A transport is one of these drivers: `driver` waits until sockets are ready (epoll,
//! kqueue), `uring` hands operations to the kernel (io_uring), `http2` waits as the first does and has several slots to
//! a connection. They move bytes; what the bytes mean is a [`session`]'s business, which does no I/O.

mod alarm;
mod backend;
mod channel;
mod connection;
mod dial;
mod driver;
pub(super) mod http1;
pub(super) mod http2;
mod nap;
mod negotiate;
mod race;
mod receipt;
mod session;
mod tls;
#[cfg(target_os = "linux")]
mod uring;
mod wait;

use std::io;

pub use backend::Io;
pub use dial::{DialError, Dialer};
pub use driver::Driver;
pub use http2::Usage;
pub use nap::Nap;
pub use session::{Exchange, Request};
pub use wait::{Completion, Reading, Wait};

use std::time::Duration;

use super::clock::{Timestamps, nanos, now_ns};
use crate::bench::record::sample::Phase;

/// The connections of one thread, by slot, whatever moves their bytes.
pub enum Transport {
    /// Sockets that are used when they are ready.
    Ready(Box<Driver>),
    /// The same, with many requests at the same time on a connection.
    Multiplexed(Box<http2::Driver>),
    /// Operations that the kernel does.
    #[cfg(target_os = "linux")]
    Uring(Box<uring::Driver>),
}

/// Calls the same method of whichever driver it is.
macro_rules! either {
    ($transport:expr, $driver:ident => $call:expr) => {
        match $transport {
            Transport::Ready($driver) => $call,
            Transport::Multiplexed($driver) => $call,
            #[cfg(target_os = "linux")]
            Transport::Uring($driver) => $call,
        }
    };
}

impl Transport {
    /// A transport without connections, driven as `io` says. With [`Io::Auto`] that is by io_uring where the kernel
    /// allows it, but for answers that may be read late where the kernel notes when they came: then sockets that are
    /// looked at now and then cost less than operations that complete one by one.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left for what it waits on, or does not allow what was asked for.
    pub fn new(io: Io, dialer: Dialer, reading: Reading) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        match io {
            Io::Auto if reading == Reading::Late && dialer.is_tcp() => {}
            Io::Auto => {
                if let Ok(driver) = uring::Driver::new(dialer.clone()) {
                    return Ok(Self::Uring(Box::new(driver)));
                }
            }
            Io::Uring => {
                let refused = |error: io::Error| io::Error::new(error.kind(), format!("io_uring: {error}"));
                return Ok(Self::Uring(Box::new(uring::Driver::new(dialer).map_err(refused)?)));
            }
            Io::Epoll => {}
        }
        #[cfg(not(target_os = "linux"))]
        let _ = io;
        Ok(Self::Ready(Box::new(Driver::new(dialer, reading)?)))
    }

    /// A transport of HTTP/2, with `streams` slots to a connection, which may take so long to open.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left for what it waits on.
    pub fn multiplexed(dialer: Dialer, streams: usize, connect_timeout: Duration) -> io::Result<Self> {
        Ok(Self::Multiplexed(Box::new(http2::Driver::new(dialer, streams, nanos(connect_timeout))?)))
    }

    /// Its name in results.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready(_) | Self::Multiplexed(_) => driver::IO,
            #[cfg(target_os = "linux")]
            Self::Uring(_) => uring::IO,
        }
    }

    /// Who noted when answers came.
    pub fn timestamps(&self) -> Timestamps {
        match self {
            Self::Ready(driver) if driver.is_noted() => Timestamps::Kernel,
            _ => Timestamps::Process,
        }
    }

    /// Whether the target closes connections that it had said it would keep: then what has come is to be dealt with
    /// before requests are sent.
    pub fn closes_idle(&self) -> bool {
        matches!(self, Self::Ready(driver) if driver.closes_idle())
    }

    /// Waits until something happens; says when the wait was to end. Does not wait while there is something to deal
    /// with: [`Self::next`] gives it.
    ///
    /// # Errors
    ///
    /// What it waits on fails.
    pub fn wait(&mut self, wait: Wait) -> io::Result<u64> {
        either!(self, driver => driver.wait(wait))
    }

    /// Whether it can wait until several things have happened; otherwise every one ends a wait.
    pub fn gathers(&self) -> bool {
        match self {
            Self::Ready(_) | Self::Multiplexed(_) => false,
            #[cfg(target_os = "linux")]
            Self::Uring(_) => true,
        }
    }

    /// The next thing that has happened.
    pub fn next(&mut self) -> Option<Completion> {
        either!(self, driver => driver.next())
    }

    /// Whether a request can be sent on the connection of a slot.
    pub fn is_open(&self, slot: usize) -> bool {
        either!(self, driver => driver.is_open(slot))
    }

    /// Begins a connection.
    pub fn open(&mut self, slot: usize) {
        either!(self, driver => driver.open(slot));
    }

    /// Sends a request on the open connection of a slot.
    pub fn send(&mut self, slot: usize, request: &Request<'_>) {
        either!(self, driver => driver.send(slot, request));
    }

    /// The instant at which a request that is sent now begins (CLOCK_MONOTONIC): now, or when the driver last looked
    /// around, if it notes itself when requests are handed over.
    pub fn sending_at(&self) -> u64 {
        match self {
            Self::Ready(_) | Self::Multiplexed(_) => now_ns(),
            #[cfg(target_os = "linux")]
            Self::Uring(driver) => driver.looked(),
        }
    }

    /// Closes the connection of a slot whatever it is doing; gives how far it was, and what was seen.
    pub fn abort(&mut self, slot: usize) -> (Phase, Exchange) {
        either!(self, driver => driver.abort(slot))
    }

    /// Whether the target allows a request on a slot at present.
    pub fn has_place(&self, slot: usize) -> bool {
        match self {
            Self::Multiplexed(driver) => driver.has_place(slot),
            _ => true,
        }
    }

    /// Whether slots may have a place again that had none, since it was last asked.
    pub fn regained(&mut self) -> bool {
        match self {
            Self::Multiplexed(driver) => driver.regained(),
            _ => false,
        }
    }

    /// What was in use at once at most, and what the target allowed, where a connection has several slots.
    pub fn usage(&self) -> Option<(Usage, Option<usize>)> {
        match self {
            Self::Multiplexed(driver) => Some((driver.peak(), driver.allowed())),
            _ => None,
        }
    }

    /// How often the target sent what nothing asked for.
    pub fn warnings(&self) -> u64 {
        match self {
            Self::Ready(driver) => driver.warnings(),
            // There, it ends the connection.
            Self::Multiplexed(_) => 0,
            #[cfg(target_os = "linux")]
            Self::Uring(driver) => driver.warnings(),
        }
    }
}
