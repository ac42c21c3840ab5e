//! HTTP/2 (RFC 9113): many requests at the same time on one connection.
//!
//! A slot is a stream's place: those of one connection follow one another. `driver` moves the bytes, `session` knows
//! what they mean, `hpack` how heads are packed (RFC 7541), `request` makes blocks of heads and keeps the last ones.

mod driver;
mod frame;
mod hpack;
mod request;
mod session;

pub use driver::{Driver, Usage};
