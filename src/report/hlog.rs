//! HdrHistogram's interval log, version 1.3: a line for each second and tag, which the official tools read.
//!
//! Tags are `response`, `service` and `lag`; a request is in the second in which it finished. Empty seconds have lines too,
//! and the last one covers the time in which answers were still awaited. The lines of a tag sum to its total.

use std::io::{self, Write};

use jiff::Timestamp;

use crate::bench::{Lap, Laps, Summary};

const NS_PER_SECOND: f64 = 1e9;
const NS_PER_MS: f64 = 1e6;

/// A log that grows.
#[derive(Debug)]
pub struct IntervalLog<W> {
    out: W,
    has_lag: bool,
}

impl<W: Write> IntervalLog<W> {
    /// Begins a log of a run that started `unix_ns` nanoseconds after the Unix epoch, written by this version. In a
    /// closed loop nothing is due before it is sent, so that there is no lag.
    ///
    /// # Errors
    ///
    /// The writer fails.
    pub fn begin(mut out: W, unix_ns: u64, version: &str, has_lag: bool) -> io::Result<Self> {
        let start = unix_ns as f64 / NS_PER_SECOND;
        let date = Timestamp::from_nanosecond(i128::from(unix_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
        writeln!(out, "#[Logged with scalectl {version}]")?;
        writeln!(out, "#[Histogram log format version 1.3]")?;
        writeln!(out, "#[StartTime: {start:.3} (seconds since epoch), {}]", date.strftime("%a %b %d %H:%M:%S UTC %Y"))?;
        writeln!(out, "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"")?;
        Ok(Self { out, has_lag })
    }

    /// Writes the lines of a lap, and sees to it that they can be read whatever happens next. The largest value of a
    /// line is in milliseconds, the histograms are in nanoseconds.
    ///
    /// # Errors
    ///
    /// The writer fails.
    pub fn write(&mut self, lap: &Lap) -> io::Result<()> {
        let from = lap.from_ns as f64 / NS_PER_SECOND;
        let length = lap.to_ns.saturating_sub(lap.from_ns) as f64 / NS_PER_SECOND;
        let finished = &lap.finished;
        let lag = self.has_lag.then_some(("lag", &finished.own_lag));
        for (tag, times) in [("response", &finished.response), ("service", &finished.service)].into_iter().chain(lag) {
            let max = times.max().unwrap_or(0) as f64 / NS_PER_MS;
            writeln!(self.out, "Tag={tag},{from:.3},{length:.3},{max:.3},{}", times.encode())?;
        }
        self.out.flush()
    }
}

/// Writes the one-second series of `summary`.
///
/// # Errors
///
/// The writer fails, or a histogram of the series cannot be read.
pub fn hlog(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let setup = &summary.setup;
    let mut log = IntervalLog::begin(out, setup.start.unix_ns, &setup.version, !setup.is_closed_loop())?;
    let mut written = Ok(());
    let mut write = |lap: &Lap| {
        if written.is_ok() {
            written = log.write(lap);
        }
    };
    Laps::of_series(&summary.series, summary.duration_ns, summary.elapsed_ns, &mut write)
        .map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))?;
    written
}
