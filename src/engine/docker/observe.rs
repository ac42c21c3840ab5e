//! What runs, read off the engine: containers by their labels, their states, and who answers its readiness check.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, HealthStatusEnum, Volume};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
};
use futures_util::future::{join_all, try_join_all};
use jiff::Timestamp;

use super::balancer;
use super::connect::Connection;
use super::labels::{self, Names, Role};
use super::readiness::{self, Answer};
use super::{ends, fail};
use crate::engine::{
    Exited, Fingerprint, Identity, Observed, ObservedBalancer, ObservedReplica, ReplicaId, ReplicaState,
};
use crate::error::Failure;
use crate::units::Name;

/// Containers and volumes of a project, as the engine lists them.
pub struct Inventory {
    /// Containers in any state, by their ids.
    pub containers: Vec<(Role, ContainerInspectResponse)>,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// The ids of the networks: one, unless two machines made it at once.
    pub networks: Vec<String>,
    /// The name of the network, by which Podman's containers know it in place of the id.
    network: String,
}

impl Inventory {
    /// Asks the engine for everything that has the project's label. `lenient` takes what is of a folder that is gone as the
    /// project's; of a `remote` engine nobody here knows whose folders are gone.
    ///
    /// # Errors
    ///
    /// When the engine does not answer, or the name belongs to a project in another folder.
    pub async fn take(docker: &Docker, identity: &Identity, lenient: bool, remote: bool) -> Result<Self, Failure> {
        let label = format!("{}={}", labels::PROJECT, identity.project);
        let filters = HashMap::from([("label", vec![label.as_str()])]);
        let of_containers = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let of_volumes = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let of_networks = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let (containers, volumes, networks) = tokio::try_join!(
            docker.list_containers(Some(of_containers)),
            docker.list_volumes(Some(of_volumes)),
            docker.list_networks(Some(of_networks)),
        )
        .map_err(|e| fail::asking("what runs", &e))?;
        let volumes = volumes.volumes.unwrap_or_default();
        let roots = containers
            .iter()
            .filter_map(|c| c.labels.as_ref())
            .chain(volumes.iter().map(|v| &v.labels))
            .chain(networks.iter().filter_map(|n| n.labels.as_ref()))
            .filter_map(labels::root);
        refuse_other_roots(identity, roots, lenient, remote)?;
        let networks = networks.into_iter().filter_map(|network| network.id).collect();
        let network = Names(&identity.project).network();
        Ok(Self { containers: inspect(docker, containers).await?, volumes, networks, network })
    }

    /// The ids of the volumes with data, by backing service.
    pub fn volume_ids(&self) -> BTreeMap<Name, String> {
        let data = self.volumes.iter().filter(|v| Role::of(&v.labels) == Some(Role::Data));
        data.filter_map(|v| {
            Some((v.labels.get(labels::SERVICE)?.parse().ok()?, v.labels.get(labels::VOLUME_ID)?.clone()))
        })
        .collect()
    }

    /// What a container was made from. One that is not on the project's network any more runs in another environment: a
    /// network that was removed by hand does not come back by its name.
    fn fingerprint(&self, container: &ContainerInspectResponse) -> Fingerprint {
        let known = labels::fingerprint(&labels_of(container));
        let on = container.network_settings.as_ref().and_then(|n| n.networks.as_ref());
        let on: Vec<_> = on.into_iter().flatten().filter_map(|(_, of)| of.network_id.as_deref()).collect();
        // One that was never started knows its network by name only.
        let away = on.iter().any(|id| !id.is_empty()) || (on.is_empty() && running(container));
        let ours = |id: &&str| *id == self.network || self.networks.iter().any(|ours| ours == id);
        match away && !on.iter().any(ours) {
            true => Fingerprint { environment: "another network".to_owned(), ..known },
            false => known,
        }
    }

    /// Replicas of an image that was built again since, from the same source: they run in another environment than a new
    /// one would. `images` are the ids that the engine has now, by reference.
    pub fn tell_other_images(&self, observed: &mut Observed, images: &BTreeMap<String, String>, names: &Names<'_>) {
        for (_, container) in self.containers.iter().filter(|(role, _)| *role == Role::Replica) {
            let of = labels_of(container);
            let Some(now) = images.get(&names.image(&labels::fingerprint(&of).source)) else { continue };
            // Podman leaves the algorithm out here and not there.
            let is_now = |id: &str| id.trim_start_matches("sha256:") == now.trim_start_matches("sha256:");
            let seen = labels::replica(&of).and_then(|id| observed.replicas.iter_mut().find(|r| r.id == id));
            if let Some(seen) = seen.filter(|_| container.image.as_deref().is_some_and(|id| !is_now(id))) {
                seen.fingerprint.environment = "another image".to_owned();
            }
        }
    }

    /// Whether there is anything that no plan names: records of jobs, commands beside the stack, files.
    fn has_remains(&self) -> bool {
        let named = [Role::Replica, Role::Backing, Role::Balancer];
        self.containers.iter().any(|(role, _)| !named.contains(role))
            || self.volumes.iter().any(|volume| Role::of(&volume.labels) != Some(Role::Data))
    }
}

