//! Whether the difference between results is real: intervals of the change of each figure, wide enough that all of them
//! hold together, from batches because neighbouring requests resemble each other.
//!
//! - Each side's interval comes from slices of time. Where these no longer resemble each other, from many batches of them
//!   (*fine* evidence): batch means for the mean and the rate, Woodruff's interval for quantiles (as in
//!   [`super::statistics`]), and Wilson's for the share of errors, with as many requests as independent ones would tell as
//!   much (Wilson, "Probable inference", JASA 22, 1927). Otherwise from eight batches, with a bound on what correlation
//!   can do (*coarse* evidence, which shows only a large difference); a quantile is then one of each batch's own
//!   (sectioning: Asmussen & Glynn, *Stochastic Simulation*, 2007, § III.5). See [`super::resemblance`].
//! - Both sides are judged by the same evidence. Several results of a side follow each other: if they differ among
//!   themselves, their slices resemble each other, and the evidence is coarse.
//! - The interval of the change is made of the two by the method of variance estimates recovery, which keeps them as
//!   lopsided as they are (Zou & Donner, "Construction of confidence limits about effect measures", Statistics in
//!   Medicine 27, 2008): of the ratio, through logarithms, for times and rates; of the difference for errors. Means and
//!   rates have theirs on the logarithm as well (delta method), where one that is wide does not reach below 0.
//! - Six figures are six looks. Each interval is at 1 − 5%/6 (Bonferroni), so that equal results are called different in
//!   at most 5% of comparisons, whichever of the figures it would be.

use serde::{Deserialize, Serialize};

use super::resemblance::{self, COARSE};
use super::statistics::{self, BEYOND, Estimate, Refusal, measured};
use super::summary::Summary;
use crate::bench::clock::Timestamps;
use crate::bench::record::batches::{Batch, Span};
use crate::bench::record::distribution::{Distribution, LOWEST_NS, Percentile};
use crate::bench::schedule::SECOND_NS;

/// Name and version of the JSON form.
pub const SCHEMA: &str = "scalectl.compare/1";
/// How often equal results may be called different, over all figures together.
const FALSE_ALARMS: f64 = 0.05;
/// What a histogram's three digits do not tell apart.
const RESOLUTION: f64 = 1e-3;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Figure {
    /// Mean response time, in nanoseconds.
    Mean,
    /// Median of the response time, in nanoseconds.
    P50,
    /// Its 90th percentile.
    P90,
    /// Its 99th percentile.
    P99,
    /// Ok answers a second.
    Rate,
    /// 1 − ok / scheduled.
    Errors,
}

impl Figure {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Mean, Self::P50, Self::P90, Self::P99, Self::Rate, Self::Errors];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::Rate => "rate",
            Self::Errors => "errors",
        }
    }

    /// How sure each interval has to be for all of them to hold together.
    fn level() -> f64 {
        1.0 - FALSE_ALARMS / Self::ALL.len() as f64
    }
}

/// What the interval of a figure rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// Many batches that do not resemble each other.
    Fine,
    /// Few, which may.
    Coarse,
}

/// What is known of one side.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// Its slices of time, one result after the other.
    pub batches: Vec<Batch>,
    /// How many results.
    pub results: usize,
    /// All response times.
    pub response: Distribution,
    /// How many were scheduled.
    pub scheduled: u64,
    /// How many ended well in each whole second.
    pub seconds: Vec<u64>,
}

impl Side {
    /// The results of one side.
    pub fn of(results: &[Summary]) -> Self {
        let mut side = Self { results: results.len(), ..Self::default() };
        for result in results {
            side.batches.extend_from_slice(measured(&result.batches));
            side.response.merge(&result.histograms.response);
            side.scheduled += result.counts.scheduled;
            let whole = (result.duration_ns / SECOND_NS) as usize;
            side.seconds.extend(result.series.iter().take(whole).map(|second| second.ok));
            // Seconds after the last answer are not in the series.
            side.seconds.extend(vec![0; whole.saturating_sub(result.series.len())]);
        }
        side
    }

