//! Whether the generator itself was the limit: a pure judgement on what it measured of itself.
//!
//! A slow or frozen server shows in pool wait and service time, never here.

use serde::{Deserialize, Serialize};

use super::slo::{Measure, Slo};
use crate::bench::clock::nanos;
use crate::bench::record::distribution::Percentile;
use crate::bench::record::tally::Tally;
use crate::bench::schedule::pacing::Pacing;

/// The least by which something has to move a figure to matter.
const MOVED_NS: u64 = 1_000_000;
/// The longest gap in a loop that does no harm.
const GAP_NS: u64 = 100_000_000;
/// The most time that may be stolen from a run, or a hundredth of it where that is more.
const STOLEN_NS: u64 = 100_000_000;

/// Whether so much, of a time or on top of it, moves that time: by more than a tenth, and a millisecond.
pub(super) fn moves(part_ns: u64, whole_ns: u64) -> bool {
    part_ns > MOVED_NS && part_ns > whole_ns / 10
}

/// What the generator observed of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SelfWatch {
    /// Longest time that one of its threads was runnable but not running, summed over the run, in nanoseconds;
    /// 0 where the kernel does not say.
    pub run_queue_wait_ns: u64,
    /// How long the seconds were, together, in which its busiest thread was never idle, in nanoseconds.
    #[serde(default)]
    pub never_idle_ns: u64,
    /// How long its control group was throttled, in nanoseconds.
    pub throttled_ns: u64,
    /// Longest time by which one of its loops woke later than it had asked for, or did not look at what had come, in
    /// nanoseconds.
    pub longest_gap_ns: u64,
    /// Requests that stayed unsent although a connection was free.
    pub unsent_while_free: u64,
    /// How often the file descriptors ran out.
    pub out_of_descriptors: u64,
    /// How often the local ports ran out.
    pub out_of_ports: u64,
    /// Connections that could not be opened before the start.
    pub not_opened: u64,
    /// User and system time of the whole process during the run, in nanoseconds.
    pub cpu_ns: u64,
}

impl SelfWatch {
    /// Adds what another thread observed.
    pub fn merge(&mut self, other: &Self) {
        self.run_queue_wait_ns = self.run_queue_wait_ns.max(other.run_queue_wait_ns);
        self.never_idle_ns = self.never_idle_ns.max(other.never_idle_ns);
        self.throttled_ns = self.throttled_ns.max(other.throttled_ns);
        self.longest_gap_ns = self.longest_gap_ns.max(other.longest_gap_ns);
        self.unsent_while_free += other.unsent_while_free;
        self.out_of_descriptors += other.out_of_descriptors;
        self.out_of_ports += other.out_of_ports;
        self.not_opened += other.not_opened;
        self.cpu_ns = self.cpu_ns.saturating_add(other.cpu_ns);
    }
}

/// Whether the figures can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// False if the generator was the limit.
    pub trusted: bool,
    /// Why it is not trusted, each with what to do about it.
    pub reasons: Vec<String>,
    /// What is worth knowing but does no harm.
    pub notes: Vec<String>,
}

impl Verdict {
    /// Trusted where there is no reason against it.
    pub fn new(reasons: Vec<String>, notes: Vec<String>) -> Self {
        Self { trusted: reasons.is_empty(), reasons, notes }
    }

    /// Adds a reason not to trust.
    fn blame(&mut self, reason: String) {
        self.reasons.push(reason);
        self.trusted = false;
    }

    /// Adds that all of `limit` connections were in use while requests waited for one. `usual` is how many there may be
    /// where nobody gave a number: fewer are the file limit's doing. Not much fewer change little, then it is the target
    /// that is slow; less than half of them are too few to tell.
    pub(in crate::bench) fn few_connections(&mut self, limit: u64, usual: Option<u64>) {
        let waited = format!("all {limit} connections were in use, and requests waited for one");
        match usual.filter(|usual| limit < *usual) {
            None => self
                .notes
                .push(format!("{waited}: if the target could answer more at the same time, raise --connections")),
            Some(usual) => {
                let said = format!("{waited}: the file limit allows no more, raise `ulimit -n`");
                if limit < usual / 2 { self.blame(said) } else { self.notes.push(said) }
            }
        }
    }
}

