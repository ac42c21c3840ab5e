//! The load generator: an open-loop schedule, real connections, honest figures.
//!
//! # Layout
//!
//! | what | where |
//! | --- | --- |
//! | when to send: pure, tested without a network | [`Schedule`] |
//! | what to send, compiled before the run | [`Workload`], [`Mix`], `kind`, `content`, `template`, `feed` |
//! | what is expected of an answer, and taken from it | `check`, `answer`, `visit` |
//! | what a run is asked to do | [`Config`], [`Target`], [`Reach`], [`Slo`] |
//! | doing it: threads, arrivals, connections, one request | `run`, `worker`, `pool`, `flight`, `flows` |
//! | bytes to the target and back | `transport` |
//! | what was seen of one request, and what is counted of all | [`Sample`], [`Tally`], [`WarmUp`], [`Distribution`], `buckets`, `series` |
//! | whether the generator itself was the limit | [`Verdict`] |
//! | the result | [`Summary`] |
//! | whether the difference of results is real | [`compare`] |
//! | the highest rate that holds: where to look, and what a probe showed | [`search`], [`find_max`] |
//! | what has to hold of any input; for tests and fuzzing only | `invariants` |
//!
//! Instants are CLOCK_MONOTONIC in nanoseconds. Per request: `scheduled` (the schedule says), `ready` (due, and a
//! connection free for it), `started` (just before the action that begins it), `finished` (last byte read). Response
//! time = finished − scheduled, service time = finished − started, pool wait = ready − scheduled, own lag = started −
//! ready. Only own lag is the generator's fault.
//!
//! It depends on no other module of the crate but [`crate::units`] and [`crate::tls`].

mod answer;
mod batches;
mod buckets;
mod capacity;
mod check;
mod clock;
pub mod compare;
mod config;
mod content;
mod control;
mod distribution;
mod effort;
mod encoding;
mod feed;
mod flight;
mod flows;
mod guard;
mod host;
#[cfg(any(test, fuzzing))]
pub mod invariants;
mod kind;
mod laps;
mod log_line;
mod mix;
mod pool;
mod progress;
mod protocol;
mod reach;
mod recorder;
mod redirect;
mod replay;
mod run;
mod sample;
mod schedule;
pub mod search;
mod series;
mod slices;
mod slo;
mod sparse;
mod spool;
mod stage;
pub mod statistics;
mod summary;
mod tally;
mod target;
mod template;
mod transport;
mod trial;
mod unpack;
mod verdict;
mod visit;
mod warmup;
mod worker;
mod workload;

pub use answer::Answer;
pub use batches::{Batch, Batches, Span};
pub use capacity::{Broken, Capacity, ERRORS, Probe, find_max};
pub use clock::{Start, Timestamps};
pub use config::{Config, ConfigError, Io, Length, Pacing};
pub use control::Control;
pub use distribution::{Distribution, Packed, Percentile, Quantile};
pub use feed::FeedError;
pub use flows::FlowCounts;
pub use guard::Aborted;
pub use laps::{Lap, Laps};
pub use mix::{Ingredients, Mix, MixError};
pub use progress::{Observer, Snapshot, Started};
pub use protocol::Protocol;
pub use reach::{ConnectTo, Family, Reach, ReachError, Resolve, TlsSettings, TlsVersion};
pub use replay::{Recording, ReplayError, Speed};
pub use run::{Error, run};
pub use sample::{Cause, Fault, FaultKind, Outcome, Phase, Sample, Side};
pub use schedule::{Arrival, Arrivals, Schedule};
pub use series::{OpenSecond, Second};
pub use slo::{Measure, Slo, SloError, SloResult};
pub use stage::{Process, Stage, StageError};
pub use summary::{Connections, Latency, MergeError, RequestSummary, Setup, Streams, Summary};
pub use tally::{Counts, Distributions, ErrorCount, Evidence, Tally};
pub use target::{Scheme, Target, TargetError};
pub use template::{GENERATORS, TemplateError};
pub use trial::{Trial, try_out};
pub use verdict::{SelfWatch, Verdict};
pub use warmup::WarmUp;
pub use workload::{AssertSpec, CaptureSpec, FeedOrder, FeedSpec, FlowSpec, RequestSpec, StatusSet, Think, Workload};