    fn estimate(&self, figure: Figure, evidence: Evidence) -> Result<Between, Refusal> {
        match figure {
            Figure::Mean => {
                let mut found = self.ratio(&statistics::times(&self.batches, Span::Response), evidence)?;
                // Never surer than independent requests would be.
                found.error = found.error.max(self.response.deviation() / (self.response.count() as f64).sqrt());
                Ok(Between::times(found.value, found.half_width(Figure::level())))
            }
            Figure::P50 => self.quantile(Percentile::P50, evidence),
            Figure::P90 => self.quantile(Percentile::P90, evidence),
            Figure::P99 => self.quantile(Percentile::P99, evidence),
            Figure::Rate => {
                let slices: Vec<_> = self.seconds.iter().map(|ok| (*ok as f64, 1.0)).collect();
                let found = self.ratio(&slices, evidence)?;
                Ok(Between::times(found.value, found.half_width(Figure::level())))
            }
            Figure::Errors => self.errors(evidence),
        }
    }

    fn ratio(&self, slices: &[(f64, f64)], evidence: Evidence) -> Result<Estimate, Refusal> {
        match evidence {
            Evidence::Fine => resemblance::fine(slices),
            Evidence::Coarse => resemblance::coarse(slices, self.results),
        }
    }

    fn quantile(&self, percentile: Percentile, evidence: Evidence) -> Result<Between, Refusal> {
        let value = self.response.percentile(percentile, self.scheduled).value().ok_or(Refusal::NoValue)?;
        let found = match evidence {
            Evidence::Fine => self.quantile_by_rank(percentile, value)?,
            Evidence::Coarse => self.quantile_by_parts(percentile, value)?,
        };
        let blur = |ns: f64| (ns * RESOLUTION).max(LOWEST_NS as f64);
        Ok(Between { low: (found.low - blur(found.low)).max(0.0), high: found.high + blur(found.high), ..found })
    }

    /// The interval of the rank, turned into times.
    fn quantile_by_rank(&self, percentile: Percentile, value: u64) -> Result<Between, Refusal> {
        let mut beyond = resemblance::fine(&statistics::beyond(&self.batches, Span::Response, value))?;
        let (p, n) = (percentile.fraction(), self.scheduled as f64);
        beyond.error = beyond.error.max((beyond.value * (1.0 - beyond.value) / n).sqrt());
        let variance = beyond.error * beyond.error;
        let independent = if variance > 0.0 { beyond.value * (1.0 - beyond.value) / variance } else { 0.0 };
        if independent * (1.0 - p) < BEYOND {
            return Err(Refusal::TooFew { beyond: independent * (1.0 - p) });
        }
        let half = beyond.half_width(Figure::level());
        let at = |share: f64| self.response.at_rank((share * n).ceil().max(1.0) as u64).map(|ns| ns as f64);
        // Among those that did not end well there is no longest time.
        let (low, high) = (at(p - half).unwrap_or(value as f64), at(p + half).unwrap_or(f64::INFINITY));
        Ok(Between { low, value: value as f64, high })
    }

    /// From the quantile of each of eight parts of the run.
    fn quantile_by_parts(&self, percentile: Percentile, value: u64) -> Result<Between, Refusal> {
        let beyond = self.scheduled as f64 * (1.0 - percentile.fraction());
        if beyond < BEYOND {
            return Err(Refusal::TooFew { beyond });
        }
        if self.batches.len() < COARSE {
            return Err(Refusal::TooFewBatches);
        }
        let mut logarithms = [0.0; COARSE];
        for (logarithm, part) in logarithms.iter_mut().zip(resemblance::parts(&self.batches, COARSE)) {
            let mut whole = Batch::default();
            part.iter().for_each(|batch| whole.merge(batch));
            let own = Distribution::from(&whole.response).ranked(percentile, whole.scheduled);
            *logarithm = (own.ok_or(Refusal::AmongFailed)?.max(1) as f64).ln();
        }
        let half = resemblance::coarse_mean(&logarithms, self.results).half_width(Figure::level());
        Ok(Between::times(value as f64, half * value as f64))
    }

