//! A plan: steps in order, each one action with its cause. Its text is what `--dry-run` prints and what tests compare.

use std::fmt;

use serde::Serialize;

use super::model::{BalancerId, Preparation, ReplicaId};
use crate::units::Name;

/// One thing that an engine can do in one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// Start the process that owns all others.
    StartSupervisor,
    /// End the process that owns all others.
    StopSupervisor,
    /// Make the network that all containers are on.
    CreateNetwork,
    /// Remove the network, and what else belongs to no container.
    RemoveNetwork,
    /// End what an interrupted command left.
    EndLeftovers,
    /// Make an empty volume.
    CreateVolume {
        /// The backing service whose data it will hold.
        volume: Name,
    },
    /// Delete a volume and its data.
    RemoveVolume {
        /// The backing service whose data it holds.
        volume: Name,
    },
    /// Delete an image that was built for the project.
    RemoveImage {
        /// Its reference.
        image: String,
    },
    /// Install the libraries that a service runs with, or build or pull its image.
    PrepareEnvironment {
        /// Its key.
        key: String,
        /// What it is made from.
        source: String,
        /// How.
        preparation: Preparation,
    },
    /// Run a job to its end.
    RunJob {
        /// The job.
        job: Name,
    },
    /// Open a balancer's port.
    StartBalancer {
        /// Which.
        balancer: BalancerId,
        /// On which port.
        port: u16,
    },
    /// Finish a balancer's requests and close its port.
    StopBalancer {
        /// Which.
        balancer: BalancerId,
        /// The port that it gives up.
        port: u16,
    },
    /// Start a new replica's process.
    StartReplica {
        /// Which.
        replica: ReplicaId,
    },
    /// Wait until a replica answers its readiness check.
    AwaitReady {
        /// Which.
        replica: ReplicaId,
    },
    /// Let the balancers send requests to a replica.
    AddMember {
        /// Which.
        replica: ReplicaId,
    },
    /// Let the balancers send no new requests to a replica, and wait until it has answered those it has.
    DrainMember {
        /// Which.
        replica: ReplicaId,
    },
    /// Stop a replica and forget it.
    RemoveReplica {
        /// Which.
        replica: ReplicaId,
    },
    /// Stop a replica and keep its place.
    StopReplica {
        /// Which.
        replica: ReplicaId,
    },
    /// Start the process of a stopped replica.
    ResumeReplica {
        /// Which.
        replica: ReplicaId,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::StartSupervisor => "start supervisor".to_owned(),
            Self::StopSupervisor => "stop supervisor".to_owned(),
            Self::EndLeftovers => "end leftovers".to_owned(),
            Self::CreateVolume { volume } => format!("create volume {volume}"),
            Self::RemoveVolume { volume } => format!("remove volume {volume}"),
            Self::RemoveImage { image } => format!("remove image {image}"),
            Self::CreateNetwork => "create network".to_owned(),
            Self::RemoveNetwork => "remove network".to_owned(),
            Self::PrepareEnvironment { source, preparation, .. } => match preparation {
                Preparation::Install => format!("install {source}"),
                Preparation::Build => format!("build {source}"),
                Preparation::Pull => format!("pull {source}"),
            },
            Self::RunJob { job } => format!("run job {job}"),
            Self::StartBalancer { balancer, port } => format!("start {balancer} on port {port}"),
            Self::StopBalancer { balancer, .. } => format!("stop {balancer}"),
            Self::StartReplica { replica } => format!("start {replica}"),
            Self::AwaitReady { replica } => format!("wait for {replica}"),
            Self::AddMember { replica } => format!("balance to {replica}"),
            Self::DrainMember { replica } => format!("drain {replica}"),
            Self::RemoveReplica { replica } => format!("remove {replica}"),
            Self::StopReplica { replica } => format!("stop {replica}"),
            Self::ResumeReplica { replica } => format!("start {replica} again"),
        };
        f.pad(&text)
    }
}

/// A step's number in its plan, from 1.
pub type StepId = usize;

/// One action, why it is needed, and what has to be done before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its number.
    pub id: StepId,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
    /// Why, in words.
    pub cause: String,
    /// The steps that have to be done before; all have lower numbers.
    pub after: Vec<StepId>,
    /// What is done instead of going on when it fails: the way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<Action>,
}

/// Steps, in an order in which they can be done one after the other; those that do not wait for each other may be done
/// at once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Plan {
    steps: Vec<Step>,
}

impl Plan {
    /// Adds a step behind those it waits for, and returns its number.
    pub fn push(&mut self, action: Action, cause: impl Into<String>, after: &[StepId]) -> StepId {
        let id = self.steps.len() + 1;
        let mut after: Vec<_> = after.iter().copied().filter(|step| *step > 0 && *step < id).collect();
        after.sort_unstable();
        after.dedup();
        self.steps.push(Step { id, action, cause: cause.into(), after, undo: None });
        id
    }

    /// Says what is done when the step that was pushed last fails.
    pub fn undo_last(&mut self, action: Action) {
        if let Some(step) = self.steps.last_mut() {
            step.undo = Some(action);
        }
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.steps.iter().map(|s| s.action.to_string().len()).max().unwrap_or(0);
        for step in &self.steps {
            write!(f, "{:>3}  {:width$}  {}", step.id, step.action, step.cause)?;
            if !step.after.is_empty() {
                let after: Vec<_> = step.after.iter().map(ToString::to_string).collect();
                write!(f, "  [after {}]", after.join(", "))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
