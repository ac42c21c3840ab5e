//! Balancers: their start and stop, and the members that come and go while they run.

use std::collections::BTreeSet;

use bollard::models::VolumeCreateRequest;

use super::Docker;
use crate::engine::docker::balancer::{self, BalancerConfig};
use crate::engine::docker::containers::{self, Placed};
use crate::engine::docker::labels::{self, Role};
use crate::engine::docker::spec::BalancerSpec;
use crate::engine::docker::{fail, files, observe, preflight};
use crate::engine::{BalancerId, Note, ReplicaId};
use crate::error::Failure;

impl Docker {
    pub(super) async fn start_balancer(&self, id: &BalancerId) -> Result<(), Failure> {
        let Some(spec) = self.specs.balancers.get(id) else { return Ok(()) };
        let name = self.names().balancer(id);
        let fingerprint = self.fingerprint(&spec.container, &spec.fingerprint).await?;
        self.create_config_volume(id).await?;
        let config = self.config(spec);
        let mut of = labels::of_balancer(&self.identity, id, &spec.service, &fingerprint);
        of.insert(labels::BALANCER.to_owned(), serde_json::to_string(&config).unwrap_or_default());
        let placed = Placed {
            name: &name,
            labels: of,
            project: &self.identity.project,
            alias: None,
            files: None,
            own: &[],
            restart: true,
        };
        let created = containers::create(self.api(), &self.identity, &spec.container, &placed).await?;
        balancer::put(self.api(), &created, &config).await?;
        let started = containers::start(self.api(), &created, &id.to_string()).await;
        match started {
            // Somebody was faster, since the look before the first step.
            Err(failure) => {
                Err(preflight::port(self.api(), spec.published, id, self.is_remote()).await.err().unwrap_or(failure))
            }
            Ok(()) => Ok(()),
        }
    }

    async fn create_config_volume(&self, id: &BalancerId) -> Result<(), Failure> {
        let request = VolumeCreateRequest {
            name: Some(self.names().balancer_volume(id)),
            labels: Some(labels::of_role(&self.identity, Role::Files)),
            ..VolumeCreateRequest::default()
        };
        let created = self.api().create_volume(request).await;
        created.map(drop).map_err(|e| fail::doing("create the balancer's volume", &e))
    }

    fn config(&self, spec: &BalancerSpec) -> BalancerConfig {
        BalancerConfig {
            listen: spec.listen.clone(),
            service: spec.service.clone(),
            port: spec.port,
            check: spec.check.clone(),
            members: Vec::new(),
            drain: spec.drain,
        }
    }

    pub(super) async fn stop_balancer(&self, id: &BalancerId) -> Result<(), Failure> {
        let name = self.names().balancer(id);
        self.end(&name, &id.to_string()).await?;
        containers::remove(self.api(), &name, &id.to_string()).await?;
        files::remove_unused(self.api(), &self.names().balancer_volume(id)).await
    }

    /// Changes the members of every balancer of a replica's service. Changes that come while another is being made are
    /// made together: each costs a reload.
    pub(super) async fn change_member(&self, change: Change, note: &dyn Fn(Note)) -> Result<(), Failure> {
        self.waiting.borrow_mut().push(change.clone());
        let _one_at_a_time = self.changing.lock().await;
        let changes = std::mem::take(&mut *self.waiting.borrow_mut());
        if !changes.contains(&change) {
            // Another step has made it, with its own.
            return Ok(());
        }
        for (_, container) in self.inventory().await?.containers.iter().filter(|(role, _)| *role == Role::Balancer) {
            let of = observe::labels_of(container);
            let config = of.get(labels::BALANCER).and_then(|text| serde_json::from_str::<BalancerConfig>(text).ok());
            let (Some(name), Some(mut config)) = (&container.id, config) else { continue };
            let concerned: Vec<_> = changes.iter().filter(|c| c.replica().service == config.service).collect();
            if concerned.is_empty() {
                continue;
            }
            let mut members: BTreeSet<_> = balancer::read_members(self.api(), name).await?.into_iter().collect();
            for change in concerned {
                match change {
                    Change::Add(replica) => members.insert(replica.clone()),
                    Change::Remove(replica) => members.remove(replica),
                };
            }
            config.members = members.into_iter().collect();
            balancer::install(self.api(), name, &config, note).await?;
        }
        Ok(())
    }
}

/// What becomes of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Add(ReplicaId),
    Remove(ReplicaId),
}

impl Change {
    fn replica(&self) -> &ReplicaId {
        match self {
            Self::Add(replica) | Self::Remove(replica) => replica,
        }
    }
}
