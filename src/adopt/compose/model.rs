//! A compose file as far as it can be adopted: both syntaxes of every key become one.
//!
//! The keys are those of <https://github.com/compose-spec/compose-spec/blob/main/spec.md>. What has no counterpart is
//! kept by name, so that it can be told.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::variables::adapt;
use crate::stack::Variables;

/// Why a compose file cannot be read: the key and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where and what, in a line; never a value that may be a secret.
    pub what: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

type Result<T> = std::result::Result<T, Refusal>;

/// Compose itself writes a file without what this reader does not know.
const RESOLVE: &str = "let compose resolve it: `docker compose config -o resolved.yaml --no-interpolate`, then `scalectl init --from resolved.yaml`";

/// A compose file.
#[derive(Debug, Clone, Default)]
pub struct Compose {
    /// Its own name of the project.
    pub name: Option<String>,
    /// Its services.
    pub services: BTreeMap<String, Service>,
    /// What of its top level cannot be kept.
    pub notes: Vec<String>,
}

/// A service of a compose file; texts have their variables written as `scalectl.toml` does.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// Its image, or the name of the one that it builds.
    pub image: Option<String>,
    /// What it builds.
    pub build: Option<Build>,
    /// Arguments of the image's entrypoint.
    pub command: Option<Vec<String>>,
    /// Instead of the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Its variables; without a value they come from the environment.
    pub environment: BTreeMap<String, Option<String>>,
    /// Files of variables, and whether they have to be there.
    pub env_files: Vec<(String, bool)>,
    /// Ports, those that are published on the host first.
    pub ports: Vec<Port>,
    /// Services that it starts after, and whether it waits for their end.
    pub depends_on: BTreeMap<String, bool>,
    /// Other names that it is found by.
    pub hosts: Vec<String>,
    /// The command of its health check, as one text.
    pub health: Option<String>,
    /// Number of replicas.
    pub replicas: Option<String>,
    /// Processor limit in cores.
    pub cpus: Option<String>,
    /// Memory limit as compose writes it.
    pub memory: Option<String>,
    /// Time from SIGTERM to SIGKILL.
    pub stop_grace_period: Option<String>,
    /// Mounts, as `source:target`; the source of an anonymous volume is empty.
    pub volumes: Vec<(String, String)>,
    /// Profiles without which it is not started.
    pub profiles: Vec<String>,
    /// What cannot be kept.
    pub notes: Vec<String>,
}

/// What a service builds.
#[derive(Debug, Clone, Default)]
pub struct Build {
    /// Folder from the compose file's own.
    pub context: String,
    /// Dockerfile from the context.
    pub dockerfile: Option<String>,
    /// Stage.
    pub target: Option<String>,
    /// Arguments; without a value they come from the environment.
    pub args: BTreeMap<String, Option<String>>,
    /// Network of the build.
    pub network: Option<String>,
    /// Images to take layers from.
    pub cache_from: Vec<String>,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// On the host, where it is published; empty for one that the engine chooses.
    pub published: Option<String>,
    /// Inside the container.
    pub target: String,
}

/// Reads a compose file from its tree. `known` tells which variables have a value.
///
/// # Errors
///
/// The first key that is not what the specification says, or that only compose can resolve.
pub fn read(mut tree: Value, known: &Variables) -> Result<Compose> {
    let mut notes = Vec::new();
    adapt_all(&mut tree, "", known, &mut notes);
    let root = table(&tree, "the file")?;
    if root.contains_key("include") {
        return Err(Refusal { what: "include: other files are not read".to_owned(), hint: Some(RESOLVE) });
    }
    for (key, about) in [
        ("networks", "a stack has one network, on which everything reaches everything"),
        ("configs", "there are no configs"),
        ("secrets", "secrets are variables from .env"),
    ] {
        let given = root.get(key).and_then(Value::as_object).filter(|entries| entries.keys().any(|k| k != "default"));
        notes.extend(given.map(|entries| format!("not adopted: {key} {} ({about})", joined(entries.keys()))));
    }
    let services = match root.get("services") {
        Some(services) => table(services, "services")?,
        None => return Err(Refusal { what: "services: expected at least one, found none".to_owned(), hint: None }),
    };
    let services =
        services.iter().map(|(name, value)| Ok((name.clone(), service(value, &format!("services.{name}"))?)));
    Ok(Compose { name: text_of(root, "name"), services: services.collect::<Result<_>>()?, notes })
}

