//! `scalectl build`.

use anyhow::Result;

use super::Global;
use super::session::{self, Session, block_on};
use super::up::{self, Images};
use crate::engine::{Intent, Options, Preparation};
use crate::error::Exit;
use crate::units::Name;

/// Arguments of `scalectl build`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services; all unless given
    #[arg(value_name = "SERVICE")]
    services: Vec<Name>,
    #[command(flatten)]
    images: Images,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// With the root cause of what cannot be built.
    pub fn run(self, global: &Global) -> Result<Exit> {
        let Images { no_cache, pull } = self.images;
        let options = Options { rebuild: no_cache || pull, no_cache, pull, ..Options::default() };
        block_on(async move {
            let mut session = Session::open(global, options).await?;
            session::require_services(&session, &self.services)?;
            // On the local engine a service's libraries are what an image is elsewhere.
            session.desired.environments.retain(|e| e.preparation != Preparation::Pull);
            let intent = Intent::Prepare(self.services);
            if self.dry_run {
                return up::print_plan(global, &session.plan(&intent).await?);
            }
            let plan = session.apply(&intent).await?;
            session.say(if plan.is_empty() { "nothing to build: it is there of every source" } else { "built" });
            Ok(Exit::Done)
        })
    }
}
