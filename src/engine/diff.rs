//! The difference between what should run and what does, as a plan. Pure: no I/O, no clock, no randomness.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Desired, DesiredService, Observed, ObservedReplica, ReplicaId, ReplicaState};
use super::plan::{Action, Plan, StepId};
use crate::units::Name;
use split::{Slots, Split, Why};

mod split;

/// What a command wants of the stack.
#[derive(Debug, Clone)]
pub enum Intent {
    /// Everything as the file says.
    Up {
        /// Only these services and what they need; empty means all.
        only: Vec<Name>,
        /// Why a number of replicas is wanted that the file does not say: `scale`.
        scaled: Vec<Name>,
    },
    /// Nothing runs any more.
    Down {
        /// Data goes too.
        volumes: bool,
    },
    /// The replicas of these services are replaced, as many as run.
    Restart(Vec<Name>),
    /// These services stop and keep their place; empty means all.
    Stop(Vec<Name>),
    /// These stopped services run again; empty means all.
    Start(Vec<Name>),
}

impl Intent {
    /// Everything as the file says.
    pub fn up() -> Self {
        Self::Up { only: Vec::new(), scaled: Vec::new() }
    }
}

/// The steps from `observed` to what `intent` makes of `desired`.
pub fn diff(desired: &Desired, observed: &Observed, intent: &Intent) -> Plan {
    let mut builder = Builder::new(desired, observed);
    match intent {
        Intent::Up { only, scaled } => builder.up(only, scaled),
        Intent::Down { volumes } => builder.down(*volumes),
        Intent::Restart(services) => builder.restart(services),
        Intent::Stop(services) => builder.stop(services),
        Intent::Start(services) => builder.start(services),
    }
    builder.plan
}

/// The steps that a single process of the stack needs before it: environments and volumes.
pub fn ground(desired: &Desired, observed: &Observed) -> Plan {
    let mut builder = Builder::new(desired, observed);
    builder.volumes();
    builder.prepare(&desired.services.iter().collect::<Vec<_>>());
    builder.plan
}

/// A plan in the making, with the steps that later ones have to wait for.
struct Builder<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    plan: Plan,
    /// The supervisor and the volumes: everything waits for these.
    ground: Vec<StepId>,
    environments: BTreeMap<&'a str, StepId>,
    jobs: BTreeMap<&'a Name, StepId>,
    /// The last steps of a service: those that use it wait for them.
    ready: BTreeMap<&'a Name, Vec<StepId>>,
    /// The last step of the roll so far: replicas are replaced one at a time in the whole stack.
    roll: Option<StepId>,
}

impl<'a> Builder<'a> {
    fn new(desired: &'a Desired, observed: &'a Observed) -> Self {
        Self {
            desired,
            observed,
            plan: Plan::default(),
            ground: Vec::new(),
            environments: BTreeMap::new(),
            jobs: BTreeMap::new(),
            ready: BTreeMap::new(),
            roll: None,
        }
    }

    fn up(&mut self, only: &[Name], scaled: &[Name]) {
        let scope = if scaled.is_empty() { self.scope(only) } else { self.scope_of_scale(scaled) };
        let services: Vec<_> = self.desired.services.iter().filter(|s| scope.contains(&s.name)).collect();
        self.supervisor();
        self.volumes();
        self.prepare(&services);
        self.run_jobs(&services);
        self.balancers(&scope);
        for service in services {
            let why = if scaled.contains(&service.name) { Why::Scaled } else { Why::File };
            self.service(service, service.replicas, why);
        }
        if only.is_empty() {
            self.remove_unknown();
        }
    }

    /// The wanted services and all that they need, transitively.
    fn scope(&self, only: &[Name]) -> BTreeSet<Name> {
        if only.is_empty() {
            return self.desired.services.iter().map(|s| s.name.clone()).collect();
        }
        let mut scope: BTreeSet<Name> = only.iter().cloned().collect();
        // Services stand in the order of their needs, so one pass from the end finds all of them.
        for service in self.desired.services.iter().rev() {
            if scope.contains(&service.name) {
                scope.extend(service.after.iter().cloned());
            }
        }
        scope
    }

    /// Scaling touches only what was named, and what that needs and is not there at all.
    fn scope_of_scale(&self, scaled: &[Name]) -> BTreeSet<Name> {
        let mut scope = self.scope(scaled);
        scope.retain(|name| scaled.contains(name) || self.observed.replicas_of(name).is_empty());
        scope
    }

