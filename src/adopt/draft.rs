//! A stack file in the making: sections with their notes, and its text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::units::Name;

/// A stack file that is about to be written.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// Name of the project.
    pub project: String,
    /// What it was made from, as people call the file.
    pub source: String,
    /// What could not be kept of the source as a whole.
    pub notes: Vec<String>,
    /// Sections `services`.
    pub services: BTreeMap<Name, Service>,
    /// Sections `jobs`.
    pub jobs: BTreeMap<Name, Job>,
    /// Section `balancer`.
    pub balancer: Option<Balancer>,
    /// Sections `backing`.
    pub backing: BTreeMap<Name, Backing>,
}

/// A section of `services`. Texts are as the file has them, with variables not yet replaced.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// What could not be kept.
    pub notes: Vec<String>,
    /// What it is built from.
    pub build: Option<Build>,
    /// A ready image.
    pub image: Option<String>,
    /// How the local engine prepares it.
    pub runtime: Option<&'static str>,
    /// Program and arguments.
    pub command: Option<Vec<String>>,
    /// Port that the program listens on.
    pub port: Option<String>,
    /// Number of replicas.
    pub replicas: Option<String>,
    /// Path of the readiness check.
    pub ready: Option<String>,
    /// What it is given the addresses of.
    pub uses: BTreeSet<Name>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Processor limit.
    pub cpu: Option<String>,
    /// Memory limit.
    pub memory: Option<String>,
    /// How long it may take to end.
    pub stop_timeout: Option<String>,
}

/// What a service is built from; relative to the project's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Build {
    /// The folder.
    pub context: String,
    /// The Dockerfile from the context, where it is not the default.
    pub dockerfile: Option<String>,
    /// The stage.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Network of the build.
    pub network: Option<String>,
    /// Images to take layers from.
    pub cache_from: Vec<String>,
}

/// A section of `jobs`.
#[derive(Debug, Clone)]
pub struct Job {
    /// What could not be kept.
    pub notes: Vec<String>,
    /// The service that it belongs to.
    pub service: Name,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Services that wait for it.
    pub before: BTreeSet<Name>,
}

/// The section `balancer`.
#[derive(Debug, Clone)]
pub struct Balancer {
    /// What could not be kept.
    pub notes: Vec<String>,
    /// The service behind it.
    pub service: Name,
    /// Port that it listens on.
    pub port: String,
}

/// A section of `backing`.
#[derive(Debug, Clone, Default)]
pub struct Backing {
    /// What could not be kept.
    pub notes: Vec<String>,
    /// The catalog's entry, where the section has another name.
    pub kind: Option<Name>,
    /// Image instead of the catalog's.
    pub image: Option<String>,
    /// Additional environment.
    pub env: BTreeMap<String, String>,
    /// Most connections that it accepts.
    pub max_connections: Option<String>,
    /// Processor limit.
    pub cpu: Option<String>,
    /// Memory limit.
    pub memory: Option<String>,
}

