//! The load generator: an open-loop schedule, real connections, honest figures.
//!
//! It depends on no other module of the crate but [`crate::units`].

mod workload;

pub use workload::{RequestSpec, Workload};