/// Another folder's project of the same name is refused; one whose folder is gone may be taken down. What is on a remote
/// engine may be of another machine, whose folders are not to be seen from this one.
fn refuse_other_roots(
    identity: &Identity,
    roots: impl Iterator<Item = std::path::PathBuf>,
    lenient: bool,
    remote: bool,
) -> Result<(), Failure> {
    let gone = |root: &Path| !remote && !root.exists();
    let other = roots.into_iter().find(|root| root != &identity.root && !(lenient && gone(root)));
    let Some(other) = other else { return Ok(()) };
    let name = &identity.project;
    let failure = Failure::failed(format!("a project called {name} from another folder is on this engine"))
        .because(format!("it belongs to {}", other.display()));
    let rename = "give this one another name: `-p NAME`, or project.name in scalectl.toml";
    Err(match (gone(&other), other.exists()) {
        (true, _) => failure.hint("its folder is gone: `scalectl down` ends it, then run this command again"),
        (false, true) => failure.hint(rename),
        (false, false) => failure
            .because(
                "the engine is remote, and that folder is not on this machine: it may be another machine's project",
            )
            .hint(rename)
            .hint("if it may go: `scalectl down` in that folder, on the machine that it is on, ends it"),
    })
}

async fn inspect(
    docker: &Docker,
    containers: Vec<ContainerSummary>,
) -> Result<Vec<(Role, ContainerInspectResponse)>, Failure> {
    let ids = containers.into_iter().filter_map(|c| Some((Role::of(c.labels.as_ref()?)?, c.id?)));
    let inspected = ids.map(|(role, id)| async move {
        match docker.inspect_container(&id, None::<InspectContainerOptions>).await {
            Ok(container) => Ok(Some((role, container))),
            // It went away between the list and the look.
            Err(e) if fail::is_missing(&e) => Ok(None),
            Err(e) => Err(fail::asking("what runs", &e)),
        }
    });
    Ok(try_join_all(inspected).await?.into_iter().flatten().collect())
}

/// Whether a project has anything on an engine.
///
/// # Errors
///
/// When the engine does not answer.
pub async fn runs(connection: &Connection, project: &Name) -> Result<bool, Failure> {
    let label = format!("{}={project}", labels::PROJECT);
    let filters = HashMap::from([("label", vec![label.as_str()])]);
    let of_containers = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let of_networks = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let (containers, networks) = tokio::try_join!(
        connection.docker.list_containers(Some(of_containers)),
        connection.docker.list_networks(Some(of_networks)),
    )
    .map_err(|e| fail::asking("what runs", &e))?;
    Ok(!containers.is_empty() || !networks.is_empty())
}

/// The labels of a container.
pub fn labels_of(container: &ContainerInspectResponse) -> HashMap<String, String> {
    container.config.as_ref().and_then(|c| c.labels.clone()).unwrap_or_default()
}

/// What runs of a stack.
///
/// # Errors
///
/// When the engine does not answer.
pub async fn observe(docker: &Docker, inventory: &Inventory, remote: bool) -> Result<Observed, Failure> {
    let mut observed =
        Observed { grounded: !inventory.networks.is_empty(), remains: inventory.has_remains(), ..Observed::default() };
    observed.leftovers = inventory.networks.len().saturating_sub(1);
    let ids = inventory.volume_ids();
    observed.volumes = ids.keys().cloned().collect();
    let told = ends::told_to_end(docker, inventory.containers.iter().map(|(_, container)| container), remote).await;
    let members = balancers(docker, inventory, &told, &mut observed).await?;
    let replicas = inventory.containers.iter().filter(|(role, _)| matches!(role, Role::Replica | Role::Backing));
    let seen =
        replicas.filter_map(|(role, container)| Some((*role, labels::replica(&labels_of(container))?, container)));
    let looked = seen.map(|(role, id, container)| {
        let member = members.contains(&id);
        let fingerprint = inventory.fingerprint(container);
        let told = container.id.as_ref().is_some_and(|id| told.contains(id));
        async move {
            let state = state(container, told);
            let seen = replica(docker, role, id, container, state, remote, member).await;
            ObservedReplica { fingerprint, ..seen }
        }
    });
    observed.replicas = join_all(looked).await;
    for (role, container) in &inventory.containers {
        match role {
            Role::Helper => observed.leftovers += 1,
            Role::Job if running(container) => observed.leftovers += 1,
            Role::Job => observed.jobs.extend(finished_job(container, &ids)),
            _ => {}
        }
    }
    Ok(observed)
}

