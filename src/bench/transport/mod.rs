//! How bytes get to the target and back.
//!
//! A worker knows slots, requests and completions: it asks a [`Driver`] to open a connection or to send a request on a
//! slot, and is told what came of it. A driver moves the bytes, in its own way (here: readiness, one event queue per
//! thread); what the bytes mean is a [`session`]'s business, which does no I/O. Another way of moving bytes is another
//! driver over the same sessions; another protocol is another session under the same driver.

mod alarm;
mod channel;
mod dial;
mod driver;
mod http1;
mod session;
mod tls;

pub use dial::Dialer;
pub use driver::{Completion, Driver, IO, Wait};
pub use session::{Exchange, Request};
