//! Moving the bytes of HTTP/2 connections with one event queue.
//!
//! What is sent is queued, and written once for each connection: before the next event is looked at, and before the
//! wait. So the requests that follow the answers of one read share one write.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use rustls::AlertDescription;

use mio::{Events, Poll, Token};

use super::connection::Connection;
use super::request::Encoder;
use super::session::Session;
use crate::bench::clock::now_ns;
use crate::bench::record::sample::{Cause, Fault, Phase, Side};
use crate::bench::transport::alarm::Alarm;
use crate::bench::transport::channel::{Channel, Socket, Tls};
use crate::bench::transport::dial::Dialer;
use crate::bench::transport::driver::{Ready, handshake_fault};
use crate::bench::transport::negotiate::H2;
use crate::bench::transport::session::{Exchange, Request};
use crate::bench::transport::wait::{Completion, Wait};

const ALARM: Token = Token(usize::MAX);
/// Bits of a token that are the connection; the others tell those that follow one another in a place apart.
const LINK_BITS: u32 = 20;
/// How many events one look takes.
const EVENTS: usize = 1024;
/// What one read takes at most.
const BUFFER: usize = 64 * 1024;

/// The connections of one thread; a slot is the place of a stream.
pub struct Driver {
    poll: Poll,
    events: Events,
    alarm: Alarm,
    dialer: Dialer,
    encoder: Encoder,
    /// How many slots share a connection.
    streams: usize,
    /// How long a connection may take until it is open, in nanoseconds.
    connect_timeout_ns: u64,
    slots: Vec<Slot>,
    /// The connection that new requests of so many slots go to.
    current: Vec<Option<usize>>,
    links: Vec<Link>,
    unused: Vec<usize>,
    /// What the last look brought, and how much of it is dealt with.
    ready: Vec<Ready>,
    dealt: usize,
    /// Connections that had more to read than fits a turn.
    again: Vec<Ready>,
    /// Connections with something to write.
    dirty: Vec<usize>,
    done: VecDeque<Completion>,
    buffer: Box<[u8]>,
    /// The fewest streams that the target allowed at the same time.
    allowed: usize,
    has_more_room: bool,
    busy: Usage,
    peak: Usage,
}

/// How many are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Connections with a request on them.
    pub connections: usize,
    /// Requests.
    pub streams: usize,
}

/// Where the request of a slot is.
#[derive(Debug, Clone, Copy, Default)]
enum Slot {
    #[default]
    Free,
    /// Waits for this connection.
    Waiting(usize),
    On {
        link: usize,
        place: usize,
        stream: u32,
    },
}

#[derive(Default)]
struct Link {
    generation: usize,
    /// Which slots it is for.
    group: usize,
    /// When it was begun (CLOCK_MONOTONIC).
    begun: u64,
    stage: Stage,
    /// Slots that it was opened for, or for which it has no room.
    waiting: VecDeque<usize>,
    is_dirty: bool,
}

#[derive(Default)]
enum Stage {
    #[default]
    Closed,
    Connecting {
        socket: Socket,
        /// Which of the target's addresses.
        address: usize,
    },
    Shaking {
        tls: Box<Tls>,
        begun: u64,
        connect_ns: u64,
    },
    /// Connected; open once the target has sent its settings.
    Up(Box<Connection>),
}

fn token(link: usize, generation: usize) -> usize {
    generation.wrapping_shl(LINK_BITS) | link
}

impl Driver {
    /// A driver without connections, each of which has `streams` slots, and may take so many nanoseconds to open.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left for the queue or its alarm.
    pub fn new(dialer: Dialer, streams: usize, connect_timeout_ns: u64) -> io::Result<Self> {
        let poll = Poll::new()?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        Ok(Self {
            poll,
            alarm,
            encoder: Encoder::new(dialer.is_tls()),
            dialer,
            streams: streams.max(1),
            connect_timeout_ns,
            events: Events::with_capacity(EVENTS),
            slots: Vec::new(),
            current: Vec::new(),
            links: Vec::new(),
            unused: Vec::new(),
            ready: Vec::with_capacity(EVENTS),
            dealt: 0,
            again: Vec::new(),
            dirty: Vec::new(),
            done: VecDeque::new(),
            buffer: vec![0; BUFFER].into(),
            allowed: usize::MAX,
            has_more_room: false,
            busy: Usage::default(),
            peak: Usage::default(),
        })
    }

