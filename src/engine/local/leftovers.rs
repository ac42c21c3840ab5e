//! Processes whose supervisor is gone: found by the marks in their environment, and ended, never adopted.

use std::ffi::OsStr;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

use crate::engine::Identity;

/// Variables in the environment of every process that a supervisor starts.
pub mod mark {
    /// The project's name.
    pub const PROJECT: &str = "SCALECTL_PROJECT";
    /// The project's root folder.
    pub const ROOT: &str = "SCALECTL_ROOT";
    /// The service.
    pub const SERVICE: &str = "SCALECTL_SERVICE";
    /// The replica.
    pub const REPLICA: &str = "SCALECTL_REPLICA";
    /// The supervisor's run: another one for every supervisor.
    pub const RUN: &str = "SCALECTL_RUN";
}

/// How long a leftover may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// A process known by more than its number, which may be another's tomorrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leftover {
    pid: sysinfo::Pid,
    started: u64,
}

/// What is left of a project that no supervisor owns.
#[derive(Debug, Default)]
pub struct Leftovers {
    found: Vec<Leftover>,
    /// Another root folder whose processes carry the same project name.
    pub foreign_root: Option<String>,
}

impl Leftovers {
    /// Looks through all processes for those of the project; those of the run `except` do not count.
    pub fn find(identity: &Identity, except: Option<&str>) -> Self {
        let mut leftovers = Self::default();
        let Some(system) = scan() else { return leftovers };
        for (pid, process) in system.processes() {
            if process.thread_kind().is_some() || process.status() == sysinfo::ProcessStatus::Zombie {
                continue;
            }
            let environment = process.environ();
            let value = |name: &str| variable(environment.iter().map(AsRef::as_ref), name);
            let (Some(project), Some(root), Some(run)) = (value(mark::PROJECT), value(mark::ROOT), value(mark::RUN))
            else {
                continue;
            };
            if project != identity.project.as_str() || Some(run) == except {
                continue;
            }
            if OsStr::new(root) == identity.root {
                leftovers.found.push(Leftover { pid: *pid, started: process.start_time() });
            } else {
                leftovers.foreign_root = Some(root.to_owned());
            }
        }
        leftovers
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.found.len()
    }

    /// Ends them: asks first, and kills what has not ended in time. Returns how many there were.
    pub async fn end(self) -> usize {
        self.signal(Signal::SIGTERM);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.alive().is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        self.signal(Signal::SIGKILL);
        while !self.alive().is_empty() && tokio::time::Instant::now() < deadline + PATIENCE {
            tokio::time::sleep(POLL).await;
        }
        self.found.len()
    }

    fn signal(&self, signal: Signal) {
        for leftover in self.alive() {
            // It may have ended in between, which is what was wanted.
            let _ = kill(Pid::from_raw(leftover.pid.as_u32().cast_signed()), signal);
        }
    }

    fn alive(&self) -> Vec<Leftover> {
        let pids: Vec<_> = self.found.iter().map(|l| l.pid).collect();
        let Ok(mut system) = System::new() else { return Vec::new() };
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, ProcessRefreshKind::nothing());
        let lives = |l: &&Leftover| {
            system
                .process(l.pid)
                .is_some_and(|p| p.start_time() == l.started && p.status() != sysinfo::ProcessStatus::Zombie)
        };
        self.found.iter().filter(lives).copied().collect()
    }
}

/// Every process with its environment; `None` on a system whose processes cannot be listed.
fn scan() -> Option<System> {
    let mut system = System::new().ok()?;
    let kind = ProcessRefreshKind::nothing().with_environ(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    Some(system)
}

fn variable<'e>(environment: impl Iterator<Item = &'e OsStr>, name: &str) -> Option<&'e str> {
    environment
        .filter_map(OsStr::to_str)
        .find_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')))
}
