//! `scalectl run`.

use anyhow::Result;

use super::Global;
use super::session::{self, Session, block_on_to_the_end};
use crate::engine::Options;
use crate::error::{Exit, Failure};
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
            let mut session = Session::open(global, Options::default()).await?;
            if !session.engine.knows(&self.name) {
                let known = session.stack.jobs.keys().chain(session.stack.services.keys()).map(Name::as_str);
                return Err(session::unknown("job or service", self.name.as_str(), known).into());
            }
            let job = session.stack.jobs.get(&self.name);
            let service = job.map_or(&self.name, |job| &job.service).clone();
            if job.is_some() {
                require_backing(&session, &self.name, &service).await?;
            }
            session.only(&service);
            session.ground().await?;
            let command = (!self.command.is_empty()).then_some(self.command);
            let port = session.stack.services.get(&self.name).and_then(|service| service.port);
            Ok(ended(session.engine.run(&self.name, command, port.map(|port| port.0)).await?))
        })
    }
}

/// Refuses a job whose backing services do not run: it would fail with words that do not say so.
async fn require_backing(session: &Session<'_>, job: &Name, service: &Name) -> Result<()> {
    let stack = &session.stack;
    let uses = stack.services.get(service).map(|service| service.uses.as_slice()).unwrap_or_default();
    let wanted = uses.iter().filter(|used| stack.backing.contains_key(*used));
    let wanted: Vec<_> = wanted.filter(|used| session.desired.services.iter().any(|s| &s.name == *used)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let observed = session.observe().await?;
    for used in wanted {
        let replicas = observed.replicas_of(used);
        if replicas.iter().any(|replica| replica.ready) {
            continue;
        }
        let state = if replicas.is_empty() { "does not run" } else { "is not ready" };
        return Err(Failure::failed(format!("job {job} needs {used}, which {state}"))
            .hint("`scalectl up` starts it; `scalectl status` says how far it is")
            .into());
    }
    Ok(())
}

/// How a process's exit code ends the command.
pub fn ended(code: u8) -> Exit {
    if code == 0 { Exit::Done } else { Exit::Of(code) }
}
