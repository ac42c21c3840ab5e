//! Who holds a TCP port of this machine.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

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

/// How often a port is asked for again that is in use, and by nobody who could be found.
const ATTEMPTS: u32 = 3;
/// How long after each other.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a listener of this machine may take to accept.
const ACCEPT: Duration = Duration::from_millis(500);

/// Why this user cannot listen on `port` of the loopback interface; `None` where he can.
pub fn obstacle(port: u16) -> Option<Obstacle> {
    let mut refusal = refused(port)?;
    for _ in 0..ATTEMPTS {
        if let Some(holder) = holder(port) {
            return Some(Obstacle::Held(holder));
        }
        if refusal.kind() != io::ErrorKind::AddrInUse {
            break;
        }
        // Whoever had it has given it up since, or only asked for it.
        std::thread::sleep(PAUSE);
        refusal = refused(port)?;
    }
    Some(Obstacle::Refused(refusal.to_string()))
}

/// Whether this user can listen on `port` of the loopback interface.
pub fn is_free(port: u16) -> bool {
    refused(port).is_none()
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

/// Why `port` cannot be had on the loopback interface. An IPv6 address that the machine lacks does not count.
fn refused(port: u16) -> Option<io::Error> {
    let on_4 = bind(Ipv4Addr::LOCALHOST.into(), port).err();
    on_4.or_else(|| {
        bind(Ipv6Addr::LOCALHOST.into(), port).err().filter(|error| error.kind() == io::ErrorKind::AddrInUse)
    })
}

/// Whether nobody could listen on all addresses: the table of sockets leaves out whose process it cannot see. Of a port that
/// this user may not open at all, whether it answers.
fn is_taken(port: u16) -> bool {
    match bind(Ipv4Addr::UNSPECIFIED.into(), port).map_err(|error| error.kind()) {
        Err(io::ErrorKind::AddrInUse) => true,
        Err(io::ErrorKind::PermissionDenied) => {
            TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), ACCEPT).is_ok()
        }
        Ok(()) | Err(_) => false,
    }
}

/// Asks for `port` without listening on it. Linux gives a port to any number of sockets that may share it and do not
/// listen: a probe that listens would take it from whoever opens, or probes, it at the same instant. That the address may be
/// used again is so that the last connections of a server do not count.
fn bind(address: IpAddr, port: u16) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address((address, port).into()), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
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

    use super::*;

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
