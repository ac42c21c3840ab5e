//! The project's network, and what goes with it: records of jobs, files, what an interrupted command left.

use bollard::models::NetworkCreateRequest;

use super::{Docker, IN_USE, POLL};
use crate::engine::docker::labels::{self, Role};
use crate::engine::docker::{containers, fail, files, observe, preflight};
use crate::error::Failure;

impl Docker {
    pub(super) async fn create_network(&self) -> Result<(), Failure> {
        let request = NetworkCreateRequest {
            name: self.names().network(),
            driver: Some("bridge".to_owned()),
            labels: Some(labels::of_project(&self.identity)),
            ..NetworkCreateRequest::default()
        };
        match self.api().create_network(request).await {
            Err(e) if fail::is_conflict(&e) => return Err(preflight::network_taken(&self.names().network(), None)),
            other => other.map(drop).map_err(|e| fail::doing("create the project's network", &e))?,
        }
        self.keep_one_network(&self.inventory().await?.networks).await
    }

    /// Removes the network and what else is left: records of jobs, commands beside the stack, files.
    pub(super) async fn remove_network(&self) -> Result<(), Failure> {
        let inventory = self.inventory().await?;
        for (_, container) in &inventory.containers {
            if let Some(id) = &container.id {
                containers::remove(self.api(), id, "a container").await?;
            }
        }
        for volume in &inventory.volumes {
            if Role::of(&volume.labels) != Some(Role::Data) {
                files::remove_unused(self.api(), &volume.name).await?;
            }
        }
        for network in &inventory.networks {
            self.remove_one_network(network).await?;
        }
        Ok(())
    }

    /// Removes what an interrupted command left: helpers with the volumes they were filling, jobs that still run.
    pub(super) async fn end_leftovers(&self) -> Result<(), Failure> {
        let inventory = self.inventory().await?;
        self.keep_one_network(&inventory.networks).await?;
        for (role, container) in &inventory.containers {
            let left = *role == Role::Helper || (*role == Role::Job && observe::running(container));
            if let (true, Some(id)) = (left, &container.id) {
                containers::stop(self.api(), id, "what was left", self.options.timeout.min(IN_USE)).await?;
                containers::remove(self.api(), id, "what was left").await?;
            }
        }
        Ok(())
    }

    /// An engine makes a second network of the same name without a word: a command that was killed while its request was
    /// on its way leaves one more than the next command saw, and no container can then be put on that name.
    async fn keep_one_network(&self, networks: &[String]) -> Result<(), Failure> {
        let mut left = networks.len();
        for id in networks {
            if left <= 1 {
                break;
            }
            match self.api().remove_network(id).await {
                Ok(()) => left -= 1,
                Err(e) if fail::is_missing(&e) => left -= 1,
                // Containers are on this one: another has to go.
                Err(e) if fail::status(&e).is_some() => {}
                Err(e) => return Err(fail::doing("remove a second network of the project", &e)),
            }
        }
        Ok(())
    }

    async fn remove_one_network(&self, id: &str) -> Result<(), Failure> {
        let begin = std::time::Instant::now();
        loop {
            match self.api().remove_network(id).await {
                Err(e) if fail::is_missing(&e) => return Ok(()),
                Err(_) if begin.elapsed() < IN_USE => tokio::time::sleep(POLL).await,
                Err(e) => return Err(preflight::network_in_use(self.api(), id, &e).await),
                Ok(()) => return Ok(()),
            }
        }
    }
}
