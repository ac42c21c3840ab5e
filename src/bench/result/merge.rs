//! One result of several: of parts of one run, or of runs of several machines.

use super::slo::Measured;
use super::summary::{Connections, Parts, RequestSummary, Setup, Streams, Summary, achieved_rate};
use super::verdict::Verdict;
use crate::bench::clock::Start;
use crate::bench::record::series::{OpenSecond, Series};
use crate::bench::record::tally::{KindTally, Tally};
use crate::bench::schedule::stage::Stage;

/// Why results cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// There is none.
    #[error("there is no result to merge")]
    Nothing,
    /// They are of different runs.
    #[error("results of {what} {one} and {other} cannot be merged")]
    Differ {
        /// In what they differ.
        what: &'static str,
        /// The first's.
        one: String,
        /// The other's.
        other: String,
    },
    /// Two of them are the same one.
    #[error("result {other} is the same run as result {one}, and its requests would count twice: give each run once")]
    Twice {
        /// The number of the one, from 1 on.
        one: usize,
        /// The number of the other.
        other: usize,
    },
    /// A series in it is damaged.
    #[error("the series of a result is damaged: {0}")]
    Damaged(String),
}

impl Summary {
    /// One result of several parts of one run, or of several runs of the same duration. That of machines which reach a
    /// target by different addresses is one, too, and has a note of that.
    ///
    /// # Errors
    ///
    /// None are given, two are the same, they differ in duration, warm-up, schedule or schema, or one is damaged.
    pub fn merge(results: &[Self]) -> Result<Self, MergeError> {
        let [first, rest @ ..] = results else { return Err(MergeError::Nothing) };
        if let Some((one, other)) = Self::twice(results) {
            return Err(MergeError::Twice { one: one + 1, other: other + 1 });
        }
        let mut parts = first.parts();
        if !rest.is_empty() {
            parts.setup.merged = results.iter().flat_map(|result| result.setup.starts()).copied().collect();
        }
        let mut series = Series::default();
        let mut verdicts = vec![first.verdict.clone()];
        for second in results.iter().flat_map(|r| &r.series) {
            series.add(&OpenSecond::try_from(second).map_err(MergeError::Damaged)?);
        }
        for result in rest {
            let differ = |what, of: fn(&Self) -> String| {
                let (one, other) = (of(first), of(result));
                if one == other { Ok(()) } else { Err(MergeError::Differ { what, one, other }) }
            };
            differ("schemas", |r| r.schema.clone())?;
            differ("warm-ups", |r| {
                r.warmup.as_ref().map_or_else(|| "none".to_owned(), |w| format!("{:.3} s", w.duration_ns as f64 / 1e9))
            })?;
            differ("kinds of schedule", Self::kind_of_schedule)?;
            if result.duration_ns != first.duration_ns {
                let text = |ns: u64| format!("{:.3} s", ns as f64 / 1e9);
                let (one, other) = (text(first.duration_ns), text(result.duration_ns));
                return Err(MergeError::Differ { what: "durations", one, other });
            }
            parts.tally.merge(&result.parts().tally);
            parts.warmup = match (&parts.warmup, &result.warmup) {
                (Some(one), Some(other)) => Some(one.merged(other)),
                (one, other) => one.as_ref().or(other.as_ref()).cloned(),
            };
            parts.setup.rate = parts.setup.rate.zip(result.setup.rate).map(|(one, other)| one + other);
            parts.setup.stages = Stage::together(&parts.setup.stages, &result.setup.stages);
            parts.setup.replay_shortened |= result.setup.replay_shortened;
            parts.setup.threads += result.setup.threads;
            parts.setup.timestamps = parts.setup.timestamps.max(result.setup.timestamps);
            parts.setup.interrupted |= result.setup.interrupted;
            parts.setup.aborted = parts.setup.aborted.or_else(|| result.setup.aborted.clone());
            for objective in &result.slo {
                if !parts.slo.iter().any(|known| known.expression == objective.expression) {
                    parts.slo.push(objective.clone());
                }
            }
            // Whole, as the other machine's monotonic clock is another.
            if result.setup.start.unix_ns < parts.setup.start.unix_ns {
                parts.setup.start = result.setup.start;
            }
            parts.generator.merge(&result.generator);
            parts.connections.merge(&result.connections);
            verdicts.push(result.verdict.clone());
        }
        // Each of them covers its schedule.
        parts.series = series.finish(0);
        let together = |of: fn(&Verdict) -> &Vec<String>| verdicts.iter().flat_map(|v| of(v).clone()).collect();
        parts.verdict = Verdict::new(together(|v| &v.reasons), together(|v| &v.notes));
        parts.verdict.notes.extend(differing_targets(results));
        parts.verdict.notes.extend(one_after_the_other(results));
        let measured = Measured {
            response: &parts.tally.distributions.response,
            scheduled: parts.tally.counts.scheduled,
            achieved_rate: achieved_rate(&parts.tally, parts.duration_ns),
        };
        parts.slo = parts.slo.iter().map(|slo| slo.expression.evaluate(measured)).collect();
        Ok(Self::new(parts))
    }

