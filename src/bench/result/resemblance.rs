//! How far a figure of one run can be off where neighbouring batches may go on resembling each other: what a comparison
//! of runs rests on.
//!
//! A test for correlation overlooks it in many short series, and batch means are then far too sure: with batches that
//! follow a first-order autoregression of 0.8 to 0.95, where eight that had passed the test were trusted, 5 to 25 of 100
//! pairs of equal runs of 10 to 60 s were called different, and where the test was not passed nothing could be said. So
//! there are two kinds of evidence:
//!
//! - *fine*: 16 to 32 batches that pass von Neumann's test, the error enlarged by what correlation may be left,
//!   √((1 + r)/(1 − r)), as N-Skart does (Tafazzoli, Steiger & Wilson, "N-Skart: a nonsequential skewness- and
//!   autoregression-adjusted batch-means procedure for simulation analysis", IEEE Trans. Automatic Control 56, 2011);
//! - *coarse*: eight batches with no test and no estimate of their correlation, the error enlarged by what the worst case
//!   needs: a stationary Gaussian process whose memory fades (to 1/e) within half of the run. To choose the critical
//!   value by the worst case of a bounded persistence is what Müller & Watson do ("Spatial correlation robust inference",
//!   Econometrica 90, 2022); here it is that of a pair of such runs. That errors which are estimated from the run alone fail under strong
//!   autocorrelation is shown by Müller ("HAC corrections for strongly autocorrelated time series", J. Business & Economic Statistics 32,
//!   2014). Such an interval is wide: it shows a large difference, and no other.
//!
//! What lasts longer than that cannot be seen within a run, by any method: only more runs show it.

use super::statistics::{Estimate, MOST, Refusal, autocorrelation, score};

/// The batches of coarse evidence.
pub const COARSE: usize = 8;
/// The fewest batches of fine evidence: fewer pass the test too often whatever their correlation.
const FEWEST_FINE: usize = 16;
/// The score of von Neumann's test that 5% of independent series exceed.
const DOUBTFUL: f64 = 1.644_9;
/// By how much correlation enlarges the variance of the mean of eight batches at most. At the level of a figure of a
/// comparison, the interval of the difference between two equal runs then holds 0 for every stationary Gaussian process
/// with the correlation exp(−|t|/τ), τ at most half of the run; a test draws such pairs.
const WORST: f64 = 10.7;
/// The same where a side has two results, each with a level of its own. Of two sides, the difference of means has the
/// variance σ², and the four batches of either level tell σ²·8/7 with two degrees of freedom; so the factor is
/// 8·(t₂/t₇)²·7/8, t being the quantiles of Student's t at that level, 10.90 and 3.64.
const WORST_OF_TWO: f64 = 63.0;

/// Estimates Σ numerators / Σ denominators from many batches of slices in order of time, with what correlation may
/// be left in its error.
///
/// # Errors
///
/// There are too few slices, they resemble each other, or all denominators are 0.
pub fn fine(slices: &[(f64, f64)]) -> Result<Estimate, Refusal> {
    let number = slices.len() / slices.len().div_ceil(MOST).max(1);
    if number < FEWEST_FINE {
        return Err(Refusal::TooFewBatches);
    }
    let (value, residuals) = residuals(slices, number)?;
    if score(&residuals).is_some_and(|score| score > DOUBTFUL) {
        return Err(Refusal::Correlated);
    }
    Ok(Estimate { value, error: error(&residuals, remaining(&residuals)), batches: number })
}

/// The same from eight batches, whatever their correlation, for a side of so many `results`.
///
/// # Errors
///
/// There are too few slices, or all denominators are 0.
pub fn coarse(slices: &[(f64, f64)], results: usize) -> Result<Estimate, Refusal> {
    let (value, residuals) = residuals(slices, COARSE)?;
    Ok(Estimate { value, error: error(&residuals, worst(results)), batches: COARSE })
}

/// The mean of the values of eight parts of a side of so many `results`, whatever their correlation.
pub fn coarse_mean(values: &[f64; COARSE], results: usize) -> Estimate {
    let value = values.iter().sum::<f64>() / COARSE as f64;
    Estimate { value, error: error(&values.map(|v| v - value), worst(results)), batches: COARSE }
}

fn worst(results: usize) -> f64 {
    if results == 2 { WORST_OF_TWO } else { WORST }
}

/// `number` parts of about the same number of neighbours.
pub fn parts<T>(of: &[T], number: usize) -> impl Iterator<Item = &[T]> {
    (0..number).map(move |i| &of[i * of.len() / number..(i + 1) * of.len() / number])
}

/// The ratio, and by how much that of each of `number` batches is off, weighed by its denominator.
fn residuals(slices: &[(f64, f64)], number: usize) -> Result<(f64, Vec<f64>), Refusal> {
    if slices.len() < number {
        return Err(Refusal::TooFewBatches);
    }
    let sum = |of: &[(f64, f64)]| of.iter().fold((0.0, 0.0), |sum, s| (sum.0 + s.0, sum.1 + s.1));
    let (above, below) = sum(slices);
    if below <= 0.0 {
        return Err(Refusal::NoValue);
    }
    let (value, usual) = (above / below, below / number as f64);
    let residual = |(above, below): (f64, f64)| (above - value * below) / usual;
    Ok((value, parts(slices, number).map(|part| residual(sum(part))).collect()))
}

