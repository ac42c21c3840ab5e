//! Asks the machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use tokio::process::Command;
use tokio::time::timeout;

use super::{Disk, Machine, OpenPort, Platform, Program, Project, Python, docker};
use crate::ports;

/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// Python says its version and whether `venv` would work; Debian ships `venv` without `ensurepip`.
const ASK_PYTHON: &str = "import sys, importlib.util as u
print(*sys.version_info[:2], all(u.find_spec(m) for m in ('venv', 'ensurepip')))";

/// Names under which a Python may be installed, the plain one first.
const PYTHONS: [&str; 6] = ["python3", "python3.15", "python3.14", "python3.13", "python3.12", "python3.11"];

/// Examines this machine for the project that may be in `folder`.
pub async fn examine(folder: &Path) -> Machine {
    let project = project(folder);
    let (python, uv, node, cargo, compiler, docker) = tokio::join!(
        python(),
        version(&["uv"]),
        version(&["node", "nodejs"]),
        version(&["cargo"]),
        version(&["cc", "gcc", "clang"]),
        docker::ask(),
    );
    Machine {
        platform: Platform::here(),
        python,
        uv,
        node,
        cargo,
        compiler,
        docker,
        kubeconfig: kubeconfig(),
        ports: project.iter().flat_map(ports_of).collect(),
        project,
        disks: disks(),
        open_files: getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0)),
        usable_cores: thread::available_parallelism().map_or(1, usize::from),
        cores: cores(),
    }
}

async fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let run = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(PATIENCE, run).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first of these programs that is there.
async fn version(names: &[&str]) -> Option<Program> {
    for name in names {
        if let Some(text) = output(name, &["--version"]).await {
            let version = text.lines().next().unwrap_or_default().trim().to_owned();
            return Some(Program { program: (*name).to_owned(), version });
        }
    }
    None
}

/// The first Python that can prepare an environment, or else the first there is.
async fn python() -> Option<Python> {
    let mut first = None;
    for name in PYTHONS {
        let Some(found) = output(name, &["-c", ASK_PYTHON]).await.and_then(|text| parse_python(name, &text)) else {
            continue;
        };
        if found.venv && found.version >= super::checks::PYTHON {
            return Some(found);
        }
        first = first.or(Some(found));
    }
    first
}

fn parse_python(program: &str, text: &str) -> Option<Python> {
    let mut words = text.split_whitespace();
    let version = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Python { program: program.to_owned(), version, venv: words.next()? == "True" })
}

/// What matters of a project, read as far as it can be read: `scalectl check` is there for the rest.
fn project(folder: &Path) -> Option<Project> {
    let text = fs::read_to_string(folder.join("scalectl.toml")).ok()?;
    let file: toml::Table = text.parse().unwrap_or_default();
    let services = file.get("services").and_then(toml::Value::as_table);
    let mut runtimes: Vec<String> = services
        .into_iter()
        .flat_map(|services| services.values())
        .filter_map(|service| Some(service.get("runtime")?.as_str()?.to_owned()))
        .collect();
    runtimes.sort();
    runtimes.dedup();
    let port = file.get("balancer").and_then(|balancer| balancer.get("port")).and_then(toml::Value::as_integer);
    Some(Project { runtimes, balancer: port.and_then(|port| u16::try_from(port).ok()) })
}

/// Replicas get free ports on the local engine; only the balancer's is fixed.
fn ports_of(project: &Project) -> Option<OpenPort> {
    let port = project.balancer?;
    Some(OpenPort { key: "balancer.port".to_owned(), port, obstacle: ports::obstacle(port) })
}

/// The first file of KUBECONFIG that exists, or the usual one.
fn kubeconfig() -> Option<(PathBuf, Option<String>)> {
    let files: Vec<PathBuf> = match env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
        Some(value) => env::split_paths(&value).collect(),
        None => env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
    };
    files.into_iter().find_map(|file| {
        let text = fs::read_to_string(&file).ok()?;
        let context = text.lines().find_map(|line| line.strip_prefix("current-context:"));
        let context = context.map(|name| name.trim().trim_matches('"').to_owned()).filter(|name| !name.is_empty());
        Some((file, context))
    })
}

fn disks() -> Vec<Disk> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".cache")));
    let folders = [("cache", cache), ("temporary files", Some(env::temp_dir()))];
    folders.into_iter().filter_map(|(purpose, path)| disk(purpose, &path?)).collect()
}

/// The disk of the nearest folder that exists.
fn disk(purpose: &'static str, path: &Path) -> Option<Disk> {
    let existing = path.ancestors().find(|folder| folder.is_dir())?;
    let facts = statvfs(existing).ok()?;
    // The fields' widths differ between systems.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    let free = facts.blocks_available() as u64 * facts.fragment_size() as u64;
    Some(Disk { purpose, path: path.to_owned(), free })
}

/// Counts `0-3,6` of the kernel's list of processors.
fn cores() -> Option<usize> {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    text.trim().split(',').map(count).sum()
}

fn count(range: &str) -> Option<usize> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    (last + 1).checked_sub(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_says_its_version_and_whether_venv_works() {
        let python = parse_python("python3", "3 11 False\n").unwrap();
        assert_eq!((python.version, python.venv), ((3, 11), false));
        assert!(parse_python("python3", "").is_none());
    }

    #[test]
    fn processors_are_counted_from_ranges() {
        assert_eq!("0-3,6".split(',').map(count).sum::<Option<usize>>(), Some(5));
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("x"), None);
    }

    #[test]
    fn a_project_is_read_as_far_as_possible() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(project(folder.path()), None);
        let text = "[services.a]\nruntime = \"python\"\n[services.b]\nruntime = \"python\"\n[balancer]\nport = 8080\n";
        fs::write(folder.path().join("scalectl.toml"), text).unwrap();
        let found = project(folder.path()).unwrap();
        assert_eq!((found.runtimes, found.balancer), (vec!["python".to_owned()], Some(8080)));
        fs::write(folder.path().join("scalectl.toml"), "not toml").unwrap();
        assert_eq!(project(folder.path()), Some(Project::default()));
    }
}
