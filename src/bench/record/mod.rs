//! What was seen of one request ([`sample`]), what is counted of all ([`tally`]), and the distributions and series that hold
//! it: by its length, not by that of the run.

pub mod batches;
pub mod buckets;
pub mod distribution;
pub mod encoding;
pub mod laps;
pub mod sample;
pub mod series;
pub mod slices;
pub mod sparse;
pub mod spool;
pub mod tally;