impl Draft {
    /// All notes, each with the section that it is about.
    pub fn all_notes(&self) -> Vec<String> {
        let mut all = self.notes.clone();
        let mut section = |place: &str, notes: &[String]| {
            all.extend(notes.iter().map(|note| format!("{place}: {note}")));
        };
        self.services.iter().for_each(|(name, service)| section(&format!("services.{name}"), &service.notes));
        self.jobs.iter().for_each(|(name, job)| section(&format!("jobs.{name}"), &job.notes));
        self.balancer.iter().for_each(|balancer| section("balancer", &balancer.notes));
        self.backing.iter().for_each(|(name, backing)| section(&format!("backing.{name}"), &backing.notes));
        all
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut out = Text::default();
        out.comment(&format!("Made from {} by `scalectl init`; `scalectl check` validates it.", self.source));
        self.notes.iter().for_each(|note| out.comment(note));
        out.section("project", &[]);
        out.text("name", &self.project);
        for (name, service) in &self.services {
            out.section(&format!("services.{name}"), &service.notes);
            out.service(service);
            out.env(&format!("services.{name}"), &service.env);
        }
        for (name, job) in &self.jobs {
            out.section(&format!("jobs.{name}"), &job.notes);
            out.text("service", job.service.as_str());
            out.list("command", &job.command);
            out.list("before", job.before.iter().map(Name::as_str));
        }
        if let Some(balancer) = &self.balancer {
            out.section("balancer", &balancer.notes);
            out.text("service", balancer.service.as_str());
            out.number("port", &balancer.port);
        }
        for (name, backing) in &self.backing {
            out.section(&format!("backing.{name}"), &backing.notes);
            out.optional("kind", backing.kind.as_ref().map(Name::as_str));
            out.optional("image", backing.image.as_deref());
            backing.max_connections.iter().for_each(|most| out.number("max_connections", most));
            out.resources(backing.cpu.as_deref(), backing.memory.as_deref());
            out.env(&format!("backing.{name}"), &backing.env);
        }
        out.0
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn comment(&mut self, text: &str) {
        // A line's end inside would end the comment.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.line(&format!("# {text}"));
    }

    fn section(&mut self, name: &str, notes: &[String]) {
        self.0.push('\n');
        notes.iter().for_each(|note| self.comment(note));
        self.line(&format!("[{name}]"));
    }

    fn text(&mut self, key: &str, text: &str) {
        self.line(&format!("{key} = {}", quoted(text)));
    }

    fn optional(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    /// A number, or a text with a variable that stands for one.
    fn number(&mut self, key: &str, number: &str) {
        match number.parse::<u32>() {
            Ok(number) => self.line(&format!("{key} = {number}")),
            Err(_) => self.text(key, number),
        }
    }

    fn list<T: AsRef<str>>(&mut self, key: &str, texts: impl IntoIterator<Item = T>) {
        let texts: Vec<_> = texts.into_iter().map(|text| quoted(text.as_ref())).collect();
        if !texts.is_empty() {
            self.line(&format!("{key} = [{}]", texts.join(", ")));
        }
    }

    fn resources(&mut self, cpu: Option<&str>, memory: Option<&str>) {
        let limits: Vec<_> = [("cpu", cpu), ("memory", memory)]
            .into_iter()
            .filter_map(|(key, limit)| Some(format!("{key} = {}", quoted(limit?))))
            .collect();
        if !limits.is_empty() {
            self.line(&format!("resources = {{ {} }}", limits.join(", ")));
        }
    }

    fn env(&mut self, section: &str, env: &BTreeMap<String, String>) {
        if !env.is_empty() {
            self.line(&format!("[{section}.env]"));
            env.iter().for_each(|(name, value)| self.text(&key(name), value));
        }
    }

    fn service(&mut self, service: &Service) {
        if let Some(build) = &service.build {
            self.line(&format!("build = {}", build_value(build)));
        }
        self.optional("image", service.image.as_deref());
        self.optional("runtime", service.runtime);
        self.list("command", service.command.iter().flatten());
        service.port.iter().for_each(|port| self.number("port", port));
        service.replicas.iter().for_each(|replicas| self.number("replicas", replicas));
        self.optional("ready", service.ready.as_deref());
        self.list("uses", service.uses.iter().map(Name::as_str));
        // Its program was written for variables; it need not know the files that scalectl would give it.
        self.text("secrets", "env");
        self.resources(service.cpu.as_deref(), service.memory.as_deref());
        self.optional("stop_timeout", service.stop_timeout.as_deref());
    }
}

fn build_value(build: &Build) -> String {
    if *build == (Build { context: build.context.clone(), ..Build::default() }) {
        return quoted(&build.context);
    }
    let mut value = format!("{{ context = {}", quoted(&build.context));
    let texts = [("dockerfile", &build.dockerfile), ("target", &build.target), ("network", &build.network)];
    for (key, text) in texts.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?))) {
        let _ = write!(value, ", {key} = {}", quoted(text));
    }
    if !build.args.is_empty() {
        let args: Vec<_> = build.args.iter().map(|(name, text)| format!("{} = {}", key(name), quoted(text))).collect();
        let _ = write!(value, ", args = {{ {} }}", args.join(", "));
    }
    if !build.cache_from.is_empty() {
        let images: Vec<_> = build.cache_from.iter().map(|image| quoted(image)).collect();
        let _ = write!(value, ", cache_from = [{}]", images.join(", "));
    }
    value + " }"
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

fn key(name: &str) -> String {
    toml_edit::Key::new(name).to_string()
}
