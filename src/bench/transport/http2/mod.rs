//! HTTP/2 (RFC 9113): many requests at the same time on one connection.
//!
//! A slot is a stream's place: those of one connection follow one another. `driver` moves the bytes, `session` knows
//! what they mean, with a `stream` for every request; `outbox` has what waits to be written, `found` what the head of an
//! answer says. `hpack` knows how heads are packed (RFC 7541), `request` makes blocks of heads and keeps the last ones.

mod connection;
mod driver;
mod found;
pub(in crate::bench) mod frame;
pub(in crate::bench) mod hpack;
mod outbox;
pub(in crate::bench) mod request;
pub(in crate::bench) mod session;
mod stream;

pub use driver::{Driver, Usage};
