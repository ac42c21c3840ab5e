//! `scalectl status`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::interrupt::interrupted;
use super::session::{Session, block_on};
use super::{Global, stdout};
use crate::engine::usage::{Meter, Usage};
use crate::engine::{BalancerId, EngineKind, Observed, ObservedBalancer, ObservedReplica};
use crate::error::Exit;
use crate::stack::Stack;
use crate::ui::{Screen, table};
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
    backing: Vec<ServiceStatus>,
    balancers: Vec<BalancerStatus>,
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
    #[serde(flatten)]
    usage: UsageStatus,
}

#[derive(Debug, Serialize)]
struct BalancerStatus {
    name: String,
    service: Name,
    url: String,
    members: usize,
    #[serde(flatten)]
    usage: UsageStatus,
}

/// What it uses, as far as that is known.
#[derive(Debug, Default, Serialize)]
struct UsageStatus {
    cpu_percent: Option<f64>,
    memory_bytes: Option<u64>,
    memory_limit_bytes: Option<u64>,
}

impl UsageStatus {
    fn of(used: &BTreeMap<String, Usage>, name: &str) -> Self {
        let used = used.get(name);
        Self {
            cpu_percent: used.map(|usage| usage.cpu_percent),
            memory_bytes: used.map(|usage| usage.memory),
            memory_limit_bytes: used.and_then(|usage| usage.limit),
        }
    }

    fn cpu(&self) -> String {
        self.cpu_percent.map(|percent| format!("{percent:.1}%")).unwrap_or_default()
    }

    fn memory(&self) -> String {
        match (self.memory_bytes, self.memory_limit_bytes) {
            (Some(used), Some(limit)) => format!("{}/{}", mebibytes(used), mebibytes(limit)),
            (Some(used), None) => mebibytes(used),
            (None, _) => String::new(),
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{}Mi", bytes.div_ceil(1 << 20))
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
            let end = interrupted();
            tokio::pin!(end);
            tokio::select! {
                biased;
                () = &mut end => Ok(Exit::Done),
                result = watch(&session, global) => result.map(|()| Exit::Done),
            }
        })
    }
}

