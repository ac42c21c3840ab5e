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
}

#[derive(Debug)]
struct State {
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
        }
    }
}

impl Control {
    /// First call: ends the schedule; what is due is still sent and awaited for the grace time. Second call: aborts.
    pub fn interrupt(&self) {
        let was_ended = !self.end_schedule();
        self.state.interrupted.store(true, Ordering::Release);
        if was_ended {
            self.state.aborted.store(true, Ordering::Release);
        }
    }

    /// Ends the schedule, not on behalf of the user; whether it had not been ended before.
    pub(super) fn end_schedule(&self) -> bool {
        let stop = now_ns() + NOTICE_NS;
        self.state.stop_at.compare_exchange(u64::MAX, stop, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether [`Self::interrupt`] was called.
    pub fn is_interrupted(&self) -> bool {
        self.state.interrupted.load(Ordering::Acquire)
    }

    /// When the schedule ends (CLOCK_MONOTONIC), at the latest.
    pub(super) fn stop_at(&self) -> u64 {
        self.state.stop_at.load(Ordering::Acquire)
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
        control.clone().interrupt();
        assert!(control.is_interrupted() && !control.is_aborted());
        let stop = control.stop_at();
        control.interrupt();
        assert!(control.is_aborted());
        assert_eq!(control.stop_at(), stop);
    }
}
