//! The batches of one thread while it runs: it holds those into which it still counts, and gives the others away, so
//! that its memory does not grow with the length of the run.

use serde::{Deserialize, Serialize};

use super::batches::{Batch, Batches};
use super::sample::Sample;
use super::sparse::Sparse;
use crate::bench::schedule::SECOND_NS;

/// How long a batch is held after the last request was counted into it, while others are counted into: most answers
/// come within a minute. Later ones make a batch of the same slice once more.
const HELD_NS: u64 = 60 * SECOND_NS;
/// The fewest that are held.
const FEWEST: usize = 4;

/// A part of a batch, as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Which one, in slices of this length from the start on.
    index: u64,
    width_ns: u64,
    scheduled: u64,
    response: Sparse,
    service: Sparse,
}

/// Those into which a thread counts at present.
#[derive(Debug)]
pub struct Slices {
    width_ns: u64,
    /// With their numbers; the one counted into last at the end.
    held: Vec<(u64, Batch)>,
}

impl Slices {
    /// None yet, of a run of `duration_ns` (`u64::MAX`: not known yet).
    pub fn for_duration(duration_ns: u64) -> Self {
        Self { width_ns: Batches::for_duration(duration_ns).width_ns(), held: Vec::new() }
    }

    /// Counts a request that was sent, after its end; returns what is no longer held.
    pub fn record(&mut self, sample: &Sample) -> Option<Slice> {
        let (batch, gone) = self.at(sample.scheduled);
        batch.record(sample);
        gone
    }

    /// Counts a request that was scheduled for `scheduled` nanoseconds after the start and never sent; returns what is
    /// no longer held.
    pub fn unsent(&mut self, scheduled: u64) -> Option<Slice> {
        let (batch, gone) = self.at(scheduled);
        batch.scheduled += 1;
        gone
    }

    /// Gives away one of those that are held.
    pub fn pop(&mut self) -> Option<Slice> {
        self.held.pop().map(|held| self.give_away(held))
    }

    fn at(&mut self, scheduled: u64) -> (&mut Batch, Option<Slice>) {
        while scheduled / self.width_ns >= Batches::MOST as u64 {
            self.coarsen();
        }
        let index = scheduled / self.width_ns;
        let mut gone = None;
        match self.held.iter().rposition(|(other, _)| *other == index) {
            Some(place) => self.held[place..].rotate_left(1),
            None => {
                if self.held.len() >= FEWEST.max(HELD_NS.div_ceil(self.width_ns) as usize) {
                    let oldest = self.held.remove(0);
                    gone = Some(self.give_away(oldest));
                }
                self.held.push((index, Batch::default()));
            }
        }
        let last = self.held.len() - 1;
        (&mut self.held[last].1, gone)
    }

    fn give_away(&self, (index, batch): (u64, Batch)) -> Slice {
        let Batch { scheduled, response, service } = batch;
        Slice { index, width_ns: self.width_ns, scheduled, response, service }
    }

    /// Makes one of every two neighbours.
    fn coarsen(&mut self) {
        self.width_ns *= 2;
        let mut coarser: Vec<(u64, Batch)> = Vec::new();
        for (index, batch) in self.held.drain(..) {
            match coarser.iter_mut().find(|(other, _)| *other == index / 2) {
                Some((_, other)) => other.merge(&batch),
                None => coarser.push((index / 2, batch)),
            }
        }
        self.held = coarser;
    }
}

impl Batches {
    /// The batches of all slices of a run.
    pub fn of_slices(slices: impl IntoIterator<Item = Slice>) -> Self {
        let mut batches = Self::default();
        for Slice { index, width_ns, scheduled, response, service } in slices {
            batches.add(width_ns, index, &Batch { scheduled, response, service });
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Outcome;
    use super::*;

    const MS: u64 = 1_000_000;

    fn sample(n: u64, scheduled: u64) -> Sample {
        Sample {
            n,
            kind: 0,
            scheduled,
            ready: scheduled,
            started: scheduled + n % 13 * MS,
            first_byte: scheduled + n % 13 * MS + MS,
            finished: scheduled + n % 13 * MS + MS + n * 1000,
            outcome: if n % 10 == 3 { Outcome::Unfinished } else { Outcome::Ok },
            status: Some(200),
            retries: 0,
            redirects: 0,
            bodies: (0, 0),
            wire: (1, 1),
            bytes: (1, 1),
        }
    }

    /// Requests whose ends come in another order than they were scheduled, by up to `late` of them.
    fn order(count: u64, late: u64) -> impl Iterator<Item = u64> {
        let mut numbers: Vec<u64> = (0..count).collect();
        numbers.sort_by_key(|n| n + n * 7919 % late.max(1));
        numbers.into_iter()
    }

    #[test]
    fn slices_sum_to_the_batches_whatever_the_order_and_the_length() {
        for (count, gap_ms, late) in [(500, 7, 1), (5_000, 7, 300), (20_000, 100, 1), (20_000, 100, 5_000)] {
            for known in [true, false] {
                let duration = if known { count * gap_ms * MS } else { u64::MAX };
                let mut slices = Slices::for_duration(duration);
                let mut given = Vec::new();
                let mut whole = Batches::for_duration(duration);
                let mut most = 0;
                for n in order(count, late) {
                    let scheduled = n * gap_ms * MS;
                    if n % 11 == 5 {
                        whole.unsent(scheduled);
                        given.extend(slices.unsent(scheduled));
                    } else {
                        whole.record(&sample(n, scheduled));
                        given.extend(slices.record(&sample(n, scheduled)));
                    }
                    most = most.max(slices.held.len());
                }
                let is_long = count * gap_ms > 1_000_000;
                assert_eq!(!given.is_empty(), is_long, "only a long run gives away: {count}, {late}");
                assert!(!known || !is_long || most <= 4, "{most} held of slices of 32 s");
                given.extend(std::iter::from_fn(|| slices.pop()));
                // The disk keeps them as they are.
                let json = serde_json::to_string(&given).unwrap();
                assert_eq!(serde_json::from_str::<Vec<Slice>>(&json).unwrap(), given);
                assert_eq!(Batches::of_slices(given), whole, "{count}, {late}, {known}");
            }
        }
    }
}
