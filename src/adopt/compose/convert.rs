//! The services of a compose file as sections of a stack file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::environment::passed;
use super::fields::{self, command, cpu, memory, move_port, port, replicas};
use super::model::{Compose, Service};
use super::roles::{Role, roles};
use super::servers::{self, Server};
use crate::adopt::dockerfile::{self, Image};
use crate::adopt::draft::{self, Draft};
use crate::adopt::runtime;
use crate::adopt::secrets::{Secrets, interpolated};
use crate::backing::{self, address_variable};
use crate::error::Failure;
use crate::units::{Name, TimeSpan};

/// Ports of images that publish none, because only their neighbours reach them.
const PORTS: [(&str, &str); 6] = [
    ("mysql", "3306"),
    ("mariadb", "3306"),
    ("mongo", "27017"),
    ("memcached", "11211"),
    ("elasticsearch", "9200"),
    ("nginx", "80"),
];

/// A compose file and where it lies.
pub struct Input<'a> {
    /// The file.
    pub compose: &'a Compose,
    /// The project's folder, absolute.
    pub root: &'a Path,
    /// The compose file's folder, absolute.
    pub folder: &'a Path,
    /// Port of the balancer instead of the file's.
    pub balancer_port: Option<u16>,
}

/// Makes sections of services; what goes into `.env` is added to `secrets`. Reads Dockerfiles, files of variables and
/// configurations, and changes nothing.
///
/// # Errors
///
/// A service that cannot be built or run.
pub fn convert(input: &Input<'_>, secrets: &mut Secrets) -> Result<Draft, Failure> {
    let images = images(input, secrets)?;
    let roles = roles(input.compose, &images, input.folder);
    let mut draft = Draft { notes: input.compose.notes.clone(), ..Draft::default() };
    let servers = servers(input.compose, &roles);
    let names = names(&roles, &servers)?;
    let mut converter = Converter { input, roles, images, servers, names, secrets, draft: &mut draft };
    converter.backing();
    converter.services()?;
    converter.jobs();
    converter.balancer();
    converter.ports();
    converter.uses();
    converter.external();
    Ok(draft)
}

/// What is known while sections are made.
pub(super) struct Converter<'a, 'c> {
    pub(super) input: &'a Input<'c>,
    pub(super) roles: BTreeMap<&'c str, Role>,
    images: BTreeMap<&'c str, Image>,
    pub(super) servers: Vec<Server>,
    /// Names in the stack of services and jobs.
    pub(super) names: BTreeMap<&'c str, Name>,
    pub(super) secrets: &'a mut Secrets,
    draft: &'a mut Draft,
}

/// What every service builds, where its Dockerfile can be read.
fn images<'c>(input: &Input<'c>, secrets: &Secrets) -> Result<BTreeMap<&'c str, Image>, Failure> {
    let mut images = BTreeMap::new();
    for (name, service) in &input.compose.services {
        let Some(build) = service.build.as_ref().filter(|_| service.profiles.is_empty()) else { continue };
        let resolve = |text: &str| interpolated(text, &secrets.variables()).unwrap_or_else(|| text.to_owned());
        let context = resolve(&build.context);
        if context.contains("://") || context.starts_with("git@") {
            let what = format!("services.{name}.build: the source of a build has to be in a folder");
            return Err(Failure::usage(what).hint("clone it, or give the service its image"));
        }
        let folder = input.folder.join(&context);
        if !folder.is_dir() {
            let what = format!("services.{name}.build: expected a folder with the source, found none at {context}");
            return Err(Failure::usage(what));
        }
        let file = folder.join(resolve(build.dockerfile.as_deref().unwrap_or("Dockerfile")));
        let text = std::fs::read_to_string(file).unwrap_or_default();
        images.extend(dockerfile::read(&text, build.target.as_deref()).map(|image| (name.as_str(), image)));
    }
    Ok(images)
}

