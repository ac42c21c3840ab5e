//! Why results may not be comparable: settings that differ, runs that say little.

use crate::bench::clock::Timestamps;
use crate::bench::result::summary::Summary;

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
pub(super) fn warnings(before: &[Summary], after: &[Summary]) -> Vec<String> {
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
    if before.iter().any(|one| after.iter().any(|other| one.has_run_of(other))) {
        warnings.push("the same run is on both sides".to_owned());
    }
    let all: Vec<&Summary> = before.iter().chain(after).collect();
    let settings: [(&str, Setting); 15] = [
        ("targets", |r| r.setup.target.clone()),
        ("kinds of schedule", Summary::kind_of_schedule),
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
    use crate::bench::schedule::SECOND_NS;

    /// Makes a result one of a run with another setting.
    type Alter = fn(&mut Summary);

    #[test]
    fn settings_of_the_generator_that_differ_are_told() {
        let one = crate::bench::result::merge::tests::result(1);
        let same = warnings(std::slice::from_ref(&one), std::slice::from_ref(&one));
        assert_eq!(same, ["the same run is on both sides"]);
        let mut later = one.clone();
        later.setup.start.unix_ns += SECOND_NS;
        assert_eq!(warnings(std::slice::from_ref(&one), std::slice::from_ref(&later)), [""; 0]);
        let settings: [(&str, Alter); 7] = [
            ("kinds of pacing differ: exact, 1s", |r| r.setup.pacing = "1s".to_owned()),
            ("ways to drive sockets differ: epoll, io_uring", |r| r.setup.io = "io_uring".to_owned()),
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
            let mut other = later.clone();
            alter(&mut other);
            assert_eq!(warnings(std::slice::from_ref(&one), &[other]), [format!("the {said}")]);
        }
    }
}
