//! The difference between what should run and what does, as a plan. Pure: no I/O, no clock, no randomness.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{
    Desired, DesiredBalancer, DesiredService, Ground, Observed, ObservedBalancer, ObservedReplica, Preparation,
    Replacement, ReplicaId, ReplicaState,
};
use super::plan::{Action, Plan, StepId};
use crate::units::Name;
use split::{Slots, Split, Why};

mod split;

/// Why a replica that still runs is not kept. An engine goes on with what a command told it before that was interrupted.
const TOLD_TO_END: &str = "it was told to end";

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
        /// Images that were built for the project go too.
        images: bool,
    },
    /// The replicas of these services are replaced, as many as run.
    Restart(Vec<Name>),
    /// These services stop and keep their place; empty means all.
    Stop(Vec<Name>),
    /// These stopped services run again; empty means all.
    Start(Vec<Name>),
    /// What these services need is installed, built or pulled, and nothing is started; empty means all.
    Prepare(Vec<Name>),
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
        Intent::Down { volumes, images } => builder.down(*volumes, *images),
        Intent::Prepare(services) => builder.only_prepare(services),
        Intent::Restart(services) => builder.restart(services),
        Intent::Stop(services) => builder.stop(services),
        Intent::Start(services) => builder.start(services),
    }
    builder.plan
}

/// The steps that a single process of the stack needs before it: environments and volumes.
pub fn ground(desired: &Desired, observed: &Observed) -> Plan {
    let mut builder = Builder::new(desired, observed);
    if desired.ground == Ground::Network {
        builder.ground();
    }
    builder.volumes();
    builder.prepare(&desired.services.iter().collect::<Vec<_>>());
    builder.plan
}

