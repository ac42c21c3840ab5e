//! scalectl: from an empty folder to a service that provably scales, with one binary.
//!
//! # Map of the code
//!
//! | module | what it holds | may use |
//! | --- | --- | --- |
//! | [`error`] | the failure that a person reads: what, where, why, what to do, exit code | |
//! | [`units`] | names, durations, percentages, sizes and rates as domain types | |
//! | [`tls`] | TLS that does not check who the peer is | |
//! | [`bench`] | the load generator: schedule, target, sample, recorder, summary | `tls` |
//! | [`report`] | a bench summary in, bytes of a format out | `bench` |
//! | [`backing`] | the catalog of backing services, one entry each, and what a stack makes of it | `stack` |
//! | [`stack`] | `scalectl.toml`: parse, overlay, interpolate, validate, schema | `backing`, `bench` (its request types) |
//! | [`scaffold`] | project templates: catalog, answers, rendering | |
//! | [`adopt`] | a compose file or a Dockerfile in, a stack file out | `stack`, `backing`, `scaffold` (secrets) |
//! | [`engine`] | desired and observed state, their diff, the plan and its execution; `engine::local` runs processes, `engine::docker` containers | `stack`, `backing`, `ports`, `tls` |
//! | [`ports`] | who holds a port of this machine | |
//! | [`doctor`] | what each command needs of this machine: probes, and checks decided from them | `ports`, `engine` (the Docker connection) |
//! | [`ui`] | progress and tables on stderr, from engine events and bench snapshots | `engine`, `bench`, `report` |
//! | [`cli`] | one file per verb: flags in, a domain call, a printer out | all; nobody uses it |
//!
//! Every module may use `error` and `units`. `tests/layers.rs` holds the sources against the table.
//!
//! The rule behind it: decide purely, act elsewhere. `stack`, `backing`, `engine::diff` and the types of
//! `bench` do no I/O; the executor and the transports hold no decisions.
#![deny(unsafe_code)]

pub mod adopt;
pub mod backing;
pub mod bench;
pub mod cli;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod ports;
pub mod report;
pub mod scaffold;
pub mod stack;
pub mod tls;
pub mod ui;
pub mod units;