/// Shows what runs, again and again; on a terminal at the same place.
async fn watch(session: &Session<'_>, global: &Global) -> Result<()> {
    let mut meter = Meter::default();
    let mut screen = Screen::default();
    loop {
        let text = render(session, global, &mut meter).await?;
        match std::io::stdout().is_terminal() && !global.json {
            true => screen.draw(&text)?,
            false => stdout::print(format!("{text}\n"))?,
        }
        tokio::time::sleep(WATCH).await;
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
    stdout::print(render(session, global, &mut Meter::default()).await?)
}

/// What runs, as text or JSON.
async fn render(session: &Session<'_>, global: &Global, meter: &mut Meter) -> Result<String> {
    let observed = session.observe().await?;
    let used = match observed.replicas.is_empty() {
        true => BTreeMap::new(),
        false => meter.read(&session.engine, &observed).await?,
    };
    let (stack, engine) = (&session.stack, session.engine.kind());
    let status = Status {
        schema: "scalectl.status/1",
        project: &stack.project.name,
        engine,
        url: front_url(stack).filter(|_| observed.balancers.iter().any(|b| b.id == BalancerId::Front)),
        services: services(stack, &observed, &used),
        backing: backing(stack, engine, &observed, &used),
        balancers: observed.balancers.iter().map(|b| balancer_status(b, &observed, &used)).collect(),
    };
    if global.json {
        return Ok(serde_json::to_string_pretty(&status)?);
    }
    if !observed.grounded {
        let left = match observed.leftovers {
            0 => String::new(),
            n => format!("; an interrupted command left {n} processes: `scalectl up` or `scalectl down` ends them"),
        };
        return Ok(format!("{} is not up{left}", stack.project.name));
    }
    let url = status.url.clone().unwrap_or_else(|| "no balancer".to_owned());
    let width = terminal_size::terminal_size().map_or(usize::MAX, |(width, _)| width.0.into());
    Ok(format!("{}  {engine} engine  {url}\n{}", stack.project.name, status.table(width)))
}

fn services(stack: &Stack, observed: &Observed, used: &BTreeMap<String, Usage>) -> Vec<ServiceStatus> {
    let mut names: Vec<_> = stack.services.keys().cloned().collect();
    for replica in observed.replicas.iter().filter(|replica| !replica.backing) {
        if !names.contains(&replica.id.service) {
            names.push(replica.id.service.clone());
        }
    }
    let desired = |name: &Name| stack.services.get(name).map_or(0, |s| s.replicas.0);
    names.into_iter().map(|name| service_status(desired(&name), name, observed, used)).collect()
}

/// Backing services that the engine runs; the local engine has substitutes for them, or uses those outside.
fn backing(
    stack: &Stack,
    engine: EngineKind,
    observed: &Observed,
    used: &BTreeMap<String, Usage>,
) -> Vec<ServiceStatus> {
    let resolved = crate::backing::resolve(stack);
    let own = resolved.iter().filter(|(_, resolved)| resolved.external.is_none() && engine == EngineKind::Docker);
    let mut names: Vec<_> = own.map(|(name, _)| (name.clone(), 1)).collect();
    for replica in observed.replicas.iter().filter(|replica| replica.backing) {
        if !names.iter().any(|(name, _)| name == &replica.id.service) {
            names.push((replica.id.service.clone(), 0));
        }
    }
    names.into_iter().map(|(name, desired)| service_status(desired, name, observed, used)).collect()
}

fn service_status(desired: u16, name: Name, observed: &Observed, used: &BTreeMap<String, Usage>) -> ServiceStatus {
    let replicas = observed.replicas_of(&name);
    ServiceStatus {
        desired,
        ready: replicas.iter().filter(|r| r.ready).count(),
        replicas: replicas.into_iter().map(|replica| replica_status(replica, used)).collect(),
        name,
    }
}

fn replica_status(replica: &ObservedReplica, used: &BTreeMap<String, Usage>) -> ReplicaStatus {
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
        usage: UsageStatus::of(used, &replica.id.to_string()),
    }
}

fn balancer_status(balancer: &ObservedBalancer, observed: &Observed, used: &BTreeMap<String, Usage>) -> BalancerStatus {
    let name = balancer.id.to_string();
    BalancerStatus {
        service: balancer.service.clone(),
        url: format!("http://127.0.0.1:{}", balancer.port),
        members: observed.replicas_of(&balancer.service).iter().filter(|replica| replica.member).count(),
        usage: UsageStatus::of(used, &name),
        name,
    }
}

/// A column of the table, and the least width of a terminal that has room for it.
const COLUMNS: [(&str, usize); 9] = [
    ("REPLICA", 0),
    ("KIND", 110),
    ("STATE", 0),
    ("HEALTH", 0),
    ("RESTARTS", 90),
    ("CPU", 50),
    ("MEMORY", 60),
    ("ADDRESS", 80),
    ("AGE", 70),
];

type Row = [String; COLUMNS.len()];

impl Status<'_> {
    /// All that runs, in the columns that a terminal of this width has room for.
    fn table(&self, width: usize) -> String {
        let kinds = [("service", &self.services), ("backing", &self.backing)];
        let services = kinds.into_iter().flat_map(|(kind, all)| all.iter().flat_map(move |s| service_rows(kind, s)));
        let rows = services.chain(self.balancers.iter().map(balancer_row));
        let shown: Vec<_> = COLUMNS.iter().map(|(_, least)| width >= *least).collect();
        let kept = |row: Row| {
            row.into_iter().zip(&shown).filter_map(|(cell, shown)| shown.then_some(cell)).collect::<Vec<_>>()
        };
        let head: Vec<_> = COLUMNS.iter().zip(&shown).filter_map(|((name, _), shown)| shown.then_some(*name)).collect();
        table(&head, rows.map(kept).collect())
    }
}

