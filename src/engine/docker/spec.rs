//! From a stack to the containers that run it: pure, so that the result is compared as text in tests.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::balancer::IMAGE as BALANCER_IMAGE;
use super::labels::{self, Names};
use crate::backing::{self, FileText, Login, Resolved};
use crate::engine::given::{Variables, hash, keyed_digest};
use crate::engine::{BalancerId, Fingerprint};
use crate::error::Failure;
use crate::stack::{Job, Resources, SecretDelivery, Service, Stack};
use crate::units::Name;

/// Where a container finds its files: configuration and secrets.
pub use crate::backing::FILES;

/// Where a balancer finds its configuration, which changes while it runs.
pub const BALANCER_CONFIG: &str = "/etc/scalectl";

/// How a folder in memory is mounted. Without a size it may grow to half of the machine's memory: a program that fills it
/// would meet its memory limit, or the machine its own, instead of a full disk.
pub const TMPFS: &str = "mode=1777,size=256m";

/// Everything outside the stack that its containers depend on.
pub struct Input<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// Its backing services.
    pub backing: BTreeMap<Name, Resolved<'a>>,
    /// The project's files that its backing services are given.
    pub project_files: BTreeMap<Name, BTreeMap<String, String>>,
    /// Hash of what each service is built from: files, arguments, target, base images.
    pub sources: BTreeMap<Name, String>,
    /// Ids of the images that the engine has, by reference.
    pub images: BTreeMap<String, String>,
    /// Key of the digest of secrets.
    pub digest_key: [u8; 32],
}

/// A container, before it has a name.
#[derive(Debug, Clone, Serialize)]
pub struct Container {
    /// Image reference.
    pub image: String,
    /// Command instead of the image's.
    pub command: Option<Vec<String>>,
    /// Environment, without secrets unless the service asked for them there.
    pub environment: BTreeMap<String, String>,
    /// Files below [`FILES`].
    pub files: BTreeMap<String, FileText>,
    /// Who reads the files, if it is not the image's user.
    pub owner: Option<String>,
    /// Fixed host name; the container's own name unless given.
    pub hostname: Option<String>,
    /// Further names on the project's network.
    pub aliases: Vec<String>,
    /// Ports that are reached from this machine.
    pub ports: Vec<PublishedPort>,
    /// Volumes by the folder they are mounted on.
    pub volumes: BTreeMap<String, String>,
    /// Folders in memory.
    pub tmpfs: Vec<String>,
    /// Nothing but volumes and folders in memory can be written.
    pub read_only: bool,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<u64>,
    /// Limits.
    pub resources: Option<Resources>,
    /// Command inside that succeeds once it serves.
    pub health: Option<Vec<String>>,
    /// Port and path of the readiness check.
    pub check: Option<(u16, String)>,
    /// Signal that ends it, if not the image's.
    pub stop_signal: Option<String>,
    /// How long it may take to end.
    pub stop_timeout: Duration,
}

impl Container {
    /// A container of an image, with nothing that is not the image's own.
    pub fn new(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            command: None,
            environment: BTreeMap::new(),
            files: BTreeMap::new(),
            owner: None,
            hostname: None,
            aliases: Vec::new(),
            ports: Vec::new(),
            volumes: BTreeMap::new(),
            tmpfs: Vec::new(),
            read_only: false,
            shm_size: None,
            resources: None,
            health: None,
            check: None,
            stop_signal: None,
            stop_timeout: Duration::from_secs(30),
        }
    }
}

/// A port of a container that is reached from this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PublishedPort {
    /// Inside.
    pub container: u16,
    /// On the loopback interface; any free one unless given.
    pub host: Option<u16>,
}

/// A balancer: its container, and what its configuration says besides its members.
#[derive(Debug, Clone, Serialize)]
pub struct BalancerSpec {
    /// Its container.
    pub container: Container,
    /// The service whose replicas are its members.
    pub service: Name,
    /// The port of its members.
    pub port: u16,
    /// The path at which a member says that it is ready.
    pub check: Option<String>,
    /// The ports it listens on inside the network.
    pub listen: Vec<u16>,
    /// The port on the loopback interface.
    pub published: u16,
    /// How long requests of a leaving member may take.
    pub drain: Duration,
    /// What it is made from.
    pub fingerprint: Fingerprint,
}

/// How an image comes to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Built from the source of this service.
    Build(Name),
    /// Pulled.
    Pull,
}

