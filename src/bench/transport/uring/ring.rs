//! The submission and completion rings of one thread, with what the kernel reads from and writes to.
//!
//! All `unsafe` code of the crate is here. The rule that makes it sound: memory that the kernel was told of belongs to the
//! [`Ring`] until the kernel has said that it is done with it. What is sent is moved in and moved out again with its
//! completion; what is received stands in buffers of the ring; and a ring that is dropped first cancels what is under
//! way and waits for the kernel's last word.
#![expect(unsafe_code, reason = "the kernel is given addresses of memory")]

use std::alloc::{self, Layout};
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, TimeoutFlags, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use nix::libc;

/// How many operations are handed over at once; more make another call.
const SUBMISSIONS: u32 = 1024;
/// How many completions fit before the kernel keeps them for later.
const COMPLETIONS: u32 = 16 * 1024;
/// How many buffers there are to receive into. Each is given back as soon as it was looked at.
const BUFFERS: u16 = 1024;
/// Bytes of each.
const BUFFER: usize = 4 * 1024;
/// The name of the group of buffers.
const GROUP: u16 = 0;
/// How long after its alarm a wait for several ends that has missed it, in nanoseconds.
const LATER_NS: u64 = 1_000_000;
/// Bits of the kernel's `user_data` that tell operations apart; the others are the caller's tag.
const KIND_SHIFT: u32 = 61;
const TAG: u64 = (1 << KIND_SHIFT) - 1;
const POLL: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
/// What nobody wants to hear of: cancellations, the alarm.
const UNSPOKEN: u64 = 3;
/// A send of which the kernel tells only that it has failed.
const QUIET_SEND: u64 = 4;

/// What has come of an operation.
#[derive(Debug)]
pub enum Event {
    /// A socket can be written to, or has failed.
    Writable {
        /// The caller's.
        tag: u64,
    },
    /// Bytes, the end of the stream, or a failure.
    Received {
        /// The caller's.
        tag: u64,
        /// The bytes; without any: the end.
        filled: io::Result<Option<Filled>>,
        /// Whether more will be said without being asked.
        is_armed: bool,
    },
    /// Bytes were sent, perhaps not all.
    Sent {
        /// The caller's.
        tag: u64,
        /// How many.
        sent: io::Result<usize>,
        /// What was to be sent.
        bytes: Vec<u8>,
    },
    /// A quiet send has failed.
    NotSent {
        /// The caller's.
        tag: u64,
        /// Why.
        error: io::Error,
    },
}

/// A buffer of the ring with received bytes in it: look at them with [`Ring::bytes`], then give it back.
#[derive(Debug)]
pub struct Filled {
    buffer: u16,
    length: usize,
}

/// The rings.
pub struct Ring {
    uring: IoUring,
    buffers: Buffers,
    /// What is being sent, by the index that the kernel was given.
    sending: Vec<(u64, Vec<u8>)>,
    vacant: Vec<usize>,
    /// What quiet sends send, with the address that it has at the caller's, by which it is found: kept until the ring
    /// ends, as nothing says when the kernel is done with it.
    kept: Vec<(usize, Box<[u8]>)>,
    /// Operations that did not fit.
    backlog: VecDeque<squeue::Entry>,
    /// How many operations, but for quiet sends, the kernel has not said its last word on.
    outstanding: usize,
    events: VecDeque<cqueue::Entry>,
    /// When the alarm goes off (CLOCK_MONOTONIC); 0 if it is not set.
    alarm_ns: u64,
    /// The same for the kernel, which reads it at the next call.
    alarm: Box<Timespec>,
}

