//! When to send: arrivals as a pure function of their number, without a network or a clock.
//!
//! A schedule is a unit process u₀, u₁, … put through the inverse of a cumulated rate, arrival(n) = Λ⁻¹(uₙ). For
//! evenly spaced arrivals uₙ = n, for a Poisson process it is a sum of n + 1 draws from Exp(1). Λ is continuous across
//! stages. All of it is integer arithmetic but for the square root in a ramp, so that any number of workers sees the
//! same arrivals.

pub mod log_line;
pub mod pacing;
pub mod replay;
pub mod stage;

use std::sync::Arc;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1};

use self::replay::Recording;
use self::stage::{ARRIVAL, Leg, Stage, clamp, micro};
use crate::units::{Rate, TimeSpan};

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;
/// The stream of the seeded generator that arrivals are drawn from; request n draws its content from stream n.
const STREAM: u64 = u64::MAX;
/// How many random gaps are drawn before it is asked whether they are still wanted.
const DRAWS: u64 = 1 << 20;

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So long.
    Duration(TimeSpan),
    /// So many requests.
    Requests(u64),
}

/// One arrival of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its number in the whole run, from 0.
    pub n: u64,
    /// When it is due, in nanoseconds after the start.
    pub at_ns: u64,
}

/// How arrivals are laid out in time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Profile {
    /// Evenly spaced at the rate of these legs.
    Even(Arc<[Leg]>),
    /// A Poisson process of that rate, drawn with a seed.
    Poisson(Arc<[Leg]>, u64),
    /// At the instants of a log.
    Recorded(Arc<Recording>),
    /// As soon as a connection is free: no instants of its own.
    ClosedLoop,
}

/// All arrivals of a run: those with `at_ns` below its duration T.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    profile: Profile,
    /// T in nanoseconds.
    duration_ns: u64,
    /// The most arrivals there may be.
    limit: u64,
}

impl Schedule {
    /// A constant rate for `duration_ns`: every n with floor(n / rate) < T.
    pub fn constant_for(rate: Rate, duration_ns: u64) -> Self {
        let legs = [Leg::constant(micro(rate), duration_ns)].into();
        Self { profile: Profile::Even(legs), duration_ns, limit: u64::MAX }
    }

    /// A constant rate for exactly `count` arrivals; T is the instant at which the next one would be due.
    pub fn constant_count(rate: Rate, count: u64) -> Self {
        let micro_rps = micro(rate);
        let duration_ns = clamp((u128::from(count) * ARRIVAL).div_ceil(u128::from(micro_rps)));
        let legs = [Leg::constant(micro_rps, duration_ns)].into();
        Self { profile: Profile::Even(legs), duration_ns, limit: count }
    }

    /// Stages that follow each other, the rate cumulated across them without a gap.
    pub fn stages(stages: &[Stage]) -> Self {
        let legs: Arc<[Leg]> = Leg::all(stages).into();
        let duration_ns = legs.last().map_or(0, Leg::end_ns);
        Self { profile: Profile::Even(legs), duration_ns, limit: u64::MAX }
    }

    /// The instants of a log.
    pub fn recorded(recording: Arc<Recording>) -> Self {
        let (duration_ns, limit) = (recording.duration_ns(), recording.count());
        Self { profile: Profile::Recorded(recording), duration_ns, limit }
    }

    /// Arrivals whenever a connection is free: for `duration_ns`, or `count` of them, whichever ends first.
    pub fn closed_loop(duration_ns: u64, count: u64) -> Self {
        Self { profile: Profile::ClosedLoop, duration_ns, limit: count }
    }

    /// The same rate, with arrivals that are independent of each other. An exact number of them stays exact, and T
    /// becomes the instant of the one that would follow; otherwise T stays, and their number is random.
    #[must_use]
    pub fn poisson(self, seed: u64) -> Self {
        self.poisson_unless(seed, || false)
    }

    /// The same, but that drawing many of them may be given up: then what there is means nothing.
    #[must_use]
    pub(in crate::bench) fn poisson_unless(mut self, seed: u64, is_given_up: impl Fn() -> bool) -> Self {
        let Profile::Even(legs) = &mut self.profile else { return self };
        if let [leg] = legs.as_ref()
            && self.limit < u64::MAX
        {
            let mut walk = Walk::new(seed);
            let mut left = self.limit.saturating_add(1);
            while left > 0 && !is_given_up() {
                let steps = left.min(DRAWS);
                walk.go(steps, u128::MAX);
                left -= steps;
            }
            self.duration_ns = leg.instant(walk.units).saturating_add(1);
            *legs = [leg.lasting(self.duration_ns)].into();
        }
        self.profile = Profile::Poisson(Arc::clone(legs), seed);
        self
    }

    /// Whether arrivals have no instants of their own but come whenever a connection is free.
    pub fn is_closed_loop(&self) -> bool {
        self.profile == Profile::ClosedLoop
    }

