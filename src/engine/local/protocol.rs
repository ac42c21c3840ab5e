//! What commands and the supervisor say to each other: one JSON line there, one JSON line back, per connection.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::{BalancerId, Fingerprint, Identity, Observed, ReplicaId};
use crate::units::Name;

/// The version of this protocol. [`Request::Hello`] and [`Request::Shutdown`] keep their meaning in every version, so
/// that `down` ends a supervisor of any.
pub const PROTOCOL: u32 = 2;

/// A process as the supervisor starts it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Working folder.
    pub directory: PathBuf,
    /// All of its environment but secrets, PORT and who it is.
    pub variables: BTreeMap<String, String>,
    /// Variables with secret values.
    pub secrets: BTreeMap<String, String>,
    /// Secrets are given as files (`NAME_FILE`), not as variables.
    pub secret_files: bool,
    /// It listens on a port, which the supervisor chooses.
    pub listens: bool,
    /// Path of the readiness check.
    pub check: Option<String>,
    /// How long it may take to end before it is killed.
    pub stop_timeout: Duration,
}

impl fmt::Debug for Process {
    /// Without variables: they may hold what is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("command", &self.command).field("directory", &self.directory).finish()
    }
}

/// What a command asks of the supervisor. Each may be asked again: what is already so is not done twice.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Who are you?
    Hello,
    /// What runs?
    Observe,
    /// Open a balancer.
    StartBalancer {
        /// Which.
        id: BalancerId,
        /// Whose replicas it balances.
        service: Name,
        /// On which port.
        port: u16,
    },
    /// Finish a balancer's requests and close it.
    StopBalancer {
        /// Which.
        id: BalancerId,
        /// How long its requests may take.
        patience: Duration,
    },
    /// Start a replica.
    StartReplica {
        /// Which.
        id: ReplicaId,
        /// What it is made from.
        fingerprint: Fingerprint,
        /// How.
        process: Box<Process>,
    },
    /// Answer when the replica is ready, or with the reason why it is not.
    AwaitReady {
        /// Which.
        id: ReplicaId,
        /// How long to wait.
        patience: Duration,
    },
    /// Let the balancers use a replica.
    AddMember {
        /// Which.
        id: ReplicaId,
    },
    /// Let no new requests through to a replica; answer when it has none.
    DrainMember {
        /// Which.
        id: ReplicaId,
        /// How long its requests may take.
        patience: Duration,
    },
    /// Stop a replica and forget it.
    RemoveReplica {
        /// Which.
        id: ReplicaId,
    },
    /// Stop a replica and keep its place.
    StopReplica {
        /// Which.
        id: ReplicaId,
    },
    /// Start a stopped replica.
    ResumeReplica {
        /// Which.
        id: ReplicaId,
    },
    /// Run a job to its end; joins it if it runs already.
    RunJob {
        /// Which.
        name: Name,
        /// What it runs and runs on.
        digest: String,
        /// How.
        process: Box<Process>,
    },
    /// Stop everything and end.
    Shutdown,
}

/// The supervisor's answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello {
        /// Its version of the protocol.
        protocol: u32,
        /// Its version of scalectl.
        version: String,
        /// Whose processes it owns.
        identity: Identity,
        /// Its process.
        pid: u32,
        /// The mark in the environment of all its processes.
        run: String,
    },
    /// To [`Request::Observe`].
    Observed(Box<Observed>),
    /// It is so.
    Done,
    /// To [`Request::DrainMember`]: so many requests were left when the patience ended.
    Drained(usize),
    /// It could not be done.
    Refused {
        /// What, in one line.
        what: String,
        /// Why, in lines.
        evidence: Vec<String>,
        /// Something that was started did not become healthy, as opposed to: it could not be done.
        unhealthy: bool,
    },
}
