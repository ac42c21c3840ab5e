//! Waking at an instant, to some tens of microseconds. The runtime's own timers are a millisecond coarse.

use std::io;

/// A timer on CLOCK_MONOTONIC.
pub struct Timer {
    #[cfg(target_os = "linux")]
    fd: tokio::io::unix::AsyncFd<timerfd::Fd>,
}

#[cfg(target_os = "linux")]
mod timerfd {
    use std::os::fd::{AsFd, AsRawFd, RawFd};

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

    /// The descriptor in the form that the runtime registers.
    pub struct Fd(TimerFd);

    impl AsRawFd for Fd {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_fd().as_raw_fd()
        }
    }

    impl Fd {
        pub fn new() -> nix::Result<Self> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map(Self)
        }

        pub fn arm(&self, at_ns: u64) -> nix::Result<()> {
            let at = TimeSpec::from_duration(std::time::Duration::from_nanos(at_ns.max(1)));
            self.0.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
        }
    }
}

#[cfg(target_os = "linux")]
impl Timer {
    /// A timer on the current runtime.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        use tokio::io::{Interest, unix::AsyncFd};
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that may give another descriptor later; this one owns its own and always gives that"
        )]
        let fd = AsyncFd::with_interest(timerfd::Fd::new()?, Interest::READABLE)?;
        Ok(Self { fd })
    }

    /// Returns at `at_ns` of CLOCK_MONOTONIC, or a little later; may return early.
    ///
    /// # Errors
    ///
    /// The timer cannot be armed.
    pub async fn until(&self, at_ns: u64) -> io::Result<()> {
        // Arming clears an earlier expiry, and every expiry is a new event: there is nothing to read.
        self.fd.get_ref().arm(at_ns)?;
        self.fd.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
impl Timer {
    /// A timer on the current runtime.
    ///
    /// # Errors
    ///
    /// None on this system.
    pub fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Returns at `at_ns` of CLOCK_MONOTONIC, or up to a millisecond later.
    ///
    /// # Errors
    ///
    /// None on this system.
    pub async fn until(&self, at_ns: u64) -> io::Result<()> {
        let wait = at_ns.saturating_sub(super::clock::now_ns());
        tokio::time::sleep(std::time::Duration::from_nanos(wait)).await;
        Ok(())
    }
}
