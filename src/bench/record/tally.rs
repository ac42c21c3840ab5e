//! Everything that is counted in a run. Each thread has a tally of its own; merging those of any split of a run equals
//! the tally of the whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::batches::Batches;
use super::distribution::Distribution;
use super::sample::{FaultKind, Outcome, Sample};

/// How many failing exchanges of each kind are kept as evidence: there are only so many kinds.
const EVIDENCE: usize = 2;

/// How many requests ended how. Nothing is dropped: see [`Counts::holds`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Arrivals of the schedule.
    pub scheduled: u64,
    /// Of these, begun.
    pub sent: u64,
    /// Of these, not begun until the grace time ended.
    pub unsent: u64,
    /// The whole answer came, as it was expected: with a status below 400 unless something else was said.
    pub ok: u64,
    /// The whole answer came, with a status of 400 or above, or not as it was expected.
    pub http_error: u64,
    /// Failed before the whole answer came.
    pub network_error: u64,
    /// Took longer than the timeout.
    pub timeout: u64,
    /// In flight when the grace time ended.
    pub unfinished: u64,
    /// Sent a second time because the target had closed the reused connection.
    pub retries: u64,
    /// Redirects that were followed, each of them a request of its own on the wire.
    #[serde(default)]
    pub redirects: u64,
    /// Request heads that the server must have counted, at least and at most.
    pub wire: [u64; 2],
    /// How often the target sent bytes that nothing asked for, after an answer or between two.
    #[serde(default)]
    pub protocol_warnings: u64,
}

impl Counts {
    /// The counting identity: scheduled = sent + unsent, sent = ok + http_error + network_error + timeout + unfinished.
    pub fn holds(&self) -> bool {
        self.scheduled == self.sent + self.unsent
            && self.sent == self.ok + self.http_error + self.network_error + self.timeout + self.unfinished
    }

    /// 1 − ok / scheduled.
    pub fn error_rate(&self) -> f64 {
        if self.scheduled == 0 { 0.0 } else { self.not_ok() as f64 / self.scheduled as f64 }
    }

    /// How many were sent and failed, whatever the reason; of those still under way nobody knows.
    pub fn failed(&self) -> u64 {
        // A file that was made by hand may hold any numbers.
        self.http_error.saturating_add(self.network_error).saturating_add(self.timeout)
    }

    /// How many did not end well, whether they failed, were under way at the end, or were not sent.
    pub fn not_ok(&self) -> u64 {
        self.scheduled.saturating_sub(self.ok)
    }

    fn record(&mut self, sample: &Sample) {
        self.scheduled += 1;
        self.sent += 1;
        *match sample.outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::HttpError(_) => &mut self.http_error,
            Outcome::NetworkError(_) => &mut self.network_error,
            Outcome::Timeout(_) => &mut self.timeout,
            Outcome::Unfinished => &mut self.unfinished,
        } += 1;
        self.retries += sample.retries;
        self.redirects += sample.redirects;
        self.wire[0] += sample.wire.0;
        self.wire[1] += sample.wire.1;
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &Self) {
        self.scheduled += other.scheduled;
        self.sent += other.sent;
        self.unsent += other.unsent;
        self.ok += other.ok;
        self.http_error += other.http_error;
        self.network_error += other.network_error;
        self.timeout += other.timeout;
        self.unfinished += other.unfinished;
        self.retries += other.retries;
        self.redirects += other.redirects;
        self.wire[0] += other.wire[0];
        self.wire[1] += other.wire[1];
        self.protocol_warnings += other.protocol_warnings;
    }
}

/// How many flows ended how: see [`FlowCounts::holds`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FlowCounts {
    /// Flows whose first step was begun.
    pub started: u64,
    /// Of these, all steps ended well.
    pub completed: u64,
    /// A step failed, and none followed.
    pub broken: u64,
    /// Still at it when the grace time ended.
    pub unfinished: u64,
}

