//! `scalectl.toml`: parse, overlay, interpolate, validate.

mod model;

pub use model::*;
