//! Who holds a TCP port of this machine.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use listeners::{Protocol, SocketState};
use socket2::{Domain, Socket, Type};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

/// The process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A process that this user may look at.
    Process {
        /// Its process id.
        pid: u32,
        /// Its name, as the system's process list has it.
        name: String,
        /// Its command line; empty where the system does not tell.
        command: String,
    },
    /// A process of another user: the system does not say which.
    Foreign,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, name, command } if command.is_empty() => write!(f, "{name} (pid {pid})"),
            Self::Process { pid, name, command } => write!(f, "{name} (pid {pid}: {command})"),
            Self::Foreign => f.write_str("a process of another user"),
        }
    }
}

/// Why this user cannot listen on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Somebody does already.
    Held(Holder),
    /// The system does not let him, for this reason.
    Refused(String),
}

/// Why this user cannot listen on `port` of the loopback interface; `None` where he can.
pub fn obstacle(port: u16) -> Option<Obstacle> {
    let refused = |error: io::Error| Obstacle::Refused(error.to_string());
    let error = bind(Ipv4Addr::LOCALHOST, port).err()?;
    if error.kind() != io::ErrorKind::AddrInUse {
        return Some(refused(error));
    }
    // Whoever had it may have given it up since.
    holder(port).map(Obstacle::Held).or_else(|| bind(Ipv4Addr::LOCALHOST, port).err().map(refused))
}

/// Whether this user can listen on `port` of the loopback interface.
pub fn is_free(port: u16) -> bool {
    bind(Ipv4Addr::LOCALHOST, port).is_ok()
}

/// Who listens on `port`, on whatever address; `None` where it is free.
pub fn holder(port: u16) -> Option<Holder> {
    let listener = listeners::get_all().ok().and_then(|all| {
        all.into_iter().find(|listener| {
            listener.socket.port() == port
                && listener.protocol == Protocol::TCP
                && listener.state == SocketState::Listen
        })
    });
    match listener {
        Some(listener) => {
            let command = command(listener.process.pid);
            Some(Holder::Process { pid: listener.process.pid, name: listener.process.name, command })
        }
        None => is_taken(port).then_some(Holder::Foreign),
    }
}

/// Whether nobody could listen on all addresses: the table of sockets leaves out whose process it cannot see.
fn is_taken(port: u16) -> bool {
    bind(Ipv4Addr::UNSPECIFIED, port).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// Asks for `port` without listening on it: a probe that listens takes the port from whoever opens, or probes, it at
/// the same instant. The address may be used again, as servers' may, so that their last connections do not count.
fn bind(address: Ipv4Addr, port: u16) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((address, port)).into())
}

/// The longest command line that a message shows, in characters.
const SHOWN: usize = 80;

fn command(pid: u32) -> String {
    let pid = Pid::from_u32(pid);
    let Ok(mut system) = System::new() else { return String::new() };
    let wanted = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, wanted);
    let words = system.process(pid).map(|process| process.cmd()).unwrap_or_default();
    let line = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SHOWN { line } else { line.chars().take(SHOWN - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A free port that the system gives to nobody: below the range of outgoing connections.
    fn quiet_port() -> u16 {
        let begin = 10_000 + rand::random::<u16>() % 1000;
        (begin..12_000).find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).unwrap()
    }

    #[test]
    fn a_port_is_held_by_this_process_or_by_nobody() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        match holder(port) {
            Some(Holder::Process { pid, name, command }) => {
                assert_eq!(pid, std::process::id());
                assert!(!name.is_empty() && !command.is_empty());
            }
            other => panic!("{other:?}"),
        }
        drop(listener);
        assert_eq!(holder(port), None);
    }

    #[test]
    fn an_obstacle_is_who_listens() {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = obstacle(port);
        assert!(
            matches!(&found, Some(Obstacle::Held(Holder::Process { pid, .. })) if *pid == std::process::id()),
            "{found:?}"
        );
        drop(listener);
        assert!(obstacle(port).is_none());
    }

    /// What becomes of `attempt` while another thread asks for `port` again and again.
    fn beside_a_probe(port: u16, attempt: impl Fn() -> io::Result<()>) -> Vec<io::Error> {
        let (asked, ended) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let _ = bind(Ipv4Addr::LOCALHOST, port);
                    asked.store(true, Ordering::Relaxed);
                }
            });
            while !asked.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            let errors = (0..20_000).filter_map(|_| attempt().err()).collect();
            ended.store(true, Ordering::Relaxed);
            errors
        })
    }

    #[test]
    fn a_probe_is_in_nobody_s_way() {
        let port = quiet_port();
        let errors = beside_a_probe(port, || bind(Ipv4Addr::LOCALHOST, port));
        assert!(errors.is_empty(), "another probe, {} times: {:?}", errors.len(), errors.first());
        let errors = beside_a_probe(port, || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop));
        assert!(errors.is_empty(), "a listener, {} times: {:?}", errors.len(), errors.first());
    }

    #[test]
    fn a_connection_is_not_a_listener() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = client.local_addr().unwrap().port();
        let found = holder(port);
        assert!(!matches!(found, Some(Holder::Process { .. })), "{found:?}");
    }

    #[test]
    fn a_holder_reads_well() {
        let holder = Holder::Process { pid: 7, name: "python3".into(), command: "python3 -m http.server".into() };
        assert_eq!(holder.to_string(), "python3 (pid 7: python3 -m http.server)");
        assert_eq!(Holder::Foreign.to_string(), "a process of another user");
    }
}
