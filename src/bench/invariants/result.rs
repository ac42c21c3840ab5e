//! Results as files have them, damaged or made by hand: refused with a reason, or what is made of one adds up.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::bench::clock::{Start, Timestamps};
use crate::bench::record::batches::Batches;
use crate::bench::record::distribution::Distribution;
use crate::bench::record::sample::{Cause, Fault, Outcome, Phase, Sample, Side};
use crate::bench::record::series::{OpenSecond, Series, second_of};
use crate::bench::record::tally::FlowCounts;
use crate::bench::record::tally::Tally;
use crate::bench::result::compare::{Change, Comparison, Finding};
use crate::bench::result::summary::{Connections, Parts, Setup, Streams, Summary};
use crate::bench::result::verdict::{SelfWatch, Verdict};
use crate::bench::result::warmup::WarmUp;
use crate::bench::schedule::stage::Arrangement;

const MS: u64 = 1_000_000;
const SECOND_NS: u64 = 1000 * MS;
/// The longest schedule that is looked at second by second, in nanoseconds.
const LONG_NS: u64 = 24 * 3600 * SECOND_NS;

/// The text of a result: the bytes themselves, if they begin as JSON does; or a sound one, changed as they say.
pub fn text(bytes: &[u8]) -> String {
    if bytes.first() == Some(&b'{') {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut result = SOUND_JSON.clone();
    let mut bytes = Bytes(bytes);
    while !bytes.0.is_empty() {
        change(&mut result, &mut bytes);
    }
    result.to_string()
}

/// Reads a result, sums and compares it; `None` if it is refused.
///
/// # Panics
///
/// It is another one once it was written again, what comes of two is not what both are, or it differs from itself.
pub fn result(text: &str) -> Option<Summary> {
    let result = match Summary::read(text) {
        Ok(result) => result,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return None;
        }
    };
    let written = serde_json::to_string(&result).unwrap_or_default();
    let again = Summary::read(&written).unwrap_or_else(|error| panic!("refused once it was written: {error}"));
    assert_eq!((again.counts, &again.histograms), (result.counts, &result.histograms));
    assert_eq!((&again.series, &again.batches, &again.requests), (&result.series, &result.batches, &result.requests));
    let is_whole = result.check_series().is_ok();
    let mut other = result.clone();
    other.setup.start.monotonic_ns = other.setup.start.monotonic_ns.wrapping_add(1);
    other.setup.start.unix_ns = other.setup.start.unix_ns.wrapping_add(1);
    match Summary::merge(&[result.clone(), other]) {
        Ok(both) => adds_up(&both, &result),
        Err(error) => assert!(!is_whole && !error.to_string().is_empty(), "{error}"),
    }
    let sound = sound();
    if let Ok(both) = Summary::merge(&[sound.clone(), result.clone()]) {
        assert!(both.counts.holds() && both.flows.holds(), "{:?}, {:?}", both.counts, both.flows);
    }
    if result.duration_ns <= LONG_NS {
        let itself = std::slice::from_ref(&result);
        let alike = compared(itself, itself);
        assert!(!alike.is_difference(), "a result differs from itself: {alike:?}");
        compared(itself, std::slice::from_ref(sound));
        compared(&[sound.clone(), result.clone()], itself);
    }
    is_whole.then_some(result)
}

fn adds_up(both: &Summary, one: &Summary) {
    assert!(both.counts.holds() && both.flows.holds(), "{:?}, {:?}", both.counts, both.flows);
    let ok = |result: &Summary| {
        let seconds = result.series.iter().map(|second| second.ok).sum::<u64>();
        let batches = result.batches.as_slice().iter();
        let (scheduled, times) = batches.fold((0, 0), |sum, b| (sum.0 + b.scheduled, sum.1 + b.response.count()));
        [result.counts.ok, result.histograms.response.count(), result.counts.scheduled, seconds, scheduled, times]
    };
    assert_eq!(ok(both), ok(one).map(|number| 2 * number));
    assert_eq!(both.series.len(), one.series.len());
}

/// Compares, and looks at what that says.
fn compared(before: &[Summary], after: &[Summary]) -> Comparison {
    let comparison = Comparison::of(before, after, 0.01);
    for change in &comparison.changes {
        let Change { change: value, low, high, finding, refused, .. } = change;
        assert_eq!(*finding == Finding::Unknown, refused.is_some(), "{change:?}");
        assert!(
            [change.before, change.after, *value, *low, *high].iter().flatten().all(|v| v.is_finite()),
            "{change:?}"
        );
        let is_between = value.is_none_or(|v| low.is_none_or(|low| low <= v) && high.is_none_or(|high| v <= high));
        assert!(is_between, "{change:?}");
    }
    comparison
}

