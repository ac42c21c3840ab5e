//! When bytes came, as the kernel has noted it.
//!
//! Linux notes for every segment of TCP when it came in, and tells with the read of its last byte (`SO_TIMESTAMPNS`; for
//! TCP since 4.14, `tcp_recv_timestamp`). With that an answer need not be waited for: whenever it is read, its instant
//! is known, and what the generator takes to wake up for it is part of no time.

#[cfg(target_os = "linux")]
use std::io;
#[cfg(target_os = "linux")]
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
#[cfg(target_os = "linux")]
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::bench::clock::{nanos, now_ns};

/// By how much two looks at the clocks may differ, in nanoseconds, before the clock counts as set: CLOCK_REALTIME and
/// CLOCK_MONOTONIC are slewed together, and only setting the former moves them apart.
const STEP_NS: u64 = 50_000;
/// How often a look is repeated that differs: whoever looks can be interrupted between the two clocks.
const LOOKS: usize = 3;

/// Asks the kernel to note when bytes come on a socket.
///
/// # Errors
///
/// The system refuses.
#[cfg(target_os = "linux")]
pub fn ask(socket: &impl std::os::fd::AsFd) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};

    Ok(setsockopt(socket, sockopt::ReceiveTimestampns, &true)?)
}

/// How long it is waited for the kernel to take notes: usually less than a millisecond, longer where every processor is
/// busy.
#[cfg(target_os = "linux")]
const PATIENCE: Duration = Duration::from_millis(100);

/// Has the kernel note when bytes come for as long as it lives. With the last socket that asks for notes the kernel
/// stops to take any, and takes them up again only some time after the next one asks (`net_enable_timestamp` in
/// `net/core/dev.c` leaves that to a worker): a run whose connections come and go would lose some, and so would one that
/// begins at once.
#[cfg(target_os = "linux")]
pub struct Noting {
    socket: UdpSocket,
}

#[cfg(target_os = "linux")]
impl Noting {
    /// By a socket that sends to itself until the kernel takes notes; where that takes too long, it may do so later.
    ///
    /// # Errors
    ///
    /// The system refuses the socket.
    pub fn begin() -> io::Result<Self> {
        let at = |address: IpAddr| UdpSocket::bind((address, 0));
        let own = at(Ipv4Addr::LOCALHOST.into()).or_else(|_| at(Ipv6Addr::LOCALHOST.into()));
        let socket = own.or_else(|_| at(Ipv4Addr::UNSPECIFIED.into()))?;
        ask(&socket)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        // Nobody else's datagrams. Where it cannot be, nothing can be sent either, and it is not waited for.
        let _ = socket.connect(socket.local_addr()?);
        let noting = Self { socket };
        let deadline = now_ns() + nanos(PATIENCE);
        while now_ns() < deadline && !noting.has_noted().unwrap_or(true) {
            std::thread::yield_now();
        }
        Ok(noting)
    }

    /// Whether the kernel has noted when a datagram came. Of one without a note it tells the instant at which it is read
    /// (`__sock_recv_timestamp` in `net/socket.c`).
    fn has_noted(&self) -> io::Result<bool> {
        self.socket.send(&[0])?;
        let before = wall_ns();
        let (_, came) = read(&self.socket, &mut [0])?;
        Ok(came.is_some_and(|came| came <= before))
    }
}

/// Room for one note of the kernel, aligned as it writes it.
#[cfg(target_os = "linux")]
#[repr(align(8))]
struct Control([u8; 64]);

/// Reads what is there; the second is when the last byte of it came, in nanoseconds of CLOCK_REALTIME, if the kernel
/// has noted it.
///
/// # Errors
///
/// As a socket.
#[cfg(target_os = "linux")]
pub fn read(socket: &impl std::os::fd::AsFd, buffer: &mut [u8]) -> io::Result<(usize, Option<u64>)> {
    use std::os::fd::AsRawFd as _;

    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

    let mut control = Control([0; 64]);
    let mut parts = [io::IoSliceMut::new(buffer)];
    let socket = socket.as_fd().as_raw_fd();
    let message = recvmsg::<()>(socket, &mut parts, Some(&mut control.0), MsgFlags::empty())?;
    let came = message.cmsgs()?.find_map(|note| match note {
        ControlMessageOwned::ScmTimestampns(at) => Some(nanos(Duration::from(at))),
        _ => None,
    });
    Ok((message.bytes, came))
}

