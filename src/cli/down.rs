//! `scalectl down`.

use anyhow::Result;

use super::session::{Chosen, block_on, carry_out, identity, lock};
use super::{Global, up};
use crate::engine::{Desired, Engine, Intent, diff};
use crate::error::Exit;

/// Arguments of `scalectl down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove the data too: volumes and logs
    #[arg(long)]
    volumes: bool,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When something does not end.
    pub fn run(self, global: &Global) -> Result<Exit> {
        let identity = identity(global)?;
        block_on(async move {
            let drain = global.stack().ok().and_then(|stack| stack.balancer).map(|balancer| balancer.drain.0);
            let engine = Chosen::find(global.engine, &identity).await?.lenient(identity.clone(), drain)?;
            let lock = lock(global, &engine).await?;
            let observed = engine.observe().await?;
            let nothing = Desired::nothing(identity, engine.ground());
            let plan = diff(&nothing, &observed, &Intent::Down { volumes: self.volumes });
            if self.dry_run {
                return up::print_plan(global, &plan);
            }
            carry_out(global, &engine, &plan).await?;
            engine.clear(self.volumes)?;
            lock.remove();
            global.say(if plan.is_empty() { "nothing was up" } else { "everything is down" });
            Ok(Exit::Done)
        })
    }
}
