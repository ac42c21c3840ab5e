//! Whether a container is ready, and why it does not become so.
//!
//! scalectl asks itself, many times a second at first, and does not wait for the interval of a health check: a service
//! over HTTP on its published port, everything else by a command inside the container.

use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum as Status, ExecConfig, HealthStatusEnum};
use bollard::query_parameters::{InspectContainerOptions, LogsOptionsBuilder};
use futures_util::StreamExt;
use nix::sys::signal::Signal;

use super::ends::Ends;
use super::labels::{self, Role};
use super::observe::{health, labels_of, published, running};
use super::spec::Container;
use super::{containers, fail};
use crate::engine::Note;
use crate::engine::local::probe;
use crate::error::{Exit, Failure};
use crate::units::Name;

/// How long one readiness check may take.
const CHECK: Duration = Duration::from_secs(3);
/// The first pause between two checks; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// A program that ended by itself this often while it was waited for will not come up.
const ENDS: u32 = 3;
/// After this many restarts the engine waits for seconds before the next one.
const SLOW_RESTARTS: i64 = 5;
/// How long an engine that ends may still answer after it has ended what ran on it.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Last lines of a log that are shown as evidence.
const EVIDENCE_LINES: usize = 20;

/// The answer to a readiness check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It serves.
    Ready,
    /// Not yet, for this reason.
    NotYet(Option<String>),
}

/// Asks a running container once, as its labels say.
pub async fn ask(docker: &Docker, id: &str, container: &ContainerInspectResponse, remote: bool) -> Answer {
    let of = labels_of(container);
    if Role::of(&of) == Some(Role::Backing) {
        // The engine's own check is as good as ours once it has succeeded, and costs nothing.
        if health(container) == Some(HealthStatusEnum::HEALTHY) {
            return Answer::Ready;
        }
        return own_health(docker, id, container).await;
    }
    let check = of.get(labels::CHECK).and_then(|text| serde_json::from_str::<(u16, String)>(text).ok());
    let Some((port, path)) = check else {
        return if running(container) { Answer::Ready } else { Answer::NotYet(None) };
    };
    if remote {
        return match health(container) {
            None | Some(HealthStatusEnum::HEALTHY | HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) => Answer::Ready,
            _ => own_health(docker, id, container).await,
        };
    }
    let ports = published(container);
    let Some((_, address)) = ports.iter().find(|(inside, _)| *inside == port) else {
        return Answer::NotYet(Some(format!("port {port} is not published")));
    };
    match probe::check(*address, &path, CHECK).await {
        probe::Outcome::Ready => Answer::Ready,
        other => Answer::NotYet(Some(format!("GET {path}: {other}"))),
    }
}

/// What the engine's own health check says of a container that the stack says nothing of.
fn by_health(container: &ContainerInspectResponse) -> Answer {
    match health(container) {
        None | Some(HealthStatusEnum::HEALTHY | HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) => Answer::Ready,
        Some(other) => Answer::NotYet(Some(format!("its health check says {other}"))),
    }
}

/// The image's own health check, run now.
async fn own_health(docker: &Docker, id: &str, container: &ContainerInspectResponse) -> Answer {
    let test = container.config.as_ref().and_then(|c| c.healthcheck.as_ref()).and_then(|h| h.test.clone());
    let command = match test.as_deref() {
        Some([kind, rest @ ..]) if kind == "CMD" => rest.to_vec(),
        Some([kind, line]) if kind == "CMD-SHELL" => vec!["sh".to_owned(), "-c".to_owned(), line.clone()],
        _ => return by_health(container),
    };
    by_command(docker, id, &command).await
}

async fn by_command(docker: &Docker, id: &str, command: &[String]) -> Answer {
    match tokio::time::timeout(CHECK, run_inside(docker, id, command)).await {
        Ok(Ok((0, _))) => Answer::Ready,
        Ok(Ok((code, output))) => {
            let last = output.lines().last().unwrap_or_default().trim().to_owned();
            let said = if last.is_empty() { format!("exit code {code}") } else { last };
            Answer::NotYet(Some(format!("`{}`: {said}", command.join(" "))))
        }
        Ok(Err(error)) => Answer::NotYet(Some(fail::words(&error))),
        Err(_) => Answer::NotYet(Some(format!("`{}`: no end within {} s", command.join(" "), CHECK.as_secs()))),
    }
}

