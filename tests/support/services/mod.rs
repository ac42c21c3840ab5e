//! Real PostgreSQL, Redis and RabbitMQ: private instances on free loopback ports, in temporary folders.
//!
//! An instance ends with its value. One that lives in a static, or whose test program is killed, is ended by a
//! watchdog that waits for the end of the test program; what a killed watchdog left is ended by the next run, which
//! knows it by a variable in its environment.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, Uid, User, chown};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

use super::wait_for;

pub mod control;
mod postgres;
mod rabbitmq;
mod redis;

pub type Postgres = Instance<postgres::Server>;
pub type Redis = Instance<redis::Server>;
pub type RabbitMq = Instance<rabbitmq::Server>;

/// Far above what a start takes on a busy machine (RabbitMQ: ten seconds on two cores).
const START_LIMIT: Duration = Duration::from_secs(120);

/// The variable by which leftovers are known; its value names the test program that started them.
const MARKER: &str = "SCALECTL_TEST_OWNER";

/// What differs between the kinds of services.
pub trait Server: Sized {
    /// Name for messages.
    const NAME: &'static str;
    /// The signal after which it ends orderly and soon.
    const STOP: Signal;

    /// Prepares an instance in an empty folder, to listen on a port.
    fn prepare(folder: &Folder, port: u16) -> Result<Self, String>;
    /// The programs to start, in this order; the last one is the service.
    fn commands(&self) -> Vec<Command>;
    /// Whether it answers in its own protocol.
    fn answers(&self) -> bool;
    /// Its address, as its users are given it.
    fn url(&self) -> String;
}

/// A running (or killed) instance.
pub struct Instance<S: Server> {
    server: S,
    processes: Vec<Guarded>,
    folder: Folder,
}

impl<S: Server> Instance<S> {
    /// Starts an instance and waits until it answers. The error says what is missing or what its log says.
    pub fn start() -> Result<Self, String> {
        end_leftovers();
        let mut failure = String::new();
        // Between the choice of a port and its use somebody else may take it.
        for _ in 0..3 {
            let folder = Folder::new(S::NAME).map_err(|error| error.to_string())?;
            let server = S::prepare(&folder, free_port())?;
            let mut instance = Self { server, processes: Vec::new(), folder };
            match instance.launch() {
                Ok(()) => return Ok(instance),
                Err(reason) => failure = reason,
            }
        }
        Err(failure)
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    pub fn answers(&self) -> bool {
        self.server.answers()
    }

    /// Ends it as a crash would.
    pub fn kill9(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// Starts it again with its port and its data, and waits until it answers.
    pub fn restart(&mut self) {
        self.end(S::STOP);
        self.launch().unwrap_or_else(|reason| panic!("{reason}"));
    }

    fn launch(&mut self) -> Result<(), String> {
        for command in self.server.commands() {
            let guarded = Guarded::spawn(command, &self.folder).map_err(|error| format!("{}: {error}", S::NAME))?;
            self.processes.push(guarded);
        }
        let ended = wait_for(S::NAME, START_LIMIT, || {
            let ended = self.processes.last_mut()?.has_ended();
            (ended || self.server.answers()).then_some(ended)
        });
        if ended { Err(format!("{} ended at its start: {}", S::NAME, self.folder.log())) } else { Ok(()) }
    }

    fn end(&mut self, signal: Signal) {
        while let Some(mut process) = self.processes.pop() {
            process.end(signal);
        }
    }
}

impl<S: Server> Drop for Instance<S> {
    fn drop(&mut self) {
        self.end(S::STOP);
    }
}

/// A folder for an instance, removed with it. Programs that refuse root get a folder of the user they run as.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(name: &str) -> io::Result<Self> {
        let prefix = format!("scalectl-{}-", name.to_lowercase());
        let path = tempfile::Builder::new().prefix(&prefix).tempdir()?.keep();
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first of these users that there is, when this is root: the folder becomes theirs.
    fn owned_by(&self, names: &[&str]) -> Option<User> {
        if !Uid::effective().is_root() {
            return None;
        }
        let user = names.iter().find_map(|name| User::from_name(name).ok().flatten())?;
        chown(&self.path, Some(user.uid), Some(user.gid)).unwrap();
        Some(user)
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(self.path.join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Runs a command as a user, where there is one to change to.
fn run_as(command: &mut Command, user: Option<&User>) {
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
}

/// A process with its children as a group, and the watchdog that ends it when this program ends.
struct Guarded {
    child: Child,
    watchdog: Child,
}

impl Guarded {
    fn spawn(mut command: Command, folder: &Folder) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(folder.path.join("log"))?;
        let child = command
            .env(MARKER, owner())
            .current_dir(&folder.path)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        // The watchdog's input ends with this program, however that ends.
        let watchdog = Command::new("sh")
            .args(["-c", "cat >/dev/null; kill -s KILL -- -\"$1\"; sleep 1; rm -rf -- \"$2\"", "watchdog"])
            .arg(child.id().to_string())
            .arg(&folder.path)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child, watchdog })
    }

    fn group(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn end(&mut self, signal: Signal) {
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let group = self.group();
        let _ = killpg(group, signal);
        let polite = (0..1000).any(|_| {
            let ended = self.has_ended();
            if !ended {
                std::thread::sleep(Duration::from_millis(10));
            }
            ended
        });
        // The rest of the group, and all of it when it did not listen.
        if killpg(group, Signal::SIGKILL) != Err(Errno::ESRCH) || !polite {
            let _ = self.child.wait();
        }
    }
}

/// This program: its pid, and its start time so that a pid used again is not mistaken for it.
fn owner() -> String {
    let pid = sysinfo::Pid::from_u32(std::process::id());
    format!("{pid}-{}", start_time(&processes(ProcessesToUpdate::Some(&[pid])), pid).unwrap())
}

fn processes(which: ProcessesToUpdate) -> System {
    let mut system = System::new().unwrap();
    let wanted = ProcessRefreshKind::nothing().with_environ(UpdateKind::Always);
    system.refresh_processes_specifics(which, false, wanted);
    system
}

fn start_time(system: &System, pid: sysinfo::Pid) -> Option<u64> {
    Some(system.process(pid)?.start_time())
}

/// Ends what the services of a killed run left behind.
fn end_leftovers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let system = processes(ProcessesToUpdate::All);
        for process in system.processes().values() {
            let Some(owner) = process.environ().iter().find_map(marker) else { continue };
            let alive = owner.split_once('-').is_some_and(|(pid, started)| {
                let pid = pid.parse().map(sysinfo::Pid::from_u32);
                pid.is_ok_and(|pid| start_time(&system, pid).map(|time| time.to_string()).as_deref() == Some(started))
            });
            if !alive {
                process.kill();
            }
        }
    });
}

fn marker(variable: &OsString) -> Option<String> {
    let (name, value) = variable.to_str()?.split_once('=')?;
    (name == MARKER).then(|| value.to_owned())
}

pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn connect(port: u16) -> Option<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    Some(stream)
}

/// A program on the path, or in one of the folders where distributions hide servers.
fn program(name: &str, folders: &[PathBuf], package: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = folders.iter().cloned().chain(std::env::split_paths(&path)).chain(["/usr/sbin".into()]);
    places
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("{name} is not installed (Debian: apt-get install {package})"))
}
