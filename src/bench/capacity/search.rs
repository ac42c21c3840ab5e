//! Where to look next for the highest rate that a target sustains: pure, decided from what the probes so far have shown.
//!
//! 1. *Bracket*: from the first rate on, doubled while it holds, halved while it does not, until one rate holds and one
//!    does not. The one that does not is confirmed before the next step: everything further rests on it.
//! 2. *Bisect*: the geometric middle, until the two are as close as the precision asks for.
//! 3. *Confirm*: both ends are probed until a majority of the votes has decided. A vote that turns an end over widens
//!    the bracket again, and the search goes on from there.
//!
//! One probe is a draw, not the truth: near the capacity it holds or misses by chance, and anything that disturbs the
//! machine makes a lower rate miss. So a rate counts by the majority of its probes, and what comes out is an interval.
//! A probe that the generator itself spoiled is no vote at all; where that happens again and again, the generator is
//! the limit, and nothing is known of the target beyond.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// What a search is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// The first rate, in requests a second.
    pub start: f64,
    /// How close the ends of the answer have to be: 0.05 means that the higher is at most 5% above the lower.
    pub precision: f64,
    /// The most votes on one rate, of which a majority decides; odd.
    pub votes: u32,
    /// The lowest rate that is tried.
    pub floor: f64,
    /// The highest.
    pub ceiling: f64,
    /// The most probes in all.
    pub most_probes: usize,
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vote {
    /// Every condition held.
    Held,
    /// At least one did not.
    Missed,
    /// At least one did not, and the generator itself was the limit: no vote on the target.
    Untrusted,
}

/// Why a rate is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To find a rate that holds and one that does not.
    Bracket,
    /// To narrow them.
    Bisect,
    /// To be sure of one of them.
    Confirm,
    /// Because the probes of this rate have not decided anything yet.
    Repeat,
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Both ends are confirmed.
    Found,
    /// Even the lowest rate did not hold.
    NothingHeld,
    /// The highest rate that is tried held.
    Ceiling,
    /// The probes are used up, so that an end may rest on a single probe.
    GaveUp,
    /// The user ended it early.
    Interrupted,
    /// The target accepted no connection any more.
    TargetGone,
}

/// What is known at the end: every figure in requests a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// The highest rate that held.
    pub low: Option<f64>,
    /// The lowest rate above it that did not.
    pub high: Option<f64>,
    /// Whether the generator is why the higher one did not hold.
    pub is_limited_by_generator: bool,
    /// How it ended.
    pub end: End,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// Probe this rate.
    Probe(f64, Purpose),
    /// It is over.
    Done(Answer),
}

/// What the probes of one rate say together.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Standing {
    Holds { is_sure: bool },
    Misses { is_sure: bool },
    Blind,
    Open,
}

#[derive(Debug, Clone, Copy)]
struct Tried {
    rate: f64,
    held: u32,
    missed: u32,
    untrusted: u32,
}

impl Tried {
    fn standing(&self, votes: u32) -> Standing {
        let majority = votes / 2 + 1;
        match self.held.cmp(&self.missed) {
            Ordering::Greater if self.held >= majority => Standing::Holds { is_sure: true },
            Ordering::Less if self.missed >= majority => Standing::Misses { is_sure: true },
            _ if self.untrusted >= votes => Standing::Blind,
            Ordering::Greater => Standing::Holds { is_sure: false },
            Ordering::Less => Standing::Misses { is_sure: false },
            Ordering::Equal => Standing::Open,
        }
    }
}

/// The rates that were tried, ascending, with their votes.
fn tried(probes: &[(f64, Vote)]) -> Vec<Tried> {
    let mut all: Vec<Tried> = Vec::new();
    for (rate, vote) in probes {
        let at = all.partition_point(|t| t.rate < *rate);
        if all.get(at).is_none_or(|t| t.rate > *rate) {
            all.insert(at, Tried { rate: *rate, held: 0, missed: 0, untrusted: 0 });
        }
        match vote {
            Vote::Held => all[at].held += 1,
            Vote::Missed => all[at].missed += 1,
            Vote::Untrusted => all[at].untrusted += 1,
        }
    }
    all
}

/// The rates whose probes did not agree with each other, ascending, with how many held and how many missed.
pub fn disagreed(probes: &[(f64, Vote)]) -> Vec<(f64, u32, u32)> {
    let of = |t: Tried| (t.held > 0 && t.missed > 0).then_some((t.rate, t.held, t.missed));
    tried(probes).into_iter().filter_map(of).collect()
}

/// A rate that is easy to read: four significant digits.
fn tidy(rate: f64) -> f64 {
    let unit = 10_f64.powi(rate.log10().floor() as i32 - 3);
    // Divided by a whole number where there are decimals, so that 0.1 comes out as 0.1.
    if unit < 1.0 { (rate / unit).round() / (1.0 / unit).round() } else { (rate / unit).round() * unit }
}

