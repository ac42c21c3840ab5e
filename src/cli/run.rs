//! `scalectl run`.

use std::collections::BTreeMap;

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
            let session = Session::open(global, Options::default())?;
            if session.local.process(&self.name).is_none() {
                let known = session.stack.jobs.keys().chain(session.stack.services.keys()).map(Name::as_str);
                return Err(session::unknown("job or service", self.name.as_str(), known).into());
            }
            session.ground().await?;
            let command = (!self.command.is_empty()).then_some(self.command);
            // A service's own program listens where the file says: no balancer is in front of this process.
            let port = session.stack.services.get(&self.name).and_then(|service| service.port);
            let variables = port.map(|port| [("PORT", port.0.to_string()), ("HOST", "127.0.0.1".to_owned())]);
            let variables = variables.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect();
            foreground(&session, &self.name, command, variables).await
        })
    }
}

/// Runs a process of the stack in the foreground, on the command's own terminal, and ends as it does.
///
/// # Errors
///
/// When it cannot be started.
pub async fn foreground(
    session: &Session<'_>,
    name: &Name,
    command: Option<Vec<String>>,
    variables: BTreeMap<String, String>,
) -> Result<Exit> {
    let code = session.local.foreground(name, command, variables).await?;
    Ok(if code == 0 { Exit::Done } else { Exit::Of(code) })
}