impl Ring {
    /// Rings that belong to this thread.
    ///
    /// # Errors
    ///
    /// The kernel has no io_uring, or an older one, or does not allow it.
    pub fn new() -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_cqsize(COMPLETIONS)
            .setup_submit_all()
            .setup_single_issuer()
            // Completions are made when this thread asks for them, and interrupt nothing.
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(SUBMISSIONS)?;
        if !uring.params().is_feature_nodrop() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut ring = Self {
            buffers: Buffers::new(),
            uring,
            sending: Vec::new(),
            vacant: Vec::new(),
            kept: Vec::new(),
            backlog: VecDeque::new(),
            outstanding: 0,
            events: VecDeque::new(),
            alarm_ns: 0,
            alarm: Box::default(),
        };
        ring.buffers.register(&ring.uring)?;
        // A shorter way into the kernel; older ones have none.
        let _ = ring.uring.submitter().register_ring_fd();
        Ok(ring)
    }

    /// Whether the next operation makes the kernel take all of them.
    pub fn is_full(&mut self) -> bool {
        self.uring.submission().is_full()
    }

    /// Waits until a socket can be written to: until its connection is made.
    pub fn watch(&mut self, socket: RawFd, tag: u64) {
        let events = libc::POLLOUT.cast_unsigned();
        self.push(opcode::PollAdd::new(Fd(socket), events.into()).build(), POLL, tag);
    }

    /// Receives from a socket until its end.
    pub fn receive(&mut self, socket: RawFd, tag: u64) {
        self.push(opcode::RecvMulti::new(Fd(socket), GROUP).build(), RECEIVE, tag);
    }

    /// Sends `bytes` from the one of this index on.
    pub fn send(&mut self, socket: RawFd, bytes: Vec<u8>, from: usize, tag: u64) {
        let rest = bytes.get(from..).unwrap_or_default();
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        // The heap part of a Vec stays where it is when the Vec is moved.
        let operation = opcode::Send::new(Fd(socket), rest.as_ptr(), length).flags(libc::MSG_NOSIGNAL).build();
        let index = match self.vacant.pop() {
            Some(index) => {
                self.sending[index] = (tag, bytes);
                index
            }
            None => {
                self.sending.push((tag, bytes));
                self.sending.len() - 1
            }
        };
        self.push(operation, SEND, index as u64);
    }

    /// Sends all of `bytes`, and tells of it only if that fails. The ring keeps them for its life, once for all sends:
    /// they are to be few and short.
    pub fn send_quietly(&mut self, socket: RawFd, bytes: &[u8], tag: u64) {
        let at = bytes.as_ptr().addr();
        let known = self.kept.iter().position(|(address, kept)| *address == at && **kept == *bytes);
        let index = known.unwrap_or_else(|| {
            self.kept.push((at, bytes.into()));
            self.kept.len() - 1
        });
        let (_, kept) = &self.kept[index];
        let length = u32::try_from(kept.len()).unwrap_or(u32::MAX);
        let operation = opcode::Send::new(Fd(socket), kept.as_ptr(), length)
            // Half of them is no success.
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        self.push(operation, QUIET_SEND, tag);
    }

    /// Ends the receiving of a tag; its last event is still to come.
    pub fn stop_receiving(&mut self, tag: u64) {
        self.push(opcode::AsyncCancel::new(RECEIVE << KIND_SHIFT | tag).build(), UNSPOKEN, 0);
    }

    /// Ends the watching of a tag; its last event is still to come.
    pub fn stop_watching(&mut self, tag: u64) {
        self.push(opcode::AsyncCancel::new(POLL << KIND_SHIFT | tag).build(), UNSPOKEN, 0);
    }

    fn push(&mut self, operation: squeue::Entry, kind: u64, tag: u64) {
        self.outstanding += usize::from(kind != QUIET_SEND);
        let operation = operation.user_data(kind << KIND_SHIFT | tag & TAG);
        if !self.backlog.is_empty() || !self.hand_over(&operation) {
            self.backlog.push_back(operation);
            let _ = self.uring.submit();
            self.catch_up();
        }
    }

    fn hand_over(&mut self, operation: &squeue::Entry) -> bool {
        // SAFETY: what the operation points to is in `sending` or in `buffers`, and stays there until its completion, or
        // in `kept`, and stays there unchanged until the ring has ended.
        unsafe { self.uring.submission().push(operation) }.is_ok()
    }

    fn catch_up(&mut self) {
        while let Some(operation) = self.backlog.pop_front() {
            if !self.hand_over(&operation) {
                self.backlog.push_front(operation);
                return;
            }
        }
    }

    /// Hands everything to the kernel; what is complete can be fetched with [`Self::next`].
    ///
    /// # Errors
    ///
    /// The kernel refuses the call.
    pub fn submit(&mut self) -> io::Result<()> {
        self.catch_up();
        no_failure(self.uring.submit())
    }

    /// Hands everything to the kernel and waits until so many completions are there, at most until `at_ns`
    /// (CLOCK_MONOTONIC); says when it wakes at the latest. One alarm that stays set costs less than a time limit for
    /// every wait. It ends a wait for several too: the kernel takes every timeout that goes off for an end (io_should_wake
    /// in io_uring.c, since 5.1), but for one that goes off after the call has begun and before the wait has. For that,
    /// such a wait has a limit of its own, a little later: as it is not the next to go off, it costs little.
    ///
    /// # Errors
    ///
    /// The kernel refuses the call.
    pub fn wait(&mut self, at_ns: u64, now: u64, events: usize) -> io::Result<u64> {
        if self.alarm_ns <= now || at_ns < self.alarm_ns {
            self.alarm_ns = at_ns;
            *self.alarm = Timespec::from(Duration::from_nanos(at_ns));
            let alarm = opcode::Timeout::new(&raw const *self.alarm).flags(TimeoutFlags::ABS).build();
            self.push(alarm, UNSPOKEN, 0);
        }
        self.catch_up();
        let want = if self.backlog.is_empty() { events } else { 0 };
        if want > 1 {
            let limit = Timespec::from(Duration::from_nanos(self.alarm_ns.saturating_sub(now) + LATER_NS));
            let limited = SubmitArgs::new().timespec(&limit);
            no_failure(self.uring.submitter().submit_with_args(want, &limited))?;
        } else {
            no_failure(self.uring.submit_and_wait(want))?;
        }
        Ok(self.alarm_ns)
    }

    /// The next event, without a call of the kernel.
    pub fn next(&mut self) -> Option<Event> {
        loop {
            if self.events.is_empty() {
                self.events.extend(self.uring.completion());
            }
            let entry = self.events.pop_front()?;
            let (kind, tag) = (entry.user_data() >> KIND_SHIFT, entry.user_data() & TAG);
            if kind != QUIET_SEND && !cqueue::more(entry.flags()) {
                self.outstanding -= 1;
            }
            match kind {
                POLL => return Some(Event::Writable { tag }),
                RECEIVE => return Some(self.received(&entry, tag)),
                SEND => return self.sent(&entry, tag),
                QUIET_SEND => {
                    if let Err(error) = result(entry.result()) {
                        return Some(Event::NotSent { tag, error });
                    }
                }
                _ => {}
            }
        }
    }

    fn received(&mut self, entry: &cqueue::Entry, tag: u64) -> Event {
        let filled = result(entry.result()).map(|length| {
            let buffer = cqueue::buffer_select(entry.flags())?;
            (length > 0).then_some(Filled { buffer, length })
        });
        Event::Received { tag, filled, is_armed: cqueue::more(entry.flags()) }
    }

    fn sent(&mut self, entry: &cqueue::Entry, index: u64) -> Option<Event> {
        let index = index as usize;
        let (tag, bytes) = self.sending.get_mut(index).map(std::mem::take)?;
        self.vacant.push(index);
        Some(Event::Sent { tag, sent: result(entry.result()), bytes })
    }

    /// The bytes of a filled buffer.
    pub fn bytes(&self, filled: &Filled) -> &[u8] {
        self.buffers.bytes(filled)
    }

    /// Gives a buffer back, to be filled again.
    pub fn give_back(&mut self, filled: Filled) {
        self.buffers.offer(filled.buffer);
    }
}

