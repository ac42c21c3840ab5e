//! The Markdown format: tables for a pull request or a wiki.

use std::io::{self, Write};

use super::figures::{PHASES, count, duration_or, interval_or, percent, phases, quantile, rate, slo_value};
use crate::bench::statistics::LEVEL;
use crate::bench::{Percentile, Summary};

/// Writes `summary` as Markdown.
///
/// # Errors
///
/// The writer fails.
pub fn markdown(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let counts = &summary.counts;
    writeln!(out, "### Load of `{}`\n", summary.setup.target.replace('`', "'"))?;
    let offered = summary.offered_rate.map_or_else(|| "closed loop: omits waiting".to_owned(), rate);
    writeln!(out, "| scheduled | ok | failed | unfinished | unsent | offered | achieved | verdict |")?;
    writeln!(out, "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")?;
    let verdict = if summary.verdict.trusted { "trusted" } else { "**not trusted**" };
    let cells = [counts.scheduled, counts.ok, counts.failed(), counts.unfinished, counts.unsent].map(count).join(" | ");
    writeln!(out, "| {cells} | {offered} | {} | {verdict} |\n", rate(summary.achieved_rate))?;

    latencies(summary, out)?;
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
        writeln!(out, "\n| request | scheduled | not ok | p50 | p99 |\n| --- | ---: | ---: | ---: | ---: |")?;
        for request in &summary.requests {
            let (all, times) = (request.counts.scheduled, &request.histograms.response);
            let [p50, p99] = [Percentile::P50, Percentile::P99].map(|p| quantile(times.percentile(p, all)));
            writeln!(
                out,
                "| `{}` | {} | {} | {p50} | {p99} |",
                cell(&request.name),
                count(all),
                count(request.counts.not_ok())
            )?;
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
            writeln!(out, "| `{}` | {} | {mark} |", cell(slo.expression.as_str()), slo_value(slo))?;
        }
    }
    let remarks: Vec<_> = summary.verdict.reasons.iter().chain(&summary.verdict.notes).collect();
    if !remarks.is_empty() {
        writeln!(out)?;
    }
    remarks.into_iter().try_for_each(|remark| writeln!(out, "- {remark}"))?;
    writeln!(out, "\n<sub>scalectl {}, seed {}</sub>", summary.setup.version, summary.setup.seed)
}

/// Response and service time with their intervals; in a closed loop they are the same.
fn latencies(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let (histograms, intervals) = (&summary.histograms, &summary.intervals);
    let all = [
        ("response", &histograms.response, &intervals.response_time_ns),
        ("service", &histograms.service, &intervals.service_time_ns),
    ];
    let shown = if summary.setup.is_closed_loop() { &all[..1] } else { &all[..] };
    let head: String = shown.iter().map(|(name, ..)| format!(" {name} | {}% interval |", LEVEL * 100.0)).collect();
    writeln!(out, "| latency |{head}\n| --- |{}", " ---: | ---: |".repeat(shown.len()))?;
    let mut row = |name: String, cells: Vec<String>| writeln!(out, "| {name} | {} |", cells.join(" | "));
    for p in Percentile::PRINTED {
        let cells = shown.iter().flat_map(|(_, times, intervals)| {
            [quantile(times.percentile(p, summary.counts.scheduled)), interval_or(intervals.percentile(p), "-")]
        });
        row(p.to_string(), cells.collect())?;
    }
    row(
        "max".to_owned(),
        shown.iter().flat_map(|(_, times, _)| [duration_or(times.max(), "-"), String::new()]).collect(),
    )?;
    let means = shown
        .iter()
        .flat_map(|(_, times, intervals)| [duration_or(times.mean(), "-"), interval_or(intervals.mean, "-")]);
    row("mean".to_owned(), means.collect())
}

/// A text within a cell and between backticks.
fn cell(text: &str) -> String {
    text.replace('`', "'").replace('|', "\\|")
}
