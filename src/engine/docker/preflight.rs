//! What a plan needs of the engine before its first step is done: free names and ports, and data that fits.
//!
//! The engine itself gives away a volume of a foreign project by its name, and says of a port only that it is taken.

use std::collections::HashMap;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerSummary, Network, Volume};
use bollard::query_parameters::{
    InspectContainerOptions, InspectNetworkOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
};
use futures_util::future::join_all;

use super::labels::{self, Names};
use super::observe::Inventory;
use super::spec::Specs;
use super::{containers, fail};
use crate::backing::major;
use crate::engine::preflight::{opened, port_taken};
use crate::engine::{Action, BalancerId, Identity, Plan};
use crate::error::Failure;
use crate::ports::{self, Obstacle};
use crate::units::Name;

/// The label with which Docker Compose marks what is its.
const COMPOSE_PROJECT: &str = "com.docker.compose.project";

/// What a look is taken at.
pub struct Look<'a> {
    /// The engine.
    pub docker: &'a Docker,
    /// The project.
    pub identity: &'a Identity,
    /// What should run.
    pub specs: &'a Specs,
    /// What runs.
    pub inventory: &'a Inventory,
    /// Whether the engine is on another machine.
    pub remote: bool,
}

impl Look<'_> {
    /// Looks at everything that a plan needs.
    ///
    /// # Errors
    ///
    /// With the root cause, when the plan could not be carried out.
    pub async fn at(&self, plan: &Plan) -> Result<(), Failure> {
        let found = match self.problem(plan).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        let said = "nothing was started";
        Err(if found.evidence().iter().any(|line| line == said) { found } else { found.because(said) })
    }

    async fn problem(&self, plan: &Plan) -> Result<(), Failure> {
        self.data()?;
        self.containers(plan).await?;
        self.volumes(plan).await?;
        self.network(plan).await?;
        for (wanted, balancer) in opened(plan) {
            port(self.docker, wanted, balancer, self.remote).await?;
        }
        Ok(())
    }

    fn names(&self) -> Names<'_> {
        Names(&self.identity.project)
    }

    /// Whether the data that is there can be read by the images that would read it.
    fn data(&self) -> Result<(), Failure> {
        for (backing, image) in &self.specs.volumes {
            let known = self.inventory.volumes.iter().find(|volume| volume.name == self.names().volume(backing));
            let Some(written_by) = known.and_then(|volume| volume.labels.get(labels::IMAGE)) else { continue };
            if let (Some(old), Some(new)) = (major(written_by), major(image))
                && old != new
            {
                return Err(other_major(backing, written_by, image));
            }
        }
        Ok(())
    }

    async fn containers(&self, plan: &Plan) -> Result<(), Failure> {
        let wanted = plan.steps().iter().filter_map(|step| match &step.action {
            Action::StartReplica { replica } => Some(self.names().replica(replica)),
            Action::StartBalancer { balancer, .. } => Some(self.names().balancer(balancer)),
            Action::RunJob { job } => Some(self.names().job(job)),
            _ => None,
        });
        let ours = |name: &str| {
            let called = self.inventory.containers.iter().filter_map(|(_, c)| c.name.as_deref());
            called.into_iter().any(|of| of.trim_start_matches('/') == name)
        };
        let looked = wanted.filter(|name| !ours(name)).map(|name| async move {
            match self.docker.inspect_container(&name, None::<InspectContainerOptions>).await {
                Ok(holder) if containers::is_stray(&holder, self.identity) => None,
                Ok(holder) => Some(containers::name_taken(Some(holder), self.identity, &name)),
                Err(_) => None,
            }
        });
        join_all(looked).await.into_iter().flatten().next().map_or(Ok(()), Err)
    }

    /// The volumes that the plan makes, with the names that they will have.
    async fn volumes(&self, plan: &Plan) -> Result<(), Failure> {
        let wanted = plan.steps().iter().filter_map(|step| match &step.action {
            Action::CreateVolume { volume } => Some(self.names().volume(volume)),
            Action::StartBalancer { balancer, .. } => Some(self.names().balancer_volume(balancer)),
            _ => None,
        });
        let ours = |name: &str| self.inventory.volumes.iter().any(|volume| volume.name == name);
        let looked = wanted.filter(|name| !ours(name)).map(|name| async move {
            let found = self.docker.inspect_volume(&name).await.ok();
            found.filter(|volume| !labels::are_of(&volume.labels, self.identity)).map(|volume| volume_taken(&volume))
        });
        join_all(looked).await.into_iter().flatten().next().map_or(Ok(()), Err)
    }

    /// An engine may have two networks of one name, and then refuses whoever says that name. One of ours that came since
    /// the look at what runs is of a killed command, whose last request was on its way.
    async fn network(&self, plan: &Plan) -> Result<(), Failure> {
        if !plan.steps().iter().any(|step| step.action == Action::CreateNetwork) {
            return Ok(());
        }
        let name = self.names().network();
        let filters = HashMap::from([("name", vec![name.as_str()])]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let found = self.docker.list_networks(Some(options)).await;
        let found = found.map_err(|e| fail::asking("which networks there are", &e))?;
        let foreign = |network: &Network| {
            let ours = network.labels.as_ref().is_some_and(|of| labels::are_of(of, self.identity));
            network.name.as_deref() == Some(name.as_str()) && !ours
        };
        match found.into_iter().find(foreign) {
            Some(network) => Err(network_taken(&name, network.labels.as_ref().and_then(project_of))),
            None => Ok(()),
        }
    }
}