/// Judges a run of `duration_ns` that was paced so.
pub fn judge(watch: &SelfWatch, tally: &Tally, slos: &[Slo], duration_ns: u64, pacing: Pacing) -> Verdict {
    let mut reasons = Vec::new();
    let mut notes = Vec::new();
    if let Some((moved, by_ns)) = moved_by_own_lag(tally, slos) {
        let advice = match pacing {
            Pacing::Every(step) if explains(nanos(step.0), by_ns) => {
                format!("with --pacing {step} requests wait so long for each other, choose a shorter one")
            }
            Pacing::Every(_) | Pacing::Exact | Pacing::Spin => {
                "run it on an idle machine, raise --threads or lower --rps".to_owned()
            }
        };
        reasons.push(format!("{moved}: {advice}"));
    }
    // A total counts against the run's length; in a short run, a tenth of a second is the least that can matter.
    let allowed = (duration_ns / 100).max(STOLEN_NS);
    for (what, ns, harmful, advice) in [
        (
            "its threads waited for a processor for",
            watch.run_queue_wait_ns,
            waits_are_long(tally),
            "free a core, or lower --threads",
        ),
        ("its control group was throttled for", watch.throttled_ns, true, "raise the processor limit of its container"),
    ] {
        if ns > allowed && harmful {
            reasons.push(format!("{what} {}, more than {}: {advice}", millis(ns), millis(allowed)));
        } else if ns > allowed / 10 {
            notes.push(format!("{what} {}", millis(ns)));
        }
    }
    if watch.never_idle_ns > allowed {
        let busy = format!("a thread of its was never idle for {} s", watch.never_idle_ns / 1_000_000_000);
        if waiting_moves(tally) {
            reasons.push(format!(
                "{busy}, and requests waited for connections it had not read yet: raise --threads, lower --rps, or use another machine"
            ));
        } else {
            notes.push(busy);
        }
    }
    if watch.longest_gap_ns > GAP_NS {
        let gap = millis(watch.longest_gap_ns);
        reasons.push(format!(
            "its loop stood still for {gap}: something paused it, or it had too much to do at once; run it on an idle \
             machine, or raise --threads"
        ));
    } else if watch.longest_gap_ns > GAP_NS / 10 {
        notes.push(format!("its loop was up to {} late", millis(watch.longest_gap_ns)));
    }
    if watch.unsent_while_free > 0 {
        let unsent = watch.unsent_while_free;
        reasons.push(format!(
            "{unsent} requests stayed unsent although connections were free: it is too slow for this rate, raise --threads or lower --rps"
        ));
    }
    if watch.out_of_descriptors > 0 {
        let times = watch.out_of_descriptors;
        reasons.push(format!("it ran out of file descriptors {times} times: raise `ulimit -n` or lower --connections"));
    }
    if watch.out_of_ports > 0 {
        let times = watch.out_of_ports;
        reasons.push(format!(
            "it ran out of local ports {times} times: widen net.ipv4.ip_local_port_range or lower --connections"
        ));
    }
    if watch.not_opened > 0 {
        notes.push(format!("{} connections could not be opened before the start", watch.not_opened));
    }
    Verdict::new(reasons, notes)
}

/// Whether the waits for a processor were long, not only many.
///
/// A generator that shares its processors with the target waits a little at each of its thousands of wake-ups, which
/// adds up without moving a figure: at 300 requests a second on two shared cores 105 ms in 10 s, at an own lag of 0.1 ms
/// (p50) and 0.9 ms (p99). A wait delays reading an answer as much as sending a request, and what it does to sending is
/// measured: own lag. So the sum counts where own lag says that single waits went beyond the tolerance.
fn waits_are_long(tally: &Tally) -> bool {
    let sent = tally.counts.sent;
    tally.distributions.own_lag.ranked(Percentile::P99, sent).is_none_or(|lag| lag > MOVED_NS)
}

