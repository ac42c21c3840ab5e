//! Runs with known answers: the generator against a server whose behaviour is a formula.
//!
//! Tolerances are derived from what was measured (own lag, the server's late timers, the distance of arrivals), and
//! every test that uses one also asserts that it is far smaller than what it tells apart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use scalectl::bench::{self, Config, Counts, Length, Mix, Process, RequestSpec, Summary};
use scalectl::units::TimeSpan;
use serde_json::json;
use support::{Fate, Seen, Server, now_ns};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
/// How long a run is repeated whose verdict says that this machine was too busy for it: what else runs on it, and on
/// the host of a virtual one, comes and goes within minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs one after another: side by side they would be each other's noise. Where this process may, it also takes
/// precedence over what else runs on the machine (a real-time class, because niceness only counts within a session's
/// group of processes); threads inherit that.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    #[cfg(target_os = "linux")]
    {
        let thread = nix::unistd::gettid().to_string();
        let _ = std::process::Command::new("chrt").args(["-f", "-p", "10", &thread]).output();
    }
    guard
}

/// A run of `GET /0`, `GET /1`, … at `server`.
fn config(server: &Server, rps: f64, length: Length) -> Config {
    let mut config = Config::new(server.url().parse().unwrap());
    config.io = support::io();
    config.requests = vec![RequestSpec::get("/{{ seq() }}")];
    config.rate = rps.to_string().parse().unwrap();
    config.length = length;
    config.seed = 1;
    config
}

fn seconds(seconds: u64) -> Length {
    Length::Duration(TimeSpan::seconds(seconds))
}

fn run(config: &Config) -> Summary {
    let summary = bench::run(config, &mut ()).unwrap();
    assert_accounted(&summary);
    summary
}

fn post(mut config: Config) -> Config {
    config.requests =
        vec![serde_json::from_value(json!({"path": "/{{ seq() }}", "method": "POST", "body": "x"})).unwrap()];
    config
}

/// What holds for every result whatsoever.
fn assert_accounted(summary: &Summary) {
    let c = summary.counts;
    assert!(c.holds(), "{c:?}");
    assert!(c.wire[0] <= c.wire[1] && c.wire[1] <= c.sent + c.retries, "{c:?}");
    assert_eq!(summary.histograms.response.count(), c.ok);
    assert_eq!(summary.histograms.failed.count(), c.http_error + c.network_error + c.timeout);
    assert_eq!(summary.histograms.own_lag.count(), c.sent);
    assert_eq!(summary.errors.iter().map(|e| e.count).sum::<u64>(), c.http_error + c.network_error + c.timeout);
    let of = |f: fn(&Counts) -> u64| summary.requests.iter().map(|r| f(&r.counts)).sum::<u64>();
    assert_eq!((of(|c| c.scheduled), of(|c| c.sent), of(|c| c.ok)), (c.scheduled, c.sent, c.ok));
    assert_eq!(summary.series.iter().map(|s| s.ok).sum::<u64>(), c.ok);
    let batches = summary.batches.as_slice();
    assert!(batches.len() <= 64);
    assert_eq!(batches.iter().map(|b| b.scheduled).sum::<u64>(), c.scheduled);
    assert_eq!(batches.iter().map(|b| b.response.count()).sum::<u64>(), c.ok);
    assert_eq!(summary.series.iter().map(|s| s.response.count).sum::<u64>(), c.ok);
}

fn assert_wire(summary: &Summary, server: &Server) {
    let wire = summary.counts.wire;
    assert_eq!(wire, [server.count(); 2], "what was written and what the server counted: {:?}", summary.counts);
}

/// Repeats a run until this machine was idle enough for it to be trusted.
fn trusted<T>(mut once: impl FnMut() -> (Summary, T)) -> (Summary, T) {
    let begin = Instant::now();
    let mut reasons = Vec::new();
    while begin.elapsed() < PATIENCE {
        let (summary, other) = once();
        if summary.verdict.trusted {
            return (summary, other);
        }
        reasons.push(summary.verdict.reasons);
        std::thread::sleep(Duration::from_secs(2));
    }
    panic!("not trusted in {} runs: {:#?}", reasons.len(), reasons.last());
}