/// The balancers, and the replicas that they know.
async fn balancers(
    docker: &Docker,
    inventory: &Inventory,
    told: &BTreeSet<String>,
    observed: &mut Observed,
) -> Result<BTreeSet<ReplicaId>, Failure> {
    let mut members = BTreeSet::new();
    for (_, container) in inventory.containers.iter().filter(|(role, _)| *role == Role::Balancer) {
        let of = labels_of(container);
        let (Some((id, service)), Some(name)) = (labels::balancer(&of), container.id.as_deref()) else { continue };
        let port = published(container).first().map_or(0, |port| port.1.port());
        let (fingerprint, stopped) = (inventory.fingerprint(container), !running(container) || told.contains(name));
        let port = if port == 0 { wanted_port(container) } else { port };
        observed.balancers.push(ObservedBalancer { id, service, port, fingerprint, stopped });
        members.extend(balancer::read_members(docker, name).await?);
    }
    Ok(members)
}

/// The port that a container was made to publish, whether or not it runs.
fn wanted_port(container: &ContainerInspectResponse) -> u16 {
    let bindings = container.host_config.as_ref().and_then(|h| h.port_bindings.as_ref());
    let first = bindings.and_then(|b| b.values().flatten().flatten().next());
    first.and_then(|b| b.host_port.as_deref()?.parse().ok()).unwrap_or(0)
}

async fn replica(
    docker: &Docker,
    role: Role,
    id: ReplicaId,
    container: &ContainerInspectResponse,
    state: ReplicaState,
    remote: bool,
    member: bool,
) -> ObservedReplica {
    let of = labels_of(container);
    let answer = match (state, &container.id) {
        (ReplicaState::Running, Some(name)) => readiness::ask(docker, name, container, remote).await,
        _ => Answer::NotYet(None),
    };
    let (ready, check) = match answer {
        Answer::Ready => (true, None),
        Answer::NotYet(check) => (false, check),
    };
    let inner = container.state.clone().unwrap_or_default();
    let address = published(container).first().map(|(_, address)| *address);
    let exited = inner.exit_code.filter(|_| !running(container) && inner.finished_at.is_some());
    ObservedReplica {
        fingerprint: labels::fingerprint(&of),
        state,
        ready,
        backing: role == Role::Backing,
        member,
        draining: false,
        restarts: container.restart_count.and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        address,
        pid: inner.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
        age: inner.started_at.as_deref().map(age).unwrap_or_default(),
        exited: exited.and_then(|code| i32::try_from(code).ok()).map(Exited::Code),
        check,
        in_flight: 0,
        id,
    }
}

/// Ports of a container that are reached from this machine: inside, and where.
pub fn published(container: &ContainerInspectResponse) -> Vec<(u16, SocketAddr)> {
    let ports = container.network_settings.as_ref().and_then(|n| n.ports.as_ref());
    let mut found: Vec<_> = ports
        .into_iter()
        .flatten()
        .filter_map(|(inside, bindings)| {
            let inside: u16 = inside.split('/').next()?.parse().ok()?;
            let host = bindings.as_ref()?.iter().find_map(|b| b.host_port.as_deref()?.parse::<u16>().ok())?;
            Some((inside, SocketAddr::from((Ipv4Addr::LOCALHOST, host))))
        })
        .collect();
    found.sort();
    found
}

/// Whether a container's process runs.
pub fn running(container: &ContainerInspectResponse) -> bool {
    status(container) == Some(ContainerStateStatusEnum::RUNNING)
}

fn status(container: &ContainerInspectResponse) -> Option<ContainerStateStatusEnum> {
    container.state.as_ref()?.status
}

/// How far a container is; `told` is whether the engine has told it to end.
fn state(container: &ContainerInspectResponse, told: bool) -> ReplicaState {
    match status(container) {
        Some(ContainerStateStatusEnum::RUNNING) if told => ReplicaState::Stopping,
        Some(ContainerStateStatusEnum::RUNNING) => ReplicaState::Running,
        Some(ContainerStateStatusEnum::RESTARTING) => ReplicaState::Restarting,
        Some(ContainerStateStatusEnum::STOPPING) => ReplicaState::Stopping,
        Some(ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD) => ReplicaState::Removing,
        // A paused one, too, serves nobody until it is started again.
        _ => ReplicaState::Stopped,
    }
}

/// The engine's own opinion of a container's health, where it has one.
pub fn health(container: &ContainerInspectResponse) -> Option<HealthStatusEnum> {
    container.state.as_ref()?.health.as_ref()?.status
}

/// How long ago a time was.
fn age(text: &str) -> Duration {
    let since = text.parse::<Timestamp>().ok().map(|begin| Timestamp::now().duration_since(begin));
    since.and_then(|since| since.try_into().ok()).unwrap_or_default()
}

/// The record of a job: it ended well, and the data that it worked on is still the same.
fn finished_job(container: &ContainerInspectResponse, ids: &BTreeMap<Name, String>) -> Option<(Name, String)> {
    let of = labels_of(container);
    let ended_well = container.state.as_ref()?.exit_code == Some(0)
        && container.state.as_ref()?.status == Some(ContainerStateStatusEnum::EXITED);
    let known: Vec<_> = of.get(labels::VOLUME_IDS)?.split(',').filter(|id| !id.is_empty()).collect();
    let same = known.iter().all(|id| ids.values().any(|now| now == id));
    (ended_well && same).then(|| Some((of.get(labels::JOB)?.parse().ok()?, of.get(labels::DIGEST)?.clone())))?
}
