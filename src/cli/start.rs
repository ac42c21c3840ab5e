//! `scalectl start`.

use anyhow::Result;

use super::Global;
use super::session::{self, Session, block_on};
use crate::engine::{Intent, Options};
use crate::error::Exit;
use crate::units::Name;

/// Arguments of `scalectl start`.
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
            let session = Session::open(global, Options::default()).await?;
            session::require_running(&session, &self.services)?;
            session.observe_up().await?;
            let plan = session.apply(&Intent::Start(self.services)).await?;
            session.say(if plan.is_empty() { "nothing to start" } else { "started" });
            Ok(Exit::Done)
        })
    }
}
