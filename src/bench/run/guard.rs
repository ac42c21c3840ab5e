//! Ends a run early once it is clear that there is no point in going on.

use serde::{Deserialize, Serialize};

use super::progress::{Observer, Snapshot, Started};
use crate::bench::control::Control;
use crate::bench::record::laps::Lap;
use crate::bench::result::slo::{Measured, Slo, SloResult};
use crate::bench::result::summary::Summary;

/// How often it looks, in nanoseconds.
const LOOK_NS: u64 = 1_000_000_000;
/// How many requests must have ended before it judges.
const LEAST_REQUESTS: u64 = 100;

/// That a run was ended early, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aborted {
    /// The condition as it was written.
    pub condition: String,
    /// When it held, in nanoseconds after the start.
    pub at_ns: u64,
    /// What it was about: nanoseconds, a fraction, or a rate; `null` for a percentile among what failed.
    pub value: Option<serde_json::Number>,
}

/// Passes on what a run tells, and ends it when a condition holds.
pub struct Guard<'a> {
    inner: &'a mut dyn Observer,
    conditions: &'a [Slo],
    control: Control,
    looked_ns: u64,
    aborted: Option<(Aborted, SloResult)>,
}

impl<'a> Guard<'a> {
    /// Ends the run of `control` when one of the conditions holds.
    pub fn new(conditions: &'a [Slo], control: Control, inner: &'a mut dyn Observer) -> Self {
        Self { inner, conditions, control, looked_ns: 0, aborted: None }
    }

    /// Writes what happened into the result: the objective that was broken counts as missed.
    pub fn conclude(self, summary: &mut Summary) {
        let Some((aborted, broken)) = self.aborted else { return };
        let at = aborted.at_ns as f64 / 1e9;
        summary.verdict.notes.push(format!("the run was ended early, after {at:.1} s: {}", aborted.condition));
        summary.slo.push(broken);
        summary.setup.aborted = Some(aborted);
    }

    fn look(&mut self, snapshot: &Snapshot) {
        let measured = Measured {
            response: &snapshot.response,
            scheduled: snapshot.counts.sent,
            achieved_rate: snapshot.counts.ok as f64 * 1e9 / snapshot.elapsed_ns.max(1) as f64,
        };
        let broken = self.conditions.iter().find_map(|condition| {
            let objective = condition.negated().evaluate(measured);
            (!objective.ok).then_some((condition, objective))
        });
        let Some((condition, objective)) = broken else { return };
        let condition = condition.to_string();
        let aborted = Aborted { condition, at_ns: snapshot.elapsed_ns, value: objective.value.clone() };
        self.aborted = Some((aborted, objective));
        self.control.end_schedule();
    }
}

impl Observer for Guard<'_> {
    fn is_watching(&self) -> bool {
        !self.conditions.is_empty() || self.inner.is_watching()
    }

    fn started(&mut self, run: &Started) {
        self.inner.started(run);
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        if self.inner.is_watching() {
            self.inner.snapshot(snapshot);
        }
        let is_time = snapshot.elapsed_ns >= self.looked_ns.saturating_add(LOOK_NS);
        if is_time && snapshot.counts.sent >= LEAST_REQUESTS && self.aborted.is_none() {
            self.looked_ns = snapshot.elapsed_ns;
            self.look(snapshot);
        }
    }

    fn wants_laps(&self) -> bool {
        self.inner.wants_laps()
    }

    fn lap(&mut self, lap: &Lap) {
        self.inner.lap(lap);
    }

    fn finished(&mut self) {
        self.inner.finished();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(second: u64, ok: u64, failed: u64) -> Snapshot {
        let mut response = crate::bench::record::distribution::Distribution::default();
        (0..ok).for_each(|_| response.record(5_000_000));
        let mut counts = crate::bench::record::tally::Counts { ok, network_error: failed, ..Default::default() };
        (counts.sent, counts.scheduled) = (ok + failed, ok + failed);
        let elapsed_ns = second * 1_000_000_000;
        Snapshot { elapsed_ns, duration_ns: u64::MAX, counts, in_flight: 0, response }
    }

    fn ended_by(conditions: &[&str], snapshots: &[Snapshot]) -> Option<(String, u64)> {
        let conditions: Vec<Slo> = conditions.iter().map(|c| c.parse().unwrap()).collect();
        let (control, mut nobody) = (Control::default(), ());
        let mut guard = Guard::new(&conditions, control.clone(), &mut nobody);
        snapshots.iter().for_each(|s| guard.snapshot(s));
        assert_eq!(guard.aborted.is_some(), control.stop_at() != u64::MAX);
        assert!(!control.is_interrupted(), "nobody pressed Ctrl-C");
        guard.aborted.map(|(aborted, _)| (aborted.condition, aborted.at_ns / 1_000_000_000))
    }

    #[test]
    fn the_first_condition_that_holds_ends_the_run() {
        let run = [snapshot(1, 200, 10), snapshot(2, 380, 20), snapshot(3, 500, 100)];
        assert_eq!(ended_by(&["errors>5%"], &run), Some(("errors>5%".to_owned(), 3)));
        assert_eq!(ended_by(&["errors>50%", "p50>=4ms"], &run), Some(("p50>=4ms".to_owned(), 1)));
        assert_eq!(ended_by(&["errors>50%", "p50>6ms", "rate<10"], &run), None);
        // A percentile among what failed is beyond every limit.
        assert_eq!(ended_by(&["p99>1h"], &run), Some(("p99>1h".to_owned(), 1)));
        assert_eq!(ended_by(&["errors>1%"], &[snapshot(1, 0, 99)]), None, "too few to judge");
    }
}
