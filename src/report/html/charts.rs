//! The charts of a page.

use std::{io, iter};

use super::super::csv::unpacked;
use super::super::figures::{count, duration, duration_or, percent, quantile, rate};
use super::plot::{Axes, Key, Plot, Table, tick};
use super::scale::Scale;
use crate::bench::{Distribution, Percentile, Quantile, Second, Summary};

/// The most points a line over time has: more than a screen tells apart.
const MOST_POINTS: usize = 240;
/// The bars of the histogram.
const BARS: usize = 40;
/// Steps of the spectrum to each halving of what is left above.
const STEPS: u32 = 5;
const NS_PER_SECOND: f64 = 1e9;
const SECOND_NS: u64 = 1_000_000_000;

/// What finished in one or more seconds in a row.
struct Span {
    from: f64,
    to: f64,
    ok: u64,
    errors: [u64; 3],
    ended: u64,
    response: Distribution,
}

/// The names and styles of the kinds of errors, in the order of [`Span::errors`].
const ERRORS: [(&str, &str); 3] =
    [("HTTP errors", "http-error"), ("network errors", "network-error"), ("timeouts", "timeout")];

impl Span {
    fn of(seconds: &[Second], end: f64) -> io::Result<Self> {
        let from = seconds.first().map_or(0.0, |s| s.second as f64);
        let to = seconds.last().map_or(0.0, |s| s.second as f64 + 1.0).min(end);
        let mut span = Self { from, to, ok: 0, errors: [0; 3], ended: 0, response: Distribution::default() };
        for second in seconds {
            span.ok += second.ok;
            span.ended = span.ended.saturating_add(second.ended());
            let errors = [second.http_error, second.network_error, second.timeout];
            span.errors.iter_mut().zip(errors).for_each(|(sum, more)| *sum += more);
            span.response.merge(&unpacked(&second.response)?);
        }
        Ok(span)
    }

    fn middle(&self) -> f64 {
        f64::midpoint(self.from, self.to)
    }

    fn percentile(&self, p: Percentile) -> Quantile {
        self.response.percentile(p, self.ended)
    }

    fn name(&self) -> String {
        format!("{}–{} s", short(self.from), short(self.to))
    }
}

/// The charts of `summary`, in the order of the page.
///
/// # Errors
///
/// A histogram of the series cannot be read.
pub fn charts(summary: &Summary) -> io::Result<Vec<Plot>> {
    let elapsed = summary.elapsed_ns as f64 / NS_PER_SECOND;
    let together = summary.series.len().div_ceil(MOST_POINTS).max(1);
    let spans: Vec<Span> =
        pieces(summary, together).into_iter().map(|seconds| Span::of(seconds, elapsed)).collect::<io::Result<_>>()?;
    let time = Scale::Linear { low: 0.0, high: elapsed.max(f64::MIN_POSITIVE) };
    // Where nothing ended well, there is no time to be drawn.
    let any_ok = |chart: fn(&Summary) -> Plot| (summary.counts.ok > 0).then(|| chart(summary));
    let mut charts = Vec::new();
    charts.extend((summary.counts.ok > 0).then(|| latency(&spans, time)));
    charts.push(throughput(summary, &spans, time));
    charts.extend(errors(&spans, time));
    charts.extend(any_ok(spectrum));
    charts.extend(any_ok(|summary| histogram(&summary.histograms.response)));
    Ok(charts)
}

/// The series in pieces of as many seconds. What came after the schedule's end are only the slowest of the last ones:
/// they belong to the piece before, where it is not much time.
fn pieces(summary: &Summary, together: usize) -> Vec<&[Second]> {
    let series = summary.series.as_slice();
    let during = (summary.duration_ns.div_ceil(SECOND_NS) as usize).min(series.len());
    let mut pieces: Vec<_> = series[..during].chunks(together).collect();
    let after = &series[during..];
    match pieces.len().checked_sub(1) {
        Some(last) if after.len() <= together => pieces[last] = &series[last * together..],
        _ => pieces.extend(after.chunks(together)),
    }
    pieces
}

