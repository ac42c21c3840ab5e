//! What becomes of the replicas that a service has, and which slots are free for new ones.

use std::collections::BTreeSet;

use crate::engine::model::{DesiredService, ObservedReplica, ReplicaState};

/// Where the wanted number of replicas comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The file says so.
    File,
    /// It was asked for by hand.
    Scaled,
    /// As many as there are, but new ones.
    Restart,
}

impl Why {
    /// Why a replica is added.
    pub fn missing(self, running: usize, wanted: u16) -> String {
        match (self, running) {
            (Self::Scaled, _) => format!("{wanted} replicas were asked for, {running} run"),
            (_, 0) => format!("{wanted} wanted, none runs"),
            (_, _) => format!("the file says {wanted}, {running} run"),
        }
    }

    /// Why a replica is removed.
    pub fn surplus(self, running: usize, wanted: u16) -> String {
        match self {
            Self::Scaled => format!("{wanted} replicas were asked for, {running} run"),
            _ => format!("the file says {wanted}, {running} run: scaled by hand"),
        }
    }
}

/// The replicas of a service by what becomes of them.
pub struct Split<'a> {
    /// They are as they should be.
    pub kept: Vec<&'a ObservedReplica>,
    /// They are as they should be, but too many.
    pub surplus: Vec<&'a ObservedReplica>,
    /// They are to be replaced, for this reason.
    pub stale: Vec<(&'a ObservedReplica, String)>,
    /// They are half removed already.
    pub leaving: Vec<(&'a ObservedReplica, String)>,
    /// How many run and are not about to leave.
    pub running: usize,
}

impl<'a> Split<'a> {
    /// Sorts the replicas of a service.
    pub fn of(service: &DesiredService, wanted: u16, replicas: Vec<&'a ObservedReplica>, why: Why) -> Self {
        let mut split =
            Self { kept: Vec::new(), surplus: Vec::new(), stale: Vec::new(), leaving: Vec::new(), running: 0 };
        for replica in replicas {
            if replica.draining {
                split.leaving.push((replica, "an interrupted command was removing it".to_owned()));
                continue;
            }
            if matches!(replica.state, ReplicaState::Stopping | ReplicaState::Removing) {
                split.leaving.push((replica, super::TOLD_TO_END.to_owned()));
                continue;
            }
            split.running += 1;
            let changes = replica.fingerprint.changes(&service.fingerprint);
            if why == Why::Restart {
                split.stale.push((replica, "a restart was asked for".to_owned()));
            } else if changes.is_empty() {
                split.kept.push(replica);
            } else {
                split.stale.push((replica, changes.join(", ")));
            }
        }
        // The best stay: those that serve, then those that are ready, then the lowest slots.
        split.kept.sort_by_key(|r| (!(r.member && r.ready), !r.ready, r.id.slot));
        let count = usize::from(wanted).min(split.kept.len());
        split.surplus = split.kept.split_off(count);
        // The worst go first: those that serve nobody anyway.
        split.stale.sort_by_key(|(r, _)| (r.ready, r.id.slot));
        split
    }
}

/// The slots of a service that are taken.
pub struct Slots(BTreeSet<u16>);

impl Slots {
    /// Those of the replicas that there are.
    pub fn of(replicas: &[&ObservedReplica]) -> Self {
        Self(replicas.iter().map(|r| r.id.slot).collect())
    }

    /// Takes the lowest free one.
    pub fn take(&mut self) -> u16 {
        let free = (1..=u16::MAX).find(|slot| !self.0.contains(slot)).unwrap_or(u16::MAX);
        self.0.insert(free);
        free
    }

    /// Gives one back.
    pub fn free(&mut self, slot: u16) {
        self.0.remove(&slot);
    }
}
