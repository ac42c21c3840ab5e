//! What finished in each second of a run, told in order while it goes on: what an interval log is written from.

use std::collections::BTreeMap;

use super::series::{OpenSecond, Second};
use crate::bench::schedule::SECOND_NS;

/// What finished between two instants.
#[derive(Debug, Clone)]
pub struct Lap {
    /// Its beginning, in nanoseconds after the start.
    pub from_ns: u64,
    /// Its end.
    pub to_ns: u64,
    /// What finished in it.
    pub finished: OpenSecond,
}

/// Puts the seconds of all threads together, and gives each out once all threads are past it. Seconds in which nothing
/// finished are given too; all that finished after the schedule's end is one lap.
#[derive(Debug)]
pub struct Laps {
    /// By thread: all that finished before this second has been handed over.
    past: Vec<u64>,
    /// The second that is given next.
    next: u64,
    open: BTreeMap<u64, OpenSecond>,
}

impl Laps {
    /// Nothing yet, of this many threads.
    pub fn new(threads: usize) -> Self {
        Self { past: vec![0; threads], next: 0, open: BTreeMap::new() }
    }

    /// Adds what one thread handed over. What comes too late for its own second counts in the next, so that the laps
    /// sum to the whole.
    pub fn add(&mut self, second: &OpenSecond) {
        let number = second.second.max(self.next);
        self.open.entry(number).or_insert_with(|| OpenSecond::new(number)).merge(second);
    }

    /// A thread has handed over all that finished before `second`.
    pub fn is_past(&mut self, thread: usize, second: u64) {
        if let Some(past) = self.past.get_mut(thread) {
            *past = second.max(*past);
        }
    }

    /// The next second that all threads are past, if it began before the end of the schedule, `duration_ns`. Once all
    /// have ended, that is known, and [`Self::finish`] gives the rest.
    pub fn take(&mut self, duration_ns: u64) -> Option<Lap> {
        let past = self.past.iter().min().copied().unwrap_or(0);
        let is_over = past == u64::MAX;
        (!is_over && self.next < past && self.begin() < duration_ns).then(|| self.give())
    }

    /// Gives the rest out: what is left of the schedule by the second, and then what finished until `elapsed_ns`.
    pub fn finish(mut self, duration_ns: u64, elapsed_ns: u64, each: &mut dyn FnMut(&Lap)) {
        let end = duration_ns.max(elapsed_ns);
        while self.begin() < duration_ns {
            let mut lap = self.give();
            lap.to_ns = lap.to_ns.min(end);
            each(&lap);
        }
        let mut rest = OpenSecond::new(self.next);
        self.open.values().for_each(|second| rest.merge(second));
        if !self.open.is_empty() || end > self.begin() {
            each(&Lap { from_ns: self.begin(), to_ns: end.max(self.begin()), finished: rest });
        }
    }

    /// The laps of a run that has ended, from its series.
    ///
    /// # Errors
    ///
    /// A second of the series is damaged.
    pub fn of_series(
        series: &[Second],
        duration_ns: u64,
        elapsed_ns: u64,
        each: &mut dyn FnMut(&Lap),
    ) -> Result<(), String> {
        let mut laps = Self::new(1);
        for second in series {
            laps.add(&OpenSecond::try_from(second)?);
            laps.is_past(0, second.second + 1);
            while let Some(lap) = laps.take(duration_ns) {
                each(&lap);
            }
        }
        laps.finish(duration_ns, elapsed_ns, each);
        Ok(())
    }

    fn begin(&self) -> u64 {
        self.next.saturating_mul(SECOND_NS)
    }

    fn give(&mut self) -> Lap {
        let finished = self.open.remove(&self.next).unwrap_or_else(|| OpenSecond::new(self.next));
        let from_ns = self.begin();
        self.next += 1;
        Lap { from_ns, to_ns: self.begin(), finished }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Outcome, Sample};
    use super::*;

    const MS: u64 = 1_000_000;

    fn second(number: u64, finished: u64) -> OpenSecond {
        let mut second = OpenSecond::new(number);
        for _ in 0..finished {
            let at = number * SECOND_NS;
            second.record(&Sample {
                n: 0,
                kind: 0,
                scheduled: at,
                ready: at,
                started: at,
                first_byte: at,
                finished: at + MS,
                outcome: Outcome::Ok,
                status: Some(200),
                retries: 0,
                redirects: 0,
                bodies: (0, 0),
                wire: (1, 1),
                bytes: (1, 1),
            });
        }
        second
    }

    fn line(lap: &Lap) -> (u64, u64, u64) {
        (lap.from_ns / MS, lap.to_ns / MS, lap.finished.response.count())
    }

    #[test]
    fn a_second_is_given_once_all_threads_are_past_it_and_the_laps_sum_to_the_whole() {
        let duration = 4 * SECOND_NS;
        let mut laps = Laps::new(2);
        let mut given = Vec::new();
        let take = |laps: &mut Laps, given: &mut Vec<_>| {
            while let Some(lap) = laps.take(duration) {
                given.push(line(&lap));
            }
        };
        laps.add(&second(0, 3));
        laps.is_past(0, 2);
        take(&mut laps, &mut given);
        assert!(given.is_empty(), "the other thread may still have something");
        laps.add(&second(0, 2));
        laps.is_past(1, 1);
        take(&mut laps, &mut given);
        assert_eq!(given, [(0, 1000, 5)]);
        laps.is_past(1, 3);
        laps.is_past(0, 3);
        take(&mut laps, &mut given);
        assert_eq!(given[1..], [(1000, 2000, 0), (2000, 3000, 0)], "empty seconds are laps too");
        // Too late for its second.
        laps.add(&second(1, 1));
        for number in [3, 4, 6] {
            laps.add(&second(number, 10));
        }
        laps.is_past(0, u64::MAX);
        laps.is_past(1, u64::MAX);
        take(&mut laps, &mut given);
        laps.finish(duration, 6_200 * MS, &mut |lap| given.push(line(lap)));
        assert_eq!(given[3..], [(3000, 4000, 11), (4000, 6200, 20)], "the last covers the grace time");
    }

    #[test]
    fn a_series_gives_the_same_laps() {
        let of = |numbers: &[u64], duration_ms: u64, elapsed_ms: u64| {
            let series: Vec<_> = numbers.iter().enumerate().map(|(i, n)| Second::from(&second(i as u64, *n))).collect();
            let mut given = Vec::new();
            Laps::of_series(&series, duration_ms * MS, elapsed_ms * MS, &mut |lap| given.push(line(lap))).unwrap();
            given
        };
        assert_eq!(of(&[5, 6], 2_000, 2_000), [(0, 1000, 5), (1000, 2000, 6)]);
        assert_eq!(of(&[5, 6, 1], 2_000, 2_030), [(0, 1000, 5), (1000, 2000, 6), (2000, 2030, 1)]);
        assert_eq!(of(&[5], 3_000, 3_000), [(0, 1000, 5), (1000, 2000, 0), (2000, 3000, 0)], "a target that froze");
        assert_eq!(of(&[5, 6], 1_500, 1_700), [(0, 1000, 5), (1000, 2000, 6)]);
        assert_eq!(of(&[], 0, 0), []);
    }
}