/// A server that answers within `service` but for the first `stall` of the second half of every `period`, which it
/// spends asleep. Time begins with the first request.
fn stalling(service: u64, stall: u64, period: u64) -> Server {
    let mut epoch = None;
    Server::start(move |seen| {
        let now = seen.at_ns;
        let since = now - *epoch.get_or_insert(now);
        let into = (since % period).checked_sub(period / 2).filter(|into| *into < stall);
        Fate::Answer(200, now + service + into.map_or(0, |into| stall - into))
    })
}

/// S = 0.5 s every P = 5 s at R = 200/s: a share f = S/(P(1 − ρ)) of the requests waits U(0, S), so that the
/// percentile p is s + S(1 − (1 − p)/f) beyond 1 − f, and the mean s + f·S/2.
#[test]
fn a_stall_shows_in_full_whatever_the_number_of_connections() {
    let _alone = alone();
    let (service, stall, period, rps, periods) = (2 * MS, SECOND / 2, 5 * SECOND, 200.0, 2);
    let held = (rps * stall as f64 / 1e9) as u64;
    for connections in [8, 2 * held as u32] {
        let (summary, lateness) = trusted(|| {
            let server = stalling(service, stall, period);
            let mut config = config(&server, rps, seconds(periods * period / SECOND));
            config.connections = Some(connections);
            let summary = run(&config);
            assert_wire(&summary, &server);
            (summary, server.lateness_ns())
        });
        let (response, in_service) = (&summary.response_time_ns, &summary.service_time_ns);
        assert_eq!(summary.counts.ok, (rps * (periods * period) as f64 / 1e9) as u64);

        // What one request takes in fact, and how long the waiting ones need to get through the connections.
        let s = in_service.p50.unwrap();
        let drain = held * s / u64::from(connections);
        let rho = rps * s as f64 / 1e9 / f64::from(connections);
        let f = stall as f64 / (period as f64 * (1.0 - rho));
        let noise = summary.own_lag_ns.max.unwrap() + lateness + (1e9 / rps) as u64;
        let tolerance = noise + drain;
        assert!(tolerance < stall / 3, "a tolerance of {tolerance} ns tells nothing");
        let expected = |p: f64| s + (stall as f64 * (1.0 - (1.0 - p) / f)) as u64;
        for (name, found, truth) in [
            ("p50", response.p50, s),
            ("p75", response.p75, s),
            ("p95", response.p95, expected(0.95)),
            ("p99", response.p99, expected(0.99)),
            ("p99.9", response.p999, expected(0.999)),
            ("mean", response.mean, s + (f * stall as f64 / 2.0) as u64),
        ] {
            let found = found.unwrap();
            assert!(found.abs_diff(truth) <= tolerance, "C = {connections}, {name}: {found} ns, should be {truth}");
        }
        let waited = summary.pool_wait_ns.p99.unwrap();
        if connections == 8 {
            // Eight requests a period see the stall themselves: 0.8%, so that the 99th is an ordinary one.
            assert!(in_service.p99.unwrap() <= s + noise, "service p99 {:?}", in_service.p99);
            assert!(waited.abs_diff(expected(0.99) - s) <= tolerance, "pool wait p99 {waited}");
        } else {
            assert!(in_service.p99.unwrap().abs_diff(response.p99.unwrap()) <= noise);
            assert!(waited <= noise, "pool wait p99 {waited}");
        }
    }
}

/// The answers to the last R/2 requests never come; the timeout is above the grace time.
#[test]
fn a_frozen_server_leaves_unfinished_and_unsent_requests_and_a_trusted_generator() {
    let _alone = alone();
    for connections in [8, 100] {
        let (summary, ()) = trusted(|| {
            let server = Server::start(|seen| if seen.seq < 150 { Fate::Answer(200, 0) } else { Fate::Silence });
            let mut config = config(&server, 100.0, seconds(2));
            config.connections = Some(connections);
            config.timeout = TimeSpan::seconds(30);
            config.grace = Some(TimeSpan::millis(500));
            let summary = run(&config);
            assert_wire(&summary, &server);
            (summary, ())
        });
        let c = summary.counts;
        assert_eq!((c.scheduled, c.ok), (200, 150));
        assert_eq!(c.unfinished, 50.min(connections.into()));
        assert_eq!(c.unfinished + c.unsent, 50);
        // A quarter never ended: nothing above the 75th percentile has a value.
        let response = summary.response_time_ns;
        assert!(response.p75.is_some() && response.p90.is_none() && response.p99.is_none());
        assert_eq!(summary.elapsed_ns, summary.duration_ns);
    }
}

