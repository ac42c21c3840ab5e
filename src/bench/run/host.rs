//! What the machine says about this process: processor time, waits and throttling, file limits.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};

/// How long the control group of this process, or one above it, was throttled, in nanoseconds.
pub fn throttled_ns() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    cpu_stat_files(&groups).iter().filter_map(|path| throttled_in(&fs::read_to_string(path).ok()?)).max()
}

/// The `cpu.stat` files of the groups that `/proc/self/cgroup` names, and of all groups above them.
fn cpu_stat_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let root = match controllers {
            "" => "/sys/fs/cgroup".to_owned(),
            c if c.split(',').any(|c| c == "cpu") => format!("/sys/fs/cgroup/{c}"),
            _ => continue,
        };
        let above = Path::new(path.trim_start_matches('/'));
        files.extend(above.ancestors().map(|a| Path::new(&root).join(a).join("cpu.stat")));
    }
    files
}

fn throttled_in(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| match line.split_once(' ')? {
        ("throttled_usec", value) => value.trim().parse::<u64>().ok().map(|us| us.saturating_mul(1000)),
        ("throttled_time", value) => value.trim().parse().ok(),
        _ => None,
    })
}

/// User and system time of this process, in nanoseconds.
pub fn cpu_ns() -> u64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return 0 };
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|t| t.tv_sec().unsigned_abs() * 1_000_000_000 + u64::try_from(t.tv_usec()).unwrap_or(0) * 1000)
        .sum()
}

/// Raises the soft limit of open files to the hard one, and says what it is now.
pub fn raise_file_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_is_read_from_both_versions_of_control_groups() {
        let two = cpu_stat_files("0::/user.slice/a.scope\n");
        assert_eq!(two[0], Path::new("/sys/fs/cgroup/user.slice/a.scope/cpu.stat"));
        assert_eq!(two[2], Path::new("/sys/fs/cgroup/cpu.stat"));
        let one = cpu_stat_files("4:memory:/m\n3:cpu,cpuacct:/docker/x\n");
        assert_eq!(one[0], Path::new("/sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.stat"));
        assert_eq!(throttled_in("nr_periods 5\nthrottled_usec 7\n"), Some(7000));
        assert_eq!(throttled_in("nr_throttled 5\nthrottled_time 7\n"), Some(7));
        assert_eq!(throttled_in("usage_usec 1\n"), None);
    }
}