/// What runs, and what people should know of it.
#[derive(Debug, Default, Serialize)]
pub struct Specs {
    /// Images by reference.
    pub images: BTreeMap<String, Origin>,
    /// A container and its fingerprint per service of the project's own code.
    pub services: BTreeMap<Name, (Container, Fingerprint)>,
    /// A container and its fingerprint per backing service.
    pub backing: BTreeMap<Name, (Container, Fingerprint)>,
    /// A container and its fingerprint per job.
    pub jobs: BTreeMap<Name, (Container, Fingerprint)>,
    /// The backing services that a job's service uses: they must be ready, and their data is what it works on.
    pub job_uses: BTreeMap<Name, Vec<Name>>,
    /// Backing services with data: the folder that it is in, and the image that writes it.
    pub volumes: BTreeMap<Name, String>,
    /// How backing services with data are asked whether it knows the password of `.env`.
    pub logins: BTreeMap<Name, Login>,
    /// Balancers.
    pub balancers: BTreeMap<BalancerId, BalancerSpec>,
    /// What this engine leaves out or does otherwise, in sentences.
    pub notes: Vec<String>,
}

/// The containers of a stack.
///
/// # Errors
///
/// When a service cannot run as a container, or a secret is missing.
pub fn specs(input: &Input<'_>) -> Result<Specs, Failure> {
    let mut specs = Specs::default();
    for (name, resolved) in input.backing.iter().filter(|(_, resolved)| resolved.external.is_none()) {
        specs.backing_service(input, name, resolved)?;
    }
    for (name, service) in &input.stack.services {
        specs.service(input, name, service)?;
    }
    for (name, job) in &input.stack.jobs {
        specs.job(input, name, job);
    }
    specs.balancers(input)?;
    Ok(specs)
}

impl Specs {
    fn backing_service(&mut self, input: &Input<'_>, name: &Name, resolved: &Resolved<'_>) -> Result<(), Failure> {
        let names = Names(&input.stack.project.name);
        let none = BTreeMap::new();
        let found = backing::container(input.stack, resolved, input.project_files.get(name).unwrap_or(&none))?;
        let container = Container {
            command: found.command,
            environment: found.environment,
            files: found.files,
            owner: found.owner,
            hostname: found.hostname,
            aliases: vec![name.to_string()],
            ports: vec![PublishedPort { container: found.port, host: None }],
            volumes: found.volume.iter().map(|folder| (folder.clone(), names.volume(name))).collect(),
            tmpfs: found.tmpfs,
            read_only: found.read_only,
            shm_size: found.shm_size,
            resources: found.resources,
            health: Some(found.health),
            stop_signal: found.stop_signal,
            stop_timeout: found.stop_timeout,
            ..Container::new(found.image)
        };
        if found.volume.is_some() {
            self.volumes.insert(name.clone(), container.image.clone());
            self.logins.extend(found.login.map(|login| (name.clone(), login)));
        }
        self.images.insert(container.image.clone(), Origin::Pull);
        let fingerprint = fingerprint(input, &container, image_source(input, &container.image));
        self.backing.insert(name.clone(), (container, fingerprint));
        Ok(())
    }

    fn service(&mut self, input: &Input<'_>, name: &Name, service: &Service) -> Result<(), Failure> {
        let stack = input.stack;
        let (image, source) = match (&service.build, &service.image) {
            (Some(_), _) => {
                let source = input.sources.get(name).cloned().unwrap_or_default();
                let image = Names(&stack.project.name).image(&source);
                self.images.entry(image.clone()).or_insert_with(|| Origin::Build(name.clone()));
                (image, source)
            }
            (None, Some(image)) => {
                self.images.insert(image.clone(), Origin::Pull);
                (image.clone(), image_source(input, image))
            }
            (None, None) => return Err(Failure::usage(format!("services.{name}: it has neither build nor image"))),
        };
        if service.autoscale.is_some() {
            let replicas = service.replicas.0;
            self.notes.push(format!("{name}: autoscale is for Kubernetes; here it runs {replicas} replicas"));
        }
        let mut given = Variables::default();
        if let Some(port) = service.port {
            given.plain.insert("PORT".to_owned(), port.0.to_string());
            given.plain.insert("HOST".to_owned(), "0.0.0.0".to_owned());
        }
        for used in &service.uses {
            address_of(&mut given, used, input)?;
        }
        for (variable, value) in &service.env {
            given.set(variable, value);
        }
        let mut container = Container {
            command: service.command.clone(),
            aliases: vec![labels::replicas_host(name)],
            ports: service.port.iter().map(|port| PublishedPort { container: port.0, host: None }).collect(),
            resources: service.resources.clone(),
            read_only: service.read_only,
            tmpfs: service.read_only.then(|| "/tmp".to_owned()).into_iter().collect(),
            check: check(service),
            stop_timeout: service.stop_timeout.0,
            ..Container::new(image)
        };
        deliver(given, service.secrets, &mut container);
        let fingerprint = fingerprint(input, &container, source);
        self.services.insert(name.clone(), (container, fingerprint));
        Ok(())
    }

