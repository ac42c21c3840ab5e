//! HdrHistogram's interval log, version 1.3: a line for each second and tag, which the official tools read.
//!
//! Tags are `response`, `service` and `lag`; a request is in the second in which it finished. Empty seconds have lines too,
//! and the last one covers the time in which answers were still awaited. The lines of a tag sum to its total.

use std::io::{self, Write};

use jiff::Timestamp;

use crate::bench::Summary;

const NS_PER_SECOND: f64 = 1e9;
const NS_PER_MS: f64 = 1e6;

/// Writes the one-second series of `summary`; the largest value of a line is in milliseconds, the histograms are in
/// nanoseconds.
///
/// # Errors
///
/// The writer fails.
pub fn hlog(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let start = summary.setup.start.unix_ns as f64 / NS_PER_SECOND;
    let date = Timestamp::from_nanosecond(i128::from(summary.setup.start.unix_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
    writeln!(out, "#[Logged with scalectl {}]", summary.setup.version)?;
    writeln!(out, "#[Histogram log format version 1.3]")?;
    writeln!(out, "#[StartTime: {start:.3} (seconds since epoch), {}]", date.strftime("%a %b %d %H:%M:%S UTC %Y"))?;
    writeln!(out, "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"")?;
    let end = summary.elapsed_ns as f64 / NS_PER_SECOND;
    for (i, second) in summary.series.iter().enumerate() {
        let begin = second.second as f64;
        let length = if i + 1 == summary.series.len() { (end - begin).max(1.0) } else { 1.0 };
        // In a closed loop nothing is due before it is sent.
        let lag = summary.setup.rate.map(|_| ("lag", &second.own_lag));
        for (tag, times) in [("response", &second.response), ("service", &second.service)].into_iter().chain(lag) {
            let max = times.max_ns.unwrap_or(0) as f64 / NS_PER_MS;
            writeln!(out, "Tag={tag},{begin:.3},{length:.3},{max:.3},{}", times.v2)?;
        }
    }
    Ok(())
}