/// The backing services. The only one of its kind is called as the kind, so that it exports the usual variable.
fn servers(compose: &Compose, roles: &BTreeMap<&str, Role>) -> Vec<Server> {
    let kinds: Vec<_> = roles
        .iter()
        .filter_map(|(name, role)| match role {
            Role::Backing(kind) => Some((*name, *kind)),
            _ => None,
        })
        .collect();
    let taken = |name: &str| roles.iter().any(|(other, role)| *other == name && !matches!(role, Role::Backing(_)));
    let server = |(own, kind): &(&str, &'static Name)| {
        let only = kinds.iter().filter(|(_, other)| other == kind).count() == 1;
        let name = match Name::suggestion(own).and_then(|name| name.parse().ok()) {
            Some(name) if !only || taken(kind.as_str()) => name,
            _ => (*kind).clone(),
        };
        let entry = backing::catalog().get(*kind)?;
        let variable = entry.variable.as_ref();
        let variable = variable.map(|own| if name == **kind { own.clone() } else { address_variable(&name) });
        let mut hosts = vec![(*own).to_owned()];
        hosts.extend(compose.services.get(*own).map(|service| service.hosts.clone()).unwrap_or_default());
        Some(Server { name, kind: (*kind).clone(), entry, hosts, variable, own_credentials: false })
    };
    kinds.iter().filter_map(server).collect()
}

/// Names that scalectl accepts, for services and jobs.
fn names<'c>(roles: &BTreeMap<&'c str, Role>, servers: &[Server]) -> Result<BTreeMap<&'c str, Name>, Failure> {
    let mut names: BTreeMap<&str, Name> = BTreeMap::new();
    for (own, role) in roles.iter().filter(|(_, role)| matches!(role, Role::Service | Role::Job)) {
        let kind = if *role == Role::Job { "job" } else { "service" };
        let wanted = Name::suggestion(own).unwrap_or_else(|| kind.to_owned());
        let is_taken = |name: &Name| names.values().any(|n| n == name) || servers.iter().any(|s| s.name == *name);
        let candidates = std::iter::once(wanted.clone()).chain((2..100).map(|n| format!("{wanted}-{n}")));
        let name = candidates.filter_map(|name| name.parse().ok()).find(|name| !is_taken(name));
        let refused = || Failure::usage(format!("services.{own}: no name for it that scalectl accepts"));
        names.insert(own, name.ok_or_else(refused)?);
    }
    Ok(names)
}

impl Converter<'_, '_> {
    fn compose(&self, name: &str) -> Option<Service> {
        self.input.compose.services.get(name).cloned()
    }

    fn with_role(&self, wanted: &Role) -> Vec<(String, Name)> {
        let same = self.names.iter().filter(|(own, _)| self.roles.get(*own) == Some(wanted));
        same.map(|(own, name)| ((*own).to_owned(), name.clone())).collect()
    }

    fn backing(&mut self) {
        for (position, server) in self.servers.clone().into_iter().enumerate() {
            let Some(service) = self.compose(&server.hosts[0]) else { continue };
            let servers::Settings { env, mut notes, own_credentials } =
                servers::settings(server.kind.as_str(), &service, self.secrets);
            self.servers[position].own_credentials = own_credentials;
            let known = service.image.as_deref().filter(|image| *image != server.entry.image);
            let mut section = draft::Backing {
                kind: (server.name != server.kind).then(|| server.kind.clone()),
                image: known.map(str::to_owned),
                cpu: cpu(&service, &mut notes),
                memory: memory(&service, &mut notes),
                ..draft::Backing::default()
            };
            for (name, text) in env {
                section.env.insert(name.clone(), self.secret(&server.hosts[0], &name, text));
            }
            section.max_connections = servers::max_connections(&service);
            if service.command.is_some() && server.kind.as_str() != "redis" && section.max_connections.is_none() {
                notes.push("not adopted: its command; the server runs with the image's own settings".to_owned());
            }
            self.data(&server, &service, &mut notes);
            notes.extend(service.notes);
            section.notes = notes;
            self.draft.backing.insert(server.name, section);
        }
    }

