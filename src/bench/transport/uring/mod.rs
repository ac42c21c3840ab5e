//! Moving the bytes of many connections with io_uring (Linux).
//!
//! Every connection has a receive armed for all of its life, so that a request costs one operation, its send, and all
//! that is due is handed over in the call that waits for answers. Instants: a request starts at the call that hands it
//! over, an answer has come when the call that brings it returns.

mod link;
mod pipe;
mod ring;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use self::link::Link;
use self::pipe::Pipe;
use self::ring::{Event, Filled, Ring};
use super::dial::Dialer;
use super::driver::handshake_fault;
use super::session::{Exchange, Request, Session, Step};
use super::wait::{Completion, Wait};
use crate::bench::clock::now_ns;
use crate::bench::record::sample::{Cause, Fault, Phase, Side};

/// The name of this way in results.
pub const IO: &str = "io_uring";

/// Bits of a tag that are the slot; the others tell its successive connections apart.
const SLOT_BITS: u32 = 17;
const GENERATIONS: u64 = 1 << (61 - SLOT_BITS);
/// The longest requests that are sent quietly, in bytes: they fit what a socket takes at once.
const SHORT: usize = 2 * 1024;
/// How many events are dealt with before the worker has its turn.
const EVENTS: usize = 1024;

/// The connections of one thread, by slot.
pub struct Driver {
    // Dropped first: it waits until the kernel needs none of the others.
    ring: Ring,
    dialer: Dialer,
    places: Vec<Place>,
    /// Closed connections of which the kernel has not said its last word, by tag.
    closing: HashMap<u64, Link>,
    /// Slots whose request is handed over with the next call.
    starting: Vec<usize>,
    done: VecDeque<Completion>,
    buffer: Box<[u8]>,
    warnings: u64,
    /// When the kernel was last asked for what has come (CLOCK_MONOTONIC).
    looked: u64,
}

#[derive(Default)]
struct Place {
    generation: u64,
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    #[default]
    Closed,
    Connecting {
        link: Link,
        /// Which of the target's addresses.
        address: usize,
        begun: u64,
    },
    Shaking {
        link: Link,
        begun: u64,
        connect_ns: u64,
    },
    Open {
        link: Link,
        session: Session,
    },
}

/// Whether an error of a send means that nothing more comes than what has come.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

fn tag(slot: usize, generation: u64) -> u64 {
    (generation % GENERATIONS) << SLOT_BITS | slot as u64
}

impl Driver {
    /// A driver without connections.
    ///
    /// # Errors
    ///
    /// The kernel has no io_uring, or an older one, or does not allow it.
    pub fn new(dialer: Dialer) -> io::Result<Self> {
        Ok(Self {
            ring: Ring::new()?,
            dialer,
            places: Vec::new(),
            closing: HashMap::new(),
            starting: Vec::new(),
            done: VecDeque::new(),
            buffer: vec![0; 16 * 1024].into(),
            warnings: 0,
            looked: 0,
        })
    }

    /// See [`super::Transport::wait`].
    ///
    /// # Errors
    ///
    /// The kernel refuses the call.
    pub fn wait(&mut self, wait: Wait) -> io::Result<u64> {
        let now = now_ns();
        self.looked = now;
        if !self.done.is_empty() || self.deal() {
            return Ok(now);
        }
        self.start(now);
        let at = match wait.until() {
            Some(at) if at > now => self.ring.wait(at, now, wait.events())?,
            _ => {
                self.ring.submit()?;
                now
            }
        };
        self.looked = now_ns();
        self.deal();
        Ok(at)
    }

    /// Takes note of when the requests that are handed over now have started.
    fn start(&mut self, now: u64) {
        for slot in self.starting.drain(..) {
            if let Some(Place { stage: Stage::Open { session, .. }, .. }) = self.places.get_mut(slot) {
                session.started(now);
            }
        }
    }

    /// Deals with what the kernel has completed; whether it had.
    fn deal(&mut self) -> bool {
        for dealt in 0..EVENTS {
            match self.ring.next() {
                Some(event) => self.take(event),
                None => return dealt > 0,
            }
        }
        true
    }

    /// When the kernel was last asked for what has come (CLOCK_MONOTONIC).
    pub fn looked(&self) -> u64 {
        self.looked
    }

    /// The next thing that has happened.
    pub fn next(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }

