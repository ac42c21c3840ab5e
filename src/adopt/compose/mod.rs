//! From a compose file to a stack.

mod convert;
mod environment;
mod fields;
mod model;
mod roles;
mod servers;
mod variables;

pub use convert::{Input, convert};
pub use model::read;