fn adapt_all(value: &mut Value, path: &str, known: &Variables, notes: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains('$') => {
            let adapted = adapt(text, known);
            *text = adapted.text;
            notes.extend(adapted.notes.into_iter().map(|note| format!("{path}: {note}")));
        }
        Value::Array(array) => array.iter_mut().for_each(|element| adapt_all(element, path, known, notes)),
        Value::Object(object) => {
            for (key, value) in object {
                let dot = if path.is_empty() { "" } else { "." };
                adapt_all(value, &format!("{path}{dot}{key}"), known, notes);
            }
        }
        _ => {}
    }
}

/// Keys that scalectl does by itself, or that mean nothing to it.
const NEEDLESS: [&str; 8] = ["restart", "networks", "links", "init", "pull_policy", "attach", "tty", "stdin_open"];

fn service(value: &Value, path: &str) -> Result<Service> {
    let table = table(value, path)?;
    if table.contains_key("extends") {
        return Err(Refusal { what: format!("{path}.extends: other services are not read"), hint: Some(RESOLVE) });
    }
    let mut service = Service::default();
    let mut lost = Vec::new();
    for (key, value) in table {
        let path = format!("{path}.{key}");
        match key.as_str() {
            "image" => service.image = Some(text(value, &path)?),
            "build" => service.build = Some(build(value, &path, &mut lost)?),
            "command" => service.command = command(value, &path)?,
            "entrypoint" => service.entrypoint = command(value, &path)?,
            "environment" => service.environment = variables(value, &path)?,
            "env_file" => service.env_files = env_files(value, &path)?,
            "ports" => service.ports.splice(..0, ports(value, &path)?).for_each(drop),
            "expose" => service.ports.extend(exposed(value, &path)?),
            "depends_on" => service.depends_on = depends_on(value, &path)?,
            "healthcheck" => service.health = health(value),
            "scale" => service.replicas = Some(text(value, &path)?),
            "cpus" => service.cpus = Some(text(value, &path)?),
            "mem_limit" => service.memory = Some(text(value, &path)?),
            "deploy" => service.deploy(value, &path, &mut lost)?,
            "stop_grace_period" => service.stop_grace_period = Some(text(value, &path)?),
            "volumes" => service.volumes = volumes(value, &path)?,
            "profiles" => service.profiles = texts(value, &path)?,
            "hostname" | "container_name" => service.hosts.push(text(value, &path)?),
            key if NEEDLESS.contains(&key) || key.starts_with("x-") => {}
            key => lost.push(key.to_owned()),
        }
    }
    if !lost.is_empty() {
        service.notes.push(format!("not adopted, without a counterpart: {}", lost.join(", ")));
    }
    Ok(service)
}

impl Service {
    fn deploy(&mut self, value: &Value, path: &str, lost: &mut Vec<String>) -> Result<()> {
        for (key, value) in table(value, path)? {
            match key.as_str() {
                "replicas" => self.replicas = Some(text(value, path)?),
                "resources" => {
                    for (kind, limits) in table(value, path)? {
                        let limits = table(limits, path)?;
                        if kind == "limits" {
                            self.cpus = text_of(limits, "cpus").or(self.cpus.take());
                            self.memory = text_of(limits, "memory").or(self.memory.take());
                        } else {
                            lost.push(format!("deploy.resources.{kind}"));
                        }
                    }
                }
                "restart_policy" | "mode" => {}
                key => lost.push(format!("deploy.{key}")),
            }
        }
        Ok(())
    }
}

fn build(value: &Value, path: &str, lost: &mut Vec<String>) -> Result<Build> {
    if let Value::String(context) = value {
        return Ok(Build { context: context.clone(), ..Build::default() });
    }
    let mut build = Build { context: ".".to_owned(), ..Build::default() };
    for (key, value) in table(value, path)? {
        let path = format!("{path}.{key}");
        match key.as_str() {
            "context" => build.context = text(value, &path)?,
            "dockerfile" => build.dockerfile = Some(text(value, &path)?),
            "target" => build.target = Some(text(value, &path)?),
            "args" => build.args = variables(value, &path)?,
            "network" => build.network = Some(text(value, &path)?),
            "cache_from" => build.cache_from = texts(value, &path)?,
            "tags" | "pull" | "labels" => {}
            key => lost.push(format!("build.{key}")),
        }
    }
    Ok(build)
}

/// A list, or a line that is split as a shell does; `None` for the image's own.
fn command(value: &Value, path: &str) -> Result<Option<Vec<String>>> {
    match value {
        Value::Null => Ok(None),
        Value::String(line) => {
            let words = shell_words::split(line).map_err(|_| bad(path, "a command with matching quotes", value))?;
            Ok((!words.is_empty()).then_some(words))
        }
        value => Ok(Some(texts(value, path)?).filter(|words| !words.is_empty())),
    }
}

