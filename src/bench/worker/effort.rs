//! How hard a thread worked: whether there were seconds in which it was never idle.

use std::fs;

use crate::bench::schedule::SECOND_NS;

/// The part of a second from which on a thread counts as never idle. What is left are the gaps of measuring.
const BUSY_PERCENT: u64 = 95;

/// What the calling thread has had and missed of the processors so far, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct ThreadTimes {
    /// How long it ran.
    ran: u64,
    /// How long it was runnable but did not run.
    waited: u64,
}

impl ThreadTimes {
    /// Those of the calling thread; `None` where the kernel does not say.
    fn now() -> Option<Self> {
        let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        let mut fields = text.split_whitespace().map(str::parse);
        Some(Self { ran: fields.next()?.ok()?, waited: fields.next()?.ok()? })
    }
}

/// Watches the calling thread, a second at a time.
#[derive(Debug, Default)]
pub struct Effort {
    first: ThreadTimes,
    last: ThreadTimes,
    /// When the second that is watched began, in nanoseconds of any clock that runs evenly.
    began: u64,
    never_idle_ns: u64,
    is_known: bool,
}

impl Effort {
    /// Begins to watch at `now`.
    pub fn begin(now: u64) -> Self {
        let times = ThreadTimes::now();
        let first = times.unwrap_or_default();
        Self { first, last: first, began: now, never_idle_ns: 0, is_known: times.is_some() }
    }

    /// Looks at the second that is over at `now`; does nothing before that.
    pub fn look(&mut self, now: u64) {
        if self.is_known
            && now.saturating_sub(self.began) >= SECOND_NS
            && let Some(times) = ThreadTimes::now()
        {
            self.take(times, now);
        }
    }

    fn take(&mut self, times: ThreadTimes, now: u64) {
        let busy = (times.ran + times.waited).saturating_sub(self.last.ran + self.last.waited);
        let elapsed = now.saturating_sub(self.began);
        if busy.saturating_mul(100) >= elapsed.saturating_mul(BUSY_PERCENT) {
            self.never_idle_ns += elapsed;
        }
        self.last = times;
        self.began = now;
    }

    /// How long the seconds were, together, in which it was never idle, in nanoseconds: it ran, or waited to.
    pub fn never_idle_ns(&self) -> u64 {
        self.never_idle_ns
    }

    /// How long it has waited for a processor, in nanoseconds.
    pub fn waited_ns(&self) -> u64 {
        let now = if self.is_known { ThreadTimes::now() } else { None };
        now.map_or(0, |now| now.waited.saturating_sub(self.first.waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_seconds_without_idling_count() {
        let mut effort = Effort { is_known: true, ..Effort::default() };
        let mut times = ThreadTimes::default();
        for (second, (ran, waited)) in [(500, 0), (960, 0), (400, 560), (940, 0)].into_iter().enumerate() {
            times.ran += ran * 1_000_000;
            times.waited += waited * 1_000_000;
            effort.take(times, (second as u64 + 1) * SECOND_NS);
        }
        assert_eq!(effort.never_idle_ns(), 2 * SECOND_NS);
    }
}
