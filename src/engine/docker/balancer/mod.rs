//! The nginx container in front of a service's replicas: its configuration, and how a new one takes effect.
//!
//! Its rules are those of the local engine's balancer ([`crate::engine::local`]): a request that was never sent goes to
//! another member, one that was sent is repeated only if it may be, and a change of members touches no client. What runs
//! is read from the container: the configuration names its members in its first line.
//!
//! `config` renders, and is pure; `reload` brings it into a container and waits until it is in force; `apply.sh` is the
//! part of that which runs inside.

mod config;
mod reload;

pub use config::{BalancerConfig, CONFIG_FILE, CONFIG_FOLDER, IMAGE, members, render, render_name};
pub use reload::{install, put, read_members};
