//! Sleeping until an instant again and again, at the lowest cost.
//!
//! To set a clock's hardware is dear, on a virtual machine above all: the hypervisor does it (6 to 12 µs). The kernel does
//! it when the timer that is next changes: once when that one has gone off, and a second time when a thread asks for an
//! earlier one before it sleeps again. Where the sleep after this one is known, its timer is set before this one goes off,
//! so that the kernel finds it there and the second time falls away.
//!
//! A thread wakes late, and nearly always by the same time: that of the processor's way out of its sleep, and of the
//! interrupt's through a hypervisor (5 µs on bare metal, 40 to 80 on a virtual machine). Timers are set ahead by it, and
//! what a wake-up comes too early is waited for awake. Linux does the same with the timers of its guests
//! (`adjust_lapic_timer_advance` in `arch/x86/kvm/lapic.c`).

use std::io;

#[cfg(target_os = "linux")]
use crate::bench::clock::now_ns;

/// A sleep, by instants of CLOCK_MONOTONIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nap {
    /// When it ends.
    pub until: u64,
    /// When the one after it is expected to end. A wrong guess costs time, and changes nothing else.
    pub then: Option<u64>,
}

/// By how much timers are set ahead, from how late the last ones woke.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Advance {
    late: [u64; Self::NAPS],
    next: usize,
    ns: u64,
}

#[cfg(target_os = "linux")]
impl Advance {
    /// How many naps it remembers.
    const NAPS: usize = 32;
    /// The most, in nanoseconds: what is later than that is not the way out of a sleep.
    const MOST_NS: u64 = 100_000;
    /// Who sleeps for less than that may not have slept at all when its timer went off: how late it wakes says nothing.
    const ASLEEP_NS: u64 = 50_000;

    /// Nothing, until so many naps are known.
    fn new() -> Self {
        Self { late: [0; Self::NAPS], next: 0, ns: 0 }
    }

    /// Takes note of how long after its timer's instant a nap ended.
    fn woke(&mut self, late_ns: u64) {
        self.late[self.next] = late_ns;
        self.next = (self.next + 1) % Self::NAPS;
        self.ns = self.late.iter().min().copied().unwrap_or(0).min(Self::MOST_NS);
    }

    /// When to set the timer of a nap until `until` that begins at `begin`. One that is short ends late: it would be
    /// spent awake otherwise, and what comes so often shares the next wake-up.
    fn timer_for(&self, until: u64, begin: u64) -> u64 {
        if until.saturating_sub(begin) < 2 * self.ns { until } else { until - self.ns }
    }
}

/// The succession of naps of one thread.
pub struct Naps {
    #[cfg(target_os = "linux")]
    timers: [Timer; 2],
    #[cfg(target_os = "linux")]
    advance: Advance,
    /// How long after the end of the last nap the next one was to end.
    #[cfg(target_os = "linux")]
    step: u64,
}

#[cfg(target_os = "linux")]
impl Naps {
    /// A timer that stands for an instant within this, in nanoseconds, stands for it: less than any wake-up takes. The
    /// instants of a rate are whole nanoseconds, so that guesses are off by one.
    const NEAR_NS: u64 = 100;
    /// By how much a timer that goes off by itself may be set ahead more or less than would be best.
    const COARSE_NS: u64 = 5_000;