impl Plan {
    /// The highest rate that holds below the lowest that does not, and that one.
    fn bracket<'a>(&self, all: &'a [Tried]) -> (Option<&'a Tried>, Option<&'a Tried>) {
        let is_beyond = |t: &Tried| matches!(t.standing(self.votes), Standing::Misses { .. } | Standing::Blind);
        let high = all.iter().position(is_beyond);
        let below = &all[..high.unwrap_or(all.len())];
        let low = below.iter().rfind(|t| matches!(t.standing(self.votes), Standing::Holds { .. }));
        (low, high.map(|at| &all[at]))
    }

    /// What these probes say, the search having ended so.
    pub fn answer(&self, probes: &[(f64, Vote)], end: End) -> Answer {
        let all = tried(probes);
        let (low, high) = self.bracket(&all);
        let is_limited_by_generator = high.is_some_and(|t| t.standing(self.votes) == Standing::Blind);
        Answer { low: low.map(|t| t.rate), high: high.map(|t| t.rate), is_limited_by_generator, end }
    }

    /// What to do after these probes, in the order in which they were made.
    pub fn next(&self, probes: &[(f64, Vote)]) -> Step {
        let all = tried(probes);
        let standing = |t: &Tried| t.standing(self.votes);
        let (low, high) = self.bracket(&all);
        let done = |end| Step::Done(self.answer(probes, end));
        let Some((last, _)) = probes.last() else { return Step::Probe(self.start, Purpose::Bracket) };
        if probes.len() >= self.most_probes {
            return done(End::GaveUp);
        }
        if let Some(open) = all.iter().find(|t| t.rate == *last && standing(t) == Standing::Open) {
            return Step::Probe(open.rate, Purpose::Repeat);
        }
        let unsure = |t: &&Tried| {
            matches!(standing(t), Standing::Holds { is_sure: false } | Standing::Misses { is_sure: false })
        };
        let confirm = |t: &Tried| Step::Probe(t.rate, Purpose::Confirm);
        match (low, high) {
            (Some(low), None) if low.rate < self.ceiling => {
                Step::Probe(tidy(low.rate * 2.0).min(self.ceiling), Purpose::Bracket)
            }
            (Some(low), None) => Some(low).filter(unsure).map_or_else(|| done(End::Ceiling), confirm),
            (None, Some(high)) if high.rate > self.floor => {
                Step::Probe(tidy(high.rate / 2.0).max(self.floor), Purpose::Bracket)
            }
            (None, Some(high)) => Some(high).filter(unsure).map_or_else(|| done(End::NothingHeld), confirm),
            (Some(low), Some(high)) => {
                let ratio = high.rate / low.rate;
                let middle = tidy((low.rate * high.rate).sqrt());
                let is_close = ratio <= 1.0 + self.precision || middle <= low.rate || middle >= high.rate;
                match (Some(high).filter(unsure), Some(low).filter(unsure)) {
                    // As wide as bracketing left it.
                    (Some(high), _) if ratio > 1.9 => confirm(high),
                    _ if !is_close => Step::Probe(middle, Purpose::Bisect),
                    (_, Some(low)) => confirm(low),
                    (Some(high), None) => confirm(high),
                    (None, None) => done(End::Found),
                }
            }
            // What is open is not the last one: a rate whose votes are tied for good cannot be, as votes are odd.
            (None, None) => done(End::GaveUp),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};
    use rand_distr::{Distribution as _, StandardNormal};

    use super::*;

    const PLAN: Plan = Plan { start: 50.0, precision: 0.05, votes: 3, floor: 0.1, ceiling: 1e6, most_probes: 60 };

    /// Searches a target that votes like this.
    fn search(plan: &Plan, mut vote: impl FnMut(f64) -> Vote) -> (Answer, Vec<(f64, Vote)>) {
        let mut probes = Vec::new();
        loop {
            match plan.next(&probes) {
                Step::Probe(rate, _) => probes.push((rate, vote(rate))),
                Step::Done(answer) => return (answer, probes),
            }
        }
    }

    fn exact(capacity: f64) -> impl FnMut(f64) -> Vote {
        move |rate| if rate <= capacity { Vote::Held } else { Vote::Missed }
    }

    #[test]
    fn the_capacity_of_a_steady_target_is_within_the_interval_whatever_the_start() {
        for capacity in [0.3, 1.0, 7.7, 49.9, 50.0, 51.0, 4_321.0, 987_654.0] {
            for start in [1.0, 50.0, 100_000.0] {
                for precision in [0.01, 0.05, 0.2] {
                    let (answer, probes) = search(&Plan { start, precision, ..PLAN }, exact(capacity));
                    let (low, high) = (answer.low.unwrap(), answer.high.unwrap());
                    assert_eq!(answer.end, End::Found);
                    assert!(low <= capacity && capacity < high, "{low} to {high} for {capacity}");
                    assert!(high / low <= 1.0 + precision, "{low} to {high}");
                    for end in [low, high] {
                        assert!(probes.iter().filter(|p| p.0 == end).count() >= 2, "{end} is confirmed: {probes:?}");
                    }
                    // A factor of two for each step of the bracket, a halving of its logarithm for each that follows.
                    let bracket = (capacity / start).log2().abs().ceil() + 2.0;
                    let bisect = (2_f64.ln() / precision.ln_1p()).log2().ceil() + 1.0;
                    assert!(probes.len() as f64 <= bracket + bisect + 4.0, "{} probes", probes.len());
                }
            }
        }
    }

    #[test]
    fn a_target_that_never_or_always_holds_ends_the_search() {
        let (never, probes) = search(&PLAN, |_| Vote::Missed);
        assert_eq!((never.end, never.low, never.high), (End::NothingHeld, None, Some(PLAN.floor)), "{probes:?}");
        let (always, _) = search(&Plan { ceiling: 1000.0, ..PLAN }, |_| Vote::Held);
        assert_eq!((always.end, always.low, always.high), (End::Ceiling, Some(1000.0), None));
        let (blind, _) = search(&PLAN, |_| Vote::Untrusted);
        assert!(blind.is_limited_by_generator && blind.low.is_none());
    }

    #[test]
    fn what_the_generator_spoiled_is_no_vote_and_again_and_again_it_is_the_limit() {
        // Every second probe is spoiled: it only costs probes.
        let mut n = 0;
        let mut target = exact(4_321.0);
        let (answer, _) = search(&Plan { most_probes: 200, ..PLAN }, |rate| {
            n += 1;
            if n % 2 == 0 { Vote::Untrusted } else { target(rate) }
        });
        assert!(answer.low.unwrap() <= 4_321.0 && answer.high.unwrap() > 4_321.0);
        assert!(!answer.is_limited_by_generator);
        // The generator cannot do more than 3000.
        let (answer, _) = search(&PLAN, |rate| if rate > 3_000.0 { Vote::Untrusted } else { Vote::Held });
        assert!(answer.is_limited_by_generator && answer.low.unwrap() <= 3_000.0, "{answer:?}");
    }

    #[test]
    fn one_false_vote_does_not_change_the_answer() {
        let (_, probes) = search(&PLAN, exact(4_321.0));
        for wrong in 0..probes.len() {
            let (mut n, mut target) = (0, exact(4_321.0));
            let (answer, _) = search(&PLAN, |rate| {
                let is_wrong = n == wrong;
                n += 1;
                match target(rate) {
                    Vote::Held if is_wrong => Vote::Missed,
                    Vote::Missed if is_wrong => Vote::Held,
                    right => right,
                }
            });
            let (low, high) = (answer.low.unwrap(), answer.high.unwrap());
            assert!(low <= 4_321.0 && 4_321.0 < high, "vote {wrong} of {probes:?}: {answer:?}");
        }
    }

    /// Whether a probe holds is a draw: at the capacity in half of them, the more surely the further away (normal on the
    /// logarithm of the rate, 2%), and 5% miss and 5% are spoiled whatever the rate.
    #[test]
    fn the_interval_of_noisy_targets_holds_the_capacity() {
        let (searches, noise) = (500, 0.02_f64);
        let (mut within, mut most, mut gave_up) = (0, 0, 0);
        for seed in 0..searches {
            let mut random = SmallRng::seed_from_u64(seed);
            let capacity = 10.0 * 1000_f64.powf(random.random::<f64>());
            let (answer, probes) = search(&PLAN, |rate| {
                let shift: f64 = StandardNormal.sample(&mut random);
                match random.random::<f64>() {
                    ..0.05 => Vote::Missed,
                    ..0.10 => Vote::Untrusted,
                    _ if rate <= capacity * (noise * shift).exp() => Vote::Held,
                    _ => Vote::Missed,
                }
            });
            let (low, high) = (answer.low.unwrap(), answer.high.unwrap());
            // Where a probe holds in one of forty, two of three do in one of five hundred: that is the interval's blur.
            within += u64::from(low <= capacity * (1.0 + 2.0 * noise) && capacity <= high * (1.0 + 2.0 * noise));
            most = most.max(probes.len());
            gave_up += u64::from(answer.end == End::GaveUp);
        }
        println!("{within} of {searches} within, at most {most} probes, {gave_up} gave up");
        assert!(within * 100 >= searches * 95, "{within} of {searches}");
        assert!(gave_up * 100 <= searches, "{gave_up} gave up");
    }

    #[test]
    fn rates_are_easy_to_read_and_disagreement_is_told() {
        for (rate, text) in [(4_321.987, "4322"), (0.123456, "0.1235"), (123_456.7, "123500"), (50.0, "50")] {
            assert_eq!(tidy(rate).to_string(), text);
        }
        let probes = [(2.0, Vote::Held), (4.0, Vote::Missed), (4.0, Vote::Held), (1.0, Vote::Untrusted)];
        assert_eq!(disagreed(&probes), [(4.0, 1, 1)]);
        // Tied, so it is probed again whatever else would come next.
        assert_eq!(PLAN.next(&probes[..3]), Step::Probe(4.0, Purpose::Repeat));
    }
}
