//! When a worker wakes, looks at answers, and sleeps. Decided here, of instants alone; the worker does it.

use super::gather::Gather;
use crate::bench::schedule::pacing::Pacing;
use crate::bench::transport::{Nap, Wait};

/// How often the loop wakes although nothing is due: it looks at the stop signal, and measures its own punctuality.
const HEARTBEAT_NS: u64 = 25_000_000;
/// How long answers wait for a look at them, give or take a nap, where the kernel notes when they came. Twice as long
/// costs no less.
const UNREAD_NS: u64 = 2_000_000;
/// The longest sleep without a look at what comes.
const NAP_NS: u64 = 1_000_000;
/// How long it waits at most for several answers, if those that others make likely do not come.
const GATHERED_NS: u64 = 1_000_000;

/// What a worker has before it. Instants are nanoseconds after the start.
#[derive(Debug, Clone, Copy)]
pub struct Ahead {
    /// The next arrival of the schedule.
    pub arrival: Option<u64>,
    /// How far arrivals are apart, in nanoseconds; 0 where that is not known.
    pub gap_ns: u64,
    /// The next step of a flow.
    pub step: Option<u64>,
    /// The end of the schedule; after that, the end of the grace time.
    pub end: u64,
    /// The end of the grace time: nothing is sent from then on.
    pub deadline: u64,
    /// When the first request may have taken too long.
    pub expiry: u64,
    /// Whether a connection is free for what comes.
    pub has_place: bool,
    /// Whether that is so for what comes soon, too, if no answer is read.
    pub has_reserve: bool,
    /// How many requests are under way.
    pub busy: usize,
    /// Whether more may be due than was begun.
    pub is_behind: bool,
}

/// What a worker finds when it is awake again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Woken {
    /// When that is, in nanoseconds after the start.
    pub at: u64,
    /// Whether it has slept for what is due: that comes before the answers.
    pub is_for_due: bool,
    /// Whether what has come was not looked at.
    pub is_unread: bool,
}

/// The succession of sleeps of one worker.
#[derive(Debug)]
pub struct Cadence {
    pacing: Pacing,
    /// How many answers a wake-up waits for, if it can be for more than one.
    gather: Option<Gather>,
    /// Time between two arrivals when it last slept, in nanoseconds; 0 where that is not known.
    gap_ns: u64,
    /// Of CLOCK_MONOTONIC, like all instants that follow.
    start: u64,
    wait: Wait,
    /// When the last sleep was to end; before the first one, never.
    asked: u64,
    /// When it last looked at answers, or was to look.
    looked: u64,
    woken: u64,
    longest_gap_ns: u64,
}

impl Cadence {
    /// From `start` on (CLOCK_MONOTONIC).
    pub fn new(pacing: Pacing, gather: Option<Gather>, start: u64) -> Self {
        let (asked, looked, woken) = (u64::MAX, 0, start);
        Self { pacing, gather, gap_ns: 0, start, wait: Wait::Not, asked, looked, woken, longest_gap_ns: 0 }
    }

    /// It is awake, at `now` (CLOCK_MONOTONIC).
    pub fn woke(&mut self, now: u64) -> Woken {
        self.woken = now;
        self.longest_gap_ns = self.longest_gap_ns.max(now.saturating_sub(self.asked));
        let is_unread = matches!(self.wait, Wait::Past(_));
        if !is_unread {
            self.looked = now.min(self.asked);
        }
        let is_for_due = is_unread || matches!(self.wait, Wait::Through(_));
        Woken { at: now.saturating_sub(self.start), is_for_due, is_unread }
    }

    /// It has begun what was due and dealt with so many answers by `now` (nanoseconds after the start). Whoever pauses the
    /// thread then is seen here; and what it does for so long itself keeps other answers waiting, too.
    pub fn worked(&mut self, answers: usize, now: u64) {
        if let Some(gather) = &mut self.gather {
            gather.answered(answers, now);
        }
        let awake = self.start.saturating_add(now).saturating_sub(self.woken);
        self.longest_gap_ns = self.longest_gap_ns.max(awake);
    }

    /// How to sleep, at `now` (nanoseconds after the start): until the next arrival, the next request that takes too
    /// long, the end; and now and then in between.
    pub fn next(&mut self, now: u64, ahead: &Ahead) -> Wait {
        self.wait = if ahead.is_behind || self.pacing == Pacing::Spin { Wait::Not } else { self.sleep(now, ahead) };
        self.gap_ns = ahead.gap_ns;
        self.wait
    }