    fn errors(&self, evidence: Evidence) -> Result<Between, Refusal> {
        let failed = |b: &Batch| b.scheduled.saturating_sub(b.response.count()) as f64;
        let slices: Vec<_> = self.batches.iter().map(|b| (failed(b), b.scheduled as f64)).collect();
        let found = self.ratio(&slices, evidence)?;
        let p = found.value;
        // Never surer than independent requests would be.
        let variance = (found.error * found.error).max(p * (1.0 - p) / self.scheduled as f64);
        let n = if variance > 0.0 { p * (1.0 - p) / variance } else { self.scheduled as f64 };
        let t = statistics::student(Figure::level(), found.freedom());
        let (t2, whole) = (t * t, n + t * t);
        let middle = (n * p + t2 / 2.0) / whole;
        let half = t / whole * (n * p * (1.0 - p) + t2 / 4.0).sqrt();
        Ok(Between { low: (middle - half).clamp(0.0, p), value: p, high: (middle + half).clamp(p, 1.0) })
    }
}

/// A figure and its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Between {
    low: f64,
    value: f64,
    high: f64,
}

impl Between {
    /// The interval of a time or rate whose error is so large a part of it: on the logarithm.
    fn times(value: f64, half: f64) -> Self {
        if value <= 0.0 {
            return Self { low: 0.0, value, high: half };
        }
        let factor = (half / value).exp();
        Self { low: value / factor, value, high: value * factor }
    }

    fn ln(self) -> Self {
        // No time is shorter than a nanosecond, no rate lower than one in a lifetime.
        let ln = |v: f64| v.max(1e-9).ln();
        Self {
            low: if self.low > 0.0 { ln(self.low) } else { f64::NEG_INFINITY },
            value: ln(self.value),
            high: ln(self.high),
        }
    }

    /// The interval of `self` − `before`, from those of both.
    fn minus(self, before: Self) -> Self {
        let value = self.value - before.value;
        let below = (self.value - self.low).hypot(before.high - before.value);
        let above = (self.high - self.value).hypot(before.value - before.low);
        Self { low: value - below, value, high: value + above }
    }
}

/// What a comparison says of one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Worse, for certain, and by at least the threshold.
    Worse,
    /// Better, for certain, and by at least the threshold.
    Better,
    /// Different, for certain, but by less than the threshold.
    Small,
    /// No difference is shown: it may be anywhere in the interval.
    NotShown,
    /// Nothing can be said.
    Unknown,
}

/// The comparison of one figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Which.
    pub figure: Figure,
    /// Before: nanoseconds, answers a second, or a fraction, as the figure is.
    pub before: Option<f64>,
    /// After.
    pub after: Option<f64>,
    /// after / before − 1; for errors, after − before.
    pub change: Option<f64>,
    /// The lower end of its interval; `null` where there is none.
    pub low: Option<f64>,
    /// The upper end of its interval; `null` where there is none.
    pub high: Option<f64>,
    /// What that says.
    pub finding: Finding,
    /// Whether batches of a side resemble each other, or are too few to tell: the interval is as wide as what that can do
    /// at most, so that only a large difference shows.
    #[serde(default)]
    pub only_large: bool,
    /// Why nothing can be said.
    pub refused: Option<String>,
}

/// A comparison of results, as its JSON form has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: String,
    /// How often all intervals hold the truth together, at least.
    pub level: f64,
    /// The smallest relative change that counts, as a fraction.
    pub threshold: f64,
    /// Results and requests before.
    pub before: Size,
    /// Results and requests after.
    pub after: Size,
    /// Figure by figure.
    pub changes: Vec<Change>,
    /// Why the results may not be comparable.
    pub warnings: Vec<String>,
}

/// How much a side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Results.
    pub results: u64,
    /// Requests that were scheduled in them.
    pub requests: u64,
}

