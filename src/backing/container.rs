//! A backing service as a container: pure, so that what runs is compared as text in tests.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::text::{Filler, Format};
use super::{Entry, Login, Resolved};
use crate::error::Failure;
use crate::stack::{Backing, EnvValue, MASK, Resources, Stack};

/// The folder that a container finds its files in.
pub const FILES: &str = "/run/scalectl";

/// How long a backing service may take to end, unless its entry says otherwise: Docker's own ten seconds are short for
/// what owns data.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Larger than any rule or dashboard that a person writes; a file beyond it was found by mistake.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// A file that a container is given.
#[derive(Clone, PartialEq, Eq)]
pub struct FileText {
    /// What is in it.
    pub text: String,
    /// Whether only its owner may read it, and nothing may show it.
    pub secret: bool,
}

impl fmt::Debug for FileText {
    /// A secret is masked here too: debug output ends up in logs and test failures.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", if self.secret { MASK } else { &self.text })
    }
}

impl Serialize for FileText {
    /// A secret is masked, as wherever a stack is shown.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.secret { MASK } else { &self.text })
    }
}

/// What a container engine runs for a backing service.
#[derive(Debug, Clone, Serialize)]
pub struct BackingContainer {
    /// Image and tag.
    pub image: String,
    /// Its arguments; the image's own without.
    pub command: Option<Vec<String>>,
    /// Environment variables; never a secret.
    pub environment: BTreeMap<String, String>,
    /// Files by their path below [`FILES`].
    pub files: BTreeMap<String, FileText>,
    /// User of the image that reads the files; root without.
    pub owner: Option<String>,
    /// Name of its machine, where its data depends on it.
    pub hostname: Option<String>,
    /// Command inside the container that succeeds once it serves.
    pub health: Vec<String>,
    /// How it is asked whether its data knows its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// Folder of its data; without it nothing outlives the container.
    pub volume: Option<String>,
    /// Folders in memory.
    pub tmpfs: Vec<String>,
    /// Whether its root file system is read-only.
    pub read_only: bool,
    /// Size of /dev/shm in bytes; the engine's own without.
    pub shm_size: Option<u64>,
    /// Signal that ends it properly; the image's own without.
    pub stop_signal: Option<String>,
    /// How long it may take to end.
    pub stop_timeout: Duration,
    /// Port that it listens on inside its network.
    pub port: u16,
    /// Its limits.
    pub resources: Option<Resources>,
}

/// The container of a backing service; `project_files` are those that [`project_files`] has read.
///
/// On its network it has to be reachable by its name in the stack.
///
/// # Errors
///
/// A variable that `.env` lacks, or a secret that its image cannot be given as a file.
pub fn container(
    stack: &Stack,
    resolved: &Resolved<'_>,
    project_files: &BTreeMap<String, String>,
) -> Result<BackingContainer, Failure> {
    let entry = resolved.entry;
    let filler = Filler::new(stack, resolved);
    let all = |texts: &[String]| texts.iter().map(|text| filler.fill_plain(text)).collect::<Result<Vec<_>, _>>();
    let mut files = files(entry, &filler)?;
    files.extend(
        project_files.iter().map(|(name, text)| (name.clone(), FileText { text: text.clone(), secret: false })),
    );
    let environment = environment(stack, resolved, &filler, &mut files)?;
    Ok(BackingContainer {
        image: image(stack, resolved).to_owned(),
        command: entry.command.as_deref().map(all).transpose()?,
        environment,
        files,
        owner: entry.owner.clone(),
        hostname: entry.hostname.as_deref().map(|text| filler.fill_plain(text)).transpose()?,
        health: all(&entry.health)?,
        login: entry.login.as_ref().map(|login| login_of(login, &all)).transpose()?,
        volume: entry.volume.as_deref().map(|text| filler.fill_plain(text)).transpose()?,
        tmpfs: entry.tmpfs.clone(),
        read_only: entry.read_only,
        shm_size: entry.shm_size.map(|size| size.0),
        stop_signal: entry.stop_signal.clone(),
        stop_timeout: entry.stop_timeout.map_or(STOP_TIMEOUT, |timeout| timeout.0),
        port: port(stack, resolved),
        resources: resources(stack, resolved),
    })
}

