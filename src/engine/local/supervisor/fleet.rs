//! The processes and balancers of one project, and what can be asked of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::super::balancer::{self, Balancer};
use super::super::places::Places;
use super::super::protocol::{Process, Reply, Request};
use super::child;
use super::job::{self, Run};
use super::journal;
use super::replica::{Order, Replica, Status};
use crate::engine::{
    BalancerId, Fingerprint, Identity, Observed, ObservedBalancer, ObservedReplica, ReplicaId, ReplicaState,
};
use crate::units::Name;

/// A replica that ended so many times by itself before it was ever ready does not become so by waiting.
const HOPELESS: u32 = 3;
/// How many lines of a log are evidence.
const EVIDENCE: usize = 20;
/// How long the last requests may take when everything ends.
const FAREWELL: Duration = Duration::from_secs(10);

/// Everything that the supervisor owns.
pub struct Fleet {
    identity: Identity,
    places: Places,
    run: String,
    state: Mutex<State>,
    end: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    replicas: BTreeMap<ReplicaId, Replica>,
    balancers: BTreeMap<BalancerId, Front>,
    running: BTreeMap<Name, Run>,
    /// Ports that replicas were given; they may not listen on them yet.
    ports: BTreeSet<u16>,
    /// Digests of the jobs that ended well.
    done: BTreeMap<Name, String>,
}

/// An open balancer.
struct Front {
    service: Name,
    port: u16,
    balancer: Balancer,
}

impl Fleet {
    /// An empty one.
    pub fn new(identity: Identity, places: Places, run: String) -> Self {
        Self { identity, places, run, state: Mutex::default(), end: watch::Sender::new(false) }
    }

    /// Whose processes these are.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where things are kept.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The mark of this supervisor's processes.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Returns when the fleet was shut down.
    pub async fn ended(&self) {
        // The sender lives as long as `self`, so the wait ends only with the value.
        let _ = self.end.subscribe().wait_for(|ended| *ended).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is asked.
    pub async fn handle(self: &Arc<Self>, request: Request) -> Reply {
        match request {
            Request::Hello => Reply::Hello {
                protocol: super::super::protocol::PROTOCOL,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                identity: self.identity.clone(),
                pid: std::process::id(),
                run: self.run.clone(),
            },
            Request::Observe => Reply::Observed(Box::new(self.observe())),
            Request::StartBalancer { id, service, port } => self.start_balancer(id, service, port).await,
            Request::StopBalancer { id, patience } => self.stop_balancer(&id, patience).await,
            Request::StartReplica { id, fingerprint, process } => self.start_replica(id, fingerprint, *process),
            Request::AwaitReady { id, patience } => self.await_ready(&id, patience).await,
            Request::AddMember { id } => self.add_member(&id),
            Request::DrainMember { id, patience } => self.drain_member(&id, patience).await,
            Request::RemoveReplica { id } => self.remove_replica(&id).await,
            Request::StopReplica { id } => self.stop_replica(&id).await,
            Request::ResumeReplica { id } => self.resume_replica(&id).await,
            Request::RunJob { name, digest, process } => self.run_job(name, digest, *process).await,
            Request::Shutdown => {
                self.shutdown().await;
                Reply::Done
            }
        }
    }

    /// A free port, for one replica alone until it is given back.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn take_port(&self) -> io::Result<SocketAddr> {
        let mut state = self.state();
        let address = child::free_port(&state.ports)?;
        state.ports.insert(address.port());
        Ok(address)
    }

    /// Gives a port back.
    pub fn return_port(&self, address: SocketAddr) {
        self.state().ports.remove(&address.port());
    }

    fn observe(&self) -> Observed {
        let state = self.state();
        let replicas = state.replicas.iter().map(|(id, replica)| {
            let status = replica.status();
            let members =
                state.balancers.values().filter(|f| f.service == id.service).flat_map(|f| f.balancer.members());
            ObservedReplica {
                id: id.clone(),
                fingerprint: replica.fingerprint.clone(),
                state: status.state,
                ready: status.ready,
                backing: false,
                member: replica.member,
                draining: replica.draining,
                restarts: status.restarts,
                address: status.address,
                pid: status.pid,
                age: status.since.elapsed(),
                exited: status.exited,
                check: status.check,
                in_flight: members.filter(|m| m.id == id.to_string()).map(|m| m.in_flight).sum(),
            }
        });
        Observed {
            grounded: true,
            replicas: replicas.collect(),
            balancers: state
                .balancers
                .iter()
                .map(|(id, front)| ObservedBalancer {
                    id: id.clone(),
                    service: front.service.clone(),
                    port: front.port,
                    fingerprint: Fingerprint::default(),
                    stopped: false,
                })
                .collect(),
            jobs: state.done.clone().into_iter().collect(),
            ..Observed::default()
        }
    }