/// `NAME: value`, or a list of `NAME=value`.
fn variables(value: &Value, path: &str) -> Result<BTreeMap<String, Option<String>>> {
    match value {
        Value::Object(table) => {
            let pair = |(name, value): (&String, &Value)| match value {
                Value::Null => Ok((name.clone(), None)),
                value => Ok((name.clone(), Some(text(value, &format!("{path}.{name}"))?))),
            };
            table.iter().map(pair).collect()
        }
        value => {
            let pair = |line: String| match line.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (line, None),
            };
            Ok(texts(value, path)?.into_iter().map(pair).collect())
        }
    }
}

fn env_files(value: &Value, path: &str) -> Result<Vec<(String, bool)>> {
    let file = |value: &Value| match value {
        Value::Object(table) => {
            let required = table.get("required").and_then(Value::as_bool).unwrap_or(true);
            Ok((text_of(table, "path").ok_or_else(|| bad(path, "a path", value))?, required))
        }
        value => Ok((text(value, path)?, true)),
    };
    match value {
        Value::Array(files) => files.iter().map(file).collect(),
        one => Ok(vec![file(one)?]),
    }
}

/// Splits at `:`, but not in braces, where `${PORT:-80}` has one.
pub fn split_at_colons(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ':' if depth == 0 => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

const RANGE: &str = "one port (a range is several services, or a service with replicas)";

/// `target`, `published:target`, `address:published:target`, each with `/protocol`; or a table.
fn ports(value: &Value, path: &str) -> Result<Vec<Port>> {
    let port = |value: &Value| -> Result<Option<Port>> {
        if let Value::Object(table) = value {
            let target = text_of(table, "target").ok_or_else(|| bad(path, "a target", value))?;
            let published = Some(text_of(table, "published").unwrap_or_default());
            let udp = text_of(table, "protocol").is_some_and(|protocol| protocol != "tcp");
            let port = Port { published, target };
            return if port.is_range() { Err(bad(path, RANGE, value)) } else { Ok((!udp).then_some(port)) };
        }
        let whole = text(value, path)?;
        let (ports, protocol) = whole.rsplit_once('/').unwrap_or((&whole, "tcp"));
        let parts = split_at_colons(ports);
        let target = parts.last().copied().unwrap_or_default().to_owned();
        let published = parts.len().checked_sub(2).map_or("", |position| parts[position]).to_owned();
        let port = Port { published: Some(published), target };
        if port.is_range() {
            return Err(bad(path, RANGE, value));
        }
        Ok((protocol == "tcp").then_some(port))
    };
    let Value::Array(all) = value else { return Err(bad(path, "a list of ports", value)) };
    Ok(all.iter().map(port).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

impl Port {
    fn is_range(&self) -> bool {
        let is_range = |text: &str| {
            text.split_once('-')
                .is_some_and(|(first, last)| first.parse::<u16>().is_ok() && last.parse::<u16>().is_ok())
        };
        is_range(&self.target) || self.published.as_deref().is_some_and(is_range)
    }
}

fn exposed(value: &Value, path: &str) -> Result<Vec<Port>> {
    let port = |text: String| {
        let target = text.split('/').next().unwrap_or_default().to_owned();
        Port { published: None, target }
    };
    let ports: Vec<_> = texts(value, path)?.into_iter().map(port).collect();
    if ports.iter().any(Port::is_range) { Err(bad(path, RANGE, value)) } else { Ok(ports) }
}

fn depends_on(value: &Value, path: &str) -> Result<BTreeMap<String, bool>> {
    match value {
        Value::Object(table) => {
            let completed =
                |how: &Value| how.get("condition").and_then(Value::as_str) == Some("service_completed_successfully");
            Ok(table.iter().map(|(name, how)| (name.clone(), completed(how))).collect())
        }
        value => Ok(texts(value, path)?.into_iter().map(|name| (name, false)).collect()),
    }
}

fn health(value: &Value) -> Option<String> {
    match value.get("test")? {
        Value::String(line) => Some(line.clone()),
        Value::Array(words) => {
            let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
            (words.first() != Some(&"NONE")).then(|| words.join(" "))
        }
        _ => None,
    }
}

fn volumes(value: &Value, path: &str) -> Result<Vec<(String, String)>> {
    let volume = |value: &Value| match value {
        Value::Object(table) => {
            let target = text_of(table, "target").ok_or_else(|| bad(path, "a target", value))?;
            Ok((text_of(table, "source").unwrap_or_default(), target))
        }
        value => {
            let whole = text(value, path)?;
            let parts = split_at_colons(&whole);
            Ok(match parts.as_slice() {
                [target] => (String::new(), (*target).to_owned()),
                [source, target, ..] => ((*source).to_owned(), (*target).to_owned()),
                [] => (String::new(), String::new()),
            })
        }
    };
    let Value::Array(all) = value else { return Err(bad(path, "a list of volumes", value)) };
    all.iter().map(volume).collect()
}

fn table<'v>(value: &'v Value, path: &str) -> Result<&'v Map<String, Value>> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    match value {
        Value::Object(table) => Ok(table),
        Value::Null => Ok(&EMPTY),
        value => Err(bad(path, "a mapping", value)),
    }
}

