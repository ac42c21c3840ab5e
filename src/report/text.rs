//! The summary to read at the end of a run, for terminals of 60 columns and more.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::chart;
use super::figures::{PHASES, count, duration, duration_or, interval_or, percent, phases, quantile, rate, slo_value};
use crate::bench::statistics::{Interval, LEVEL};
use crate::bench::{Arrangement, Distribution, FlowCounts, Percentile, Summary, WarmUp};

const TITLE: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default();
const BAR: Style = AnsiColor::Cyan.on_default();

/// The narrowest and the widest layout, in columns.
const WIDTHS: std::ops::RangeInclusive<usize> = 60..=100;

/// Writes `summary` for people, at most `width` columns wide (60 to 100), styled with ANSI codes.
///
/// # Errors
///
/// The writer fails.
pub fn text(summary: &Summary, out: &mut impl Write, width: usize) -> io::Result<()> {
    let width = width.clamp(*WIDTHS.start(), *WIDTHS.end());
    heading(summary, out, width)?;
    totals(summary, out, width)?;
    latencies(summary, out, width)?;
    connecting(summary, out)?;
    histogram(&summary.histograms.response, out, width)?;
    if summary.requests.len() > 1 {
        requests(summary, out, width)?;
    }
    failures(summary, out, width)?;
    objectives(summary, out)?;
    verdict(summary, out, width)
}

fn line(out: &mut impl Write, title: &str, text: &str) -> io::Result<()> {
    writeln!(out, "{TITLE}{title:<11}{TITLE:#} {text}")
}

/// A line whose items go on below where they do not fit.
fn items(out: &mut impl Write, title: &str, items: &[(Style, String)], width: usize) -> io::Result<()> {
    let mut title = title;
    let mut row = String::new();
    let mut used = 0;
    for (i, (style, item)) in items.iter().enumerate() {
        let comma = if i + 1 < items.len() { "," } else { "" };
        let length = item.chars().count() + comma.len();
        if used > 0 && 12 + used + 1 + length > width {
            line(out, title, &row)?;
            (title, used) = ("", 0);
            row.clear();
        }
        if used > 0 {
            row.push(' ');
            used += 1;
        }
        row.push_str(&format!("{style}{item}{style:#}{comma}"));
        used += length;
    }
    line(out, title, &row)
}

fn plain(items: impl IntoIterator<Item = String>) -> Vec<(Style, String)> {
    items.into_iter().map(|item| (Style::new(), item)).collect()
}

fn heading(summary: &Summary, out: &mut impl Write, width: usize) -> io::Result<()> {
    let setup = &summary.setup;
    let connections = &summary.connections;
    let seconds = summary.duration_ns as f64 / 1e9;
    line(out, "Target", &shorten(&setup.target, width - 12))?;
    let interrupted = setup.interrupted.then(|| (WARN, "interrupted".to_owned()));
    let load = match setup.rate {
        Some(mean) if setup.arrivals == Arrangement::Replay => {
            format!("{} rps on average for {} s", trim(mean), trim(seconds))
        }
        Some(mean) if !setup.stages.is_empty() => {
            let mean = trim(mean);
            format!("{mean} rps on average for {} s in {}", trim(seconds), plural(setup.stages.len() as u64, "stage"))
        }
        Some(rate) => format!("{rate} rps for {} s", trim(seconds)),
        None => format!("as fast as it goes for {} s", trim(seconds)),
    };
    let mut load = plain([load]);
    if setup.is_closed_loop() {
        load.push((WARN, "closed loop: omits waiting".to_owned()));
    }
    if setup.arrivals == Arrangement::Replay {
        let part = if setup.replay_shortened { "the first part of " } else { "" };
        load.extend(plain([format!("replay of {part}a log")]));
    }
    if setup.arrivals == Arrangement::Poisson {
        load.extend(plain(["Poisson arrivals".to_owned()]));
    }
    load.extend(interrupted);
    load.extend(plain([
        format!("seed {}", setup.seed),
        format!("{} opened", plural(connections.opened, "connection")),
        format!("{} at once of {} at most", count(connections.peak), count(connections.limit)),
        plural(setup.threads, "thread"),
    ]));
    if let Some(streams) = &connections.streams {
        let most = streams.allowed.map_or(streams.per_connection, |allowed| allowed.min(streams.per_connection));
        let text = format!("{}, {} on each of them, {} at once", setup.protocol, plural(most, "stream"), streams.peak);
        load.extend(plain([text]));
    }
    items(out, "Load", &load, width)
}