/// The delay of every arrival at the server, from its instant in the schedule, lies between the send lag and the
/// response time of that request; so do their percentiles.
#[test]
fn requests_arrive_as_scheduled_and_never_before() {
    let _alone = alone();
    for (arrivals, stages) in [
        (Process::Constant, &[][..]),
        (Process::Constant, &["0..1000rps:2s", "0rps:0.25s", "500rps:1s"]),
        (Process::Poisson, &["1000..0rps:2s", "500rps:1s"]),
    ] {
        let server = Server::start(|_| Fate::Answer(200, 0));
        let mut config = config(&server, 500.0, seconds(3));
        config.threads = Some(3);
        config.arrivals = arrivals;
        config.stages = stages.iter().map(|stage| stage.parse().unwrap()).collect();
        let summary = run(&config);
        assert_wire(&summary, &server);
        assert_arrived_as_scheduled(&config, &server, &summary);
    }
}

fn assert_arrived_as_scheduled(config: &Config, server: &Server, summary: &Summary) {
    let start = summary.setup.start.monotonic_ns;
    let scheduled: Vec<u64> = config.schedule().arrivals(0, 1).map(|a| start + a.at_ns).collect();
    let mut seen = server.seen();
    seen.sort_by_key(|s| s.seq);
    let total = scheduled.len();
    assert!(seen.iter().map(|s| s.seq).eq(0..total as u64), "every number exactly once");
    let mut delays: Vec<u64> = seen
        .iter()
        .zip(&scheduled)
        .map(|(seen, at)| seen.at_ns.checked_sub(*at).unwrap_or_else(|| panic!("{seen:?} came before {at}")))
        .collect();
    delays.sort_unstable();
    for (name, rank, sent, ended) in [
        ("p50", total.div_ceil(2), summary.send_lag_ns.p50, summary.response_time_ns.p50),
        ("p90", (total * 9).div_ceil(10), summary.send_lag_ns.p90, summary.response_time_ns.p90),
        ("p99", (total * 99).div_ceil(100), summary.send_lag_ns.p99, summary.response_time_ns.p99),
        ("max", total, summary.send_lag_ns.max, summary.response_time_ns.max),
    ] {
        // The histogram's resolution on either side.
        let (sent, ended, delay) = (sent.unwrap(), ended.unwrap(), delays[rank - 1]);
        assert!(delay + delay / 1000 + 1000 >= sent, "{name}: arrived after {delay} ns, sent after {sent}");
        assert!(delay <= ended + ended / 1000 + 1000, "{name}: arrived after {delay} ns, answered after {ended}");
    }
}

/// Everything goes wrong in the first second and nothing after it: the figures are about the rest, and show nothing.
#[test]
fn the_warm_up_is_reported_apart_and_nothing_of_it_anywhere_else() {
    let _alone = alone();
    for threads in [1, 3] {
        let server = Server::start(|seen| match seen.seq {
            0..200 => Fate::Answer(500, seen.at_ns + 300 * MS),
            _ => Fate::Answer(200, 0),
        });
        let mut config = config(&server, 200.0, seconds(3));
        (config.warmup, config.threads) = (Some(TimeSpan::seconds(1)), Some(threads));
        config.slos = vec!["errors<0.1%".parse().unwrap()];
        let summary = run(&config);
        let (rest, apart) = (summary.counts, summary.warmup.as_ref().unwrap());
        assert!(apart.counts.holds(), "{:?}", apart.counts);
        assert_eq!((apart.counts.scheduled, apart.counts.http_error, apart.duration_ns), (200, 200, SECOND));
        assert_eq!((rest.scheduled, rest.ok, summary.duration_ns), (400, 400, 2 * SECOND));
        assert_eq!(rest.wire[0] + apart.counts.wire[0], server.count());
        assert_eq!((summary.offered_rate, summary.slo[0].ok), (Some(200.0), true));
        assert!(summary.errors.is_empty() && summary.evidence.is_empty() && summary.status.len() == 1);
        assert!(summary.failed_time_ns.max.is_none() && apart.response_time_ns.p50.is_none());
        // Instants count from the end of the warm-up: the first request of the rest was due in it.
        let start = summary.setup.start.monotonic_ns;
        let first = server.seen().into_iter().find(|seen| seen.seq == 200).unwrap().at_ns;
        let lag = summary.response_time_ns.max.unwrap();
        assert!((start..=start + lag + 1).contains(&first), "{first} is not within {lag} ns of {start}");
        let back: Summary = serde_json::from_str(&serde_json::to_string(&summary).unwrap()).unwrap();
        assert_eq!(back, summary);
        let mut other = back;
        other.setup.start.unix_ns += 1;
        let both = Summary::merge(&[summary.clone(), other]).unwrap();
        assert_eq!(both.warmup.unwrap().counts.http_error, 400);
    }
}

