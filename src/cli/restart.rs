//! `scalectl restart`.

use anyhow::Result;

use super::session::{self, Session, block_on};
use super::{Global, up};
use crate::engine::{Intent, Options};
use crate::error::Exit;
use crate::units::{Name, TimeSpan};

/// Arguments of `scalectl restart`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services; all unless given
    #[arg(value_name = "SERVICE")]
    services: Vec<Name>,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// How long a replica may take to become ready
    #[arg(long, value_name = "TIME", default_value = "120s")]
    timeout: TimeSpan,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// With the root cause of what does not come up.
    pub fn run(self, global: &Global) -> Result<Exit> {
        block_on(async move {
            let session = Session::open_to_change(global, Options::within(self.timeout.0), self.dry_run).await?;
            session::require_services(&session, &self.services)?;
            let restart = match self.services.is_empty() {
                true => session.stack.services.keys().cloned().collect(),
                false => self.services.clone(),
            };
            // A restart replaces what runs; how many replicas that is, it leaves as it is.
            let intent = Intent::Restart(restart);
            if self.dry_run {
                return up::print_plan(global, &session.plan(&intent).await?);
            }
            session.observe_up().await?;
            let plan = session.apply(&intent).await?;
            session.say(if plan.is_empty() { "nothing runs that could be restarted" } else { "restarted" });
            Ok(Exit::Done)
        })
    }
}
