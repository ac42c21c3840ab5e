//! `scalectl run`.

use anyhow::Result;

use super::Global;
use super::session::{self, Session, block_on_to_the_end};
use crate::engine::local::Options;
use crate::error::Exit;
use crate::units::Name;

/// Arguments of `scalectl run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job, or service whose environment a command is run in
    #[arg(value_name = "JOB|SERVICE")]
    name: Name,
    /// Command and its arguments instead of its own
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<String>,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When there is no such job or service, or the command cannot be started.
    pub fn run(self, global: &Global) -> Result<Exit> {
        block_on_to_the_end(async move {
            let session = Session::open(global, Options::default()).await?;
            if !session.engine.knows(&self.name) {
                let known = session.stack.jobs.keys().chain(session.stack.services.keys()).map(Name::as_str);
                return Err(session::unknown("job or service", self.name.as_str(), known).into());
            }
            session.ground().await?;
            let command = (!self.command.is_empty()).then_some(self.command);
            let port = session.stack.services.get(&self.name).and_then(|service| service.port);
            Ok(ended(session.engine.run(&self.name, command, port.map(|port| port.0)).await?))
        })
    }
}

/// How a process's exit code ends the command.
pub fn ended(code: u8) -> Exit {
    if code == 0 { Exit::Done } else { Exit::Of(code) }
}