    fn job(&mut self, input: &Input<'_>, name: &Name, job: &Job) {
        let Some((service, fingerprint)) = self.services.get(&job.service) else { return };
        let container = Container {
            command: Some(job.command.clone()),
            aliases: Vec::new(),
            ports: Vec::new(),
            check: None,
            ..service.clone()
        };
        let fingerprint = Fingerprint { spec: hash(&json!([fingerprint.spec, job.command])), ..fingerprint.clone() };
        self.jobs.insert(name.clone(), (container, fingerprint));
        let uses = input.stack.services.get(&job.service).map(|s| s.uses.as_slice()).unwrap_or_default();
        let uses = uses.iter().filter(|used| self.backing.contains_key(*used)).cloned().collect();
        self.job_uses.insert(name.clone(), uses);
    }

    /// The stack's own balancer, and one for each service that others use: an address that does not change with its
    /// replicas.
    fn balancers(&mut self, input: &Input<'_>) -> Result<(), Failure> {
        let stack = input.stack;
        let used = |name: &Name| stack.services.values().any(|s| s.uses.contains(name));
        let drain = stack.balancer.as_ref().map_or(Duration::from_secs(30), |b| b.drain.0);
        if let Some(front) = &stack.balancer {
            let Some(port) = stack.services.get(&front.service).and_then(|s| s.port) else { return Ok(()) };
            let own = Some(port.0).filter(|_| used(&front.service));
            self.balancer(input, BalancerId::Front, &front.service, port.0, front.port.0, own, drain);
        }
        for (name, service) in stack.services.iter().filter(|(name, _)| used(name)) {
            if stack.balancer.as_ref().is_some_and(|front| &front.service == name) {
                continue;
            }
            let Some(port) = service.port else {
                let what = format!("services.{name}: it is used by another service, but has no port");
                return Err(Failure::usage(what));
            };
            let id = BalancerId::Service(name.clone());
            self.balancer(input, id, name, port.0, port.0, Some(port.0), drain);
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "each is one field of the balancer")]
    fn balancer(
        &mut self,
        input: &Input<'_>,
        id: BalancerId,
        service: &Name,
        port: u16,
        published: u16,
        own: Option<u16>,
        drain: Duration,
    ) {
        let names = Names(&input.stack.project.name);
        let command = ["nginx", "-c", "/etc/scalectl/nginx.conf", "-g", "daemon off;"].map(str::to_owned).to_vec();
        let mut listen = vec![published];
        listen.extend(own.filter(|own| *own != published));
        let container = Container {
            command: Some(command),
            aliases: own.map(|_| service.to_string()).into_iter().collect(),
            ports: vec![PublishedPort { container: published, host: Some(published) }],
            volumes: [(BALANCER_CONFIG.to_owned(), names.balancer_volume(&id))].into(),
            tmpfs: ["/tmp", "/run", "/var/cache/nginx"].map(str::to_owned).to_vec(),
            read_only: true,
            stop_timeout: drain,
            ..Container::new(BALANCER_IMAGE)
        };
        self.images.insert(container.image.clone(), Origin::Pull);
        let mut fingerprint = fingerprint(input, &container, image_source(input, &container.image));
        fingerprint.spec = hash(&json!([fingerprint.spec, port, listen]));
        let check = input.stack.services.get(service).and_then(check).map(|(_, path)| path);
        let spec =
            BalancerSpec { container, service: service.clone(), port, check, listen, published, drain, fingerprint };
        self.balancers.insert(id, spec);
    }
}

/// Where a replica is asked whether it is ready.
fn check(service: &Service) -> Option<(u16, String)> {
    let path = service.ready.clone().or_else(|| service.health.clone())?;
    Some((service.port?.0, path))
}

/// The id of an image, so that a pulled newer one is seen as a change; of one that is not there yet nothing is known.
fn image_source(input: &Input<'_>, image: &str) -> String {
    input.images.get(image).cloned().unwrap_or_default()
}

