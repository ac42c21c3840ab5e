//! The format of HdrHistogram's percentile plots: response times in milliseconds by percentile, five steps to each halving
//! of what is left (`outputPercentileDistribution` of the Java library).

use std::io::{self, Write};

use crate::bench::Summary;

/// Steps to each halving of the distance to 100%.
const TICKS: u32 = 5;
const NS_PER_MS: f64 = 1e6;

/// Writes the spectrum of `summary`'s response times. Percentiles are of all scheduled requests, so that the spectrum ends
/// before 100% where some did not end well.
///
/// # Errors
///
/// The writer fails.
pub fn hgrm(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let response = &summary.histograms.response;
    let population = summary.counts.scheduled;
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    for (value, total) in response.spectrum(TICKS) {
        let percentile = total as f64 / population as f64;
        let value = value as f64 / NS_PER_MS;
        match total < population {
            true => writeln!(out, "{value:>12.3} {percentile:>2.12} {total:>10} {:>14.2}", 1.0 / (1.0 - percentile))?,
            false => writeln!(out, "{value:>12.3} {percentile:>2.12} {total:>10}")?,
        }
    }
    let in_ms = |ns: Option<u64>| ns.unwrap_or(0) as f64 / NS_PER_MS;
    let deviation = response.deviation() / NS_PER_MS;
    writeln!(out, "#[Mean    = {:>12.3}, StdDeviation   = {deviation:>12.3}]", in_ms(response.mean()))?;
    writeln!(out, "#[Max     = {:>12.3}, Total count    = {:>12}]", in_ms(response.max()), response.count())?;
    let (buckets, sub_buckets) = response.buckets();
    writeln!(out, "#[Buckets = {buckets:>12}, SubBuckets     = {sub_buckets:>12}]")
}