    fn sleep(&self, now: u64, ahead: &Ahead) -> Wait {
        let heartbeat = now.saturating_add(HEARTBEAT_NS);
        let arrival = ahead.arrival.map(|at| self.wake_for(at, ahead.gap_ns, ahead.deadline)).filter(|at| *at > now);
        let step = ahead.step.map(|at| self.wake_for(at, 0, ahead.deadline)).filter(|at| *at > now);
        let wake = arrival.unwrap_or(heartbeat).min(step.unwrap_or(heartbeat)).min(heartbeat).min(ahead.end);
        let until = self.start.saturating_add(wake.min(ahead.expiry));
        // Sleeping through is for a time that does not matter, and not while a request waits for a connection.
        let is_short = wake.saturating_sub(now) <= NAP_NS && ahead.has_place;
        let nap = || Nap { until, then: self.after(wake, ahead).map(|then| self.start.saturating_add(then)) };
        match is_short {
            true if wake < ahead.end && ahead.has_reserve && until.saturating_sub(self.looked) < UNREAD_NS => {
                Wait::Past(nap())
            }
            true => Wait::Through(nap()),
            false => match self.gather.as_ref().map_or(1, |gather| gather.answers(ahead.busy)) {
                0 | 1 => Wait::Until(until),
                answers => Wait::Several(until.min(self.start.saturating_add(now + GATHERED_NS)), answers),
            },
        }
    }

    /// When to wake for what is due at `at`: together with others, unless that would be too late to send it.
    fn wake_for(&self, at: u64, gap_ns: u64, deadline: u64) -> u64 {
        let together = [self.pacing, Pacing::Exact].map(|pacing| pacing.wake_for(at, gap_ns));
        together.into_iter().find(|wake| *wake < deadline).unwrap_or(at)
    }

    /// When it is likely to wake after `wake`, if arrivals go on as they came.
    fn after(&self, wake: u64, ahead: &Ahead) -> Option<u64> {
        let at = ahead.arrival?;
        let is_even = ahead.gap_ns.abs_diff(self.gap_ns) <= 1;
        let gap_ns = match self.pacing {
            // What comes irregularly and often falls into the next of the equal steps.
            Pacing::Every(_) => ahead.gap_ns.max(1),
            Pacing::Exact | Pacing::Spin if is_even && ahead.gap_ns > 0 => ahead.gap_ns,
            Pacing::Exact | Pacing::Spin => return None,
        };
        let gone = wake.checked_sub(at)? / gap_ns + 1;
        Some(self.pacing.wake_for(at.saturating_add(gone.saturating_mul(gap_ns)), gap_ns))
    }

    /// Takes note of when the sleep was to end (CLOCK_MONOTONIC).
    pub fn slept(&mut self, asked: u64) {
        self.asked = asked;
    }

    /// How late it woke at worst, or how long it was kept from going on, in nanoseconds.
    pub fn longest_gap_ns(&self) -> u64 {
        self.longest_gap_ns
    }