impl Comparison {
    /// Compares the results of two sides; a change of less than `threshold` (a fraction of the figure before) does not
    /// count.
    pub fn of(before: &[Summary], after: &[Summary], threshold: f64) -> Self {
        let sides = [Side::of(before), Side::of(after)];
        let size = |results: &[Summary], side: &Side| Size { results: results.len() as u64, requests: side.scheduled };
        Self {
            schema: SCHEMA.to_owned(),
            level: 1.0 - FALSE_ALARMS,
            threshold,
            before: size(before, &sides[0]),
            after: size(after, &sides[1]),
            changes: changes(&sides[0], &sides[1], threshold),
            warnings: warnings(before, after),
        }
    }

    /// Whether a figure is worse.
    pub fn is_regression(&self) -> bool {
        self.changes.iter().any(|change| change.finding == Finding::Worse)
    }

    /// Whether a figure is worse or better.
    pub fn is_difference(&self) -> bool {
        self.is_regression() || self.changes.iter().any(|change| change.finding == Finding::Better)
    }
}

/// Compares every figure.
pub fn changes(before: &Side, after: &Side, threshold: f64) -> Vec<Change> {
    let evidence = evidence(before, after);
    Figure::ALL.into_iter().map(|figure| change(figure, before, after, threshold, evidence)).collect()
}

/// Whether there may be fine evidence: coarse where response times of a side resemble each other by any of their figures.
/// What makes one of them drift makes all of them, and chance hides it from the test of one more often than of all.
fn evidence(before: &Side, after: &Side) -> Evidence {
    let is_correlated = |figure| {
        let of = |side: &Side| side.estimate(figure, Evidence::Fine) == Err(Refusal::Correlated);
        of(before) || of(after)
    };
    let times = [Figure::Mean, Figure::P50, Figure::P90, Figure::P99];
    if times.into_iter().any(is_correlated) { Evidence::Coarse } else { Evidence::Fine }
}

fn change(figure: Figure, before: &Side, after: &Side, threshold: f64, evidence: Evidence) -> Change {
    let by = |evidence| [before.estimate(figure, evidence), after.estimate(figure, evidence)];
    let fine = by(Evidence::Fine);
    let is_drifting = evidence == Evidence::Coarse && figure != Figure::Errors;
    let only_large = is_drifting || fine.iter().any(Result::is_err);
    let found = if only_large { by(Evidence::Coarse) } else { fine };
    let value = |i: usize| found[i].as_ref().ok().map(|f| f.value);
    let none = Change {
        figure,
        before: value(0),
        after: value(1),
        change: None,
        low: None,
        high: None,
        finding: Finding::Unknown,
        only_large: false,
        refused: None,
    };
    let (before, after) = match found {
        [Ok(before), Ok(after)] => (before, after),
        [Err(why), _] => return Change { refused: Some(format!("before: {why}")), ..none },
        [_, Err(why)] => return Change { refused: Some(format!("after: {why}")), ..none },
    };
    let change = if figure == Figure::Errors {
        after.minus(before)
    } else {
        let logarithms = after.ln().minus(before.ln());
        Between { low: logarithms.low.exp_m1(), value: logarithms.value.exp_m1(), high: logarithms.high.exp_m1() }
    };
    // Of the figure before; anything is more than a part of nothing.
    let relative = if figure == Figure::Errors { change.value / before.value } else { change.value };
    let is_worse = if figure == Figure::Rate { change.value < 0.0 } else { change.value > 0.0 };
    let finding = match (change.low > 0.0 || change.high < 0.0, relative.abs() >= threshold) {
        (false, _) => Finding::NotShown,
        (true, false) => Finding::Small,
        (true, true) if is_worse => Finding::Worse,
        (true, true) => Finding::Better,
    };
    let finite = |v: f64| v.is_finite().then_some(v);
    Change {
        change: finite(change.value),
        low: finite(change.low),
        high: finite(change.high),
        finding,
        only_large,
        ..none
    }
}

/// Something about a result that both sides should share, as text.
type Setting = fn(&Summary) -> String;

/// Results of older versions do not say all of it.
fn known(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { text.to_owned() }
}

fn seconds(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}

