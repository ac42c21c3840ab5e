//! Response times in equal slices of the schedule: what intervals of confidence, and comparisons of runs, rest on.

use serde::{Deserialize, Serialize};

use super::sample::{Outcome, Sample};
use super::sparse::{Sparse, packed};
use crate::bench::schedule::SECOND_NS;

/// The requests that were scheduled in one slice of time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Batch {
    /// How many were scheduled in it. Those that did not end well rank above all of [`Self::response`].
    pub scheduled: u64,
    /// Response times of those that ended well.
    #[serde(with = "packed")]
    pub response: Sparse,
    /// Service times of those that ended well; empty in results of versions that did not keep them.
    #[serde(default, with = "packed")]
    pub service: Sparse,
}

/// Which time of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// finished − scheduled.
    Response,
    /// finished − started.
    Service,
}

impl Batch {
    /// Counts a request that was sent, after its end.
    pub fn record(&mut self, sample: &Sample) {
        self.scheduled += 1;
        if sample.outcome == Outcome::Ok {
            self.response.record(sample.response_time());
            self.service.record(sample.service_time());
        }
    }

    /// Adds what another batch counted.
    pub fn merge(&mut self, other: &Self) {
        self.scheduled += other.scheduled;
        self.response.merge(&other.response);
        self.service.merge(&other.service);
    }

    /// Response or service times of those that ended well.
    pub fn times(&self, span: Span) -> &Sparse {
        match span {
            Span::Response => &self.response,
            Span::Service => &self.service,
        }
    }
}

/// The batches of a run, by when requests were scheduled: equal slices of time from the start on, of which there are
/// at most [`Self::MOST`]. Whatever lies beyond them makes every two neighbours one, so that the memory does not depend
/// on the length of the run. A slice is always [`Self::FINEST_NS`] times a power of two: those of several threads, or
/// of several results, can be laid over each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Batches {
    width_ns: u64,
    batches: Vec<Batch>,
}

/// Batches as a file has them.
#[derive(Deserialize)]
struct Unchecked {
    width_ns: u64,
    batches: Vec<Batch>,
}

impl TryFrom<Unchecked> for Batches {
    type Error = String;

    fn try_from(found: Unchecked) -> Result<Self, String> {
        let Unchecked { width_ns, batches } = found;
        if !width_ns.is_multiple_of(Self::FINEST_NS) || !(width_ns / Self::FINEST_NS).is_power_of_two() {
            return Err(format!("batches of {width_ns} ns: not {} ns times a power of two", Self::FINEST_NS));
        }
        if batches.len() > Self::MOST {
            return Err(format!("{} batches, where at most {} are possible", batches.len(), Self::MOST));
        }
        if width_ns.checked_mul(batches.len() as u64).is_none() {
            return Err(format!("{} batches of {width_ns} ns: more time than there is", batches.len()));
        }
        Ok(Self { width_ns, batches })
    }
}

impl Default for Batches {
    fn default() -> Self {
        Self { width_ns: Self::FINEST_NS, batches: Vec::new() }
    }
}

impl Batches {
    /// The most batches there are.
    pub const MOST: usize = 64;
    /// The shortest slice: whole seconds are a whole number of slices of any run of up to 64 s.
    pub const FINEST_NS: u64 = SECOND_NS / 64;

    /// No batches yet, of slices that need not be made coarser in a run of `duration_ns`, where that is known
    /// (`u64::MAX` where it is not).
    pub fn for_duration(duration_ns: u64) -> Self {
        let mut width_ns = Self::FINEST_NS;
        while duration_ns < u64::MAX && duration_ns.div_ceil(width_ns) > Self::MOST as u64 {
            width_ns *= 2;
        }
        Self { width_ns, batches: Vec::new() }
    }

    /// The length of a slice.
    pub fn width_ns(&self) -> u64 {
        self.width_ns
    }

    /// The batches from the start on; those in which nothing was scheduled are empty.
    pub fn as_slice(&self) -> &[Batch] {
        &self.batches
    }

    /// Counts a request that was sent, after its end.
    pub fn record(&mut self, sample: &Sample) {
        self.at(sample.scheduled).record(sample);
    }

    /// Counts a request that was scheduled for `scheduled` nanoseconds after the start and never sent.
    pub fn unsent(&mut self, scheduled: u64) {
        self.at(scheduled).scheduled += 1;
    }

    /// Adds batches of the same time: of another thread, or of another result.
    pub fn merge(&mut self, other: &Self) {
        self.widen(other.width_ns);
        for (index, batch) in (0..).zip(&other.batches) {
            self.add(other.width_ns, index, batch);
        }
    }

    /// Adds a batch of the slice of this number among slices of `width_ns`.
    pub(in crate::bench) fn add(&mut self, width_ns: u64, index: u64, batch: &Batch) {
        self.widen(width_ns);
        self.at(index * width_ns).merge(batch);
    }