/// A plan in the making, with the steps that later ones have to wait for.
struct Builder<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    plan: Plan,
    /// The supervisor or the network, and the volumes: everything waits for these.
    ground: Vec<StepId>,
    environments: BTreeMap<&'a str, StepId>,
    jobs: BTreeMap<&'a Name, StepId>,
    /// The balancers of a service that are started: they must be there before they get members.
    fronts: BTreeMap<&'a Name, Vec<StepId>>,
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
            fronts: BTreeMap::new(),
            ready: BTreeMap::new(),
            roll: None,
        }
    }

    fn up(&mut self, only: &[Name], scaled: &[Name]) {
        let scope = if scaled.is_empty() { self.scope(only) } else { self.scope_of_scale(scaled) };
        let services: Vec<_> = self.desired.services.iter().filter(|s| scope.contains(&s.name)).collect();
        self.ground();
        self.volumes();
        self.prepare(&services);
        let (backing, own): (Vec<_>, Vec<_>) =
            services.iter().partition(|s: &&&DesiredService| s.replacement == Replacement::StopFirst);
        for service in backing {
            self.service(service, service.replicas, Why::File);
        }
        self.run_jobs(&services);
        self.balancers(&scope);
        for service in own {
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

    fn ground(&mut self) {
        let ended = self.end_leftovers();
        if self.observed.grounded {
            self.ground.extend(ended);
            return;
        }
        let action = match self.desired.ground {
            Ground::Supervisor => Action::StartSupervisor,
            Ground::Network => Action::CreateNetwork,
        };
        let cause = if self.observed.leftovers == 0 { "nothing runs yet" } else { "the one before is gone" };
        let step = self.plan.push(action, cause, &ended);
        self.ground.push(step);
    }

    fn end_leftovers(&mut self) -> Vec<StepId> {
        let what = match self.desired.ground {
            Ground::Supervisor => "processes of a supervisor that is gone",
            Ground::Network => "things that an interrupted command left",
        };
        match self.observed.leftovers {
            0 => Vec::new(),
            n => vec![self.plan.push(Action::EndLeftovers, format!("{n} {what}"), &[])],
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

    fn only_prepare(&mut self, only: &[Name]) {
        let wanted = |s: &&DesiredService| only.is_empty() || only.contains(&s.name);
        let services: Vec<_> = self.desired.services.iter().filter(wanted).collect();
        self.prepare(&services);
    }

    fn prepare(&mut self, services: &[&DesiredService]) {
        let wanted = self.desired.environments.iter();
        for environment in wanted.filter(|e| e.again || !self.observed.environments.contains(&e.key)) {
            let needs = |key: &Option<String>| key.as_deref() == Some(&environment.key);
            let in_scope = |name: &Name| services.iter().any(|s| &s.name == name);
            let own = services.iter().filter(|s| needs(&s.environment)).map(|s| s.name.to_string());
            let fronts = self.desired.balancers.iter().filter(|b| needs(&b.environment) && in_scope(&b.service));
            let users: Vec<_> = own.chain(fronts.map(|b| b.id.to_string())).collect();
            if users.is_empty() {
                continue;
            }
            let (key, source, preparation) =
                (environment.key.clone(), environment.source.clone(), environment.preparation);
            let missing = match preparation {
                _ if environment.again => "it was asked for again",
                Preparation::Install => "nothing is installed from it yet",
                Preparation::Build => "there is no image of this source",
                Preparation::Pull => "the engine does not have it",
            };
            let need = if users.len() == 1 { "needs" } else { "need" };
            let action = Action::PrepareEnvironment { key, source, preparation };
            let step = self.plan.push(action, format!("{missing}; {} {need} it", users.join(", ")), &[]);
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
            after.extend(job.after.iter().filter_map(|needed| self.ready.get(needed)).flatten());
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
                Some(_) if running.stopped => "it was stopped, or ended by itself".to_owned(),
                Some(b) if b.fingerprint != running.fingerprint => {
                    format!("{}: an interruption", running.fingerprint.changes(&b.fingerprint).join(", "))
                }
                Some(_) => continue,
            };
            let action = Action::StopBalancer { balancer: running.id.clone(), port: running.port };
            stopped.push(self.plan.push(action, cause, &self.ground));
        }
        for balancer in self.desired.balancers.iter().filter(|b| scope.contains(&b.service)) {
            if !self.observed.balancers.iter().any(|running| same(balancer, running)) {
                let action = Action::StartBalancer { balancer: balancer.id.clone(), port: balancer.port };
                let image = balancer.environment.as_deref().and_then(|key| self.environments.get(key));
                let after: Vec<_> = self.ground.iter().chain(&stopped).chain(image).copied().collect();
                let step = self.plan.push(action, format!("{} is reached through it", balancer.service), &after);
                self.fronts.entry(&balancer.service).or_default().push(step);
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
        after
    }

    /// What has to be done before a replica of the service becomes a member of its balancers.
    fn before_member(&self, service: &Name, after: impl IntoIterator<Item = StepId>) -> Vec<StepId> {
        after.into_iter().chain(self.fronts.get(service).into_iter().flatten().copied()).collect()
    }

    /// Whether a balancer of the service is started that knows nothing of the members of the one before.
    fn forgotten(&self, service: &Name) -> bool {
        self.desired.ground == Ground::Network && self.fronts.contains_key(service)
    }

    fn service(&mut self, service: &'a DesiredService, replicas: u16, why: Why) {
        let mut before = self.prerequisites(service);
        let split = Split::of(service, replicas, self.observed.replicas_of(&service.name), why);
        let mut slots = Slots::of(&self.observed.replicas_of(&service.name));
        let mut last = self.before_member(&service.name, before.iter().copied());

        for (replica, cause) in &split.leaving {
            let removed = self.remove(replica, cause, &before);
            last.extend(removed);
            // Two must not work on the same data.
            if service.replacement == Replacement::StopFirst {
                slots.free(replica.id.slot);
                before.extend(removed);
            }
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
            let after = self.before_member(&id.service, [last]);
            last = self.plan.push(Action::AddMember { replica: id.clone() }, "it is ready", &after);
        }
        Some(last)
    }

    /// Leaves a replica that is as it should be, and completes what an interrupted command left undone.
    fn keep(&mut self, replica: &ObservedReplica, after: &[StepId]) -> Option<StepId> {
        let id = &replica.id;
        let mut last = None;
        if replica.state == ReplicaState::Stopping {
            last = Some(self.plan.push(Action::StopReplica { replica: id.clone() }, TOLD_TO_END, after));
        }
        if matches!(replica.state, ReplicaState::Stopped | ReplicaState::Stopping) {
            let waits: Vec<_> = last.into_iter().chain(after.iter().copied()).collect();
            last = Some(self.plan.push(Action::ResumeReplica { replica: id.clone() }, "it is stopped", &waits));
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
        if self.balanced(&id.service) && (!replica.member || self.forgotten(&id.service)) {
            let waits = self.before_member(&id.service, last.into_iter().chain(after.iter().copied()));
            last = Some(self.plan.push(Action::AddMember { replica: id.clone() }, "no balancer knows it", &waits));
        }
        last
    }

    /// A new replica takes the place of another: one turn of a roll, in which the new one serves before the old one
    /// leaves, or an interruption.
    fn replace(
        &mut self,
        service: &DesiredService,
        old: &ObservedReplica,
        cause: &str,
        after: &[StepId],
        slots: &mut Slots,
    ) -> Option<StepId> {
        let waits: Vec<_> = after.iter().copied().chain(self.roll).collect();
        if service.replacement == Replacement::StopFirst {
            let removed = self.remove(old, &format!("{cause}: an interruption"), &waits);
            let added =
                self.add(&old.id, "it comes back on the same data", &removed.into_iter().collect::<Vec<_>>(), false);
            self.roll = added;
            return added;
        }
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
            // A balancer that is being stopped changes its members no more.
            waits = self.before_member(&replica.id.service, waits);
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

    fn down(&mut self, volumes: bool, images: bool) {
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
        // Those that use a backing service first: they may still have to write to it.
        for backing in [false, true] {
            let after = last.clone();
            for replica in self.observed.replicas.iter().filter(|r| r.backing == backing) {
                last.push(self.plan.push(Action::RemoveReplica { replica: replica.id.clone() }, cause, &after));
            }
        }
        if volumes {
            for volume in &self.observed.volumes {
                let action = Action::RemoveVolume { volume: volume.clone() };
                last.push(self.plan.push(action, "its data was asked to be removed", &last.clone()));
            }
        }
        if self.observed.grounded || self.observed.remains {
            let step = match self.desired.ground {
                Ground::Supervisor => self.plan.push(Action::StopSupervisor, "it owns nothing any more", &last),
                Ground::Network => self.plan.push(Action::RemoveNetwork, "nothing is on it any more", &last),
            };
            last.push(step);
        }
        // The records of jobs, which go with the network, use them too. One after the other: of two that have layers in
        // common an engine loses its way when both go at once.
        if images {
            for image in &self.observed.images {
                let action = Action::RemoveImage { image: image.clone() };
                last = vec![self.plan.push(action, "it was built for this project", &last)];
            }
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
        let mut users = Vec::new();
        for backing in [false, true] {
            let before = users.clone();
            for replica in self.selected(services).into_iter().filter(|r| r.backing == backing) {
                if matches!(replica.state, ReplicaState::Stopped | ReplicaState::Removing) {
                    continue;
                }
                let mut after: Vec<StepId> = before.clone();
                let mut cause = "it was asked to stop";
                if replica.member || replica.draining {
                    let drain = Action::DrainMember { replica: replica.id.clone() };
                    after.push(self.plan.push(drain, cause, &before));
                    cause = "it is drained";
                }
                users.push(self.plan.push(Action::StopReplica { replica: replica.id.clone() }, cause, &after));
            }
        }
    }

    fn start(&mut self, services: &[Name]) {
        let mut started = Vec::new();
        for backing in [true, false] {
            let after = started.clone();
            for replica in self.selected(services).into_iter().filter(|r| r.backing == backing) {
                // One that an interrupted `stop` was draining still runs, but serves nobody.
                let serves = replica.member || !self.balanced(&replica.id.service);
                let ends = matches!(replica.state, ReplicaState::Stopped | ReplicaState::Stopping);
                if replica.state != ReplicaState::Removing && (ends || replica.draining || !serves) {
                    started.extend(self.keep(replica, &after));
                }
            }
        }
    }

    fn selected(&self, services: &[Name]) -> Vec<&'a ObservedReplica> {
        let all = services.is_empty();
        self.observed.replicas.iter().filter(|r| all || services.contains(&r.id.service)).collect()
    }
}

/// Whether a running balancer is the wanted one.
fn same(wanted: &DesiredBalancer, running: &ObservedBalancer) -> bool {
    running.id == wanted.id
        && running.port == wanted.port
        && running.service == wanted.service
        && running.fingerprint == wanted.fingerprint
        && !running.stopped
}

#[cfg(test)]
mod tests;