fn trim(seconds: f64) -> String {
    let text = format!("{seconds:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn plural(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{} {noun}s", count(number)) }
}

fn totals(summary: &Summary, out: &mut impl Write, width: usize) -> io::Result<()> {
    let c = &summary.counts;
    writeln!(out)?;
    let mut begun = plain([format!("{} scheduled", count(c.scheduled)), format!("{} sent", count(c.sent))]);
    if c.unsent > 0 {
        begun.push((BAD, format!("{} unsent", count(c.unsent))));
    }
    items(out, "Requests", &begun, width)?;
    let failed = [
        (c.http_error, plural(c.http_error, "HTTP error")),
        (c.network_error, plural(c.network_error, "network error")),
        (c.timeout, plural(c.timeout, "timeout")),
        (c.unfinished, format!("{} unfinished", count(c.unfinished))),
    ];
    let mut ended = vec![(GOOD, format!("{} ok", count(c.ok)))];
    ended.extend(failed.into_iter().filter(|(number, _)| *number > 0).map(|(_, text)| (BAD, text)));
    items(out, "", &ended, width)?;
    if summary.flows.started > 0 {
        items(out, "Flows", &flows(&summary.flows), width)?;
    }
    let offered = summary.offered_rate.map(|offered| format!("offered {}", rate(offered)));
    let rates = [format!("achieved {}", rate(summary.achieved_rate)), format!("errors {}", percent(c.error_rate()))];
    if let Some(warmup) = &summary.warmup {
        items(out, "Warm-up", &warm_up(warmup), width)?;
    }
    items(out, "Rate", &plain(offered.into_iter().chain(rates)), width)
}

fn flows(flows: &FlowCounts) -> Vec<(Style, String)> {
    let mut items = vec![
        (Style::new(), format!("{} started", count(flows.started))),
        (GOOD, format!("{} completed", count(flows.completed))),
    ];
    let lost = [(flows.broken, "broken"), (flows.unfinished, "unfinished")];
    items.extend(lost.iter().filter(|(n, _)| *n > 0).map(|(n, how)| (BAD, format!("{} {how}", count(*n)))));
    items
}

/// The part that everything else leaves out.
fn warm_up(warmup: &WarmUp) -> Vec<(Style, String)> {
    let c = &warmup.counts;
    let at = |p| quantile(warmup.histograms.response.percentile(p, c.scheduled));
    let seconds = trim(warmup.duration_ns as f64 / 1e9);
    let mut items =
        vec![(FAINT, format!("left out: {seconds} s")), (FAINT, format!("{} scheduled", count(c.scheduled)))];
    if c.not_ok() > 0 {
        items.push((BAD, format!("{} not ok", count(c.not_ok()))));
    }
    items.extend(
        [("p50", Percentile::P50), ("p99", Percentile::P99)].map(|(name, p)| (FAINT, format!("{name} {}", at(p)))),
    );
    items
}

