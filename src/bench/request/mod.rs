//! What is sent: requests as they are written down ([`workload`]), made into a [`mix`] before the run.

pub mod content;
pub mod feed;
pub mod fields;
pub mod flows;
pub mod headers;
pub mod kind;
pub mod mix;
pub mod room;
pub mod template;
pub mod visit;
pub mod workload;