/// Runs a command in a container; its exit code and output.
///
/// # Errors
///
/// When the engine does not run it.
pub async fn run_inside(
    docker: &Docker,
    id: &str,
    command: &[String],
) -> Result<(i64, String), bollard::errors::Error> {
    let config = ExecConfig {
        cmd: Some(command.to_vec()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    };
    let exec = docker.create_exec(id, config).await?.id;
    let mut text = String::new();
    if let StartExecResults::Attached { mut output, .. } = docker.start_exec(&exec, None::<StartExecOptions>).await? {
        while let Some(part) = output.next().await {
            text.push_str(&String::from_utf8_lossy(&part?.into_bytes()));
        }
    }
    let code = docker.inspect_exec(&exec).await?.exit_code.unwrap_or(-1);
    Ok((code, text))
}

/// Waits until a container is ready.
///
/// # Errors
///
/// With the root cause and its evidence: exit code, memory limit, the last check's answer, the last lines of the log.
pub async fn wait(
    docker: &Docker,
    id: &str,
    called: &str,
    spec: &Container,
    remote: bool,
    patience: Duration,
    note: &dyn Fn(Note),
) -> Result<(), Failure> {
    let begin = Instant::now();
    hurry(docker, id, called, &look(docker, id, called).await?).await?;
    let mut ends = Ends::watch(docker, &look(docker, id, called).await?);
    let mut pause = FIRST_PAUSE;
    let mut told = None;
    loop {
        let container = look(docker, id, called).await?;
        let killed = ends.count > 0 && ends.out_of_memory;
        if has_ended(&container) || killed || ends.count >= ENDS {
            ends.settle().await;
            return Err(ended(docker, id, called, spec, &container, &ends).await);
        }
        let answer = match container.state.as_ref().and_then(|s| s.status) {
            Some(Status::PAUSED) => Answer::NotYet(Some("it is paused".to_owned())),
            _ if running(&container) => ask(docker, id, &container, remote).await,
            _ => Answer::NotYet(Some("it is being restarted".to_owned())),
        };
        let Answer::NotYet(reason) = answer else { return Ok(()) };
        if reason.is_some() && reason != told {
            note(Note::Detail(reason.clone().unwrap_or_default()));
            told = reason;
        }
        if begin.elapsed() >= patience {
            return Err(not_ready(docker, id, called, told, patience).await);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ends.next() => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Starts a container now that the engine would start again only after a long pause: what made its program end may be
/// mended since.
async fn hurry(docker: &Docker, id: &str, called: &str, container: &ContainerInspectResponse) -> Result<(), Failure> {
    let status = container.state.as_ref().and_then(|s| s.status);
    if status != Some(Status::RESTARTING) || container.restart_count.unwrap_or(0) < SLOW_RESTARTS {
        return Ok(());
    }
    containers::stop(docker, id, called, Duration::ZERO).await?;
    containers::start(docker, id, called).await
}

async fn look(docker: &Docker, id: &str, called: &str) -> Result<ContainerInspectResponse, Failure> {
    docker.inspect_container(id, None::<InspectContainerOptions>).await.map_err(|e| match fail::is_missing(&e) {
        true => Failure::failed(format!("{called} was removed while it was waited for"))
            .because("another program works on the same containers"),
        false => fail::asking(&format!("how far {called} is"), &e),
    })
}

/// Whether a container's program ended and is not started again.
fn has_ended(container: &ContainerInspectResponse) -> bool {
    matches!(container.state.as_ref().and_then(|s| s.status), Some(Status::EXITED | Status::DEAD))
}

async fn ended(
    docker: &Docker,
    id: &str,
    called: &str,
    spec: &Container,
    container: &ContainerInspectResponse,
    ends: &Ends<'_>,
) -> Failure {
    let state = container.state.clone().unwrap_or_default();
    let out_of_memory = ends.out_of_memory || state.oom_killed == Some(true);
    let code = ends.code.or(state.exit_code).unwrap_or(-1);
    if !out_of_memory
        && (ends.told || signal_of(code).is_some())
        && let Some(error) = goes_away(docker).await
    {
        return fail::asking(&format!("how far {called} is"), &error);
    }
    if ends.told && !out_of_memory {
        return Failure::new(Exit::Unhealthy, format!("{called} was told to end while it was waited for"))
            .because("another program, or somebody by hand, stopped its container")
            .hint("run the same command again");
    }
    let mut failure = if out_of_memory { memory(called, spec) } else { crash(called, code, ends.count) };
    if let Some(error) = state.error.filter(|error| !error.is_empty()) {
        failure = failure.because(error);
    }
    with_log(docker, id, failure).await
}

/// Why the engine does not answer any more: one that is told to end first ends what runs on it, as if that had been
/// killed for a reason of its own.
async fn goes_away(docker: &Docker) -> Option<bollard::errors::Error> {
    let begin = Instant::now();
    while begin.elapsed() < LAST_ANSWERS {
        if let Err(error) = docker.ping().await {
            return Some(error);
        }
        tokio::time::sleep(LONGEST_PAUSE).await;
    }
    None
}

/// The signal that an exit code stands for.
fn signal_of(code: i64) -> Option<Signal> {
    i32::try_from(code - 128).ok().and_then(|number| Signal::try_from(number).ok())
}

/// The failure of a program that ends by itself.
fn crash(called: &str, code: i64, times: u32) -> Failure {
    let times = if times > 1 { format!(" ({times} times)") } else { String::new() };
    let what = format!("{called} does not start: it ended with exit code {code}{times}");
    let failure = Failure::new(Exit::Unhealthy, what).hint("mend what its log says, then run the same command again");
    match signal_of(code) {
        Some(signal) => failure.because(format!("exit code {code} stands for {signal}")),
        None => failure,
    }
}

/// The failure of a program that the kernel killed.
fn memory(called: &str, spec: &Container) -> Failure {
    let failure = Failure::new(Exit::Unhealthy, format!("{called} was killed: it needs more memory than it may have"));
    match spec.resources.as_ref().and_then(|r| r.memory) {
        Some(limit) => failure
            .because(format!("its limit is {limit} (resources.memory)"))
            .hint("raise resources.memory in scalectl.toml, then run the same command again"),
        None => failure
            .because("it has no limit of its own: the machine, or the engine, has no memory left")
            .hint("free memory, then run the same command again"),
    }
}

async fn not_ready(docker: &Docker, id: &str, called: &str, reason: Option<String>, patience: Duration) -> Failure {
    let waited = crate::units::TimeSpan(patience);
    let failure = Failure::new(Exit::Unhealthy, format!("{called} runs, but was not ready within {waited}"))
        .because(reason.unwrap_or_else(|| "it was never asked".to_owned()))
        .hint("if it only needs longer: `--timeout`");
    with_log(docker, id, failure).await
}

/// The failure of a job, with its cause and the last lines of its log.
pub async fn job_failed(docker: &Docker, id: &str, job: &Name, spec: &Container, code: i64) -> Failure {
    let state = look(docker, id, "the job").await.ok().and_then(|container| container.state).unwrap_or_default();
    if state.oom_killed != Some(true)
        && signal_of(code).is_some()
        && let Some(error) = goes_away(docker).await
    {
        return fail::asking(&format!("how job {job} ended"), &error);
    }
    let mut failure = Failure::failed(format!("job {job} failed: it ended with exit code {code}"));
    if state.oom_killed == Some(true) {
        let limit = spec.resources.as_ref().and_then(|r| r.memory);
        let limit = limit.map(|limit| format!(": {limit} (resources.memory)")).unwrap_or_default();
        failure = failure.because(format!("it was killed: it needs more memory than it may have{limit}"));
    }
    with_log(docker, id, failure.hint("mend what its log says, then run the same command again")).await
}

/// Adds the last lines of a container's log as evidence.
pub async fn with_log(docker: &Docker, id: &str, failure: Failure) -> Failure {
    let lines = last_lines(docker, id).await;
    if lines.is_empty() {
        return failure.because("its log is empty");
    }
    lines.into_iter().fold(failure.because("the end of its log:"), |failure, line| failure.because(format!("  {line}")))
}

async fn last_lines(docker: &Docker, id: &str) -> Vec<String> {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&EVIDENCE_LINES.to_string()).build();
    let mut log = docker.logs(id, Some(options));
    let mut text = String::new();
    while let Some(Ok(part)) = log.next().await {
        text.push_str(&String::from_utf8_lossy(&LogOutput::into_bytes(part)));
    }
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[lines.len().saturating_sub(EVIDENCE_LINES)..].to_vec()
}