/// CLOCK_REALTIME, in nanoseconds.
fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos)
}

/// How far the wall clock is ahead of the clock of the run, to translate the kernel's notes.
#[derive(Debug, Default)]
pub struct Clocks {
    ahead: u64,
    /// When the last look was, on the clock of the run.
    looked: u64,
    /// Whether the wall clock was not set between the last look and the one before it.
    is_steady: bool,
}

impl Clocks {
    /// Looks whether the wall clock was set: then what the kernel has noted since the last look is of no use.
    pub fn look(&mut self) {
        // Whoever is interrupted between the two finds the wall clock less ahead than it is.
        self.look_by(|| (wall_ns(), now_ns()));
    }

    fn look_by(&mut self, mut clocks: impl FnMut() -> (u64, u64)) {
        let mut ahead = 0;
        for _ in 0..LOOKS {
            let (wall, now) = clocks();
            self.looked = now;
            ahead = wall.wrapping_sub(now);
            let more = ahead.wrapping_sub(self.ahead).cast_signed();
            self.is_steady = more.unsigned_abs() <= STEP_NS;
            if self.is_steady {
                self.ahead = if more > 0 { ahead } else { self.ahead };
                return;
            }
        }
        self.ahead = ahead;
    }

    /// The instant of a note on CLOCK_MONOTONIC; `None` where the clock was set in the meantime.
    pub fn instant_of(&self, wall: u64) -> Option<u64> {
        let at = wall.wrapping_sub(self.ahead);
        // Nothing has come before it came: most of it had at the last look, and the others by now.
        self.is_steady.then(|| if at <= self.looked { at } else { at.min(now_ns()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Others of this process ask for notes too, so that it can only be seen to hold, not to begin.
    #[cfg(target_os = "linux")]
    #[test]
    fn notes_are_taken_once_they_are_asked_for() {
        let noting = Noting::begin().unwrap();
        // One that was delivered late proves nothing.
        assert!((0..100).any(|_| noting.has_noted().unwrap_or(false)));
    }

    const HOUR: i64 = 3_600_000_000_000;

    /// Clocks that agree on this.
    fn clocks(ahead: u64) -> Clocks {
        let mut clocks = Clocks::default();
        clocks.look_by(|| (ahead, 0));
        assert!(clocks.instant_of(ahead).is_none(), "nobody knows what the clock did before");
        clocks.look_by(|| (ahead, 0));
        clocks
    }

    #[test]
    fn a_note_is_taken_to_the_clock_of_the_run() {
        let ahead = 1_790_000_000_000_000_000;
        assert_eq!(clocks(ahead).instant_of(ahead + 1234), Some(1234));
        let later = clocks(ahead).instant_of(ahead + now_ns() + 1_000_000_000);
        assert!(later.is_some_and(|at| at <= now_ns()), "nothing has come before it came");
        let mut clocks = clocks(ahead);
        clocks.look_by(|| (ahead + 2_000, 2_000));
        for note in [1_999, 2_000, 2_001] {
            assert_eq!(clocks.instant_of(ahead + note), Some(note), "before, at and after the last look");
        }
    }

    #[test]
    fn whoever_is_interrupted_between_the_clocks_does_not_take_it_for_a_step() {
        let ahead = 1_790_000_000_000_000_000;
        let mut clocks = clocks(ahead - 700);
        let mut looks = [ahead - 40_000_000, ahead - 100_000, ahead].into_iter();
        clocks.look_by(|| (looks.next().unwrap(), 0));
        assert_eq!(clocks.instant_of(ahead + 5), Some(5), "the look without an interruption is the best");
        clocks.look_by(|| (ahead - 30_000, 0));
        assert_eq!(clocks.instant_of(ahead + 5), Some(5));
    }

    #[test]
    fn a_clock_that_is_set_has_no_say_until_the_next_look() {
        let ahead: u64 = 1_790_000_000_000_000_000;
        for step in [-HOUR, -100_000, 100_000, HOUR] {
            let mut clocks = clocks(ahead);
            let after = ahead.wrapping_add_signed(step);
            clocks.look_by(|| (after, 0));
            assert_eq!(clocks.instant_of(ahead + 5), None);
            clocks.look_by(|| (after, 0));
            assert_eq!(clocks.instant_of(after + 5), Some(5));
        }
    }
}