fn login_of(login: &Login, fill: &impl Fn(&[String]) -> Result<Vec<String>, Failure>) -> Result<Login, Failure> {
    Ok(Login { command: fill(&login.command)?, refused: login.refused.clone() })
}

/// Where the users of a backing service find it on a container engine; none for those that nobody calls.
///
/// # Errors
///
/// A variable that `.env` lacks.
pub fn address(stack: &Stack, resolved: &Resolved<'_>) -> Result<Option<EnvValue>, Failure> {
    if resolved.external.is_some() {
        return Ok(resolved.external.clone());
    }
    let filler = Filler::new(stack, resolved);
    resolved.entry.url.as_deref().map(|url| filler.fill(url, Format::Url)).transpose()
}

/// The address of a backing service whose port is reached as `host` and `port`, such as from this machine.
///
/// # Errors
///
/// A variable that `.env` lacks.
pub fn address_at(stack: &Stack, resolved: &Resolved<'_>, host: &str, port: u16) -> Result<Option<EnvValue>, Failure> {
    let filler = Filler::new(stack, resolved).at(host, port);
    resolved.entry.url.as_deref().map(|url| filler.fill(url, Format::Url)).transpose()
}

/// The files of the project that a backing service is given, by their path below [`FILES`].
///
/// # Errors
///
/// One that cannot be read, is no text, or is larger than 4 MiB.
pub fn project_files(stack: &Stack, resolved: &Resolved<'_>) -> Result<BTreeMap<String, String>, Failure> {
    let mut files = BTreeMap::new();
    for (folder, pattern) in &resolved.entry.project_files {
        let (parent, name) = pattern.rsplit_once('/').unwrap_or((".", pattern));
        // Without the folder the project has no such files.
        let Ok(entries) = stack.root.join(parent).read_dir() else { continue };
        for found in entries.filter_map(Result::ok) {
            let file_name = found.file_name().to_string_lossy().into_owned();
            if matches(name, &file_name) && found.path().is_file() {
                files.insert(format!("{folder}/{file_name}"), read(&found.path(), &format!("{parent}/{file_name}"))?);
            }
        }
    }
    Ok(files)
}

/// Whether a file's name fits a pattern whose only `*` is at its beginning.
fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_prefix('*').map_or(pattern == name, |end| name.ends_with(end) && !name.starts_with('.'))
}

