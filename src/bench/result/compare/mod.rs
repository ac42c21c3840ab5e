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

mod settings;
mod side;

use serde::{Deserialize, Serialize};

use self::settings::warnings;
pub use self::side::Side;
use self::side::{Between, Evidence};
use super::statistics::Refusal;
use super::summary::Summary;

/// Name and version of the JSON form.
pub const SCHEMA: &str = "scalectl.compare/1";
/// How often equal results may be called different, over all figures together.
const FALSE_ALARMS: f64 = 0.05;

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

#[cfg(test)]
mod tests {
    use super::side::tests::side;
    use super::*;

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
