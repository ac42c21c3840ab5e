//! `scalectl status`.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::session::{Session, block_on, interrupted};
use super::{Global, stdout};
use crate::engine::{BalancerId, EngineKind, Observed, ObservedReplica};
use crate::error::Exit;
use crate::stack::Stack;
use crate::ui::table;
use crate::units::Name;

/// How often `--watch` looks again.
const WATCH: Duration = Duration::from_secs(1);

/// Arguments of `scalectl status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look again every second
    #[arg(short, long)]
    watch: bool,
}

/// `status --json`.
#[derive(Debug, Serialize)]
struct Status<'a> {
    schema: &'static str,
    project: &'a Name,
    engine: EngineKind,
    url: Option<String>,
    services: Vec<ServiceStatus>,
}

#[derive(Debug, Serialize)]
struct ServiceStatus {
    name: Name,
    desired: u16,
    ready: usize,
    replicas: Vec<ReplicaStatus>,
}

#[derive(Debug, Serialize)]
struct ReplicaStatus {
    name: String,
    state: String,
    ready: bool,
    restarts: u32,
    address: Option<String>,
    member: bool,
    in_flight: usize,
    pid: Option<u32>,
    age_seconds: u64,
    check: Option<String>,
    exited: Option<String>,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When the engine does not answer.
    pub fn run(self, global: &Global) -> Result<Exit> {
        block_on(async move {
            let session = Session::look(global).await?;
            if !self.watch {
                print(&session, global).await?;
                return Ok(Exit::Done);
            }
            loop {
                print(&session, global).await?;
                tokio::select! {
                    () = tokio::time::sleep(WATCH) => {}
                    () = interrupted() => return Ok(Exit::Done),
                }
                if !global.json {
                    stdout::print("")?;
                }
            }
        })
    }
}

/// The address of the stack's balancer.
pub fn front_url(stack: &Stack) -> Option<String> {
    stack.balancer.as_ref().map(|balancer| format!("http://127.0.0.1:{}", balancer.port.0))
}

/// Prints what runs as the result of a command.
///
/// # Errors
///
/// When the engine does not answer.
pub async fn print(session: &Session<'_>, global: &Global) -> Result<()> {
    let observed = session.observe().await?;
    let status = Status {
        schema: "scalectl.status/1",
        project: &session.stack.project.name,
        engine: session.engine.kind(),
        url: front_url(&session.stack).filter(|_| observed.balancers.iter().any(|b| b.id == BalancerId::Front)),
        services: services(&session.stack, &observed),
    };
    if global.json {
        return stdout::print_json(&serde_json::to_value(&status)?);
    }
    if !observed.grounded {
        let left = match observed.leftovers {
            0 => String::new(),
            n => format!(
                "; {n} processes of a supervisor that is gone still run: `scalectl up` or `scalectl down` ends them"
            ),
        };
        return stdout::print(format!("{} is not up{left}", session.stack.project.name));
    }
    let url = status.url.clone().unwrap_or_else(|| "no balancer".to_owned());
    let head = format!("{}  {} engine  {url}", session.stack.project.name, session.engine.kind());
    stdout::print(format!("{head}\n{}", replica_table(&status.services)))
}

fn services(stack: &Stack, observed: &Observed) -> Vec<ServiceStatus> {
    let mut names: Vec<_> = stack.services.keys().cloned().collect();
    for replica in &observed.replicas {
        if !names.contains(&replica.id.service) {
            names.push(replica.id.service.clone());
        }
    }
    let status = |name: Name| {
        let replicas = observed.replicas_of(&name);
        ServiceStatus {
            desired: stack.services.get(&name).map_or(0, |s| s.replicas.0),
            ready: replicas.iter().filter(|r| r.ready).count(),
            replicas: replicas.into_iter().map(replica_status).collect(),
            name,
        }
    };
    names.into_iter().map(status).collect()
}

fn replica_status(replica: &ObservedReplica) -> ReplicaStatus {
    ReplicaStatus {
        name: replica.id.to_string(),
        state: if replica.draining { "draining".to_owned() } else { replica.state.to_string() },
        ready: replica.ready,
        restarts: replica.restarts,
        address: replica.address.map(|a| a.to_string()),
        member: replica.member,
        in_flight: replica.in_flight,
        pid: replica.pid,
        age_seconds: replica.age.as_secs(),
        check: replica.check.clone(),
        exited: replica.exited.as_ref().map(ToString::to_string),
    }
}

fn replica_table(services: &[ServiceStatus]) -> String {
    let mut rows = Vec::new();
    for service in services {
        if service.replicas.is_empty() {
            let wanted = format!("0 of {} replicas", service.desired);
            rows.push(vec![
                service.name.to_string(),
                wanted,
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ]);
        }
        for replica in &service.replicas {
            let ready = match (&replica.check, replica.ready) {
                (_, true) => "ready".to_owned(),
                (Some(check), false) => format!("not ready: {check}"),
                (None, false) => "not ready".to_owned(),
            };
            rows.push(vec![
                replica.name.clone(),
                replica.state.clone(),
                ready,
                replica.restarts.to_string(),
                replica.address.clone().unwrap_or_default(),
                age(replica.age_seconds),
            ]);
        }
    }
    table(&["REPLICA", "STATE", "HEALTH", "RESTARTS", "ADDRESS", "AGE"], rows)
}

/// An age in its largest unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
