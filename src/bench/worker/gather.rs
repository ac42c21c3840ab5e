//! How many answers of a closed loop one wake-up waits for.
//!
//! A generator that is faster than its target sleeps between two answers, and to wake up costs more than an answer does:
//! it and the target, which has to wake it. Both are cheaper where several answers are read together, and a target that
//! has requests waiting loses nothing by it. One that has none would: whether it does is measured in the run itself, by
//! windows in which answers are read one by one.

/// How long answers are counted for a rate.
const WINDOW_NS: u64 = 5_000_000;
/// How many answers it begins with.
const FIRST: usize = 16;
/// How many pairs of windows one decision takes.
const PAIRS: usize = 9;
/// How many windows there are to a pair, while the number is sought and when it is found.
const SEEKING: usize = 4;
const SETTLED: usize = 32;
/// The windows of a pair. Each follows one of its own kind, so that as many answers wait to be read at its begin as at its
/// end.
const SINGLY: usize = 1;
const TOGETHER: usize = 3;
/// How much of the throughput may be lost before fewer are waited for.
const LOSS: f64 = 0.02;
/// How many pairs have to show more of a loss: on a noisy machine a pair does as likely as not, and so many do in one of
/// fifty decisions (a sign test).
const SIGNS: usize = 8;
/// How often in a row a loss has to be found, and no loss before more are tried than did harm.
const DOUBTS: u32 = 2;
const PATIENCE: u32 = 4;
/// How long the answers that are waited for may take to come, in seconds.
const LONGEST: f64 = 500e-6;

/// Finds how many answers to wait for.
#[derive(Debug)]
pub struct Gather {
    /// How many are waited for, except in windows of single answers.
    answers: usize,
    /// No more than these: where more did harm, and in any case.
    limit: usize,
    most: usize,
    /// Decisions in a row without harm, and with.
    calm: u32,
    doubts: u32,
    windows: Windows,
}

impl Gather {
    /// For so many connections. Half of them may be answered and not read.
    pub fn new(connections: usize) -> Self {
        let most = (connections / 2).max(1);
        Self { answers: most.min(FIRST), limit: most, most, calm: 0, doubts: 0, windows: Windows::default() }
    }

    /// How many to wait for, of `busy` requests under way.
    pub fn answers(&self, busy: usize) -> usize {
        if self.windows.is_single() { 1 } else { self.answers.min(busy / 2).max(1) }
    }

    /// Takes note of answers that were dealt with, at `now` in nanoseconds.
    pub fn answered(&mut self, answers: usize, now: u64) {
        if !self.windows.answered(answers, now) {
            return;
        }
        self.answers = self.answers.min(self.in_time());
        if let Some(is_harm) = self.windows.compared() {
            self.decide(is_harm);
        }
    }

    /// How many come soon enough to be waited for, as far as that is known.
    fn in_time(&self) -> usize {
        self.windows.together.map_or(usize::MAX, |per_second| ((per_second * LONGEST) as usize).max(1))
    }

    fn decide(&mut self, is_harm: bool) {
        (self.calm, self.doubts) = if is_harm { (0, self.doubts + 1) } else { (self.calm + 1, 0) };
        self.windows.cycle = SEEKING;
        let more = (2 * self.answers).min(self.limit).min(self.in_time());
        if is_harm && self.answers > 1 {
            if self.doubts == DOUBTS {
                self.limit = self.answers / 2;
                self.answers = self.limit;
                self.doubts = 0;
            }
        } else if !is_harm && self.answers < more {
            self.answers = more;
        } else {
            self.windows.cycle = SETTLED;
            if self.calm >= PATIENCE && self.limit < self.most {
                self.limit = (2 * self.limit).min(self.most);
                self.calm = 0;
            }
        }
    }
}

/// Windows of time in which answers are read singly and together, in turns, and what came in them.
#[derive(Debug)]
struct Windows {
    /// The window under way: its number in its cycle, when it began, what has come in it.
    current: usize,
    began: u64,
    come: u64,
    /// How many windows a cycle has.
    cycle: usize,
    /// Answers a second in the last window of single answers.
    singly: f64,
    /// The same where several are read together.
    together: Option<f64>,
    /// The one as a part of the other, pair by pair.
    ratios: Vec<f64>,
}

