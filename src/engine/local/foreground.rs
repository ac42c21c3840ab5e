//! A process of the stack on the command's own terminal: `run` and `exec`.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use super::engine::Local;
use super::leftovers::mark;
use super::supervisor::secret_variables;
use crate::error::Failure;
use crate::units::Name;

impl Local {
    /// Runs a service's or job's process, or another command in its environment, and returns its exit code (128 + the
    /// signal's number where a signal ended it, as shells do).
    ///
    /// Ctrl-C reaches the process itself, which decides what becomes of it.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub async fn foreground(
        &self,
        name: &Name,
        command: Option<Vec<String>>,
        variables: BTreeMap<String, String>,
    ) -> Result<u8, Failure> {
        let mut process = self.process(name).cloned().ok_or_else(|| Failure::usage(format!("there is no `{name}`")))?;
        process.command = command.unwrap_or(process.command);
        let title = format!("run-{}", std::process::id());
        let failed = |e: std::io::Error| {
            Failure::failed(format!("cannot run `{}`: {e}", process.command.first().map_or("", String::as_str)))
        };
        let secrets = secret_variables(&process, &title, self.places()).map_err(failed)?;
        let Some((program, arguments)) = process.command.split_first() else {
            return Err(Failure::usage("the command is empty"));
        };
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .current_dir(&process.directory)
            .env_clear()
            .envs(&process.variables)
            .envs(std::env::var("TERM").map(|term| ("TERM", term)))
            .envs(secrets)
            .env(mark::PROJECT, self.identity().project.as_str())
            .env(mark::SERVICE, name.as_str())
            .env(mark::REPLICA, &title)
            .envs(variables)
            .spawn()
            .map_err(failed)?;
        // The signal goes to the whole terminal: the process ends by it, and this command with the process.
        let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                _ = interrupts.recv() => {}
                _ = terminations.recv() => pass_on(&child, Signal::SIGTERM),
            }
        };
        // The files are of use to this process alone.
        let _ = std::fs::remove_dir_all(self.places().secrets(&title));
        let status = status.map_err(failed)?;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => u8::try_from(code).unwrap_or(1),
            (None, signal) => 128 + u8::try_from(signal.unwrap_or(0)).unwrap_or(0),
        })
    }
}

/// Sends a signal that this command got to the process it runs.
fn pass_on(child: &tokio::process::Child, signal: Signal) {
    if let Some(pid) = child.id() {
        // It may have ended in between.
        let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
    }
}