/// The address of something that the service uses.
fn address_of(given: &mut Variables, used: &Name, input: &Input<'_>) -> Result<(), Failure> {
    if let Some(service) = input.stack.services.get(used) {
        let port = service.port.ok_or_else(|| {
            Failure::usage(format!("services.{used}: it is used by another service, but has no port"))
        })?;
        given.plain.insert(backing::address_variable(used), format!("http://{used}:{}", port.0));
        return Ok(());
    }
    let Some(resolved) = input.backing.get(used) else { return Ok(()) };
    let address = match &resolved.external {
        Some(external) => Some(external.clone()),
        None => backing::address(input.stack, resolved)?,
    };
    if let (Some(variable), Some(address)) = (&resolved.variable, address) {
        given.set(variable, &address);
    }
    Ok(())
}

fn deliver(given: Variables, delivery: SecretDelivery, container: &mut Container) {
    container.environment.extend(given.plain);
    for (variable, text) in given.secret {
        match delivery {
            SecretDelivery::Env => {
                container.environment.insert(variable, text);
            }
            SecretDelivery::Files => {
                container.environment.insert(format!("{variable}_FILE"), format!("{FILES}/{variable}"));
                container.files.insert(variable, FileText { text, secret: true });
            }
        }
    }
}

/// What a container is made from. The texts of files are secrets, or may hold some: they are in the keyed digest.
fn fingerprint(input: &Input<'_>, container: &Container, source: String) -> Fingerprint {
    let visible = Container { files: BTreeMap::new(), image: String::new(), ..container.clone() };
    let names: Vec<_> = container.files.keys().collect();
    Fingerprint {
        spec: hash(&json!([visible, names])),
        source,
        environment: String::new(),
        secrets: files_digest(&input.digest_key, &container.files),
    }
}

/// The keyed digest of files.
pub fn files_digest(key: &[u8; 32], files: &BTreeMap<String, FileText>) -> String {
    keyed_digest(key, files.iter().map(|(name, file)| (name.as_str(), file.text.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::{self, Variables};

    const FILE: &str = r#"
[project]
name = "shop"
[services.api]
build = "."
port = 8000
replicas = 3
ready = "/ready"
uses = ["postgres", "redis"]
env = { LOG_LEVEL = "info", JWT_SECRET = "${JWT_SECRET}" }
resources = { cpu = "250m", memory = "256Mi" }
autoscale = { min = 3, max = 10, cpu = 70 }
[services.web]
image = "registry.example/web:1.2"
port = 8001
uses = ["api"]
secrets = "env"
[jobs.migrate]
service = "api"
command = ["python", "-m", "app.migrate"]
before = ["api"]
[balancer]
service = "web"
port = 8080
[backing.postgres]
[backing.redis]
"#;

    const SECRETS: [(&str, &str); 3] =
        [("POSTGRES_PASSWORD", "pg-s3cret"), ("REDIS_PASSWORD", "redis-s3cret"), ("JWT_SECRET", "jwt-s3cret")];

    fn specs_with(secrets: &[(&str, &str)]) -> Specs {
        let dot_env = secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let variables = Variables::new(dot_env, BTreeMap::new());
        let stack = stack::parse(FILE, std::path::Path::new("/shop"), variables).unwrap();
        let input = Input {
            stack: &stack,
            backing: backing::resolve(&stack),
            project_files: BTreeMap::new(),
            sources: [("api".parse().unwrap(), "0123456789abcdef".to_owned())].into(),
            images: [("redis:8".to_owned(), "sha256:1".to_owned())].into(),
            digest_key: [7; 32],
        };
        specs(&input).unwrap()
    }

    #[test]
    fn a_stack_as_containers_holds_no_secret_in_its_text() {
        let specs = specs_with(&SECRETS);
        let balancers: Vec<_> = specs.balancers.iter().map(|(id, spec)| (id.to_string(), spec)).collect();
        let text = serde_json::to_string_pretty(&json!({
            "images": specs.images, "services": specs.services, "backing": specs.backing, "jobs": specs.jobs,
            "volumes": specs.volumes, "balancers": balancers, "notes": specs.notes,
        }))
        .unwrap();
        for (_, secret) in SECRETS {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        insta::with_settings!({ snapshot_path => "../../../tests/golden/docker", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!("containers", text);
        });
    }

    #[test]
    fn a_changed_secret_changes_who_was_given_it_and_nobody_else() {
        let before = specs_with(&SECRETS);
        let mut changed = SECRETS;
        changed[2].1 = "another";
        let after = specs_with(&changed);
        let changes = |name: &str| {
            let name: Name = name.parse().unwrap();
            before.services[&name].1.changes(&after.services[&name].1)
        };
        assert_eq!(changes("api"), ["its secrets changed"]);
        assert_eq!(changes("web"), [""; 0]);
    }
}