    /// See [`crate::bench::transport::Transport::wait`].
    ///
    /// # Errors
    ///
    /// The queue or its alarm fails.
    pub fn wait(&mut self, wait: Wait) -> io::Result<u64> {
        self.flush();
        let now = now_ns();
        if self.dealt < self.ready.len() || !self.done.is_empty() {
            return Ok(now);
        }
        let (at, limit) = match wait.until() {
            Some(at) if self.again.is_empty() => self.alarm.set(at, now)?,
            _ => (now, Some(Duration::ZERO)),
        };
        self.ready.clear();
        self.dealt = 0;
        match self.poll.poll(&mut self.events, limit) {
            Ok(()) => self.ready.extend(self.events.iter().filter(|e| e.token() != ALARM).map(Ready::from)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        self.ready.append(&mut self.again);
        Ok(at)
    }

    /// The next thing that has happened.
    pub fn next(&mut self) -> Option<Completion> {
        loop {
            if let Some(done) = self.done.pop_front() {
                return Some(done);
            }
            self.flush();
            if self.done.is_empty() {
                let ready = *self.ready.get(self.dealt)?;
                self.dealt += 1;
                self.advance(ready);
            }
        }
    }

    /// Whether a request can be sent on the connection of a slot.
    pub fn is_open(&self, slot: usize) -> bool {
        self.open_link(slot).is_some()
    }

    /// Whether the target allows a request on a slot at present.
    pub fn has_place(&self, slot: usize) -> bool {
        let place = slot % self.streams;
        let link = self.open_link(slot).and_then(|link| match &self.links[link].stage {
            Stage::Up(up) => Some(&up.session),
            _ => None,
        });
        match link {
            Some(session) => place < session.allowed() && !session.is_overfull(),
            None => place < self.allowed,
        }
    }

    /// Whether slots may have a place again that had none, since it was last asked.
    pub fn regained(&mut self) -> bool {
        std::mem::take(&mut self.has_more_room)
    }

    /// The most that were in use at once.
    pub fn peak(&self) -> Usage {
        self.peak
    }

    /// The fewest streams that the target allowed on a connection; `None` if it did not say.
    pub fn allowed(&self) -> Option<usize> {
        (self.allowed < usize::MAX).then_some(self.allowed)
    }

    fn open_link(&self, slot: usize) -> Option<usize> {
        let link = (*self.current.get(slot / self.streams)?)?;
        matches!(&self.links[link].stage, Stage::Up(up) if up.is_open).then_some(link)
    }

    /// Begins a connection for a slot, or has it wait for the one that others of its slots have begun.
    pub fn open(&mut self, slot: usize) {
        let group = slot / self.streams;
        if self.current.len() <= group {
            self.current.resize(group + 1, None);
        }
        self.room_for(slot);
        if let Some(link) = self.current[group] {
            if matches!(&self.links[link].stage, Stage::Up(up) if up.is_open) {
                self.done.push_back(Completion::Joined { slot });
            } else {
                self.slots[slot] = Slot::Waiting(link);
                self.links[link].waiting.push_back(slot);
            }
            return;
        }
        let link = self.unused.pop().unwrap_or_else(|| {
            self.links.push(Link::default());
            self.links.len() - 1
        });
        self.links[link].group = group;
        self.links[link].begun = now_ns();
        self.links[link].waiting.push_back(slot);
        self.slots[slot] = Slot::Waiting(link);
        self.current[group] = Some(link);
        self.dial(link, 0, None);
    }

    fn room_for(&mut self, slot: usize) {
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, Slot::Free);
        }
    }

    /// Queues a request on the open connection of a slot.
    pub fn send(&mut self, slot: usize, request: &Request<'_>) {
        let Some(link) = self.open_link(slot) else { return self.open(slot) };
        self.room_for(slot);
        let Link { stage: Stage::Up(up), waiting, .. } = &mut self.links[link] else { return };
        if up.session.is_full() {
            waiting.push_back(slot);
            self.slots[slot] = Slot::Waiting(link);
            return;
        }
        let before = up.session.active();
        let (place, stream) = up.session.send(slot, request, self.encoder.block(&request.bytes[..request.head]));
        let after = up.session.active();
        self.slots[slot] = Slot::On { link, place, stream };
        self.used(before, after);
        self.soil(link);
        self.settle(link);
    }

