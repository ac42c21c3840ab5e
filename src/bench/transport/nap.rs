//! Sleeping until an instant again and again, at the lowest cost.
//!
//! To set a clock's hardware is dear, on a virtual machine above all: the hypervisor does it (6 to 12 µs). The kernel does
//! it when the timer that is next changes: once when that one has gone off, and a second time when a thread asks for an
//! earlier one before it sleeps again. Where the sleep after this one is known, its timer is set before this one goes off,
//! so that the kernel finds it there and the second time falls away.

use std::io;

/// A sleep, by instants of CLOCK_MONOTONIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nap {
    /// When it ends.
    pub until: u64,
    /// When the one after it is expected to end. A wrong guess costs time, and changes nothing else.
    pub then: Option<u64>,
}

/// The succession of naps of one thread.
pub struct Naps {
    #[cfg(target_os = "linux")]
    timers: [Timer; 2],
}

#[cfg(target_os = "linux")]
impl Naps {
    /// A timer that is set to within this of an instant, in nanoseconds, stands for it: less than any wake-up takes. The
    /// instants of a rate are whole nanoseconds, so that guesses are off by one.
    const NEAR_NS: u64 = 100;

    /// Without a sleep so far.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { timers: [Timer::new()?, Timer::new()?] })
    }

    /// Sleeps, through signals too.
    ///
    /// # Errors
    ///
    /// The system refuses a timer.
    pub fn sleep(&mut self, nap: Nap) -> io::Result<()> {
        let known = self.timers.iter().position(|timer| timer.is_near(nap.until));
        // The other one may be set for what comes after.
        let index = known.unwrap_or_else(|| usize::from(self.timers[1].at < self.timers[0].at));
        if known.is_none() {
            self.timers[index].set(nap.until)?;
        }
        if let Some(then) = nap.then.filter(|then| !self.timers[1 - index].is_near(*then)) {
            self.timers[1 - index].set(then)?;
        }
        self.timers[index].wait();
        // Who asks for the same instant again is to find a timer that will go off.
        self.timers[index].at = 0;
        Ok(())
    }
}

/// A timer that can be set while another one is waited for.
#[cfg(target_os = "linux")]
struct Timer {
    timer: nix::sys::timerfd::TimerFd,
    /// When it goes off; 0 if it is not set, or was waited for.
    at: u64,
}

#[cfg(target_os = "linux")]
impl Timer {
    fn new() -> io::Result<Self> {
        use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};

        Ok(Self { timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?, at: 0 })
    }

    fn is_near(&self, at: u64) -> bool {
        self.at.abs_diff(at) <= Naps::NEAR_NS
    }

    fn set(&mut self, at: u64) -> io::Result<()> {
        use std::time::Duration;

        use nix::sys::time::TimeSpec;
        use nix::sys::timerfd::{Expiration, TimerSetTimeFlags};

        let instant = TimeSpec::from_duration(Duration::from_nanos(at.max(1)));
        self.timer.set(Expiration::OneShot(instant), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        self.at = at;
        Ok(())
    }

    /// Until it goes off.
    fn wait(&self) {
        // It goes on after a signal. What else could fail leaves the instant to the next look at the clock.
        let _ = self.timer.wait();
    }
}

#[cfg(not(target_os = "linux"))]
impl Naps {
    /// Without a sleep so far.
    ///
    /// # Errors
    ///
    /// None on this system.
    pub fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Sleeps.
    ///
    /// # Errors
    ///
    /// None on this system.
    pub fn sleep(&mut self, nap: Nap) -> io::Result<()> {
        std::thread::sleep(std::time::Duration::from_nanos(nap.until.saturating_sub(crate::bench::clock::now_ns())));
        Ok(())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::bench::clock::now_ns;

    const MS: u64 = 1_000_000;

    #[test]
    fn no_nap_ends_early_whatever_was_expected() {
        let mut naps = Naps::new().unwrap();
        let start = now_ns();
        // Right, off by a nanosecond, nothing known, too early, too late, in the past.
        let guesses =
            [Some(2 * MS), Some(3 * MS + 1), None, Some(4 * MS + 1), Some(9 * MS), Some(6 * MS), Some(0), None];
        for (number, then) in guesses.into_iter().enumerate() {
            let until = start + (number as u64 + 1) * MS;
            naps.sleep(Nap { until, then: then.map(|then| start + then) }).unwrap();
            assert!(now_ns() >= until, "nap {number}");
        }
    }

    #[test]
    fn a_nap_that_was_expected_sets_no_timer_for_itself() {
        let mut naps = Naps::new().unwrap();
        let start = now_ns();
        naps.sleep(Nap { until: start + MS, then: Some(start + 2 * MS) }).unwrap();
        let set = |naps: &Naps| naps.timers.each_ref().map(|timer| timer.at);
        assert_eq!(set(&naps), [0, start + 2 * MS]);
        // Its own would be a nanosecond later.
        naps.sleep(Nap { until: start + 2 * MS + 1, then: Some(start + 3 * MS) }).unwrap();
        assert_eq!(set(&naps), [start + 3 * MS, 0]);
        // Unexpected: the one that was waited for is set.
        naps.sleep(Nap { until: start + 5 * MS / 2, then: None }).unwrap();
        assert_eq!(set(&naps), [start + 3 * MS, 0]);
        // Once more until then.
        naps.sleep(Nap { until: start + 5 * MS / 2, then: None }).unwrap();
    }
}
