//! What a command may set, whatever the engine.

use std::time::Duration;

/// What a command may set.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long a replica may take to become ready.
    pub timeout: Duration,
    /// Images are built even where there is one of this source already.
    pub rebuild: bool,
    /// Steps of earlier builds are not used again.
    pub no_cache: bool,
    /// Images are pulled even where the engine has them: what is built is built on those.
    pub pull: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(120), rebuild: false, no_cache: false, pull: false }
    }
}

impl Options {
    /// The defaults, with another time to become ready.
    pub fn within(timeout: Duration) -> Self {
        Self { timeout, ..Self::default() }
    }
}