/// What bytes say, to their end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    /// The next one, 0 behind the last.
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// The next ones, the lowest first.
    fn number(&mut self, bytes: u32) -> u64 {
        (0..bytes).fold(0, |number, place| number | u64::from(self.next()) << (8 * place))
    }

    /// So many as the next one says.
    fn some(&mut self) -> Vec<u8> {
        (0..self.next()).map(|_| self.next()).collect()
    }

    /// A number of any magnitude.
    fn magnitude(&mut self) -> u64 {
        let bits = u32::from(self.next());
        self.number(8) >> (bits % 64)
    }
}

/// Makes one change.
fn change(result: &mut Value, bytes: &mut Bytes<'_>) {
    let kind = bytes.next() % 16;
    let mut places = Vec::new();
    walk(result, String::new(), &mut places);
    let place = places[bytes.number(2) as usize % places.len()].clone();
    let value = match kind {
        0 => bytes.number(8).into(),
        1 => bytes.next().into(),
        2 => bytes.magnitude().into(),
        3 => json!(f64::from_bits(bytes.number(8))),
        4 => json!(-f64::from(bytes.next())),
        5 => String::from_utf8_lossy(&bytes.some()).into(),
        6 => Value::Null,
        7 => result.pointer(&places[bytes.number(2) as usize % places.len()]).cloned().unwrap_or_default(),
        8 => serde_json::to_value(times(bytes)).unwrap_or_default(),
        9 => plain(&bytes.some()).into(),
        10 => return remove(result, &place),
        11 => return repeat(result, &place),
        12 => return fail(result, bytes.magnitude()),
        13 => return last(result, u64::from(bytes.next() % 32)),
        14 => return duration(result, bytes.magnitude()),
        _ => return end_well(result, &times(bytes)),
    };
    if let Some(found) = result.pointer_mut(&place) {
        *found = value;
    }
}

/// The pointers of all values in a value.
fn walk(value: &Value, here: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| walk(value, format!("{here}/{name}"), places)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(place, value)| walk(value, format!("{here}/{place}"), places));
        }
        _ => {}
    }
    places.push(here);
}

/// A distribution of a few durations.
fn times(bytes: &mut Bytes<'_>) -> Distribution {
    let mut times = Distribution::default();
    for _ in 0..bytes.next() % 16 {
        let (ns, number) = (bytes.magnitude(), u32::from(bytes.next()));
        (0..=number % 4).for_each(|_| times.record(ns));
    }
    times
}

/// A histogram of format V2 with these bytes as its counts.
fn plain(counts: &[u8]) -> String {
    use base64::Engine as _;
    let head = [0x1c84_9313, counts.len() as u32, 0, 3].map(u32::to_be_bytes).concat();
    let bounds = [1_000, 3_600_000_000_000, 1.0_f64.to_bits()].map(u64::to_be_bytes).concat();
    base64::engine::general_purpose::STANDARD.encode([&head, &bounds, counts].concat())
}

fn parent(place: &str) -> (&str, &str) {
    place.rsplit_once('/').unwrap_or_default()
}

fn remove(result: &mut Value, place: &str) {
    let (parent, name) = parent(place);
    match result.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.shift_remove(name)),
        Some(Value::Array(items)) => drop(name.parse().ok().filter(|n| *n < items.len()).map(|n| items.remove(n))),
        _ => {}
    }
}

/// Puts an item of a list at its end once more.
fn repeat(result: &mut Value, place: &str) {
    let found = result.pointer(place).cloned();
    if let (Some(Value::Array(items)), Some(found)) = (result.pointer_mut(parent(place).0), found) {
        items.push(found);
    }
}

fn fields<'a>(result: &'a mut Value, place: &str) -> Option<&'a mut Map<String, Value>> {
    result.pointer_mut(place)?.as_object_mut()
}

/// So many more requests that were scheduled and timed out.
fn fail(result: &mut Value, number: u64) {
    let Some(counts) = fields(result, "/counts") else { return };
    for name in ["scheduled", "sent", "timeout"] {
        let sum = counts.get(name).and_then(Value::as_u64).unwrap_or_default().saturating_add(number);
        counts.insert(name.to_owned(), sum.into());
    }
}

/// Other times, and as many requests that ended well.
fn end_well(result: &mut Value, times: &Distribution) {
    if let Some(histograms) = fields(result, "/histograms") {
        for name in ["response", "service"] {
            histograms.insert(name.to_owned(), serde_json::to_value(times).unwrap_or_default());
        }
    }
    let Some(counts) = fields(result, "/counts") else { return };
    let number = |counts: &Map<String, Value>, name: &str| counts.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (before, ok) = (number(counts, "ok"), times.count());
    for name in ["scheduled", "sent", "ok"] {
        let changed = number(counts, name).saturating_sub(before).saturating_add(ok);
        counts.insert(name.to_owned(), changed.into());
    }
    result["ok_in_time"] = 0.into();
}