/// Whether pool wait is a part of the response times that matters.
///
/// A slow target makes requests wait for connections while the generator idles. A generator that never idles leaves
/// answers unread, its connections seem taken, and what it lacks shows as pool wait, too: then nobody can tell the two
/// apart. In a closed loop nothing waits for a connection.
fn waiting_moves(tally: &Tally) -> bool {
    let (wait, response) = (&tally.distributions.pool_wait, &tally.distributions.response);
    let wait = wait.ranked(Percentile::P99, tally.counts.sent).unwrap_or(u64::MAX);
    let response = response.ranked(Percentile::P99, response.count()).unwrap_or(0);
    moves(wait, response)
}

/// Whether a step of pacing is the cause of so much lag: of what is beyond it the machine is.
fn explains(step_ns: u64, lag_ns: u64) -> bool {
    step_ns >= MOVED_NS && lag_ns <= step_ns.saturating_add(MOVED_NS)
}

/// The first of the percentiles that own lag moved by more than 10% and 1 ms, and by how many nanoseconds.
fn moved_by_own_lag(tally: &Tally, slos: &[Slo]) -> Option<(String, u64)> {
    let (with, without) = (&tally.distributions.response, &tally.distributions.response_without_own_lag);
    let scheduled = tally.counts.scheduled;
    let printed = Percentile::PRINTED.into_iter().filter(|p| *p <= Percentile::P99 && p.is_supported_by(scheduled));
    let promised = slos.iter().filter_map(|slo| match slo.measure() {
        Measure::Percentile(p) => Some(p),
        Measure::Mean | Measure::Max | Measure::Errors | Measure::Rate => None,
    });
    let has = |wanted: fn(Measure) -> bool| slos.iter().any(|slo| wanted(slo.measure()));
    let mut values: Vec<_> = printed
        .chain(promised)
        .map(|p| (p.to_string(), with.ranked(p, scheduled), without.ranked(p, scheduled)))
        .collect();
    if has(|m| m == Measure::Mean) {
        values.push(("mean".to_owned(), with.mean(), without.mean()));
    }
    if has(|m| m == Measure::Max) {
        values.push(("max".to_owned(), with.max(), without.max()));
    }
    let (name, with, without) = values.into_iter().find_map(|(name, with, without)| {
        let (with, without) = (with?, without?);
        let moved = with.saturating_sub(without);
        moves(moved, without).then_some((name, with, without))
    })?;
    let moved = format!("its own lag moved {name} from {} to {}", millis(without), millis(with));
    Some((moved, with.saturating_sub(without)))
}