#[test]
fn an_exact_number_that_no_number_of_threads_or_connections_divides() {
    let _alone = alone();
    for (threads, connections) in [(1, 1), (2, 7), (3, 4)] {
        let server = Server::start(|_| Fate::Answer(200, 0));
        let mut config = config(&server, 1000.0, Length::Requests(331));
        (config.threads, config.connections) = (Some(threads), Some(connections));
        let summary = run(&config);
        assert_wire(&summary, &server);
        assert_eq!((summary.counts.scheduled, summary.counts.ok, server.connections()), (331, 331, connections.into()));
        assert_eq!(summary.setup.threads, u64::from(threads));
    }
}

#[test]
fn resets_are_counted_exactly_and_what_is_not_idempotent_is_not_sent_again() {
    let _alone = alone();
    let server = Server::start(|seen| if seen.seq % 10 == 9 { Fate::Reset } else { Fate::Answer(200, 0) });
    let summary = run(&post(config(&server, 500.0, Length::Requests(500))));
    assert_wire(&summary, &server);
    let c = summary.counts;
    assert_eq!((c.scheduled, c.ok, c.network_error, c.retries), (500, 450, 50, 0));
    assert_eq!(summary.errors.len(), 1);
    let kind = serde_json::to_value(summary.errors[0]).unwrap();
    assert_eq!(kind, json!({"phase": "head", "cause": "reset", "side": "server", "count": 50}));
    assert!(summary.evidence.iter().all(|e| e.n % 10 == 9), "{:?}", summary.evidence);
    // A tenth failed: p75 has a value, p90 still has, nothing above it.
    let response = summary.response_time_ns;
    assert!(response.p90.is_some() && response.p95.is_none() && response.p99.is_none());
}

/// More than are being opened at the same time; the least recently used one comes first, so each gets one request.
#[test]
fn all_connections_are_there_from_the_start() {
    let _alone = alone();
    let server = Server::start(|_| Fate::Answer(200, 0));
    let mut config = config(&server, 1000.0, Length::Requests(300));
    config.connections = Some(300);
    let summary = run(&config);
    assert_eq!((summary.connections.at_start, summary.connections.opened), (300, 300));
    assert_eq!((summary.counts.ok, server.connections()), (300, 300));
    assert!(server.seen().iter().all(|seen| seen.earlier == 0));
}

/// The server reads a request on a reused connection and closes it without a word: the client cannot tell that from
/// the idle-close race, and sends a GET once more. It knows no better than an interval what the server counted.
#[test]
fn a_connection_closed_under_a_get_costs_one_retry() {
    let _alone = alone();
    let close = |seen: &Seen| {
        if seen.seq % 10 == 9 && seen.repeats == 0 && seen.earlier > 0 { Fate::Close } else { Fate::Answer(200, 0) }
    };
    let server = Server::start(close);
    let mut config = config(&server, 500.0, Length::Requests(500));
    config.connections = Some(1);
    let summary = run(&config);
    let c = summary.counts;
    assert_eq!((c.ok, c.retries, c.wire), (500, 50, [500, 550]));
    assert_eq!(server.count(), 550);
    assert_eq!(server.connections(), 51);
}

