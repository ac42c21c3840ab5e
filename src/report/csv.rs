//! The CSV format: a row for each second of the run, by when requests finished. Times are whole nanoseconds. A percentile
//! ranks all that ended in its second, failures above all that ended well; it is empty where it lies among them, and
//! where they are too few for it. A closed loop has no lag.

use std::io::{self, Write};

use crate::bench::{Distribution, Packed, Percentile, Summary};

const HEAD: &str = "second,ok,http_error,network_error,timeout,\
response_p50_ns,response_p90_ns,response_p99_ns,response_max_ns,\
service_p50_ns,service_p90_ns,service_p99_ns,service_max_ns,own_lag_p99_ns,own_lag_max_ns";

/// Writes the one-second series of `summary`.
///
/// # Errors
///
/// The writer fails, or a histogram of the series cannot be read.
pub fn csv(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{HEAD}")?;
    for second in &summary.series {
        let mut row = vec![second.second, second.ok, second.http_error, second.network_error, second.timeout]
            .into_iter()
            .map(Some)
            .collect::<Vec<_>>();
        for times in [&second.response, &second.service] {
            let distribution = unpacked(times)?;
            let of_all = |p| distribution.percentile(p, second.ended()).value();
            row.extend([Percentile::P50, Percentile::P90, Percentile::P99].map(of_all));
            row.push(times.max_ns);
        }
        let lag = unpacked(&second.own_lag)?;
        let lags = [lag.percentile(Percentile::P99, lag.count()).value(), second.own_lag.max_ns];
        row.extend(if summary.setup.is_closed_loop() { [None; 2] } else { lags });
        let cells: Vec<_> = row.iter().map(|cell| cell.map(|number| number.to_string()).unwrap_or_default()).collect();
        writeln!(out, "{}", cells.join(","))?;
    }
    Ok(())
}

/// A distribution of the series.
pub(super) fn unpacked(packed: &Packed) -> io::Result<Distribution> {
    Distribution::try_from(packed).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))
}