    /// Makes slices at least this long.
    fn widen(&mut self, width_ns: u64) {
        while self.width_ns < width_ns {
            self.coarsen();
        }
    }

    fn at(&mut self, scheduled: u64) -> &mut Batch {
        while scheduled / self.width_ns >= Self::MOST as u64 {
            self.coarsen();
        }
        let index = (scheduled / self.width_ns) as usize;
        if self.batches.len() <= index {
            self.batches.resize_with(index + 1, Batch::default);
        }
        &mut self.batches[index]
    }

    fn coarsen(&mut self) {
        for i in 0..self.batches.len() / 2 {
            let second = std::mem::take(&mut self.batches[2 * i + 1]);
            self.batches[2 * i].merge(&second);
            self.batches.swap(i, 2 * i);
        }
        let (pairs, single) = (self.batches.len() / 2, self.batches.len() % 2);
        if single == 1 {
            self.batches.swap(pairs, 2 * pairs);
        }
        self.batches.truncate(pairs + single);
        self.width_ns *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn sample(n: u64, scheduled: u64) -> Sample {
        let fault = || {
            use super::super::sample::{Cause, Fault, Phase, Side};
            Fault::new(Phase::Head, Cause::Reset, Side::Server, "reset")
        };
        Sample {
            n,
            kind: 0,
            scheduled,
            ready: scheduled,
            started: scheduled,
            first_byte: scheduled + MS,
            finished: scheduled + MS + n * 1000,
            outcome: if n % 10 == 3 { Outcome::NetworkError(fault()) } else { Outcome::Ok },
            status: Some(200),
            retries: 0,
            redirects: 0,
            bodies: (0, 0),
            wire: (1, 1),
            bytes: (1, 1),
        }
    }

    /// `count` requests, one every 7 ms, of which every tenth fails and every eleventh is never sent.
    fn of(mut batches: Batches, count: u64, numbers: impl Fn(u64) -> bool) -> Batches {
        for n in (0..count).filter(|n| numbers(*n)) {
            let scheduled = n * 7 * MS;
            if n % 11 == 5 { batches.unsent(scheduled) } else { batches.record(&sample(n, scheduled)) }
        }
        batches
    }

    #[test]
    fn batches_are_few_and_each_holds_what_was_scheduled_in_its_slice() {
        // 70 ms, 10 s, 70 s and 700 s; a slice is the smallest of 1/64 s times a power of two of which 64 are enough.
        for (count, width_ns, batches) in
            [(10, 15_625_000, 5), (1429, 250 * MS, 40), (10_000, 2_000 * MS, 35), (100_000, 16_000 * MS, 44)]
        {
            let found = of(Batches::default(), count, |_| true);
            assert_eq!((found.width_ns(), found.as_slice().len()), (width_ns, batches), "{count}");
            for (i, batch) in (0..).zip(found.as_slice()) {
                let numbers = |of: &dyn Fn(u64) -> bool| {
                    (0..count).filter(|n| n * 7 * MS / width_ns == i && of(*n)).count() as u64
                };
                assert_eq!(batch.scheduled, numbers(&|_| true), "{count}, batch {i}");
                assert_eq!(batch.response.count(), numbers(&|n| n % 10 != 3 && n % 11 != 5), "{count}, batch {i}");
            }
            let known = of(Batches::for_duration(count * 7 * MS), count, |_| true);
            assert_eq!(known, found, "a length that is known beforehand changes nothing");
        }
    }

    #[test]
    fn merging_any_split_equals_the_whole_even_of_parts_of_other_slices() {
        let whole = of(Batches::default(), 5_000, |_| true);
        for parts in [2, 3, 16] {
            let mut merged = Batches::default();
            for k in 0..parts {
                merged.merge(&of(Batches::default(), 5_000, |n| n % parts == k));
            }
            assert_eq!(merged, whole, "{parts} threads");
        }
        for (first, second) in [(50, 5_000), (5_000, 50)] {
            let mut merged = of(Batches::default(), first, |_| true);
            merged.merge(&of(Batches::default(), second, |_| true));
            assert_eq!(merged.width_ns(), whole.width_ns());
            assert_eq!(merged.as_slice().iter().map(|b| b.scheduled).sum::<u64>(), 5_050);
            assert_eq!(merged.as_slice()[0].scheduled, whole.as_slice()[0].scheduled + 50);
        }
    }

    #[test]
    fn the_json_form_brings_the_same_batches_back_and_refuses_others() {
        let batches = of(Batches::default(), 500, |_| true);
        let json = serde_json::to_string(&batches).unwrap();
        assert_eq!(serde_json::from_str::<Batches>(&json).unwrap(), batches);
        for (wrong, said) in [
            (r#"{"width_ns": 0, "batches": []}"#, "power of two"),
            (r#"{"width_ns": 46875000, "batches": []}"#, "power of two"),
        ] {
            let error = serde_json::from_str::<Batches>(wrong).unwrap_err().to_string();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }
}