impl FlowCounts {
    /// The counting identity: started = completed + broken + unfinished.
    pub fn holds(&self) -> bool {
        self.started == self.completed + self.broken + self.unfinished
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &Self) {
        self.started += other.started;
        self.completed += other.completed;
        self.broken += other.broken;
        self.unfinished += other.unfinished;
    }
}

/// The distributions of a run, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Distributions {
    /// finished − scheduled, of the requests that ended well.
    pub response: Distribution,
    /// finished − started, of the requests that ended well.
    pub service: Distribution,
    /// ready − scheduled, of all that were sent.
    pub pool_wait: Distribution,
    /// started − ready, of all that were sent.
    pub own_lag: Distribution,
    /// started − scheduled, of all that were sent.
    pub send_lag: Distribution,
    /// finished − scheduled, of the requests that failed.
    pub failed: Distribution,
    /// Response time less own lag, of the requests that ended well: what the verdict compares with.
    pub response_without_own_lag: Distribution,
    /// First byte of the answer − started, where a byte came.
    pub first_byte: Distribution,
    /// Connection set-up that the run waited for or made beforehand.
    pub connect: Distribution,
    /// TLS handshakes.
    pub tls: Distribution,
}

impl Distributions {
    fn record(&mut self, sample: &Sample) {
        self.pool_wait.record(sample.pool_wait());
        self.own_lag.record(sample.own_lag());
        self.send_lag.record(sample.started.saturating_sub(sample.scheduled));
        if sample.first_byte > 0 {
            self.first_byte.record(sample.first_byte.saturating_sub(sample.started));
        }
        match sample.outcome {
            Outcome::Ok => {
                let response = sample.response_time();
                self.response.record(response);
                self.response_without_own_lag.record(response.saturating_sub(sample.own_lag()));
                self.service.record(sample.service_time());
            }
            Outcome::HttpError(_) | Outcome::NetworkError(_) | Outcome::Timeout(_) => {
                self.failed.record(sample.response_time());
            }
            Outcome::Unfinished => {}
        }
    }

    fn merge(&mut self, other: &Self) {
        self.response.merge(&other.response);
        self.service.merge(&other.service);
        self.pool_wait.merge(&other.pool_wait);
        self.own_lag.merge(&other.own_lag);
        self.send_lag.merge(&other.send_lag);
        self.failed.merge(&other.failed);
        self.response_without_own_lag.merge(&other.response_without_own_lag);
        self.first_byte.merge(&other.first_byte);
        self.connect.merge(&other.connect);
        self.tls.merge(&other.tls);
    }
}

/// A failure kind and how often it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCount {
    /// Phase, cause and side.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// How often.
    pub count: u64,
}

/// One failing exchange, kept as evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Number of the request in the run.
    pub n: u64,
    /// Name of its kind.
    pub request: String,
    /// When it was scheduled, in nanoseconds after the start.
    pub scheduled_ns: u64,
    /// When the failure was known.
    pub finished_ns: u64,
    /// Phase, cause and side.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// What was observed.
    pub detail: String,
}

/// What is counted for one kind of request of a mix.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KindTally {
    /// Its name.
    pub name: String,
    /// How many ended how.
    pub counts: Counts,
    /// Response times of those that ended well.
    pub response: Distribution,
    /// Service times of those that ended well.
    pub service: Distribution,
}

/// Everything that is counted in a run, or in a part of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tally {
    /// How many ended how.
    pub counts: Counts,
    /// Requests that ended well before T.
    pub ok_in_time: u64,
    /// The distributions.
    pub distributions: Distributions,
    /// Answers by status.
    pub status: BTreeMap<u16, u64>,
    /// Failures by kind.
    pub errors: BTreeMap<FaultKind, u64>,
    /// The first failing exchanges of every kind, by when they failed.
    pub evidence: Vec<Evidence>,
    /// By kind of request.
    pub kinds: Vec<KindTally>,
    /// Bytes read and written.
    pub bytes: [u64; 2],
    /// Bytes of bodies as they came, and decompressed, where they are.
    pub bodies: [u64; 2],
    /// When the last answer or failure came, in nanoseconds after the start.
    pub last_finished: u64,
    /// Times by when requests were scheduled. A thread gives them to the main thread instead: [`super::slices`].
    pub batches: Batches,
    /// Flows.
    pub flows: FlowCounts,
}

