//! When bytes came, as the kernel has noted it.
//!
//! Linux notes for every segment of TCP when it came in, and tells with the read of its last byte (`SO_TIMESTAMPNS`; for
//! TCP since 4.14, `tcp_recv_timestamp`). With that an answer need not be waited for: whenever it is read, its instant
//! is known, and what the generator takes to wake up for it is part of no time.

#[cfg(target_os = "linux")]
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::bench::clock::{nanos, now_ns};

/// How far the two clocks may move against each other between two looks, in nanoseconds. A clock that is slewed moves
/// by 500 ppm, 12.5 µs in the longest time between two looks.
const MOST_DRIFT_NS: u64 = 50_000;

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
    use std::time::Duration;

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

/// Both clocks at one instant, to translate the kernel's notes into the clock of the run.
#[derive(Debug, Default)]
pub struct Clocks {
    monotonic: u64,
    wall: u64,
    is_steady: bool,
}

impl Clocks {
    /// Looks at both. Notes are taken back to this look; between two looks the clock of the machine must not be set.
    pub fn look(&mut self) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos);
        self.set(now_ns(), wall);
    }

    fn set(&mut self, monotonic: u64, wall: u64) {
        let before = self.wall.wrapping_sub(self.monotonic);
        let after = wall.wrapping_sub(monotonic);
        let moved = after.wrapping_sub(before).cast_signed().unsigned_abs();
        *self = Self { monotonic, wall, is_steady: moved <= MOST_DRIFT_NS };
    }

    /// The instant of a note on CLOCK_MONOTONIC; `None` where the clock was set in the meantime.
    pub fn instant_of(&self, wall: u64) -> Option<u64> {
        let before = self.wall.wrapping_sub(wall).cast_signed();
        match self.is_steady {
            true if before >= 0 => Some(self.monotonic.saturating_sub(before.unsigned_abs())),
            // It came after the look.
            true => Some(self.monotonic.saturating_add(before.unsigned_abs()).min(now_ns())),
            false => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: u64 = 1_790_000_000_000_000_000;

    #[test]
    fn a_note_is_taken_to_the_clock_of_the_run() {
        let mut clocks = Clocks::default();
        clocks.set(1_000_000, WALL);
        assert_eq!(clocks.instant_of(WALL), None, "nobody knows what the clock did before");
        clocks.set(2_000_000, WALL + 1_000_000);
        assert_eq!(clocks.instant_of(WALL + 400_000), Some(1_400_000));
        assert_eq!(clocks.instant_of(WALL + 1_000_007), Some(2_000_007));
        clocks.set(3_000_000, WALL + 2_012_500);
        assert_eq!(clocks.instant_of(WALL + 2_000_000), Some(2_987_500), "a clock that is slewed");
    }

    #[test]
    fn a_clock_that_is_set_has_no_say() {
        for step in [-3_600_000_000_000_i64, -100_000, 100_000, 3_600_000_000_000] {
            let mut clocks = Clocks::default();
            clocks.set(1_000_000, WALL);
            clocks.set(2_000_000, WALL + 1_000_000);
            clocks.set(3_000_000, (WALL + 2_000_000).wrapping_add_signed(step));
            assert_eq!(clocks.instant_of(WALL + 1_500_000), None);
            clocks.set(4_000_000, (WALL + 3_000_000).wrapping_add_signed(step));
            assert!(clocks.instant_of(WALL.wrapping_add_signed(step) + 2_500_000).is_some());
        }
    }
}
