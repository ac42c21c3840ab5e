//! Who holds a TCP port of this machine.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};

use listeners::{Protocol, SocketState};
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

/// Whether this user can listen on `port` of the loopback interface.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Whether nobody could listen on all addresses: the table of sockets leaves out whose process it cannot see.
fn is_taken(port: u16) -> bool {
    let bound = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
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
    use super::*;

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
