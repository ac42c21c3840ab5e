//! Containers as the API wants them, and what is done with them.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, EndpointSettings, HealthConfig,
    HostConfig, Mount, MountType, NetworkingConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder,
};

use super::fail;
use super::labels::{self, Names};
use super::spec::{Container, FILES, TMPFS};
use crate::engine::Identity;
use crate::error::Failure;
use crate::units::Name;

/// Interval of the engine's own health check, while scalectl does not look.
const HEALTH_INTERVAL: Duration = Duration::from_secs(10);
/// How long that check may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may fail after the start.
const HEALTH_START: Duration = Duration::from_secs(60);
/// Where ports are reached, unless asked otherwise.
const LOOPBACK: &str = "127.0.0.1";

/// A container with its place: name, labels, network.
pub struct Placed<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// Its project, whose network it is on.
    pub project: &'a Name,
    /// A name on the network that is its alone.
    pub alias: Option<String>,
    /// The volume with its files.
    pub files: Option<&'a str>,
    /// Environment that is its alone: who it is.
    pub own: &'a [(&'a str, String)],
    /// Whether the engine starts it again when it ends by itself.
    pub restart: bool,
}

/// The body of the request that creates a container.
pub fn body(spec: &Container, placed: &Placed<'_>) -> ContainerCreateBody {
    let own = placed.own.iter().map(|(name, value)| format!("{name}={value}"));
    let environment = spec.environment.iter().map(|(name, value)| format!("{name}={value}")).chain(own);
    let ports: HashMap<_, _> = spec
        .ports
        .iter()
        .map(|port| {
            let binding = PortBinding {
                host_ip: Some(LOOPBACK.to_owned()),
                host_port: Some(port.host.map(|p| p.to_string()).unwrap_or_default()),
            };
            (format!("{}/tcp", port.container), Some(vec![binding]))
        })
        .collect();
    let names = Names(placed.project);
    let aliases = spec.aliases.iter().cloned().chain(placed.alias.clone()).collect();
    let endpoint = EndpointSettings { aliases: Some(aliases), ..EndpointSettings::default() };
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: spec.command.clone(),
        env: Some(environment.collect()),
        hostname: Some(spec.hostname.clone().unwrap_or_else(|| names.host(placed.name).to_owned())),
        labels: Some(placed.labels.clone()),
        exposed_ports: Some(ports.keys().cloned().collect()),
        healthcheck: spec.health.as_ref().map(|command| health(command)),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: i64::try_from(spec.stop_timeout.as_secs()).ok(),
        host_config: Some(HostConfig {
            port_bindings: Some(ports),
            mounts: Some(mounts(spec, placed)),
            tmpfs: Some(spec.tmpfs.iter().map(|folder| (folder.clone(), TMPFS.to_owned())).collect()),
            readonly_rootfs: Some(spec.read_only),
            shm_size: spec.shm_size.and_then(|size| i64::try_from(size).ok()),
            nano_cpus: spec.resources.as_ref().and_then(|r| r.cpu).map(|cpu| i64::from(cpu.millis()) * 1_000_000),
            memory: spec.resources.as_ref().and_then(|r| r.memory).and_then(|m| i64::try_from(m.0).ok()),
            network_mode: Some(names.network()),
            restart_policy: placed.restart.then_some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                maximum_retry_count: None,
            }),
            ..HostConfig::default()
        }),
        networking_config: Some(NetworkingConfig { endpoints_config: Some([(names.network(), endpoint)].into()) }),
        ..ContainerCreateBody::default()
    }
}

/// A command as a health check. Podman 4 takes a `CMD` apart at its spaces again, so that one with spaces in its arguments
/// goes through the shell.
fn test(command: &[String]) -> Vec<String> {
    let line = match command {
        [shell, flag, line] if shell == "sh" && flag == "-c" => line.clone(),
        _ if command.iter().any(|argument| argument.contains(char::is_whitespace)) => shell_words::join(command),
        _ => return std::iter::once("CMD".to_owned()).chain(command.iter().cloned()).collect(),
    };
    vec!["CMD-SHELL".to_owned(), line]
}

fn health(command: &[String]) -> HealthConfig {
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).ok();
    HealthConfig {
        test: Some(test(command)),
        interval: nanos(HEALTH_INTERVAL),
        timeout: nanos(HEALTH_TIMEOUT),
        start_period: nanos(HEALTH_START),
        retries: Some(3),
        ..HealthConfig::default()
    }
}

fn mounts(spec: &Container, placed: &Placed<'_>) -> Vec<Mount> {
    let volume = |source: &str, target: &str, read_only| Mount {
        target: Some(target.to_owned()),
        source: Some(source.to_owned()),
        typ: Some(MountType::VOLUME),
        read_only: Some(read_only),
        ..Mount::default()
    };
    let data = spec.volumes.iter().map(|(folder, name)| volume(name, folder, false));
    data.chain(placed.files.map(|name| volume(name, FILES, true))).collect()
}

