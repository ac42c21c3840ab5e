//! What each command needs, decided from what was found.

use serde::Serialize;

use super::{Disk, DockerAnswer, Machine, OpenPort, Program, Python};
use crate::ports::{Holder, Obstacle};

/// The oldest Python that the templates run on.
pub const PYTHON: (u32, u32) = (3, 11);

/// Free space below which preparing an environment fails: a Python environment of the template has about 150 MB.
const TOO_LITTLE: u64 = 300 << 20;
/// Free space below which a stack with its logs may fill the disk.
const LITTLE: u64 = 2 << 30;
/// Open files that a run of a thousand connections needs, with the program's own.
const FILES: u64 = 1100;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is there.
    Ok,
    /// Something works less well, or only some commands need it.
    Warning,
    /// Something that the local path needs is missing.
    Missing,
}

/// One need, and whether it is met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is needed.
    pub name: String,
    /// The commands that need it.
    pub needed_by: &'static [&'static str],
    /// How the check ended.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What to do about it; nothing where nothing has to be done.
    pub remedy: Option<String>,
}

const LOCAL: &[&str] = &["up", "demo"];
const NODE: &[&str] = &["up (node services)"];
const RUST: &[&str] = &["up (rust services)"];
const BENCH: &[&str] = &["bench", "demo"];
const DOCKER: &[&str] = &["up --engine docker", "build"];
const KUBERNETES: &[&str] = &["deploy"];

/// All checks, in the order in which a new user meets the commands.
pub fn checks(machine: &Machine) -> Vec<Check> {
    let mut checks = vec![python(machine), uv(machine)];
    checks.extend(machine.disks.iter().map(disk));
    checks.extend(machine.ports.iter().map(port));
    checks.extend([open_files(machine.open_files), cores(machine)]);
    checks.extend([node(machine), cargo(machine), compiler(machine)]);
    checks.extend([docker(machine), kubeconfig(machine)]);
    checks
}

/// Whether the local path needs a runtime: the project's file says so, and the default template is Python.
fn needs(machine: &Machine, runtime: &str) -> bool {
    match &machine.project {
        Some(project) => project.runtimes.iter().any(|used| used == runtime),
        None => runtime == "python",
    }
}

/// Missing where the local path needs it, a warning elsewhere.
fn lacking(machine: &Machine, runtime: &str) -> Status {
    if needs(machine, runtime) { Status::Missing } else { Status::Warning }
}

fn check(name: &str, needed_by: &'static [&'static str], status: Status, found: String, remedy: String) -> Check {
    let remedy = (status != Status::Ok).then_some(remedy);
    Check { name: name.to_owned(), needed_by, status, found, remedy }
}

fn python(machine: &Machine) -> Check {
    let name = "Python 3.11 or newer with venv";
    let platform = machine.platform;
    let fresh = platform.install("python3 python3-venv", "python3", "python@3.13", "Python 3.11 or newer");
    let shown = |p: &Python| format!("{} {}.{}", p.program, p.version.0, p.version.1);
    match &machine.python {
        None => check(name, LOCAL, lacking(machine, "python"), "not found".to_owned(), fresh),
        Some(p) if p.version < PYTHON => {
            let remedy = "install Python 3.11 or newer beside it, or uv, which brings its own".to_owned();
            check(name, LOCAL, lacking(machine, "python"), shown(p), remedy)
        }
        Some(p) if !p.venv => {
            let package = format!("python{}.{}-venv", p.version.0, p.version.1);
            let remedy = platform.install(&package, "python3", "python@3.13", "Python's venv and ensurepip");
            check(name, LOCAL, lacking(machine, "python"), format!("{} without venv", shown(p)), remedy)
        }
        Some(p) => check(name, LOCAL, Status::Ok, shown(p), String::new()),
    }
}

fn program(
    name: &str,
    needed_by: &'static [&'static str],
    found: &Option<Program>,
    lacking: Status,
    remedy: String,
) -> Check {
    match found {
        Some(program) => check(name, needed_by, Status::Ok, program.version.clone(), String::new()),
        None => check(name, needed_by, lacking, "not found".to_owned(), remedy),
    }
}

/// Optional: pip does the same, slower.
fn uv(machine: &Machine) -> Check {
    match &machine.uv {
        Some(uv) => check("uv (optional)", LOCAL, Status::Ok, uv.version.clone(), String::new()),
        None => check("uv (optional)", LOCAL, Status::Ok, "not found; pip is used instead".to_owned(), String::new()),
    }
}