    /// Whether a request can be sent on the connection of a slot.
    pub fn is_open(&self, slot: usize) -> bool {
        matches!(self.places.get(slot), Some(Place { stage: Stage::Open { .. }, .. }))
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
        if self.ring.is_full() {
            self.start(now_ns());
        }
        let Some(Place { generation, stage: Stage::Open { link, session } }) = self.places.get_mut(slot) else {
            return;
        };
        session.begin(request);
        if request.is_constant && request.bytes.len() <= SHORT && link.is_idle() {
            link.quiet = request.bytes.len();
            self.ring.send_quietly(link.socket.as_fd().as_raw_fd(), request.bytes, tag(slot, *generation));
            self.starting.push(slot);
            return;
        }
        match link.put(request.bytes) {
            Ok(is_written) => {
                if is_written {
                    session.wrote(request.bytes.len());
                }
                link.push(&mut self.ring, tag(slot, *generation));
                self.starting.push(slot);
            }
            Err(error) => {
                let fault = Fault::io(Phase::Write, &error);
                self.fail(slot, fault);
            }
        }
    }

    /// Closes the connection of a slot whatever it is doing; gives how far it was, and what was seen.
    pub fn abort(&mut self, slot: usize) -> (Phase, Exchange) {
        self.close(slot)
    }

    /// How often the target sent what nothing asked for.
    pub fn warnings(&self) -> u64 {
        self.warnings
    }

    fn close(&mut self, slot: usize) -> (Phase, Exchange) {
        let Some(place) = self.places.get_mut(slot) else { return (Phase::Connect, Exchange::default()) };
        let tag = tag(slot, place.generation);
        place.generation = place.generation.wrapping_add(1);
        let (link, seen) = match std::mem::take(&mut place.stage) {
            Stage::Closed => return (Phase::Connect, Exchange::default()),
            Stage::Connecting { link, .. } => {
                self.ring.stop_watching(tag);
                (link, (Phase::Connect, Exchange::default()))
            }
            Stage::Shaking { link, .. } => (link, (Phase::Tls, Exchange::default())),
            Stage::Open { mut link, mut session } => {
                link.confirm(&mut session);
                self.warnings += session.warnings();
                (link, (session.phase(), session.exchange()))
            }
        };
        if link.operations > 0 {
            // The kernel holds the socket as long as it has operations of it; both sides learn of the end at once.
            let _ = link.socket.shutdown();
            self.ring.stop_receiving(tag);
            self.closing.insert(tag, link);
        }
        seen
    }

