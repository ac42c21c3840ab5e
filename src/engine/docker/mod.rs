//! The Docker engine: a stack as containers, through the API of Docker or of what speaks it (Podman).
//!
//! ```text
//! Stack → spec (pure) → plan → engine ── connect, pull, build, files, containers, balancer ──▶ API
//!                                └─ observe ◀── labels, states, readiness ──────────────────────┘
//! ```
//!
//! Between commands nobody of ours runs: restart policies heal, the balancer leaves out what does not answer.

mod containers;
mod ends;
mod engine;
mod fail;
mod files;
mod images;
mod login;
mod logs;
mod observe;
mod preflight;
mod readiness;
mod terminal;
mod usage;

pub mod balancer;
pub mod build;
pub mod client_config;
pub mod compose;
pub mod connect;
pub mod labels;
pub mod pull;
pub mod reference;
pub mod registry;
pub mod spec;

pub use engine::Docker;
pub use logs::Logs;
pub use observe::runs;
