//! The two sides of a difference: what should run, and what does.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::Name;

/// Who a stack is: its name and the folder it comes from. The same name from another folder is another project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The project's name.
    pub project: Name,
    /// The project's root folder, canonical.
    pub root: PathBuf,
}

/// One replica of a service: `api-2` is the service `api` in slot 2.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReplicaId {
    /// The service.
    pub service: Name,
    /// A number that tells the replicas of a service apart; a roll takes the lowest free one.
    pub slot: u16,
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.service, self.slot))
    }
}

/// What a replica was made from, in parts, so that a plan can say which of them changed.
///
/// It does not depend on the number of replicas, the slot, times, or scalectl's version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Hash of the rendered configuration: command, variables, checks.
    pub spec: String,
    /// Hash of the source, or the image.
    pub source: String,
    /// Key of the prepared environment (lock file, interpreter, platform).
    pub environment: String,
    /// Keyed digest of the secrets.
    pub secrets: String,
}

impl Fingerprint {
    /// What differs between two fingerprints, in words; empty if nothing does.
    pub fn changes(&self, new: &Self) -> Vec<&'static str> {
        [
            (self.source != new.source, "its source changed"),
            (self.environment != new.environment, "its environment changed"),
            (self.spec != new.spec, "its configuration changed"),
            (self.secrets != new.secrets, "its secrets changed"),
        ]
        .into_iter()
        .filter_map(|(changed, words)| changed.then_some(words))
        .collect()
    }

    /// All parts in one text, for jobs, which only ask whether anything differs.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in [&self.spec, &self.source, &self.environment, &self.secrets] {
            hasher.update(part.as_bytes()).update(&[0]);
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

/// What should run.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Who it is.
    pub identity: Identity,
    /// What the engine needs for the project before anything runs in it.
    pub ground: Ground,
    /// Volumes that the backing services' substitutes keep their data in.
    pub volumes: Vec<DesiredVolume>,
    /// Environments that services run in.
    pub environments: Vec<DesiredEnvironment>,
    /// Jobs that run before services.
    pub jobs: Vec<DesiredJob>,
    /// Services, those that others use first.
    pub services: Vec<DesiredService>,
    /// Balancers in front of services.
    pub balancers: Vec<DesiredBalancer>,
}

impl Desired {
    /// Nothing at all, for `down`.
    pub fn nothing(identity: Identity, ground: Ground) -> Self {
        Self {
            identity,
            ground,
            volumes: Vec::new(),
            environments: Vec::new(),
            jobs: Vec::new(),
            services: Vec::new(),
            balancers: Vec::new(),
        }
    }
}

/// What an engine needs for a project before anything runs in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// A process that owns all others.
    Supervisor,
    /// A network that the containers are on.
    Network,
}

/// A volume.
#[derive(Debug, Clone)]
pub struct DesiredVolume {
    /// The backing service whose data it holds.
    pub name: Name,
}

/// The environment of one or more services: interpreter and libraries, or an image.
#[derive(Debug, Clone)]
pub struct DesiredEnvironment {
    /// What it depends on, in one text.
    pub key: String,
    /// What it is made from: `requirements.lock`, a build folder, the name of an image.
    pub source: String,
    /// How it is made.
    pub preparation: Preparation,
    /// It is made even where it is there.
    pub again: bool,
}

/// How an environment is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Preparation {
    /// Libraries are installed.
    Install,
    /// An image is built.
    Build,
    /// An image is pulled.
    Pull,
}

/// A job that runs before services.
#[derive(Debug, Clone)]
pub struct DesiredJob {
    /// Its name.
    pub name: Name,
    /// Digest of what it runs and of what it runs on.
    pub digest: String,
    /// The services that wait for it.
    pub before: Vec<Name>,
    /// Services that have to be ready before it runs.
    pub after: Vec<Name>,
    /// Key of the environment it runs in.
    pub environment: Option<String>,
}

/// A service.
#[derive(Debug, Clone)]
pub struct DesiredService {
    /// Its name.
    pub name: Name,
    /// How many replicas.
    pub replicas: u16,
    /// What a replica is made from.
    pub fingerprint: Fingerprint,
    /// Services that have to be ready before it starts.
    pub after: Vec<Name>,
    /// Key of the environment it runs in.
    pub environment: Option<String>,
    /// How a replica takes the place of another.
    pub replacement: Replacement,
}

