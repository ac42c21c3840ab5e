//! Which version of HTTP is spoken, as flags.

use crate::bench::{Config, Protocol};

/// The part of the arguments that says how the target is spoken to.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Load")]
pub struct ProtocolArgs {
    /// Version of HTTP: 1.1, 2 (over http:// without asking, "h2c"), or auto (over https:// what the target prefers)
    /// [default: 1.1]
    #[arg(long, value_name = "VERSION", env = "SCALECTL_HTTP")]
    http: Option<Protocol>,
    /// The same as --http 2
    #[arg(long, conflicts_with = "http")]
    http2: bool,
    /// Requests at the same time on one connection, with HTTP/2 [default: 1]
    #[arg(long, value_name = "N", env = "SCALECTL_STREAMS")]
    streams: Option<u32>,
}

impl ProtocolArgs {
    /// Takes the flags.
    pub fn apply(&self, config: &mut Config) {
        config.protocol = if self.http2 { Protocol::Http2 } else { self.http.unwrap_or(config.protocol) };
        config.streams = self.streams.unwrap_or(config.streams);
    }
}
