//! The ways to a stack on a real Docker engine that do not begin with a `scalectl.toml`: the demo, and a folder with a
//! compose file or a Dockerfile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/project.rs"]
mod project;
mod support;

use std::fs;

use project::{Project, all, docker, eventually, has_docker, scalectl};
use serde_json::Value;

/// Counts visits in Redis, at the address that the compose file gives it; Python's own library is all it needs.
const APP: &str = r#"
import os, signal, socket, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

def visits():
    url = urlsplit(os.environ.get("REDIS_URL", ""))
    if not url.hostname:
        return "no Redis"
    with socket.create_connection((url.hostname, url.port or 6379), timeout=2) as connection:
        auth = f"AUTH {unquote(url.password)}\r\n" if url.password else ""
        connection.sendall((auth + "INCR visits\r\n").encode())
        answer = connection.makefile()
        if auth:
            answer.readline()
        return "visit " + answer.readline().strip().removeprefix(":")

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = visits().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("0.0.0.0", 5000), Handler).serve_forever()
"#;

const DOCKERFILE: &str = r#"FROM python:3.13-slim
WORKDIR /app
COPY app.py .
EXPOSE 5000
CMD ["python", "app.py"]
"#;

/// A folder with a service that knows nothing of us.
fn foreign(compose: Option<&str>) -> Project {
    let mut project = Project::docker_counter();
    project.engine = "docker";
    for file in ["scalectl.toml", ".dockerignore"] {
        fs::remove_file(project.root().join(file)).unwrap();
    }
    fs::write(project.root().join("app.py"), APP).unwrap();
    fs::write(project.root().join("Dockerfile"), DOCKERFILE).unwrap();
    if let Some(text) = compose {
        fs::write(project.root().join("compose.yaml"), text.replace("PORT", &project.port.to_string())).unwrap();
    }
    project
}

/// Waits for an answer of the service that begins so.
fn serves(project: &Project, begin: &str) -> String {
    eventually(&format!("an answer that begins with {begin:?}"), || {
        project.http("GET", "/", "").filter(|(status, text)| *status == 200 && text.starts_with(begin)).map(|a| a.1)
    })
}

#[test]
fn a_compose_file_is_adopted_and_its_stack_serves() {
    let test = "a_compose_file_is_adopted_and_its_stack_serves";
    if !has_docker() {
        return support::skip(test, "no Docker engine answers");
    }
    let compose = r#"services:
  web:
    build: .
    ports: ["PORT:5000"]
    environment:
      REDIS_URL: redis://cache:6379/0
    depends_on: [cache]
  cache:
    image: redis:8
"#;
    let project = foreign(Some(compose));
    let name = project.name.clone();
    project.ok(&["init", "-p", &name]);
    project.ok(&["up"]);
    assert_eq!(project.ok(&["up", "--dry-run"]).trim(), "nothing to change");
    let number = |text: String| text.trim_start_matches("visit ").parse::<u64>().unwrap();
    let first = number(serves(&project, "visit "));
    project.ok(&["scale", "web=3"]);
    assert!(number(serves(&project, "visit ")) > first, "its replicas count in one Redis");
    project.ok(&["down", "--volumes", "--images"]);
    project.assert_no_docker_objects("down --volumes --images");
}

#[test]
fn a_dockerfile_is_adopted_and_its_service_serves() {
    let test = "a_dockerfile_is_adopted_and_its_service_serves";
    if !has_docker() {
        return support::skip(test, "no Docker engine answers");
    }
    let project = foreign(None);
    let (name, port) = (project.name.clone(), project.port.to_string());
    project.ok(&["init", "-p", &name, "--balancer-port", &port]);
    project.ok(&["up"]);
    serves(&project, "no Redis");
    project.ok(&["down", "--volumes", "--images"]);
    project.assert_no_docker_objects("down --volumes --images");
}

#[test]
fn the_demo_on_docker_is_measured_and_leaves_nothing() {
    let test = "the_demo_on_docker_is_measured_and_leaves_nothing";
    if !has_docker() {
        return support::skip(test, "no Docker engine answers");
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["tmp", "run"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let child = scalectl()
        .args(["demo", "--engine", "docker", "--rps", "50", "--duration", "3s", "--json"])
        .env("TMPDIR", folder.path().join("tmp"))
        .env("XDG_RUNTIME_DIR", folder.path().join("run"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let label = format!("label=scalectl.project=demo-{}", child.id());
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}: {}", out.status, all(&out));
    let summary: Value = serde_json::from_slice(&out.stdout).unwrap();
    let counts = &summary["counts"];
    assert_eq!((&counts["scheduled"], &counts["ok"]), (&150.into(), &150.into()), "{counts}");
    for list in [&["ps", "-aq"][..], &["network", "ls", "-q"], &["volume", "ls", "-q"], &["images", "-q"]] {
        assert_eq!(docker(&[list, &["--filter", &label]].concat()), "", "docker {list:?}");
    }
    assert!(fs::read_dir(folder.path().join("tmp")).unwrap().next().is_none(), "its folder is still there");
}
