//! `scalectl stop`.

use anyhow::Result;

use super::Global;
use super::session::{self, Session, block_on};
use crate::engine::Intent;
use crate::error::Exit;
use crate::units::Name;

/// Arguments of `scalectl stop`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services and backing services; all unless given
    #[arg(value_name = "SERVICE")]
    services: Vec<Name>,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// With the root cause, when it does not work.
    pub fn run(self, global: &Global) -> Result<Exit> {
        block_on(async move {
            let session = Session::look(global).await?;
            session::require_running(&session, &self.services)?;
            session.observe_up().await?;
            let plan = session.apply(&Intent::Stop(self.services)).await?;
            session.say(if plan.is_empty() { "nothing to stop" } else { "stopped" });
            Ok(Exit::Done)
        })
    }
}
