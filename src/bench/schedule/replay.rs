//! The requests of an access log, compiled before the run: when each is due, and what it asks for.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead};
use std::str::FromStr;

use super::Length;
use super::SECOND_NS;
use super::log_line::{Format, Line, Skip, readable};
use crate::bench::clock::nanos;

/// How many times as fast as the log a replay is: 2 takes half the time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed(f64);

impl Default for Speed {
    fn default() -> Self {
        Self(1.0)
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let factor = text.trim_end_matches('x').parse().ok().filter(|f| (0.001..=1000.0).contains(f));
        factor.map(Self).ok_or_else(|| "speed is a factor from 0.001 to 1000, like 2 or 0.5".to_owned())
    }
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("line {line} cannot be read: {source}")]
    Unreadable {
        /// Which line, from 1.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// A line is not what the others are.
    #[error("line {line}: {why}")]
    Malformed {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// There is nothing to send.
    #[error("it holds no request that could be sent{}", if .0.is_empty() { String::new() } else { format!(": {}", .0) })]
    Nothing(Skipped),
    /// More than can be numbered.
    #[error("it holds more than 4294967295 different paths")]
    TooManyPaths,
}

/// The lines that are left out, by reason: how many, and the number of the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped(Vec<(Skip, u64, u64)>);

impl Skipped {
    fn add(&mut self, skip: Skip, line: u64) {
        match self.0.iter_mut().find(|(known, ..)| *known == skip) {
            Some((_, count, _)) => *count += 1,
            None => self.0.push((skip, 1, line)),
        }
    }

    /// Whether none were.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many were.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(_, count, _)| count).sum()
    }
}

/// `17 hold no HTTP request, the first in line 5`, and so on.
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Skip::ALL.iter().filter_map(|skip| self.0.iter().find(|(known, ..)| known == skip));
        for (position, (skip, count, first)) in found.enumerate() {
            let comma = if position > 0 { ", " } else { "" };
            let place = if *count == 1 { "in" } else { "the first in" };
            write!(f, "{comma}{count} {}, {place} line {first}", skip.why(*count))?;
        }
        Ok(())
    }
}

/// One request: 16 bytes, whatever it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    at_ns: u64,
    path: u32,
    method: u16,
}

/// A log as a schedule and what to send at each of its instants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    entries: Vec<Entry>,
    methods: Vec<String>,
    paths: Paths,
    duration_ns: u64,
    peak: u64,
    skipped: Skipped,
    is_shortened: bool,
}

/// Every path once, one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Paths {
    text: String,
    ends: Vec<usize>,
}

impl Paths {
    fn push(&mut self, path: &str) {
        self.text.push_str(path);
        self.ends.push(self.text.len());
    }

    fn get(&self, number: usize) -> &str {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[number]]
    }
}

/// A request with the time that the log has for it, before it has its place in the schedule.
struct Logged {
    ended_ns: i64,
    took_ns: u64,
    is_whole: bool,
    path: u32,
    method: u16,
}

impl Recording {
    /// Reads a log. Only GET and HEAD are taken from it unless it `is_unsafe`.
    ///
    /// The first request is due at once, and T lies a mean gap behind the last one.
    ///
    /// # Errors
    ///
    /// It cannot be read, a line is malformed, or nothing in it can be sent.
    pub fn read(log: impl BufRead, speed: Speed, is_unsafe: bool) -> Result<Self, ReplayError> {
        let mut logged = Vec::new();
        let mut methods: Vec<String> = Vec::new();
        let mut paths = Paths::default();
        let mut known: HashMap<String, u32> = HashMap::new();
        let mut skipped = Skipped::default();
        let cut = each_line(log, |line, number| {
            let Line { ended_ns, is_whole, took_ns, request } = line;
            let (method, path) = match request {
                Ok((method, _)) if !is_unsafe && method != "GET" && method != "HEAD" => {
                    skipped.add(Skip::Unsafe, number);
                    return Ok(());
                }
                Ok(request) => request,
                Err(skip) => {
                    skipped.add(skip, number);
                    return Ok(());
                }
            };
            let method = methods.iter().position(|m| *m == method).unwrap_or_else(|| {
                methods.push(method);
                methods.len() - 1
            });
            let Ok(method) = u16::try_from(method) else {
                skipped.add(Skip::NoRequest, number);
                return Ok(());
            };
            let path = match known.get(&path) {
                Some(path) => *path,
                None => {
                    let next = u32::try_from(known.len()).map_err(|_| ReplayError::TooManyPaths)?;
                    paths.push(&path);
                    known.insert(path, next);
                    next
                }
            };
            logged.push(Logged { ended_ns, took_ns, is_whole, path, method });
            Ok(())
        })?;
        cut.into_iter().for_each(|number| skipped.add(Skip::Cut, number));
        if logged.is_empty() {
            return Err(ReplayError::Nothing(skipped));
        }
        let entries = laid_out(logged, speed);
        let duration_ns = duration(&entries, speed);
        Ok(Self { peak: peak(&entries), entries, methods, paths, duration_ns, skipped, is_shortened: false })
    }