    fn data(&self, server: &Server, service: &Service, notes: &mut Vec<String>) {
        for (source, target) in &service.volumes {
            let is_data =
                server.entry.volume.as_deref().is_some_and(|own| target.len() > 1 && own.contains(target.as_str()));
            notes.push(match is_data {
                true => "begins without data: the volume of the compose project stays there".to_owned(),
                false => format!("not adopted: the mount of {source} at {target}"),
            });
        }
        if service.ports.iter().any(|port| port.published.is_some()) {
            notes.push("is not published on the host".to_owned());
        }
    }

    fn services(&mut self) -> Result<(), Failure> {
        for (own, name) in self.with_role(&Role::Service) {
            let Some(service) = self.compose(&own) else { continue };
            let section = self.service(&own, &name, &service)?;
            self.draft.services.insert(name, section);
        }
        let left_out: Vec<_> =
            self.roles.iter().filter(|(_, role)| **role == Role::LeftOut).map(|(own, _)| *own).collect();
        if !left_out.is_empty() {
            let note = format!("not adopted, because a profile keeps them from starting: {}", left_out.join(", "));
            self.draft.notes.push(note);
        }
        Ok(())
    }

    fn service(&mut self, own: &str, name: &Name, service: &Service) -> Result<draft::Service, Failure> {
        let mut notes = service.notes.clone();
        let image = self.images.get(own).cloned().unwrap_or_default();
        let build = service.build.as_ref().map(|build| draft::Build {
            context: self.relative(&build.context),
            dockerfile: build.dockerfile.clone().filter(|file| file != "Dockerfile"),
            target: build.target.clone(),
            args: build.args.iter().map(|(name, text)| (name.clone(), passed(name, text))).collect(),
            network: build.network.clone(),
            cache_from: build.cache_from.clone(),
        });
        let context = build.as_ref().and_then(|build| interpolated(&build.context, &self.secrets.variables()));
        let runtime = context.and_then(|context| runtime(&self.input.root.join(context)));
        // The image's own check is about the image's own command.
        let own_check = image.health.clone().filter(|_| service.command.is_none() && service.entrypoint.is_none());
        let check = service.health.clone().or(own_check).as_deref().and_then(dockerfile::http_check);
        for (source, target) in &service.volumes {
            let from = if source.is_empty() { String::new() } else { format!(" of {source}") };
            notes.push(format!("not adopted: the mount{from} at {target}; services keep no files"));
        }
        if own != name.as_str() {
            notes.push(format!("was called {own}"));
        }
        let mut section = draft::Service {
            command: command(service, &image, runtime.is_some(), &mut notes),
            image: service.image.clone().filter(|_| build.is_none()),
            build,
            runtime,
            port: port(service, &image, check.as_ref().and_then(|(_, port)| *port)),
            replicas: replicas(service, &mut notes),
            ready: check.map(|(path, _)| path),
            cpu: cpu(service, &mut notes),
            memory: memory(service, &mut notes),
            stop_timeout: service
                .stop_grace_period
                .clone()
                .filter(|time| time.contains("${") || time.parse::<TimeSpan>().is_ok()),
            ..draft::Service::default()
        };
        if section.build.is_none() && section.image.is_none() {
            return Err(Failure::usage(format!("services.{own}: expected image or build, found neither")));
        }
        self.environment(own, service, &mut section, &mut notes);
        section.notes.splice(..0, notes).for_each(drop);
        Ok(section)
    }

    /// A path from the compose file's folder as one from the project's.
    fn relative(&self, path: &str) -> String {
        let Ok(prefix) = self.input.folder.strip_prefix(self.input.root) else { return path.to_owned() };
        let mut parts = PathBuf::new();
        for part in prefix.join(path).components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir if parts.file_name().is_some() => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        if parts.as_os_str().is_empty() { ".".to_owned() } else { parts.display().to_string() }
    }