    fn supervisor(&mut self) {
        if self.observed.supervised {
            return;
        }
        let cause = if self.observed.leftovers == 0 { "nothing runs yet" } else { "the one before is gone" };
        let ended = self.end_leftovers();
        let step = self.plan.push(Action::StartSupervisor, cause, &ended);
        self.ground.push(step);
    }

    fn end_leftovers(&mut self) -> Vec<StepId> {
        match self.observed.leftovers {
            0 => Vec::new(),
            n => vec![self.plan.push(Action::EndLeftovers, format!("{n} processes of a supervisor that is gone"), &[])],
        }
    }

    fn volumes(&mut self) {
        for volume in &self.desired.volumes {
            if !self.observed.volumes.contains(&volume.name) {
                let action = Action::CreateVolume { volume: volume.name.clone() };
                let step = self.plan.push(action, "it does not exist", &[]);
                self.ground.push(step);
            }
        }
    }

    fn prepare(&mut self, services: &[&DesiredService]) {
        let wanted = self.desired.environments.iter();
        for environment in wanted.filter(|e| !self.observed.environments.contains(&e.key)) {
            let users: Vec<_> = services
                .iter()
                .filter(|s| s.environment.as_deref() == Some(&environment.key))
                .map(|s| s.name.as_str())
                .collect();
            if users.is_empty() {
                continue;
            }
            let (key, source) = (environment.key.clone(), environment.source.clone());
            let action = Action::PrepareEnvironment { key, source };
            let cause = format!("nothing is installed from it yet; {} need it", users.join(", "));
            let step = self.plan.push(action, cause, &[]);
            self.environments.insert(&environment.key, step);
        }
    }

    fn run_jobs(&mut self, services: &[&DesiredService]) {
        let mut previous = None;
        for job in &self.desired.jobs {
            if !services.iter().any(|s| job.before.contains(&s.name)) {
                continue;
            }
            let record = self.observed.jobs.iter().find(|(name, _)| name == &job.name);
            let cause = match record {
                Some((_, digest)) if digest == &job.digest => continue,
                Some(_) => "what it runs, or runs on, changed",
                None => "it has not run on this data",
            };
            let mut after = self.ground.clone();
            after.extend(job.environment.as_deref().and_then(|key| self.environments.get(key)));
            after.extend(previous);
            let step = self.plan.push(Action::RunJob { job: job.name.clone() }, cause, &after);
            self.jobs.insert(&job.name, step);
            previous = Some(step);
        }
    }

    fn balancers(&mut self, scope: &BTreeSet<Name>) {
        let mut stopped = Vec::new();
        for running in &self.observed.balancers {
            let wanted = self.desired.balancers.iter().find(|b| b.id == running.id);
            let cause = match wanted {
                // One that is not in the stack any more goes last, after those that still use it have changed.
                None => continue,
                Some(b) if !scope.contains(&b.service) => continue,
                Some(b) if b.port != running.port => {
                    format!("its port changes from {} to {}: an interruption", running.port, b.port)
                }
                Some(b) if b.service != running.service => {
                    format!("it changes from {} to {}: an interruption", running.service, b.service)
                }
                Some(_) => continue,
            };
            let action = Action::StopBalancer { balancer: running.id.clone(), port: running.port };
            stopped.push(self.plan.push(action, cause, &self.ground));
        }
        for balancer in self.desired.balancers.iter().filter(|b| scope.contains(&b.service)) {
            let running = self
                .observed
                .balancers
                .iter()
                .any(|r| r.id == balancer.id && r.port == balancer.port && r.service == balancer.service);
            if !running {
                let action = Action::StartBalancer { balancer: balancer.id.clone(), port: balancer.port };
                let after: Vec<_> = self.ground.iter().chain(&stopped).copied().collect();
                let step = self.plan.push(action, format!("{} is reached through it", balancer.service), &after);
                self.ready.entry(&balancer.service).or_default().push(step);
            }
        }
    }

    fn balanced(&self, service: &Name) -> bool {
        let observed = self.observed.balancers.iter().any(|b| &b.service == service);
        observed || self.desired.balancers.iter().any(|b| &b.service == service)
    }