    async fn start_balancer(&self, id: BalancerId, service: Name, port: u16) -> Reply {
        if self.state().balancers.get(&id).is_some_and(|f| f.port == port && f.service == service) {
            return Reply::Done;
        }
        let listen = vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
        let balancer = match Balancer::bind(balancer::Config::new(listen)).await {
            Ok(balancer) => balancer,
            Err(error) => return refuse(format!("port {port} cannot be opened: {error}"), Vec::new()),
        };
        let mut state = self.state();
        for (id, replica) in state.replicas.iter().filter(|(id, r)| id.service == service && r.member) {
            let status = replica.status();
            if let Some(address) = status.address.filter(|_| status.ready) {
                balancer.add(&id.to_string(), address);
            }
        }
        state.balancers.insert(id, Front { service, port, balancer });
        Reply::Done
    }

    async fn stop_balancer(&self, id: &BalancerId, patience: Duration) -> Reply {
        let Some(front) = self.state().balancers.remove(id) else { return Reply::Done };
        Reply::Drained(front.balancer.close(patience).await)
    }

    fn start_replica(self: &Arc<Self>, id: ReplicaId, fingerprint: Fingerprint, process: Process) -> Reply {
        let mut state = self.state();
        if state.replicas.contains_key(&id) {
            return Reply::Done;
        }
        let replica = Replica::start(self.clone(), id.clone(), fingerprint, process);
        state.replicas.insert(id, replica);
        Reply::Done
    }

    async fn await_ready(&self, id: &ReplicaId, patience: Duration) -> Reply {
        let Some(mut status) = self.follow(id) else {
            return refuse(format!("{id} does not exist"), Vec::new());
        };
        let known = status.borrow_and_update().crashes;
        let settled = wait(status.clone(), |s| s.ready || s.retired || s.crashes >= known + HOPELESS);
        // Whether it settled or the patience ended: what is known last decides, and is the evidence.
        let _ = timeout(patience, settled).await;
        let last = status.borrow_and_update().clone();
        if last.ready {
            return Reply::Done;
        }
        self.not_ready(id, &last, patience)
    }

    /// Follows a replica; one that waits for its restart is started at once, for what kept it down may be mended.
    fn follow(&self, id: &ReplicaId) -> Option<watch::Receiver<Status>> {
        let mut state = self.state();
        let replica = state.replicas.get_mut(id)?;
        if replica.status().state == ReplicaState::Restarting {
            replica.order(Order::Resume);
        }
        Some(replica.follow())
    }

    /// The root cause of a replica that did not become ready.
    fn not_ready(&self, id: &ReplicaId, status: &Status, patience: Duration) -> Reply {
        let what = match (&status.exited, &status.check) {
            (Some(exited), _) if status.crashes > 0 => {
                format!("{id} does not start: {exited} ({} times)", status.crashes)
            }
            (_, Some(check)) => format!("{id} is not ready after {:.0} s: {check}", patience.as_secs_f64()),
            (_, None) => format!("{id} gave no answer within {:.0} s", patience.as_secs_f64()),
        };
        let path = self.places.replica_log(id);
        let mut evidence = vec![format!("last lines of {}:", path.display())];
        let lines = journal::tail_from(&path, status.log_from, EVIDENCE);
        if lines.is_empty() {
            evidence.push("  (it wrote nothing)".to_owned());
        }
        evidence.extend(lines.into_iter().map(|line| format!("  {line}")));
        Reply::Refused { what, evidence, unhealthy: true }
    }

    fn add_member(&self, id: &ReplicaId) -> Reply {
        let mut state = self.state();
        let Some(replica) = state.replicas.get_mut(id) else {
            return refuse(format!("{id} does not exist"), Vec::new());
        };
        replica.member = true;
        replica.draining = false;
        let status = replica.status();
        drop(state);
        self.balance(id, status.address, status.ready);
        Reply::Done
    }

