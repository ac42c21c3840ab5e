//! HTTP/2 (RFC 9113): many requests at the same time on one connection.
//!
//! A slot is a stream's place: those of one connection follow one another. `driver` moves the bytes, `session` knows
//! what they mean, `hpack` how heads are packed (RFC 7541), `request` makes blocks of heads and keeps the last ones.

mod driver;
pub(in crate::bench) mod frame;
pub(in crate::bench) mod hpack;
pub(in crate::bench) mod request;
pub(in crate::bench) mod session;

pub use driver::{Driver, Usage};