    /// Without a sleep so far.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { timers: [Timer::new()?, Timer::new()?], advance: Advance::new(), step: 0 })
    }

    /// Sleeps, through signals too, from `now` on.
    ///
    /// # Errors
    ///
    /// The system refuses a timer.
    pub fn sleep(&mut self, nap: Nap, now: u64) -> io::Result<()> {
        let step = nap.then.map_or(0, |then| then.saturating_sub(nap.until));
        let is_even = step > 0 && step.abs_diff(self.step) <= 1;
        self.step = step;
        let known = self.timers.iter().position(|timer| timer.stands_for(nap.until));
        // The other one may be set for what comes after.
        let index = known.unwrap_or_else(|| usize::from(self.timers[1].until < self.timers[0].until));
        // Each goes off for every other nap.
        let again = if is_even { 2 * step } else { 0 };
        if known.is_none() {
            self.timers[index].set(self.advance.timer_for(nap.until, now), nap.until, again)?;
        }
        if let Some(then) = nap.then {
            let (other, at) = (&mut self.timers[1 - index], self.advance.timer_for(then, nap.until));
            let is_set = other.stands_for(then) && other.at.abs_diff(at) <= Self::COARSE_NS;
            if !is_set || (is_even && other.again == 0) {
                other.set(at, then, again)?;
            }
        }
        let timer = &mut self.timers[index];
        timer.wait();
        let mut woken = now_ns();
        if timer.at.saturating_sub(now) >= Advance::ASLEEP_NS {
            self.advance.woke(woken.saturating_sub(timer.at));
        }
        timer.went_off(woken);
        while woken < nap.until {
            std::hint::spin_loop();
            woken = now_ns();
        }
        Ok(())
    }
}

/// A timer that can be set while another one is waited for.
#[cfg(target_os = "linux")]
struct Timer {
    timer: nix::sys::timerfd::TimerFd,
    /// When it goes off.
    at: u64,
    /// The end of the nap that it stands for; 0 if it will not go off.
    until: u64,
    /// How long after that it goes off again; 0 for never.
    again: u64,
}