    /// From here on gaps count for the result.
    pub fn warmed_up(&mut self) {
        self.longest_gap_ns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 7_000_000_000;
    const MS: u64 = 1_000_000;
    const US: u64 = 1_000;

    fn ahead(arrival: u64) -> Ahead {
        Ahead {
            arrival: Some(arrival),
            gap_ns: 0,
            step: None,
            end: 10_000 * MS,
            deadline: 20_000 * MS,
            expiry: u64::MAX,
            has_place: true,
            has_reserve: true,
            busy: 0,
            is_behind: false,
        }
    }

    fn cadence(pacing: Pacing) -> Cadence {
        let mut cadence = Cadence::new(pacing, None, START);
        cadence.woke(START);
        cadence
    }

    #[test]
    fn answers_are_looked_at_every_other_millisecond() {
        let mut cadence = cadence(Pacing::Exact);
        let mut unread = Vec::new();
        for tick in 0..60 {
            // Each wake-up 3 µs late, and 20 µs of work.
            let now = tick * 200 * US + 23 * US;
            let wait = cadence.next(now, &Ahead { gap_ns: 100 * US, ..ahead((tick * 2 + 1) * 100 * US) });
            let (Wait::Past(nap) | Wait::Through(nap)) = wait else { panic!("{wait:?}") };
            let until = nap.until;
            assert_eq!(until - START, (tick + 1) * 200 * US, "two share a wake-up");
            assert_eq!(nap.then, (tick > 0).then_some(until + 200 * US), "and so do the next two");
            cadence.slept(until);
            let woken = cadence.woke(until + 3 * US);
            assert!(woken.is_for_due && woken.at == until + 3 * US - START);
            unread.push(woken.is_unread);
        }
        assert!(unread.chunks(10).all(|ten| ten[..9] == [true; 9] && !ten[9]), "{unread:?}");
        // Whoever runs out of free connections looks earlier.
        let ahead = Ahead { gap_ns: 100 * US, has_reserve: false, ..ahead(12_100 * US) };
        assert!(matches!(cadence.next(12_023 * US, &ahead), Wait::Through(_)));
    }

    #[test]
    fn rare_arrivals_are_slept_for_with_an_eye_on_answers() {
        let mut cadence = cadence(Pacing::Exact);
        assert_eq!(cadence.next(0, &ahead(2 * MS)), Wait::Until(START + 2 * MS));
        assert_eq!(cadence.next(0, &ahead(300 * MS)), Wait::Until(START + 25 * MS), "the heartbeat");
        assert_eq!(cadence.next(0, &Ahead { step: Some(3 * MS), ..ahead(9 * MS) }), Wait::Until(START + 3 * MS));
        assert_eq!(cadence.next(0, &Ahead { expiry: MS, ..ahead(9 * MS) }), Wait::Until(START + MS));
        assert_eq!(cadence.next(0, &Ahead { end: 5 * MS, ..ahead(9 * MS) }), Wait::Until(START + 5 * MS));
        assert_eq!(cadence.next(0, &Ahead { arrival: None, ..ahead(0) }), Wait::Until(START + 25 * MS));
    }

    #[test]
    fn whoever_waits_for_a_connection_or_the_end_sees_answers() {
        let mut cadence = cadence(Pacing::Exact);
        assert_eq!(cadence.next(0, &Ahead { has_place: false, ..ahead(200 * US) }), Wait::Until(START + 200 * US));
        assert_eq!(
            cadence.next(0, &Ahead { end: 150 * US, ..ahead(200 * US) }),
            Wait::Through(Nap { until: START + 150 * US, then: None })
        );
    }

    #[test]
    fn whoever_waits_for_others_is_not_late_for_the_end_of_the_grace_time() {
        let every: Pacing = "50ms".parse().unwrap();
        let until = |pacing: Pacing, now: u64, arrival: u64, gap_ns: u64, deadline: u64| {
            let ahead = Ahead { gap_ns, end: 100 * MS, deadline, has_place: false, ..ahead(arrival) };
            match cadence(pacing).next(now, &ahead) {
                Wait::Until(until) => until - START,
                wait => panic!("{wait:?}"),
            }
        };
        assert_eq!(until(every, 90 * MS, 91 * MS, MS, 101 * MS), 100 * MS, "the grace time is enough");
        assert_eq!(until(every, 90 * MS, 91 * MS, MS, 100 * MS), 91 * MS, "one by one");
        assert_eq!(until(every, 90 * MS, 91 * MS, 30 * US, 100 * MS), 91 * MS + 90 * US, "four together");
        assert_eq!(until(Pacing::Exact, 99 * MS, 100 * MS - 20 * US, 30 * US, 100 * MS), 100 * MS - 20 * US);
    }

    #[test]
    fn nothing_is_slept_while_more_is_due_or_by_a_thread_that_spins() {
        assert_eq!(cadence(Pacing::Exact).next(0, &Ahead { is_behind: true, ..ahead(MS) }), Wait::Not);
        assert_eq!(cadence(Pacing::Spin).next(0, &ahead(MS)), Wait::Not);
    }

    #[test]
    fn the_wake_up_after_the_next_one_is_expected() {
        let then = |pacing: Pacing, gaps: [u64; 2], at: u64| {
            let mut cadence = cadence(pacing);
            cadence.next(0, &Ahead { gap_ns: gaps[0], ..ahead(at - gaps[1]) });
            match cadence.next(at - 90 * US, &Ahead { gap_ns: gaps[1], ..ahead(at) }) {
                Wait::Past(nap) | Wait::Through(nap) => nap.then.map(|then| then - START),
                wait => panic!("{wait:?}"),
            }
        };
        assert_eq!(then(Pacing::Exact, [300 * US, 300 * US + 1], 10 * MS), Some(10 * MS + 300 * US + 1), "one by one");
        assert_eq!(then(Pacing::Exact, [30 * US, 30 * US], 10 * MS), Some(10 * MS + 210 * US), "four after four");
        assert_eq!(then(Pacing::Exact, [200 * US, 300 * US], 10 * MS), None, "nobody knows");
        let every: Pacing = "500us".parse().unwrap();
        assert_eq!(then(every, [20 * US, 70 * US], 10 * MS - 1), Some(10 * MS + 500 * US), "the next step");
        assert_eq!(then(every, [20 * US, 700 * US], 10 * MS - 1), Some(11 * MS), "the one after it");
    }

    #[test]
    fn late_wake_ups_and_pauses_are_gaps() {
        let mut cadence = cadence(Pacing::Exact);
        assert_eq!(cadence.longest_gap_ns(), 0, "nothing was asked for before the first sleep");
        cadence.next(0, &ahead(2 * MS));
        cadence.slept(START + 2 * MS);
        assert_eq!(cadence.woke(START + 5 * MS), Woken { at: 5 * MS, is_for_due: false, is_unread: false });
        cadence.worked(0, 6 * MS);
        assert_eq!(cadence.longest_gap_ns(), 3 * MS);
        cadence.warmed_up();
        assert_eq!(cadence.longest_gap_ns(), 0);
        // Being kept from going on is one too: after a wait that ended when something came, as those of a closed loop do,
        cadence.next(6 * MS, &ahead(20 * MS));
        cadence.slept(START + 20 * MS);
        cadence.woke(START + 8 * MS);
        cadence.worked(1, 10 * MS);
        assert_eq!(cadence.longest_gap_ns(), 2 * MS);
        // and after a sleep for what is due.
        cadence.next(50 * MS, &ahead(50 * MS + 100 * US));
        cadence.slept(START + 50 * MS + 100 * US);
        cadence.woke(START + 50 * MS + 100 * US);
        cadence.worked(0, 54 * MS + 100 * US);
        assert_eq!(cadence.longest_gap_ns(), 4 * MS);
    }
}
