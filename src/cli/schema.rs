//! `scalectl schema`.

use anyhow::Result;

use super::Global;
use crate::error::{Exit, Failure};

/// Arguments of `scalectl schema`.
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// As the failure says.
    pub fn run(self, _global: &Global) -> Result<Exit> {
        Err(Failure::failed("not built yet").into())
    }
}
