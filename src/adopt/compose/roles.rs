//! What each service of a compose file is in a stack.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::model::{Compose, Service};
use super::servers;
use crate::adopt::dockerfile::Image;
use crate::units::Name;

/// Repositories of load balancers.
const PROXIES: [&str; 8] = [
    "nginx",
    "nginxinc/nginx-unprivileged",
    "nginxproxy/nginx-proxy",
    "jwilder/nginx-proxy",
    "traefik",
    "haproxy",
    "haproxytech/haproxy-alpine",
    "caddy",
];

/// More of a balancer's configuration is not read, in bytes.
const CONFIGURATION_LIMIT: u64 = 256 << 10;

/// What a service of a compose file becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A section of `services`.
    Service,
    /// A section of `backing`, of this kind.
    Backing(&'static Name),
    /// A section of `jobs`: others wait for its end.
    Job,
    /// The section `balancer`, in front of the first of these services.
    Balancer(Vec<String>),
    /// Nothing, because it is not started by default.
    LeftOut,
}

/// The role of every service. `images` are those that are built, and `folder` is the compose file's.
pub fn roles<'c>(compose: &'c Compose, images: &BTreeMap<&str, Image>, folder: &Path) -> BTreeMap<&'c str, Role> {
    let mut roles: BTreeMap<_, _> =
        compose.services.iter().map(|(name, service)| (name.as_str(), role(name, service, compose))).collect();
    let proxies = compose.services.iter().filter(|(name, service)| is_proxy(name, service, images));
    for (name, service) in proxies {
        let others: Vec<_> = compose
            .services
            .keys()
            .filter(|other| *other != name && roles.get(other.as_str()) == Some(&Role::Service))
            .collect();
        let behind = behind(service, &others, folder);
        if roles.get(name.as_str()) == Some(&Role::Service) && !behind.is_empty() {
            roles.insert(name, Role::Balancer(behind));
        }
    }
    roles
}

fn role(name: &str, service: &Service, compose: &Compose) -> Role {
    let awaited = compose.services.values().any(|other| other.depends_on.get(name) == Some(&true));
    let known = service.image.as_deref().filter(|_| service.build.is_none()).and_then(servers::kind);
    match known {
        _ if !service.profiles.is_empty() => Role::LeftOut,
        _ if awaited => Role::Job,
        Some(kind) => Role::Backing(kind),
        None => Role::Service,
    }
}

/// Whether a service is a load balancer by its image; a stage before it means that it serves files of its own.
fn is_proxy(name: &str, service: &Service, images: &BTreeMap<&str, Image>) -> bool {
    let image = match (images.get(name), &service.image) {
        (Some(built), _) => built.only_stage.then_some(built.base.as_str()),
        (None, image) => image.as_deref().filter(|_| service.build.is_none()),
    };
    image.is_some_and(|image| PROXIES.contains(&servers::repository(image).as_str()))
}

/// The services behind a balancer: those that it starts after, or that its configuration names, or the only one.
fn behind(service: &Service, others: &[&String], folder: &Path) -> Vec<String> {
    let named: Vec<_> = others.iter().filter(|other| service.depends_on.contains_key(**other)).collect();
    if let [only] = named.as_slice() {
        return vec![(**only).clone()];
    }
    let configuration = configuration(service, folder);
    let mentions = |name: &str| {
        ["//", "server ", "reverse_proxy ", "@"].iter().any(|before| {
            configuration.match_indices(&format!("{before}{name}")).any(|(at, found)| {
                let next = configuration[at + found.len()..].chars().next();
                !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.')
            })
        })
    };
    let mentioned: Vec<_> = others.iter().filter(|other| mentions(other)).map(|other| (**other).clone()).collect();
    match (mentioned.is_empty(), named.is_empty(), others) {
        (false, ..) => mentioned,
        (true, false, _) => named.into_iter().map(|other| (**other).clone()).collect(),
        // One that mounts a folder of files serves them.
        (true, true, [only]) if service.volumes.is_empty() => vec![(*only).clone()],
        _ => Vec::new(),
    }
}

/// The texts that are mounted into a balancer, or that it is built from.
fn configuration(service: &Service, folder: &Path) -> String {
    let mounted = service.volumes.iter().map(|(source, _)| folder.join(source));
    let built = service.build.iter().map(|build| folder.join(&build.context));
    let mut files: Vec<PathBuf> = Vec::new();
    for path in mounted.chain(built) {
        if path.is_file() {
            files.push(path);
        } else if let Ok(entries) = path.read_dir() {
            files.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()));
        }
    }
    let small = files.into_iter().filter(|path| path.metadata().is_ok_and(|file| file.len() <= CONFIGURATION_LIMIT));
    small.filter_map(|path| std::fs::read_to_string(path).ok()).collect::<Vec<_>>().join("\n")
}