    /// The first two of the results that are of the same run, or have one in common, by index.
    pub fn twice(results: &[Self]) -> Option<(usize, usize)> {
        let earlier = |i: usize| results[..i].iter().position(|one| one.has_run_of(&results[i])).map(|one| (one, i));
        (0..results.len()).find_map(earlier)
    }

    /// Whether both hold the same run: two that start in the same nanosecond of both clocks.
    pub fn has_run_of(&self, other: &Self) -> bool {
        self.setup.starts().iter().any(|start| other.setup.starts().contains(start))
    }

    fn parts(&self) -> Parts {
        let tally = Tally {
            counts: self.counts,
            ok_in_time: self.ok_in_time,
            distributions: self.histograms.clone(),
            status: self.status.clone(),
            errors: self.errors.iter().map(|e| (e.kind, e.count)).collect(),
            evidence: self.evidence.clone(),
            kinds: self.requests.iter().map(KindTally::from).collect(),
            bytes: [self.bytes.received, self.bytes.sent],
            bodies: [self.bytes.bodies, self.bytes.decompressed],
            last_finished: self.elapsed_ns,
            batches: self.batches.clone(),
            flows: self.flows,
        };
        Parts {
            setup: self.setup.clone(),
            duration_ns: self.duration_ns,
            tally,
            warmup: self.warmup.clone(),
            series: self.series.clone(),
            slo: self.slo.clone(),
            verdict: self.verdict.clone(),
            generator: self.generator,
            connections: self.connections,
        }
    }
}

impl Summary {
    /// How its arrivals were laid out.
    pub(super) fn kind_of_schedule(&self) -> String {
        let Setup { arrivals, stages, .. } = &self.setup;
        if stages.is_empty() { arrivals.to_string() } else { format!("{arrivals} in stages") }
    }
}

/// That the runs were not at the same time: as parts of one load they are added up, which they were not.
fn one_after_the_other(results: &[Summary]) -> Option<String> {
    let starts = results.iter().map(|result| result.setup.start.unix_ns);
    let (first, last) = (starts.clone().min()?, starts.max()?);
    let length = results.first()?.duration_ns;
    let apart = last.saturating_sub(first);
    (apart > length).then(|| {
        format!(
            "the runs were not at the same time, {:.0} s apart: their rates are added up as if they had been",
            apart as f64 / 1e9
        )
    })
}

/// What is to be said where results of several targets are merged.
fn differing_targets(results: &[Summary]) -> Option<String> {
    let mut targets: Vec<&str> = results.iter().map(|result| result.setup.target.as_str()).collect();
    targets.sort_unstable();
    targets.dedup();
    let are_several = targets.len() > 1;
    are_several.then(|| format!("results of {} targets are merged: {}", targets.len(), targets.join(", ")))
}

impl Setup {
    /// When the runs began that the result is of.
    fn starts(&self) -> &[Start] {
        if self.merged.is_empty() { std::slice::from_ref(&self.start) } else { &self.merged }
    }
}