impl Default for Windows {
    fn default() -> Self {
        let ratios = Vec::with_capacity(PAIRS);
        Self { current: 0, began: 0, come: 0, cycle: SEEKING, singly: 0.0, together: None, ratios }
    }
}

impl Windows {
    /// Whether answers are read one by one.
    fn is_single(&self) -> bool {
        self.current <= SINGLY
    }

    /// Counts answers that were dealt with; whether a window has ended at `now`.
    fn answered(&mut self, answers: usize, now: u64) -> bool {
        self.come += answers as u64;
        let ns = now.saturating_sub(self.began);
        if ns < WINDOW_NS {
            return false;
        }
        let per_second = std::mem::take(&mut self.come) as f64 / ns as f64 * 1e9;
        self.began = now;
        match self.current {
            SINGLY => self.singly = per_second,
            TOGETHER => {
                self.together = Some(per_second);
                self.ratios.push(if self.singly > 0.0 { per_second / self.singly } else { 1.0 });
            }
            _ => {}
        }
        self.current = (self.current + 1) % self.cycle;
        true
    }

    /// After enough pairs: whether reading together does harm.
    fn compared(&mut self) -> Option<bool> {
        if self.current != 0 || self.ratios.len() < PAIRS {
            return None;
        }
        let losses = self.ratios.drain(..).filter(|ratio| *ratio < 1.0 - LOSS).count();
        Some(losses >= SIGNS)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The mean number that is waited for in the last half of ten seconds, where so many answers a second come if so many
    /// are waited for, in every window with some noise.
    fn found(connections: usize, noise: f64, rate: impl Fn(f64) -> f64) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut gather = Gather::new(connections);
        let (mut sum, mut number) = (0, 0);
        for window in 0..2000 {
            let now = window * WINDOW_NS;
            let answers = gather.answers(connections);
            let factor = 1.0 + noise * (rng.random::<f64>() + rng.random::<f64>() + rng.random::<f64>() - 1.5) * 2.0;
            gather.answered((rate(answers as f64) * factor * 0.005) as usize, now + WINDOW_NS);
            if window >= 1000 {
                sum += answers;
                number += 1;
            }
        }
        sum as f64 / f64::from(number)
    }

    #[test]
    fn a_target_with_requests_waiting_is_given_many_at_a_time() {
        for noise in [0.0, 0.02, 0.05] {
            let mean = found(64, noise, |_| 100_000.0);
            assert!(mean > 24.0, "{mean} with {noise}");
        }
        // It even wins.
        assert!(found(64, 0.02, |answers| 100_000.0 + 500.0 * answers) > 24.0);
    }

    #[test]
    fn a_target_that_would_wait_for_requests_loses_little() {
        // An answer takes a millisecond, and waits for those after it: the rate is C / (1 ms + (k - 1) / (2 rate)).
        let rate = |answers: f64| (64.0 - (answers - 1.0) / 2.0) / 0.001;
        for noise in [0.0, 0.02] {
            let mean = found(64, noise, rate);
            assert!(rate(mean) > 0.97 * rate(1.0), "{mean} with {noise}");
        }
    }

    #[test]
    fn few_answers_are_taken_one_by_one() {
        assert_eq!(found(3, 0.0, |_| 100_000.0), 1.0);
        assert_eq!(found(64, 0.0, |_| 3_000.0), 1.0, "they would be waited for too long");
        assert_eq!(Gather::new(0).answers(0), 1);
    }

    #[test]
    fn what_comes_too_slowly_is_taken_one_by_one_as_soon_as_that_is_known() {
        let mut gather = Gather::new(64);
        let mut windows = 0;
        while gather.answers > 1 {
            windows += 1;
            gather.answered(10, windows * WINDOW_NS);
        }
        assert_eq!(windows, TOGETHER as u64 + 1);
    }

    #[test]
    fn no_more_than_one_half_is_read_late() {
        let mut gather = Gather::new(400);
        gather.windows.current = TOGETHER;
        gather.answers = 100;
        assert_eq!([400, 100, 9, 3, 0].map(|busy| gather.answers(busy)), [100, 50, 4, 1, 1]);
    }
}
