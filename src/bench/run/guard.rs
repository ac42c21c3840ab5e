//! Ends a run early once it is clear that there is no point in going on.

use super::progress::{Observer, Snapshot, Started};
use crate::bench::control::Control;
use crate::bench::record::laps::Lap;
use crate::bench::result::slo::{Measure, Measured, Slo, SloResult};
use crate::bench::result::summary::{Aborted, Summary};

/// How often it looks, in nanoseconds.
const LOOK_NS: u64 = 1_000_000_000;
/// How many requests must have ended after the warm-up before it judges.
const LEAST_REQUESTS: u64 = 100;

/// Passes on what a run tells, and ends it when a condition holds.
pub struct Guard<'a> {
    inner: &'a mut dyn Observer,
    conditions: &'a [Slo],
    control: Control,
    threads: u64,
    looked_ns: u64,
    /// What the rate is counted from: the first look, when the answers that come late have begun to come.
    since: Option<Since>,
    has_looked: bool,
    aborted: Option<(Aborted, SloResult)>,
}

#[derive(Debug, Clone, Copy)]
struct Since {
    ok: u64,
    counted_ns: u64,
}

impl<'a> Guard<'a> {
    /// Ends the run of `control` when one of the conditions holds.
    pub fn new(conditions: &'a [Slo], control: Control, inner: &'a mut dyn Observer) -> Self {
        Self { inner, conditions, control, threads: 1, looked_ns: 0, since: None, has_looked: false, aborted: None }
    }

    /// Writes what happened into the result: the objective that was broken counts as missed.
    pub fn conclude(self, summary: &mut Summary) {
        if !self.conditions.is_empty() && !self.has_looked {
            let conditions: Vec<_> = self.conditions.iter().map(ToString::to_string).collect();
            let (never, least) = (conditions.join(", "), LEAST_REQUESTS);
            summary.verdict.notes.push(format!(
                "{never} was never looked at: that is done every second, once {least} requests have ended"
            ));
        }
        let Some((aborted, broken)) = self.aborted else { return };
        let at = aborted.at_ns as f64 / 1e9;
        summary.verdict.notes.push(format!("the run was ended early, after {at:.1} s: {}", aborted.condition));
        summary.slo.push(broken);
        summary.setup.aborted = Some(aborted);
    }

    fn look(&mut self, snapshot: &Snapshot) {
        let since = *self.since.get_or_insert(Since { ok: snapshot.counts.ok, counted_ns: snapshot.counted_ns });
        let ok = snapshot.counts.ok.saturating_sub(since.ok);
        let counted_ns = snapshot.counted_ns.saturating_sub(since.counted_ns);
        let measured = |ok: u64| Measured {
            response: &snapshot.response,
            scheduled: snapshot.counts.sent,
            achieved_rate: ok as f64 * 1e9 / counted_ns.max(1) as f64,
        };
        // Of requests that come evenly, one more or one less of each thread's falls into a span of time.
        let (fewest, most) = (ok.saturating_sub(self.threads), ok + self.threads);
        let broken = self.conditions.iter().find_map(|condition| {
            let objective = condition.negated();
            let holds = |ok| !objective.evaluate(measured(ok)).ok;
            let is_known = condition.measure() != Measure::Rate || counted_ns >= LOOK_NS / 2;
            (is_known && holds(fewest) && holds(most)).then(|| (condition, objective.evaluate(measured(ok))))
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
        self.threads = run.threads;
        self.inner.started(run);
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        if self.inner.is_watching() {
            self.inner.snapshot(snapshot);
        }
        let is_time = snapshot.counted_ns >= self.looked_ns.saturating_add(LOOK_NS);
        let is_enough = snapshot.counts.sent >= LEAST_REQUESTS;
        // After the end of the schedule there is nothing left to end, and what comes then comes at no rate.
        let goes_on = snapshot.elapsed_ns < snapshot.duration_ns && self.aborted.is_none();
        if is_time && is_enough && goes_on {
            (self.looked_ns, self.has_looked) = (snapshot.counted_ns, true);
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
        Snapshot { elapsed_ns, duration_ns: u64::MAX, counts, counted_ns: elapsed_ns, in_flight: 0, response }
    }

    /// Answers that all are good: `ok` of them after `counted_ms` of what is measured.
    fn good(counted_ms: u64, ok: u64) -> Snapshot {
        Snapshot { counted_ns: counted_ms * 1_000_000, ..snapshot(counted_ms / 1_000, ok, 0) }
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

    #[test]
    fn a_rate_is_that_of_the_time_since_the_first_look() {
        // Every answer takes half a second, and the counts are older than the snapshot: 100 requests a second.
        let steady: Vec<Snapshot> = (0..8).map(|i| good(1_530 + i * 1_020, 103 + i * 102)).collect();
        assert_eq!(ended_by(&["rate<95", "rate<=100", "rate>105"], &steady), None);
        assert_eq!(ended_by(&["rate<110"], &steady), Some(("rate<110".to_owned(), 2)), "not at the first look");
        assert_eq!(ended_by(&["rate>=90"], &steady).unwrap().1, 2);
        // One of a hundred falls behind the end of the second: that is no rate of 99.
        assert_eq!(ended_by(&["rate<100"], &[good(1_000, 100), good(2_000, 199)]), None);
        // A target that answers no more.
        let dying = [good(1_000, 100), good(2_000, 200), good(3_000, 200)];
        assert_eq!(ended_by(&["rate<95"], &dying), Some(("rate<95".to_owned(), 3)));
    }

    #[test]
    fn what_the_warm_up_shows_and_what_comes_after_the_schedule_ends_nothing() {
        let warming = |second| Snapshot { counted_ns: 0, ..snapshot(second, 0, 500) };
        let run = [warming(1), warming(2), Snapshot { elapsed_ns: 4_000_000_000, ..snapshot(1, 100, 0) }];
        assert_eq!(ended_by(&["errors>5%", "rate<50"], &run), None);
        let waiting = |second| Snapshot { duration_ns: 2_000_000_000, ..snapshot(second, 200, 0) };
        assert_eq!(ended_by(&["rate<90"], &[waiting(1), waiting(2), waiting(5)]), None);
    }
}