/// The standard error of the mean of values whose mean is 0, where correlation enlarges its variance so many times.
fn error(residuals: &[f64], inflation: f64) -> f64 {
    let b = residuals.len() as f64;
    let squares: f64 = residuals.iter().map(|r| r * r).sum();
    (squares / (b - 1.0) / b * inflation).sqrt()
}

/// By how much the autocorrelation of these values enlarges the variance of their mean.
fn remaining(residuals: &[f64]) -> f64 {
    let b = residuals.len() as f64;
    let found = autocorrelation(residuals).unwrap_or(0.0);
    // The estimate is too low by 3ρ/b (Marriott & Pope, "Bias in the estimation of autocorrelations", Biometrika 41,
    // 1954; of their (1 + 3ρ)/b the ends that von Neumann's ratio corrects are the first part).
    let r = found + 3.0 * found.max(0.0) / b;
    if r < 1.0 { ((1.0 + r) / (1.0 - r)).clamp(1.0, WORST) } else { WORST }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;
    use rand_distr::{Distribution as _, StandardNormal};

    use super::*;

    /// The level of one of six figures.
    const LEVEL: f64 = 1.0 - 0.05 / 6.0;
    const PAIRS: u64 = 40_000;

    /// Three standard errors of the share of so many pairs that miss at that level.
    fn chance() -> f64 {
        3.0 * ((1.0 - LEVEL) * LEVEL / PAIRS as f64).sqrt()
    }

    /// `n` values of a stationary process of which neighbours correlate by `phi`, with noise of its own on each.
    fn process(random: &mut SmallRng, n: usize, phi: f64, noise: f64) -> Vec<(f64, f64)> {
        let mut draw = || -> f64 { StandardNormal.sample(random) };
        let mut now = draw();
        let mut next = || {
            let value = now + noise * draw();
            now = phi * now + (1.0 - phi * phi).sqrt() * draw();
            (value, 1.0)
        };
        (0..n).map(|_| next()).collect()
    }

    /// How often the difference of two equal sides is called real.
    fn missed(mut side: impl FnMut() -> Estimate) -> f64 {
        let mut misses = || {
            let (one, other) = (side(), side());
            (one.value - other.value).abs() > one.half_width(LEVEL).hypot(other.half_width(LEVEL))
        };
        (0..PAIRS).filter(|_| misses()).count() as f64 / PAIRS as f64
    }

    /// The most that the coarse interval is enlarged is what the worst case needs, not less and not much more.
    #[test]
    fn the_worst_case_is_a_memory_of_half_the_run() {
        let missed = |fades: f64| {
            let mut random = SmallRng::seed_from_u64(7);
            // In 64 steps, memory fades to 1/e in `fades` of the run.
            let phi = (-1.0 / (64.0 * fades)).exp();
            missed(|| coarse(&process(&mut random, 64, phi, 0.0), 1).unwrap())
        };
        let worst = missed(0.5);
        assert!((worst - (1.0 - LEVEL)).abs() <= chance(), "{worst}");
        for fades in [0.02, 0.1, 0.3] {
            assert!(missed(fades) <= 1.0 - LEVEL, "{fades}");
        }
    }

    /// Two results at levels of their own: the worst case of a pair of sides that have them.
    #[test]
    fn the_worst_case_of_two_results_is_a_level_of_each() {
        let mut random = SmallRng::seed_from_u64(9);
        let mut draw = || -> f64 { StandardNormal.sample(&mut random) };
        let missed = missed(|| {
            let (first, second) = (draw(), draw());
            coarse_mean(&[first, first, first, first, second, second, second, second], 2)
        });
        assert!((missed - (1.0 - LEVEL)).abs() <= chance(), "{missed}");
    }

    #[test]
    fn independent_values_have_fine_evidence_and_lasting_ones_only_coarse() {
        let mut random = SmallRng::seed_from_u64(3);
        let mut given = |phi| (0..500).filter(|_| fine(&process(&mut random, 64, phi, 0.0)).is_ok()).count();
        // 95% of independent series pass a test at 5%: three standard errors of 500 are 3%.
        assert!((460..=490).contains(&given(0.0)));
        assert!(given(0.9) < 5);
        assert_eq!(fine(&[(1.0, 1.0); 15]), Err(Refusal::TooFewBatches));
        assert_eq!(coarse(&[(1.0, 1.0); 7], 1), Err(Refusal::TooFewBatches));
        assert_eq!(coarse(&[(0.0, 0.0); 8], 1), Err(Refusal::NoValue));
    }

    #[test]
    fn what_correlation_remains_enlarges_the_error_and_a_negative_one_does_not_lessen_it() {
        let alternating: Vec<_> = (0..32).map(|i| ([-1.0, 1.0][i % 2], 1.0)).collect();
        let found = fine(&alternating).unwrap();
        assert!((found.error - (1.0_f64 / 31.0).sqrt()).abs() < 1e-12, "{found:?}");
        assert_eq!(remaining(&[-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0]), WORST);
        assert_eq!(coarse_mean(&[5.0; 8], 1).error, 0.0);
    }

    #[test]
    fn parts_are_neighbours_and_together_everything() {
        for (len, number) in [(8, 8), (10, 8), (63, 31), (64, 8)] {
            let all: Vec<_> = (0..len).collect();
            let found: Vec<_> = parts(&all, number).collect();
            assert_eq!(found.concat(), all);
            let lengths = || found.iter().map(|part| part.len());
            assert!(lengths().max().unwrap() - lengths().min().unwrap() <= 1, "{len} in {number}");
        }
    }
}
