//! The way out: the containers of a stack as a compose file (Compose Spec), for those who go on without scalectl.
//!
//! Made from a stack that was loaded with symbols in the place of its secrets ([`crate::stack::load_symbolic`]): the
//! file names `.env`'s variables, and compose reads them. What compose cannot do is told in notes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::balancer::{self, BalancerConfig};
use super::labels;
use super::spec::{self, BalancerSpec, Container, Input, Specs};
use crate::backing::{self, FILES, FileText};
use crate::engine::BalancerId;
use crate::error::Failure;
use crate::stack::{Build, Runtime, Service, Stack, Variables, as_symbol, replace_symbols};
use crate::units::Name;

/// How often compose has containers ask whether they serve: others wait for the answer.
const HEALTH_INTERVAL: &str = "2s";
const HEALTH_TIMEOUT: &str = "5s";
const HEALTH_START: &str = "60s";
/// So many failures that a short overload is none.
const HEALTH_RETRIES: u32 = 5;

/// Docker's own name server on every user network.
const RESOLVER: &str = "resolver 127.0.0.11 valid=1s ipv6=off;\n";

/// A compose file, and what people should know of it.
#[derive(Debug)]
pub struct Compose {
    /// What the file says.
    pub document: Value,
    /// What is different from `scalectl up`, in sentences.
    pub notes: Vec<String>,
}

impl Compose {
    /// The file's text.
    ///
    /// # Errors
    ///
    /// When it cannot be written as YAML.
    pub fn yaml(&self) -> Result<String, Failure> {
        let document = serde_saphyr::to_string(&self.document)
            .map_err(|error| Failure::failed(format!("cannot write YAML: {error}")))?;
        let notes: String = self.notes.iter().map(|note| format!("# - {note}\n")).collect();
        Ok(format!(
            "# Written by `scalectl manifests --engine docker`. It belongs beside scalectl.toml: its paths start there, and\n\
             # compose reads the secrets from the .env there. `docker compose -f FILE up --wait` brings it up.\n{notes}{document}"
        ))
    }
}

/// The compose file of a stack that was loaded with symbols; `values` has what they stand for, and is only looked at for
/// what compose could not write.
///
/// # Errors
///
/// When a service cannot run as a container, a secret is missing, or a file of the project cannot be read.
pub fn of(stack: &Stack, values: &Variables) -> Result<Compose, Failure> {
    let backing = backing::resolve(stack);
    let own_files = |(name, resolved): (&Name, &backing::Resolved<'_>)| {
        Ok::<_, Failure>((name.clone(), backing::project_files(stack, resolved)?))
    };
    let project_files = backing.iter().map(own_files).collect::<Result<_, _>>()?;
    let input =
        Input { stack, backing, project_files, sources: tags(stack), images: BTreeMap::new(), digest_key: [0; 32] };
    let mut compose = render(stack, spec::specs(&input)?)?;
    compose.notes.extend(unfit_for_urls(&compose.document, values));
    Ok(compose)
}

/// A tag per service that is built; services with the same build share the first one's.
fn tags(stack: &Stack) -> BTreeMap<Name, String> {
    let built = |name: &Name| stack.services.get(name)?.build.as_ref();
    let first = |build: &Build| stack.services.keys().find(|name| built(name) == Some(build));
    let tagged = stack.services.keys().filter_map(|name| Some((name.clone(), first(built(name)?)?.to_string())));
    tagged.collect()
}

/// Says which secrets stand in URLs as they are, although a URL cannot hold them so.
fn unfit_for_urls(document: &Value, values: &Variables) -> Vec<String> {
    let each = |section: &str| document[section].as_object().into_iter().flat_map(Map::values);
    let contents = each("configs").map(|config| &config["content"]);
    let variables = each("services").filter_map(|service| service["environment"].as_object()).flat_map(Map::values);
    let urls = contents.chain(variables).filter_map(Value::as_str).filter(|content| is_url(content));
    let mut named: Vec<_> = urls.flat_map(variables_of).filter(|name| !fits_url(name, values)).collect();
    named.sort();
    named.dedup();
    let note =
        |name| format!("{name} has characters that compose cannot encode in a URL: use letters, digits and -._~");
    named.into_iter().map(note).collect()
}

/// The variables of a text as [`text`] writes them.
fn variables_of(content: &str) -> impl Iterator<Item = String> {
    content.split("${").skip(1).filter_map(|behind| Some(behind.split_once(":?")?.0.to_owned()))
}