/// A text, or what is written as one.
fn text(value: &Value, path: &str) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        value => Err(bad(path, "a text", value)),
    }
}

fn text_of(table: &Map<String, Value>, key: &str) -> Option<String> {
    table.get(key).and_then(|value| text(value, key).ok())
}

/// One text or a list of them.
fn texts(value: &Value, path: &str) -> Result<Vec<String>> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(all) => all.iter().map(|value| text(value, path)).collect(),
        Value::String(text) => Ok(vec![text.clone()]),
        value => Err(bad(path, "a list", value)),
    }
}

fn bad(path: &str, expected: &str, found: &Value) -> Refusal {
    let found = match found {
        Value::Null => "nothing",
        Value::Bool(_) | Value::Number(_) | Value::String(_) => "another value",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    };
    Refusal { what: format!("{path}: expected {expected}, found {found}"), hint: None }
}

fn joined<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| name.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn only(service: Value) -> Result<Service> {
        let tree = json!({ "services": { "web": service } });
        read(tree, &Variables::default()).map(|mut compose| compose.services.remove("web").unwrap())
    }

    #[test]
    fn both_syntaxes_of_a_key_mean_the_same() {
        let short = json!({
            "build": "./api", "command": "python -m 'my app'", "environment": ["A=1", "B"], "env_file": "x.env",
            "ports": ["127.0.0.1:${PORT:-80}:8000/tcp", "9000", "53:53/udp"], "expose": [7],
            "depends_on": ["db"], "volumes": ["data:/data:ro", "/cache"],
            "scale": 2, "cpus": 0.5, "mem_limit": "64m",
        });
        let long = json!({
            "build": { "context": "./api" }, "command": ["python", "-m", "my app"],
            "environment": { "A": 1, "B": null }, "env_file": [{ "path": "x.env" }],
            "ports": [{ "target": 8000, "published": "${PORT:-80}" }, { "target": 9000 }, { "target": 53, "protocol": "udp" }],
            "expose": ["7/tcp"], "depends_on": { "db": { "condition": "service_healthy" } },
            "volumes": [{ "source": "data", "target": "/data" }, { "target": "/cache" }],
            "deploy": { "replicas": 2, "resources": { "limits": { "cpus": "0.5", "memory": "64m" } } },
        });
        let (short, long) = (only(short).unwrap(), only(long).unwrap());
        assert_eq!(format!("{short:?}"), format!("{long:?}"));
        assert_eq!(short.ports.len(), 3);
        assert_eq!(short.ports[0], Port { published: Some("${PORT:-80}".to_owned()), target: "8000".to_owned() });
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_key_and_without_its_value() {
        for (service, expected) in [
            (json!({ "ports": ["3000-3005:3000-3005"] }), "services.web.ports: expected one port (a range"),
            (json!({ "ports": "80" }), "services.web.ports: expected a list of ports"),
            (json!({ "command": "echo 'secret" }), "services.web.command: expected a command with matching quotes"),
            (
                json!({ "environment": { "A": ["secret"] } }),
                "services.web.environment.A: expected a text, found a list",
            ),
            (json!({ "extends": { "service": "base" } }), "services.web.extends: other services are not read"),
            (json!("secret"), "services.web: expected a mapping"),
        ] {
            let refusal = only(service).unwrap_err();
            assert!(refusal.what.starts_with(expected), "{}", refusal.what);
            assert!(!refusal.what.contains("secret"), "{}", refusal.what);
        }
    }

    #[test]
    fn keys_without_a_counterpart_are_named() {
        let service = only(json!({ "image": "x", "privileged": true, "restart": "always", "x-y": 1,
            "deploy": { "placement": {}, "resources": { "reservations": {} } } }));
        let notes = ["not adopted, without a counterpart: privileged, deploy.placement, deploy.resources.reservations"];
        assert_eq!(service.unwrap().notes, notes);
    }
}