    /// Ends the request of a slot whatever it is doing; gives how far it was, and what was seen. Its connection stays.
    pub fn abort(&mut self, slot: usize) -> (Phase, Exchange) {
        let at = self.slots.get_mut(slot).map(std::mem::take).unwrap_or_default();
        // What was not told yet is not to be taken for what comes after.
        self.done.retain(|done| done.slot() != slot);
        match at {
            Slot::Free => (Phase::Connect, Exchange::default()),
            Slot::Waiting(link) => {
                let phase = match &self.links[link].stage {
                    Stage::Closed | Stage::Connecting { .. } => Phase::Connect,
                    Stage::Shaking { .. } => Phase::Tls,
                    Stage::Up(up) if up.is_open => Phase::Write,
                    Stage::Up(_) => Phase::Protocol,
                };
                self.links[link].waiting.retain(|waiting| *waiting != slot);
                let is_open = matches!(&self.links[link].stage, Stage::Up(up) if up.is_open);
                let age_ns = now_ns().saturating_sub(self.links[link].begun);
                if !is_open && (self.links[link].waiting.is_empty() || age_ns >= self.connect_timeout_ns) {
                    // Those who came later have time left, for another one.
                    let waiting = std::mem::take(&mut self.links[link].waiting);
                    self.close(link);
                    waiting.into_iter().for_each(|slot| self.open(slot));
                }
                (phase, Exchange::default())
            }
            Slot::On { link, place, stream } => {
                let Stage::Up(up) = &mut self.links[link].stage else { return (Phase::Head, Exchange::default()) };
                let before = up.session.active();
                let aborted = up.session.abort(place, stream);
                let after = up.session.active();
                self.used(before, after);
                self.soil(link);
                self.settle(link);
                aborted
            }
        }
    }

    /// Takes note of how many requests a connection had, and has.
    fn used(&mut self, before: usize, after: usize) {
        self.busy.streams = (self.busy.streams + after).saturating_sub(before);
        let is_busy = |active| usize::from(active > 0);
        self.busy.connections = (self.busy.connections + is_busy(after)).saturating_sub(is_busy(before));
        self.peak.streams = self.peak.streams.max(self.busy.streams);
        self.peak.connections = self.peak.connections.max(self.busy.connections);
    }

    /// Takes note that a connection has something to write.
    fn soil(&mut self, link: usize) {
        if !std::mem::replace(&mut self.links[link].is_dirty, true) {
            self.dirty.push(link);
        }
    }

    /// Writes what is queued.
    fn flush(&mut self) {
        while let Some(link) = self.dirty.pop() {
            self.links[link].is_dirty = false;
            if let Stage::Up(up) = &mut self.links[link].stage
                && let Err(error) = up.flush()
            {
                let before = up.session.active();
                let fault = up.salvage(&error, &mut self.buffer, &mut self.done);
                let after = up.session.active();
                self.used(before, after);
                self.fail(link, fault);
            }
        }
    }

    /// Takes a connection out. What the queue still says of it is of no interest.
    fn close(&mut self, link: usize) -> Stage {
        let place = &mut self.links[link];
        place.generation = place.generation.wrapping_add(1);
        let group = place.group;
        let stage = std::mem::take(&mut place.stage);
        if let Some(current) = self.current.get_mut(group)
            && *current == Some(link)
        {
            *current = None;
        }
        self.unused.push(link);
        stage
    }

    /// Ends a connection, and what was under way on it.
    fn fail(&mut self, link: usize, fault: Fault) {
        let waiting = std::mem::take(&mut self.links[link].waiting);
        if let Stage::Up(mut up) = self.close(link) {
            let before = up.session.active();
            up.session.fail_all(&fault, &mut self.done);
            self.used(before, 0);
        }
        for slot in waiting {
            self.slots[slot] = Slot::Free;
            let (fault, exchange) = (fault.clone(), Exchange::default());
            self.done.push_back(Completion::Failed { slot, fault, status: None, exchange, is_reused: false });
        }
    }

    /// Tries the addresses of the target from this one on.
    fn dial(&mut self, link: usize, mut address: usize, mut last: Option<Fault>) {
        let place = &mut self.links[link];
        place.generation = place.generation.wrapping_add(1);
        let token = Token(token(link, place.generation));
        while let Some(dialed) = self.dialer.connect(address) {
            let watched = dialed.and_then(|mut socket| socket.watch(self.poll.registry(), token).map(|()| socket));
            match watched {
                Ok(socket) => {
                    self.links[link].stage = Stage::Connecting { socket, address };
                    return;
                }
                Err(error) => last = Some(Fault::io(Phase::Connect, &error)),
            }
            address += 1;
        }
        let unknown = || Fault::new(Phase::Dns, Cause::UnknownHost, Side::Network, "no address is known");
        self.fail(link, last.unwrap_or_else(unknown));
    }

    fn advance(&mut self, ready: Ready) {
        let link = ready.token & ((1 << LINK_BITS) - 1);
        let Some(place) = self.links.get_mut(link) else { return };
        if token(link, place.generation) != ready.token {
            return;
        }
        let Stage::Up(up) = &mut place.stage else { return self.establish(link) };
        let before = up.session.active();
        let read = up.advance(&mut self.buffer, ready.is_ended, &mut self.done);
        let after = up.session.active();
        self.used(before, after);
        match read {
            Ok(is_all) => {
                if !is_all {
                    self.again.push(ready);
                }
                self.settle(link);
            }
            Err(fault) => self.fail(link, fault),
        }
    }