    fn jobs(&mut self) {
        for (own, name) in self.with_role(&Role::Job) {
            let Some(service) = self.compose(&own) else { continue };
            let dependents =
                self.input.compose.services.iter().filter(|(_, other)| other.depends_on.get(&own) == Some(&true));
            let before: BTreeSet<Name> = dependents
                .filter(|(other, _)| self.roles.get(other.as_str()) == Some(&Role::Service))
                .filter_map(|(other, _)| self.names.get(other.as_str()).cloned())
                .collect();
            let image = self.images.get(own.as_str()).cloned().unwrap_or_default();
            let mut notes = Vec::new();
            let command = command(&service, &image, true, &mut notes);
            match (self.host_of_job(&service, &before), command) {
                (Some((host, host_name)), Some(command)) => {
                    notes.extend(service.notes.clone());
                    notes
                        .extend(self.other_variables(&service, &host).map(|names| {
                            format!("has the variables of {host_name}; its own are not adopted: {names}")
                        }));
                    let job = draft::Job { notes, service: host_name, command, before };
                    self.draft.jobs.insert(name, job);
                }
                (None, _) => self.draft.notes.push(format!(
                    "not adopted: {own}, which ends; a job runs in a service's image, and no service has its image"
                )),
                (_, None) => self.draft.notes.push(format!("not adopted: {own}, which ends; its command is not known")),
            }
        }
    }

    /// The service whose image a job has: one that waits for it, if possible.
    fn host_of_job(&self, job: &Service, before: &BTreeSet<Name>) -> Option<(String, Name)> {
        let image = |service: &Service| match &service.build {
            Some(build) => (build.context.clone(), build.dockerfile.clone(), build.target.clone()),
            None => (String::new(), service.image.clone(), None),
        };
        let same = |other: &&(String, Name)| self.compose(&other.0).is_some_and(|other| image(&other) == image(job));
        let services = self.with_role(&Role::Service);
        let waiting = services.iter().filter(|(_, name)| before.contains(name)).find(same);
        waiting.or_else(|| services.iter().find(same)).cloned()
    }