#[test]
fn a_connection_that_the_server_closes_after_an_answer_is_replaced() {
    let _alone = alone();
    let server = Server::start(|seen| if seen.seq % 10 == 9 { Fate::AnswerAndClose } else { Fate::Answer(200, 0) });
    let mut config = config(&server, 200.0, Length::Requests(200));
    config.connections = Some(1);
    let summary = run(&config);
    let c = summary.counts;
    assert_eq!((c.ok, server.count()), (200, 200));
    assert!((c.wire[0]..=c.wire[1]).contains(&server.count()), "{c:?}");
    assert_eq!(server.connections(), 20, "one for every ten requests");
}

#[test]
fn timeouts_run_from_the_start_rank_above_all_and_free_their_place() {
    let _alone = alone();
    let server = Server::start(|seen| if seen.seq % 10 == 3 { Fate::Silence } else { Fate::Answer(200, 0) });
    let mut config = config(&server, 100.0, Length::Requests(100));
    config.timeout = TimeSpan::millis(300);
    config.connections = Some(4);
    let summary = run(&config);
    assert_wire(&summary, &server);
    let c = summary.counts;
    assert_eq!((c.ok, c.timeout, c.retries), (90, 10, 0));
    // Ten connections were closed by a timeout each; a place is only filled again when a request needs it.
    assert!((11..=14).contains(&server.connections()), "{} connections", server.connections());
    assert!(summary.failed_time_ns.min.unwrap() >= 300 * MS);
    // Not before its time, and after it only as late as the loop itself was; 10 ms are the grain of timers and histograms.
    let late = summary.generator.longest_gap_ns + summary.generator.run_queue_wait_ns + 10 * MS;
    let longest = summary.failed_time_ns.max.unwrap();
    assert!(longest <= 300 * MS + late, "{longest} ns, and the loop was {late} ns late at most");
    assert!(summary.response_time_ns.p90.is_some() && summary.response_time_ns.p95.is_none());
    let error = serde_json::to_value(summary.errors[0]).unwrap();
    assert_eq!(error, json!({"phase": "head", "cause": "timeout", "side": "server", "count": 10}));
}

#[test]
fn statuses_of_400_and_above_are_errors() {
    let _alone = alone();
    let server = Server::start(|seen| Fate::Answer([200, 204, 302, 404, 503][(seen.seq % 5) as usize], 0));
    let mut config = config(&server, 500.0, Length::Requests(500));
    config.slos = ["errors<40%", "errors<=40%", "p50<1h", "p75<1h"].map(|s| s.parse().unwrap()).to_vec();
    let summary = run(&config);
    assert_wire(&summary, &server);
    assert_eq!((summary.counts.ok, summary.counts.http_error), (300, 200));
    assert_eq!(summary.status.into_iter().collect::<Vec<_>>(), [200, 204, 302, 404, 503].map(|s| (s, 100)));
    assert_eq!(summary.slo.iter().map(|s| s.ok).collect::<Vec<_>>(), [false, true, true, false]);
    assert_eq!(summary.slo[3].value, None);
}

#[test]
fn a_server_that_goes_away_is_a_refusal_for_every_further_request() {
    let _alone = alone();
    let server = Server::start(|seen| if seen.seq == 49 { Fate::AnswerAndStop } else { Fate::Answer(200, 0) });
    let mut config = config(&server, 200.0, Length::Requests(200));
    config.connections = Some(1);
    let summary = run(&config);
    let c = summary.counts;
    assert_eq!((c.ok, c.network_error, server.count()), (50, 150, 50));
    assert!((c.wire[0]..=c.wire[1]).contains(&server.count()), "{c:?}");
    let refused = summary.errors.iter().find(|e| e.kind.cause == bench::Cause::Refused).unwrap();
    assert!(refused.count >= 149, "{:?}", summary.errors);
    // A refusal is quick, and does not improve a figure.
    assert!(summary.response_time_ns.p50.is_none());
    assert!(summary.failed_time_ns.p50.is_some());
}