fn is_url(content: &str) -> bool {
    content.contains("://") && !content.contains(char::is_whitespace)
}

fn fits_url(variable: &str, values: &Variables) -> bool {
    let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    values.lookup(variable).is_none_or(|value| value.text.chars().all(unreserved))
}

/// The compose file of what runs: pure.
fn render(stack: &Stack, specs: Specs) -> Result<Compose, Failure> {
    let mut writer = Writer {
        stack,
        specs: &specs,
        configs: Map::new(),
        secrets: Map::new(),
        notes: Vec::new(),
        writable: BTreeSet::new(),
    };
    let mut services = Map::new();
    for (name, (container, _)) in &specs.backing {
        services.insert(name.to_string(), writer.backing(name, container));
    }
    for (name, (container, _)) in &specs.jobs {
        services.insert(writer.job_name(name), writer.job(name, container));
    }
    for (name, (container, _)) in &specs.services {
        services.insert(name.to_string(), writer.service(name, container));
    }
    for (id, balancer) in &specs.balancers {
        // Compose's DNS has a service's own name, which stands for all its replicas.
        if id == &BalancerId::Front {
            services.insert(writer.free_name("balancer"), writer.balancer(balancer)?);
        }
    }
    let volumes: Map<_, _> = specs.volumes.keys().map(|name| (name.to_string(), json!({}))).collect();
    let Writer { configs, secrets, mut notes, writable, .. } = writer;
    if !writable.is_empty() {
        let who = writable.into_iter().collect::<Vec<_>>().join(", ");
        notes.push(format!("{who}: the root file system can be written, for compose puts configs and secrets into it"));
    }
    notes.extend(specs.notes.iter().cloned());
    let mut document = Map::new();
    document.insert("name".to_owned(), json!(stack.project.name));
    for (key, section) in [("services", services), ("volumes", volumes), ("configs", configs), ("secrets", secrets)] {
        if !section.is_empty() {
            document.insert(key.to_owned(), section.into());
        }
    }
    Ok(Compose { document: document.into(), notes })
}

/// A text as compose reads it: `$` doubled, symbols as variables that have to be set.
fn text(text: &str) -> String {
    replace_symbols(text, |name| format!("${{{name}:?}}"), |plain| plain.replace('$', "$$"))
}

fn texts(all: &[String]) -> Vec<String> {
    all.iter().map(|one| text(one)).collect()
}

struct Writer<'a> {
    stack: &'a Stack,
    specs: &'a Specs,
    configs: Map<String, Value>,
    secrets: Map<String, Value>,
    notes: Vec<String>,
    /// Those whose root file system is read-only in `up`, and cannot be here.
    writable: BTreeSet<String>,
}

