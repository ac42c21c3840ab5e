//! The Markdown format: tables for a pull request or a wiki.

use std::io::{self, Write};

use super::figures::{PHASES, count, duration_or, interval_or, percent, phases, quantile, rate, slo_value};
use crate::bench::statistics::LEVEL;
use crate::bench::{Distribution, Percentile, Summary};

/// Writes `summary` as Markdown.
///
/// # Errors
///
/// The writer fails.
pub fn markdown(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let counts = &summary.counts;
    writeln!(out, "### Load of `{}`\n", summary.setup.target.replace('`', "'"))?;
    let offered = summary.offered_rate.map_or_else(|| "closed loop: omits waiting".to_owned(), rate);
    writeln!(out, "| scheduled | ok | failed | unsent | offered | achieved | verdict |")?;
    writeln!(out, "| ---: | ---: | ---: | ---: | ---: | ---: | --- |")?;
    let failed = counts.sent - counts.ok;
    let verdict = if summary.verdict.trusted { "trusted" } else { "**not trusted**" };
    let cells = [count(counts.scheduled), count(counts.ok), count(failed), count(counts.unsent)].join(" | ");
    writeln!(out, "| {cells} | {offered} | {} | {verdict} |\n", rate(summary.achieved_rate))?;

    let level = LEVEL * 100.0;
    writeln!(
        out,
        "| latency | response | {level}% interval | service | {level}% interval |\n| --- | ---: | ---: | ---: | ---: |"
    )?;
    let shown = |d: &Distribution, p| quantile(d.percentile(p, counts.scheduled));
    let (response, service) = (&summary.histograms.response, &summary.histograms.service);
    let intervals = [&summary.intervals.response_time_ns, &summary.intervals.service_time_ns];
    for p in Percentile::PRINTED {
        let [first, second] = intervals.map(|of| interval_or(of.percentile(p), "-"));
        writeln!(out, "| {p} | {} | {first} | {} | {second} |", shown(response, p), shown(service, p))?;
    }
    writeln!(out, "| max | {} | | {} | |", duration_or(response.max(), "-"), duration_or(service.max(), "-"))?;
    let [first, second] = intervals.map(|of| interval_or(of.mean, "-"));
    writeln!(
        out,
        "| mean | {} | {first} | {} | {second} |",
        duration_or(response.mean(), "-"),
        duration_or(service.mean(), "-")
    )?;

    let phases = phases(summary);
    if !phases.is_empty() {
        writeln!(out, "\n| {} |\n| --- | ---: | ---: | ---: | ---: |", PHASES.join(" | "))?;
        phases.iter().try_for_each(|row| writeln!(out, "| {} |", row.join(" | ")))?;
    }
    let flows = summary.flows;
    if flows.started > 0 {
        writeln!(out, "\n| flows started | completed | broken | unfinished |\n| ---: | ---: | ---: | ---: |")?;
        let cells = [flows.started, flows.completed, flows.broken, flows.unfinished].map(count).join(" | ");
        writeln!(out, "| {cells} |")?;
    }
    if summary.requests.len() > 1 {
        writeln!(out, "\n| request | scheduled | failed | p50 | p99 |\n| --- | ---: | ---: | ---: | ---: |")?;
        for request in &summary.requests {
            let (all, times) = (request.counts.scheduled, &request.histograms.response);
            let [p50, p99] = [Percentile::P50, Percentile::P99].map(|p| quantile(times.percentile(p, all)));
            let failed = request.counts.scheduled - request.counts.ok;
            writeln!(out, "| `{}` | {} | {} | {p50} | {p99} |", cell(&request.name), count(all), count(failed))?;
        }
    }
    if !summary.errors.is_empty() {
        writeln!(out, "\n| error | phase | side | count | share |\n| --- | --- | --- | ---: | ---: |")?;
        for error in &summary.errors {
            let share = percent(error.count as f64 / counts.scheduled as f64);
            let kind = &error.kind;
            writeln!(out, "| {} | {} | {} | {} | {share} |", kind.cause, kind.phase, kind.side, count(error.count))?;
        }
    }
    if !summary.slo.is_empty() {
        writeln!(out, "\n| objective | measured | |\n| --- | ---: | --- |")?;
        for slo in &summary.slo {
            let mark = if slo.ok { "met" } else { "**missed**" };
            writeln!(out, "| `{}` | {} | {mark} |", cell(&slo.expression), slo_value(slo))?;
        }
    }
    let remarks: Vec<_> = summary.verdict.reasons.iter().chain(&summary.verdict.notes).collect();
    if !remarks.is_empty() {
        writeln!(out)?;
    }
    remarks.into_iter().try_for_each(|remark| writeln!(out, "- {remark}"))
}

/// A text within a cell and between backticks.
fn cell(text: &str) -> String {
    text.replace('`', "'").replace('|', "\\|")
}