/// The failure for data of another major version.
fn other_major(backing: &Name, written_by: &str, image: &str) -> Failure {
    Failure::failed(format!("{backing}: {image} cannot take over the data of {written_by}"))
        .because("its volume was written by another major version")
        .hint(format!(
            "go back to {written_by} (backing.{backing}.image), and move the data with the service's own tools"
        ))
        .hint("or, if the data may go: `scalectl down --volumes`, then `scalectl up`")
}

/// The project that labels tell, ours or one of Docker Compose.
fn project_of(labels: &HashMap<String, String>) -> Option<String> {
    let ours = labels.get(labels::PROJECT).map(|project| format!("project {project}"));
    ours.or_else(|| labels.get(COMPOSE_PROJECT).map(|project| format!("the Compose project {project}")))
}

/// The failure for a network's name that somebody else has.
pub fn network_taken(name: &str, project: Option<String>) -> Failure {
    let whose = project.map_or_else(|| "it is not of this project".to_owned(), |project| format!("it is of {project}"));
    Failure::failed(format!("a network called {name} is there already"))
        .because(whose)
        .hint("give this project another name: `-p NAME`, or project.name in scalectl.toml")
}

/// The failure for a volume's name that somebody else has.
pub fn volume_taken(volume: &Volume) -> Failure {
    let whose = project_of(&volume.labels);
    let whose = whose.map_or_else(|| "it is not of this project".to_owned(), |project| format!("it is of {project}"));
    Failure::failed(format!("a volume called {} is there already", volume.name))
        .because(whose)
        .hint("give this project another name: `-p NAME`, or project.name in scalectl.toml")
}

/// The failure for a network that cannot be removed, with those that are on it.
pub async fn network_in_use(docker: &Docker, id: &str, error: &Error) -> Failure {
    let failure = fail::doing("remove the project's network", error);
    let on = docker.inspect_network(id, None::<InspectNetworkOptions>).await.ok().and_then(|n| n.containers);
    let names: Vec<_> = on.unwrap_or_default().into_values().filter_map(|on| on.name).collect();
    match names.is_empty() {
        true => failure,
        false => failure
            .because(format!("not of this project, but on its network: {}", names.join(", ")))
            .hint("take it off (`docker network disconnect`), then run the same command again"),
    }
}

/// The failure for a volume that cannot be removed, with those that use it.
pub async fn volume_in_use(docker: &Docker, name: &str, error: &Error) -> Failure {
    let failure = fail::doing(&format!("remove volume {name}"), error);
    let filters = HashMap::from([("volume", vec![name])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let users = docker.list_containers(Some(options)).await.unwrap_or_default();
    let users: Vec<_> = users.iter().map(described).collect();
    failure
        .because(format!("it is used by {}", users.join(", ")))
        .hint("remove what uses it, then run the same command again")
}

/// Looks whether a balancer can have a port.
///
/// # Errors
///
/// When somebody has it, with the holder: a container, whichever project it is of, or a process.
pub async fn port(docker: &Docker, port: u16, balancer: &BalancerId, remote: bool) -> Result<(), Failure> {
    let running = docker.list_containers(Some(ListContainersOptionsBuilder::new().build())).await;
    let running = running.map_err(|e| fail::asking("which ports are in use", &e))?;
    let publishes = |container: &&ContainerSummary| {
        container.ports.iter().flatten().any(|published| published.public_port == Some(port))
    };
    // Before the processes: of a published port these show only the engine's own proxy.
    if let Some(holder) = running.iter().find(publishes) {
        return Err(port_taken(port, balancer, &described(holder)));
    }
    if remote {
        return Ok(());
    }
    match ports::obstacle(port) {
        Some(Obstacle::Held(holder)) => Err(port_taken(port, balancer, &holder.to_string())),
        // What this user may not open the engine may.
        Some(Obstacle::Refused(_)) | None => Ok(()),
    }
}

/// A container for people: its name, its image, whose it is.
fn described(container: &ContainerSummary) -> String {
    let name = container.names.iter().flatten().next().map_or("without a name", |name| name.trim_start_matches('/'));
    let image = container.image.as_deref().unwrap_or("unknown");
    match container.labels.as_ref().and_then(project_of) {
        Some(project) => format!("container {name} (image {image}, of {project})"),
        None => format!("container {name} (image {image})"),
    }
}
