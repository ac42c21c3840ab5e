//! What was found on this machine.

use std::path::PathBuf;

use super::{DockerAnswer, Platform};
use crate::ports::Obstacle;

/// What was found on this machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Where remedies come from.
    pub platform: Platform,
    /// The newest Python on the path.
    pub python: Option<Python>,
    /// uv, which prepares Python environments faster.
    pub uv: Option<Program>,
    /// Node.js.
    pub node: Option<Program>,
    /// cargo.
    pub cargo: Option<Program>,
    /// A C compiler.
    pub compiler: Option<Program>,
    /// What the Docker API said.
    pub docker: DockerAnswer,
    /// The Kubernetes configuration file, and its current context.
    pub kubeconfig: Option<(PathBuf, Option<String>)>,
    /// The project in the folder that was examined.
    pub project: Option<Project>,
    /// The ports that the project needs.
    pub ports: Vec<OpenPort>,
    /// Disks that are written to.
    pub disks: Vec<Disk>,
    /// Open files that a process may have: soft and hard limit.
    pub open_files: (u64, u64),
    /// Processors that this process may use.
    pub usable_cores: usize,
    /// Processors that are switched on; `None` where the system does not tell.
    pub cores: Option<usize>,
}

/// A Python interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// Name or path of the program.
    pub program: String,
    /// Major and minor version.
    pub version: (u32, u32),
    /// Whether it can make virtual environments with pip in them.
    pub venv: bool,
}

/// A program and what it says about its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Name of the program.
    pub program: String,
    /// First line of what it printed.
    pub version: String,
}

/// What of a project's file matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    /// The runtimes of its services: `python`, `node`, `rust`.
    pub runtimes: Vec<String>,
    /// The balancer's port.
    pub balancer: Option<u16>,
}

/// A port that the project needs, and what is in its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPort {
    /// Whose port it is, as a key of `scalectl.toml`.
    pub key: String,
    /// The port.
    pub port: u16,
    /// Why this user cannot listen on it.
    pub obstacle: Option<Obstacle>,
}

/// A disk that is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// What it is used for: `cache` or `temporary files`.
    pub purpose: &'static str,
    /// The folder.
    pub path: PathBuf,
    /// Free bytes for this user.
    pub free: u64,
}
