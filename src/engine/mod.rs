//! Engines: desired and observed state, their difference, the plan and its execution.

pub mod local;
pub mod source;
