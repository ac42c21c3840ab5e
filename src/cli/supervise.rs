//! `scalectl supervise`: the process behind `up`; nobody types it.

use anyhow::{Context as _, Result};

use super::Global;
use crate::engine::{Identity, local};
use crate::error::{Exit, Failure};

/// Arguments of `scalectl supervise`.
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When the project already has a supervisor, or its socket cannot be had.
    pub fn run(self, global: &Global) -> Result<Exit> {
        let project = global.project.clone().ok_or_else(|| Failure::usage("supervise needs --project"))?;
        let root = global.directory.canonicalize().context("the project's folder")?;
        local::supervise(Identity { project, root })?;
        Ok(Exit::Done)
    }
}