#[test]
fn a_mix_is_sent_as_it_was_drawn() {
    let _alone = alone();
    let specs: Vec<RequestSpec> = serde_json::from_value(json!([
        {"weight": 9, "path": "/{{ seq() }}/users/{{ zipf(1, 10000) }}"},
        {"weight": 1, "method": "POST", "path": "/{{ seq() }}", "json": {"email": "{{ uuid() }}@example.com"}},
    ]))
    .unwrap();
    let server = Server::start(|_| Fate::Answer(200, 0));
    let mut config = config(&server, 1000.0, Length::Requests(2000));
    config.requests.clone_from(&specs);
    let summary = run(&config);
    assert_wire(&summary, &server);
    let mix = Mix::compile(&config.target, &specs, config.seed).unwrap();
    let mut posts = 0;
    for seen in server.seen() {
        let (kind, request) = mix.request(seen.seq);
        assert_eq!((request.method().as_str(), request.uri().to_string()), (seen.method.as_str(), seen.path));
        posts += kind as u64;
    }
    assert_eq!(summary.requests.iter().map(|r| r.counts.ok).collect::<Vec<_>>(), [2000 - posts, posts]);
    // Binomial: 200 ± 5 deviations of √(2000·0.1·0.9) = 13.4.
    assert!((133..=267).contains(&posts), "{posts} of 2000");
}

#[test]
fn a_run_that_is_interrupted_ends_its_schedule_and_still_adds_up() {
    let _alone = alone();
    let server = Server::start(|_| Fate::Answer(200, 0));
    let config = config(&server, 200.0, seconds(60));
    let control = config.control.clone();
    let begun = now_ns();
    let watcher = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        control.interrupt();
    });
    let summary = run(&config);
    watcher.join().unwrap();
    assert_wire(&summary, &server);
    assert!(summary.setup.interrupted);
    assert!(summary.duration_ns < now_ns() - begun);
    let due = config.schedule().arrivals(0, 1).take_while(|a| a.at_ns < summary.duration_ns).count() as u64;
    assert_eq!((summary.counts.scheduled, summary.counts.ok), (due, due));
}

/// A server that does everything wrong, so that every part of the text has something to say.
#[test]
fn the_text_fits_narrow_terminals() {
    let _alone = alone();
    let server = Server::start(|seen| match seen.seq % 5 {
        0 => Fate::Answer(503, 0),
        1 => Fate::Reset,
        2 => Fate::Silence,
        _ => Fate::Answer(200, 0),
    });
    let mut config = post(config(&server, 1000.0, Length::Requests(1000)));
    config.timeout = TimeSpan::millis(100);
    config.slos = vec!["p99.9<12345us".parse().unwrap(), "errors<0.1%".parse().unwrap()];
    config.requests.push(
        serde_json::from_value(json!({"name": "a name that is far too long for its column", "path": "/4"})).unwrap(),
    );
    let summary = run(&config);
    for width in [60, 80, 100] {
        let mut bytes = Vec::new();
        scalectl::report::text(&summary, &mut bytes, width).unwrap();
        let text = anstream::adapter::strip_str(std::str::from_utf8(&bytes).unwrap()).to_string();
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width, "{widest} columns where there are {width}:\n{text}");
        for part in ["HTTP error", "network error", "timeout", "≥ ", "missed", "Verdict", "by the server", "a name"] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
    }
}

#[test]
fn results_merge_and_come_back_from_json() {
    let _alone = alone();
    let server = Server::start(|seen| Fate::Answer(if seen.seq % 4 == 0 { 500 } else { 200 }, 0));
    let one = run(&config(&server, 400.0, Length::Requests(200)));
    let text = serde_json::to_string(&one).unwrap();
    let back: Summary = serde_json::from_str(&text).unwrap();
    assert_eq!(back, one);
    let two = run(&config(&server, 400.0, Length::Requests(200)));
    let both = Summary::merge(&[one.clone(), two.clone()]).unwrap();
    assert_accounted(&both);
    assert_eq!((both.counts.scheduled, both.counts.ok), (400, 300));
    assert_eq!(both.offered_rate.unwrap(), one.offered_rate.unwrap() + two.offered_rate.unwrap());
    let longest = one.response_time_ns.max.max(two.response_time_ns.max);
    assert_eq!(both.response_time_ns.max, longest);
    assert!(Summary::merge(&[]).is_err());
}