    /// Acts on what the session of a connection has come to.
    fn settle(&mut self, link: usize) {
        let Link { stage: Stage::Up(up), waiting, group, .. } = &mut self.links[link] else { return };
        if !up.is_open && up.session.is_greeted() {
            up.is_open = true;
            self.has_more_room = true;
            if let Some(slot) = waiting.pop_front() {
                self.slots[slot] = Slot::Free;
                let (connect_ns, tls_ns) = (up.connect_ns, up.tls_ns);
                self.done.push_back(Completion::Opened { slot, connect_ns, tls_ns });
            }
        }
        if up.is_open {
            self.allowed = self.allowed.min(up.session.allowed());
            self.has_more_room |= up.session.regained();
            let room = up.session.allowed().saturating_sub(up.session.active());
            for slot in waiting.drain(..room.min(waiting.len())) {
                self.slots[slot] = Slot::Free;
                self.done.push_back(Completion::Joined { slot });
            }
        }
        let has_outgoing = !up.session.outgoing().is_empty();
        let (is_draining, active, group) = (up.session.is_draining(), up.session.active(), *group);
        if is_draining {
            if self.current[group] == Some(link) {
                self.current[group] = None;
            }
            // They go to the next one.
            for slot in std::mem::take(waiting) {
                self.slots[slot] = Slot::Free;
                self.done.push_back(Completion::Joined { slot });
            }
            if active == 0 {
                self.close(link);
                return;
            }
        }
        if has_outgoing {
            self.soil(link);
        }
    }

    /// Takes a connection a step further on its way to being open.
    fn establish(&mut self, link: usize) {
        match std::mem::take(&mut self.links[link].stage) {
            Stage::Connecting { mut socket, address } => match socket.is_connected() {
                Ok(false) => self.links[link].stage = Stage::Connecting { socket, address },
                Ok(true) => self.connected(link, socket),
                Err(error) => {
                    drop(socket);
                    self.dial(link, address + 1, Some(Fault::io(Phase::Connect, &error)));
                }
            },
            Stage::Shaking { tls, begun, connect_ns } => self.shake_hands(link, tls, begun, connect_ns),
            Stage::Closed | Stage::Up(_) => {}
        }
    }

    fn connected(&mut self, link: usize, socket: Socket) {
        let now = now_ns();
        let connect_ns = now.saturating_sub(self.links[link].begun);
        if let Err(error) = socket.set_nodelay() {
            return self.fail(link, Fault::io(Phase::Connect, &error));
        }
        match self.dialer.over(socket) {
            Ok(channel @ Channel::Plain(_)) => self.greet(link, channel, connect_ns, None),
            Ok(Channel::Tls(tls)) => self.shake_hands(link, tls, now, connect_ns),
            Err(fault) => self.fail(link, fault),
        }
    }

    fn shake_hands(&mut self, link: usize, mut tls: Box<Tls>, begun: u64, connect_ns: u64) {
        match tls.shake_hands() {
            Ok(false) => self.links[link].stage = Stage::Shaking { tls, begun, connect_ns },
            Ok(true) if tls.protocol() != Some(H2) => self.fail(link, not_offered()),
            Ok(true) => {
                let tls_ns = now_ns().saturating_sub(begun);
                self.greet(link, Channel::Tls(tls), connect_ns, Some(tls_ns));
            }
            Err(error) if is_refusal_of_protocol(&error) => self.fail(link, not_offered()),
            Err(error) => self.fail(link, handshake_fault(&error)),
        }
    }

    /// Sends the settings; the connection is open when those of the target are there.
    fn greet(&mut self, link: usize, channel: Channel, connect_ns: u64, tls_ns: Option<u64>) {
        let session = Session::for_at_most(self.dialer.most_requests());
        let up = Connection { channel, session, connect_ns, tls_ns, is_open: false };
        self.links[link].stage = Stage::Up(Box::new(up));
        self.soil(link);
        // What came with the last step of TLS is no event of its own.
        let generation = self.links[link].generation;
        self.again.push(Ready { token: token(link, generation), is_ended: false });
    }
}

fn not_offered() -> Fault {
    Fault::new(Phase::Protocol, Cause::Handshake, Side::Server, "the target does not offer HTTP/2")
}

/// Whether the target ended the handshake because it does not speak what was offered (RFC 7301, 3.2).
fn is_refusal_of_protocol(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)))
}
