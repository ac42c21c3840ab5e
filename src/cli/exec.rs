//! `scalectl exec`.

use anyhow::Result;

use super::session::{self, Session, block_on_to_the_end};
use super::{Global, run};
use crate::engine::Options;
use crate::error::{Exit, Failure};
use crate::units::Name;

/// Arguments of `scalectl exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Service (its first ready replica), or a replica like api-2
    #[arg(value_name = "SERVICE")]
    target: Name,
    /// Command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When there is no such replica, or the command cannot be started.
    pub fn run(self, global: &Global) -> Result<Exit> {
        block_on_to_the_end(async move {
            let session = Session::open(global, Options::default()).await?;
            let observed = session.observe().await?;
            let named = observed.replicas.iter().find(|r| r.id.to_string() == self.target.as_str());
            let of_service = || {
                let running = observed.replicas_of(&self.target).into_iter().filter(|r| r.pid.is_some());
                running.max_by_key(|r| (r.ready, std::cmp::Reverse(r.id.slot)))
            };
            let Some(replica) = named.or_else(of_service) else {
                if !session.stack.services.contains_key(&self.target) {
                    let known = session.stack.services.keys().map(Name::as_str);
                    return Err(session::unknown("service or replica", self.target.as_str(), known).into());
                }
                return Err(Failure::failed(format!("no replica of {} runs", self.target))
                    .hint(format!("`scalectl up` starts them; `scalectl run {} -- …` needs none", self.target))
                    .into());
            };
            let code = session.engine.exec(replica, self.command).await?;
            Ok(run::ended(code))
        })
    }
}
