//! The HTML format: one page that needs nothing else, no network, no script, no font. Its charts are drawn here.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;
use tera::{Context, Tera};

use super::figures::{PHASES, count, duration_or, interval_or, percent, phases, quantile, rate, slo_value};
use crate::bench::statistics::{Interval, LEVEL};
use crate::bench::{Distribution, Percentile, Summary};
use plot::{Plot, Table};

mod charts;
mod plot;
mod scale;

/// Its name ends in what makes the engine escape all that is put in.
const NAME: &str = "page.html";
const PAGE: &str = include_str!("page.html");

/// Everything that the page says.
#[derive(Serialize)]
struct Page {
    target: String,
    load: Vec<String>,
    verdict: &'static str,
    is_trusted: bool,
    reasons: Vec<String>,
    notes: Vec<String>,
    tiles: Vec<Tile>,
    objectives: Vec<Objective>,
    charts: Vec<Plot>,
    width: f64,
    height: f64,
    tables: Vec<Section>,
    version: String,
}

/// A figure that is seen first.
#[derive(Serialize)]
struct Tile {
    name: String,
    value: String,
    beside: String,
}

#[derive(Serialize)]
struct Objective {
    expression: String,
    value: String,
    ok: bool,
}

/// A table with its heading.
#[derive(Serialize)]
struct Section {
    title: &'static str,
    #[serde(flatten)]
    table: Table,
    notes: Vec<String>,
}

/// Writes `summary` as a page.
///
/// # Errors
///
/// The writer fails, or a histogram of the series cannot be read.
pub fn html(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let page = Page::of(summary)?;
    let mut tera = Tera::default();
    tera.add_raw_template(NAME, PAGE).map_err(io::Error::other)?;
    let context = Context::from_serialize(&page).map_err(io::Error::other)?;
    let text = tera.render(NAME, &context).map_err(io::Error::other)?;
    out.write_all(text.as_bytes())
}

impl Page {
    fn of(summary: &Summary) -> io::Result<Self> {
        let tables = [
            latencies(summary),
            connecting(summary),
            requests(summary),
            flows(summary),
            outcomes(summary),
            errors(summary),
        ];
        Ok(Self {
            target: summary.setup.target.clone(),
            load: load(summary),
            verdict: if summary.verdict.trusted { "trusted" } else { "not trusted" },
            is_trusted: summary.verdict.trusted,
            reasons: summary.verdict.reasons.clone(),
            notes: summary.verdict.notes.clone(),
            tiles: tiles(summary),
            objectives: summary.slo.iter().map(Objective::from).collect(),
            charts: charts::charts(summary)?,
            width: plot::BOX.0,
            height: plot::BOX.1,
            tables: tables.into_iter().filter(|section| !section.table.rows.is_empty()).collect(),
            version: summary.setup.version.clone(),
        })
    }
}

impl From<&crate::bench::SloResult> for Objective {
    fn from(slo: &crate::bench::SloResult) -> Self {
        Self { expression: slo.expression.to_string(), value: slo_value(slo), ok: slo.ok }
    }
}

