//! What replicas use of the machine: processor time between two looks, and memory at the second.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::any::AnyEngine;
use super::model::Observed;
use crate::error::Failure;

/// The time between two looks, where there is no earlier one: `status` should be quick, and the kernel counts in steps of
/// 10 ms.
const GAP: Duration = Duration::from_millis(200);

/// One look at a replica or balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// Processor time since its start, of all its processes.
    pub cpu: Duration,
    /// Memory of all its processes, in bytes, without what the kernel could take back at once.
    pub memory: u64,
    /// Its memory limit in bytes, if it has one.
    pub limit: Option<u64>,
}

/// What a replica or balancer uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Percent of one core.
    pub cpu_percent: f64,
    /// Bytes.
    pub memory: u64,
    /// Bytes.
    pub limit: Option<u64>,
}

impl Usage {
    /// From two looks at the same process; `None` where another took its place in between, or no time has passed.
    fn between(before: &Sample, after: &Sample) -> Option<Self> {
        let wall: Duration = after.at.duration_since(before.at).try_into().ok()?;
        let cpu = after.cpu.checked_sub(before.cpu)?;
        if wall.is_zero() {
            return None;
        }
        let percent = cpu.as_secs_f64() / wall.as_secs_f64() * 100.0;
        let cpu_percent = (percent * 10.0).round() / 10.0;
        Some(Self { cpu_percent, memory: after.memory, limit: after.limit })
    }
}

/// Looks again and again, and tells what was used between two looks.
#[derive(Debug, Default)]
pub struct Meter {
    before: BTreeMap<String, Sample>,
}

impl Meter {
    /// What each running replica (`api-2`) and balancer uses; those that end meanwhile are left out.
    ///
    /// # Errors
    ///
    /// When the engine does not answer.
    pub async fn read(&mut self, engine: &AnyEngine, observed: &Observed) -> Result<BTreeMap<String, Usage>, Failure> {
        if self.before.is_empty() {
            self.before = engine.samples(observed).await?;
            tokio::time::sleep(GAP).await;
        }
        let after = engine.samples(observed).await?;
        let used = after.iter().filter_map(|(name, after)| {
            let before = self.before.get(name)?;
            Some((name.clone(), Usage::between(before, after)?))
        });
        let used = used.collect();
        self.before = after;
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_second_of_two_cores_in_a_second_is_a_hundred_percent() {
        let sample = |second, cpu| Sample {
            at: Timestamp::from_second(second).unwrap(),
            cpu: Duration::from_millis(cpu),
            memory: 7,
            limit: Some(9),
        };
        let usage = Usage::between(&sample(1, 500), &sample(2, 1500)).unwrap();
        assert_eq!(usage, Usage { cpu_percent: 100.0, memory: 7, limit: Some(9) });
        assert_eq!(Usage::between(&sample(1, 500), &sample(1, 600)), None);
        assert_eq!(Usage::between(&sample(1, 500), &sample(2, 100)), None, "it was restarted");
    }
}