fn millis(ns: u64) -> String {
    format!("{:.1} ms", ns as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::sample::{Outcome, Sample};

    const T: u64 = 10_000_000_000;

    /// 1000 requests of 5 ms, of which `lagging` were sent `lag` ns late by the generator itself.
    fn run(lagging: u64, lag: u64) -> Tally {
        let mut tally = Tally::new(&["x".to_owned()]);
        for n in 0..1000 {
            let scheduled = n * 10_000_000;
            let started = scheduled + if n < lagging { lag } else { 0 };
            tally.record(
                &Sample {
                    n,
                    kind: 0,
                    scheduled,
                    ready: scheduled,
                    started,
                    first_byte: 0,
                    finished: started + 5_000_000,
                    outcome: Outcome::Ok,
                    status: Some(200),
                    retries: 0,
                    redirects: 0,
                    bodies: (0, 0),
                    wire: (1, 1),
                    bytes: (0, 0),
                },
                T,
            );
        }
        tally
    }

    fn trusted(watch: SelfWatch, tally: &Tally, slos: &[&str]) -> bool {
        let slos: Vec<Slo> = slos.iter().map(|s| s.parse().unwrap()).collect();
        judge(&watch, tally, &slos, T, Pacing::Exact).trusted
    }

    #[test]
    fn own_lag_counts_only_where_it_moves_a_figure_that_is_read() {
        let clean = SelfWatch::default();
        assert!(trusted(clean, &run(0, 0), &[]));
        assert!(trusted(clean, &run(1000, 900_000), &[]), "less than 1 ms");
        assert!(!trusted(clean, &run(20, 50_000_000), &[]), "moves p99");
        assert!(trusted(clean, &run(5, 50_000_000), &[]), "moves nothing up to p99");
        assert!(!trusted(clean, &run(5, 50_000_000), &["p99.9<1s"]), "moves the value of an objective");
        assert!(!trusted(clean, &run(1, 50_000_000), &["max<1s"]));
    }

    #[test]
    fn waits_for_a_processor_count_where_single_ones_were_long() {
        let watch = SelfWatch { run_queue_wait_ns: 101_000_000, ..Default::default() };
        let many_short = judge(&watch, &run(1000, 900_000), &[], T, Pacing::Exact);
        assert!(many_short.trusted && many_short.notes[0].contains("101.0 ms"), "{many_short:?}");
        let long = run(20, 1_500_000);
        let reasons = |watch| judge(&watch, &long, &[], T, Pacing::Exact).reasons.len();
        assert_eq!(reasons(watch), reasons(SelfWatch::default()) + 1);
    }

    #[test]
    fn few_connections_are_to_blame_where_the_file_limit_allows_no_more() {
        for (limit, usual, trusted, advice) in [
            (511, Some(1024), false, "ulimit"),
            (512, Some(1024), true, "ulimit"),
            (1024, Some(1024), true, "--connections"),
            (8, None, true, "--connections"),
        ] {
            let mut verdict = Verdict::new(Vec::new(), Vec::new());
            verdict.few_connections(limit, usual);
            assert_eq!(verdict.trusted, trusted, "{limit} of {usual:?}");
            let said = verdict.reasons.iter().chain(&verdict.notes).next().unwrap();
            assert!(said.contains(advice), "{said}");
        }
    }

    #[test]
    fn a_coarse_pacing_is_told_from_a_busy_machine() {
        let lag = run(1000, 25_000_000);
        let advice = |pacing: &str| {
            let verdict = judge(&SelfWatch::default(), &lag, &[], T, pacing.parse().unwrap());
            verdict.reasons[0].rsplit(": ").next().unwrap().to_owned()
        };
        assert!(advice("50ms").starts_with("with --pacing 50ms requests wait"), "{}", advice("50ms"));
        for other in ["500us", "exact", "2ms"] {
            assert!(advice(other).starts_with("run it on an idle machine"), "{other}: {}", advice(other));
        }
    }

    #[test]
    fn a_starved_generator_says_so_with_advice() {
        let tally = run(0, 0);
        for watch in [
            SelfWatch { throttled_ns: 101_000_000, ..Default::default() },
            SelfWatch { longest_gap_ns: 101_000_000, ..Default::default() },
            SelfWatch { unsent_while_free: 1, ..Default::default() },
            SelfWatch { out_of_descriptors: 1, ..Default::default() },
            SelfWatch { out_of_ports: 1, ..Default::default() },
        ] {
            let verdict = judge(&watch, &tally, &[], T, Pacing::Exact);
            assert!(!verdict.trusted, "{watch:?}");
            assert!(verdict.reasons[0].contains(": "), "{:?} has no advice", verdict.reasons);
        }
        let note =
            judge(&SelfWatch { longest_gap_ns: 50_000_000, ..Default::default() }, &tally, &[], T, Pacing::Exact);
        assert!(note.trusted && note.notes.len() == 1);
    }

    /// Requests that all waited so long for a connection.
    fn waiting(ns: u64) -> Tally {
        let mut tally = Tally::new(&["x".to_owned()]);
        for n in 0..1000 {
            let scheduled = n * 10_000_000;
            let started = scheduled + ns;
            let sample = Sample {
                n,
                kind: 0,
                scheduled,
                ready: started,
                started,
                first_byte: 0,
                finished: started + 5_000_000,
                outcome: Outcome::Ok,
                status: Some(200),
                retries: 0,
                redirects: 0,
                bodies: (0, 0),
                wire: (1, 1),
                bytes: (0, 0),
            };
            tally.record(&sample, T);
        }
        tally
    }

    #[test]
    fn a_thread_that_never_idles_is_to_blame_for_what_waits() {
        let busy = SelfWatch { never_idle_ns: 3_000_000_000, ..Default::default() };
        let idling = SelfWatch::default();
        assert!(trusted(idling, &waiting(50_000_000), &[]), "the target's fault");
        assert!(!trusted(busy, &waiting(50_000_000), &[]));
        assert!(trusted(busy, &waiting(500_000), &[]), "nothing to speak of");
        assert_eq!(judge(&busy, &waiting(0), &[], T, Pacing::Exact).notes.len(), 1);
    }
}