fn read(path: &Path, shown: &str) -> Result<String, Failure> {
    let failure = |why: String| Failure::usage(format!("{shown}: {why}"));
    let size = path.metadata().map_err(|error| failure(format!("cannot be read: {error}")))?.len();
    if size > MAX_FILE_BYTES {
        return Err(failure(format!("expected a file of at most 4 MiB, found {size} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| failure(format!("cannot be read: {error}")))
}

/// The files of the entry, with their variables replaced.
fn files(entry: &Entry, filler: &Filler<'_>) -> Result<BTreeMap<String, FileText>, Failure> {
    let texts = entry.files.iter().map(|(name, text)| {
        let format = if is_one_variable(text) { Format::Plain } else { Format::Quoted };
        let EnvValue { text, secret } = filler.fill(text, format)?;
        Ok((name.clone(), FileText { text, secret }))
    });
    texts.collect()
}

fn is_one_variable(text: &str) -> bool {
    text.starts_with("${") && text.find('}') == Some(text.len() - 1)
}

/// The environment of the entry and of the section; what holds a secret goes into files.
fn environment(
    stack: &Stack,
    resolved: &Resolved<'_>,
    filler: &Filler<'_>,
    files: &mut BTreeMap<String, FileText>,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut values = BTreeMap::new();
    for (variable, text) in &resolved.entry.environment {
        values.insert(variable.clone(), filler.fill(text, Format::Plain)?);
    }
    let asked_for = resolved.entry.variables();
    let own = section(stack, resolved).into_iter().flat_map(|section| &section.env);
    // What a text of the entry asks for has reached its place already.
    let further = own.filter(|(variable, _)| !asked_for.contains(*variable));
    values.extend(further.map(|(variable, value)| (variable.clone(), value.clone())));
    let mut environment = BTreeMap::new();
    for (variable, value) in values {
        if !value.secret {
            environment.insert(variable, value.text);
            continue;
        }
        let name = variable_as_file(resolved, &variable)?;
        let file = format!("env/{variable}");
        environment.insert(name, format!("{FILES}/{file}"));
        files.insert(file, FileText { text: value.text, secret: true });
    }
    Ok(environment)
}

/// The variable that an image takes the path of a secret from.
fn variable_as_file(resolved: &Resolved<'_>, variable: &str) -> Result<String, Failure> {
    let title = &resolved.entry.title;
    match resolved.entry.secret_files.as_ref() {
        Some(way) if way.takes(variable) => Ok(format!("{variable}{}", way.suffix)),
        way => {
            let what =
                format!("backing.{}.env.{variable}: {title} cannot be given this secret as a file", resolved.name);
            let hint = match way {
                Some(way) => format!("its image reads files for {} only", way.variables.join(", ")),
                None => "as a plain variable everybody who can ask the engine would see it".to_owned(),
            };
            Err(Failure::usage(what).hint(hint))
        }
    }
}

fn section<'a>(stack: &'a Stack, resolved: &Resolved<'_>) -> Option<&'a Backing> {
    stack.backing.get(resolved.name)
}

/// The image of a backing service.
pub(super) fn image<'a>(stack: &'a Stack, resolved: &Resolved<'_>) -> &'a str {
    section(stack, resolved).and_then(|section| section.image.as_deref()).unwrap_or(&resolved.entry.image)
}

/// The port of a backing service.
pub(super) fn port(stack: &Stack, resolved: &Resolved<'_>) -> u16 {
    section(stack, resolved).and_then(|section| section.port).map_or(resolved.entry.port, |port| port.0)
}

/// The limits of a backing service: each from its section, else from its entry.
pub(super) fn resources(stack: &Stack, resolved: &Resolved<'_>) -> Option<Resources> {
    let own = section(stack, resolved).and_then(|section| section.resources.as_ref());
    let (Some(own), Some(usual)) = (own, &resolved.entry.resources) else {
        return own.or(resolved.entry.resources.as_ref()).cloned();
    };
    Some(Resources { cpu: own.cpu.or(usual.cpu), memory: own.memory.or(usual.memory) })
}

/// The major version that an image's tag begins with: 17 of `postgres:17.2-alpine`, 2 of `prom/prometheus:v2.53.3`.
pub fn major(image: &str) -> Option<u32> {
    let name = image.split('@').next().unwrap_or_default();
    let (_, tag) = name.rsplit('/').next()?.split_once(':')?;
    let number = tag.strip_prefix('v').unwrap_or(tag);
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backing::{catalog, resolve};
    use crate::stack::{self, Variables};

    const SECRETS: [(&str, &str); 4] = [
        ("POSTGRES_PASSWORD", "pg-s3cret"),
        ("REDIS_PASSWORD", "redis-s3cret"),
        ("RABBITMQ_PASSWORD", "rabbit-s3cret"),
        ("GRAFANA_PASSWORD", "grafana-s3cret"),
    ];

    fn stack(sections: &str, dot_env: &[(&str, &str)]) -> Stack {
        let text = format!(
            "[project]\nname = \"shop\"\n[services.api]\nimage = \"shop\"\nport = 8000\n[services.cron]\nimage = \"cron\"\n\
             [services.worker]\nimage = \"shop\"\nport = 8001\n{sections}"
        );
        let dot_env = dot_env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        stack::parse(&text, Path::new("/project"), Variables::new(dot_env, BTreeMap::new())).unwrap()
    }

    fn made(stack: &Stack, name: &str) -> Result<BackingContainer, Failure> {
        container(stack, &resolve(stack)[name], &BTreeMap::new())
    }

    fn url(stack: &Stack, name: &str) -> String {
        address(stack, &resolve(stack)[name]).unwrap().unwrap().text
    }

    /// The container as text, its files below it.
    fn text(container: &BackingContainer) -> String {
        let mut value = serde_json::to_value(container).unwrap();
        value.as_object_mut().unwrap().remove("files");
        let mut text = serde_json::to_string_pretty(&value).unwrap();
        for (name, file) in &container.files {
            let mark = if file.secret { " (secret)" } else { "" };
            text.push_str(&format!("\n--- {name}{mark}\n{}", file.text));
        }
        text
    }

    #[test]
    fn every_entry_is_a_container() {
        let sections: String = catalog().keys().map(|name| format!("[backing.{name}]\n")).collect();
        let stack = stack(&sections, &SECRETS);
        for name in catalog().keys() {
            let container = made(&stack, name.as_str()).unwrap();
            insta::with_settings!({ snapshot_path => "../../tests/golden/backing", prepend_module_to_snapshot => false, omit_expression => true }, {
                insta::assert_snapshot!(name.as_str(), text(&container));
            });
        }
    }

    #[test]
    fn a_secret_is_in_secret_files_only() {
        let sections: String = catalog().keys().map(|name| format!("[backing.{name}]\n")).collect();
        let stack = stack(&sections, &SECRETS);
        for name in catalog().keys() {
            let container = made(&stack, name.as_str()).unwrap();
            assert!(!serde_json::to_string(&container).unwrap().contains("s3cret"), "{name}");
            assert!(!format!("{container:?}").contains("s3cret"), "{name}");
            let open = container.files.values().filter(|file| !file.secret);
            assert!(open.into_iter().all(|file| !file.text.contains("s3cret")), "{name}");
        }
    }

    #[test]
    fn a_missing_password_is_named_and_an_empty_one_is_missing() {
        for dot_env in [&[][..], &[("POSTGRES_PASSWORD", "")]] {
            let stack = stack("[backing.postgres]", dot_env);
            for failure in
                [made(&stack, "postgres").unwrap_err(), address(&stack, &resolve(&stack)["postgres"]).unwrap_err()]
            {
                assert_eq!(failure.exit().code(), 2);
                assert_eq!(
                    failure.what(),
                    "backing.postgres: PostgreSQL needs POSTGRES_PASSWORD, found none in .env or in the environment"
                );
                assert_eq!(failure.hints(), ["set POSTGRES_PASSWORD in .env"]);
            }
        }
    }

    #[test]
    fn an_address_is_a_secret_whose_parts_are_encoded() {
        let stack = stack("[backing.postgres]\n[backing.prometheus]", &[("POSTGRES_PASSWORD", "a/b@c:d")]);
        let resolved = resolve(&stack);
        let found = address(&stack, &resolved["postgres"]).unwrap().unwrap();
        assert_eq!(found.text, "postgresql://app:a%2Fb%40c%3Ad@postgres:5432/app");
        assert!(found.secret);
        assert_eq!(made(&stack, "postgres").unwrap().files["env/POSTGRES_PASSWORD"].text, "a/b@c:d");
        assert!(address(&stack, &resolved["prometheus"]).unwrap().is_none());
    }

    #[test]
    fn a_section_overrides_the_catalog() {
        let sections = r#"
            [backing.orders]
            kind = "postgres"
            image = "registry.example:5000/postgres:18"
            port = 6000
            max_connections = 400
            env = { POSTGRES_USER = "orders", POSTGRES_PASSWORD = "${ORDERS_PASSWORD}", PGTZ = "UTC" }
            resources = { cpu = "2" }
        "#;
        let stack = stack(sections, &[("ORDERS_PASSWORD", "s3cret"), ("POSTGRES_PASSWORD", "another")]);
        let container = made(&stack, "orders").unwrap();
        assert_eq!(container.image, "registry.example:5000/postgres:18");
        assert_eq!(container.volume.as_deref(), Some("/var/lib/postgresql"));
        assert_eq!(container.environment["PGPORT"], "6000");
        assert_eq!(container.environment["PGTZ"], "UTC");
        assert_eq!(container.environment["POSTGRES_USER"], "orders");
        assert_eq!(container.environment["POSTGRES_PASSWORD_FILE"], "/run/scalectl/env/POSTGRES_PASSWORD");
        assert_eq!(container.files["env/POSTGRES_PASSWORD"], FileText { text: "s3cret".to_owned(), secret: true });
        assert!(container.command.unwrap().contains(&"max_connections=400".to_owned()));
        let resources = container.resources.unwrap();
        assert_eq!((resources.cpu.unwrap().millis(), resources.memory.unwrap().0), (2000, 1 << 30));
        assert_eq!(url(&stack, "orders"), "postgresql://orders:s3cret@orders:6000/app");
    }

    #[test]
    fn a_secret_that_the_image_takes_from_no_file_is_refused() {
        let sections = "[backing.redis]\nenv = { PLUGIN_TOKEN = \"${PLUGIN_TOKEN}\" }";
        let stack = stack(sections, &[("REDIS_PASSWORD", "x"), ("PLUGIN_TOKEN", "s3cret")]);
        let failure = made(&stack, "redis").unwrap_err();
        assert_eq!(failure.exit().code(), 2);
        assert_eq!(failure.what(), "backing.redis.env.PLUGIN_TOKEN: Redis cannot be given this secret as a file");
        let sections = "[backing.redis]\nenv = { REDIS_PASSWORD = \"${CACHE_PASSWORD}\" }";
        let stack = self::stack(sections, &[("CACHE_PASSWORD", "s3cret")]);
        assert_eq!(made(&stack, "redis").unwrap().files["password"].text, "s3cret");
        assert_eq!(made(&stack, "redis").unwrap().environment, BTreeMap::new());
    }

    #[test]
    fn a_password_that_would_end_its_quotes_is_refused() {
        let stack = stack("[backing.rabbitmq]", &[("RABBITMQ_PASSWORD", "it's")]);
        let failure = made(&stack, "rabbitmq").unwrap_err();
        assert_eq!(failure.exit().code(), 2);
        assert!(failure.what().contains("RABBITMQ_PASSWORD") && !failure.what().contains("it's"), "{failure}");
    }

    #[test]
    fn the_projects_own_files_are_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("monitoring")).unwrap();
        for name in ["rules.yml", "dashboard.json", ".hidden.yml", "notes.md"] {
            std::fs::write(folder.path().join("monitoring").join(name), name).unwrap();
        }
        let mut stack = stack("[backing.prometheus]\n[backing.grafana]\n[backing.redis]", &SECRETS);
        stack.root = folder.path().to_path_buf();
        let found = |name: &str| project_files(&stack, &resolve(&stack)[name]).unwrap();
        assert_eq!(found("prometheus"), [("rules/rules.yml".to_owned(), "rules.yml".to_owned())].into());
        assert_eq!(found("grafana"), [("dashboards/dashboard.json".to_owned(), "dashboard.json".to_owned())].into());
        assert_eq!(found("redis"), BTreeMap::new());
    }

    #[test]
    fn the_major_version_is_what_a_tag_begins_with() {
        for (image, expected) in [
            ("postgres:17", Some(17)),
            ("postgres:17.2-alpine", Some(17)),
            ("prom/prometheus:v2.53.3", Some(2)),
            ("registry:5000/postgres", None),
            ("registry:5000/db/postgres:16@sha256:abc", Some(16)),
            ("postgres@sha256:1234", None),
            ("postgres:latest", None),
            ("postgres", None),
            ("", None),
        ] {
            assert_eq!(major(image), expected, "{image}");
        }
    }
}