impl Tally {
    /// An empty tally of a mix with kinds of these names.
    pub fn new(names: &[String]) -> Self {
        let kinds = names.iter().map(|name| KindTally { name: name.clone(), ..KindTally::default() }).collect();
        Self { kinds, ..Self::default() }
    }

    /// Counts a request that was sent, after its end; `end` is T in nanoseconds.
    pub fn record(&mut self, sample: &Sample, end: u64) {
        self.record_of_all(sample, end);
        if let Some(kind) = self.kinds.get_mut(sample.kind) {
            kind.counts.record(sample);
            if sample.outcome == Outcome::Ok {
                kind.response.record(sample.response_time());
                kind.service.record(sample.service_time());
            }
        }
    }

    /// The same, but not by kind. Where there is only one, [`Self::is_of_one_kind`] makes up for it.
    pub fn record_of_all(&mut self, sample: &Sample, end: u64) {
        self.counts.record(sample);
        self.distributions.record(sample);
        if let Some(status) = sample.status {
            *self.status.entry(status).or_default() += 1;
        }
        self.bytes[0] += sample.bytes.0;
        self.bytes[1] += sample.bytes.1;
        self.bodies[0] += sample.bodies.0;
        self.bodies[1] += sample.bodies.1;
        match &sample.outcome {
            Outcome::Ok => self.ok_in_time += u64::from(sample.finished < end),
            Outcome::HttpError(fault) | Outcome::NetworkError(fault) | Outcome::Timeout(fault) => {
                *self.errors.entry(fault.kind).or_default() += 1;
                self.keep(sample, fault.kind, &fault.detail);
            }
            Outcome::Unfinished => {}
        }
        if sample.outcome != Outcome::Unfinished {
            self.last_finished = self.last_finished.max(sample.finished);
        }
    }

    /// All that was counted of requests is of the only kind that there is.
    pub fn is_of_one_kind(&mut self) {
        debug_assert_eq!(self.kinds.len(), 1);
        for kind in &mut self.kinds {
            // What nothing asked for belongs to no request.
            kind.counts = Counts { protocol_warnings: 0, ..self.counts };
            kind.response.clone_from(&self.distributions.response);
            kind.service.clone_from(&self.distributions.service);
        }
    }

    /// Counts a request of `kind` that was never sent.
    pub fn unsent(&mut self, kind: usize) {
        for counts in [Some(&mut self.counts), self.kinds.get_mut(kind).map(|k| &mut k.counts)].into_iter().flatten() {
            counts.scheduled += 1;
            counts.unsent += 1;
        }
    }

    fn keep(&mut self, sample: &Sample, kind: FaultKind, detail: &str) {
        if self.evidence.iter().filter(|e| e.kind == kind).count() >= EVIDENCE {
            return;
        }
        self.evidence.push(Evidence {
            n: sample.n,
            request: self.kinds.get(sample.kind).map(|k| k.name.clone()).unwrap_or_default(),
            scheduled_ns: sample.scheduled,
            finished_ns: sample.finished,
            kind,
            detail: detail.to_owned(),
        });
    }