fn node(machine: &Machine) -> Check {
    let remedy = machine.platform.install("nodejs npm", "nodejs", "node", "Node.js");
    program("Node.js", NODE, &machine.node, lacking(machine, "node"), remedy)
}

fn cargo(machine: &Machine) -> Check {
    let remedy = machine.platform.install("cargo", "cargo", "rust", "Rust");
    program("cargo", RUST, &machine.cargo, lacking(machine, "rust"), remedy)
}

fn compiler(machine: &Machine) -> Check {
    let remedy = match machine.platform {
        super::Platform::Mac => "xcode-select --install".to_owned(),
        other => other.install("gcc libc6-dev", "gcc", "gcc", "a C compiler"),
    };
    program("C compiler", RUST, &machine.compiler, lacking(machine, "rust"), remedy)
}

fn disk(disk: &Disk) -> Check {
    let status = match disk.free {
        free if free < TOO_LITTLE => Status::Missing,
        free if free < LITTLE => Status::Warning,
        _ => Status::Ok,
    };
    let found = format!("{:.1} GiB free in {}", disk.free as f64 / f64::from(1 << 30), disk.path.display());
    let remedy = format!("free some space on the disk of {}", disk.path.display());
    check(&format!("Disk for {}", disk.purpose), LOCAL, status, found, remedy)
}

/// A port that scalectl holds belongs to the running stack.
fn port(port: &OpenPort) -> Check {
    let name = format!("Port {} ({})", port.port, port.key);
    match &port.obstacle {
        None => check(&name, LOCAL, Status::Ok, "free".to_owned(), String::new()),
        Some(Obstacle::Held(Holder::Process { name: holder, pid, .. })) if holder == "scalectl" => {
            check(&name, LOCAL, Status::Ok, format!("held by scalectl (pid {pid})"), String::new())
        }
        Some(Obstacle::Refused(reason)) => {
            let remedy = format!("choose another {} in scalectl.toml; Docker may be able to open it", port.key);
            check(&name, LOCAL, Status::Warning, format!("not yours to open: {reason}"), remedy)
        }
        Some(Obstacle::Held(holder)) => {
            let stop = match holder {
                Holder::Process { pid, .. } => format!("end it (kill {pid})"),
                Holder::Foreign => "end it (as its user or as root)".to_owned(),
            };
            let remedy = format!("{stop}, or choose another {} in scalectl.toml", port.key);
            check(&name, LOCAL, Status::Missing, format!("held by {holder}"), remedy)
        }
    }
}

fn open_files((soft, hard): (u64, u64)) -> Check {
    let status = if hard.min(soft) < FILES { Status::Warning } else { Status::Ok };
    let remedy = if hard < FILES {
        "raise the hard limit of open files (nofile in /etc/security/limits.conf)".to_owned()
    } else {
        format!("ulimit -n {}", hard.min(65_536))
    };
    let connections = soft.saturating_sub(100);
    let found = format!("{}: about {} connections at once", limit(soft), limit(connections));
    check("Open files", BENCH, status, found, remedy)
}

fn limit(number: u64) -> String {
    if number > 1 << 40 { "no limit".to_owned() } else { number.to_string() }
}

fn cores(machine: &Machine) -> Check {
    let usable = machine.usable_cores;
    let found = match machine.cores {
        Some(all) if all > usable => format!("{usable} of {all}, by a quota or affinity of this process"),
        _ => usable.to_string(),
    };
    let status = if usable < 2 { Status::Warning } else { Status::Ok };
    let remedy = "on one processor the load generator and the service slow each other down".to_owned();
    check("Processors", BENCH, status, found, remedy)
}

fn docker(machine: &Machine) -> Check {
    let (status, found, remedy) = match &machine.docker {
        DockerAnswer::Ready { address, engine, api } => {
            (Status::Ok, format!("{engine}, API {api} at {address}"), String::new())
        }
        DockerAnswer::Absent => (
            Status::Warning,
            "no socket, and DOCKER_HOST is not set".to_owned(),
            machine.platform.install("docker.io", "moby-engine", "--cask docker", "Docker"),
        ),
        DockerAnswer::Failing { reason, remedy } => (Status::Warning, reason.clone(), remedy.clone()),
    };
    check("Docker API", DOCKER, status, found, remedy)
}