    /// The first part of it: what is due before this time is over, or so many requests; all of it where it is no longer.
    ///
    /// T is that time, or the instant at which the next request would be due.
    #[must_use]
    pub fn first(mut self, length: Length) -> Self {
        let all = self.entries.len();
        let (count, duration_ns) = match length {
            Length::Duration(span) => {
                let end = nanos(span.0).min(self.duration_ns);
                (self.entries.partition_point(|entry| entry.at_ns < end), end)
            }
            Length::Requests(count) => {
                let count = usize::try_from(count).map_or(all, |count| count.min(all));
                let (taken, behind) = self.entries.split_at(count);
                let last = taken.last().map_or(0, |entry| entry.at_ns);
                // T lies behind every request, so those of the last one's instant cannot tell it.
                let next = behind.iter().map(|entry| entry.at_ns).find(|at_ns| *at_ns > last);
                (count, next.unwrap_or(self.duration_ns))
            }
        };
        self.is_shortened |= count < all;
        self.duration_ns = duration_ns;
        if count < all {
            self.entries.truncate(count);
            self.entries.shrink_to_fit();
            self.peak = peak(&self.entries);
            self.forget_methods();
        }
        self
    }

    /// Leaves the methods out that no request has.
    fn forget_methods(&mut self) {
        let mut is_used = vec![false; self.methods.len()];
        self.entries.iter().for_each(|entry| is_used[usize::from(entry.method)] = true);
        let places: Vec<u16> = is_used
            .iter()
            .scan(0, |next, is_used| Some(std::mem::replace(next, *next + u16::from(*is_used))))
            .collect();
        self.entries.iter_mut().for_each(|entry| entry.method = places[usize::from(entry.method)]);
        let mut kept = is_used.into_iter();
        self.methods.retain(|_| kept.next().unwrap_or_default());
    }

    /// Whether it is the first part of a log only.
    pub fn is_shortened(&self) -> bool {
        self.is_shortened
    }

    /// How many requests.
    pub fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// T, in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.duration_ns
    }

    /// The most requests within a second.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// The methods that occur.
    pub fn methods(&self) -> &[String] {
        &self.methods
    }

    /// The lines of the whole log that are left out.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// When request `n` is due, in nanoseconds after the start; `None` behind the last one.
    pub fn at_ns(&self, n: u64) -> Option<u64> {
        self.entry(n).map(|entry| entry.at_ns)
    }

    /// The place of request `n`'s method among [`Self::methods`], and its path; `None` behind the last one.
    pub fn request(&self, n: u64) -> Option<(usize, &str)> {
        self.entry(n).map(|entry| (entry.method.into(), self.paths.get(entry.path as usize)))
    }

    /// The path of the first request of a method, by its place among [`Self::methods`].
    pub fn first_path(&self, method: usize) -> Option<&str> {
        let first = self.entries.iter().find(|entry| usize::from(entry.method) == method);
        first.map(|entry| self.paths.get(entry.path as usize))
    }

    fn entry(&self, n: u64) -> Option<&Entry> {
        usize::try_from(n).ok().and_then(|n| self.entries.get(n))
    }
}

/// Reads the lines, all in the format of the first. A log that was copied while it was written ends within a line: the
/// number of that one.
fn each_line(
    mut log: impl BufRead,
    mut take: impl FnMut(Line, u64) -> Result<(), ReplayError>,
) -> Result<Option<u64>, ReplayError> {
    let mut format = None;
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let read = log.read_until(b'\n', &mut bytes);
        match read.map_err(|source| ReplayError::Unreadable { line: number, source })? {
            0 => break,
            _ if bytes.trim_ascii().is_empty() => continue,
            _ => {}
        }
        let line = readable(bytes.trim_ascii());
        let is_first = format.is_none();
        let format = *format.get_or_insert_with(|| Format::of(&line));
        match format.read(&line) {
            Ok(line) => take(line, number)?,
            Err(_) if !is_first && !bytes.ends_with(b"\n") => return Ok(Some(number)),
            Err(why) => return Err(ReplayError::Malformed { line: number, why }),
        }
    }
    Ok(None)
}

