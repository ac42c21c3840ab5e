//! How bytes get to the target and back. Nothing above this folder knows which library or system call does it: a
//! worker opens a [`Connection`], gives it a request, and reads the instants from the connection's [`Meter`].

mod dial;
mod http1;
mod meter;
mod tls;

pub use dial::{Dialer, Opened};
pub use http1::{Connection, Failed};
pub use meter::Meter;

/// The name of this transport in results.
pub const IO: &str = "tokio";
