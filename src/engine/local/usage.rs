//! What replicas' processes use, as the system counts it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::engine::Observed;
use crate::engine::usage::Sample;

/// A look at every replica that runs: at its process and all that this started.
pub fn samples(observed: &Observed) -> BTreeMap<String, Sample> {
    // Where the system does not say, nothing is known of anybody.
    let Ok(mut system) = System::new() else { return BTreeMap::new() };
    let wanted = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, wanted);
    let at = Timestamp::now();
    let running = observed.replicas.iter().filter_map(|replica| Some((replica, Pid::from_u32(replica.pid?))));
    running
        .map(|(replica, pid)| {
            let tree = tree(&system, pid);
            let cpu = tree.iter().map(|process| process.accumulated_cpu_time()).sum();
            let memory = tree.iter().map(|process| process.memory()).sum();
            (replica.id.to_string(), Sample { at, cpu: Duration::from_millis(cpu), memory, limit: None })
        })
        .collect()
}

/// A process, its children, theirs, and so on.
fn tree(system: &System, root: Pid) -> Vec<&Process> {
    let mut pids = BTreeSet::from([root]);
    loop {
        let children = system.processes().iter().filter(|(_, p)| p.parent().is_some_and(|pid| pids.contains(&pid)));
        let new: Vec<_> = children.map(|(pid, _)| *pid).filter(|pid| !pids.contains(pid)).collect();
        if new.is_empty() {
            return pids.iter().filter_map(|pid| system.process(*pid)).collect();
        }
        pids.extend(new);
    }
}
