//! Moving the bytes of many connections with one event queue (epoll on Linux, kqueue elsewhere).
//!
//! A socket is registered once, for every change. After an answer nothing is left to read until the queue says so
//! again, so that a request costs one write and one read and no call for the queue's sake.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Token};

use super::alarm::Alarm;
use super::channel::{Channel, Socket, Tls};
use super::connection::Connection;
use super::dial::Dialer;
use super::nap::Naps;
use super::receipt::Clocks;
use super::session::{Exchange, Request, Step};
use super::wait::{Completion, Reading, Wait};
use crate::bench::clock::now_ns;
use crate::bench::record::sample::{Cause, Fault, Phase, Side};

/// The name of this way in results.
pub const IO: &str = if cfg!(target_os = "linux") { "epoll" } else { "kqueue" };

const ALARM: Token = Token(usize::MAX);
/// Bits of a token that are the slot; the others tell its successive connections apart.
const SLOT_BITS: u32 = 17;
/// How many events one look takes.
const EVENTS: usize = 1024;
/// What one read takes at most.
const BUFFER: usize = 64 * 1024;
/// How late a sleep may end, in nanoseconds: Linux allows itself 50 µs otherwise. What shares a wake-up is decided by
/// [`Pacing`](crate::bench::schedule::pacing::Pacing).
#[cfg(target_os = "linux")]
const SLACK_NS: nix::libc::c_ulong = 1;
/// The longest answers that may wait to be read, in bytes: a socket has room for several, so that the target is never
/// kept from sending.
const SHORT: u64 = 16 * 1024;

/// The connections of one thread, by slot.
pub struct Driver {
    poll: Poll,
    events: Events,
    alarm: Alarm,
    naps: Naps,
    dialer: Dialer,
    places: Vec<Place>,
    /// What the last look brought, and how much of it is dealt with.
    ready: Vec<Ready>,
    dealt: usize,
    /// Connections that had more to read than fits a turn.
    again: Vec<Ready>,
    /// What happened outside of [`Self::next`].
    done: VecDeque<Completion>,
    buffer: Box<[u8]>,
    warnings: u64,
    reading: Reading,
    /// See [`Self::closes_idle`].
    closes_idle: bool,
    /// Has the kernel note when bytes come even while no connection is open.
    #[cfg(target_os = "linux")]
    _noting: Option<super::receipt::Noting>,
    /// Whether the kernel has noted of all that was read when it came.
    is_noted: bool,
    clocks: Clocks,
    /// How many connections are to be looked at as soon as something happens on them.
    urgent: usize,
}

#[derive(Default)]
struct Place {
    generation: usize,
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    #[default]
    Closed,
    Connecting {
        socket: Socket,
        /// Which of the target's addresses.
        address: usize,
        begun: u64,
    },
    Shaking {
        tls: Box<Tls>,
        begun: u64,
        connect_ns: u64,
    },
    Open(Connection),
}

impl Stage {
    /// Whether it is to be looked at as soon as something happens: what it waits for has no note of the kernel, or the
    /// target waits for it.
    fn is_urgent(&self) -> bool {
        match self {
            Self::Closed => false,
            Self::Connecting { .. } | Self::Shaking { .. } => true,
            Self::Open(connection) => connection.is_urgent(),
        }
    }
}

/// What the queue says of a socket.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// Which.
    pub token: usize,
    /// The other side will send no more.
    pub is_ended: bool,
}

impl From<&Event> for Ready {
    fn from(event: &Event) -> Self {
        Self { token: event.token().0, is_ended: event.is_read_closed() || event.is_error() }
    }
}

fn token(slot: usize, generation: usize) -> usize {
    generation.wrapping_shl(SLOT_BITS) | slot
}

impl Driver {
    /// The most slots.
    pub const MOST_SLOTS: usize = 1 << SLOT_BITS;

