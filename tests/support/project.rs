//! A project of a test: a folder, a name and a port of its own, and whatever it started is ended when it goes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long a condition may take on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test, on the local engine unless told otherwise: where there is Docker, that is its own default.
pub fn scalectl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scalectl"));
    command.env("SCALECTL_ENGINE", "local");
    command
}

/// What the Docker CLI prints; it looks at what is really there, past scalectl.
pub fn docker(args: &[&str]) -> String {
    let out = Command::new("docker").args(args).output().unwrap();
    assert!(out.status.success(), "docker {args:?}: {}", all(&out));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// Whether a Docker engine answers.
pub fn has_docker() -> bool {
    let asked = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
    asked.is_ok_and(|out| out.status.success())
}

/// A loopback port that nobody listens on. Below the range of outgoing connections, another one at every call.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() * 37;
        let port = 12_000 + (step % 7_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until `condition` yields a value; `what` is for the panic's message.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A project under test.
pub struct Project {
    /// Its name.
    pub name: String,
    /// The port of its balancer.
    pub port: u16,
    /// The engine that its commands are told to use.
    pub engine: &'static str,
    /// Variables of its commands and of the Docker CLI: which engine of that kind it is.
    pub environment: BTreeMap<String, String>,
    folder: TempDir,
}

impl Project {
    /// The one-file service of `tests/fixtures/counter` in three replicas, with a worker and a migration.
    pub fn counter() -> Self {
        let project = Self::empty();
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/counter/app.py");
        fs::copy(app, project.root().join("app.py")).unwrap();
        let (name, port) = (&project.name, project.port);
        let file = format!(
            r#"[project]
name = "{name}"

[services.api]
build = "."
command = ["python3", "app.py"]
port = 8000
replicas = 3        # enough for a test
ready = "/ready"
uses = ["postgres"]
stop_timeout = "5s"

[services.worker]
build = "."
command = ["python3", "app.py"]
port = 8001
ready = "/ready"
uses = ["postgres"]
stop_timeout = "5s"

[jobs.migrate]
service = "api"
command = ["python3", "app.py", "migrate"]
before = ["api", "worker"]

[balancer]
service = "api"
port = {port}

[backing.postgres]
"#
        );
        fs::write(project.root().join("scalectl.toml"), file).unwrap();
        project
    }

    /// The service of [`Project::counter`] as an image, on the Docker engine: three replicas, a worker and a migration,
    /// no backing service.
    pub fn docker_counter() -> Self {
        let mut project = Self::empty();
        project.engine = "docker";
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/counter/app.py");
        fs::copy(app, project.root().join("app.py")).unwrap();
        let dockerfile = "FROM python:3.13-slim\nWORKDIR /app\nCOPY . .\nCMD [\"python\", \"app.py\"]\n";
        fs::write(project.root().join("Dockerfile"), dockerfile).unwrap();
        fs::write(project.root().join(".dockerignore"), "scalectl.toml\n").unwrap();
        let (name, port) = (&project.name, project.port);
        let file = format!(
            r#"[project]
name = "{name}"

[services.api]
build = "."
port = 8000
replicas = 3        # enough for a test
ready = "/ready"
stop_timeout = "5s"

[services.worker]
build = "."
port = 8001
ready = "/ready"
stop_timeout = "5s"

[jobs.migrate]
service = "api"
command = ["python", "app.py", "migrate"]
before = ["api", "worker"]

[balancer]
service = "api"
port = {port}
"#
        );
        fs::write(project.root().join("scalectl.toml"), file).unwrap();
        project
    }

    /// What `scalectl new` renders, on a port of its own.
    pub fn rendered(template: &str) -> Self {
        let project = Self::empty();
        let parent = project.folder.path();
        let out = scalectl()
            .args(["new", &project.name, "--defaults", "--template", template])
            .current_dir(parent)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let file = project.root().join("scalectl.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(file, text.replace("port = 8080", &format!("port = {}", project.port))).unwrap();
        project
    }

    /// An example of the repository on the Docker engine, under a name and on a port of its own.
    pub fn example(example: &str) -> Self {
        let mut project = Self::empty();
        project.engine = "docker";
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
        for entry in fs::read_dir(from).unwrap().flatten() {
            let name = entry.file_name();
            let name = if name == ".env.example" { ".env".into() } else { name };
            fs::copy(entry.path(), project.root().join(name)).unwrap();
        }
        let file = project.root().join("scalectl.toml");
        let text = fs::read_to_string(&file).unwrap();
        let named = text.lines().map(|line| match line.split_once(" = ") {
            Some(("name", _)) => format!("name = \"{}\"\n", project.name),
            Some(("port", "8080")) => format!("port = {}\n", project.port),
            _ => format!("{line}\n"),
        });
        fs::write(file, named.collect::<String>()).unwrap();
        project
    }

    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        // The port is this test's alone, and so is a name with it.
        let name = format!("t{}-{port}", std::process::id());
        fs::create_dir(folder.path().join("run")).unwrap();
        let project = Self { name, port, engine: "local", environment: BTreeMap::new(), folder };
        if !project.root().exists() {
            let _ = fs::create_dir(project.root());
        }
        project
    }

    /// Its folder.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// The folder in which it keeps its sockets.
    pub fn runtime(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// A command in it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = scalectl();
        command
            .args(args)
            .current_dir(self.root())
            .env("SCALECTL_ENGINE", self.engine)
            .env("XDG_RUNTIME_DIR", self.runtime())
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// As [`docker`], on the engine of the project.
    pub fn docker(&self, args: &[&str]) -> String {
        let out = Command::new("docker").args(args).envs(&self.environment).output().unwrap();
        assert!(out.status.success(), "docker {args:?}: {}", all(&out));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that has to succeed, and returns its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "scalectl {args:?}: {}\n{}", out.status, all(&out));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Starts a command and leaves it running.
    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    /// `status --json`.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--json"])).unwrap()
    }

    /// The replicas of a service, as `status --json` lists them.
    pub fn replicas(&self, service: &str) -> Vec<Value> {
        let status = self.status();
        let found = status["services"].as_array().unwrap().iter().find(|s| s["name"] == service);
        found.map(|s| s["replicas"].as_array().unwrap().clone()).unwrap_or_default()
    }

    /// Asserts that the stack is as its file says, three replicas and a worker, all serving.
    pub fn assert_converged(&self, title: &str) {
        let ready = |service: &str| self.replicas(service).iter().filter(|r| r["ready"] == true).count();
        // A replica whose port another program took before it could is started again on another one.
        let until = Instant::now() + Duration::from_secs(60);
        while (ready("api"), ready("worker")) != (3, 1) {
            assert!(Instant::now() < until, "{title}: {}", self.status());
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(self.ok(&["up", "--dry-run"]).trim(), "nothing to change", "{title}");
        let running = match self.engine {
            "docker" => self.containers().into_iter().filter(|name| self.is_replica(name)).count(),
            _ => self.processes().values().filter(|name| !name.starts_with("run-")).count(),
        };
        assert_eq!(running, 4, "{title}");
    }

    /// The names of its containers that run.
    pub fn containers(&self) -> Vec<String> {
        self.docker_list(&["ps", "--format", "{{.Names}}"])
    }

    fn is_replica(&self, container: &str) -> bool {
        let rest = container.strip_prefix(&format!("{}-", self.name)).unwrap_or_default();
        rest.rsplit_once('-').is_some_and(|(_, slot)| slot.parse::<u16>().is_ok())
    }

    /// What a listing of the Docker CLI has of this project.
    pub fn docker_list(&self, args: &[&str]) -> Vec<String> {
        let label = format!("label=scalectl.project={}", self.name);
        let listed = self.docker(&[args, &["--filter", &label]].concat());
        listed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Asserts that the Docker engine has no container, network or volume of the project.
    pub fn assert_no_docker_objects(&self, title: &str) {
        for listing in [&["ps", "-aq"][..], &["network", "ls", "-q"], &["volume", "ls", "-q"]] {
            let left = self.docker_list(listing);
            assert!(left.is_empty(), "{title}: docker {listing:?} has {left:?}");
        }
    }

    /// Removes what the Docker engine has of the project, past scalectl.
    fn remove_docker_objects(&self) {
        let label = format!("label=scalectl.project={}", self.name);
        let kinds: [(&[&str], &[&str]); 4] = [
            (&["ps", "-aq"], &["rm", "-fv"]),
            (&["network", "ls", "-q"], &["network", "rm"]),
            (&["volume", "ls", "-q"], &["volume", "rm", "-f"]),
            (&["images", "-q"], &["rmi", "-f"]),
        ];
        for (list, remove) in kinds {
            let client = || {
                let mut command = Command::new("docker");
                command.envs(&self.environment);
                command
            };
            let Ok(listed) = client().args(list).args(["--filter", &label]).output() else { return };
            let ids = String::from_utf8_lossy(&listed.stdout).into_owned();
            if !ids.trim().is_empty() {
                let _ = client().args(remove).args(ids.split_whitespace()).output();
            }
        }
    }

    /// Our processes by pid: those with this project's mark in their environment. Linux only.
    pub fn processes(&self) -> BTreeMap<u32, String> {
        let mark = format!("SCALECTL_ROOT={}", self.root().canonicalize().unwrap_or_else(|_| self.root()).display());
        let mut found = BTreeMap::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
            let variables: Vec<_> = environment.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
            // The supervisor carries the marks too, as the one that owns the others.
            if variables.iter().any(|v| *v == mark) && !variables.iter().any(|v| v == "SCALECTL_RUN=supervisor") {
                let replica = variables.iter().find_map(|v| v.strip_prefix("SCALECTL_REPLICA=").map(str::to_owned));
                found.insert(pid, replica.unwrap_or_default());
            }
        }
        found
    }

    /// The pid of the project's supervisor.
    pub fn supervisor(&self) -> Option<u32> {
        let root = self.root().canonicalize().unwrap().display().to_string();
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let words: Vec<_> = line.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
            (words.get(1).is_some_and(|w| w == "supervise") && words.iter().any(|w| *w == root)).then_some(pid)
        })
    }

    /// Asserts that `down --volumes` leaves no process, socket or file of ours.
    pub fn assert_nothing_left(&self, title: &str) {
        eventually(&format!("{title}: no process left"), || {
            (self.processes().is_empty() && self.supervisor().is_none()).then_some(())
        });
        let files: Vec<_> = walkdir::WalkDir::new(self.runtime())
            .into_iter()
            .flatten()
            .filter(|e| !e.file_type().is_dir())
            .map(|e| e.path().to_owned())
            .collect();
        assert!(files.is_empty(), "{title}: {files:?}");
        assert!(!self.root().join(".scalectl").exists(), "{title}: .scalectl is still there");
    }

    /// A request to the balancer over a connection of its own: status and body.
    pub fn http(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = self.run(&["down", "--volumes"]);
        if self.engine == "docker" {
            self.remove_docker_objects();
        }
        for pid in self.processes().into_keys().chain(self.supervisor()) {
            kill(pid, "KILL");
        }
    }
}

/// Sends a signal to a process that this test started.
pub fn kill(pid: u32, signal: &str) {
    let _ = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

/// Everything that a command printed.
pub fn all(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}
