//! What one worker records into: its tally, and the seconds that are not over yet.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;

use super::Event;
use crate::bench::record::sample::{Outcome, Sample};
use crate::bench::record::series::{OpenSecond, second_of};
use crate::bench::record::slices::{Slice, Slices};
use crate::bench::record::tally::{FlowCounts, Tally};

/// How many seconds stay open: an answer read at the end of one may be recorded after the first of the next.
const OPEN_SECONDS: usize = 2;
/// How many samples are recorded at a time. A sample goes into a dozen histograms; a thread that has slept finds none of
/// them, nor the code, in the processor's cache, and pays for that once a batch.
const BATCH: usize = 64;

/// Records samples; hands every second over once it is past.
pub struct Recorder {
    tally: Tally,
    /// What was scheduled before `measured_from`.
    warmup: Tally,
    /// Whether kinds need not be counted apart.
    has_one_kind: bool,
    /// When the warm-up ends: its instants count from the start, all others from here.
    measured_from: u64,
    seconds: VecDeque<OpenSecond>,
    slices: Slices,
    /// What is still to be recorded, with T as it was then.
    noted: Vec<(Sample, u64)>,
    /// All that finished before this second has been handed over.
    past: u64,
    thread: usize,
    events: Sender<Event>,
}

impl Recorder {
    /// A recorder of thread number `thread` for a mix with kinds of these names, in a run of `duration_ns`, the first `warmup_ns` of which are
    /// counted apart.
    pub fn new(names: &[String], duration_ns: u64, warmup_ns: u64, thread: usize, events: Sender<Event>) -> Self {
        let measured_ns = if duration_ns == u64::MAX { u64::MAX } else { duration_ns.saturating_sub(warmup_ns) };
        Self {
            tally: Tally::new(names),
            warmup: Tally::new(names),
            has_one_kind: names.len() == 1,
            measured_from: warmup_ns,
            seconds: VecDeque::new(),
            slices: Slices::for_duration(measured_ns),
            noted: Vec::with_capacity(BATCH),
            past: 0,
            thread,
            events,
        }
    }

    /// Takes a request after its end; `end` is T.
    pub fn record(&mut self, sample: Sample, end: u64) {
        self.noted.push((sample, end));
        if self.noted.len() == BATCH {
            self.catch_up();
        }
    }

    fn catch_up(&mut self) {
        let mut noted = std::mem::take(&mut self.noted);
        noted.drain(..).for_each(|(sample, end)| self.enter(sample, end));
        self.noted = noted;
    }

    fn enter(&mut self, mut sample: Sample, end: u64) {
        let record = if self.has_one_kind { Tally::record_of_all } else { Tally::record };
        if sample.scheduled < self.measured_from {
            return record(&mut self.warmup, &sample, end.min(self.measured_from));
        }
        sample.rebase(self.measured_from);
        record(&mut self.tally, &sample, end.saturating_sub(self.measured_from));
        let past = self.slices.record(&sample);
        self.give_away(past);
        if sample.outcome != Outcome::Unfinished {
            self.second(second_of(sample.finished)).record(&sample);
        }
    }

    /// Records a request that was scheduled for `scheduled` and never sent.
    pub fn unsent(&mut self, kind: usize, scheduled: u64) {
        match scheduled.checked_sub(self.measured_from) {
            Some(scheduled) => {
                self.tally.unsent(kind);
                let past = self.slices.unsent(scheduled);
                self.give_away(past);
            }
            None => self.warmup.unsent(kind),
        }
    }

    /// Takes note, at the end of the warm-up, of how often the target had sent what nothing asked for.
    pub fn warmed_up(&mut self, warnings: u64) {
        self.warmup.counts.protocol_warnings = warnings;
    }

    /// Records how long a connection took to open, in nanoseconds, and its TLS handshake, where there was one.
    pub fn connected(&mut self, connect_ns: u64, tls_ns: Option<u64>) {
        self.tally.distributions.connect.record(connect_ns);
        if let Some(ns) = tls_ns {
            self.tally.distributions.tls.record(ns);
        }
    }

    /// Records how often the target sent what nothing asked for, in all.
    pub fn warned(&mut self, times: u64) {
        self.tally.counts.protocol_warnings = times.saturating_sub(self.warmup.counts.protocol_warnings);
    }

    /// What is counted of the flows that were due at `scheduled`.
    pub fn flows(&mut self, scheduled: u64) -> &mut FlowCounts {
        if scheduled < self.measured_from { &mut self.warmup.flows } else { &mut self.tally.flows }
    }

    /// What was counted so far of the part that `now` lies in.
    pub fn tally(&mut self, now: u64) -> &Tally {
        self.catch_up();
        if now < self.measured_from { &self.warmup } else { &self.tally }
    }

    /// Hands the last seconds and slices over, and gives the tally out and that of the warm-up.
    pub fn finish(mut self) -> (Tally, Tally) {
        self.catch_up();
        while let Some(second) = self.seconds.pop_front() {
            self.hand_over(second);
        }
        self.is_past(u64::MAX);
        while let Some(slice) = self.slices.pop() {
            self.give_away(Some(slice));
        }
        if self.has_one_kind {
            self.tally.is_of_one_kind();
            self.warmup.is_of_one_kind();
        }
        (self.tally, self.warmup)
    }

    /// Hands over what is past at `now`, even if nothing more finishes.
    pub fn advance(&mut self, now: u64) {
        self.catch_up();
        let open = OPEN_SECONDS as u64 - 1;
        let past = second_of(now.saturating_sub(self.measured_from)).saturating_sub(open);
        if past <= self.past {
            return;
        }
        while let Some(i) = self.seconds.iter().position(|s| s.second < past)
            && let Some(second) = self.seconds.remove(i)
        {
            self.hand_over(second);
        }
        self.is_past(past);
    }

    fn is_past(&mut self, second: u64) {
        self.past = second;
        let _ = self.events.send(Event::Past { thread: self.thread, second });
    }

    fn second(&mut self, number: u64) -> &mut OpenSecond {
        let position = match self.seconds.iter().position(|s| s.second == number) {
            Some(position) => position,
            None => {
                if self.seconds.len() == OPEN_SECONDS
                    && let Some(oldest) = self.seconds.pop_front()
                {
                    self.hand_over(oldest);
                }
                self.seconds.push_back(OpenSecond::new(number));
                self.seconds.len() - 1
            }
        };
        &mut self.seconds[position]
    }

    fn give_away(&self, slice: Option<Slice>) {
        if let Some(slice) = slice {
            let _ = self.events.send(Event::Slice(Box::new(slice)));
        }
    }

    fn hand_over(&self, second: OpenSecond) {
        // The main thread listens until the last worker is done.
        let _ = self.events.send(Event::Second(Box::new(second)));
    }
}
