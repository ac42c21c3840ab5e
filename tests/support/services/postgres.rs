//! A private PostgreSQL.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::User;

use super::{Folder, program, run_as};

pub struct Server {
    programs: PathBuf,
    data: PathBuf,
    port: u16,
    user: Option<User>,
}

impl super::Server for Server {
    const NAME: &'static str = "PostgreSQL";
    /// Fast shutdown: clients are cut off.
    const STOP: Signal = Signal::SIGINT;

    fn prepare(folder: &Folder, port: u16) -> Result<Self, String> {
        let initdb = program("initdb", &versions(), "postgresql")?;
        let programs = initdb.canonicalize().unwrap().parent().unwrap().to_owned();
        let user = folder.owned_by(&["postgres", "nobody"]);
        let data = folder.path().join("data");
        let mut command = Command::new(&initdb);
        command.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        command.arg("--pgdata").arg(&data).current_dir(folder.path()).stdin(Stdio::null());
        run_as(&mut command, user.as_ref());
        let output = command.output().map_err(|error| format!("initdb: {error}"))?;
        if !output.status.success() {
            return Err(format!("initdb failed: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(Self { programs, data, port, user })
    }

    fn commands(&self) -> Vec<Command> {
        let mut command = Command::new(self.programs.join("postgres"));
        command.arg("-D").arg(&self.data).args(["-p", &self.port.to_string()]);
        // A killed server loses nothing without fsync, only a machine without power would.
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "wal_level=logical"] {
            command.args(["-c", setting]);
        }
        run_as(&mut command, self.user.as_ref());
        vec![command]
    }

    fn answers(&self) -> bool {
        let port = self.port.to_string();
        let query = Command::new(self.programs.join("psql"))
            .args(["--host=127.0.0.1", "--port", &port, "--username=postgres", "--no-psqlrc", "--command=SELECT 1"])
            .stdin(Stdio::null())
            .output();
        query.is_ok_and(|output| output.status.success())
    }

    fn url(&self) -> String {
        format!("postgresql://postgres:postgres@127.0.0.1:{}/postgres", self.port)
    }
}

/// Debian has each version in a folder of its own; the newest first.
fn versions() -> Vec<PathBuf> {
    let folders = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut versions: Vec<PathBuf> = folders.map(|folder| folder.path()).collect();
    versions.sort_by_key(|folder| folder.file_name().and_then(|n| n.to_str()?.parse::<u32>().ok()));
    versions.into_iter().rev().map(|folder| folder.join("bin")).collect()
}