    /// A driver without connections.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left for the queue or its alarm.
    pub fn new(dialer: Dialer, reading: Reading) -> io::Result<Self> {
        // What is refused stays as the parent of this process has it.
        #[cfg(target_os = "linux")]
        let _ = nix::sys::prctl::set_timerslack(SLACK_NS);
        let poll = Poll::new()?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        Ok(Self {
            poll,
            alarm,
            naps: Naps::new()?,
            dialer,
            events: Events::with_capacity(EVENTS),
            places: Vec::new(),
            ready: Vec::with_capacity(EVENTS),
            dealt: 0,
            again: Vec::new(),
            done: VecDeque::new(),
            buffer: vec![0; BUFFER].into(),
            warnings: 0,
            reading,
            closes_idle: false,
            #[cfg(target_os = "linux")]
            _noting: (reading == Reading::Late).then(super::receipt::Noting::begin).and_then(io::Result::ok),
            is_noted: reading == Reading::Late,
            clocks: Clocks::default(),
            urgent: 0,
        })
    }

    /// Waits until something happens; says when the wait was to end. Does not wait while there is something to deal
    /// with: [`Self::next`] gives it.
    ///
    /// # Errors
    ///
    /// The queue or its alarm fails.
    pub fn wait(&mut self, wait: Wait) -> io::Result<u64> {
        let now = now_ns();
        if self.dealt < self.ready.len() || !self.done.is_empty() {
            return Ok(now);
        }
        let (at, limit) = match wait {
            _ if !self.again.is_empty() => (now, Some(Duration::ZERO)),
            Wait::Through(nap) | Wait::Past(nap)
                if nap.until > now && self.urgent == 0 && self.reading == Reading::Late =>
            {
                self.naps.sleep(nap, now)?;
                if wait == Wait::Past(nap) {
                    return Ok(nap.until);
                }
                (nap.until, Some(Duration::ZERO))
            }
            _ => match wait.until() {
                Some(at) => self.alarm.set(at, now)?,
                None => (now, Some(Duration::ZERO)),
            },
        };
        self.ready.clear();
        self.dealt = 0;
        match self.poll.poll(&mut self.events, limit) {
            Ok(()) => self.ready.extend(self.events.iter().filter(|e| e.token() != ALARM).map(Ready::from)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        self.ready.append(&mut self.again);
        if self.is_noted {
            self.clocks.look();
        }
        Ok(at)
    }

    /// The next thing that has happened.
    pub fn next(&mut self) -> Option<Completion> {
        loop {
            if let Some(done) = self.done.pop_front() {
                return Some(done);
            }
            let ready = *self.ready.get(self.dealt)?;
            self.dealt += 1;
            if let Some(done) = self.advance(ready) {
                return Some(done);
            }
        }
    }

    /// Whether a request can be sent on the connection of a slot.
    pub fn is_open(&self, slot: usize) -> bool {
        matches!(self.places.get(slot), Some(Place { stage: Stage::Open(_), .. }))
    }

    /// Begins a connection.
    pub fn open(&mut self, slot: usize) {
        if self.places.len() <= slot {
            self.places.resize_with(slot + 1, Place::default);
        }
        self.dial(slot, 0, now_ns(), None);
    }

    /// Sends a request on the open connection of a slot.
    pub fn send(&mut self, slot: usize, request: &Request<'_>) {
        let Some(Place { stage: Stage::Open(connection), .. }) = self.places.get_mut(slot) else { return };
        let step = connection.send(request);
        self.urgent += usize::from(connection.is_urgent());
        if let Step::Failed(fault) = step {
            if connection.session.requests() > 1 {
                self.has_closed_idle();
            }
            let failed = self.failed(slot, fault);
            self.done.push_back(failed);
        }
    }

    /// Closes the connection of a slot whatever it is doing; gives how far it was, and what was seen.
    pub fn abort(&mut self, slot: usize) -> (Phase, Exchange) {
        match self.close(slot) {
            Stage::Closed | Stage::Connecting { .. } => (Phase::Connect, Exchange::default()),
            Stage::Shaking { .. } => (Phase::Tls, Exchange::default()),
            Stage::Open(connection) => (connection.session.phase(), connection.session.exchange()),
        }
    }

    /// How often the target sent what nothing asked for.
    pub fn warnings(&self) -> u64 {
        self.warnings
    }

    /// Whether the target has closed a connection that it had said it would keep: from then on answers are read as
    /// soon as they come, and before requests are sent, so that what is closed is not sent on.
    pub fn closes_idle(&self) -> bool {
        self.closes_idle
    }

    fn has_closed_idle(&mut self) {
        self.closes_idle = true;
        self.reading = Reading::AtOnce;
    }

    /// Whether the kernel has noted of all that was read when it came.
    pub fn is_noted(&self) -> bool {
        self.is_noted
    }

    /// Takes the connection of a slot out. What the queue still says of it is of no interest.
    fn close(&mut self, slot: usize) -> Stage {
        let Some(place) = self.places.get_mut(slot) else { return Stage::Closed };
        place.generation = place.generation.wrapping_add(1);
        let stage = self.take(slot);
        if let Stage::Open(connection) = &stage {
            self.warnings += connection.session.warnings();
        }
        stage
    }

    fn take(&mut self, slot: usize) -> Stage {
        let stage = self.places.get_mut(slot).map(|place| std::mem::take(&mut place.stage)).unwrap_or_default();
        self.urgent -= usize::from(stage.is_urgent());
        stage
    }

    fn put(&mut self, slot: usize, stage: Stage) {
        self.urgent += usize::from(stage.is_urgent());
        self.places[slot].stage = stage;
    }

    /// Tries the addresses of the target from this one on.
    fn dial(&mut self, slot: usize, mut address: usize, begun: u64, mut last: Option<Fault>) {
        self.close(slot);
        let token = Token(token(slot, self.places[slot].generation));
        while let Some(dialed) = self.dialer.connect(address) {
            let noted = |socket: Socket| if self.is_noted { socket.noted() } else { socket };
            let watched =
                dialed.map(noted).and_then(|mut socket| socket.watch(self.poll.registry(), token).map(|()| socket));
            match watched {
                Ok(socket) => {
                    self.put(slot, Stage::Connecting { socket, address, begun });
                    return;
                }
                Err(error) => last = Some(Fault::io(Phase::Connect, &error)),
            }
            address += 1;
        }
        let fault =
            last.unwrap_or_else(|| Fault::new(Phase::Dns, Cause::UnknownHost, Side::Network, "no address is known"));
        let failed = self.failed(slot, fault);
        self.done.push_back(failed);
    }

    fn advance(&mut self, ready: Ready) -> Option<Completion> {
        let slot = ready.token & (Self::MOST_SLOTS - 1);
        let place = self.places.get_mut(slot)?;
        if token(slot, place.generation) != ready.token {
            return None;
        }
        let Stage::Open(connection) = &mut place.stage else { return self.establish(slot) };
        if !connection.session.is_busy() {
            if connection.is_idle(&mut self.buffer) {
                return None;
            }
            self.close(slot);
            self.has_closed_idle();
            return None;
        }
        self.urgent -= usize::from(connection.is_urgent());
        let advanced = connection.advance(&mut self.buffer, ready.is_ended, &self.clocks);
        self.urgent += usize::from(connection.is_urgent());
        let read = connection.session.exchange().read;
        self.is_noted &= read == 0 || connection.channel.came().is_some();
        if read > SHORT || !self.is_noted {
            self.reading = Reading::AtOnce;
        }
        match advanced {
            None => {
                self.again.push(ready);
                None
            }
            Some(Step::Wait) => None,
            Some(Step::Answered(status)) => {
                let exchange = connection.session.exchange();
                let answer = connection.session.take_answer();
                if !connection.session.is_reusable() {
                    self.close(slot);
                }
                Some(Completion::Answered { slot, status, exchange, answer })
            }
            Some(Step::Failed(fault)) => {
                if read == 0 && connection.session.requests() > 1 {
                    self.has_closed_idle();
                }
                Some(self.failed(slot, fault))
            }
        }
    }

    fn failed(&mut self, slot: usize, fault: Fault) -> Completion {
        match self.close(slot) {
            Stage::Open(Connection { session, .. }) => Completion::Failed {
                slot,
                fault,
                status: session.status(),
                exchange: session.exchange(),
                is_reused: session.requests() > 1,
            },
            Stage::Closed | Stage::Connecting { .. } | Stage::Shaking { .. } => {
                Completion::Failed { slot, fault, status: None, exchange: Exchange::default(), is_reused: false }
            }
        }
    }

    /// Takes a connection a step further on its way to being open.
    fn establish(&mut self, slot: usize) -> Option<Completion> {
        match self.take(slot) {
            Stage::Connecting { mut socket, address, begun } => match socket.is_connected() {
                Ok(false) => {
                    self.put(slot, Stage::Connecting { socket, address, begun });
                    None
                }
                Ok(true) => self.connected(slot, socket, begun),
                Err(error) => {
                    drop(socket);
                    self.dial(slot, address + 1, begun, Some(Fault::io(Phase::Connect, &error)));
                    None
                }
            },
            Stage::Shaking { tls, begun, connect_ns } => self.shake_hands(slot, tls, begun, connect_ns),
            Stage::Closed | Stage::Open(_) => None,
        }
    }

    fn connected(&mut self, slot: usize, socket: Socket, begun: u64) -> Option<Completion> {
        let now = now_ns();
        let connect_ns = now.saturating_sub(begun);
        if let Err(error) = socket.set_nodelay() {
            return Some(self.failed(slot, Fault::io(Phase::Connect, &error)));
        }
        match self.dialer.over(socket) {
            Ok(channel @ Channel::Plain(_)) => Some(self.opened(slot, channel, connect_ns, None)),
            Ok(Channel::Tls(tls)) => self.shake_hands(slot, tls, now, connect_ns),
            Err(fault) => Some(self.failed(slot, fault)),
        }
    }

    fn shake_hands(&mut self, slot: usize, mut tls: Box<Tls>, begun: u64, connect_ns: u64) -> Option<Completion> {
        match tls.shake_hands() {
            Ok(false) => {
                self.put(slot, Stage::Shaking { tls, begun, connect_ns });
                None
            }
            Ok(true) => {
                let tls_ns = now_ns().saturating_sub(begun);
                Some(self.opened(slot, Channel::Tls(tls), connect_ns, Some(tls_ns)))
            }
            Err(error) => Some(self.failed(slot, handshake_fault(&error))),
        }
    }

    fn opened(&mut self, slot: usize, channel: Channel, connect_ns: u64, tls_ns: Option<u64>) -> Completion {
        self.put(slot, Stage::Open(Connection::new(channel, self.dialer.session())));
        Completion::Opened { slot, connect_ns, tls_ns }
    }
}

/// What a TLS handshake that failed comes to.
pub fn handshake_fault(error: &io::Error) -> Fault {
    if error.get_ref().is_some_and(|e| e.is::<rustls::Error>()) {
        // The checker of certificates has no words of its own for this, and it is what OpenSSL makes unless told otherwise.
        let is_authority = error.to_string().contains("CaUsedAsEndEntity");
        let words = if is_authority {
            "the target's certificate is that of an authority (CA:TRUE), not of a server (CA:FALSE)".to_owned()
        } else {
            error.to_string()
        };
        Fault::new(Phase::Tls, Cause::Handshake, Side::Server, words)
    } else {
        Fault::io(Phase::Tls, error)
    }
}

#[cfg(test)]
mod tests;
