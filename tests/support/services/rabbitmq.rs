//! A private RabbitMQ: a node, cookie and port mapper of its own.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use super::{Folder, connect, free_port, program};

pub struct Server {
    server: PathBuf,
    epmd: PathBuf,
    folder: PathBuf,
    port: u16,
    distribution: u16,
    mapper: u16,
}

impl super::Server for Server {
    const NAME: &'static str = "RabbitMQ";
    const STOP: Signal = Signal::SIGTERM;

    fn prepare(folder: &Folder, port: u16) -> Result<Self, String> {
        // The one in Debian's /usr/sbin changes to a user and folders of its own.
        let places = ["/usr/lib/rabbitmq/bin", "/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin"];
        let server = program("rabbitmq-server", &places.map(PathBuf::from), "rabbitmq-server")?;
        let epmd = program("epmd", &[], "erlang-base")?;
        let path = folder.path();
        let configuration = format!(
            "listeners.tcp.local = 127.0.0.1:{port}\ndisk_free_limit.absolute = 50MB\nlog.console = true\nlog.console.level = warning\nlog.file = false\n"
        );
        fs::write(path.join("rabbitmq.conf"), configuration).map_err(|error| error.to_string())?;
        fs::write(path.join("enabled_plugins"), "[].\n").map_err(|error| error.to_string())?;
        Ok(Self { server, epmd, folder: path.to_owned(), port, distribution: free_port(), mapper: free_port() })
    }

    fn commands(&self) -> Vec<Command> {
        let mut mapper = Command::new(&self.epmd);
        mapper.args(["-port", &self.mapper.to_string(), "-address", "127.0.0.1", "-relaxed_command_check"]);
        let mut server = Command::new(&self.server);
        let path = |name: &str| self.folder.join(name);
        server
            .env("HOME", &self.folder)
            .env("RABBITMQ_NODENAME", format!("test{}@localhost", self.port))
            .env("RABBITMQ_CONF_ENV_FILE", path("no-environment"))
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", path("no-advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
            .env("RABBITMQ_LOG_BASE", path("logs"))
            .env("RABBITMQ_SCHEMA_DIR", path("schema"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", path("generated"))
            .env("RABBITMQ_PID_FILE", path("pid"))
            .env("RABBITMQ_DIST_PORT", self.distribution.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .env("ERL_EPMD_PORT", self.mapper.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // The start script stays out of the way, so that signals reach the server itself.
            .env("RUNNING_UNDER_SYSTEMD", "1")
            .env_remove("NOTIFY_SOCKET");
        vec![mapper, server]
    }

    /// Sends the protocol's header and waits for the method frame that a ready broker sends.
    fn answers(&self) -> bool {
        let ask = || {
            let mut stream = connect(self.port)?;
            stream.write_all(b"AMQP\x00\x00\x09\x01").ok()?;
            let mut answer = [0; 11];
            stream.read_exact(&mut answer).ok()?;
            // Type 1 (method) on channel 0, class 10 (connection), method 10 (start).
            Some(answer[..3] == [1, 0, 0] && answer[7..] == [0, 10, 0, 10])
        };
        ask().unwrap_or(false)
    }

    fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/", self.port)
    }
}