/// Creates a container; returns its id.
///
/// # Errors
///
/// When the engine refuses; a name that is taken is told with its holder.
pub async fn create(
    docker: &Docker,
    identity: &Identity,
    spec: &Container,
    placed: &Placed<'_>,
) -> Result<String, Failure> {
    let named = CreateContainerOptionsBuilder::new().name(placed.name).build();
    let mut cleared = false;
    loop {
        match docker.create_container(Some(named.clone()), body(spec, placed)).await {
            Ok(created) => return Ok(created.id),
            Err(e) if fail::is_conflict(&e) => {
                let holder = docker.inspect_container(placed.name, None::<InspectContainerOptions>).await.ok();
                match holder
                    .as_ref()
                    .filter(|holder| !cleared && is_stray(holder, identity))
                    .and_then(|h| h.id.as_deref())
                {
                    Some(stray) => remove(docker, stray, placed.name).await?,
                    None => return Err(name_taken(holder, identity, placed.name)),
                }
                cleared = true;
            }
            Err(e) => return Err(fail::doing(&format!("create {}", placed.name), &e)),
        }
    }
}

/// Whether a container that nobody saw before is what a killed command's last request made: ours, and never started, for
/// the request to start it comes after the one that made it.
pub fn is_stray(container: &ContainerInspectResponse, identity: &Identity) -> bool {
    let status = container.state.as_ref().and_then(|state| state.status);
    status == Some(ContainerStateStatusEnum::CREATED) && labels::are_of(&super::observe::labels_of(container), identity)
}

/// The failure for a container's name that another one has.
pub fn name_taken(holder: Option<ContainerInspectResponse>, identity: &Identity, name: &str) -> Failure {
    let failure = Failure::failed(format!("the name {name} is taken"));
    let Some(holder) = holder else { return failure.hint("run the same command again") };
    let of = super::observe::labels_of(&holder);
    if of.get(labels::PROJECT).is_some_and(|project| project == identity.project.as_str()) {
        return failure
            .because("another command, from another machine or user, works on the same project")
            .hint("let it finish, then run this command again");
    }
    let config = holder.config.unwrap_or_default();
    failure
        .because(format!(
            "a container that is not of this project has it, of image {}",
            config.image.unwrap_or_default()
        ))
        .hint(format!(
            "rename or remove it (`docker rename {name} OTHER`), or give the project another name: `-p NAME`"
        ))
}

/// Starts a container; one that runs is left alone.
///
/// # Errors
///
/// With the engine's reason.
pub async fn start(docker: &Docker, id: &str, called: &str) -> Result<(), Failure> {
    let started = docker.start_container(id, None::<StartContainerOptions>).await;
    started.map_err(|e| fail::doing(&format!("start {called}"), &e))
}

/// Lets a stopped or paused container go on.
///
/// # Errors
///
/// With the engine's reason.
pub async fn resume(docker: &Docker, id: &str, called: &str) -> Result<(), Failure> {
    match docker.start_container(id, None::<StartContainerOptions>).await {
        // It is paused: the engine wants another word for that.
        Err(e) if fail::is_conflict(&e) && docker.unpause_container(id).await.is_ok() => Ok(()),
        started => started.map_err(|e| fail::doing(&format!("start {called}"), &e)),
    }
}

/// Asks a container to end, and kills it when it does not in time. One that is gone, or ended, is left alone.
///
/// # Errors
///
/// When the engine refuses.
pub async fn stop(docker: &Docker, id: &str, called: &str, patience: Duration) -> Result<(), Failure> {
    let seconds = i32::try_from(patience.as_secs()).unwrap_or(i32::MAX);
    let options = StopContainerOptionsBuilder::new().t(seconds).build();
    match docker.stop_container(id, Some(options)).await {
        Err(e) if fail::status(&e) == Some(304) || fail::is_missing(&e) => Ok(()),
        other => other.map_err(|e| fail::doing(&format!("stop {called}"), &e)),
    }
}

/// Removes a container and its nameless volumes; one that is gone is left alone.
///
/// # Errors
///
/// When the engine refuses.
pub async fn remove(docker: &Docker, id: &str, called: &str) -> Result<(), Failure> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(id, Some(options)).await {
        // Removed already, or being removed.
        Err(e) if fail::is_missing(&e) || fail::is_conflict(&e) => Ok(()),
        other => other.map_err(|e| fail::doing(&format!("remove {called}"), &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_with_spaces_in_its_arguments_goes_through_the_shell() {
        let checked = |command: &[&str]| test(&command.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert_eq!(checked(&["promtool", "check", "ready"]), ["CMD", "promtool", "check", "ready"]);
        assert_eq!(checked(&["sh", "-c", "test -e \"/a b\""]), ["CMD-SHELL", "test -e \"/a b\""]);
        assert_eq!(checked(&["bash", "-c", "exec 3<>/dev/tcp"]), ["CMD-SHELL", "bash -c 'exec 3<>/dev/tcp'"]);
    }
}
