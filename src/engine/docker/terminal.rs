//! A command in a container on the command's own terminal: `exec` and `run`.

use std::io::IsTerminal;
use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ContainerCreateBody, ExecConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, KillContainerOptionsBuilder,
    ResizeContainerTTYOptionsBuilder, ResizeExecOptionsBuilder, WaitContainerOptions,
};
use futures_util::{Stream, StreamExt};
use nix::sys::termios::{self, SetArg, Termios};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::containers::{self, Placed};
use super::labels::{self, Role};
use super::spec::Container;
use super::{Docker, fail, files};
use crate::engine::ReplicaId;
use crate::error::Failure;
use crate::units::Name;

/// Keys that nobody presses: the engine's own, Ctrl-P Ctrl-Q, take Ctrl-P away from shells.
const NEVER_DETACH: &str = "ctrl-^,ctrl-]";
/// How much of the input is sent at once, in bytes.
const CHUNK: usize = 8192;
/// Added to a signal's number where it ended a command, as shells do.
const SIGNALLED: u8 = 128;

impl Docker {
    /// Runs a command in a replica's container; returns its exit code.
    ///
    /// On a terminal the command has one too, and keys go to it as they are. A signal ends this command; the one in the
    /// container sees its input end.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub async fn exec(&self, replica: &ReplicaId, command: Vec<String>) -> Result<u8, Failure> {
        let api = &self.connection().docker;
        let program = command.first().cloned().unwrap_or_default();
        let failed = |e: &Error| fail::doing(&format!("run `{program}` in {replica}"), e);
        let tty = on_terminal();
        let config = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(tty),
            detach_keys: Some(NEVER_DETACH.to_owned()),
            env: terminal_variable(tty).map(|variable| vec![variable]),
            cmd: Some(command),
            ..ExecConfig::default()
        };
        let id = api.create_exec(&self.names().replica(replica), config).await.map_err(|e| failed(&e))?.id;
        let begin = StartExecOptions { tty, ..StartExecOptions::default() };
        let started = api.start_exec(&id, Some(begin)).await.map_err(|e| failed(&e))?;
        let StartExecResults::Attached { output, input } = started else { return Ok(0) };
        let raw = Raw::enter(tty);
        let resized = |(width, height): (u16, u16)| {
            let id = id.clone();
            async move {
                let size = ResizeExecOptionsBuilder::new().w(width.into()).h(height.into()).build();
                // A size that comes too late for its command changes nothing.
                let _ = api.resize_exec(&id, size).await;
            }
        };
        let ended = tokio::select! {
            result = relay(output, input, tty, resized) => result.map(|()| None),
            number = interruption() => Ok(Some(number)),
        };
        drop(raw);
        match ended.map_err(|e| failed(&e))? {
            Some(number) => Ok(SIGNALLED + number),
            None => {
                let looked = api.inspect_exec(&id).await.map_err(|e| fail::asking("how the command ended", &e))?;
                Ok(exit_code(looked.exit_code.unwrap_or(0)))
            }
        }
    }

    /// Runs a job, or a command with the environment of a service, in a container of its own; returns its exit code.
    ///
    /// The container is removed when the command ends, and when this one is told to end.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub async fn run(&self, name: &Name, command: Option<Vec<String>>) -> Result<u8, Failure> {
        let tty = on_terminal();
        let (spec, service) = self.beside(name, command)?;
        let api = &self.connection().docker;
        let volume = self.files(&service, &spec).await?;
        let title = format!("{}-run-{name}-{}", self.identity().project, std::process::id());
        let body = self.one_off(&spec, &title, name, volume.as_deref(), tty);
        let named = CreateContainerOptionsBuilder::new().name(&title).build();
        let created = api.create_container(Some(named), body).await;
        let id = created.map_err(|e| fail::doing(&format!("create a container for {name}"), &e))?.id;
        let ended = self.attached(&id, name, tty, spec.stop_timeout).await;
        containers::remove(api, &id, &title).await?;
        if let Some(volume) = volume {
            files::remove_unused(api, &volume).await?;
        }
        ended
    }

    /// The container of a job or service as a command beside the stack: nobody else reaches it.
    fn beside(&self, name: &Name, command: Option<Vec<String>>) -> Result<(Container, Name), Failure> {
        let specs = self.specs();
        let job = specs.jobs.get(name).map(|(spec, _)| spec);
        let found = job.or_else(|| specs.services.get(name).map(|(spec, _)| spec));
        let spec = found.ok_or_else(|| Failure::usage(format!("there is no `{name}`")))?.clone();
        let command = command.or(spec.command.clone());
        Ok((Container { command, aliases: Vec::new(), ports: Vec::new(), check: None, ..spec }, name.clone()))
    }

    fn one_off(
        &self,
        spec: &Container,
        title: &str,
        name: &Name,
        files: Option<&str>,
        tty: bool,
    ) -> ContainerCreateBody {
        let mut of = labels::of_role(self.identity(), Role::Run);
        of.insert(labels::SERVICE.to_owned(), name.to_string());
        let term = terminal_variable(tty).and_then(|text| Some(text.split_once('=')?.1.to_owned()));
        let own: Vec<_> = term.map(|term| ("TERM", term)).into_iter().collect();
        let placed = Placed {
            name: title,
            labels: of,
            project: &self.identity().project,
            alias: None,
            files,
            own: &own,
            restart: false,
        };
        ContainerCreateBody {
            tty: Some(tty),
            open_stdin: Some(true),
            stdin_once: Some(true),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..containers::body(spec, &placed)
        }
    }

    /// Starts a container with its streams on this command's, and waits for its end.
    async fn attached(&self, id: &str, name: &Name, tty: bool, patience: Duration) -> Result<u8, Failure> {
        let api = &self.connection().docker;
        let failed = |e: &Error| fail::doing(&format!("run {name}"), e);
        let attach = AttachContainerOptionsBuilder::new().stdin(true).stdout(true).stderr(true).stream(true);
        let options = attach.detach_keys(NEVER_DETACH).build();
        let streams = api.attach_container(id, Some(options)).await.map_err(|e| failed(&e))?;
        let started = containers::start(api, id, name.as_str());
        tokio::select! {
            biased;
            started = started => started?,
            number = interruption() => return Ok(SIGNALLED + number),
        }
        let raw = Raw::enter(tty);
        let resized = |(width, height): (u16, u16)| async move {
            let size = ResizeContainerTTYOptionsBuilder::new().w(width.into()).h(height.into()).build();
            // A size that comes too late for its container changes nothing.
            let _ = api.resize_container_tty(id, size).await;
        };
        let result = {
            let relayed = relay(streams.output, streams.input, tty, resized);
            let told = self.pass_signals_on(id, patience);
            tokio::pin!(relayed, told);
            tokio::select! {
                result = &mut relayed => result,
                never = &mut told => match never {},
            }
        };
        drop(raw);
        result.map_err(|e| failed(&e))?;
        let mut waiting = Box::pin(api.wait_container(id, None::<WaitContainerOptions>));
        match waiting.next().await {
            Some(Ok(end)) => Ok(exit_code(end.status_code)),
            Some(Err(Error::DockerContainerWaitError { code, .. })) => Ok(exit_code(code)),
            Some(Err(e)) => Err(fail::asking("how the command ended", &e)),
            None => Err(Failure::failed("the Docker engine ended while a command ran")),
        }
    }

    /// Sends the signals that this command gets to a container: it decides what becomes of it. Where it does nothing, a
    /// second signal kills it, and so does time after a SIGTERM.
    async fn pass_signals_on(&self, id: &str, patience: Duration) -> std::convert::Infallible {
        let number = interruption().await;
        self.signal(id, if number == interrupt_number() { "SIGINT" } else { "SIGTERM" }).await;
        tokio::select! {
            _ = interruption() => {}
            () = tokio::time::sleep(patience), if number != interrupt_number() => {}
        }
        self.signal(id, "SIGKILL").await;
        std::future::pending().await
    }

    async fn signal(&self, id: &str, name: &str) {
        let options = KillContainerOptionsBuilder::new().signal(name).build();
        // It may have ended in between.
        let _ = self.connection().docker.kill_container(id, Some(options)).await;
    }
}