/// Why results may not be comparable.
fn warnings(before: &[Summary], after: &[Summary]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (side, results) in [("before", before), ("after", after)] {
        let count = |of: fn(&Summary) -> bool| results.iter().filter(|r| of(r)).count();
        let (untrusted, interrupted) = (count(|r| !r.verdict.trusted), count(|r| r.setup.interrupted));
        for (number, what) in [
            (untrusted, "not trusted: the generator itself was the limit"),
            (interrupted, "interrupted: it did not see the whole load"),
            (count(|r| r.batches.as_slice().is_empty()), "without batches: it is of an older version"),
        ] {
            if number > 0 {
                warnings.push(format!("{side}, {number} of {} results {what}", results.len()));
            }
        }
    }
    let all: Vec<&Summary> = before.iter().chain(after).collect();
    let settings: [(&str, Setting); 15] = [
        ("targets", |r| r.setup.target.clone()),
        ("kinds of schedule", |r| r.setup.arrivals.clone()),
        ("rates", |r| r.setup.rate.map_or_else(|| "max".to_owned(), |rate| format!("{rate}/s"))),
        ("durations", |r| format!("{:.0} s", r.duration_ns as f64 / 1e9)),
        ("timeouts", |r| seconds(r.setup.timeout_ns)),
        ("numbers of connections", |r| r.connections.limit.to_string()),
        ("numbers of streams", |r| r.connections.streams.map_or(1, |streams| streams.per_connection).to_string()),
        ("numbers of threads", |r| r.setup.threads.to_string()),
        ("versions of HTTP", |r| known(&r.setup.protocol)),
        ("kinds of pacing", |r| known(&r.setup.pacing)),
        ("ways to drive sockets", |r| r.setup.io.clone()),
        ("ways to note when an answer came", |r| {
            match r.setup.timestamps {
                Timestamps::Kernel => "by the kernel",
                Timestamps::Process => "as it was read",
            }
            .to_owned()
        }),
        ("warm-ups", |r| r.warmup.as_ref().map_or_else(|| "none".to_owned(), |w| seconds(w.duration_ns))),
        ("requests", |r| r.requests.iter().map(|q| q.name.as_str()).collect::<Vec<_>>().join(", ")),
        ("versions of scalectl", |r| r.setup.version.clone()),
    ];
    for (what, of) in settings {
        let mut found: Vec<String> = Vec::new();
        for text in all.iter().map(|r| of(r)) {
            if !found.contains(&text) {
                found.push(text);
            }
        }
        if found.len() > 1 {
            warnings.push(format!("the {what} differ: {}", found.join(", ")));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::tally::Tally;
    use crate::bench::result::summary::Streams;
    use crate::bench::result::warmup::WarmUp;

    fn between(low: f64, value: f64, high: f64) -> Between {
        Between { low, value, high }
    }

    #[test]
    fn a_difference_has_the_interval_of_both_sides() {
        // 3 and 4 make 5: below, the lower half of the one and the upper half of the other.
        let found = between(7.0, 10.0, 22.0).minus(between(-12.0, 0.0, 4.0));
        assert_eq!((found.low, found.value), (5.0, 10.0));
        assert!((found.high - (10.0 + 12.0_f64.hypot(12.0))).abs() < 1e-12);
        // Nothing is known above: nothing is known of the difference above, yet something below.
        let open = between(7.0, 10.0, f64::INFINITY).minus(between(-12.0, 0.0, 4.0));
        assert_eq!((open.low, open.high), (5.0, f64::INFINITY));
        assert_eq!(between(0.0, 1.0, 2.0).ln().low, f64::NEG_INFINITY);
    }

    /// 64 slices of 100 requests that take `ms` + 1 to 100 ms, of which `failed` fail.
    fn side(ms: u64, failed: u64) -> Side {
        let mut side = Side::default();
        for slice in 0..64 {
            let mut batch = Batch { scheduled: 100, ..Batch::default() };
            // Neighbours do not resemble each other: multiples of a large prime.
            let extra = slice * 7919 % 13;
            (1..=100 - failed).for_each(|i| batch.response.record((ms + i + extra) * 1_000_000));
            side.response.merge(&Distribution::from(&batch.response));
            side.scheduled += 100;
            side.seconds.push(100 - failed);
            side.batches.push(batch);
        }
        side
    }

    fn finding(figure: Figure, before: &Side, after: &Side, threshold: f64) -> Finding {
        change(figure, before, after, threshold, evidence(before, after)).finding
    }

    #[test]
    fn each_figure_has_its_own_worse_direction_and_its_threshold() {
        let (fast, slow) = (side(100, 0), side(130, 0));
        for figure in [Figure::Mean, Figure::P50, Figure::P90] {
            assert_eq!(finding(figure, &fast, &slow, 0.05), Finding::Worse, "{figure:?}");
            assert_eq!(finding(figure, &slow, &fast, 0.05), Finding::Better, "{figure:?}");
            assert_eq!(finding(figure, &fast, &slow, 0.5), Finding::Small, "{figure:?}");
            assert_eq!(finding(figure, &fast, &fast, 0.0), Finding::NotShown, "{figure:?}");
        }
        let failing = side(100, 4);
        for figure in [Figure::Rate, Figure::Errors] {
            assert_eq!(finding(figure, &fast, &failing, 0.01), Finding::Worse, "{figure:?}");
            assert_eq!(finding(figure, &failing, &fast, 0.01), Finding::Better, "{figure:?}");
            assert_eq!(finding(figure, &failing, &failing, 0.0), Finding::NotShown, "{figure:?}");
        }
        // p99 is among those that failed; that there are more of them is said by the errors.
        let unknown = change(Figure::P99, &fast, &failing, 0.0, Evidence::Fine);
        assert_eq!(unknown.finding, Finding::Unknown);
        assert!(unknown.refused.unwrap().starts_with("after: the figure itself has no value"));
    }

    /// Makes a result one of a run with another setting.
    type Alter = fn(&mut Summary);

    #[test]
    fn settings_of_the_generator_that_differ_are_told() {
        let one = crate::bench::result::merge::tests::result(1);
        assert_eq!(warnings(std::slice::from_ref(&one), std::slice::from_ref(&one)), [""; 0]);
        let settings: [(&str, Alter); 7] = [
            ("kinds of pacing differ: exact, every 1s", |r| r.setup.pacing = "every 1s".to_owned()),
            ("ways to drive sockets differ: epoll, uring", |r| r.setup.io = "uring".to_owned()),
            ("ways to note when an answer came differ: as it was read, by the kernel", |r| {
                r.setup.timestamps = Timestamps::Kernel;
            }),
            ("versions of HTTP differ: HTTP/1.1, HTTP/2", |r| r.setup.protocol = "HTTP/2".to_owned()),
            ("numbers of threads differ: 1, 2", |r| r.setup.threads = 2),
            ("numbers of streams differ: 1, 10", |r| {
                r.connections.streams = Some(Streams { per_connection: 10, ..Streams::default() });
            }),
            ("warm-ups differ: none, 1.000 s", |r| r.warmup = Some(WarmUp::of(&Tally::default(), SECOND_NS))),
        ];
        for (said, alter) in settings {
            let mut other = one.clone();
            alter(&mut other);
            assert_eq!(warnings(std::slice::from_ref(&one), &[other]), [format!("the {said}")]);
        }
    }

    #[test]
    fn no_errors_among_few_do_not_prove_that_there_are_none() {
        let none = side(100, 0).estimate(Figure::Errors, Evidence::Fine).unwrap();
        assert_eq!((none.low, none.value), (0.0, 0.0));
        // Wilson's bound for none of n is t²/(n + t²).
        let t = statistics::student(Figure::level(), 31.0);
        assert!((none.high - t * t / (6400.0 + t * t)).abs() < 1e-9, "{none:?}");
    }

    #[test]
    fn too_little_is_refused_with_the_side() {
        let mut short = side(100, 0);
        short.batches.truncate(7);
        let refused = change(Figure::Mean, &side(100, 0), &short, 0.0, Evidence::Fine);
        assert_eq!(refused.finding, Finding::Unknown);
        assert_eq!(refused.refused.unwrap(), "after: the run is too short for 8 batches");
        assert!(refused.before.is_some() && refused.after.is_none());
    }
}