impl Streams {
    fn merge(&mut self, other: &Self) {
        self.per_connection = self.per_connection.max(other.per_connection);
        self.allowed = self.allowed.into_iter().chain(other.allowed).min();
        self.peak += other.peak;
    }
}

impl Connections {
    /// Adds those of another thread.
    pub fn merge(&mut self, other: &Self) {
        self.limit += other.limit;
        self.at_start += other.at_start;
        self.peak += other.peak;
        self.opened += other.opened;
        match (&mut self.streams, &other.streams) {
            (Some(streams), Some(other)) => streams.merge(other),
            (streams, other) => *streams = streams.or(*other),
        }
    }
}

impl From<&RequestSummary> for KindTally {
    fn from(request: &RequestSummary) -> Self {
        Self {
            name: request.name.clone(),
            counts: request.counts,
            response: request.histograms.response.clone(),
            service: request.histograms.service.clone(),
        }
    }
}

#[cfg(test)]
pub(in crate::bench) mod tests {
    use super::*;
    use crate::bench::clock::Timestamps;
    use crate::bench::record::distribution::Distribution;
    use crate::bench::record::tally::Counts;
    use crate::bench::result::slo::{Slo, SloResult};
    use crate::bench::result::verdict::SelfWatch;
    use crate::bench::result::warmup::WarmUp;
    use crate::bench::schedule::stage::Arrangement;

    const MS: u64 = 1_000_000;

    /// The result of a run that started `second` seconds after the epoch: 100 requests in a second, of `second` ms each.
    pub fn result(second: u64) -> Summary {
        let mut tally = Tally::new(&["/".to_owned()]);
        tally.counts = Counts { scheduled: 100, sent: 100, ok: 100, wire: [100; 2], ..Counts::default() };
        (0..100).for_each(|_| tally.distributions.response.record(second * MS));
        let setup = Setup {
            target: "http://127.0.0.1:80/".to_owned(),
            version: "0".to_owned(),
            rate: Some(100.0),
            arrivals: Arrangement::Constant,
            stages: Vec::new(),
            merged: Vec::new(),
            replay_shortened: false,
            pacing: "exact".to_owned(),
            seed: 1,
            threads: 1,
            protocol: "HTTP/1.1".to_owned(),
            io: "epoll".to_owned(),
            timestamps: Timestamps::default(),
            timeout_ns: 1,
            grace_ns: 1,
            start: Start { unix_ns: second * 1_000 * MS, monotonic_ns: second },
            dns_ns: None,
            aborted: None,
            interrupted: false,
        };
        let verdict = Verdict { trusted: true, reasons: Vec::new(), notes: Vec::new() };
        let mut summary = Summary::new(Parts {
            setup,
            duration_ns: 1_000 * MS,
            tally,
            warmup: None,
            series: Vec::new(),
            slo: Vec::new(),
            verdict,
            generator: SelfWatch::default(),
            connections: Connections::default(),
        });
        // Slices of a run make it comparable.
        summary.batches.record(&sample(second));
        summary
    }

    fn sample(second: u64) -> crate::bench::record::sample::Sample {
        crate::bench::record::sample::Sample {
            n: 0,
            kind: 0,
            scheduled: 0,
            ready: 0,
            started: 0,
            first_byte: MS,
            finished: second * MS,
            outcome: crate::bench::record::sample::Outcome::Ok,
            status: Some(200),
            retries: 0,
            redirects: 0,
            bodies: (0, 0),
            wire: (1, 1),
            bytes: (0, 0),
        }
    }

    fn merged(change: impl FnOnce(&mut Summary)) -> Result<Summary, String> {
        let mut other = result(3);
        change(&mut other);
        Summary::merge(&[result(1), result(2), other]).map_err(|error| error.to_string())
    }

