//! Waking an event queue at an instant, to some tens of microseconds. The queue's own time limit is a millisecond
//! coarse on Linux.

use std::io;
use std::time::Duration;

use mio::{Registry, Token};

/// Wakes an event queue at an instant of CLOCK_MONOTONIC.
pub struct Alarm {
    /// When it goes off; 0 if it is not set.
    at_ns: u64,
    #[cfg(target_os = "linux")]
    timer: nix::sys::timerfd::TimerFd,
}

impl Alarm {
    /// Sets it to `at_ns`, unless it goes off before that anyway; says when it goes off, and the time limit that the
    /// queue needs besides.
    ///
    /// # Errors
    ///
    /// The system refuses it.
    pub fn set(&mut self, at_ns: u64, now: u64) -> io::Result<(u64, Option<Duration>)> {
        if self.at_ns <= now || at_ns < self.at_ns {
            self.arm(at_ns)?;
            self.at_ns = at_ns;
        }
        Ok((self.at_ns, self.limit(now)))
    }
}

#[cfg(target_os = "linux")]
impl Alarm {
    /// An alarm in the queue of `registry`, where it shows as `token`.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        use std::os::fd::{AsFd as _, AsRawFd as _};

        use mio::Interest;
        use mio::event::Source as _;
        use mio::unix::SourceFd;
        use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};

        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        SourceFd(&timer.as_fd().as_raw_fd()).register(registry, token, Interest::READABLE)?;
        Ok(Self { at_ns: 0, timer })
    }

    fn arm(&self, at_ns: u64) -> io::Result<()> {
        use nix::sys::time::TimeSpec;
        use nix::sys::timerfd::{Expiration, TimerSetTimeFlags};

        // Arming clears an earlier expiry, and every expiry is a new event: there is nothing to read.
        let at = TimeSpec::from_duration(Duration::from_nanos(at_ns.max(1)));
        self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        Ok(())
    }

    fn limit(&self, _now: u64) -> Option<Duration> {
        None
    }
}

#[cfg(not(target_os = "linux"))]
impl Alarm {
    /// An alarm for the queue of `registry`.
    ///
    /// # Errors
    ///
    /// None on this system.
    pub fn new(_registry: &Registry, _token: Token) -> io::Result<Self> {
        Ok(Self { at_ns: 0 })
    }

    fn arm(&self, _at_ns: u64) -> io::Result<()> {
        Ok(())
    }

    fn limit(&self, now: u64) -> Option<Duration> {
        Some(Duration::from_nanos(self.at_ns.saturating_sub(now)))
    }
}
