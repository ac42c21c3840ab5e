//! What waits for what: a service for what it uses and for the jobs before it, a job for the backing services that its
//! service uses.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Job, Stack};
use crate::units::Name;

/// One thing that is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part<'a> {
    /// A backing service.
    Backing(&'a Name),
    /// A job with a `before`; the others run only when they are asked for.
    Job(&'a Name),
    /// A service.
    Service(&'a Name),
}

impl Stack {
    /// All parts in the order in which they are started: each after everything it waits for, by kind and name where
    /// nothing decides. Jobs without `before` are left out.
    ///
    /// A loaded stack has no cycle; of one that has, the members come last.
    pub fn start_order(&self) -> Vec<Part<'_>> {
        let backing = self.backing.keys().map(Part::Backing);
        let jobs = self.jobs.iter().filter(|(_, job)| !job.before.is_empty()).map(|(name, _)| Part::Job(name));
        let services = self.services.keys().map(Part::Service);
        let mut waiting = backing.chain(jobs).chain(services).collect::<BTreeSet<_>>();
        let mut order = Vec::with_capacity(waiting.len());
        while let Some(next) = waiting
            .iter()
            .copied()
            .find(|part| self.waits_for(*part).iter().all(|other| !waiting.contains(other)))
            .or_else(|| waiting.first().copied())
        {
            waiting.remove(&next);
            order.push(next);
        }
        order
    }

    /// What a part directly waits for.
    pub fn waits_for<'a>(&'a self, part: Part<'a>) -> Vec<Part<'a>> {
        match part {
            Part::Backing(_) => Vec::new(),
            Part::Job(name) => {
                let service = self.jobs.get(name).and_then(|job| self.services.get(&job.service));
                let uses = service.map(|service| service.uses.as_slice()).unwrap_or_default();
                uses.iter().filter(|used| self.backing.contains_key(*used)).map(Part::Backing).collect()
            }
            Part::Service(name) => {
                let uses = self.services.get(name).map(|service| service.uses.as_slice()).unwrap_or_default();
                let used = uses.iter().map(|used| {
                    if self.backing.contains_key(used) { Part::Backing(used) } else { Part::Service(used) }
                });
                used.chain(self.jobs_before(name).map(|(job, _)| Part::Job(job))).collect()
            }
        }
    }

    /// The jobs that a service waits for.
    pub fn jobs_before<'a>(&'a self, service: &'a Name) -> impl Iterator<Item = (&'a Name, &'a Job)> {
        self.jobs.iter().filter(move |(_, job)| job.before.contains(service))
    }

    /// A cycle among the services' `uses`, beginning and ending with the same name; `None` where there is none.
    pub(super) fn cycle(&self) -> Option<Vec<&Name>> {
        let mut done = BTreeSet::new();
        self.services.keys().find_map(|start| self.cycle_from(start, &mut Vec::new(), &mut done))
    }

    /// Depth first; `done` holds the services from which no cycle is reached.
    fn cycle_from<'a>(
        &'a self,
        name: &'a Name,
        way: &mut Vec<&'a Name>,
        done: &mut BTreeSet<&'a Name>,
    ) -> Option<Vec<&'a Name>> {
        if let Some(start) = way.iter().position(|seen| *seen == name) {
            return Some(way[start..].iter().copied().chain([name]).collect());
        }
        if done.contains(name) {
            return None;
        }
        way.push(name);
        let used = self.services.get(name).map(|service| service.uses.as_slice()).unwrap_or_default();
        let found = used
            .iter()
            .filter_map(|used| self.services.get_key_value(used))
            .find_map(|(used, _)| self.cycle_from(used, way, done));
        way.pop();
        done.insert(name);
        found
    }

    /// The services that use each name, backing services and services alike.
    pub fn users(&self) -> BTreeMap<&Name, Vec<&Name>> {
        let mut users: BTreeMap<&Name, Vec<&Name>> = BTreeMap::new();
        for (name, service) in &self.services {
            for used in &service.uses {
                users.entry(used).or_default().push(name);
            }
        }
        users
    }
}