    /// Tells the balancers where a member listens and whether it is ready.
    pub fn balance(&self, id: &ReplicaId, address: Option<SocketAddr>, ready: bool) {
        let state = self.state();
        if !state.replicas.get(id).is_some_and(|r| r.member) {
            return;
        }
        let name = id.to_string();
        for front in state.balancers.values().filter(|f| f.service == id.service) {
            match address {
                // Adding makes it ready, at the address that it has now.
                Some(address) if ready => front.balancer.add(&name, address),
                _ => front.balancer.set_ready(&name, false),
            }
        }
    }

    fn balancers_of(&self, service: &Name) -> Vec<Balancer> {
        self.state().balancers.values().filter(|f| &f.service == service).map(|f| f.balancer.clone()).collect()
    }

    async fn drain_member(&self, id: &ReplicaId, patience: Duration) -> Reply {
        {
            let mut state = self.state();
            let Some(replica) = state.replicas.get_mut(id) else { return Reply::Done };
            replica.member = false;
            replica.draining = true;
        }
        let name = id.to_string();
        let balancers = self.balancers_of(&id.service);
        balancers.iter().for_each(|b| b.drain(&name));
        let mut left = 0;
        for balancer in &balancers {
            left += balancer.drained(&name, patience).await;
            balancer.remove(&name);
        }
        Reply::Drained(left)
    }

    async fn remove_replica(&self, id: &ReplicaId) -> Reply {
        if let Some(status) = self.order(id, Order::Retire) {
            wait(status, |s| s.retired).await;
        }
        for balancer in self.balancers_of(&id.service) {
            balancer.remove(&id.to_string());
        }
        self.state().replicas.remove(id);
        Reply::Done
    }

    async fn stop_replica(&self, id: &ReplicaId) -> Reply {
        if let Some(status) = self.order(id, Order::Stop) {
            wait(status, |s| s.retired || s.state == ReplicaState::Stopped).await;
        }
        if let Some(replica) = self.state().replicas.get_mut(id) {
            replica.draining = false;
        }
        Reply::Done
    }

    async fn resume_replica(&self, id: &ReplicaId) -> Reply {
        if let Some(status) = self.order(id, Order::Resume) {
            wait(status, |s| s.retired || s.state != ReplicaState::Stopped).await;
        }
        Reply::Done
    }

    fn order(&self, id: &ReplicaId, order: Order) -> Option<watch::Receiver<Status>> {
        let mut state = self.state();
        let replica = state.replicas.get_mut(id)?;
        replica.order(order);
        Some(replica.follow())
    }

    async fn run_job(self: &Arc<Self>, name: Name, digest: String, process: Process) -> Reply {
        // One of another version that an interrupted command left running must not work on the data beside this one.
        let other = self.state().running.get(&name).filter(|run| run.digest != digest).cloned();
        if let Some(other) = other {
            other.cancel().await;
        }
        let run = {
            let mut state = self.state();
            let running = state.running.get(&name).filter(|run| run.digest == digest && run.ended().is_none());
            let run =
                running.cloned().unwrap_or_else(|| job::start(self.clone(), name.clone(), digest.clone(), process));
            state.running.insert(name.clone(), run.clone());
            run
        };
        match run.end().await {
            Ok(()) => {
                self.state().done.insert(name, digest);
                Reply::Done
            }
            Err((what, evidence)) => refuse(what, evidence),
        }
    }

    /// Stops everything: balancers first, so that no request is lost, then the replicas, all at once.
    pub async fn shutdown(&self) {
        let (fronts, statuses): (Vec<_>, Vec<_>) = {
            let mut state = self.state();
            let fronts = std::mem::take(&mut state.balancers).into_values().collect();
            (fronts, state.replicas.values().map(Replica::follow).collect())
        };
        for front in fronts {
            front.balancer.close(FAREWELL).await;
        }
        let runs: Vec<_> = {
            let mut state = self.state();
            state.replicas.values_mut().for_each(|r| r.order(Order::Retire));
            state.running.values().cloned().collect()
        };
        for run in runs {
            run.cancel().await;
        }
        for status in statuses {
            wait(status, |s| s.retired).await;
        }
        self.end.send_replace(true);
    }
}

async fn wait(mut status: watch::Receiver<Status>, condition: impl FnMut(&Status) -> bool) {
    // A life that has ended fulfils every condition that is waited for here.
    let _ = status.wait_for(condition).await;
}

fn refuse(what: String, evidence: Vec<String>) -> Reply {
    Reply::Refused { what, evidence, unhealthy: false }
}