    /// Tries the addresses of the target from this one on.
    fn dial(&mut self, slot: usize, mut address: usize, begun: u64, mut last: Option<Fault>) {
        self.close(slot);
        while let Some(dialed) = self.dialer.connect(address) {
            match dialed {
                Ok(socket) => {
                    let mut link = Link::new(socket);
                    let place = &mut self.places[slot];
                    link.operations += 1;
                    self.ring.watch(link.socket.as_fd().as_raw_fd(), tag(slot, place.generation));
                    place.stage = Stage::Connecting { link, address, begun };
                    return;
                }
                Err(error) => last = Some(Fault::io(Phase::Connect, &error)),
            }
            address += 1;
        }
        let fault =
            last.unwrap_or_else(|| Fault::new(Phase::Dns, Cause::UnknownHost, Side::Network, "no address is known"));
        self.fail(slot, fault);
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Writable { tag } => {
                if let Some(slot) = self.settle(tag) {
                    self.connected(slot);
                }
            }
            Event::Sent { tag, sent, bytes } => {
                if let Some(slot) = self.settle(tag) {
                    self.sent(slot, tag, sent, bytes);
                }
            }
            Event::Received { tag, filled, is_armed } => self.received(tag, filled, is_armed),
            Event::NotSent { tag, error } => {
                if let Some(slot) = self.slot_of(tag)
                    && let Some(link) = self.places[slot].stage.link()
                {
                    link.quiet = 0;
                    self.broke(slot, &error);
                }
            }
        }
    }

    /// Takes note of an operation that has ended; gives its slot unless the connection is closed.
    fn settle(&mut self, tag: u64) -> Option<usize> {
        if let Some(slot) = self.slot_of(tag) {
            if let Some(link) = self.places[slot].stage.link() {
                link.operations -= 1;
            }
            return Some(slot);
        }
        if let Some(link) = self.closing.get_mut(&tag) {
            link.operations -= 1;
            if link.operations == 0 {
                self.closing.remove(&tag);
            }
        }
        None
    }

    fn slot_of(&self, of: u64) -> Option<usize> {
        let slot = (of & ((1 << SLOT_BITS) - 1)) as usize;
        let place = self.places.get(slot)?;
        (tag(slot, place.generation) == of && !matches!(place.stage, Stage::Closed)).then_some(slot)
    }

    fn connected(&mut self, slot: usize) {
        let place = &mut self.places[slot];
        let Stage::Connecting { link, address, begun } = &mut place.stage else { return };
        let tag = tag(slot, place.generation);
        let (address, begun) = (*address, *begun);
        match link.socket.is_connected() {
            Ok(true) => {}
            Ok(false) => {
                link.operations += 1;
                self.ring.watch(link.socket.as_fd().as_raw_fd(), tag);
                return;
            }
            Err(error) => return self.dial(slot, address + 1, begun, Some(Fault::io(Phase::Connect, &error))),
        }
        let now = now_ns();
        let connect_ns = now.saturating_sub(begun);
        if let Err(error) = link.socket.set_nodelay() {
            return self.fail(slot, Fault::io(Phase::Connect, &error));
        }
        link.operations += 1;
        self.ring.receive(link.socket.as_fd().as_raw_fd(), tag);
        let Stage::Connecting { mut link, .. } = std::mem::take(&mut place.stage) else { return };
        match self.dialer.tls(Pipe::default()) {
            None => {
                place.stage = Stage::Open { link, session: self.dialer.session() };
                self.done.push_back(Completion::Opened { slot, connect_ns, tls_ns: None });
            }
            Some(Ok(tls)) => {
                link.tls = Some(Box::new(tls));
                place.stage = Stage::Shaking { link, begun: now, connect_ns };
                self.shake_hands(slot);
            }
            Some(Err(fault)) => {
                place.stage = Stage::Shaking { link, begun: now, connect_ns };
                self.fail(slot, fault);
            }
        }
    }

    fn shake_hands(&mut self, slot: usize) {
        let place = &mut self.places[slot];
        let Stage::Shaking { link, begun, connect_ns } = &mut place.stage else { return };
        let (begun, connect_ns) = (*begun, *connect_ns);
        let Some(tls) = &mut link.tls else { return };
        let shaken = tls.shake_hands();
        link.encrypt();
        link.push(&mut self.ring, tag(slot, place.generation));
        match shaken {
            Ok(false) => {}
            Ok(true) => {
                let Stage::Shaking { link, .. } = std::mem::take(&mut place.stage) else { return };
                place.stage = Stage::Open { link, session: self.dialer.session() };
                let tls_ns = Some(now_ns().saturating_sub(begun));
                self.done.push_back(Completion::Opened { slot, connect_ns, tls_ns });
            }
            Err(error) => self.fail(slot, handshake_fault(&error)),
        }
    }

    fn sent(&mut self, slot: usize, tag: u64, sent: io::Result<usize>, bytes: Vec<u8>) {
        let Some(link) = self.places[slot].stage.link() else { return };
        link.is_sending = false;
        match sent {
            Ok(count) => {
                link.gone += count;
                let is_plain = link.tls.is_none();
                if link.gone < bytes.len() {
                    link.go_on(&mut self.ring, bytes, tag);
                } else {
                    link.spare = bytes;
                    link.push(&mut self.ring, tag);
                }
                if let Stage::Open { session, .. } = &mut self.places[slot].stage
                    && is_plain
                {
                    session.wrote(count);
                }
            }
            // There may be an answer already, and the end of the connection behind it.
            Err(error) if is_end(&error) => {
                let is_part = link.gone > 0;
                match &mut self.places[slot].stage {
                    Stage::Open { link, session } if is_part || session.exchange().written > 0 => {
                        link.broken = Some(error);
                    }
                    _ => self.broke(slot, &error),
                }
            }
            Err(error) => self.broke(slot, &error),
        }
    }

    fn received(&mut self, tag: u64, filled: io::Result<Option<Filled>>, is_armed: bool) {
        let slot = if is_armed { self.slot_of(tag) } else { self.settle(tag) };
        let Some(slot) = slot else {
            if let Ok(Some(filled)) = filled {
                self.ring.give_back(filled);
            }
            return;
        };
        match filled {
            Ok(Some(filled)) => {
                self.arrived(slot, &filled);
                self.ring.give_back(filled);
                if !is_armed {
                    self.arm(slot, tag);
                }
            }
            Ok(None) => self.ended(slot),
            // Every buffer was full at once; they are free again by now.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => self.arm(slot, tag),
            Err(error) => self.broke(slot, &error),
        }
    }

    /// Receives again, unless the connection was closed in the meantime.
    fn arm(&mut self, slot: usize, tag: u64) {
        if self.slot_of(tag) == Some(slot)
            && let Some(link) = self.places[slot].stage.link()
        {
            link.operations += 1;
            self.ring.receive(link.socket.as_fd().as_raw_fd(), tag);
        }
    }

    /// Takes bytes that have come.
    fn arrived(&mut self, slot: usize, filled: &Filled) {
        let now = self.looked;
        match &mut self.places[slot].stage {
            Stage::Open { link: link @ Link { tls: None, .. }, session } => {
                if !session.is_busy() {
                    session.unsolicited();
                    self.close(slot);
                    return;
                }
                link.confirm(session);
                let step = session.received(self.ring.bytes(filled), now);
                // The kernel speaks of a send before it speaks of what answers it: the rest of this one is in the way.
                if link.is_in_the_way() && matches!(step, Step::Answered(_)) {
                    session.spend();
                }
                self.step(slot, step);
            }
            Stage::Open { link, .. } | Stage::Shaking { link, .. } => {
                if let Some(tls) = &mut link.tls {
                    tls.carrier_mut().feed(self.ring.bytes(filled));
                }
                self.decrypt(slot, now);
            }
            Stage::Closed | Stage::Connecting { .. } => {}
        }
    }

    /// Takes what TLS makes of the bytes so far.
    fn decrypt(&mut self, slot: usize, now: u64) {
        if let Stage::Shaking { .. } = self.places[slot].stage {
            self.shake_hands(slot);
        }
        loop {
            let place = &mut self.places[slot];
            let Stage::Open { link: link @ Link { tls: Some(_), .. }, session } = &mut place.stage else { return };
            let read = link.tls.as_mut().map_or(Ok(0), |tls| tls.read(&mut self.buffer));
            let is_in_the_way = link.is_in_the_way();
            link.encrypt();
            link.push(&mut self.ring, tag(slot, place.generation));
            match read {
                Ok(0) if session.is_busy() => {
                    let step = link.ended(session);
                    return self.step(slot, step);
                }
                Ok(count) if session.is_busy() => {
                    let step = session.received(&self.buffer[..count], now);
                    // As without TLS.
                    if is_in_the_way && matches!(step, Step::Answered(_)) {
                        session.spend();
                    }
                    self.step(slot, step);
                }
                Ok(count) => {
                    if count > 0 {
                        session.unsolicited();
                    }
                    self.close(slot);
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.broke(slot, &error),
            }
        }
    }

    fn ended(&mut self, slot: usize) {
        match &mut self.places[slot].stage {
            Stage::Open { link: link @ Link { tls: None, .. }, session } if session.is_busy() => {
                link.confirm(session);
                let step = link.ended(session);
                self.step(slot, step);
            }
            Stage::Open { link: Link { tls: None, .. }, .. } => {
                self.close(slot);
            }
            Stage::Open { link, .. } | Stage::Shaking { link, .. } => {
                if let Some(tls) = &mut link.tls {
                    tls.carrier_mut().is_ended = true;
                }
                self.decrypt(slot, now_ns());
            }
            Stage::Closed | Stage::Connecting { .. } => {}
        }
    }

    fn broke(&mut self, slot: usize, error: &io::Error) {
        match &mut self.places[slot].stage {
            Stage::Open { link, session } if session.is_busy() => {
                link.confirm(session);
                let step = session.broke(error);
                self.step(slot, step);
            }
            Stage::Open { .. } => {
                self.close(slot);
            }
            Stage::Shaking { .. } => self.fail(slot, Fault::io(Phase::Tls, error)),
            Stage::Closed | Stage::Connecting { .. } => {}
        }
    }

    fn step(&mut self, slot: usize, step: Step) {
        match step {
            Step::Wait => {}
            Step::Answered(status) => {
                let Stage::Open { session, .. } = &mut self.places[slot].stage else { return };
                let exchange = session.exchange();
                let answer = session.take_answer();
                if !session.is_reusable() {
                    self.close(slot);
                }
                self.done.push_back(Completion::Answered { slot, status, exchange, answer });
            }
            Step::Failed(fault) => self.fail(slot, fault),
        }
    }

    fn fail(&mut self, slot: usize, fault: Fault) {
        let (status, is_reused) = match self.places.get(slot) {
            Some(Place { stage: Stage::Open { session, .. }, .. }) => (session.status(), session.requests() > 1),
            _ => (None, false),
        };
        let (_, exchange) = self.close(slot);
        self.done.push_back(Completion::Failed { slot, fault, status, exchange, is_reused });
    }
}

impl Stage {
    fn link(&mut self) -> Option<&mut Link> {
        match self {
            Self::Closed => None,
            Self::Connecting { link, .. } | Self::Shaking { link, .. } | Self::Open { link, .. } => Some(link),
        }
    }
}