impl Writer<'_> {
    fn backing(&mut self, name: &Name, container: &Container) -> Value {
        let mut written = self.container(name, container);
        written.insert("restart".to_owned(), json!("unless-stopped"));
        written.into()
    }

    fn service(&mut self, name: &Name, container: &Container) -> Value {
        let mut written = self.container(name, container);
        let Some(service) = self.stack.services.get(name) else { return written.into() };
        written.insert("networks".to_owned(), json!({ "default": { "aliases": container.aliases } }));
        written.insert("restart".to_owned(), json!("unless-stopped"));
        let replicas = json!(service.replicas.0);
        let deploy = written.entry("deploy").or_insert_with(|| json!({}));
        deploy["replicas"] = replicas;
        match health(service) {
            Some(test) => {
                written.insert("healthcheck".to_owned(), healthcheck(&test));
            }
            None if service.port.is_some() => {
                self.notes.push(format!("{name}: compose has no check of its own; it goes by its image's HEALTHCHECK"));
            }
            None => {}
        }
        let jobs = self.stack.jobs.iter().filter(|(_, job)| job.before.contains(name));
        let jobs = jobs.map(|(job, _)| (self.job_name(job), "service_completed_successfully"));
        self.depend(&mut written, &service.uses, jobs.collect());
        written.into()
    }

    fn job(&mut self, name: &Name, container: &Container) -> Value {
        let Some(job) = self.stack.jobs.get(name) else { return Value::Null };
        let mut written = self.container(&job.service, container);
        written.insert("restart".to_owned(), json!("no"));
        if job.before.is_empty() {
            // Only by `docker compose run`.
            written.insert("profiles".to_owned(), json!(["jobs"]));
        }
        let uses = self.specs.job_uses.get(name).cloned().unwrap_or_default();
        self.depend(&mut written, &uses, Vec::new());
        written.into()
    }

    fn balancer(&mut self, balancer: &BalancerSpec) -> Result<Value, Failure> {
        let config = BalancerConfig {
            listen: balancer.listen.clone(),
            service: balancer.service.clone(),
            port: balancer.port,
            check: balancer.check.clone(),
            members: Vec::new(),
            drain: balancer.drain,
        };
        let nginx = balancer::render_name(&config, &labels::replicas_host(&balancer.service))?;
        let mut container = balancer.container.clone();
        container.volumes.clear();
        let mut written = self.container(&balancer.service, &container);
        written.remove("read_only");
        let files = [
            (balancer::CONFIG_FILE.to_owned(), nginx),
            (format!("{}/resolver.conf", balancer::CONFIG_FOLDER), RESOLVER.to_owned()),
        ];
        let configs: Vec<_> =
            files.into_iter().map(|(path, content)| self.config("balancer", &path, &content)).collect();
        written.insert("configs".to_owned(), configs.into());
        written.insert("restart".to_owned(), json!("unless-stopped"));
        self.depend(&mut written, std::slice::from_ref(&balancer.service), Vec::new());
        Ok(written.into())
    }

    /// What all containers have in common; `owner` names their files.
    fn container(&mut self, owner: &Name, container: &Container) -> Map<String, Value> {
        let mut written = Map::new();
        let mut put = |key: &str, value: Value| {
            let empty = value.is_null()
                || value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(Map::is_empty);
            if !empty {
                written.insert(key.to_owned(), value);
            }
        };
        put("image", json!(text(&container.image)));
        put("build", self.build(container));
        put("command", json!(container.command.as_deref().map(texts)));
        put("hostname", json!(container.hostname));
        let environment: BTreeMap<_, _> = container.environment.iter().map(|(k, v)| (k, text(v))).collect();
        put("environment", json!(environment));
        let (configs, secrets) = self.files(owner, &container.files);
        // Compose puts them in by archive, which a root file system that is read-only refuses.
        let read_only = container.read_only && configs.is_empty() && secrets.is_empty();
        if container.read_only && !read_only {
            self.writable.insert(owner.to_string());
        }
        put("configs", configs.into());
        put("secrets", secrets.into());
        let port = |port: &spec::PublishedPort| match port.host {
            Some(host) => format!("127.0.0.1:{host}:{}", port.container),
            None => format!("127.0.0.1::{}", port.container),
        };
        put("ports", container.ports.iter().map(port).collect());
        let prefix = format!("{}-", self.stack.project.name);
        let volume =
            |(folder, name): (&String, &String)| format!("{}:{folder}", name.strip_prefix(&prefix).unwrap_or(name));
        put("volumes", container.volumes.iter().map(volume).collect());
        put("tmpfs", container.tmpfs.iter().map(|folder| format!("{folder}:{}", spec::TMPFS)).collect());
        if read_only {
            put("read_only", json!(true));
        }
        put("shm_size", json!(container.shm_size));
        put("stop_signal", json!(container.stop_signal));
        put("stop_grace_period", json!(format!("{}s", container.stop_timeout.as_secs())));
        put("healthcheck", container.health.as_ref().map_or(Value::Null, |test| healthcheck(&texts(test))));
        put("deploy", limits(container));
        written
    }

    fn build(&self, container: &Container) -> Value {
        let Some(spec::Origin::Build(name)) = self.specs.images.get(&container.image) else { return Value::Null };
        let Some(build) = self.stack.services.get(name).and_then(|service| service.build.as_ref()) else {
            return Value::Null;
        };
        let mut written = Map::new();
        written.insert("context".to_owned(), json!(relative(&build.context)));
        if build.dockerfile != Path::new(Build::DOCKERFILE) {
            written.insert("dockerfile".to_owned(), json!(build.dockerfile));
        }
        if let Some(target) = &build.target {
            written.insert("target".to_owned(), json!(text(target)));
        }
        if !build.args.is_empty() {
            let args: BTreeMap<_, _> = build.args.iter().map(|(name, value)| (name, text(&value.text))).collect();
            written.insert("args".to_owned(), json!(args));
        }
        if let Some(network) = &build.network {
            written.insert("network".to_owned(), json!(network));
        }
        if !build.cache_from.is_empty() {
            written.insert("cache_from".to_owned(), json!(texts(&build.cache_from)));
        }
        written.into()
    }

    /// Files: those that are one variable are secrets, all others configs, whose texts may name several.
    fn files(&mut self, owner: &Name, files: &BTreeMap<String, FileText>) -> (Vec<Value>, Vec<Value>) {
        let (mut configs, mut secrets) = (Vec::new(), Vec::new());
        for (name, file) in files {
            let path = format!("{FILES}/{name}");
            match as_symbol(&file.text) {
                Some(variable) => {
                    self.secrets.insert(variable.to_owned(), json!({ "environment": variable }));
                    secrets.push(json!({ "source": variable, "target": path }));
                }
                None => configs.push(self.config(owner.as_str(), &path, &file.text)),
            }
        }
        (configs, secrets)
    }

    fn config(&mut self, owner: &str, path: &str, content: &str) -> Value {
        let file = path.trim_start_matches(FILES).trim_start_matches(balancer::CONFIG_FOLDER).trim_start_matches('/');
        let name = format!("{owner}-{}", file.replace('/', "-"));
        self.configs.insert(name.clone(), json!({ "content": text(content) }));
        json!({ "source": name, "target": path })
    }

    fn depend(&self, written: &mut Map<String, Value>, uses: &[Name], jobs: Vec<(String, &str)>) {
        let used = uses.iter().filter_map(|name| {
            if self.specs.backing.contains_key(name) {
                return Some((name.to_string(), "service_healthy"));
            }
            let service = self.stack.services.get(name)?;
            let checked = health(service).is_some();
            Some((name.to_string(), if checked { "service_healthy" } else { "service_started" }))
        });
        let all: Map<_, _> = used.chain(jobs).map(|(name, how)| (name, json!({ "condition": how }))).collect();
        if !all.is_empty() {
            written.insert("depends_on".to_owned(), all.into());
        }
    }

    /// A job's name among the services: its own, unless something else has it.
    fn job_name(&self, job: &Name) -> String {
        let taken = self.stack.services.contains_key(job) || self.stack.backing.contains_key(job);
        if taken { format!("{job}-job") } else { job.to_string() }
    }

    fn free_name(&self, wanted: &str) -> String {
        let stack = self.stack;
        let names = stack.services.keys().chain(stack.backing.keys()).chain(stack.jobs.keys());
        if names.into_iter().any(|name| name.as_str() == wanted) {
            format!("{wanted}-nginx")
        } else {
            wanted.to_owned()
        }
    }
}