impl Drop for Ring {
    /// Waits for the kernel's last word on all that was begun: only then may the memory go.
    fn drop(&mut self) {
        let is_counted = |operation: &squeue::Entry| operation.get_user_data() >> KIND_SHIFT != QUIET_SEND;
        self.outstanding -= self.backlog.drain(..).filter(is_counted).count();
        let _ = self.uring.submit();
        // Comes back when all that can be cancelled is, quiet sends among it, or when nothing was under way.
        let cancelled = self.uring.submitter().register_sync_cancel(None, CancelBuilder::any());
        if cancelled.is_err_and(|error| error.raw_os_error() != Some(libc::ENOENT)) {
            std::mem::forget(std::mem::take(&mut self.kept));
        }
        let mut patience = 1000;
        while self.outstanding > 0 && patience > 0 {
            patience -= 1;
            while self.next().is_some() {}
            if self.submit().is_err() {
                break;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        if self.outstanding > 0 {
            // Not to be freed while the kernel may still use it.
            std::mem::forget(std::mem::take(&mut self.sending));
            self.buffers.leak();
        }
    }
}

fn result(code: i32) -> io::Result<usize> {
    usize::try_from(code).map_err(|_| io::Error::from_raw_os_error(-code))
}

/// It is none that a signal came, that completions are to be fetched first, or that the time is over.
fn no_failure(entered: io::Result<usize>) -> io::Result<()> {
    let is_none = |code| [libc::EINTR, libc::EBUSY, libc::EAGAIN, libc::ETIME].contains(&code);
    entered.map(drop).or_else(|error| if error.raw_os_error().is_some_and(is_none) { Ok(()) } else { Err(error) })
}

/// Memory that the kernel fills: buffers, and before them the ring by which they are offered to it.
struct Buffers {
    base: NonNull<u8>,
    tail: u16,
    is_leaked: bool,
}

impl Buffers {
    /// The ring begins at a page.
    const PAGE: usize = 4096;
    const ENTRIES: usize = BUFFERS as usize * size_of::<BufRingEntry>();
    const OFFSET: usize = Self::ENTRIES.next_multiple_of(Self::PAGE);

    fn layout() -> Layout {
        let size = Self::OFFSET + BUFFERS as usize * BUFFER;
        Layout::from_size_align(size, Self::PAGE).unwrap_or(Layout::new::<u8>())
    }

    fn new() -> Self {
        // SAFETY: the layout is a constant that is not empty.
        let memory = unsafe { alloc::alloc_zeroed(Self::layout()) };
        let Some(base) = NonNull::new(memory) else { alloc::handle_alloc_error(Self::layout()) };
        Self { base, tail: 0, is_leaked: false }
    }

    fn register(&mut self, uring: &IoUring) -> io::Result<()> {
        let address = self.base.as_ptr().addr() as u64;
        // SAFETY: the memory outlives the ring's use of it: the ring is closed first, with nothing under way.
        unsafe { uring.submitter().register_buf_ring_with_flags(address, BUFFERS, GROUP, 0)? };
        (0..BUFFERS).for_each(|buffer| self.offer(buffer));
        Ok(())
    }

    fn at(&self, buffer: u16) -> *mut u8 {
        // SAFETY: within the allocation, as `buffer` is below BUFFERS.
        unsafe { self.base.as_ptr().add(Self::OFFSET + usize::from(buffer % BUFFERS) * BUFFER) }
    }

    /// Offers a buffer to the kernel.
    fn offer(&mut self, buffer: u16) {
        let address = self.at(buffer).addr() as u64;
        let entries = self.base.as_ptr().cast::<BufRingEntry>();
        let index = usize::from(self.tail % BUFFERS);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the entry is within the allocation, aligned, and the kernel does not read it before the tail is beyond
        // it; the tail is a field of the first entry that the setters leave alone.
        unsafe {
            let entry = &mut *entries.add(index);
            entry.set_addr(address);
            entry.set_len(BUFFER as u32);
            entry.set_bid(buffer);
            let tail = BufRingEntry::tail(entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    fn bytes(&self, filled: &Filled) -> &[u8] {
        // SAFETY: the kernel has filled so many bytes, and does not touch them before the buffer is offered again, for
        // which `filled` has to be given up.
        unsafe { std::slice::from_raw_parts(self.at(filled.buffer), filled.length.min(BUFFER)) }
    }

    fn leak(&mut self) {
        self.is_leaked = true;
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if !self.is_leaked {
            // SAFETY: allocated with this layout, and no longer used: see `Ring::drop`.
            unsafe { alloc::dealloc(self.base.as_ptr(), Self::layout()) }
        }
    }
}

#[cfg(test)]
mod tests;
