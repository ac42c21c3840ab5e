//! `scalectl manifests --engine docker`: the compose file, and what the real docker compose makes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/project.rs"]
mod project;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use project::{Project, all, docker, eventually, has_docker, scalectl};
use serde_json::Value;

const EVERYTHING: &str = r#"[project]
name = "shop"

[services.api]
build = { context = ".", target = "web", args = { EDITION = "full" }, network = "host", cache_from = ["shop:latest"] }
runtime = "python"
command = ["python", "app.py", "--cost=5$"]
port = 8000
replicas = 3
ready = "/ready"
uses = ["postgres", "redis", "pricing"]
env = { SESSION_SECRET = "${SESSION_SECRET}", PRICE = "5$" }
read_only = true
resources = { cpu = "250m", memory = "256Mi" }

[services.worker]
build = { context = ".", target = "web", args = { EDITION = "full" }, network = "host", cache_from = ["shop:latest"] }
command = ["python", "worker.py"]
uses = ["postgres", "rabbitmq"]
secrets = "env"

[services.pricing]
image = "pricing:1.2"
runtime = "node"
port = 9000
health = "/health"
read_only = true

[jobs.migrate]
service = "api"
command = ["python", "app.py", "migrate"]
before = ["api", "worker"]

[jobs.seed]
service = "api"
command = ["python", "app.py", "seed"]

[balancer]
service = "api"
port = 8080

[backing.postgres]
[backing.redis]
[backing.rabbitmq]
[backing.prometheus]
"#;

const DOT_ENV: &str = "SESSION_SECRET=s3cret-session\nPOSTGRES_PASSWORD='s3cret/pg'\nREDIS_PASSWORD=s3cret-redis\n\
                       RABBITMQ_PASSWORD=s3cret-rabbit\n";

fn manifests(stack: &str, args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("scalectl.toml"), stack).unwrap();
    fs::write(folder.path().join(".env"), DOT_ENV).unwrap();
    fs::create_dir(folder.path().join("monitoring")).unwrap();
    fs::write(folder.path().join("monitoring/rules.yml"), "groups: [] # {{ $value }}\n").unwrap();
    scalectl().env_remove("SCALECTL_ENGINE").arg("manifests").args(args).current_dir(folder.path()).output().unwrap()
}

#[test]
fn the_file_says_everything_but_the_secrets() {
    let out = manifests(EVERYTHING, &["--engine", "docker"]);
    assert!(out.status.success(), "{}", all(&out));
    assert!(!all(&out).contains("s3cret"), "{}", all(&out));
    assert!(!all(&out).contains("SCALECTLx"), "{}", all(&out));
    insta::with_settings!({ snapshot_path => "golden/compose", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("everything", all(&out));
    });
}

#[test]
fn processes_have_no_manifests() {
    let out = manifests(EVERYTHING, &["--engine", "local"]);
    assert_eq!(out.status.code(), Some(2), "{}", all(&out));
    assert!(all(&out).contains("hint"), "{}", all(&out));
}

/// The counter with Redis, and its compose file; what compose made of it is gone with the value.
struct Composed {
    project: Project,
    program: PathBuf,
}

impl Composed {
    fn new(test: &str) -> Option<Self> {
        if !has_docker() {
            support::skip(test, "no Docker engine answers");
            return None;
        }
        let built = Command::new(support::repository().join("tests/docker")).arg("compose").output().unwrap();
        if !built.status.success() {
            support::skip(test, &format!("docker compose cannot be built: {}", all(&built)));
            return None;
        }
        let path = String::from_utf8(built.stdout).unwrap();
        let program = PathBuf::from(path.lines().last().unwrap());
        Some(Self { project: Project::docker_counter(), program })
    }

    fn compose(&self, args: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        // The engine's own builder: buildx is a program of its own.
        command.args(["-f", "compose.yaml"]).args(args).current_dir(self.project.root()).env("DOCKER_BUILDKIT", "0");
        command.output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let out = self.compose(args);
        assert!(out.status.success(), "docker compose {args:?}: {}", all(&out));
        String::from_utf8(out.stdout).unwrap()
    }
}

impl Drop for Composed {
    fn drop(&mut self) {
        // Not `--rmi all`: the base images belong to the other tests as well.
        let _ = self.compose(&["down", "--volumes", "--timeout", "5"]);
        let built = format!("scalectl/{}:api", self.project.name);
        let _ = Command::new("docker").args(["image", "rm", &built]).output();
    }
}

#[test]
fn compose_runs_it() {
    let Some(composed) = Composed::new("compose_runs_it") else { return };
    let project = &composed.project;
    let file = project.root().join("scalectl.toml");
    let text = fs::read_to_string(&file).unwrap();
    let text =
        text.replace("port = 8000\n", "port = 8000\nruntime = \"python\"\nuses = [\"redis\"]\nread_only = true\n");
    fs::write(&file, text + "\n[backing.redis]\n").unwrap();
    fs::write(project.root().join(".env"), "REDIS_PASSWORD=s3cret-redis\n").unwrap();
    project.ok(&["manifests", "--output", "compose.yaml"]);

    let config: Value = serde_json::from_str(&composed.ok(&["config", "--format", "json"])).unwrap();
    assert_eq!(config["name"], *project.name);
    composed.ok(&["up", "--wait", "--build", "--quiet-pull"]);

    assert_eq!(project.http("GET", "/ready", "").unwrap().0, 200);
    let members = eventually("all three replicas get requests", || {
        assert_eq!(project.http("GET", "/", "").unwrap().0, 200);
        let log = composed.ok(&["logs", "--no-log-prefix", "balancer"]);
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let members: BTreeSet<_> = lines.map(|line| line["member"].to_string()).collect();
        (members.len() >= 3).then_some(members)
    });
    assert_eq!(members.len(), 3, "{members:?}");

    let url = composed.ok(&["exec", "-T", "api", "cat", "/run/scalectl/REDIS_URL"]);
    assert_eq!(url, "redis://:s3cret-redis@redis:6379/0");
    let ids = composed.ok(&["ps", "--all", "--quiet"]);
    let inspected = docker(&["inspect"].into_iter().chain(ids.split_whitespace()).collect::<Vec<_>>());
    assert!(!inspected.contains("s3cret"), "a secret shows in docker inspect");
}
