//! From a stack to the processes that run it: pure, so that the result is compared as text in tests.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use super::environment::Environment;
use super::places::Places;
use super::protocol::Process;
use crate::backing::{Resolved, Substitute, address_variable};
use crate::engine::given::{Variables, hash, keyed_digest};
use crate::engine::{BalancerId, DesiredBalancer, Fingerprint};
use crate::error::Failure;
use crate::stack::{Job, SecretDelivery, Service, Stack};
use crate::units::Name;

/// Everything outside the stack that its processes depend on.
pub struct Input<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// Its backing services.
    pub backing: BTreeMap<Name, Resolved<'a>>,
    /// Where data is kept.
    pub places: &'a Places,
    /// The environments that services run in, by service.
    pub environments: BTreeMap<Name, Environment>,
    /// Hash of each service's source.
    pub sources: BTreeMap<Name, String>,
    /// Key of the digest of secrets.
    pub digest_key: [u8; 32],
    /// What every process is given of the environment of the command: PATH, HOME and the like.
    pub base: BTreeMap<String, String>,
}

/// What runs, and what people should know of it.
#[derive(Debug, Default)]
pub struct Specs {
    /// A process and its fingerprint per service.
    pub services: BTreeMap<Name, (Process, Fingerprint)>,
    /// A process and its digest per job.
    pub jobs: BTreeMap<Name, (Process, String)>,
    /// Volumes that a job's data is on.
    pub job_volumes: BTreeMap<Name, Vec<Name>>,
    /// Volumes of substitutes, and the file in each that identifies it.
    pub volumes: BTreeMap<Name, PathBuf>,
    /// Balancers.
    pub balancers: Vec<DesiredBalancer>,
    /// What this engine leaves out or does otherwise, in sentences.
    pub notes: Vec<String>,
}

/// The processes of a stack.
///
/// # Errors
///
/// When a service cannot run as a process.
pub fn specs(input: &Input<'_>) -> Result<Specs, Failure> {
    let mut specs = Specs { balancers: balancers(input.stack)?, ..Specs::default() };
    for (name, backing) in &input.backing {
        substitute(name, backing, input.places, &mut specs);
    }
    for (name, service) in &input.stack.services {
        let (process, fingerprint) = process(input, name, service)?;
        if service.autoscale.is_some() {
            specs
                .notes
                .push(format!("{name}: autoscale is for Kubernetes; here it runs {} replicas", service.replicas.0));
        }
        specs.services.insert(name.clone(), (process, fingerprint));
    }
    for (name, job) in &input.stack.jobs {
        specs.job(name, job, input.stack);
    }
    Ok(specs)
}

impl Specs {
    fn job(&mut self, name: &Name, job: &Job, stack: &Stack) {
        let Some((service, fingerprint)) = self.services.get(&job.service) else { return };
        let mut process = service.clone();
        process.command.clone_from(&job.command);
        process.listens = false;
        process.check = None;
        let fingerprint = Fingerprint { spec: hash(&json!([fingerprint.spec, job.command])), ..fingerprint.clone() };
        self.jobs.insert(name.clone(), (process, fingerprint.digest()));
        let uses = stack.services.get(&job.service).map(|s| s.uses.as_slice()).unwrap_or_default();
        let volumes = uses.iter().filter(|used| self.volumes.contains_key(*used)).cloned().collect();
        self.job_volumes.insert(name.clone(), volumes);
    }
}

/// The stack's own balancer, and one for each service that others use: an address that does not change with its
/// replicas.
///
/// # Errors
///
/// When two of them would have the same port.
fn balancers(stack: &Stack) -> Result<Vec<DesiredBalancer>, Failure> {
    let front = stack.balancer.iter().map(|b| DesiredBalancer {
        id: BalancerId::Front,
        service: b.service.clone(),
        port: b.port.0,
        fingerprint: Fingerprint::default(),
        environment: None,
    });
    let used = stack.services.iter().filter(|(name, _)| stack.services.values().any(|s| s.uses.contains(name)));
    let mut all: Vec<DesiredBalancer> = front.collect();
    for (name, service) in used {
        let Some(port) = service.port.map(|port| port.0) else { continue };
        match all.iter().find(|other| other.port == port) {
            // The stack's own balancer is an address of this service as well.
            Some(other) if &other.service == name => {}
            Some(_) => {
                let what = format!(
                    "services.{name}.port: {port} is also the balancer's, and other services reach {name} on it"
                );
                return Err(Failure::usage(what).hint("give one of them another port"));
            }
            None => all.push(DesiredBalancer {
                id: BalancerId::Service(name.clone()),
                service: name.clone(),
                port,
                fingerprint: Fingerprint::default(),
                environment: None,
            }),
        }
    }
    Ok(all)
}

