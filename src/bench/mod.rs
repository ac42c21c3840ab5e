//! The load generator: an open-loop schedule, real connections, honest figures.
//!
//! # Layout
//!
//! | folder | what it holds | may use |
//! | --- | --- | --- |
//! | `clock` | instants, and what they are read from | |
//! | `control` | what ends a run early, from another thread | `clock` |
//! | `schedule` | when to send: pure, tested without a network ([`Schedule`]); what an access log says of it ([`Recording`]) | `clock` |
//! | `target` | where to send it, and how that is reached ([`Target`], [`Reach`], [`Protocol`]) | |
//! | `record` | what was seen of one request ([`Sample`]), and what is counted of all ([`Tally`], [`Distribution`]) | `clock`, `schedule` |
//! | `request` | what to send, as it is written down ([`Workload`]) and compiled before the run ([`Mix`]) | `answer`, `clock`, `record`, `schedule`, `target`, `transport` |
//! | `answer` | what is expected of an answer ([`Answer`]) and taken from it; decompression, redirects | `record`, `request`, `target`, `transport` |
//! | `transport` | bytes to the target and back | `answer`, `clock`, `record`, `target` |
//! | `result` | what that comes to ([`Summary`]; of several, `merge`; read back, `damage`), whether the generator was the limit ([`Verdict`]), [`compare`] | `clock`, `record`, `schedule` |
//! | `worker` | one thread of a run: its arrivals, its connections, a request from its due time to its end | `answer`, `clock`, `control`, `record`, `request`, `result`, `schedule`, `transport` |
//! | `run` | what a run is asked to do ([`Config`]); its threads, what ends it early, what is seen of it on the way | all above |
//! | `capacity` | the highest rate that holds: where to look ([`search`]), and what a probe showed ([`find_max`]) | all above |
//! | `invariants` | what has to hold of any input; for tests and fuzzing only | all |
//!
//! `tests/layers.rs` holds the sources against the table.
//!
//! Instants are CLOCK_MONOTONIC in nanoseconds. Per request: `scheduled` (the schedule says), `ready` (due, and a
//! connection free for it), `started` (just before the action that begins it), `finished` (last byte read). Response
//! time = finished − scheduled, service time = finished − started, pool wait = ready − scheduled, own lag = started −
//! ready. Only own lag is the generator's fault.
//!
//! It depends on no other module of the crate but [`crate::units`] and [`crate::tls`].

mod answer;
mod capacity;
mod clock;
mod control;
#[cfg(any(test, fuzzing))]
pub mod invariants;
mod record;
mod request;
mod result;
mod run;
mod schedule;
mod target;
mod transport;
mod worker;

pub use answer::Answer;
pub use capacity::search;
pub use capacity::{Broken, Capacity, ERRORS, Probe, find_max};
pub use clock::{Start, Timestamps};
pub use control::Control;
pub use record::batches::{Batch, Batches, Span};
pub use record::distribution::{Distribution, Packed, Percentile, Quantile};
pub use record::laps::{Lap, Laps};
pub use record::sample::{Cause, Fault, FaultKind, Outcome, Phase, Sample, Side};
pub use record::series::{OpenSecond, Second};
pub use record::tally::{Counts, Distributions, ErrorCount, Evidence, FlowCounts, Tally};
pub use request::feed::FeedError;
pub use request::fields::Fields;
pub use request::headers::Headers;
pub use request::mix::{Ingredients, Mix, MixError};
pub use request::template::{GENERATORS, TemplateError};
pub use request::workload::{
    AssertSpec, CaptureSpec, FeedOrder, FeedSpec, FlowSpec, RequestSpec, StatusSet, Think, Workload, file_of_part,
};
pub use result::damage::ReadError;
pub use result::merge::MergeError;
pub use result::slo::{Measure, Slo, SloError, SloResult};
pub use result::summary::{Aborted, Connections, Latency, RequestSummary, Setup, Streams, Summary};
pub use result::verdict::{SelfWatch, Verdict};
pub use result::warmup::WarmUp;
pub use result::{compare, statistics};
pub use run::config::{Config, ConfigError};
pub use run::progress::{Observer, Snapshot, Started};
pub use run::trial::{Trial, try_out};
pub use run::{Error, run};
pub use schedule::pacing::Pacing;
pub use schedule::replay::{Recording, ReplayError, Speed};
pub use schedule::stage::{Arrangement, Process, Stage, StageError};
pub use schedule::{Arrival, Arrivals, Length, Schedule};
pub use target::protocol::Protocol;
pub use target::reach::{ConnectTo, Family, Reach, ReachError, Resolve, TlsSettings, TlsVersion};
pub use target::{Scheme, Target, TargetError};
pub use transport::Io;