/// A path as compose knows it from a volume's or an address: beginning with a dot.
fn relative(path: &Path) -> String {
    let text = path.display().to_string();
    if path.is_absolute() || text.starts_with('.') { text } else { format!("./{text}") }
}

fn limits(container: &Container) -> Value {
    let Some(resources) = &container.resources else { return Value::Null };
    let mut limits = Map::new();
    if let Some(cpu) = resources.cpu {
        limits.insert("cpus".to_owned(), json!(format!("{}", f64::from(cpu.millis()) / 1000.0)));
    }
    if let Some(memory) = resources.memory {
        limits.insert("memory".to_owned(), json!(format!("{}b", memory.0)));
    }
    json!({ "resources": { "limits": limits } })
}

/// A command inside that asks a service whether it is ready, with what its run-time has; scalectl asks from outside.
fn health(service: &Service) -> Option<Vec<String>> {
    let path = service.ready.as_ref().or(service.health.as_ref())?;
    let url = format!("http://127.0.0.1:{}{path}", service.port?.0);
    let quoted = json!(url);
    let command = match service.runtime? {
        Runtime::Python => [
            "python".to_owned(),
            "-c".to_owned(),
            format!("import urllib.request as r; r.urlopen({quoted}, timeout=4)"),
        ],
        Runtime::Node => [
            "node".to_owned(),
            "-e".to_owned(),
            format!("fetch({quoted}).then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))"),
        ],
        Runtime::Rust | Runtime::None => return None,
    };
    Some(texts(&command))
}

fn healthcheck(command: &[String]) -> Value {
    let test: Vec<_> = std::iter::once("CMD".to_owned()).chain(command.iter().cloned()).collect();
    json!({
        "test": test,
        "interval": HEALTH_INTERVAL,
        "timeout": HEALTH_TIMEOUT,
        "start_period": HEALTH_START,
        "retries": HEALTH_RETRIES,
    })
}
