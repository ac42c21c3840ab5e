//! What one worker records into: its tally, and the seconds that are not over yet.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;

use super::flows::FlowCounts;
use super::sample::{Outcome, Sample};
use super::series::{OpenSecond, second_of};
use super::tally::Tally;
use super::worker::Event;

/// How many seconds stay open: an answer read at the end of one may be recorded after the first of the next.
const OPEN_SECONDS: usize = 2;

/// Records samples; hands every second over once it is past.
pub struct Recorder {
    tally: Tally,
    seconds: VecDeque<OpenSecond>,
    events: Sender<Event>,
}

impl Recorder {
    /// A recorder for a mix with kinds of these names, in a run of `duration_ns`.
    pub fn new(names: &[String], duration_ns: u64, events: Sender<Event>) -> Self {
        Self { tally: Tally::new(names, duration_ns), seconds: VecDeque::new(), events }
    }

    /// Records a request after its end; `end` is T.
    pub fn record(&mut self, sample: &Sample, end: u64) {
        self.tally.record(sample, end);
        if sample.outcome != Outcome::Unfinished {
            self.second(second_of(sample.finished)).record(sample);
        }
    }

    /// Records a request that was scheduled for `scheduled` and never sent.
    pub fn unsent(&mut self, kind: usize, scheduled: u64) {
        self.tally.unsent(kind, scheduled);
    }

    /// Records how long a connection took to open, in nanoseconds, and its TLS handshake, where there was one.
    pub fn connected(&mut self, connect_ns: u64, tls_ns: Option<u64>) {
        self.tally.distributions.connect.record(connect_ns);
        if let Some(ns) = tls_ns {
            self.tally.distributions.tls.record(ns);
        }
    }

    /// Records how often the target sent what nothing asked for.
    pub fn warned(&mut self, times: u64) {
        self.tally.counts.protocol_warnings += times;
    }

    /// What is counted of flows.
    pub fn flows(&mut self) -> &mut FlowCounts {
        &mut self.tally.flows
    }

    /// What was counted so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Hands the last seconds over and gives the tally out.
    pub fn finish(&mut self) -> Tally {
        while let Some(second) = self.seconds.pop_front() {
            self.hand_over(second);
        }
        std::mem::take(&mut self.tally)
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

    fn hand_over(&self, second: OpenSecond) {
        // The main thread listens until the last worker is done.
        let _ = self.events.send(Event::Second(Box::new(second)));
    }
}
