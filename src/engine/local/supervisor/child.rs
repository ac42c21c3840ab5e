//! Starting a process with what it needs to know, and ending it with all that it started.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::super::leftovers::mark;
use super::super::places::{Places, write_private};
use super::super::protocol::Process;
use super::journal;
use crate::engine::{Exited, Identity};
use crate::ports;

/// Ports that replicas are given: below the range that systems take for outgoing connections (32768 on Linux, 49152 on
/// macOS), so that no connection of a load holds a port that a replica is about to open.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Who a process is, for its environment.
pub struct Badge<'a> {
    /// The project.
    pub identity: &'a Identity,
    /// The supervisor's run.
    pub run: &'a str,
    /// The service.
    pub service: &'a str,
    /// The replica or job.
    pub name: &'a str,
}

impl Badge<'_> {
    /// The variables that mark the process as ours.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            (mark::PROJECT, self.identity.project.to_string()),
            (mark::ROOT, self.identity.root.to_string_lossy().into_owned()),
            (mark::SERVICE, self.service.to_owned()),
            (mark::REPLICA, self.name.to_owned()),
            (mark::RUN, self.run.to_owned()),
        ]
    }
}

/// A free loopback port for a replica, none of those that other replicas were given.
///
/// Nothing holds it until the replica opens it; one that loses it to another process ends, and is restarted with
/// another.
///
/// # Errors
///
/// When there is no free one.
pub fn free_port(taken: &BTreeSet<u16>) -> io::Result<SocketAddr> {
    let count = PORTS.end - PORTS.start;
    let begin = rand::random::<u16>() % count;
    (0..count)
        .map(|n| PORTS.start + (begin + n) % count)
        .filter(|port| !taken.contains(port))
        .find(|port| ports::is_free(*port))
        .map(|port| SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))
        .ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, "every port from 20000 to 31999 is in use"))
}

/// Starts a process in a group of its own, writing to its log.
///
/// # Errors
///
/// When the program cannot be started, or its log or secrets cannot be written.
pub fn start(
    process: &Process,
    badge: &Badge<'_>,
    address: Option<SocketAddr>,
    log: &Path,
    places: &Places,
) -> io::Result<Child> {
    let out = journal::open(log)?;
    let Some((program, arguments)) = process.command.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&process.directory)
        .env_clear()
        .envs(&process.variables)
        .envs(secret_variables(process, badge.name, places)?)
        .envs(badge.variables())
        .stdin(Stdio::null())
        .stderr(out.try_clone()?)
        .stdout(out)
        .process_group(0)
        .kill_on_drop(false);
    if let Some(address) = address {
        command.env("PORT", address.port().to_string()).env("HOST", address.ip().to_string());
    }
    command.spawn().map_err(|e| {
        let text = match e.kind() {
            io::ErrorKind::NotFound if !process.directory.is_dir() => {
                format!("its folder {} does not exist", process.directory.display())
            }
            io::ErrorKind::NotFound => format!("there is no program `{program}` on its PATH"),
            _ => format!("{program}: {e}"),
        };
        io::Error::new(e.kind(), text)
    })
}

/// Secrets as the process wants them: paths of private files, or plain values.
///
/// # Errors
///
/// When the files cannot be written.
pub fn secret_variables(process: &Process, name: &str, places: &Places) -> io::Result<Vec<(String, String)>> {
    if !process.secret_files {
        return Ok(process.secrets.clone().into_iter().collect());
    }
    if process.secrets.is_empty() {
        return Ok(Vec::new());
    }
    let folder = places.secrets(name);
    std::fs::create_dir_all(&folder)?;
    let mut variables = Vec::new();
    for (variable, value) in &process.secrets {
        let path = folder.join(variable);
        write_private(&path, value.as_bytes())?;
        variables.push((format!("{variable}_FILE"), path.to_string_lossy().into_owned()));
    }
    Ok(variables)
}

/// How a process ended, in our words.
pub fn exited(status: std::process::ExitStatus) -> Exited {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => Exited::Code(code),
        (None, Some(signal)) => Exited::Signal(signal),
        (None, None) => Exited::Code(-1),
    }
}

/// Ends a process: asks it, waits at most `patience`, then kills it. What it started goes with it.
pub async fn end(child: &mut Child, group: u32, patience: Duration) -> Option<Exited> {
    signal_group(group, Signal::SIGTERM);
    let ended = match tokio::time::timeout(patience, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            signal_group(group, Signal::SIGKILL);
            child.wait().await
        }
    };
    sweep(group);
    ended.ok().map(exited)
}

/// Kills what is left of a process's group after the process itself is gone.
pub fn sweep(group: u32) {
    signal_group(group, Signal::SIGKILL);
}

fn signal_group(group: u32, signal: Signal) {
    // A group that is gone is what was wanted.
    let _ = killpg(Pid::from_raw(group.cast_signed()), signal);
}