/// What stands in for a backing service.
fn substitute(name: &Name, backing: &Resolved<'_>, places: &Places, specs: &mut Specs) {
    if backing.external.is_some() {
        return;
    }
    match &backing.entry.substitute {
        Substitute::File { file, .. } => {
            specs.volumes.insert(name.clone(), places.volume(name).join(file));
        }
        Substitute::InProcess => {}
        Substitute::LeftOut { reason } => specs.notes.push(format!("{name} is left out: {reason}")),
    }
}

fn process(input: &Input<'_>, name: &Name, service: &Service) -> Result<(Process, Fingerprint), Failure> {
    let Some(build) = &service.build else {
        let image = service.image.as_deref().unwrap_or("?");
        return Err(Failure::usage(format!(
            "services.{name}: the local engine runs no images, and this one is {image}"
        ))
        .hint("give it `build`, `runtime` and `command`, or use an engine with containers"));
    };
    let Some(command) = &service.command else {
        return Err(Failure::usage(format!("services.{name}.command: the local engine needs the program to run"))
            .hint(r#"for example: command = ["python", "-m", "app"]"#));
    };
    let mut given = Variables::default();
    if let Some(environment) = input.environments.get(name) {
        given.plain.extend(environment.variables.iter().cloned());
    }
    for used in &service.uses {
        address_of(&mut given, used, input)?;
    }
    for (variable, value) in &service.env {
        given.set(variable, value);
    }
    let fingerprint = Fingerprint {
        spec: hash(&json!({
            "command": command, "directory": build.context, "variables": given.plain,
            "secrets": given.secret.keys().collect::<Vec<_>>(), "delivery": service.secrets,
            "check": check(service), "stop_timeout": service.stop_timeout,
        })),
        source: input.sources.get(name).cloned().unwrap_or_default(),
        environment: input.environments.get(name).map(|e| e.key.clone()).unwrap_or_default(),
        secrets: keyed_digest(
            &input.digest_key,
            given.secret.iter().map(|(name, text)| (name.as_str(), text.as_str())),
        ),
    };
    let process = Process {
        command: command.clone(),
        directory: input.stack.root.join(&build.context),
        variables: input.base.clone().into_iter().chain(given.plain).collect(),
        secrets: given.secret,
        secret_files: service.secrets == SecretDelivery::Files,
        listens: service.port.is_some(),
        check: check(service),
        stop_timeout: service.stop_timeout.0,
    };
    Ok((with_path(process, input.environments.get(name)), fingerprint))
}

fn check(service: &Service) -> Option<String> {
    service.ready.clone().or_else(|| service.health.clone())
}

/// Puts the environment's programs before those of the machine.
fn with_path(mut process: Process, environment: Option<&Environment>) -> Process {
    let Some(environment) = environment else { return process };
    let path = process.variables.get("PATH").cloned().unwrap_or_default();
    let folders = environment.path_prefix.iter().map(|p| p.to_string_lossy().into_owned()).chain([path]);
    process.variables.insert("PATH".to_owned(), folders.collect::<Vec<_>>().join(":"));
    process
}

/// The address of something that the service uses.
fn address_of(given: &mut Variables, used: &Name, input: &Input<'_>) -> Result<(), Failure> {
    if let Some(service) = input.stack.services.get(used) {
        let port = service.port.ok_or_else(|| {
            Failure::usage(format!("services.{used}: it is used by another service, but has no port"))
        })?;
        given.plain.insert(address_variable(used), format!("http://127.0.0.1:{}", port.0));
        return Ok(());
    }
    let Some(backing) = input.backing.get(used) else { return Ok(()) };
    match (&backing.variable, &backing.external, &backing.entry.substitute) {
        (Some(variable), Some(external), _) => given.set(variable, external),
        (Some(variable), None, Substitute::File { file, url }) => {
            let path = input.places.volume(used).join(file);
            given.plain.insert(variable.clone(), url.replace("{path}", &path.to_string_lossy()));
        }
        _ => {}
    }
    Ok(())
}

/// What processes are given of the command's own environment: what names the user, the machine's language and time, its
/// programs and its way out. Everything else comes from the file, so that a stack does not depend on the shell it was
/// started from.
pub fn base_variables(all: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    const NAMES: [&str; 15] = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "XDG_CACHE_HOME",
        "XDG_RUNTIME_DIR",
    ];
    let wanted = |name: &str| {
        NAMES.contains(&name)
            || name.starts_with("LC_")
            || ["http_proxy", "https_proxy", "no_proxy", "all_proxy"].contains(&name.to_lowercase().as_str())
    };
    all.filter(|(name, _)| wanted(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Identity;
    use crate::stack::{self, Variables};

    const FILE: &str = r#"
[project]
name = "shop"
[services.api]
build = "."
command = ["python", "-m", "app"]
port = 8000
ready = "/ready"
uses = ["postgres", "redis"]
env = { LOG_LEVEL = "info", JWT_SECRET = "${JWT_SECRET}" }
[services.web]
build = "web"
command = ["node", "server.js"]
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
[backing.prometheus]
"#;

    fn specs_with(env: &[(&str, &str)], environment: &Environment) -> Specs {
        let dot_env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let stack =
            stack::parse(FILE, std::path::Path::new("/shop"), Variables::new(dot_env, BTreeMap::new())).unwrap();
        let identity = Identity { project: "shop".parse().unwrap(), root: "/shop".into() };
        let places = Places::of(&identity).unwrap();
        specs(&Input {
            stack: &stack,
            backing: crate::backing::resolve(&stack),
            places: &places,
            environments: [("api".parse().unwrap(), environment.clone())].into(),
            sources: BTreeMap::new(),
            digest_key: [7; 32],
            base: base_variables([("PATH", "/bin"), ("HOME", "/home/ada"), ("AWS_KEY", "x")].map(own).into_iter()),
        })
        .unwrap()
    }

    fn own((name, value): (&str, &str)) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    fn service<'s>(specs: &'s Specs, name: &str) -> &'s (Process, Fingerprint) {
        &specs.services[&name.parse::<Name>().unwrap()]
    }

    #[test]
    fn a_service_is_given_its_addresses_its_environment_and_nothing_of_the_shell() {
        let environment = Environment { path_prefix: vec!["/envs/a/bin".into()], ..Environment::default() };
        let specs = specs_with(&[("JWT_SECRET", "s3cret")], &environment);
        let (api, _) = service(&specs, "api");
        let variables: Vec<_> = api.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = [
            "DATABASE_URL=sqlite:////shop/.scalectl/volumes/postgres/app.db",
            "HOME=/home/ada",
            "LOG_LEVEL=info",
            "PATH=/envs/a/bin:/bin",
        ];
        assert_eq!(variables, expected);
        assert_eq!(api.secrets, [own(("JWT_SECRET", "s3cret"))].into());
        assert!(api.secret_files && api.listens);
        assert_eq!(api.check.as_deref(), Some("/ready"));
        let (web, _) = service(&specs, "web");
        assert_eq!(web.variables["API_URL"], "http://127.0.0.1:8000");
        assert_eq!(web.directory, PathBuf::from("/shop/web"));
        assert!(!web.secret_files);
    }

    #[test]
    fn a_service_that_others_use_has_a_balancer_on_its_own_port() {
        let specs = specs_with(&[("JWT_SECRET", "x")], &Environment::default());
        let ports: Vec<_> = specs.balancers.iter().map(|b| (b.id.to_string(), b.port)).collect();
        assert_eq!(ports, [("balancer".to_owned(), 8080), ("balancer of api".to_owned(), 8000)]);
    }

    #[test]
    fn a_job_runs_in_its_service_s_environment_and_remembers_its_volumes() {
        let specs = specs_with(&[("JWT_SECRET", "x")], &Environment::default());
        let migrate = "migrate".parse::<Name>().unwrap();
        let (process, digest) = &specs.jobs[&migrate];
        assert_eq!(process.command, ["python", "-m", "app.migrate"]);
        assert!(!process.listens && process.check.is_none());
        assert_ne!(*digest, service(&specs, "api").1.digest());
        assert_eq!(specs.job_volumes[&migrate], ["postgres".parse::<Name>().unwrap()]);
        assert!(specs.notes.iter().any(|note| note.starts_with("prometheus is left out: ")), "{:?}", specs.notes);
    }

    #[test]
    fn an_external_database_is_a_secret_and_needs_no_volume() {
        let url = "postgresql://shop:pw@db/shop";
        let specs = specs_with(&[("JWT_SECRET", "x"), ("DATABASE_URL", url)], &Environment::default());
        let (api, _) = service(&specs, "api");
        assert_eq!(api.secrets["DATABASE_URL"], url);
        assert!(!api.variables.contains_key("DATABASE_URL") && specs.volumes.is_empty());
    }

    #[test]
    fn a_fingerprint_says_which_part_changed_and_holds_no_secret() {
        let one = specs_with(&[("JWT_SECRET", "one")], &Environment::default());
        let two = specs_with(&[("JWT_SECRET", "two")], &Environment::default());
        let (old, new) = (&service(&one, "api").1, &service(&two, "api").1);
        assert_eq!(old.changes(new), ["its secrets changed"]);
        let other = specs_with(&[("JWT_SECRET", "one")], &Environment { key: "k2".into(), ..Environment::default() });
        assert_eq!(old.changes(&service(&other, "api").1), ["its environment changed"]);
        assert!(!format!("{old:?}{:?}", service(&one, "api").0).contains("one"));
    }
}
