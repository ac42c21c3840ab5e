//! A new configuration in a balancer's container: put there, tested, taken over, waited for.

use std::io::{Cursor, Read};
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error as ApiError;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use bollard::query_parameters::{DownloadFromContainerOptions, InspectContainerOptions, UploadToContainerOptions};
use futures_util::StreamExt;

use super::config::{BalancerConfig, CONFIG_FILE, CONFIG_FOLDER, members, render, ways};
use crate::engine::docker::fail;
use crate::engine::docker::labels::replica_host;
use crate::engine::{Note, ReplicaId};
use crate::error::Failure;

const APPLY: &str = include_str!("apply.sh");
const DRAIN: &str = include_str!("drain.sh");

/// What a worker may take beyond the drain time to be gone.
const AFTER_DRAIN: Duration = Duration::from_secs(3);

const UNREADABLE: &str = "cannot read the balancer's configuration";

/// Larger than any configuration; beyond it, what is there is not ours.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// The members in the configuration of a container, whether or not it runs.
///
/// # Errors
///
/// When the engine does not answer.
pub async fn read_members(docker: &Docker, container: &str) -> Result<Vec<ReplicaId>, Failure> {
    Ok(read(docker, container).await?.as_deref().map(members).unwrap_or_default())
}

/// Puts a configuration into a container that does not run; it will start with it.
///
/// # Errors
///
/// When the engine does not take it.
pub async fn put(docker: &Docker, container: &str, config: &BalancerConfig) -> Result<(), Failure> {
    write(docker, container, "nginx.conf", &render(config)?).await
}

/// Makes a configuration the one that a balancer works by; done again, it only waits for what is still under way.
///
/// When it returns, new members are reached, and requests on members that left have ended, or the drain time has.
///
/// # Errors
///
/// With nginx's own words, when it refuses the configuration: then it goes on with the one before. When a new member is
/// not reached from the balancer's container.
pub async fn install(
    docker: &Docker,
    container: &str,
    config: &BalancerConfig,
    note: &dyn Fn(Note),
) -> Result<(), Failure> {
    let before = read(docker, container).await?.unwrap_or_default();
    let present = members(&before);
    if !runs(docker, container).await? {
        return put(docker, container, config).await;
    }
    let mut text = before.clone();
    for way in ways(&present, &config.members) {
        let next = BalancerConfig { members: way, ..config.clone() };
        let rendered = render(&next)?;
        if rendered != text {
            apply(docker, container, &next, &members(&text), &rendered).await?;
            text = rendered;
        }
    }
    let some_left = present.iter().any(|id| !config.members.contains(id));
    // Unchanged, it is the work of a command that may have been interrupted while it waited.
    if some_left || text == before {
        drained(docker, container, config.drain, note).await?;
    }
    Ok(())
}

/// One step: from the members that are there to those of the next configuration.
async fn apply(
    docker: &Docker,
    container: &str,
    next: &BalancerConfig,
    present: &[ReplicaId],
    rendered: &str,
) -> Result<(), Failure> {
    write(docker, container, "nginx.conf.new", rendered).await?;
    let added = next.members.iter().filter(|id| !present.contains(id));
    let members =
        added.flat_map(|id| [id.to_string(), id.slot.to_string(), format!("{}:{}", replica_host(id), next.port)]);
    let path = next.check.clone().unwrap_or_else(|| "/".to_owned());
    let ended = run(docker, container, APPLY, [path].into_iter().chain(members).collect()).await?;
    let what = match ended.code {
        0 => return Ok(()),
        3 => format!("nginx refuses the configuration of {}'s balancer, and goes on with the one before", next.service),
        5 => format!("the balancer of {} cannot reach a replica", next.service),
        _ => format!("nginx did not take over the configuration of {}'s balancer", next.service),
    };
    let said = ended.stderr.lines().filter(|line| !line.contains("[notice]") && !line.trim().is_empty());
    Err(said.fold(Failure::failed(what), |failure, line| failure.because(line)))
}