    /// What has to be done before a replica of the service starts.
    fn prerequisites(&self, service: &DesiredService) -> Vec<StepId> {
        let mut after = self.ground.clone();
        after.extend(service.environment.as_deref().and_then(|key| self.environments.get(key)));
        for job in self.desired.jobs.iter().filter(|j| j.before.contains(&service.name)) {
            after.extend(self.jobs.get(&job.name));
        }
        for needed in &service.after {
            after.extend(self.ready.get(needed).into_iter().flatten());
        }
        // A balancer takes no part in starting a replica, but it must be there before it gets members.
        after.extend(self.ready.get(&service.name).into_iter().flatten());
        after
    }

    fn service(&mut self, service: &'a DesiredService, replicas: u16, why: Why) {
        let before = self.prerequisites(service);
        let split = Split::of(service, replicas, self.observed.replicas_of(&service.name), why);
        let mut slots = Slots::of(&self.observed.replicas_of(&service.name));
        let mut last = before.clone();

        for (replica, cause) in &split.leaving {
            last.extend(self.remove(replica, cause, &before));
        }
        for replica in &split.kept {
            last.extend(self.keep(replica, &before));
        }
        let missing = usize::from(replicas).saturating_sub(split.kept.len());
        let pairs = missing.min(split.stale.len());
        for _ in pairs..missing {
            let id = ReplicaId { service: service.name.clone(), slot: slots.take() };
            let cause = why.missing(split.running, replicas);
            last.extend(self.add(&id, &cause, &before, false));
        }
        for (replica, cause) in &split.stale[..pairs] {
            last.extend(self.replace(service, replica, cause, &before, &mut slots));
        }
        for (replica, cause) in &split.stale[pairs..] {
            last.extend(self.remove(replica, cause, &last.clone()));
        }
        for replica in &split.surplus {
            let cause = why.surplus(split.running, replicas);
            last.extend(self.remove(replica, &cause, &before));
        }
        self.ready.insert(&service.name, last);
    }

    /// Starts a new replica, waits for it, and adds it to the balancers.
    fn add(&mut self, id: &ReplicaId, cause: &str, after: &[StepId], rolling: bool) -> Option<StepId> {
        let start = self.plan.push(Action::StartReplica { replica: id.clone() }, cause, after);
        let mut last =
            self.plan.push(Action::AwaitReady { replica: id.clone() }, "requests come once it is ready", &[start]);
        if rolling {
            self.plan.undo_last(Action::RemoveReplica { replica: id.clone() });
        }
        if self.balanced(&id.service) {
            last = self.plan.push(Action::AddMember { replica: id.clone() }, "it is ready", &[last]);
        }
        Some(last)
    }

    /// Leaves a replica that is as it should be, and completes what an interrupted command left undone.
    fn keep(&mut self, replica: &ObservedReplica, after: &[StepId]) -> Option<StepId> {
        let id = &replica.id;
        let mut last = None;
        if replica.state == ReplicaState::Stopped {
            last = Some(self.plan.push(Action::ResumeReplica { replica: id.clone() }, "it is stopped", after));
        }
        if !replica.ready {
            let cause = match (&replica.check, &replica.exited) {
                _ if last.is_some() => "requests come once it is ready".to_owned(),
                (Some(check), _) => format!("it is not ready: {check}"),
                (None, Some(exited)) => format!("it is not ready: {exited}"),
                (None, None) => "it is not ready yet".to_owned(),
            };
            let waits: Vec<_> = last.into_iter().chain(after.iter().copied()).collect();
            last = Some(self.plan.push(Action::AwaitReady { replica: id.clone() }, cause, &waits));
        }
        if self.balanced(&id.service) && !replica.member {
            let waits: Vec<_> = last.into_iter().chain(after.iter().copied()).collect();
            last = Some(self.plan.push(Action::AddMember { replica: id.clone() }, "no balancer knows it", &waits));
        }
        last
    }

    /// One turn of a roll: the new replica serves before the old one leaves.
    fn replace(
        &mut self,
        service: &DesiredService,
        old: &ObservedReplica,
        cause: &str,
        after: &[StepId],
        slots: &mut Slots,
    ) -> Option<StepId> {
        let waits: Vec<_> = after.iter().copied().chain(self.roll).collect();
        let id = ReplicaId { service: service.name.clone(), slot: slots.take() };
        let added = self.add(&id, &format!("replaces {}: {cause}", old.id), &waits, true);
        let removed = self.remove(old, &format!("{id} took its place"), &added.into_iter().collect::<Vec<_>>());
        slots.free(old.id.slot);
        self.roll = removed;
        removed
    }

