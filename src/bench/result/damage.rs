//! Results as they are read back: what holds of each that a run leaves behind is checked, so that whatever is made of one
//! (a report, a sum, a comparison) need not expect figures that contradict each other, nor more than a run can have.

use super::summary::{RequestHistograms, Summary};
use crate::bench::record::distribution::MOST;
use crate::bench::record::series::OpenSecond;
use crate::bench::record::tally::Counts;
use crate::bench::schedule::SECOND_NS;

/// The longest schedule, in nanoseconds: reports and comparisons look at each of its seconds.
const LONGEST_NS: u64 = 366 * 24 * 3600 * SECOND_NS;

/// Why a text is no result.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not of the form that results have.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
    /// No run leaves such figures behind.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

impl Summary {
    /// Reads a result from its JSON form.
    ///
    /// The histograms of its series are not looked into, which takes long: see [`Self::check_series`].
    ///
    /// # Errors
    ///
    /// It is not of that form, or its figures contradict each other.
    pub fn read(json: &str) -> Result<Self, ReadError> {
        let summary: Self = serde_json::from_str(json)?;
        summary.check().map_err(ReadError::Damaged)?;
        Ok(summary)
    }

    /// Looks into the histograms of the series.
    ///
    /// # Errors
    ///
    /// One of them is damaged.
    pub fn check_series(&self) -> Result<(), ReadError> {
        let damaged = |number: u64, why: String| ReadError::Damaged(format!("second {number} of its series: {why}"));
        self.series
            .iter()
            .try_for_each(|second| OpenSecond::try_from(second).map(drop).map_err(|why| damaged(second.second, why)))
    }

    fn check(&self) -> Result<(), String> {
        if self.duration_ns > LONGEST_NS {
            return Err(format!("a schedule of {} ns: more than a year", self.duration_ns));
        }
        if self.elapsed_ns < self.duration_ns {
            return Err(format!("it took {} ns, and its schedule {} ns", self.elapsed_ns, self.duration_ns));
        }
        if self.verdict.trusted != self.verdict.reasons.is_empty() {
            return Err("its verdict and the reasons for it do not agree".to_owned());
        }
        self.check_numbers()?;
        self.check_counts()?;
        self.check_seconds()?;
        self.check_batches()
    }

    /// Numbers that a sum of results adds up.
    fn check_numbers(&self) -> Result<(), String> {
        // So many requests in a nanosecond.
        let highest = MOST as f64 * SECOND_NS as f64;
        let rates = [
            ("rate", self.setup.rate),
            ("offered_rate", self.offered_rate),
            ("achieved_rate", Some(self.achieved_rate)),
        ];
        for (name, rate) in rates {
            if let Some(rate) = rate.filter(|rate| !(0.0..=highest).contains(rate)) {
                return Err(format!("{name} is {rate:e}"));
            }
        }
        let connections = &self.connections;
        let streams = connections.streams.unwrap_or_default();
        let generator = &self.generator;
        for (name, number) in [
            ("threads", self.setup.threads),
            ("connections.limit", connections.limit),
            ("connections.at_start", connections.at_start),
            ("connections.peak", connections.peak),
            ("connections.opened", connections.opened),
            ("connections.streams.peak", streams.peak),
            ("generator.unsent_while_free", generator.unsent_while_free),
            ("generator.out_of_descriptors", generator.out_of_descriptors),
            ("generator.out_of_ports", generator.out_of_ports),
            ("generator.not_opened", generator.not_opened),
        ] {
            bounded(name, number)?;
        }
        self.status.iter().try_for_each(|(status, number)| bounded(&format!("status.{status}"), *number))
    }

    fn check_counts(&self) -> Result<(), String> {
        let times = |of: &RequestHistograms| [of.response.count(), of.service.count()];
        let own = [self.histograms.response.count(), self.histograms.service.count()];
        counted("counts", &self.counts, own)?;
        for request in &self.requests {
            let name = format!("counts of the request \"{}\"", request.name);
            counted(&name, &request.counts, times(&request.histograms))?;
        }
        if let Some(warmup) = &self.warmup {
            counted("counts of the warm-up", &warmup.counts, times(&warmup.histograms))?;
            in_time(warmup.ok_in_time, &warmup.counts)?;
        }
        in_time(self.ok_in_time, &self.counts)?;
        let counts = &self.counts;
        let failed = counts.http_error + counts.network_error + counts.timeout;
        let of_a_kind = self.errors.iter().try_fold(0_u64, |sum, error| sum.checked_add(error.count));
        if of_a_kind.is_none_or(|sum| sum > failed) {
            return Err(format!("its errors are more than the {failed} requests that failed"));
        }
        let flows = &self.flows;
        for number in [flows.started, flows.completed, flows.broken, flows.unfinished] {
            bounded("flows", number)?;
        }
        if !flows.holds() {
            return Err(format!("{} flows were started, and others ended", flows.started));
        }
        Ok(())
    }

    fn check_seconds(&self) -> Result<(), String> {
        let mut finished = 0_u64;
        for (expected, second) in (0..).zip(&self.series) {
            if second.second != expected {
                return Err(format!("its series has second {} where {expected} would be", second.second));
            }
            if [second.response.count, second.service.count] != [second.ok; 2] {
                let times = second.response.count;
                return Err(format!(
                    "second {expected} of its series has {} ok, and {times} response times",
                    second.ok
                ));
            }
            for number in [second.ok, second.http_error, second.network_error, second.timeout] {
                finished = finished.saturating_add(number);
            }
            bounded(&format!("own_lag.count of second {expected}"), second.own_lag.count)?;
        }
        bounded("what finished in its series", finished)?;
        match self.series.last() {
            Some(last) if last.second > self.elapsed_ns / SECOND_NS => {
                Err(format!("its series has second {}, and it took {} ns", last.second, self.elapsed_ns))
            }
            _ => Ok(()),
        }
    }

    fn check_batches(&self) -> Result<(), String> {
        for (number, batch) in self.batches.as_slice().iter().enumerate() {
            bounded(&format!("what was scheduled in batch {number}"), batch.scheduled)?;
            let times = batch.response.count().max(batch.service.count());
            if times > batch.scheduled {
                return Err(format!("batch {number} has {} requests, and {times} times", batch.scheduled));
            }
        }
        Ok(())
    }
}

fn bounded(name: &str, number: u64) -> Result<(), String> {
    if number > MOST { Err(format!("{name} is {number}: more than any run has")) } else { Ok(()) }
}

fn in_time(ok_in_time: u64, counts: &Counts) -> Result<(), String> {
    let ok = counts.ok;
    if ok_in_time > ok { Err(format!("{ok_in_time} requests ended well in time, and {ok} in all")) } else { Ok(()) }
}

/// The counting identity, and as many times as requests that ended well.
fn counted(name: &str, counts: &Counts, [response, service]: [u64; 2]) -> Result<(), String> {
    let Counts { scheduled, sent, unsent, ok, http_error, network_error, timeout, .. } = *counts;
    let others = [counts.unfinished, counts.retries, counts.redirects, counts.wire[0], counts.wire[1]];
    let all = [scheduled, sent, unsent, ok, http_error, network_error, timeout, counts.protocol_warnings];
    all.into_iter().chain(others).try_for_each(|number| bounded(name, number))?;
    if !counts.holds() {
        return Err(format!("{name}: {scheduled} scheduled and {sent} sent, and they do not add up to that"));
    }
    if [response, service] != [ok; 2] {
        return Err(format!("{name}: {ok} ok, with {response} response times and {service} service times"));
    }
    Ok(())
}
