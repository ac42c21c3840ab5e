//! A command in a container on the command's own terminal: `exec` and `run`.

use super::Docker;
use crate::engine::ReplicaId;
use crate::error::Failure;
use crate::units::Name;

impl Docker {
    /// Runs a command in a replica's container; returns its exit code.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub async fn exec(&self, replica: &ReplicaId, command: Vec<String>) -> Result<u8, Failure> {
        let _ = command;
        Err(Failure::failed(format!("exec in {replica}")))
    }

    /// Runs a job, or a command with the environment of a service, in a container of its own; returns its exit code.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub async fn run(&self, name: &Name, command: Option<Vec<String>>) -> Result<u8, Failure> {
        let _ = command;
        Err(Failure::failed(format!("run {name}")))
    }
}