/// A schedule of this length, and no answer after it.
fn duration(result: &mut Value, ns: u64) {
    let Some(fields) = fields(result, "") else { return };
    for name in ["duration_ns", "elapsed_ns"] {
        fields.insert(name.to_owned(), ns.into());
    }
}

/// The last second so many times again.
fn last(result: &mut Value, times: u64) {
    let Some(Value::Array(series)) = result.pointer_mut("/series") else { return };
    for _ in 0..times {
        let (number, Some(mut last)) = (series.len(), series.last().cloned()) else { return };
        if let Some(last) = last.as_object_mut() {
            last.insert("second".to_owned(), number.into());
        }
        series.push(last);
    }
    let ns = (series.len() as u64).saturating_mul(SECOND_NS);
    duration(result, ns);
}

static SOUND: LazyLock<Summary> = LazyLock::new(make);
static SOUND_JSON: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(sound()).unwrap_or_default());

/// A result of all that there can be in one, of a run of two and a half seconds.
pub fn sound() -> &'static Summary {
    &SOUND
}

fn make() -> Summary {
    let duration_ns = 2 * SECOND_NS + 500 * MS;
    let names = ["first".to_owned(), "second".to_owned()];
    let (mut tally, mut warm, mut series) = (Tally::new(&names), Tally::new(&names), Series::default());
    tally.batches = Batches::for_duration(duration_ns);
    for n in 0..50 {
        let sample = sample(n);
        if n % 10 == 9 {
            tally.unsent(sample.kind);
            tally.batches.unsent(sample.scheduled);
            continue;
        }
        tally.record(&sample, duration_ns);
        tally.batches.record(&sample);
        warm.record_of_all(&sample, duration_ns);
        let mut second = OpenSecond::new(second_of(sample.finished));
        second.record(&sample);
        series.add(&second);
    }
    tally.flows = FlowCounts { started: 9, completed: 6, broken: 2, unfinished: 1 };
    tally.bodies = [1000, 3000];
    let slos = ["p50<50ms", "errors<0.1%", "rate>=9900", "max<1s"].map(str::parse::<crate::bench::Slo>);
    let measured = crate::bench::result::slo::Measured {
        response: &tally.distributions.response,
        scheduled: tally.counts.scheduled,
        achieved_rate: crate::bench::result::summary::achieved_rate(&tally, duration_ns),
    };
    let slo = slos.into_iter().flatten().map(|slo| slo.evaluate(measured)).collect();
    let streams = Some(Streams { per_connection: 10, allowed: Some(5), peak: 7 });
    Summary::new(Parts {
        setup: setup(),
        duration_ns,
        tally,
        warmup: Some(WarmUp::of(&warm, SECOND_NS)),
        series: series.finish(duration_ns),
        slo,
        verdict: Verdict::new(vec!["a reason".to_owned()], vec!["a note".to_owned()]),
        generator: SelfWatch::default(),
        connections: Connections { limit: 16, at_start: 8, peak: 9, opened: 12, streams },
    })
}

fn setup() -> Setup {
    Setup {
        target: "http://127.0.0.1:1/".to_owned(),
        version: "0.1.0".to_owned(),
        rate: Some(20.0),
        arrivals: Arrangement::Constant,
        stages: "20rps:2500ms".parse().into_iter().collect(),
        merged: Vec::new(),
        replay_shortened: false,
        pacing: "exact".to_owned(),
        seed: 1,
        threads: 1,
        protocol: "HTTP/2".to_owned(),
        io: "epoll".to_owned(),
        timestamps: Timestamps::Process,
        timeout_ns: 10 * SECOND_NS,
        grace_ns: SECOND_NS,
        start: Start { unix_ns: 1_700_000_000 * SECOND_NS, monotonic_ns: 1 },
        dns_ns: Some(MS),
        aborted: None,
        interrupted: true,
    }
}

/// Request `n`: the seventh fails, and the others end well.
fn sample(n: u64) -> Sample {
    let scheduled = n * 50 * MS;
    let fault = || Fault::new(Phase::Head, Cause::Status, Side::Server, "status 503");
    Sample {
        n,
        kind: (n % 2) as usize,
        scheduled,
        ready: scheduled + n % 3 * 1000,
        started: scheduled + n % 3 * 1000 + 5000,
        first_byte: scheduled + 2 * MS,
        finished: scheduled + 3 * MS + n * 7919 % 13 * MS,
        outcome: if n % 10 == 7 { Outcome::HttpError(fault()) } else { Outcome::Ok },
        status: Some(if n % 10 == 7 { 503 } else { 200 }),
        retries: n % 2,
        redirects: n % 2,
        bodies: (10, 30),
        wire: (1, 1),
        bytes: (100, 50),
    }
}