/// How a new replica takes the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    /// The new one serves before the old one leaves.
    Rolling,
    /// The old one ends before the new one starts: there is one set of data, and one process owns it.
    StopFirst,
}

/// Names a balancer: `front` for the stack's own, else the service that it makes reachable for others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BalancerId {
    /// The stack's own balancer.
    Front,
    /// The address of a service for the services that use it.
    Service(Name),
}

impl fmt::Display for BalancerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Front => f.write_str("balancer"),
            Self::Service(name) => write!(f, "balancer of {name}"),
        }
    }
}

/// A balancer in front of one service.
#[derive(Debug, Clone)]
pub struct DesiredBalancer {
    /// Which one.
    pub id: BalancerId,
    /// The service whose replicas are its members.
    pub service: Name,
    /// Port on the loopback interface.
    pub port: u16,
    /// What it is made from, on engines where it is a process of its own.
    pub fingerprint: Fingerprint,
    /// Key of the environment it runs in.
    pub environment: Option<String>,
}

/// What runs, asked of the engine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Observed {
    /// Whether the project's ground is there: its supervisor, or its network.
    pub grounded: bool,
    /// Processes or containers that an interrupted command left: nobody owns them, and the next command ends them.
    pub leftovers: usize,
    /// Whether there is anything that no plan names and the end of the ground takes along: records of jobs, files.
    #[serde(default)]
    pub remains: bool,
    /// Replicas, in any state.
    pub replicas: Vec<ObservedReplica>,
    /// Balancers.
    pub balancers: Vec<ObservedBalancer>,
    /// Digests of the jobs that ended well, by name.
    pub jobs: Vec<(Name, String)>,
    /// Volumes that exist.
    pub volumes: BTreeSet<Name>,
    /// Keys of the environments that are there, complete.
    pub environments: BTreeSet<String>,
    /// Images that were built for the project, whatever they were built from.
    #[serde(default)]
    pub images: BTreeSet<String>,
}

impl Observed {
    /// The replicas of one service, by slot.
    pub fn replicas_of(&self, service: &Name) -> Vec<&ObservedReplica> {
        let mut found: Vec<_> = self.replicas.iter().filter(|r| &r.id.service == service).collect();
        found.sort_by_key(|r| r.id.slot);
        found
    }
}

/// How far a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaState {
    /// Its process runs.
    Running,
    /// It ended by itself and waits for its restart.
    Restarting,
    /// It was stopped by command.
    Stopped,
    /// It is being stopped.
    Stopping,
    /// It is being removed, or what is left of it can only be removed.
    Removing,
}

impl fmt::Display for ReplicaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
            Self::Stopping => "stopping",
            Self::Removing => "removing",
        })
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exited {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It could not be started.
    NotStarted(String),
}

impl fmt::Display for Exited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "it ended with exit code {code}"),
            Self::Signal(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => write!(f, "it was ended by {signal}"),
                Err(_) => write!(f, "it was ended by signal {number}"),
            },
            Self::NotStarted(why) => write!(f, "it could not be started: {why}"),
        }
    }
}

/// A replica as the engine sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ObservedReplica {
    /// Which one.
    pub id: ReplicaId,
    /// What it was made from.
    pub fingerprint: Fingerprint,
    /// How far it is.
    pub state: ReplicaState,
    /// Whether its last readiness check was answered well.
    pub ready: bool,
    /// It is a backing service's: it owns data, and others use it.
    #[serde(default)]
    pub backing: bool,
    /// The balancers send it requests (when it is ready).
    pub member: bool,
    /// The balancers send it no new requests any more.
    pub draining: bool,
    /// How often it was restarted after it had ended by itself.
    pub restarts: u32,
    /// Where it listens.
    pub address: Option<SocketAddr>,
    /// Its process.
    pub pid: Option<u32>,
    /// How long the present process runs.
    pub age: Duration,
    /// How the process before ended.
    pub exited: Option<Exited>,
    /// The last readiness answer, for people.
    pub check: Option<String>,
    /// Requests on it right now, as the balancers count them.
    pub in_flight: usize,
}

/// A balancer as the engine sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ObservedBalancer {
    /// Which one.
    pub id: BalancerId,
    /// The service whose replicas are its members.
    pub service: Name,
    /// Port on the loopback interface.
    pub port: u16,
    /// What it was made from.
    #[serde(default)]
    pub fingerprint: Fingerprint,
    /// It is there and serves nobody: it was stopped or paused, or ended by itself.
    #[serde(default)]
    pub stopped: bool,
}
