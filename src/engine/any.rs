//! The engine that a command works with, whichever it is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::choose::EngineKind;
use super::docker::Docker;
use super::execute::{Engine, Note};
use super::local::Local;
use super::logs::Logs;
use super::model::{Ground, Identity, Observed, ObservedReplica};
use super::plan::{Action, Plan};
use super::usage::Sample;
use crate::error::Failure;
use crate::units::Name;

/// One of the engines.
pub enum AnyEngine {
    /// Processes on this machine.
    Local(Box<Local>),
    /// Containers.
    Docker(Box<Docker>),
}

impl AnyEngine {
    /// Which it is.
    pub fn kind(&self) -> EngineKind {
        match self {
            Self::Local(_) => EngineKind::Local,
            Self::Docker(_) => EngineKind::Docker,
        }
    }

    /// What it needs for a project before anything runs in it.
    pub fn ground(&self) -> Ground {
        match self {
            Self::Local(_) => Ground::Supervisor,
            Self::Docker(_) => Ground::Network,
        }
    }

    /// Who the project is.
    pub fn identity(&self) -> &Identity {
        match self {
            Self::Local(local) => local.identity(),
            Self::Docker(docker) => docker.identity(),
        }
    }

    /// The file whose lock a command holds while it plans and carries out.
    pub fn lock(&self) -> PathBuf {
        match self {
            Self::Local(local) => local.places().lock(),
            Self::Docker(docker) => docker.places().lock_of(&docker.connection().endpoint.address),
        }
    }

    /// What it leaves out or does otherwise, in sentences.
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Local(local) => local.notes(),
            Self::Docker(docker) => docker.notes(),
        }
    }

    /// How it runs things, in a clause.
    pub fn description(&self) -> String {
        match self {
            Self::Local(_) => "processes on this machine".to_owned(),
            Self::Docker(docker) => {
                let connection = docker.connection();
                format!("containers on {}", connection.endpoint.address)
            }
        }
    }

    /// Whether it has a job or service of this name to run.
    pub fn knows(&self, name: &Name) -> bool {
        match self {
            Self::Local(local) => local.process(name).is_some(),
            Self::Docker(docker) => {
                docker.specs().jobs.contains_key(name) || docker.specs().services.contains_key(name)
            }
        }
    }

    /// Runs a job, or a command (its own unless given) with the environment of a service, beside the stack and on the
    /// command's own terminal; returns its exit code.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub async fn run(&self, name: &Name, command: Option<Vec<String>>, port: Option<u16>) -> Result<u8, Failure> {
        match self {
            Self::Local(local) => {
                // A service's own program listens where the file says: no balancer is in front of this process.
                let variables = port.map(|port| [("PORT", port.to_string()), ("HOST", "127.0.0.1".to_owned())]);
                let variables = variables.into_iter().flatten().map(|(name, value)| (name.to_owned(), value));
                local.foreground(name, command, variables.collect()).await
            }
            Self::Docker(docker) => docker.run(name, command).await,
        }
    }

    /// Runs a command where a replica runs, on the command's own terminal; returns its exit code.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub async fn exec(&self, replica: &ObservedReplica, command: Vec<String>) -> Result<u8, Failure> {
        match self {
            Self::Local(local) => {
                let mut variables = BTreeMap::from([("SCALECTL_REPLICA".to_owned(), replica.id.to_string())]);
                if let Some(address) = replica.address {
                    variables.insert("PORT".to_owned(), address.port().to_string());
                    variables.insert("HOST".to_owned(), address.ip().to_string());
                }
                local.foreground(&replica.id.service, Some(command), variables).await
            }
            Self::Docker(docker) => docker.exec(&replica.id, command).await,
        }
    }

    /// A look at what each running replica and balancer uses, by its name.
    ///
    /// # Errors
    ///
    /// When the engine does not answer.
    pub async fn samples(&self, observed: &Observed) -> Result<BTreeMap<String, Sample>, Failure> {
        match self {
            Self::Local(_) => Ok(super::local::samples(observed)),
            Self::Docker(docker) => Ok(docker.samples(observed).await),
        }
    }

    /// The logs whose sources are wanted: replicas (`api-2`), jobs (`job-migrate`), balancers.
    pub fn logs(&self, wanted: impl Fn(&str) -> bool + 'static) -> Logs {
        match self {
            Self::Local(local) => {
                let wanted = move |source: &str| source != "supervisor" && wanted(source);
                Logs::Local(super::local::Logs::new(local.places().logs(), wanted))
            }
            Self::Docker(docker) => Logs::Docker(docker.logs(wanted)),
        }
    }

    /// Removes the last files after `down`; with `volumes`, the project's own folder of logs and records too.
    ///
    /// # Errors
    ///
    /// When they cannot be removed.
    pub fn clear(&self, volumes: bool) -> Result<(), Failure> {
        let Self::Local(local) = self else { return Ok(()) };
        local.forget();
        if volumes { local.remove_state() } else { Ok(()) }
    }
}

impl Engine for AnyEngine {
    async fn observe(&self) -> Result<Observed, Failure> {
        match self {
            Self::Local(local) => local.observe().await,
            Self::Docker(docker) => docker.observe().await,
        }
    }

    async fn preflight(&self, plan: &Plan) -> Result<(), Failure> {
        match self {
            Self::Local(local) => local.preflight(plan).await,
            Self::Docker(docker) => docker.preflight(plan).await,
        }
    }

    async fn perform(&self, action: &Action, note: &dyn Fn(Note)) -> Result<(), Failure> {
        match self {
            Self::Local(local) => local.perform(action, note).await,
            Self::Docker(docker) => docker.perform(action, note).await,
        }
    }
}