    /// T: how long arrivals are scheduled, in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.duration_ns
    }

    /// Number of arrivals; of a random one without a fixed number what is to be expected, rounded up.
    pub fn count(&self) -> u64 {
        match &self.profile {
            Profile::Poisson(..) | Profile::ClosedLoop if self.limit < u64::MAX => self.limit,
            Profile::Even(_) | Profile::Poisson(..) => clamp(self.units().div_ceil(ARRIVAL)).min(self.limit),
            Profile::Recorded(_) => self.limit,
            Profile::ClosedLoop => u64::MAX,
        }
    }

    /// Arrivals a second that the profile asks for at `at_ns`; `None` in a closed loop, of a log, and beyond the end.
    pub fn rate_at(&self, at_ns: u64) -> Option<f64> {
        self.legs().iter().find(|leg| at_ns < leg.end_ns()).map(|leg| leg.rate_at(at_ns))
    }

    /// The arrivals of worker `k` of `workers`: those with n ≡ k (mod workers), in order. The union over all k is the
    /// same whatever the number of workers.
    ///
    /// Each worker draws the whole of a random sequence: a draw costs some nanoseconds, and nothing is stored.
    pub fn arrivals(&self, k: u64, workers: u64) -> Arrivals {
        let mut arrivals =
            Arrivals { schedule: self.clone(), upcoming: None, gap_ns: 0, step: workers.max(1), leg: 0, walk: None };
        if let Profile::Poisson(_, seed) = self.profile {
            arrivals.walk = Some(Walk::new(seed));
        }
        arrivals.upcoming = arrivals.arrival(k, k.saturating_add(1));
        arrivals
    }

    fn legs(&self) -> &[Leg] {
        match &self.profile {
            Profile::Even(legs) | Profile::Poisson(legs, _) => legs,
            Profile::Recorded(_) | Profile::ClosedLoop => &[],
        }
    }

    /// The rate cumulated over all of it, in parts of an [`ARRIVAL`].
    fn units(&self) -> u128 {
        self.legs().last().map_or(0, Leg::up_to_end)
    }
}

/// A Poisson process of rate 1, in parts of an [`ARRIVAL`]: whole numbers, so that sums are exact in any order.
#[derive(Debug, Clone)]
struct Walk {
    rng: ChaCha8Rng,
    units: u128,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(STREAM);
        Self { rng, units: 0 }
    }

    /// Goes `steps` arrivals on, or to the first one that is not below `end`.
    fn go(&mut self, steps: u64, end: u128) {
        for _ in 0..steps {
            let gap: f64 = Exp1.sample(&mut self.rng);
            self.units += (gap * ARRIVAL as f64) as u128;
            if self.units >= end {
                return;
            }
        }
    }
}

/// The arrivals of one worker, in order.
#[derive(Debug, Clone)]
pub struct Arrivals {
    schedule: Schedule,
    upcoming: Option<Arrival>,
    /// See [`Self::gap_ns`].
    gap_ns: u64,
    step: u64,
    /// The leg that the upcoming one lies in: later ones do not lie before it.
    leg: usize,
    /// Where the sum of random gaps stands.
    walk: Option<Walk>,
}

impl Arrivals {
    /// Whether they come whenever a connection is free; their instants mean nothing then.
    pub fn is_closed_loop(&self) -> bool {
        self.schedule.is_closed_loop()
    }

    /// The next arrival, left in place.
    pub fn peek(&self) -> Option<Arrival> {
        self.upcoming
    }

    /// How long after the one before it the next arrival comes, in nanoseconds; 0 for the first. Where arrivals are not
    /// evenly spaced, one gap says nothing of the next: then it is that of the last ones, smoothed.
    pub fn gap_ns(&self) -> u64 {
        self.gap_ns
    }

    /// Arrival `n`, which comes `steps` after the last one that was asked for.
    fn arrival(&mut self, n: u64, steps: u64) -> Option<Arrival> {
        if n >= self.schedule.limit {
            return None;
        }
        match &self.schedule.profile {
            Profile::ClosedLoop => return Some(Arrival { n, at_ns: 0 }),
            Profile::Recorded(recording) => return recording.at_ns(n).map(|at_ns| Arrival { n, at_ns }),
            Profile::Even(_) | Profile::Poisson(..) => {}
        }
        let end = self.schedule.units();
        let units = match &mut self.walk {
            Some(walk) => {
                walk.go(steps, end);
                walk.units
            }
            None => u128::from(n) * ARRIVAL,
        };
        if units >= end {
            return None;
        }
        let legs = self.schedule.legs();
        self.leg += legs.iter().skip(self.leg).take_while(|leg| leg.up_to_end() <= units).count();
        legs.get(self.leg).map(|leg| Arrival { n, at_ns: leg.instant(units) })
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;
    fn next(&mut self) -> Option<Arrival> {
        let arrival = self.upcoming?;
        self.upcoming = self.arrival(arrival.n.saturating_add(self.step), self.step);
        let gap_ns = self.upcoming.map_or(0, |next| next.at_ns.saturating_sub(arrival.at_ns));
        self.gap_ns = match self.schedule.profile {
            Profile::Even(_) | Profile::ClosedLoop => gap_ns,
            Profile::Poisson(..) | Profile::Recorded(_) if self.gap_ns == 0 => gap_ns,
            Profile::Poisson(..) | Profile::Recorded(_) => self.gap_ns - self.gap_ns / 8 + gap_ns / 8,
        };
        Some(arrival)
    }
}

#[cfg(test)]
mod tests;