fn kubeconfig(machine: &Machine) -> Check {
    let (status, found) = match &machine.kubeconfig {
        Some((file, Some(context))) => (Status::Ok, format!("context {context} in {}", file.display())),
        Some((file, None)) => (Status::Warning, format!("{} has no current context", file.display())),
        None => (Status::Warning, "not found".to_owned()),
    };
    let remedy = "kubectl config use-context NAME, or a cluster such as minikube start".to_owned();
    check("Kubernetes configuration", KUBERNETES, status, found, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Platform, Project};

    fn machine() -> Machine {
        let program = |version: &str| Some(Program { program: "p".into(), version: version.into() });
        Machine {
            platform: Platform::Debian { sudo: true },
            python: Some(Python { program: "python3".into(), version: (3, 12), venv: true }),
            uv: None,
            node: program("v24.0.0"),
            cargo: program("cargo 1.95.0"),
            compiler: program("cc 12"),
            docker: DockerAnswer::Ready { address: "unix:///s".into(), engine: "Docker".into(), api: "1.41".into() },
            kubeconfig: Some(("/k".into(), Some("minikube".into()))),
            project: None,
            ports: vec![],
            disks: vec![Disk { purpose: "cache", path: "/c".into(), free: 10 << 30 }],
            open_files: (4096, 4096),
            usable_cores: 2,
            cores: Some(2),
        }
    }

    fn one(machine: &Machine, name: &str) -> Check {
        checks(machine).into_iter().find(|check| check.name.starts_with(name)).unwrap()
    }

    #[test]
    fn a_complete_machine_has_nothing_to_remedy() {
        for check in checks(&machine()) {
            assert_eq!((check.status, &check.remedy), (Status::Ok, &None), "{check:?}");
        }
    }

    #[test]
    fn everything_that_is_not_well_has_a_remedy() {
        let poor = Machine {
            python: None,
            node: None,
            cargo: None,
            compiler: None,
            docker: DockerAnswer::Absent,
            kubeconfig: None,
            ports: vec![OpenPort {
                key: "balancer.port".into(),
                port: 80,
                obstacle: Some(Obstacle::Held(Holder::Foreign)),
            }],
            disks: vec![Disk { purpose: "cache", path: "/c".into(), free: 1 << 20 }],
            open_files: (256, 256),
            usable_cores: 1,
            cores: Some(8),
            ..machine()
        };
        for check in checks(&poor) {
            let well = check.name.starts_with("uv");
            assert_eq!(check.status == Status::Ok, well, "{check:?}");
            assert_eq!(check.remedy.as_ref().is_none_or(String::is_empty), well, "{check:?}");
        }
    }

    #[test]
    fn python_is_missing_without_venv_or_too_old() {
        let with =
            |version, venv| Machine { python: Some(Python { program: "python3".into(), version, venv }), ..machine() };
        let no_venv = one(&with((3, 11), false), "Python");
        assert_eq!(no_venv.status, Status::Missing);
        assert_eq!(no_venv.remedy.as_deref(), Some("sudo apt-get install python3.11-venv"));
        assert_eq!(one(&with((3, 9), true), "Python").status, Status::Missing);
    }

    #[test]
    fn a_project_decides_which_runtime_is_needed() {
        let project = Some(Project { runtimes: vec!["node".into()], balancer: None });
        let machine = Machine { project, python: None, node: None, ..machine() };
        assert_eq!(one(&machine, "Python").status, Status::Warning);
        assert_eq!(one(&machine, "Node").status, Status::Missing);
    }

    #[test]
    fn a_port_names_its_holder_and_the_key_to_change() {
        let behind = |obstacle| OpenPort { key: "balancer.port".into(), port: 8080, obstacle: Some(obstacle) };
        let held = |holder| behind(Obstacle::Held(holder));
        let other = port(&held(Holder::Process { pid: 7, name: "nginx".into(), command: String::new() }));
        assert_eq!(other.status, Status::Missing);
        assert_eq!(other.found, "held by nginx (pid 7)");
        assert_eq!(other.remedy.unwrap(), "end it (kill 7), or choose another balancer.port in scalectl.toml");
        let ours = port(&held(Holder::Process { pid: 7, name: "scalectl".into(), command: String::new() }));
        assert_eq!(ours.status, Status::Ok);
        let refused = port(&behind(Obstacle::Refused("Permission denied".into())));
        assert_eq!((refused.status, refused.found.as_str()), (Status::Warning, "not yours to open: Permission denied"));
    }

    #[test]
    fn a_soft_limit_is_raised_up_to_the_hard_one() {
        let raised = open_files((256, 1 << 20));
        assert_eq!(raised.remedy.as_deref(), Some("ulimit -n 65536"));
        assert_eq!(raised.found, "256: about 156 connections at once");
        assert!(open_files((256, 512)).remedy.unwrap().contains("hard limit"));
    }
}
