//! The local engine: a stack as processes on this machine, for where there is no Docker.
//!
//! ```text
//! command ── plans ──▶ socket ──▶ supervisor ── owns ──▶ replicas, jobs, balancers
//! ```
//!
//! The command plans, the supervisor obeys. The supervisor is a detached process, one per project; it restarts what
//! crashes, checks readiness, and runs the built-in balancer. Replicas write their logs to files of their own, so that
//! a dead supervisor breaks no pipe.

mod client;
mod engine;
mod foreground;
mod leftovers;
mod logs;
mod places;
mod protocol;
mod sources;
mod spec;
mod supervisor;
mod usage;
mod volumes;

pub mod balancer;
pub mod environment;
pub mod probe;

pub use engine::Local;
pub use logs::Logs;
pub use places::Places;
pub use protocol::Process;
pub use spec::{Specs, specs};
pub use supervisor::supervise;
pub use usage::samples;