/// Whether the command is on a terminal with both its input and its output.
fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// What programs on a terminal need to know of it.
fn terminal_variable(tty: bool) -> Option<String> {
    tty.then(|| format!("TERM={}", std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned())))
}

/// An exit code as the system takes it.
fn exit_code(code: i64) -> u8 {
    u8::try_from(code).unwrap_or(1)
}

fn interrupt_number() -> u8 {
    u8::try_from(nix::sys::signal::Signal::SIGINT as i32).unwrap_or(0)
}

/// The number of the next SIGINT or SIGTERM.
async fn interruption() -> u8 {
    let terminate_number = u8::try_from(nix::sys::signal::Signal::SIGTERM as i32).unwrap_or(0);
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => interrupt_number(),
        _ = terminate.recv() => terminate_number,
    }
}

/// A terminal that hands keys on as they are pressed, until this is dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn enter(wanted: bool) -> Self {
        let before = wanted.then(|| termios::tcgetattr(std::io::stdin()).ok()).flatten();
        if let Some(before) = &before {
            let mut raw = before.clone();
            termios::cfmakeraw(&mut raw);
            // Without it the command works, line by line.
            let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw);
        }
        Self(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, before);
        }
    }
}

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;
type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// Connects this command's streams with a container's until its output ends; tells the terminal's size at first and
/// whenever it changes.
async fn relay<R: Future<Output = ()>>(
    output: Output,
    input: Input,
    tty: bool,
    resized: impl Fn((u16, u16)) -> R,
) -> Result<(), Error> {
    let print = print(output);
    let feed = async {
        feed(input).await;
        std::future::pending::<()>().await;
    };
    let resize = follow_size(tty, resized);
    tokio::pin!(print, feed, resize);
    tokio::select! {
        result = &mut print => result,
        () = &mut feed => Ok(()),
        () = &mut resize => Ok(()),
    }
}

async fn print(mut output: Output) -> Result<(), Error> {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    while let Some(part) = output.next().await {
        // Where nobody reads any more, the command goes on to its end without a reader.
        let _ = match part? {
            LogOutput::StdErr { message } => write(&mut stderr, &message).await,
            other => write(&mut stdout, &other.into_bytes()).await,
        };
    }
    Ok(())
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// Sends this command's input until it ends, and tells the other side that it did.
async fn feed(mut input: Input) {
    let mut stdin = tokio::io::stdin();
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = stdin.read(&mut chunk).await {
        if input.write_all(&chunk[..length]).await.is_err() || input.flush().await.is_err() {
            return;
        }
    }
    // Where the other side is gone, nobody needs to know.
    let _ = input.shutdown().await;
}

async fn follow_size<R: Future<Output = ()>>(tty: bool, resized: impl Fn((u16, u16)) -> R) {
    let changes = signal(SignalKind::window_change());
    let (true, Ok(mut changes)) = (tty, changes) else { return std::future::pending().await };
    loop {
        if let Some((width, height)) = terminal_size::terminal_size() {
            resized((width.0, height.0)).await;
        }
        changes.recv().await;
    }
}
