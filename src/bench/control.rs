//! Ending a run early, from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::clock::now_ns;

/// How far ahead the end of the schedule is set, so that every thread hears of it before it comes.
const NOTICE_NS: u64 = 60_000_000;

/// A handle that ends a run early. Clones end the same run.
#[derive(Debug, Clone)]
pub struct Control {
    state: Arc<State>,
    /// When the schedule of this run ends (CLOCK_MONOTONIC), on behalf of nobody but the run itself.
    ended_at: Arc<AtomicU64>,
}

#[derive(Debug)]
struct State {
    /// When the user ended the schedule of every run (CLOCK_MONOTONIC).
    stop_at: AtomicU64,
    interrupted: AtomicBool,
    aborted: AtomicBool,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            state: Arc::new(State {
                stop_at: AtomicU64::new(u64::MAX),
                interrupted: AtomicBool::new(false),
                aborted: AtomicBool::new(false),
            }),
            ended_at: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }
}

/// Ends what has not been ended before; says whether that is so.
fn end(at: &AtomicU64) -> bool {
    let stop = now_ns() + NOTICE_NS;
    at.compare_exchange(u64::MAX, stop, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

impl Control {
    /// First call: ends the schedule; what is due is still sent and awaited for the grace time. Second call: aborts.
    pub fn interrupt(&self) {
        let was_ended = self.stop_at() != u64::MAX;
        end(&self.state.stop_at);
        self.state.interrupted.store(true, Ordering::Release);
        if was_ended {
            self.state.aborted.store(true, Ordering::Release);
        }
    }

    /// Ends the schedule of this run, not on behalf of the user.
    pub(super) fn end_schedule(&self) {
        end(&self.ended_at);
    }

    /// A handle of one more run, which the user ends along with all others, and [`Self::end_schedule`] alone.
    #[must_use]
    pub(super) fn of_another_run(&self) -> Self {
        Self { state: Arc::clone(&self.state), ended_at: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Whether [`Self::interrupt`] was called.
    pub fn is_interrupted(&self) -> bool {
        self.state.interrupted.load(Ordering::Acquire)
    }

    /// When the schedule ends (CLOCK_MONOTONIC), at the latest.
    pub(super) fn stop_at(&self) -> u64 {
        self.state.stop_at.load(Ordering::Acquire).min(self.ended_at.load(Ordering::Acquire))
    }

    /// The same in nanoseconds after `start`; `u64::MAX` where nothing ended the schedule.
    pub(super) fn stop_after(&self, start: u64) -> u64 {
        match self.stop_at() {
            u64::MAX => u64::MAX,
            stop => stop.saturating_sub(start),
        }
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.state.aborted.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_interrupt_ends_the_schedule_and_the_second_aborts() {
        let control = Control::default();
        assert!(!control.is_interrupted());
        assert_eq!(control.stop_after(1), u64::MAX);
        control.clone().interrupt();
        assert!(control.is_interrupted() && !control.is_aborted());
        let stop = control.stop_at();
        control.interrupt();
        assert!(control.is_aborted());
        assert_eq!(control.stop_at(), stop);
        assert_eq!((control.stop_after(stop - 1), control.stop_after(u64::MAX)), (1, 0));
    }

    #[test]
    fn a_run_that_ends_itself_leaves_the_next_one_alone_and_the_user_ends_every_one() {
        let all = Control::default();
        let (one, next) = (all.of_another_run(), all.of_another_run());
        one.clone().end_schedule();
        assert!(one.stop_at() != u64::MAX && !one.is_interrupted());
        assert_eq!((next.stop_at(), all.stop_at()), (u64::MAX, u64::MAX));
        all.interrupt();
        assert!([&all, &one, &next].iter().all(|control| control.is_interrupted() && control.stop_at() != u64::MAX));
        assert!(!next.is_aborted(), "it was ended once");
        // Of a run that has ended itself there is nothing left to end but the waiting for answers.
        let alone = Control::default();
        alone.end_schedule();
        alone.interrupt();
        assert!(alone.is_aborted());
    }
}
