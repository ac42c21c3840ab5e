//! What containers use, as the engine counts it.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::models::{ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::{InspectContainerOptions, StatsOptionsBuilder};
use futures_util::StreamExt;
use futures_util::future::join_all;
use jiff::Timestamp;

use super::Docker;
use crate::engine::usage::Sample;
use crate::engine::{Observed, ReplicaState};

impl Docker {
    /// A look at every running container of the stack, all at once.
    pub async fn samples(&self, observed: &Observed) -> BTreeMap<String, Sample> {
        let running = observed.replicas.iter().filter(|r| r.state == ReplicaState::Running);
        let replicas = running.map(|r| (r.id.to_string(), self.names().replica(&r.id)));
        let balancers = observed.balancers.iter().map(|b| (b.id.to_string(), self.names().balancer(&b.id)));
        let looked = replicas
            .chain(balancers)
            .map(|(name, container)| async move { Some((name, self.container_sample(&container).await?)) });
        join_all(looked).await.into_iter().flatten().collect()
    }

    /// One container; `None` where it ended meanwhile.
    async fn container_sample(&self, container: &str) -> Option<Sample> {
        let api = &self.connection().docker;
        // One that asks for two samples takes the engine a second or two.
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let mut stats = Box::pin(api.stats(container, Some(options)));
        let (stats, inspected) =
            tokio::join!(stats.next(), api.inspect_container(container, None::<InspectContainerOptions>));
        let limit = inspected.ok()?.host_config?.memory.and_then(|bytes| u64::try_from(bytes).ok());
        sample(&stats?.ok()?, limit.filter(|bytes| *bytes > 0))
    }
}

fn sample(stats: &ContainerStatsResponse, limit: Option<u64>) -> Option<Sample> {
    let cpu = stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
    let at: Timestamp = stats.read.as_ref()?.to_string().parse().ok()?;
    Some(Sample { at, cpu: Duration::from_nanos(cpu), memory: memory(stats.memory_stats.as_ref()?)?, limit })
}

/// Memory without the page cache that nobody uses, as `docker stats` counts it: `total_inactive_file` with version 1 of
/// control groups, `inactive_file` with version 2.
fn memory(stats: &ContainerMemoryStats) -> Option<u64> {
    let detail = stats.stats.as_ref();
    let cache = ["total_inactive_file", "inactive_file"].iter().find_map(|key| detail?.get(*key).copied());
    stats.usage.map(|usage| usage.saturating_sub(cache.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_that_nobody_uses_is_no_memory() {
        let stats = |detail: &[(&str, u64)]| ContainerMemoryStats {
            usage: Some(100),
            stats: Some(detail.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect()),
            ..ContainerMemoryStats::default()
        };
        assert_eq!(memory(&stats(&[("total_inactive_file", 30), ("inactive_file", 10)])), Some(70));
        assert_eq!(memory(&stats(&[("inactive_file", 40)])), Some(60));
        assert_eq!(memory(&stats(&[])), Some(100));
    }
}
