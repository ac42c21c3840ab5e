//! The sources that the targets look into, and what these need.

#![allow(dead_code, missing_docs)]

#[path = "../../../src/bench/mod.rs"]
pub mod bench;
#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/cli/bench/file/mod.rs"]
pub mod file;
#[path = "../../../src/report/mod.rs"]
pub mod report;
#[path = "../../../src/tls.rs"]
mod tls;
#[path = "../../../src/units.rs"]
pub mod units;
#[path = "../../../src/cli/bench/values.rs"]
pub mod values;
