//! The Docker engine of a test, asked with its own client: what there is of a project, and what is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::project::{Project, all};

/// Runs the engine's own client.
pub fn docker(args: &[&str]) -> Output {
    Command::new("docker").args(args).output().unwrap()
}

/// As [`docker`], for what has to succeed; its output without the last line's end.
pub fn ask(args: &[&str]) -> String {
    let out = docker(args);
    assert!(out.status.success(), "docker {args:?}: {}", all(&out));
    String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
}

/// What `docker … ls` lists of a project: containers in any state, networks, volumes, each as `kind name`.
pub fn things_of(project: &str) -> Vec<String> {
    let label = format!("label=scalectl.project={project}");
    let lists: [(&str, &[&str]); 3] = [
        ("container", &["ps", "--all", "--format", "{{.Names}}"]),
        ("network", &["network", "ls", "--format", "{{.Name}}"]),
        ("volume", &["volume", "ls", "--format", "{{.Name}}"]),
    ];
    let named = lists.iter().flat_map(|(kind, list)| {
        let listed = ask(&[*list, &["--filter", &label]].concat());
        listed.lines().map(|name| format!("{kind} {name}")).collect::<Vec<_>>()
    });
    named.collect()
}

/// The volumes that a project's containers have mounted, those without a name of ours among them.
pub fn mounted(project: &str) -> Vec<String> {
    let label = format!("label=scalectl.project={project}");
    let ids = ask(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label]);
    let format = "{{range .Mounts}}{{.Name}} {{end}}";
    // One that goes away in between is no reason to fail.
    let inspect = |id: &str| String::from_utf8(docker(&["inspect", "--format", format, id]).stdout).unwrap();
    ids.lines().flat_map(|id| inspect(id).split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The state of a container, as the engine words it.
pub fn state(container: &str) -> String {
    ask(&["inspect", "--format", "{{.State.Status}}", container])
}

/// Things beside a project whose names are as near as can be; they have to outlive whatever the project does.
pub struct Canary {
    name: String,
}

impl Canary {
    /// Puts them beside a project: a container, a network, a volume with a file in it.
    pub fn beside(project: &Project) -> Self {
        let name = format!("{}-api-canary", project.name);
        ask(&["volume", "create", &name]);
        ask(&["network", "create", &name]);
        let mount = format!("{name}:/canary");
        let keep = "touch /canary/alive && exec sleep 1000";
        let run = ["run", "--detach", "--init", "--name", &name, "--network", &name, "--volume", &mount];
        ask(&[&run[..], &["python:3.13-slim", "sh", "-c", keep]].concat());
        Self { name }
    }

    /// Asserts that nothing of it was touched.
    pub fn assert_alive(&self, title: &str) {
        assert_eq!(state(&self.name), "running", "{title}");
        ask(&["exec", &self.name, "test", "-e", "/canary/alive"]);
        ask(&["network", "inspect", &self.name]);
        ask(&["volume", "inspect", &self.name]);
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = docker(&["rm", "--force", &self.name]);
        let _ = docker(&["network", "rm", &self.name]);
        let _ = docker(&["volume", "rm", &self.name]);
    }
}

/// A project on the Docker engine with little in it: two replicas of the counter, a worker, a migration, a balancer and
/// Redis. It is built from its own folder, of which every layer but the last is in the engine's cache.
pub fn small() -> Project {
    let project = Project::docker_counter();
    let file = project.root().join("scalectl.toml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text
        .replace("replicas = 3 ", "replicas = 2 ")
        .replace("port = 8000\n", "port = 8000\nuses = [\"redis\"]\n")
        .replace("port = 8001\n", "port = 8001\nuses = [\"redis\"]\n");
    fs::write(file, text + "\n[backing.redis]\n").unwrap();
    fs::write(project.root().join(".env"), format!("REDIS_PASSWORD={PASSWORD}\n")).unwrap();
    project
}

/// The password of [`small`].
pub const PASSWORD: &str = "kR7wQ2mXp9vLtZ4nB6sYc8dHf3jGa5uE";

/// Changes the project's source, so that its replicas are replaced.
pub fn edit(project: &Project, text: &str) {
    let path = project.root().join("app.py");
    let source = fs::read_to_string(&path).unwrap();
    let body = source.split("\n# edit").next().unwrap();
    fs::write(&path, format!("{body}\n# edit: {text}\n")).unwrap();
}

/// Replaces text in the project's `scalectl.toml`; it has to be there.
pub fn change(root: &Path, from: &str, to: &str) {
    let file = root.join("scalectl.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    fs::write(file, text.replace(from, to)).unwrap();
}

/// Asserts that [`small`] is as its file says.
pub fn assert_converged(project: &Project, title: &str) {
    let plan = project.ok(&["up", "--dry-run"]);
    assert_eq!(plan.trim(), "nothing to change", "{title}");
    let ready = |service: &str| project.replicas(service).iter().filter(|r| r["ready"] == true).count();
    assert_eq!((ready("api"), ready("worker")), (2, 1), "{title}: {}", project.status());
    let answer = crate::project::eventually(&format!("{title}: the balancer answers"), || {
        project.http("GET", "/", "").filter(|(status, _)| *status == 200)
    });
    assert!(answer.1.contains("api-"), "{title}: {answer:?}");
}

/// `down --volumes`, and asserts that it leaves nothing of the project.
pub fn assert_leaves_nothing(project: &Project, title: &str) {
    let volumes = mounted(&project.name);
    project.ok(&["down", "--volumes"]);
    assert_eq!(things_of(&project.name), [""; 0], "{title}");
    for volume in volumes {
        assert!(!docker(&["volume", "inspect", &volume]).status.success(), "{title}: volume {volume} is still there");
    }
}