/// Gives every request its instant: spread evenly where only the second is known, less the time it took, from the first
/// one on.
fn laid_out(mut logged: Vec<Logged>, speed: Speed) -> Vec<Entry> {
    logged.sort_by_key(|l| l.ended_ns);
    let mut begun: Vec<(i64, u32, u16)> = Vec::with_capacity(logged.len());
    for second in logged.chunk_by(|a, b| a.ended_ns == b.ended_ns) {
        let unknown = second.iter().filter(|l| l.is_whole).count().max(1) as i64;
        let mut place = 0;
        for request in second {
            let within = if request.is_whole { place * SECOND_NS as i64 / unknown } else { 0 };
            place += i64::from(request.is_whole);
            let began = request.ended_ns.saturating_add(within).saturating_sub_unsigned(request.took_ns);
            begun.push((began, request.path, request.method));
        }
    }
    begun.sort_by_key(|(began, ..)| *began);
    let first = begun.first().map_or(0, |(began, ..)| *began);
    let after = |began: i64| (began.abs_diff(first) as f64 / speed.0).round() as u64;
    begun.into_iter().map(|(began, path, method)| Entry { at_ns: after(began), path, method }).collect()
}

/// The time from the first to the last, and a mean gap; of a single instant a second of the log.
fn duration(entries: &[Entry], speed: Speed) -> u64 {
    let last = entries.last().map_or(0, |entry| entry.at_ns);
    let gap = match last {
        0 => (SECOND_NS as f64 / speed.0) as u64,
        last => last.div_ceil(entries.len() as u64 - 1),
    };
    last.saturating_add(gap.max(1))
}