    fn remove(&mut self, replica: &ObservedReplica, cause: &str, after: &[StepId]) -> Option<StepId> {
        let replica_id = || replica.id.clone();
        let mut waits = after.to_vec();
        if replica.member || replica.draining {
            let drain = self.plan.push(Action::DrainMember { replica: replica_id() }, cause, &waits);
            waits = vec![drain];
            return Some(self.plan.push(Action::RemoveReplica { replica: replica_id() }, "it is drained", &waits));
        }
        Some(self.plan.push(Action::RemoveReplica { replica: replica_id() }, cause, &waits))
    }

    /// Takes away what is not in the stack any more, once nobody uses it.
    fn remove_unknown(&mut self) {
        let mut after = self.ground.clone();
        after.extend(self.ready.values().flatten());
        for running in &self.observed.balancers {
            if !self.desired.balancers.iter().any(|b| b.id == running.id) {
                let action = Action::StopBalancer { balancer: running.id.clone(), port: running.port };
                let step = self.plan.push(action, "it is not in the stack any more", &after);
                after.push(step);
            }
        }
        for replica in &self.observed.replicas {
            if !self.desired.services.iter().any(|s| s.name == replica.id.service) {
                self.remove(replica, "its service is not in the stack any more", &after);
            }
        }
    }

    fn down(&mut self, volumes: bool) {
        self.ground = self.end_leftovers();
        let cause = "the stack goes down";
        let mut last = self.ground.clone();
        // The front one first: its last requests may still need the others. (`Front` sorts before all services.)
        let mut fronts: Vec<_> = self.observed.balancers.iter().collect();
        fronts.sort_by(|a, b| a.id.cmp(&b.id));
        for balancer in fronts {
            let action = Action::StopBalancer { balancer: balancer.id.clone(), port: balancer.port };
            last.push(self.plan.push(action, cause, &last.clone()));
        }
        let balancers = last.clone();
        for replica in &self.observed.replicas {
            last.push(self.plan.push(Action::RemoveReplica { replica: replica.id.clone() }, cause, &balancers));
        }
        if volumes {
            for volume in &self.observed.volumes {
                let action = Action::RemoveVolume { volume: volume.clone() };
                last.push(self.plan.push(action, "its data was asked to be removed", &last.clone()));
            }
        }
        if self.observed.supervised {
            self.plan.push(Action::StopSupervisor, "it owns nothing any more", &last);
        }
    }

    fn restart(&mut self, services: &[Name]) {
        let runs = |s: &&DesiredService| services.contains(&s.name) && !self.observed.replicas_of(&s.name).is_empty();
        let services: Vec<_> = self.desired.services.iter().filter(runs).collect();
        // A restart takes the source as it is now, so it needs what an `up` would need before it.
        self.volumes();
        self.prepare(&services);
        self.run_jobs(&services);
        for service in services {
            let running = self.observed.replicas_of(&service.name).len();
            self.service(service, running.try_into().unwrap_or(u16::MAX), Why::Restart);
        }
    }

    fn stop(&mut self, services: &[Name]) {
        for replica in self.selected(services) {
            if matches!(replica.state, ReplicaState::Stopped | ReplicaState::Stopping) {
                continue;
            }
            let mut after = Vec::new();
            let mut cause = "it was asked to stop";
            if replica.member || replica.draining {
                let drain = Action::DrainMember { replica: replica.id.clone() };
                after.push(self.plan.push(drain, cause, &[]));
                cause = "it is drained";
            }
            self.plan.push(Action::StopReplica { replica: replica.id.clone() }, cause, &after);
        }
    }

    fn start(&mut self, services: &[Name]) {
        for replica in self.selected(services) {
            // One that an interrupted `stop` was draining still runs, but serves nobody.
            if replica.state == ReplicaState::Stopped || replica.draining {
                self.keep(replica, &[]);
            }
        }
    }

    fn selected(&self, services: &[Name]) -> Vec<&'a ObservedReplica> {
        let all = services.is_empty();
        self.observed.replicas.iter().filter(|r| all || services.contains(&r.id.service)).collect()
    }
}

#[cfg(test)]
mod tests;
