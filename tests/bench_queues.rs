//! Queues with known answers: the generator against one server with a queue, held against the recursion of Lindley
//! (1952) on the run's own seeded schedule and service times. (The closed forms are tested without a network, where
//! ten million arrivals make them precise: a run of seconds is too short for them.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod support;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1};
use scalectl::bench::{self, Config, Length, Process, RequestSpec};
use scalectl::units::TimeSpan;
use support::{Fate, Seen, Server, queue};

/// Mean service time: ρ = 160/s · 5 ms = 0.8.
const S: u64 = 5_000_000;
const RATE: &str = "160";
/// How many runs there are at most, on a machine that is too busy to tell much from one.
const ATTEMPTS: u32 = 4;

/// Response times, in the order of the requests: departure = max(arrival, previous departure) + service.
fn lindley(arrivals: &[u64], service: &[u64]) -> Vec<u64> {
    let mut departure = 0;
    let response = |(arrival, service): (&u64, &u64)| {
        departure = departure.max(*arrival) + service;
        departure - arrival
    };
    arrivals.iter().zip(service).map(response).collect()
}

/// The same from the instants at which requests reached the server. An arrival that is late moves departures, and never
/// makes one earlier: these are at or above those of the schedule.
fn as_arrived(server: &Server, service: &[u64], arrivals: &[u64], start: u64) -> Vec<u64> {
    let mut script = queue(service.to_vec());
    let response = |seen: &Seen| match script(seen) {
        Fate::Answer(_, departure) => departure - (start + arrivals[seen.seq as usize]),
        other => panic!("{other:?}"),
    };
    server.seen().iter().map(response).collect()
}

fn hold(name: &str, process: Process, service: impl Fn(&mut ChaCha8Rng) -> u64) {
    for attempt in 1..=ATTEMPTS {
        let stolen = stolen_ns();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let service: Vec<u64> = (0..4000).map(|_| service(&mut rng)).collect();
        let server = Server::start(queue(service.clone()));
        let mut config = Config::new(server.url().parse().unwrap());
        config.requests = vec![RequestSpec::get("/{{ seq() }}")];
        config.rate = RATE.parse().unwrap();
        config.length = Length::Duration(TimeSpan::seconds(10));
        (config.arrivals, config.seed, config.connections) = (process, 3, Some(128));
        let arrivals: Vec<u64> = config.schedule().arrivals(0, 1).map(|a| a.at_ns).collect();
        let mut truth = lindley(&arrivals, &service);
        let summary = bench::run(&config, &mut ()).unwrap();
        let number = arrivals.len();
        let c = summary.counts;
        assert_eq!((c.scheduled, c.ok, server.count()), (number as u64, number as u64, number as u64), "{name}: {c:?}");
        let mut most = as_arrived(&server, &service, &arrivals, summary.setup.start.monotonic_ns);
        truth.sort_unstable();
        most.sort_unstable();
        // An answer is written late by the server's timer, and waits to be read as long as requests wait to be sent.
        let tolerance = server.lateness_ns() + summary.own_lag_ns.max.unwrap();
        // The queues differ by two service times and more. A machine that is busy at every attempt shows less, and what
        // it shows still has to hold.
        if (!summary.verdict.trusted || tolerance > 2 * S) && attempt < ATTEMPTS {
            eprintln!("{name}: tolerance {tolerance} ns, {:?}: once more", summary.verdict.reasons);
            continue;
        }
        // An answer can also come while nothing is due, and wait for a thread that waits for a processor itself, or
        // whose processor the hypervisor has taken.
        let tolerance = tolerance + summary.generator.run_queue_wait_ns + stolen_ns().saturating_sub(stolen);
        let mean = |all: &[u64]| all.iter().sum::<u64>() / number as u64;
        let rank = |p: f64| (p * number as f64).ceil() as usize - 1;
        let response = summary.response_time_ns;
        let at = |place: usize| [truth[place], most[place]];
        for (figure, found, [least, most]) in [
            ("mean", response.mean, [mean(&truth), mean(&most)]),
            ("min", response.min, at(0)),
            ("p50", response.p50, at(rank(0.5))),
            ("p90", response.p90, at(rank(0.9))),
            ("p99", response.p99, at(rank(0.99))),
            ("max", response.max, at(number - 1)),
        ] {
            let found = found.unwrap();
            // The histogram's resolution on either side.
            let range = least - least / 1000..=most + tolerance + most / 1000;
            assert!(range.contains(&found), "{name}, {figure}: {found} ns is not within {range:?}");
        }
        eprintln!("{name}: mean {:?}, p99 {:?}, tolerance {tolerance} ns", response.mean, response.p99);
        return;
    }
}

/// How long the hypervisor has taken processors away so far, in nanoseconds; 0 where the kernel does not say.
fn stolen_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Option<u64> = stat.split_whitespace().nth(8).and_then(|field| field.parse().ok());
    // Hundredths of a second on every architecture.
    ticks.unwrap_or(0) * 10_000_000
}

/// One after another: side by side they would be each other's noise.
#[test]
fn response_times_of_queues_are_those_of_the_recursion() {
    #[cfg(target_os = "linux")]
    {
        // Where this process may, it takes precedence over what else runs on the machine.
        let thread = nix::unistd::gettid().to_string();
        let _ = std::process::Command::new("chrt").args(["-f", "-p", "10", &thread]).output();
    }
    hold("D/D/1", Process::Constant, |_| S);
    hold("M/D/1", Process::Poisson, |_| S);
    hold("M/M/1", Process::Poisson, |rng| {
        let unit: f64 = Exp1.sample(rng);
        (S as f64 * unit) as u64
    });
}
