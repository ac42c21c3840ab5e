//! Processes whose supervisor is gone: found by the marks in their environment, and ended, never adopted.

use std::ffi::OsStr;
use std::path::Path;
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
    /// What stands for the replica and the run in the environment of a supervisor.
    pub const SUPERVISOR: &str = "supervisor";
}

/// How long a supervisor may take to end all it owns.
const SUPERVISOR_PATIENCE: Duration = Duration::from_secs(20);

/// How long a leftover may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// A process known by more than its number, which may be another's tomorrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leftover {
    pid: sysinfo::Pid,
    started: u64,
}

/// A supervisor that lives but does not listen where it was looked for.
#[derive(Debug, Clone)]
struct Unreachable {
    process: Leftover,
    /// The run-time folder that it was started with, if any.
    runtime: Option<String>,
}

/// What is left of a project that no supervisor owns.
#[derive(Debug, Default)]
pub struct Leftovers {
    found: Vec<Leftover>,
    /// A supervisor that nobody can reach: its socket is gone, or in another run-time folder.
    supervisor: Option<Unreachable>,
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
                let leftover = Leftover { pid: *pid, started: process.start_time() };
                if run != mark::SUPERVISOR {
                    leftovers.found.push(leftover);
                } else if pid.as_u32() != std::process::id() {
                    let runtime = value("XDG_RUNTIME_DIR").map(str::to_owned);
                    leftovers.supervisor = Some(Unreachable { process: leftover, runtime });
                }
            } else {
                leftovers.foreign_root = Some(root.to_owned());
            }
        }
        leftovers
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.found.len() + usize::from(self.supervisor.is_some())
    }

    /// A supervisor that works well, in a run-time folder that is not this command's: its process and the folder.
    pub fn elsewhere(&self, socket: &Path) -> Option<(u32, String)> {
        let supervisor = self.supervisor.as_ref()?;
        let runtime = supervisor.runtime.clone()?;
        let there = Path::new(&runtime).join("scalectl").join(socket.file_name()?);
        (there != socket && there.exists()).then_some((supervisor.process.pid.as_u32(), runtime))
    }

    /// Ends them: asks first, and kills what has not ended in time. Returns how many there were.
    pub async fn end(self) -> usize {
        // A supervisor first: it would start again what ends.
        if let Some(supervisor) = &self.supervisor {
            end(&[supervisor.process], SUPERVISOR_PATIENCE).await;
        }
        end(&self.found, PATIENCE).await;
        self.count()
    }
}

async fn end(leftovers: &[Leftover], patience: Duration) {
    for (send, patience) in [(Signal::SIGTERM, patience), (Signal::SIGKILL, PATIENCE)] {
        signal(leftovers, send);
        let deadline = tokio::time::Instant::now() + patience;
        while !alive(leftovers).is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
    }
}

fn signal(leftovers: &[Leftover], signal: Signal) {
    for leftover in alive(leftovers) {
        // It may have ended in between, which is what was wanted.
        let _ = kill(Pid::from_raw(leftover.pid.as_u32().cast_signed()), signal);
    }
}

fn alive(leftovers: &[Leftover]) -> Vec<Leftover> {
    let pids: Vec<_> = leftovers.iter().map(|l| l.pid).collect();
    let Ok(mut system) = System::new() else { return Vec::new() };
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, ProcessRefreshKind::nothing());
    let lives = |l: &&Leftover| {
        system
            .process(l.pid)
            .is_some_and(|p| p.start_time() == l.started && p.status() != sysinfo::ProcessStatus::Zombie)
    };
    leftovers.iter().filter(lives).copied().collect()
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