fn load(summary: &Summary) -> Vec<String> {
    let setup = &summary.setup;
    let seconds = charts::short(summary.duration_ns as f64 / 1e9);
    let load = match setup.rate {
        Some(wanted) => format!("{} for {seconds} s", rate(wanted)),
        None => format!("as fast as it goes for {seconds} s (closed loop: omits waiting)"),
    };
    let start = Timestamp::from_nanosecond(i128::from(setup.start.unix_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
    let plural = |n: u64, noun: &str| if n == 1 { format!("1 {noun}") } else { format!("{} {noun}s", count(n)) };
    let mut items = vec![
        load,
        start.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        format!("{} at once at most", plural(summary.connections.peak, "connection")),
        plural(setup.threads, "thread"),
        format!("seed {}", setup.seed),
    ];
    if setup.interrupted {
        items.insert(1, "interrupted".to_owned());
    }
    items
}

fn tiles(summary: &Summary) -> Vec<Tile> {
    let counts = &summary.counts;
    let response = &summary.histograms.response;
    let of = |name: &str, p| Tile {
        name: format!("{name} response time"),
        value: quantile(response.percentile(p, counts.scheduled)),
        beside: summary.intervals.response_time_ns.percentile(p).map(within).unwrap_or_default(),
    };
    let offered = summary.offered_rate.map_or_else(|| "as fast as it goes".to_owned(), |r| format!("of {}", rate(r)));
    let lost = counts.not_ok();
    vec![
        of("median", Percentile::P50),
        of("p99", Percentile::P99),
        Tile { name: "achieved rate".to_owned(), value: rate(summary.achieved_rate), beside: offered },
        Tile {
            name: "errors".to_owned(),
            value: percent(counts.error_rate()),
            beside: format!("{} of {}", count(lost), count(counts.scheduled)),
        },
    ]
}

fn within(found: Interval) -> String {
    // A line may end before it, and not within.
    let interval = super::figures::interval(found).replace('–', "\u{2060}–\u{2060}").replace(' ', "\u{a0}");
    format!("{}% interval {interval}", LEVEL * 100.0)
}

fn latencies(summary: &Summary) -> Section {
    type Of = fn(&Distribution) -> Option<u64>;
    let histograms = &summary.histograms;
    let (scheduled, sent) = (summary.counts.scheduled, summary.counts.sent);
    let all = [
        ("service", &histograms.service, scheduled),
        ("pool wait", &histograms.pool_wait, scheduled),
        ("own lag", &histograms.own_lag, sent),
    ];
    // In a closed loop nothing waits, and service is response.
    let others = if summary.setup.is_closed_loop() { &[] } else { &all[..] };
    let with_interval = &summary.intervals;
    let interval = format!("{}% interval", LEVEL * 100.0);
    let mut table = Table::new(["", "response"]);
    table.head.push(interval.clone());
    for (column, (name, ..)) in others.iter().enumerate() {
        table.head.push((*name).to_owned());
        table.head.extend((column == 0).then(|| interval.clone()));
    }
    for p in Percentile::PRINTED {
        let mut row = vec![p.to_string(), quantile(histograms.response.percentile(p, scheduled))];
        row.push(interval_or(with_interval.response_time_ns.percentile(p), "–"));
        for (column, (_, distribution, population)) in others.iter().enumerate() {
            row.push(quantile(distribution.percentile(p, *population)));
            row.extend((column == 0).then(|| interval_or(with_interval.service_time_ns.percentile(p), "–")));
        }
        table.rows.push(row);
    }
    let means = (with_interval.response_time_ns.mean, with_interval.service_time_ns.mean);
    let figures = [
        ("max", Distribution::max as Of, (None, None)),
        ("mean", Distribution::mean, means),
        ("min", Distribution::min, (None, None)),
    ];
    for (name, of, (first, second)) in figures {
        let mut row = vec![name.to_owned(), duration_or(of(&histograms.response), "–"), interval_or(first, "–")];
        for (column, (_, distribution, _)) in others.iter().enumerate() {
            row.push(duration_or(of(distribution), "–"));
            row.extend((column == 0).then(|| interval_or(second, "–")));
        }
        table.rows.push(row);
    }
    let mut notes = Vec::new();
    let lost = summary.counts.not_ok();
    if lost > 0 {
        notes.push(format!(
            "Max, mean and min leave out {} that did not end well; the percentiles rank them above all others.",
            count(lost)
        ));
    }
    notes.extend(super::text::refused(summary).into_iter().map(|why| why.replacen("no interval", "No interval", 1)));
    Section { title: "Latencies", table, notes }
}

fn connecting(summary: &Summary) -> Section {
    let mut table = Table::new(PHASES);
    table.rows.extend(phases(summary).into_iter().map(Vec::from));
    Section { title: "Phases", table, notes: Vec::new() }
}

/// Empty where there is only one kind of request.
fn requests(summary: &Summary) -> Section {
    let mut table = Table::new(["request", "scheduled", "not ok", "p50", "p99"]);
    for request in summary.requests.iter().filter(|_| summary.requests.len() > 1) {
        let counts = &request.counts;
        let at = |p| quantile(request.histograms.response.percentile(p, counts.scheduled));
        let figures = [count(counts.scheduled), count(counts.not_ok()), at(Percentile::P50), at(Percentile::P99)];
        table.rows.push([vec![request.name.clone()], figures.to_vec()].concat());
    }
    Section { title: "By request", table, notes: Vec::new() }
}

/// Empty in a run without flows.
fn flows(summary: &Summary) -> Section {
    let flows = summary.flows;
    let mut table = Table::new(["", "flows", "share"]);
    let ended = [
        ("started", flows.started),
        ("completed", flows.completed),
        ("broken", flows.broken),
        ("unfinished", flows.unfinished),
    ];
    for (name, number) in ended.into_iter().filter(|(_, number)| *number > 0) {
        let share = percent(number as f64 / flows.started.max(1) as f64);
        table.rows.push(vec![name.to_owned(), count(number), share]);
    }
    Section { title: "Flows", table, notes: Vec::new() }
}

fn outcomes(summary: &Summary) -> Section {
    let counts = &summary.counts;
    let mut table = Table::new(["", "requests", "share"]);
    let mut row = |name: String, number: u64| {
        let share = percent(number as f64 / counts.scheduled.max(1) as f64);
        table.rows.push(vec![name, count(number), share]);
    };
    row("scheduled".to_owned(), counts.scheduled);
    row("ok".to_owned(), counts.ok);
    let failed = [
        ("HTTP errors", counts.http_error),
        ("network errors", counts.network_error),
        ("timeouts", counts.timeout),
        ("unfinished", counts.unfinished),
        ("unsent", counts.unsent),
        ("sent again", counts.retries),
        ("redirects", counts.redirects),
    ];
    failed.into_iter().filter(|(_, number)| *number > 0).for_each(|(name, number)| row(name.to_owned(), number));
    summary.status.iter().for_each(|(status, number)| row(format!("status {status}"), *number));
    Section { title: "Requests", table, notes: Vec::new() }
}

fn errors(summary: &Summary) -> Section {
    let mut table = Table::new(["error", "phase", "side", "count", "the first"]);
    for error in &summary.errors {
        let kind = &error.kind;
        let first = summary.evidence.iter().find(|e| e.kind == *kind);
        let first = first.map(|e| format!("#{} {}: {}", e.n, e.request, e.detail)).unwrap_or_default();
        let what = [kind.cause.to_string(), kind.phase.to_string(), kind.side.to_string()];
        table.rows.push([what.to_vec(), vec![count(error.count), first]].concat());
    }
    Section { title: "Errors by kind", table, notes: Vec::new() }
}