fn latencies(summary: &Summary, out: &mut impl Write, width: usize) -> io::Result<()> {
    let histograms = &summary.histograms;
    let scheduled = summary.counts.scheduled;
    let all = [
        ("response", &histograms.response),
        ("service", &histograms.service),
        ("pool wait", &histograms.pool_wait),
        ("own lag", &histograms.own_lag),
    ];
    // In a closed loop nothing waits, so that the first says it all.
    let shown = if summary.setup.is_closed_loop() { &all[..1] } else { &all[..] };
    let columns: Vec<_> = shown.iter().map(|(_, distribution)| *distribution).collect();
    let intervals = [&summary.intervals.response_time_ns, &summary.intervals.service_time_ns];
    // An interval needs 16 columns, as 999 µs–1.00 ms; where there is no room, JSON has them.
    let room = width.saturating_sub(11 + 12 * shown.len()) / 16;
    let with_interval = |column: usize| column < room.min(intervals.len());
    let interval =
        |out: &mut dyn Write, found: Option<Interval>| write!(out, " {FAINT}{:>15}{FAINT:#}", interval_or(found, "-"));
    writeln!(out)?;
    write!(out, "{TITLE}{:<11}", "Latency")?;
    for (column, (name, _)) in shown.iter().enumerate() {
        write!(out, " {name:>11}")?;
        if with_interval(column) {
            write!(out, " {:>15}", format!("{}% interval", LEVEL * 100.0))?;
        }
    }
    writeln!(out, "{TITLE:#}")?;
    for p in Percentile::PRINTED {
        write!(out, "{p:>11}")?;
        for (column, distribution) in columns.iter().enumerate() {
            let population = if column == 3 { summary.counts.sent } else { scheduled };
            let cell = quantile(distribution.percentile(p, population));
            if column < 2 {
                write!(out, " {cell:>11}")?
            } else {
                write!(out, " {FAINT}{cell:>11}{FAINT:#}")?
            }
            if with_interval(column) {
                interval(out, intervals[column].percentile(p))?;
            }
        }
        writeln!(out)?;
    }
    for (name, of) in [("max", Distribution::max as fn(&Distribution) -> Option<u64>), ("mean", Distribution::mean)] {
        write!(out, "{name:>11}")?;
        for (column, distribution) in columns.iter().enumerate() {
            let cell = duration_or(of(distribution), "-");
            if column < 2 {
                write!(out, " {cell:>11}")?
            } else {
                write!(out, " {FAINT}{cell:>11}{FAINT:#}")?
            }
            match (with_interval(column), name) {
                (true, "max") => write!(out, " {:>15}", "")?,
                (true, _) => interval(out, intervals[column].mean)?,
                (false, _) => {}
            }
        }
        writeln!(out)?;
    }
    for piece in refused(summary).iter().flat_map(|note| wrap(note, width - 12)) {
        writeln!(out, "{:11} {FAINT}{piece}{FAINT:#}", "")?;
    }
    let lost = summary.counts.not_ok();
    if lost > 0 {
        let note = format!(
            "max and mean leave out {} that did not end well; the percentiles rank them above all others",
            count(lost)
        );
        for piece in wrap(&note, width - 12) {
            writeln!(out, "{:11} {FAINT}{piece}{FAINT:#}", "")?;
        }
    }
    Ok(())
}

fn connecting(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let rows = phases(summary);
    if rows.is_empty() {
        return Ok(());
    }
    let [_, heads @ ..] = PHASES;
    let cells = |cells: &[&str]| cells.iter().map(|cell| format!(" {cell:>11}")).collect::<String>();
    writeln!(out, "\n{TITLE}{:<11}{}{TITLE:#}", "Phases", cells(&heads))?;
    rows.iter().try_for_each(|[name, others @ ..]| {
        writeln!(out, "{name:>11}{FAINT}{}{FAINT:#}", cells(&others.each_ref().map(String::as_str)))
    })
}

/// Why figures that have a value have no interval: one line for each reason.
pub(super) fn refused(summary: &Summary) -> Vec<String> {
    let response = &summary.histograms.response;
    let has_value = |name: &str| match name.parse() {
        Ok(p) => response.percentile(p, summary.counts.scheduled).value().is_some(),
        Err(()) => response.count() > 0,
    };
    let mut names: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, why) in summary.intervals.refused.iter().filter(|(name, _)| has_value(name)) {
        match names.iter_mut().find(|(other, _)| other == why) {
            Some((_, same)) => same.push(name),
            None => names.push((why, vec![name])),
        }
    }
    names.into_iter().map(|(why, names)| format!("no interval of {}: {why}", names.join(", "))).collect()
}

fn histogram(distribution: &Distribution, out: &mut impl Write, width: usize) -> io::Result<()> {
    let rows = chart::rows(distribution);
    let most = rows.iter().map(|row| row.count).max().unwrap_or(0);
    if most == 0 {
        return Ok(());
    }
    writeln!(out)?;
    writeln!(out, "{TITLE}Response time of the {} ok{TITLE:#}", count(distribution.count()))?;
    let number = count(most).len().max(5);
    // From, bar, count, share.
    let space = width.saturating_sub(11 + 1 + 1 + number + 1 + 7);
    for row in rows {
        let bar = chart::bar(row.count as f64 / most as f64, space);
        let pad = " ".repeat(space - bar.chars().count());
        let share = percent(row.count as f64 / distribution.count() as f64);
        let from = duration(row.from);
        writeln!(out, "{from:>11} {BAR}{bar}{BAR:#}{pad} {:>number$} {FAINT}{share:>7}{FAINT:#}", count(row.count))?;
    }
    Ok(())
}