fn latency(spans: &[Span], time: Scale) -> Plot {
    let lines = [("p50", "p50", Percentile::P50), ("p90", "p90", Percentile::P90), ("p99", "p99", Percentile::P99)];
    let least = spans.iter().filter_map(|s| s.percentile(Percentile::P50).value()).min().unwrap_or(0);
    let most = spans.iter().filter_map(|s| s.response.max()).max().unwrap_or(0);
    let axes = Axes { x: time, y: Scale::of_durations(least, most) };
    let as_value = |ns: Option<u64>| ns.map(|ns| ns as f64);
    let mut drawn = vec![axes.line("max", spans.iter().map(|s| (s.middle(), as_value(s.response.max()))))];
    drawn.extend(
        lines.map(|(class, _, p)| {
            axes.line(class, spans.iter().map(|s| (s.middle(), as_value(s.percentile(p).value()))))
        }),
    );
    let mut table = Table::new(["seconds", "p50", "p90", "p99", "max"]);
    let mut spots = Vec::new();
    for span in spans {
        let figures = lines.map(|(_, _, p)| quantile(span.percentile(p)));
        let [p50, p90, p99] = figures;
        let max = duration_or(span.response.max(), "-");
        let text = format!("{}: p50 {p50}, p90 {p90}, p99 {p99}, max {max}", span.name());
        spots.push(axes.spot((span.from, span.to), text));
        table.rows.push(vec![span.name(), p50, p90, p99, max]);
    }
    let legend = [("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("max", "max")];
    Plot {
        id: "latency",
        title: "Response time over time",
        description:
            "By the second in which requests ended. A percentile ranks failures above all that ended well, and \
                      has no point where it lies among them, or where they are too few for it."
                .to_owned(),
        legend: legend.map(|(class, name)| Key { class, name: name.to_owned() }).into(),
        lines: drawn,
        y_ticks: axes.y_ticks(exact),
        x_ticks: axes.x_ticks(seconds),
        x_label: "time after the start",
        spots,
        table,
        ..Plot::default()
    }
}

/// Answers and what was offered. What comes after the schedule's end belongs to no rate, and is left out.
fn throughput(summary: &Summary, spans: &[Span], time: Scale) -> Plot {
    let end = summary.duration_ns as f64 / NS_PER_SECOND;
    let within: Vec<_> = spans.iter().filter(|span| span.from < end).collect();
    let rate_of = |span: &Span| span.ok as f64 / (span.to.min(end) - span.from);
    let most = within.iter().map(|span| rate_of(span)).fold(summary.offered_rate.unwrap_or(0.0), f64::max);
    let axes = Axes { x: time, y: Scale::up_to(most) };
    let offered = summary.offered_rate.map(|offered| (offered, [(0.0, Some(offered)), (end, Some(offered))]));
    let mut legend = vec![Key { class: "ok", name: "ok".to_owned() }];
    let mut lines = vec![axes.line("ok", within.iter().map(|span| (span.middle(), Some(rate_of(span)))))];
    if let Some((offered, points)) = offered {
        legend.push(Key { class: "offered", name: format!("offered on the average: {}", rate(offered)) });
        lines.insert(0, axes.line("offered", points));
    }
    let mut table = Table::new(["seconds", "ok", "rate"]);
    let mut spots = Vec::new();
    for span in within {
        let found = rate(rate_of(span));
        spots.push(axes.spot((span.from, span.to), format!("{}: {found} ok", span.name())));
        table.rows.push(vec![span.name(), count(span.ok), found]);
    }
    Plot {
        id: "throughput",
        title: "Throughput",
        description: "Answers a second that ended well, by the second in which they finished.".to_owned(),
        legend,
        lines,
        y_ticks: axes.y_ticks(number),
        x_ticks: axes.x_ticks(seconds),
        x_label: "time after the start",
        spots,
        table,
        ..Plot::default()
    }
}

/// `None` where there were none.
fn errors(spans: &[Span], time: Scale) -> Option<Plot> {
    let most = spans.iter().map(|span| span.errors.iter().sum::<u64>()).max().filter(|most| *most > 0)?;
    let axes = Axes { x: time, y: Scale::up_to(most as f64) };
    let is_seen = |kind: usize| spans.iter().any(|span| span.errors[kind] > 0);
    let mut plot = Plot {
        id: "errors",
        title: "Errors",
        description: "Requests that failed, by the second in which it was known.".to_owned(),
        y_ticks: axes.y_ticks(number),
        x_ticks: axes.x_ticks(seconds),
        x_label: "time after the start",
        table: Table::new(["seconds", ERRORS[0].0, ERRORS[1].0, ERRORS[2].0]),
        ..Plot::default()
    };
    for (kind, (name, class)) in ERRORS.into_iter().enumerate().filter(|(kind, _)| is_seen(*kind)) {
        plot.legend.push(Key { class, name: name.to_owned() });
        for span in spans.iter().filter(|span| span.errors[kind] > 0) {
            let below: u64 = span.errors[..kind].iter().sum();
            let above = below + span.errors[kind];
            plot.bars.push(axes.bar(class, (span.from, span.to), (below as f64, above as f64)));
        }
    }
    for span in spans.iter().filter(|span| span.errors.iter().any(|n| *n > 0)) {
        let figures = span.errors.map(count);
        let text: Vec<_> = ERRORS.iter().zip(&figures).map(|((name, _), n)| format!("{n} {name}")).collect();
        plot.spots.push(axes.spot((span.from, span.to), format!("{}: {}", span.name(), text.join(", "))));
        plot.table.rows.push([vec![span.name()], figures.to_vec()].concat());
    }
    Some(plot)
}

/// Percentiles from left to right, as far apart as what is left above them is halved.
fn spectrum(summary: &Summary) -> Plot {
    let population = summary.counts.scheduled.max(1) as f64;
    let histograms = &summary.histograms;
    let shown = [("response", "response", &histograms.response), ("service", "service", &histograms.service)];
    // In a closed loop both are the same.
    let shown = if summary.setup.is_closed_loop() { &shown[..1] } else { &shown[..] };
    // How far out the last request but one lies.
    let high = population.max(10.0).log10();
    let all = || shown.iter().map(|(_, _, distribution)| distribution);
    let least = all().filter_map(|d| d.min()).min().unwrap_or(0);
    let most = all().filter_map(|d| d.max()).max().unwrap_or(0);
    let axes = Axes { x: Scale::Linear { low: 0.0, high }, y: Scale::of_durations(least, most) };
    let outward = |share: f64| -(1.0 - share).log10();
    let mut plot = Plot {
        id: "spectrum",
        title: "Percentiles",
        description: "How long the slowest took: each step to the right leaves out nine of ten.".to_owned(),
        y_ticks: axes.y_ticks(exact),
        x_label: "percentile of all scheduled requests",
        table: Table::new(["percentile"]),
        ..Plot::default()
    };
    for (class, name, distribution) in shown {
        let points = distribution
            .spectrum(STEPS)
            .into_iter()
            .map(|(value, total)| (outward((total as f64 / population).min(1.0)).min(high), Some(value as f64)));
        let first = distribution.min().map(|min| (0.0, Some(min as f64)));
        plot.table.head.push((*name).to_owned());
        plot.lines.push(axes.line(class, first.into_iter().chain(points)));
        plot.legend.push(Key { class, name: format!("{name} time") });
    }
    let named = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999];
    let named = named.into_iter().filter(|share| outward(*share) <= high);
    plot.x_ticks =
        named.map(|share| tick(outward(share) / high, super::plot::BOX.0, short(share * 100.0) + "%")).collect();
    for p in Percentile::PRINTED {
        let at = |distribution: &Distribution| quantile(distribution.percentile(p, summary.counts.scheduled));
        plot.table.rows.push(iter::once(p.to_string()).chain(all().map(|d| at(d))).collect());
    }
    let lost = summary.counts.not_ok();
    if lost > 0 {
        let share = percent(lost as f64 / population);
        plot.notes.push(format!("{share} did not end well and rank above all others: the lines end before them."));
    }
    plot
}

fn histogram(response: &Distribution) -> Plot {
    let mut plot = Plot {
        id: "histogram",
        title: "Histogram",
        description: "How many responses took how long.".to_owned(),
        x_label: "response time",
        table: Table::new(["from", "responses", "share"]),
        ..Plot::default()
    };
    let (Some(min), Some(max)) = (response.min(), response.max()) else { return plot };
    let min = min.max(1_000);
    // A single time has a bar, too.
    let max = max.max(min.saturating_add(1));
    let is_wide = max / min >= 5;
    let edge = |i: usize| {
        let share = i as f64 / BARS as f64;
        let (min, max) = (min as f64, max as f64);
        if is_wide { min * (max / min).powf(share) } else { min + (max - min) * share }
    };
    let mut edges: Vec<u64> = (0..BARS).map(|i| edge(i) as u64).collect();
    // Bars that are narrower than what the histogram tells apart would come and go.
    let finest = |edge: u64| (edge / 500).max(1_024);
    edges.dedup_by(|next, last| *next < *last + finest(*last));
    let counts = response.counts_between(&edges);
    let ends = || edges.iter().skip(1).copied().chain([max]);
    let x = match is_wide {
        true => Scale::Log { low: min as f64, high: max as f64 },
        false => Scale::Linear { low: min as f64, high: max as f64 },
    };
    let axes = Axes { x, y: Scale::up_to(counts.iter().max().copied().unwrap_or(0) as f64) };
    for ((from, to), number) in edges.iter().copied().zip(ends()).zip(counts.iter().copied()) {
        let range = (from as f64, to as f64);
        plot.bars.push(axes.bar("response", range, (0.0, number as f64)));
        let share = percent(number as f64 / response.count() as f64);
        let text = format!("{}–{}: {} ({share})", duration(from), duration(to), count(number));
        plot.spots.push(axes.spot(range, text));
        plot.table.rows.push(vec![duration(from), count(number), share]);
    }
    plot.y_ticks = axes.y_ticks(self::number);
    plot.x_ticks = axes.x_ticks(exact);
    plot
}

/// A duration of an axis, in nanoseconds.
fn exact(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    format!("{} {unit}", short(value))
}

fn seconds(seconds: f64) -> String {
    format!("{} s", short(seconds))
}

fn number(value: f64) -> String {
    if value >= 1000.0 { count(value.round() as u64) } else { short(value) }
}

/// A number without zeros at its end.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
