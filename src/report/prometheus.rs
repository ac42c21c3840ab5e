//! Prometheus' text format (version 0.0.4), for a push gateway or a textfile collector. Times are in seconds.

use std::io::{self, Write};

use crate::bench::{Counts, Latency, Snapshot, Summary};

const RESPONSE: &str = "From when a request was due to the end of its answer";

/// Writes the totals of `summary`. A percentile without a value is left out.
///
/// # Errors
///
/// The writer fails.
pub fn prometheus(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let setup = &summary.setup;
    head(out, "run_info", "gauge", "How the run was made; arrivals of a closed loop omit waiting")?;
    writeln!(
        out,
        "scalectl_bench_run_info{{target=\"{}\",arrivals=\"{}\",seed=\"{}\",version=\"{}\"}} 1",
        label(&setup.target),
        setup.arrivals,
        setup.seed,
        label(&setup.version)
    )?;
    requests(out, &summary.counts)?;
    times(out, "response_time", RESPONSE, &summary.response_time_ns)?;
    if !setup.is_closed_loop() {
        times(out, "service_time", "From when a request was sent to the end of its answer", &summary.service_time_ns)?;
        times(out, "own_lag", "What the generator itself added", &summary.own_lag_ns)?;
    }
    if let Some(offered) = summary.offered_rate {
        gauge(out, "offered_rate", "Scheduled requests a second", offered)?;
    }
    gauge(out, "achieved_rate", "Requests a second that ended well in time", summary.achieved_rate)?;
    gauge(out, "trusted", "1 where the generator was not the limit", u8::from(summary.verdict.trusted).into())?;
    if !summary.slo.is_empty() {
        head(out, "slo_met", "gauge", "1 where an objective is met")?;
    }
    for slo in &summary.slo {
        let expression = label(slo.expression.as_str());
        writeln!(out, "scalectl_bench_slo_met{{objective=\"{expression}\"}} {}", u8::from(slo.ok))?;
    }
    Ok(())
}

/// Writes how a run stands. Its percentiles are of the requests that have ended, failures above all.
///
/// # Errors
///
/// The writer fails.
pub fn live(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    requests(out, &snapshot.counts)?;
    times(out, "response_time", RESPONSE, &Latency::of(&snapshot.response, snapshot.counts.sent))?;
    gauge(out, "in_flight", "Requests under way", snapshot.in_flight as f64)?;
    gauge(out, "elapsed_seconds", "Time since the start", snapshot.elapsed_ns as f64 / 1e9)
}

fn requests(out: &mut impl Write, counts: &Counts) -> io::Result<()> {
    head(out, "requests_total", "counter", "Scheduled requests, by how they ended")?;
    for (outcome, number) in [
        ("ok", counts.ok),
        ("http_error", counts.http_error),
        ("network_error", counts.network_error),
        ("timeout", counts.timeout),
        ("unfinished", counts.unfinished),
        ("unsent", counts.unsent),
    ] {
        writeln!(out, "scalectl_bench_requests_total{{outcome=\"{outcome}\"}} {number}")?;
    }
    Ok(())
}

/// A text as the value of a label.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn head(out: &mut impl Write, name: &str, kind: &str, help: &str) -> io::Result<()> {
    writeln!(out, "# HELP scalectl_bench_{name} {help}\n# TYPE scalectl_bench_{name} {kind}")
}

fn gauge(out: &mut impl Write, name: &str, help: &str, value: f64) -> io::Result<()> {
    head(out, name, "gauge", help)?;
    writeln!(out, "scalectl_bench_{name} {value}")
}

fn times(out: &mut impl Write, name: &str, help: &str, latency: &Latency) -> io::Result<()> {
    let name = format!("{name}_seconds");
    head(out, &name, "gauge", help)?;
    let quantiles = [
        ("0.5", latency.p50),
        ("0.75", latency.p75),
        ("0.9", latency.p90),
        ("0.95", latency.p95),
        ("0.99", latency.p99),
        ("0.999", latency.p999),
        ("0.9999", latency.p9999),
        ("1", latency.max),
    ];
    for (quantile, value) in quantiles {
        if let Some(ns) = value {
            writeln!(out, "scalectl_bench_{name}{{quantile=\"{quantile}\"}} {}", ns as f64 / 1e9)?;
        }
    }
    Ok(())
}