    #[test]
    fn the_same_run_is_not_counted_twice() {
        assert_eq!(merged(|_| ()).unwrap().counts.scheduled, 300);
        let again = merged(|r| r.setup.start = result(1).setup.start).unwrap_err();
        assert!(again.starts_with("result 3 is the same run as result 1"), "{again}");
        let two = Summary::merge(&[result(1), result(2)]).unwrap();
        for part in [1, 2] {
            let again = Summary::merge(&[two.clone(), result(part)]).unwrap_err().to_string();
            assert!(again.starts_with("result 2 is the same run as result 1"), "{part}: {again}");
        }
        assert_eq!(Summary::merge(&[two, result(3)]).unwrap().counts.scheduled, 300);
        // What was merged has the start of its earliest part.
        for parts in [[result(1), result(2)], [result(2), result(1)]] {
            let both = Summary::merge(&parts).unwrap();
            assert_eq!(Summary::merge(&[both, result(1)]), Err(MergeError::Twice { one: 1, other: 2 }));
        }
    }

    #[test]
    fn what_was_run_in_another_way_is_refused() {
        let schema = merged(|r| r.schema = "scalectl.bench/9".to_owned()).unwrap_err();
        assert!(schema.contains("schemas scalectl.bench/1 and scalectl.bench/9"), "{schema}");
        let warm_up = merged(|r| r.warmup = Some(WarmUp::of(&Tally::default(), 1_000 * MS))).unwrap_err();
        assert_eq!(warm_up, "results of warm-ups none and 1.000 s cannot be merged");
        let schedule = merged(|r| r.setup.arrivals = Arrangement::Poisson).unwrap_err();
        assert_eq!(schedule, "results of kinds of schedule constant and poisson cannot be merged");
        let staged = merged(|r| r.setup.stages = vec!["100rps:1s".parse().unwrap()]).unwrap_err();
        assert_eq!(staged, "results of kinds of schedule constant and constant in stages cannot be merged");
        let duration = merged(|r| r.duration_ns = 2_000 * MS).unwrap_err();
        assert_eq!(duration, "results of durations 1.000 s and 2.000 s cannot be merged");
        let text = serde_json::to_string(&result(1)).unwrap().replace("scalectl.bench/1", "scalectl.bench/9");
        let error = serde_json::from_str::<Summary>(&text).unwrap_err().to_string();
        assert!(error.contains("\"scalectl.bench/9\"") && error.contains("\"scalectl.bench/1\""), "{error}");
    }

    #[test]
    fn several_targets_are_noted() {
        let at_once = |r: &mut Summary| r.setup.start.unix_ns = result(2).setup.start.unix_ns;
        assert_eq!(merged(at_once).unwrap().verdict.notes, [""; 0]);
        let notes = merged(|r| {
            at_once(r);
            r.setup.target = "http://127.0.0.2:80/".to_owned();
        });
        let both = "results of 2 targets are merged: http://127.0.0.1:80/, http://127.0.0.2:80/";
        assert_eq!(notes.unwrap().verdict.notes, [both]);
    }

    #[test]
    fn runs_that_were_not_at_the_same_time_are_noted() {
        let apart = |ms: u64| {
            let notes = merged(|r| r.setup.start.unix_ns = result(1).setup.start.unix_ns + ms * MS);
            notes.unwrap().verdict.notes
        };
        assert_eq!(apart(900), [""; 0]);
        assert!(
            apart(774_000)[0].starts_with("the runs were not at the same time, 774 s apart"),
            "{:?}",
            apart(774_000)
        );
    }

    #[test]
    fn the_objectives_of_all_are_held_against_all_requests() {
        let objective = |text: &str, ok| SloResult { ok, ..text.parse::<Slo>().unwrap().evaluate(nothing()) };
        fn nothing() -> Measured<'static> {
            static NONE: std::sync::LazyLock<Distribution> = std::sync::LazyLock::new(Distribution::default);
            Measured { response: &NONE, scheduled: 0, achieved_rate: 0.0 }
        }
        let mut first = result(1);
        first.slo = vec![objective("p50<1h", false)];
        let mut second = result(2);
        second.slo = vec![objective("p50<1h", true), objective("max<2ms", true), objective("max<3ms", true)];
        let both = Summary::merge(&[first, second]).unwrap();
        let found: Vec<_> = both.slo.iter().map(|slo| (slo.expression.as_str(), slo.ok)).collect();
        // The longest took 2 ms.
        assert_eq!(found, [("p50<1h", true), ("max<2ms", false), ("max<3ms", true)]);
    }
}