#[cfg(target_os = "linux")]
impl Timer {
    fn new() -> io::Result<Self> {
        use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};

        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
        Ok(Self { timer, at: 0, until: 0, again: 0 })
    }

    fn stands_for(&self, until: u64) -> bool {
        self.until.abs_diff(until) <= Naps::NEAR_NS
    }

    fn set(&mut self, at: u64, until: u64, again: u64) -> io::Result<()> {
        use std::time::Duration;

        use nix::sys::time::TimeSpec;
        use nix::sys::timerfd::{Expiration, TimerSetTimeFlags};

        let span = |ns: u64| TimeSpec::from_duration(Duration::from_nanos(ns));
        let expiration = match again {
            0 => Expiration::OneShot(span(at.max(1))),
            again => Expiration::IntervalDelayed(span(at.max(1)), span(again)),
        };
        self.timer.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        (self.at, self.until, self.again) = (at, until, again);
        Ok(())
    }

    /// Until it goes off.
    fn wait(&self) {
        // It goes on after a signal. If anything else failed, the nap would be spent awake.
        let _ = self.timer.wait();
    }

    /// It was waited for, by `now`. The kernel has set it again, for the first of its instants that was not over; where
    /// that is not the next one, it is set anew.
    fn went_off(&mut self, now: u64) {
        let next = self.at.saturating_add(self.again);
        if self.again > 0 && now < next {
            (self.at, self.until) = (next, self.until.saturating_add(self.again));
        } else {
            // Who asks for the same instant again is to find a timer that will go off.
            (self.until, self.again) = (0, 0);
        }
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

    /// Sleeps, from `now` on.
    ///
    /// # Errors
    ///
    /// None on this system.
    pub fn sleep(&mut self, nap: Nap, now: u64) -> io::Result<()> {
        std::thread::sleep(std::time::Duration::from_nanos(nap.until.saturating_sub(now)));
        Ok(())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const US: u64 = 1_000;

    #[test]
    fn timers_are_set_ahead_by_what_they_are_late_at_least() {
        let mut advance = Advance::new();
        for nap in 0..Advance::NAPS as u64 {
            assert_eq!(advance.timer_for(5 * MS, 0), 5 * MS, "nothing is known before so many naps");
            advance.woke(43 * US + nap % 5 * US);
        }
        assert_eq!(advance.timer_for(5 * MS, 0), 5 * MS - 43 * US);
        assert_eq!(advance.timer_for(86 * US, 0), 43 * US);
        assert_eq!(advance.timer_for(85 * US, 0), 85 * US, "a short nap is not spent awake");
        assert_eq!(advance.timer_for(85 * US, 90 * US), 85 * US, "nor one that is over");
        // One that was quick is enough, until it is forgotten.
        advance.woke(4 * US);
        assert_eq!(advance.timer_for(5 * MS, 0), 5 * MS - 4 * US);
        (0..Advance::NAPS).for_each(|_| advance.woke(40 * MS));
        assert_eq!(advance.timer_for(5 * MS, 0), 5 * MS - Advance::MOST_NS, "a stalled machine is no rule");
    }

    /// Naps of a machine that wakes later than any: their timers go off long before anybody is to wake.
    fn late(mut naps: Naps) -> Naps {
        (0..Advance::NAPS).for_each(|_| naps.advance.woke(Advance::MOST_NS));
        naps
    }

    #[test]
    fn no_nap_ends_early_whatever_was_expected() {
        for is_late in [false, true] {
            let mut naps = Naps::new().unwrap();
            let start = now_ns();
            // Right, off by a nanosecond, nothing known, too early, too late, in the past, in a moment, right again.
            let guesses = [2 * MS, 3 * MS + 1, 0, 4 * MS + 1, 9 * MS, 6 * MS, 1, 8 * MS + 70 * US, 9 * MS];
            for (number, then) in guesses.into_iter().enumerate() {
                if is_late {
                    naps = late(naps);
                }
                let until = start + (number as u64 + 1) * MS;
                naps.sleep(Nap { until, then: Some(start + then).filter(|_| then > 0) }, now_ns()).unwrap();
                assert!(now_ns() >= until, "nap {number}");
            }
        }
    }

    #[test]
    fn a_nap_that_was_expected_sets_no_timer_for_itself() {
        let mut naps = late(Naps::new().unwrap());
        let start = now_ns();
        naps.sleep(Nap { until: start + MS, then: Some(start + 2 * MS) }, start).unwrap();
        let set = |naps: &Naps| naps.timers.each_ref().map(|timer| timer.until);
        assert_eq!(set(&naps), [0, start + 2 * MS]);
        assert_eq!(naps.timers[1].at, start + 2 * MS - Advance::MOST_NS);
        // Its own would be a nanosecond later.
        naps.sleep(Nap { until: start + 2 * MS + 1, then: Some(start + 3 * MS) }, now_ns()).unwrap();
        assert_eq!(set(&naps), [start + 3 * MS, 0]);
        // Unexpected: the one that was waited for is set.
        naps.sleep(Nap { until: start + 5 * MS / 2, then: None }, now_ns()).unwrap();
        assert_eq!(set(&naps), [start + 3 * MS, 0]);
        // Once more until then.
        naps.sleep(Nap { until: start + 5 * MS / 2, then: None }, now_ns()).unwrap();
    }

    #[test]
    fn even_naps_set_no_timers() {
        let mut naps = Naps::new().unwrap();
        let mut was_undisturbed = false;
        let mut start = now_ns();
        let nap =
            |start: u64, number: u64| Nap { until: start + number * 5 * MS, then: Some(start + (number + 1) * 5 * MS) };
        // A machine that stops for longer than a nap has timers set anew.
        for _ in 0..100 {
            (naps, start) = (Naps::new().unwrap(), now_ns());
            for number in 1..=4 {
                naps.sleep(nap(start, number), now_ns()).unwrap();
            }
            if now_ns() < start + 25 * MS {
                let mut set = naps.timers.each_ref().map(|timer| (timer.until - start, timer.again));
                set.sort_unstable();
                assert_eq!(set, [(25 * MS, 10 * MS), (30 * MS, 10 * MS)], "both go off by themselves");
                was_undisturbed = true;
                break;
            }
        }
        assert!(was_undisturbed, "never four naps without a stop of 5 ms");
        // Who oversleeps finds timers for what is to come all the same.
        while now_ns() < start + 42 * MS {}
        for number in 9..=13 {
            naps.sleep(nap(start, number), now_ns()).unwrap();
            assert!(now_ns() >= start + number * 5 * MS, "nap {number}");
        }
        // What differs by more than a wake-up takes is another instant.
        naps.sleep(Nap { until: start + 69 * MS, then: None }, now_ns()).unwrap();
        assert!(now_ns() >= start + 69 * MS);
    }
}
