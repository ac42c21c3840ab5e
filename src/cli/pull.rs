//! `scalectl pull`.

use anyhow::Result;

use super::session::{self, Session, block_on};
use super::{Global, up};
use crate::engine::{Intent, Options, Preparation};
use crate::error::Exit;
use crate::units::Name;

/// Arguments of `scalectl pull`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services and backing services; all unless given
    #[arg(value_name = "SERVICE")]
    services: Vec<Name>,
    /// Only images that the engine does not have
    #[arg(long)]
    missing: bool,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// With the root cause of what cannot be pulled.
    pub fn run(self, global: &Global) -> Result<Exit> {
        let options = Options { pull: !self.missing, ..Options::default() };
        block_on(async move {
            let mut session = Session::open(global, options).await?;
            session::require_running(&session, &self.services)?;
            session.desired.environments.retain(|e| e.preparation == Preparation::Pull);
            let intent = Intent::Prepare(self.services);
            if self.dry_run {
                return up::print_plan(global, &session.plan(&intent).await?);
            }
            let plan = session.apply(&intent).await?;
            session.say(if plan.is_empty() { "nothing to pull" } else { "pulled" });
            Ok(Exit::Done)
        })
    }
}