    /// Adds everything that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.flows.merge(&other.flows);
        self.ok_in_time += other.ok_in_time;
        self.distributions.merge(&other.distributions);
        for (status, count) in &other.status {
            *self.status.entry(*status).or_default() += count;
        }
        for (kind, count) in &other.errors {
            *self.errors.entry(*kind).or_default() += count;
        }
        self.evidence.extend(other.evidence.iter().cloned());
        self.evidence.sort_by_key(|e| (e.finished_ns, e.n));
        let mut kept = BTreeMap::<FaultKind, usize>::new();
        self.evidence.retain(|evidence| {
            let same = kept.entry(evidence.kind).or_default();
            *same += 1;
            *same <= EVIDENCE
        });
        for kind in &other.kinds {
            match self.kinds.iter_mut().find(|k| k.name == kind.name) {
                Some(own) => {
                    own.counts.merge(&kind.counts);
                    own.response.merge(&kind.response);
                    own.service.merge(&kind.service);
                }
                None => self.kinds.push(kind.clone()),
            }
        }
        for (own, other) in [(&mut self.bytes, &other.bytes), (&mut self.bodies, &other.bodies)] {
            // A file that was made by hand may hold any number.
            own.iter_mut().zip(other).for_each(|(own, other)| *own = own.saturating_add(*other));
        }
        self.last_finished = self.last_finished.max(other.last_finished);
        self.batches.merge(&other.batches);
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Cause, Fault, Phase, Side};
    use super::*;

    fn sample(n: u64) -> Sample {
        let fault = || Fault::new(Phase::Head, Cause::Reset, Side::Server, "reset");
        let outcome = match n % 10 {
            0 => Outcome::HttpError(Fault::new(Phase::Head, Cause::Status, Side::Server, "503")),
            1 => Outcome::NetworkError(fault()),
            2 => Outcome::Timeout(fault()),
            3 => Outcome::Unfinished,
            _ => Outcome::Ok,
        };
        let scheduled = n * 1_000_000;
        Sample {
            n,
            kind: (n % 2) as usize,
            scheduled,
            ready: scheduled + n % 7 * 1000,
            started: scheduled + n % 7 * 1000 + 5_000,
            first_byte: scheduled + 500_000,
            finished: scheduled + 1_000_000 + n * n,
            outcome,
            status: Some(200),
            retries: n % 3,
            redirects: 0,
            bodies: (0, 0),
            wire: (1, 1),
            bytes: (100, 50),
        }
    }

    #[test]
    fn what_is_counted_of_all_is_what_is_counted_of_the_only_kind() {
        let (mut one, mut other) = (Tally::new(&["a".to_owned()]), Tally::new(&["a".to_owned()]));
        for n in (0..200).step_by(2) {
            one.record(&sample(n), 150_000_000);
            other.record_of_all(&sample(n), 150_000_000);
        }
        one.unsent(0);
        other.unsent(0);
        assert_ne!(other, one);
        other.counts.protocol_warnings = 3;
        other.is_of_one_kind();
        one.counts.protocol_warnings = 3;
        assert_eq!(other, one);
    }

    #[test]
    fn the_counting_identity_holds_and_merging_any_split_equals_the_whole() {
        let names = ["a".to_owned(), "b".to_owned()];
        let tally = |numbers: &mut dyn Iterator<Item = u64>| {
            let mut tally = Tally::new(&names);
            for n in numbers {
                if n % 50 == 49 { tally.unsent((n % 2) as usize) } else { tally.record(&sample(n), 500_000_000) }
            }
            tally
        };
        let whole = tally(&mut (0..1000));
        assert!(whole.counts.holds());
        assert_eq!((whole.counts.scheduled, whole.counts.unsent), (1000, 20));
        assert!(whole.kinds.iter().all(|k| k.counts.holds() && k.counts.scheduled == 500));
        let kept: Vec<_> = whole.evidence.iter().map(|e| e.n).collect();
        assert_eq!(kept, [0, 1, 2, 10], "two of each kind");
        for parts in [2, 3, 16] {
            let mut merged = Tally::new(&names);
            for k in 0..parts {
                merged.merge(&tally(&mut (k..1000).step_by(parts as usize)));
            }
            assert_eq!(merged, whole, "{parts} parts");
        }
    }
}