/// Waits for the workers of older configurations to end; warns of those that are left after the drain time.
async fn drained(docker: &Docker, container: &str, drain: Duration, note: &dyn Fn(Note)) -> Result<(), Failure> {
    let seconds = (drain + AFTER_DRAIN).as_secs();
    let ended = run(docker, container, DRAIN, vec![seconds.to_string()]).await?;
    if ended.code != 0 {
        let left = ended.stdout.trim();
        note(Note::Warning(format!(
            "after {seconds} s, requests are still under way on {left} old workers of the balancer"
        )));
    }
    Ok(())
}

/// How a command in a container ended.
struct Ended {
    code: i64,
    stdout: String,
    stderr: String,
}

/// Runs a script in a container, and waits for its end.
async fn run(docker: &Docker, container: &str, script: &str, arguments: Vec<String>) -> Result<Ended, Failure> {
    let failure = |error: ApiError| fail::doing("run a command in the balancer's container", &error);
    let mut cmd = ["sh", "-c", script, "sh"].map(str::to_owned).to_vec();
    cmd.extend(arguments);
    let config = ExecConfig {
        cmd: Some(cmd),
        user: Some("0".to_owned()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    };
    let exec = docker.create_exec(container, config).await.map_err(failure)?;
    let mut ended = Ended { code: 0, stdout: String::new(), stderr: String::new() };
    if let StartExecResults::Attached { mut output, .. } = docker.start_exec(&exec.id, None).await.map_err(failure)? {
        while let Some(part) = output.next().await {
            match part.map_err(failure)? {
                LogOutput::StdErr { message } => ended.stderr.push_str(&String::from_utf8_lossy(&message)),
                other => ended.stdout.push_str(&String::from_utf8_lossy(&other.into_bytes())),
            }
        }
    }
    // Without a code the command was ended with its container.
    ended.code = docker.inspect_exec(&exec.id).await.map_err(failure)?.exit_code.unwrap_or(-1);
    Ok(ended)
}

async fn runs(docker: &Docker, container: &str) -> Result<bool, Failure> {
    let inspected = docker.inspect_container(container, None::<InspectContainerOptions>).await;
    let inspected = inspected.map_err(|error| fail::asking("whether the balancer runs", &error))?;
    Ok(inspected.state.and_then(|state| state.running).unwrap_or_default())
}

/// The configuration of a container; none if it has none, or does not exist.
async fn read(docker: &Docker, container: &str) -> Result<Option<String>, Failure> {
    let options = DownloadFromContainerOptions { path: CONFIG_FILE.to_owned() };
    let mut stream = Box::pin(docker.download_from_container(container, Some(options)));
    let mut archive = Vec::new();
    while let Some(part) = stream.next().await {
        match part {
            Ok(bytes) => archive.extend_from_slice(&bytes),
            Err(error) if fail::is_missing(&error) => return Ok(None),
            Err(error) => return Err(fail::asking("what the balancer's configuration is", &error)),
        }
        if archive.len() as u64 > 2 * MAX_CONFIG_BYTES {
            return Err(Failure::failed(UNREADABLE).because("it is larger than any that scalectl writes"));
        }
    }
    unpack(&archive).map(Some).map_err(|error| Failure::failed(UNREADABLE).because(error.to_string()))
}

/// The text of an archive's first file.
fn unpack(archive: &[u8]) -> std::io::Result<String> {
    let mut text = String::new();
    if let Some(entry) = tar::Archive::new(Cursor::new(archive)).entries()?.next() {
        entry?.take(MAX_CONFIG_BYTES).read_to_string(&mut text)?;
    }
    Ok(text)
}

async fn write(docker: &Docker, container: &str, name: &str, text: &str) -> Result<(), Failure> {
    let archive = pack(name, text)
        .map_err(|error| Failure::failed("cannot pack the balancer's configuration").because(error.to_string()))?;
    let options = UploadToContainerOptions { path: CONFIG_FOLDER.to_owned(), ..UploadToContainerOptions::default() };
    docker
        .upload_to_container(container, Some(options), bollard::body_full(archive.into()))
        .await
        .map_err(|error| fail::doing("write the balancer's configuration", &error))
}

fn pack(name: &str, text: &str) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, name, text.as_bytes())?;
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        assert_eq!(unpack(&pack("nginx.conf", "events {}\n").unwrap()).unwrap(), "events {}\n");
        assert_eq!(unpack(&tar::Builder::new(Vec::new()).into_inner().unwrap()).unwrap(), "");
    }
}