fn service_rows(kind: &str, service: &ServiceStatus) -> Vec<Row> {
    let mut rows: Vec<_> = service.replicas.iter().map(|replica| replica_row(kind, replica)).collect();
    if rows.is_empty() {
        let mut row = Row::default();
        row[0] = service.name.to_string();
        kind.clone_into(&mut row[1]);
        row[2] = format!("0 of {}", service.desired);
        rows.push(row);
    }
    rows
}

fn replica_row(kind: &str, replica: &ReplicaStatus) -> Row {
    let health = match (&replica.check, replica.ready) {
        (_, true) => "ready".to_owned(),
        (Some(check), false) => format!("not ready: {check}"),
        (None, false) => "not ready".to_owned(),
    };
    [
        replica.name.clone(),
        kind.to_owned(),
        replica.state.clone(),
        health,
        replica.restarts.to_string(),
        replica.usage.cpu(),
        replica.usage.memory(),
        replica.address.clone().unwrap_or_default(),
        age(replica.age_seconds),
    ]
}

fn balancer_row(balancer: &BalancerStatus) -> Row {
    let members = match balancer.members {
        1 => "1 member".to_owned(),
        members => format!("{members} members"),
    };
    let mut row = Row::default();
    row[0] = balancer.name.clone();
    row[1] = "balancer".to_owned();
    row[2] = "running".to_owned();
    row[3] = members;
    row[5] = balancer.usage.cpu();
    row[6] = balancer.usage.memory();
    row[7] = balancer.url.trim_start_matches("http://").to_owned();
    row
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

#[cfg(test)]
mod tests {
    use super::*;

    fn status(project: &Name) -> Status<'_> {
        let replica = ReplicaStatus {
            name: "api-1".into(),
            state: "running".into(),
            ready: true,
            restarts: 2,
            address: Some("127.0.0.1:1234".into()),
            member: true,
            in_flight: 0,
            pid: None,
            age_seconds: 200,
            check: None,
            exited: None,
            usage: UsageStatus {
                cpu_percent: Some(12.5),
                memory_bytes: Some(30 << 20),
                memory_limit_bytes: Some(256 << 20),
            },
        };
        let api = ServiceStatus { name: "api".parse().unwrap(), desired: 3, ready: 1, replicas: vec![replica] };
        let postgres = ServiceStatus { name: "postgres".parse().unwrap(), desired: 1, ready: 0, replicas: Vec::new() };
        let balancer = BalancerStatus {
            name: "balancer".into(),
            service: "api".parse().unwrap(),
            url: "http://127.0.0.1:8080".into(),
            members: 1,
            usage: UsageStatus::default(),
        };
        Status {
            schema: "scalectl.status/1",
            project,
            engine: EngineKind::Docker,
            url: None,
            services: vec![api],
            backing: vec![postgres],
            balancers: vec![balancer],
        }
    }

    #[test]
    fn a_wide_terminal_has_all_columns_and_a_narrow_one_those_that_matter() {
        let name = "shop".parse().unwrap();
        let words = |width| {
            let table = status(&name).table(width);
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        let wide = [
            "REPLICA KIND STATE HEALTH RESTARTS CPU MEMORY ADDRESS AGE",
            "api-1 service running ready 2 12.5% 30Mi/256Mi 127.0.0.1:1234 3m",
            "postgres backing 0 of 1",
            "balancer balancer running 1 member 127.0.0.1:8080",
        ];
        assert_eq!(words(200), wide);
        let narrow = ["REPLICA STATE HEALTH", "api-1 running ready", "postgres 0 of 1", "balancer running 1 member"];
        assert_eq!(words(45), narrow);
    }

    #[test]
    fn what_a_replica_uses_stands_beside_its_other_keys() {
        let name = "shop".parse().unwrap();
        let json = serde_json::to_value(status(&name)).unwrap();
        let replica = &json["services"][0]["replicas"][0];
        assert_eq!((&replica["cpu_percent"], &replica["memory_bytes"]), (&12.5.into(), &(30 << 20).into()));
        assert_eq!(replica["memory_limit_bytes"], 256 << 20);
        assert_eq!((&json["backing"][0]["name"], &json["balancers"][0]["members"]), (&"postgres".into(), &1.into()));
    }
}