fn requests(summary: &Summary, out: &mut impl Write, width: usize) -> io::Result<()> {
    writeln!(out)?;
    let space = width - 4 * 10;
    writeln!(
        out,
        "{TITLE}{:<space$}{:>10}{:>10}{:>10}{:>10}{TITLE:#}",
        "By request", "scheduled", "not ok", "p50", "p99"
    )?;
    for request in &summary.requests {
        let c = &request.counts;
        let response = &request.histograms.response;
        let at = |p| quantile(response.percentile(p, c.scheduled));
        let lost = count(c.not_ok());
        let style = if c.not_ok() == 0 { FAINT } else { BAD };
        writeln!(
            out,
            "{:<space$}{:>10}{style}{lost:>10}{style:#}{:>10}{:>10}",
            shorten(&request.name, space - 1),
            count(c.scheduled),
            at(Percentile::P50),
            at(Percentile::P99),
        )?;
    }
    Ok(())
}

fn failures(summary: &Summary, out: &mut impl Write, width: usize) -> io::Result<()> {
    let c = &summary.counts;
    writeln!(out)?;
    if !summary.status.is_empty() {
        let status = summary.status.iter().map(|(code, n)| format!("{code}: {}", count(*n)));
        items(out, "Status", &plain(status), width)?;
    }
    if c.retries > 0 {
        line(out, "Retries", &format!("{} (the target had closed the connection)", count(c.retries)))?;
    }
    if c.redirects > 0 {
        line(out, "Redirects", &format!("{} followed", count(c.redirects)))?;
    }
    let bytes = &summary.bytes;
    if bytes.decompressed != bytes.bodies {
        let [came, became] = [bytes.bodies, bytes.decompressed].map(|n| format!("{} MB", trim(n as f64 / 1e6)));
        line(out, "Bodies", &format!("{came} compressed, {became} decompressed"))?;
    }
    if c.protocol_warnings > 0 {
        let times =
            if c.protocol_warnings == 1 { "once".to_owned() } else { format!("{} times", count(c.protocol_warnings)) };
        line(out, "Warnings", &format!("the target sent bytes that nothing asked for, {times}"))?;
    }
    if summary.errors.is_empty() {
        return Ok(());
    }
    writeln!(out, "{TITLE}Errors{TITLE:#}")?;
    for error in &summary.errors {
        let kind = &error.kind;
        writeln!(
            out,
            "{:>11} {BAD}{}{BAD:#} in phase {}, by the {}",
            count(error.count),
            kind.cause,
            kind.phase,
            kind.side
        )?;
        let first = summary.evidence.iter().find(|e| e.kind == *kind);
        if let Some(first) = first {
            let when = duration(first.scheduled_ns);
            let text = format!("first: #{} {} at {when}: {}", first.n, first.request, first.detail);
            for piece in wrap(&text, width - 12) {
                writeln!(out, "{:11} {FAINT}{piece}{FAINT:#}", "")?;
            }
        }
    }
    Ok(())
}

fn objectives(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    if summary.slo.is_empty() {
        return Ok(());
    }
    writeln!(out, "{TITLE}Objectives{TITLE:#}")?;
    for slo in &summary.slo {
        let (style, mark) = if slo.ok { (GOOD, "met") } else { (BAD, "missed") };
        writeln!(out, "{style}{mark:>11}{style:#} {:<18} {}", slo.expression, slo_value(slo))?;
    }
    Ok(())
}

fn verdict(summary: &Summary, out: &mut impl Write, width: usize) -> io::Result<()> {
    let verdict = &summary.verdict;
    if verdict.trusted {
        line(out, "Verdict", &format!("{GOOD}trusted{GOOD:#}: the generator was not the limit"))?;
    } else {
        line(out, "Verdict", &format!("{BAD}not trusted{BAD:#}: the generator was the limit"))?;
    }
    for (style, items) in [(BAD, &verdict.reasons), (WARN, &verdict.notes)] {
        for item in items {
            for (i, piece) in wrap(item, width - 14).iter().enumerate() {
                writeln!(out, "{:11} {style}{}{style:#} {piece}", "", if i == 0 { "-" } else { " " })?;
            }
        }
    }
    Ok(())
}

/// Cuts a text in its middle, where it is too long.
fn shorten(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let tail = width / 3;
    let head: String = text.chars().take(width - tail - 1).collect();
    let tail: String = text.chars().skip(length - tail).collect();
    format!("{head}…{tail}")
}

/// Breaks a text at spaces into lines of at most `width` columns.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = shorten(word, width);
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}
