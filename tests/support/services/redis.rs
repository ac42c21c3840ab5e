//! A private Redis.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use super::{Folder, connect, program};

pub struct Server {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
}

impl super::Server for Server {
    const NAME: &'static str = "Redis";
    const STOP: Signal = Signal::SIGTERM;

    fn prepare(folder: &Folder, port: u16) -> Result<Self, String> {
        let program = program("redis-server", &[], "redis-server")?;
        Ok(Self { program, folder: folder.path().to_owned(), port })
    }

    fn commands(&self) -> Vec<Command> {
        let mut command = Command::new(&self.program);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(&self.folder);
        vec![command]
    }

    fn answers(&self) -> bool {
        let ask = || {
            let mut stream = connect(self.port)?;
            stream.write_all(b"PING\r\n").ok()?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).ok()?;
            Some(&answer == b"+PONG")
        };
        ask().unwrap_or(false)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}
