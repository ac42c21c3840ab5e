//! Engines: what should run, what does run, the difference, and how it is brought about.
//!
//! ```text
//! Stack → Desired  +  Observed (asked of the engine)  →  diff  →  Plan: steps, each with its cause  →  execute
//! ```
//!
//! [`diff()`] is pure; [`execute()`] holds no decisions; an [`Engine`] observes and performs single actions. What runs
//! is never remembered in a file: every command observes, and so can be interrupted at any instant and run again.

mod any;
mod choose;
mod diff;
mod execute;
mod lock;
mod model;
mod options;
mod plan;
mod preflight;

pub mod docker;
pub mod local;
pub mod logs;
pub mod source;
pub mod usage;

pub use any::AnyEngine;
pub use choose::{EngineKind, Presence, choose};
pub use diff::{Intent, diff, ground};
pub use execute::{Engine, Event, Note, Observer, execute};
pub use lock::{Lock, LockError};
pub use model::{
    BalancerId, Desired, DesiredBalancer, DesiredEnvironment, DesiredJob, DesiredService, DesiredVolume, Exited,
    Fingerprint, Ground, Identity, Observed, ObservedBalancer, ObservedReplica, Preparation, Replacement, ReplicaId,
    ReplicaState,
};
pub use options::Options;
pub use plan::{Action, Plan, Step, StepId};
