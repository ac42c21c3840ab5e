//! The balancer's container on a real engine: members come and go under load, and nobody notices.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/project.rs"]
mod project;
mod support;

use std::cell::RefCell;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use project::{all, eventually, free_port, has_docker};
use scalectl::engine::docker::balancer::{self, BalancerConfig, IMAGE};
use scalectl::engine::{Note, ReplicaId};
use scalectl::error::Failure;
use serde_json::Value;

/// Answers every request with who it is and what it was asked with.
const REPLICA: &str = r#"
import json, os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/slow":
            time.sleep(3)
        seen = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"replica": os.environ["REPLICA"], "headers": seen}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = answer

    def log_message(self, *_):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True

server = Server(("0.0.0.0", 8000), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
"#;

/// A network with replicas of `api` and a balancer in front of them, made by hand; gone with the value.
struct Ground {
    project: String,
    port: u16,
    runtime: tokio::runtime::Runtime,
    docker: bollard::Docker,
    warnings: RefCell<Vec<String>>,
}

fn docker(args: &[&str]) -> Output {
    Command::new("docker").args(args).output().unwrap()
}

fn docker_ok(args: &[&str]) -> String {
    let out = docker(args);
    assert!(out.status.success(), "docker {args:?}: {}", all(&out));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

impl Ground {
    /// Nothing where there is no Docker.
    fn new(test: &str) -> Option<Self> {
        if !has_docker() {
            support::skip(test, "no Docker engine answers");
            return None;
        }
        let port = free_port();
        let project = format!("balancer{}-{port}", std::process::id());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let docker = runtime.block_on(async {
            bollard::Docker::connect_with_local_defaults().unwrap().negotiate_version().await.unwrap()
        });
        let ground = Self { project, port, runtime, docker, warnings: RefCell::default() };
        docker_ok(&["network", "create", &ground.project]);
        ground.make_balancer();
        Some(ground)
    }

    fn name(&self, of: &str) -> String {
        format!("{}-{of}", self.project)
    }

    fn make_balancer(&self) {
        let (name, volume) = (self.name("balancer"), self.name("config"));
        docker_ok(&["volume", "create", &volume]);
        let (mount, publish) = (format!("{volume}:/etc/scalectl"), format!("127.0.0.1:{}:8080", self.port));
        docker_ok(&[
            "create",
            "--name",
            &name,
            "--network",
            &self.project,
            "--read-only",
            "--tmpfs",
            "/tmp",
            "--volume",
            &mount,
            "--publish",
            &publish,
            IMAGE,
            "nginx",
            "-c",
            "/etc/scalectl/nginx.conf",
            "-g",
            "daemon off;",
        ]);
        self.runtime.block_on(balancer::put(&self.docker, &name, &self.config(&[]))).unwrap();
        docker_ok(&["start", &name]);
        self.eventually_answers("503");
    }

    fn start_replica(&self, slot: u16) {
        let (name, who) = (self.name(&format!("api-{slot}")), format!("REPLICA=api-{slot}"));
        let alias = format!("{slot}.replicas.api");
        docker_ok(&[
            "run",
            "--detach",
            "--name",
            &name,
            "--network",
            &self.project,
            "--network-alias",
            &alias,
            "--env",
            &who,
            "python:3.13-slim",
            "python",
            "-c",
            REPLICA,
        ]);
        let connect = "import socket; socket.create_connection(('127.0.0.1', 8000), 1)";
        eventually("the replica to listen", || {
            docker(&["exec", &name, "python", "-c", connect]).status.success().then_some(())
        });
    }

    fn stop_replica(&self, slot: u16) {
        docker_ok(&["rm", "--force", &self.name(&format!("api-{slot}"))]);
    }

    fn config(&self, slots: &[u16]) -> BalancerConfig {
        BalancerConfig {
            listen: vec![8080, 8000],
            service: "api".parse().unwrap(),
            port: 8000,
            check: None,
            members: slots.iter().map(|slot| id(*slot)).collect(),
            drain: Duration::from_secs(10),
        }
    }

    fn try_install(&self, config: &BalancerConfig) -> Result<(), Failure> {
        let note = |note: Note| {
            if let Note::Warning(text) = note {
                self.warnings.borrow_mut().push(text);
            }
        };
        self.runtime.block_on(balancer::install(&self.docker, &self.name("balancer"), config, &note))
    }

    fn install(&self, slots: &[u16]) {
        let done = self.try_install(&self.config(slots));
        done.unwrap_or_else(|failure| panic!("{failure}: {:?}\n{}", failure.evidence(), self.log()));
    }

    fn members(&self) -> Vec<ReplicaId> {
        self.runtime.block_on(balancer::read_members(&self.docker, &self.name("balancer"))).unwrap()
    }

    fn log(&self) -> String {
        all(&docker(&["logs", "--tail", "30", &self.name("balancer")]))
    }

    /// The head and the body of an answer.
    fn ask(&self, args: &[&str]) -> (String, String) {
        let url = format!("http://127.0.0.1:{}/", self.port);
        let out = Command::new("curl").args(["--silent", "--include", "--max-time", "10", &url]).args(args).output();
        let text = String::from_utf8_lossy(&out.unwrap().stdout).replace('\r', "");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        (head.to_owned(), body.to_owned())
    }

    fn eventually_answers(&self, what: &str) {
        eventually(what, || {
            let (head, body) = self.ask(&[]);
            (head.contains(what) || body.contains(what)).then_some(())
        });
    }

    /// Loads the balancer with POST requests on kept-alive connections, until told to end.
    fn load(&self) -> Child {
        let url = format!("http://127.0.0.1:{}/users", self.port);
        Command::new(env!("CARGO_BIN_EXE_scalectl"))
            .args(["bench", &url, "--rps", "300", "-c", "50", "-m", "POST", "-d", "{}", "-z", "600s", "--json", "-q"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let of_project = format!("name=^/{}-", self.project);
        let found = docker(&["ps", "--all", "--quiet", "--filter", &of_project]);
        for container in String::from_utf8_lossy(&found.stdout).split_whitespace() {
            docker(&["rm", "--force", "--volumes", container]);
        }
        docker(&["volume", "rm", &self.name("config")]);
        docker(&["network", "rm", &self.project]);
    }
}

fn id(slot: u16) -> ReplicaId {
    ReplicaId { service: "api".parse().unwrap(), slot }
}

/// Ends a load; what it counted.
fn ended(load: Child) -> Value {
    project::kill(load.id(), "INT");
    let out = load.wait_with_output().unwrap();
    serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {}", all(&out)))
}

/// How many times the members change in the test under load, replacements of all of them not counted.
fn changes() -> u16 {
    std::env::var("SCALECTL_TESTS_MEMBER_CHANGES").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

#[test]
fn no_request_is_lost_while_members_come_and_go() {
    let Some(ground) = Ground::new("no_request_is_lost_while_members_come_and_go") else { return };
    for slot in 1..=4 {
        ground.start_replica(slot);
    }
    ground.install(&[1, 2, 3]);
    let load = ground.load();
    for round in 0..changes() / 2 {
        ground.install(&[1, 2, 3, 4]);
        // Another one leaves and comes back each time, so that every one is new to the balancer at some time.
        let left: Vec<u16> = (1..=4).filter(|slot| *slot != round % 4 + 1).collect();
        ground.install(&left);
    }
    ground.install(&[4]);
    // None of the old ones is kept.
    ground.install(&[1]);
    ground.install(&[2, 3]);
    let result = ended(load);
    let counts = &result["counts"];
    let log = ground.log();
    assert!(counts["ok"].as_u64().unwrap() > 300, "{counts}");
    for kind in ["http_error", "network_error", "timeout", "unfinished", "retries"] {
        assert_eq!(counts[kind], 0, "{kind}: {counts} {} {}\n{log}", result["errors"], result["status"]);
    }
    assert_eq!(*ground.warnings.borrow(), Vec::<String>::new());
    assert_eq!(ground.members(), [id(2), id(3)]);
    println!("{} members changed; {counts}", changes());
}

#[test]
fn a_member_that_left_finishes_its_requests() {
    let Some(ground) = Ground::new("a_member_that_left_finishes_its_requests") else { return };
    ground.start_replica(1);
    ground.start_replica(2);
    ground.install(&[1]);
    let url = format!("http://127.0.0.1:{}/slow", ground.port);
    let slow = Command::new("curl").args(["--silent", "--fail", &url]).stdout(Stdio::piped()).spawn().unwrap();
    let established = ["exec", &ground.name("api-1"), "cat", "/proc/net/tcp"].map(str::to_owned);
    eventually("the slow request to be with its member", || {
        let connections = docker_ok(&established.each_ref().map(String::as_str));
        // Port 8000, state ESTABLISHED.
        connections.lines().any(|line| line.contains(":1F40 ") && line.contains(" 01 ")).then_some(())
    });
    ground.install(&[2]);
    ground.stop_replica(1);
    let out = slow.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains("api-1"), "{}\n{}", all(&out), ground.log());
    assert!(ground.ask(&[]).1.contains("api-2"));
}

#[test]
fn a_replica_is_found_again_at_its_new_address() {
    let Some(ground) = Ground::new("a_replica_is_found_again_at_its_new_address") else { return };
    ground.start_replica(1);
    ground.install(&[1]);
    let name = ground.name("api-1");
    let address =
        || docker_ok(&["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", &name]);
    let before = address();
    docker_ok(&["stop", "--time", "0", &name]);
    ground.eventually_answers("HTTP/1.1 503");
    // Another one takes its address.
    ground.start_replica(9);
    docker_ok(&["start", &name]);
    assert_ne!(address(), before);
    ground.eventually_answers("\"api-1\"");
    // The balancer itself, when it is started again, finds the members by its configuration.
    docker_ok(&["restart", "--time", "0", &ground.name("balancer")]);
    ground.eventually_answers("\"api-1\"");
    assert_eq!(ground.members(), [id(1)]);
}

#[test]
fn what_nginx_refuses_changes_nothing() {
    let Some(ground) = Ground::new("what_nginx_refuses_changes_nothing") else { return };
    ground.start_replica(1);
    ground.install(&[1]);
    let refused = BalancerConfig { port: 0, ..ground.config(&[1, 2]) };
    let failure = ground.try_install(&refused).unwrap_err();
    assert!(failure.what().contains("refuses the configuration"), "{failure}");
    let evidence = failure.evidence().join("\n");
    assert!(evidence.contains("[emerg]") && evidence.contains("port"), "{evidence}");
    assert!(ground.ask(&[]).1.contains("api-1"));
    assert_eq!(ground.members(), [id(1)]);
    // One that does not exist is not reached; it says so, and those that are there go on.
    let failure = ground.try_install(&ground.config(&[1, 7])).unwrap_err();
    assert!(failure.what().contains("cannot reach"), "{failure}");
    assert!(failure.evidence().join("\n").contains("api-7"), "{:?}", failure.evidence());
    assert!(ground.ask(&[]).1.contains("api-1"));
    ground.install(&[1]);
}

#[test]
fn what_clients_and_members_see_of_it() {
    let Some(ground) = Ground::new("what_clients_and_members_see_of_it") else { return };
    let (head, body) = ground.ask(&[]);
    assert!(head.starts_with("HTTP/1.1 503") && head.contains("Retry-After: 1"), "{head}");
    assert!(head.contains("application/problem+json") && body.contains("no replica is ready"), "{head}\n{body}");
    ground.start_replica(1);
    ground.install(&[1]);
    let (head, body) = ground.ask(&["-H", "X-Request-Id: abc-1", "-H", "X-Forwarded-For: 192.0.2.1"]);
    assert!(head.contains("X-Request-Id: abc-1") && !head.contains("nginx/"), "{head}");
    let seen = &serde_json::from_str::<Value>(&body).unwrap()["headers"];
    assert_eq!(seen["x-request-id"], "abc-1");
    assert_eq!(seen["host"], format!("127.0.0.1:{}", ground.port));
    assert_eq!(seen["x-forwarded-proto"], "http");
    assert_eq!(seen.get("connection"), None);
    let through = seen["x-forwarded-for"].as_str().unwrap();
    assert!(through.starts_with("192.0.2.1, ") && through.ends_with(seen["x-real-ip"].as_str().unwrap()), "{through}");
    let (head, body) = ground.ask(&["-H", "X-Request-Id: {not a token}"]);
    let made = head.lines().find_map(|line| line.strip_prefix("X-Request-Id: ")).unwrap();
    assert!(made.len() == 32 && body.contains(made), "{head}\n{body}");
    eventually("the access log as JSON", || {
        let log = docker_ok(&["logs", &ground.name("balancer")]);
        let line = log.lines().find(|line| line.contains("abc-1"))?;
        let line: Value = serde_json::from_str(line).unwrap();
        (line["status"] == 200 && line["method"] == "GET").then_some(())
    });
}