fn peak(entries: &[Entry]) -> u64 {
    let within = |second: &[Entry]| second.len() as u64;
    entries.chunk_by(|a, b| a.at_ns / SECOND_NS == b.at_ns / SECOND_NS).map(within).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: u32, request: &str, took: &str) -> String {
        format!("h - - [10/Oct/2000:13:55:{second:02} +0000] \"{request}\" 200 1 \"-\" \"-\" {took}\n")
    }

    fn read(log: &str, speed: &str, is_unsafe: bool) -> Result<Recording, ReplayError> {
        Recording::read(log.as_bytes(), speed.parse().unwrap(), is_unsafe)
    }

    fn instants(recording: &Recording) -> Vec<u64> {
        (0..recording.count()).map(|n| recording.at_ns(n).unwrap() / 1_000_000).collect()
    }

    #[test]
    fn whole_seconds_are_spread_evenly_and_the_request_time_is_subtracted() {
        let get = "GET / HTTP/1.1";
        let log: String = [0, 0, 0, 0, 1, 1, 3].map(|second| line(second, get, "")).concat();
        let recording = read(&log, "1", false).unwrap();
        assert_eq!(instants(&recording), [0, 250, 500, 750, 1000, 1500, 3000]);
        assert_eq!((recording.duration_ns(), recording.peak()), (3_500_000_000, 4));
        let faster = read(&log, "2", false).unwrap();
        assert_eq!(instants(&faster), [0, 125, 250, 375, 500, 750, 1500]);
        assert_eq!(faster.duration_ns(), 1_750_000_000);
        // Logged at 1.0 and 1.5 s after the first: begun 0.9 s before and 0.1 s before that.
        let slow =
            format!("{}{}{}", line(0, get, "0.000"), line(1, "GET /slow HTTP/1.1", "0.900"), line(1, get, "0.100"));
        let recording = read(&slow, "1", false).unwrap();
        assert_eq!(instants(&recording), [0, 100, 1400]);
        assert_eq!(recording.request(1), Some((0, "/slow")));
        assert_eq!(recording.request(3), None);
    }

    #[test]
    fn the_first_part_ends_where_it_was_told_to() {
        let log: String = [0, 0, 0, 0, 1, 1, 3].map(|second| line(second, "GET / HTTP/1.1", "")).concat();
        let duration = |text: &str| Length::Duration(text.parse().unwrap());
        for (speed, length, count, duration_ms) in [
            ("1", duration("1s"), 4, 1000),
            ("1", duration("1001ms"), 5, 1001),
            ("1", duration("3200ms"), 7, 3200),
            ("1", duration("1h"), 7, 3500),
            ("2", duration("1s"), 6, 1000),
            ("1", Length::Requests(1), 1, 250),
            ("1", Length::Requests(4), 4, 1000),
            ("2", Length::Requests(6), 6, 1500),
            ("1", Length::Requests(7), 7, 3500),
            ("1", Length::Requests(u64::MAX), 7, 3500),
        ] {
            let whole = read(&log, speed, false).unwrap();
            let part = whole.clone().first(length);
            assert_eq!((part.count(), part.duration_ns()), (count, duration_ms * 1_000_000), "{length:?} at {speed}");
            assert_eq!(part.is_shortened(), count < 7, "{length:?} at {speed}");
            assert_eq!(instants(&part), instants(&whole)[..count as usize]);
            assert_eq!((part.at_ns(count), part.request(count)), (None, None));
        }
        assert_eq!(read(&log, "1", false).unwrap().first(Length::Requests(3)).peak(), 3);
        // Several at the instant of the last one that is taken.
        let at = |ms: &str| format!("{{\"msec\":9.{ms},\"method\":\"GET\",\"uri\":\"/\"}}\n");
        let log = ["000", "000", "000", "040"].map(at).concat();
        for (count, duration_ms) in [(1, 40), (2, 40), (3, 40)] {
            let part = read(&log, "1", false).unwrap().first(Length::Requests(count));
            assert_eq!((part.count(), part.duration_ns().div_ceil(1_000_000)), (count, duration_ms));
        }
    }

    #[test]
    fn a_first_part_has_the_methods_of_its_requests() {
        let log = ["GET /a", "POST /b", "PUT /c", "POST /d"].map(|r| line(0, &format!("{r} HTTP/1.1"), "")).concat();
        let part = |count| read(&log, "1", true).unwrap().first(Length::Requests(count));
        assert_eq!([1, 2, 3, 4].map(|count| part(count).methods().len()), [1, 2, 3, 3]);
        // What begins first is not what was logged first.
        let slow = line(0, "GET /fast HTTP/1.1", "0.000") + &line(1, "PUT /slow HTTP/1.1", "5.000");
        let part = read(&slow, "1", true).unwrap().first(Length::Requests(1));
        assert_eq!((part.methods(), part.request(0)), (&["PUT".to_owned()][..], Some((0, "/slow"))));
    }

    #[test]
    fn what_may_change_something_is_only_sent_on_demand_and_every_skip_is_told() {
        let log =
            ["GET /a HTTP/1.1", "POST /b HTTP/1.1", "-", "HEAD /a HTTP/1.1", "DELETE /c HTTP/1.1", "GET x HTTP/1.1"]
                .map(|request| line(0, request, ""))
                .concat();
        let recording = read(&log, "1", false).unwrap();
        assert_eq!((recording.count(), recording.methods()), (2, &["GET".to_owned(), "HEAD".to_owned()][..]));
        assert_eq!([recording.request(0), recording.request(1)], [Some((0, "/a")), Some((1, "/a"))]);
        assert_eq!(recording.skipped().count(), 4);
        assert_eq!(
            recording.skipped().to_string(),
            "2 are neither GET nor HEAD (--replay-unsafe sends them), the first in line 2, 1 holds no HTTP request, in \
             line 3, 1 has a path that cannot be sent, in line 6"
        );
        let all = read(&log, "1", true).unwrap();
        assert_eq!(all.count(), 4);
        assert_eq!(all.request(3), Some((3, "/c")));
    }

    #[test]
    fn a_last_line_that_is_cut_off_is_left_out() {
        let good = line(0, "GET / HTTP/1.1", "");
        for cut in ["127.0.0.1 - - [10/Oct/2000:13:55:36", "127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] \"GET /lo"] {
            let recording = read(&format!("{good}{good}{cut}"), "1", false).unwrap();
            assert_eq!(recording.count(), 2);
            assert_eq!(recording.skipped().to_string(), "1 is cut off by the end of the log, in line 3");
            // It alone is no log, and in the middle it is an error.
            assert!(read(cut, "1", false).is_err());
            assert!(read(&format!("{good}{cut}\n{good}"), "1", false).is_err());
        }
    }

    #[test]
    fn a_log_that_cannot_be_replayed_says_why_and_where() {
        let good = line(0, "GET / HTTP/1.1", "");
        for (log, said) in [
            (String::new(), "it holds no request that could be sent"),
            (line(0, "POST / HTTP/1.1", ""), "could be sent: 1 is neither GET nor HEAD"),
            (format!("{good}\n{good}oops\n{good}"), "line 4: it is neither in the common nor in the combined format"),
            (format!("{{\"ts\": 1}}\n{good}"), "line 2: it is not a JSON object as the first line is"),
        ] {
            let error = read(&log, "1", false).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        for speed in ["0", "-1", "fast", "nan"] {
            assert!(speed.parse::<Speed>().unwrap_err().contains("like 2 or 0.5"), "{speed}");
        }
    }

    #[test]
    fn a_request_takes_sixteen_bytes() {
        assert_eq!(size_of::<Entry>(), 16);
    }
}