    /// Variables of a job that its service has not.
    fn other_variables(&self, job: &Service, host: &str) -> Option<String> {
        let host = self.compose(host)?;
        let differ = job.environment.iter().filter(|(name, value)| host.environment.get(*name) != Some(*value));
        let names: Vec<_> = differ.map(|(name, _)| name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// The balancer: in place of one that the file has, or else before a service that is published.
    fn balancer(&mut self) {
        let proxies: Vec<_> = self
            .roles
            .iter()
            .filter_map(|(own, role)| match role {
                Role::Balancer(behind) => Some(((*own).to_owned(), behind.clone())),
                _ => None,
            })
            .collect();
        for (own, behind) in proxies {
            let Some(proxy) = self.compose(&own) else { continue };
            match (&self.draft.balancer, behind.first().and_then(|first| self.names.get(first.as_str())).cloned()) {
                (None, Some(service)) => {
                    self.draft.balancer = Some(self.in_place_of(&own, &proxy, service, &behind[1..]))
                }
                _ => self.draft.notes.push(format!("not adopted: {own}, a second balancer")),
            }
        }
        let published = self.with_role(&Role::Service).into_iter().filter_map(|(own, name)| {
            let port = self.compose(&own)?.ports.into_iter().find_map(|port| port.published)?;
            Some((name, port))
        });
        let published: Vec<_> = published.collect();
        if self.draft.balancer.is_none() {
            let used = |name: &Name| self.draft.services.values().any(|service| service.uses.contains(name));
            let front = published.iter().find(|(name, _)| !used(name)).or(published.first()).cloned();
            self.draft.balancer = front.map(|(service, port)| draft::Balancer {
                notes: Vec::new(),
                service,
                port: self.front_port(&port),
            });
        }
        let behind = self.draft.balancer.as_ref().map(|balancer| balancer.service.clone());
        for (name, port) in published.into_iter().filter(|(name, _)| Some(name) != behind.as_ref()) {
            if let Some(section) = self.draft.services.get_mut(&name) {
                let at = if port.is_empty() { String::new() } else { format!(" on port {port}") };
                section.notes.push(format!("is not published{at}: a stack has one balancer"));
            }
        }
    }

    fn in_place_of(&self, own: &str, proxy: &Service, service: Name, others: &[String]) -> draft::Balancer {
        let mut notes = vec![format!("in place of {own}: its own configuration is not adopted")];
        if !others.is_empty() {
            notes.push(format!("{own} also routes to {}, which this one does not", others.join(", ")));
        }
        let published = proxy.ports.iter().find_map(|port| port.published.clone()).unwrap_or_default();
        draft::Balancer { notes, service, port: self.front_port(&published) }
    }

    fn front_port(&self, published: &str) -> String {
        let own = if published.is_empty() { crate::adopt::BALANCER_PORT.to_string() } else { published.to_owned() };
        self.input.balancer_port.map_or(own, |port| port.to_string())
    }

    /// Takes the port from EXPOSE where somebody needs one, and gives each service a port of its own.
    fn ports(&mut self) {
        let used: BTreeSet<Name> = self.draft.services.values().flat_map(|service| service.uses.clone()).collect();
        let front = self.draft.balancer.as_ref().map(|balancer| balancer.service.clone());
        let mut taken = BTreeSet::new();
        let mut moved = Vec::new();
        // The one that requests come to keeps its port.
        let mut order: Vec<Name> = self.draft.services.keys().cloned().collect();
        order.sort_by_key(|name| Some(name) != front.as_ref());
        for name in order {
            let own = self
                .names
                .iter()
                .find(|(_, other)| **other == name)
                .map(|(own, _)| (*own).to_owned())
                .unwrap_or_default();
            let Some(section) = self.draft.services.get_mut(&name) else { continue };
            if section.port.is_none()
                && (used.contains(&name) || front.as_ref() == Some(&name) || section.ready.is_some())
            {
                let exposed = self.images.get(own.as_str()).and_then(|image| image.ports.first().map(u16::to_string));
                let usual = section.image.as_deref().map(servers::repository);
                let usual = PORTS
                    .iter()
                    .find(|(image, _)| usual.as_deref() == Some(*image))
                    .map(|(_, port)| (*port).to_owned());
                section.port = exposed.or(usual);
            }
            let Some(port) = section.port.clone() else { continue };
            if !taken.insert(port.clone())
                && let Ok(number) = port.parse::<u16>()
            {
                let free = (number..u16::MAX).map(|port| port.to_string()).find(|port| !taken.contains(port));
                let free = free.unwrap_or_default();
                taken.insert(free.clone());
                move_port(section, &port, &free);
                moved.push((format!("{name}:{port}"), format!("{name}:{free}")));
            }
        }
        for text in self.draft.services.values_mut().flat_map(|section| section.env.values_mut()) {
            for (from, to) in &moved {
                *text = fields::moved(text, from, to);
            }
        }
    }

    /// Drops what cannot be used: services without a port, and a balancer before one.
    fn uses(&mut self) {
        let without: BTreeSet<Name> = self
            .draft
            .services
            .iter()
            .filter(|(_, service)| service.port.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        for section in self.draft.services.values_mut() {
            for gone in section.uses.intersection(&without).cloned().collect::<Vec<_>>() {
                section.uses.remove(&gone);
                section.notes.push(format!("does not wait for {gone}, which has no port"));
            }
            if section.port.is_none() && section.ready.take().is_some() {
                section.notes.push("its health check is not adopted, because its port is not known".to_owned());
            }
        }
        if let Some(balancer) = self.draft.balancer.take_if(|balancer| without.contains(&balancer.service)) {
            self.draft.notes.push(format!("no balancer: the port of {} is not known", balancer.service));
        }
    }

    /// An address in `.env` means a server that runs elsewhere.
    fn external(&mut self) {
        for server in &self.servers {
            let Some(variable) = server.variable.as_deref() else { continue };
            let is_set = self.secrets.value(variable).is_some_and(|value| !value.is_empty());
            if let Some(section) = self.draft.backing.get_mut(&server.name).filter(|_| is_set) {
                section.notes.push(format!(
                    "{variable} is set in .env or in the environment, so that server is used and none is run: remove it to run this one"
                ));
            }
        }
    }
}
