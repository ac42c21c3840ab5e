//! Backing services in a compose file: which images the catalog knows, their credentials, and the addresses that
//! services have of them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::model::{Service, split_at_colons};
use crate::adopt::secrets::{Secrets, interpolated};
use crate::backing::{self, Entry};
use crate::units::Name;

/// Images that are configured as one of the catalog's, which they are made from.
const DERIVED: [(&str, &str); 4] = [
    ("postgis/postgis", "postgres"),
    ("pgvector/pgvector", "postgres"),
    ("timescale/timescaledb", "postgres"),
    ("grafana/grafana-oss", "grafana"),
];

/// A setting that the catalog reads from `.env`: the kind, the image's own variable, the one in `.env`, and what the
/// image takes where it is not set.
const SETTINGS: [(&str, &str, &str, &str); 6] = [
    ("postgres", "POSTGRES_USER", "POSTGRES_USER", "postgres"),
    ("postgres", "POSTGRES_PASSWORD", "POSTGRES_PASSWORD", ""),
    ("postgres", "POSTGRES_DB", "POSTGRES_DB", ""),
    ("rabbitmq", "RABBITMQ_DEFAULT_USER", "RABBITMQ_USER", "guest"),
    ("rabbitmq", "RABBITMQ_DEFAULT_PASS", "RABBITMQ_PASSWORD", "guest"),
    ("grafana", "GF_SECURITY_ADMIN_PASSWORD", "GRAFANA_PASSWORD", ""),
];

/// A backing service of a compose file.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its name in the stack.
    pub name: Name,
    /// Its kind in the catalog.
    pub kind: Name,
    /// Its entry.
    pub entry: &'static Entry,
    /// The names that the compose file's services find it by.
    pub hosts: Vec<String>,
    /// The variable that its users are given its address in.
    pub variable: Option<String>,
    /// Whether the catalog's URL has other credentials than it.
    pub own_credentials: bool,
}

/// The repository of an image without its registry, tag and digest: `postgres` for `docker.io/library/postgres:17`.
pub fn repository(image: &str) -> String {
    let image = image.split('@').next().unwrap_or_default();
    let (registry, path) = match image.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), path),
        _ => (None, image),
    };
    let path = split_at_colons(path).first().copied().unwrap_or_default();
    let path =
        path.strip_prefix("library/").filter(|_| registry.is_none_or(|r| r.ends_with("docker.io"))).unwrap_or(path);
    path.to_owned()
}

/// The catalog's kind of an image.
pub fn kind(image: &str) -> Option<&'static Name> {
    let wanted = repository(image);
    let own = DERIVED.iter().find(|(image, _)| *image == wanted).map(|(_, kind)| *kind);
    backing::catalog()
        .iter()
        .find(|(name, entry)| Some(name.as_str()) == own || repository(&entry.image) == wanted)
        .map(|(name, _)| name)
}

/// The settings of a backing service.
#[derive(Debug, Default)]
pub struct Settings {
    /// Its variables that `.env` does not set for the catalog.
    pub env: BTreeMap<String, String>,
    /// What has to be known.
    pub notes: Vec<String>,
    /// Whether its credentials are others than those in `.env`, which another server has.
    pub own_credentials: bool,
}

/// Puts the credentials of a backing service into `.env`, under the names that the catalog reads. Where these have
/// another value already, the service keeps its own.
pub fn settings(kind: &str, service: &Service, secrets: &mut Secrets) -> Settings {
    let mut settings = Settings::default();
    let variables = secrets.variables();
    let value = |name: &str| {
        let own = service.environment.get(name)?;
        let text = own.clone().unwrap_or_else(|| format!("${{{name}:-}}"));
        interpolated(&text, &variables).filter(|text| !text.is_empty())
    };
    let mut user = String::new();
    for (_, own, ours, default) in SETTINGS.iter().filter(|(of, ..)| *of == kind) {
        // The image's own rule: the database is called as its user.
        let usual = if *ours == "POSTGRES_DB" { user.clone() } else { (*default).to_owned() };
        let wanted = value(own).unwrap_or(usual);
        let wanted = if wanted.is_empty() { secrets.value(ours).unwrap_or_else(generated) } else { wanted };
        if *ours == "POSTGRES_USER" {
            user.clone_from(&wanted);
        }
        if !secrets.set(ours, &wanted) {
            settings.env.insert((*ours).to_owned(), super::variables::literal(&wanted));
            settings.own_credentials = true;
        }
    }
    if kind == "redis" {
        settings.notes.extend(redis_password(service, secrets));
    }
    for (name, text) in &service.environment {
        if SETTINGS.iter().any(|(of, own, ..)| of == &kind && own == name) || name == "REDIS_PASSWORD" {
            continue;
        }
        let text = text.clone().unwrap_or_else(|| format!("${{{name}:-}}"));
        settings.env.insert(name.clone(), text);
    }
    settings
}

/// Redis has a password in a stack, whether it had one or not.
fn redis_password(service: &Service, secrets: &mut Secrets) -> Option<String> {
    let required = required_password(service).and_then(|text| interpolated(&text, &secrets.variables()));
    let required = required.filter(|password| !password.is_empty());
    let is_new = required.is_none() && secrets.value("REDIS_PASSWORD").is_none();
    secrets.set("REDIS_PASSWORD", &required.unwrap_or_else(generated));
    is_new.then(|| "asks for a password now: REDIS_PASSWORD in .env".to_owned())
}

/// The most connections that PostgreSQL is told to accept: `-c max_connections=200`.
pub fn max_connections(service: &Service) -> Option<String> {
    let words = service.command.as_ref()?;
    let number = words.iter().find_map(|word| word.trim_start_matches('-').strip_prefix("max_connections="))?;
    number.parse::<u32>().is_ok().then(|| number.to_owned())
}

/// A password of letters and digits.
fn generated() -> String {
    crate::scaffold::secret(32)
}

/// What `redis-server --requirepass` is given.
fn required_password(service: &Service) -> Option<String> {
    let words = service.command.as_ref()?;
    let position = words.iter().position(|word| word == "--requirepass")?;
    words.get(position + 1).cloned()
}

/// What the value of a service's variable has to do with a backing service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// It is the address that `uses` gives under the same name.
    Given,
    /// It is or holds its host: this is the value for the stack.
    Rewritten(String),
}

impl Server {
    /// How a variable of a service refers to this server, if it does.
    pub fn address(&self, variable: &str, text: &str, owner: &str, secrets: &mut Secrets) -> Option<Address> {
        if let Some(url) = Url::parse(text).filter(|url| self.is_host(url.host, secrets)) {
            if self.variable.as_deref() == Some(variable) && self.is_same(&url, secrets) {
                return Some(Address::Given);
            }
            return Some(Address::Rewritten(self.rewrite(variable, &url, owner, secrets)));
        }
        let parts = split_at_colons(text);
        let is_host = parts.len() <= 2 && self.is_host(parts[0], secrets);
        let port = parts.get(1).map(|port| format!(":{port}")).unwrap_or_default();
        is_host.then(|| Address::Rewritten(format!("{}{port}", self.name)))
    }

    fn is_host(&self, text: &str, secrets: &Secrets) -> bool {
        let host = interpolated(text, &secrets.variables()).unwrap_or_default();
        self.hosts.contains(&host)
    }

    /// Whether a URL says the same as the catalog's: scheme, port and path.
    fn is_same(&self, url: &Url<'_>, secrets: &Secrets) -> bool {
        let Some(pattern) = self.entry.url.as_deref().filter(|_| !self.own_credentials) else { return false };
        let pattern = pattern.replace("{{ host }}", "host").replace("{{ port }}", &self.entry.port.to_string());
        let own = interpolated(&pattern, &secrets.variables()).unwrap_or_default();
        let Some(own) = Url::parse(&own) else { return false };
        let rest = interpolated(url.rest, &secrets.variables()).unwrap_or_default();
        let scheme = if url.scheme == "postgres" { "postgresql" } else { url.scheme };
        let port = url.port.is_none_or(|port| port == self.entry.port.to_string());
        // RabbitMQ's own virtual host is written in three ways.
        let paths = ["", "/", "//", "/%2f", "/%2F"];
        let is_default = if self.kind.as_str() == "rabbitmq" {
            paths.contains(&rest.as_str())
        } else {
            ["", "/"].contains(&rest.as_str())
        };
        scheme == own.scheme && port && (rest == own.rest || is_default && self.kind.as_str() != "postgres")
    }

    /// The URL with the server's name in the stack, and its credentials from `.env`.
    fn rewrite(&self, variable: &str, url: &Url<'_>, owner: &str, secrets: &mut Secrets) -> String {
        let pattern = self.entry.url.as_deref().unwrap_or_default();
        let own = pattern.split_once("://").and_then(|(_, behind)| behind.split_once("@{{")).map(|(own, _)| own);
        let credentials = match (url.credentials, own) {
            (given, Some(own)) if self.is_own_user(given, own, secrets) => format!("{own}@"),
            (Some(given), _) => match given.split_once(':') {
                Some((user, password)) if !password.contains("${") => {
                    let name = secrets.keep(owner, &format!("{variable}_PASSWORD"), password);
                    format!("{user}:${{{name}}}@")
                }
                _ => format!("{given}@"),
            },
            (None, _) => String::new(),
        };
        let port = url.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{credentials}{}{port}{}", url.scheme, self.name, url.rest)
    }

    /// Whether credentials in a URL, or their absence, mean the user that the catalog's URL names.
    fn is_own_user(&self, given: Option<&str>, own: &str, secrets: &Secrets) -> bool {
        if self.own_credentials {
            return false;
        }
        let variables = secrets.variables();
        let user = |credentials: &str| {
            let name = split_at_colons(credentials).first().copied().unwrap_or_default().to_owned();
            interpolated(&name, &variables).unwrap_or_default()
        };
        given.is_none_or(|given| user(given) == user(own) || user(own).is_empty())
    }
}

/// A URL in its parts; each may hold variables.
#[derive(Debug)]
struct Url<'t> {
    scheme: &'t str,
    credentials: Option<&'t str>,
    host: &'t str,
    port: Option<&'t str>,
    rest: &'t str,
}

impl<'t> Url<'t> {
    fn parse(text: &'t str) -> Option<Self> {
        static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
            Regex::new(r"^([A-Za-z][\w+.-]*)://(?:([^/?#]*(?:\$\{[^}]*\}[^/?#]*)*)@)?([\w.-]+|\$\{[^}]*\})(?::(\d+|\$\{[^}]*\}))?([/?#].*)?$").ok()
        });
        let found = PATTERN.as_ref()?.captures(text)?;
        let part = |number| found.get(number).map(|part| part.as_str());
        Some(Self {
            scheme: part(1)?,
            credentials: part(2).filter(|credentials| !credentials.is_empty()),
            host: part(3)?,
            port: part(4),
            rest: part(5).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Variables;

    #[test]
    fn an_image_is_known_by_its_repository() {
        for (image, expected) in [
            ("postgres", Some("postgres")),
            ("docker.io/library/postgres:16-alpine@sha256:abc", Some("postgres")),
            ("redis:${REDIS_TAG:-7}", Some("redis")),
            ("localhost:5000/prom/prometheus:v3", Some("prometheus")),
            ("ghcr.io/postgis/postgis:16", Some("postgres")),
            ("bitnami/postgresql:16", None),
            ("me/redis", None),
            ("${IMAGE}", None),
        ] {
            assert_eq!(kind(image).map(Name::as_str), expected, "{image}");
        }
    }

    #[test]
    fn the_settings_are_those_that_the_catalog_reads() {
        for (kind, _, ours, _) in SETTINGS {
            let entry = &backing::catalog()[kind];
            let texts = entry.environment.values().chain(&entry.url);
            assert!(texts.into_iter().any(|text| text.contains(&format!("${{{ours}"))), "{kind}: {ours}");
        }
        assert!(backing::catalog()["redis"].url.as_deref().is_some_and(|url| url.contains("${REDIS_PASSWORD}")));
    }

    fn server(kind: &str, host: &str) -> Server {
        let (kind, entry) = backing::catalog().get_key_value(kind).unwrap();
        Server {
            name: kind.clone(),
            kind: kind.clone(),
            entry,
            hosts: vec![host.to_owned()],
            variable: entry.variable.clone(),
            own_credentials: false,
        }
    }

    #[test]
    fn an_address_is_left_to_scalectl_or_rewritten() {
        let given = [
            ("POSTGRES_USER", "shop"),
            ("POSTGRES_PASSWORD", "pw"),
            ("POSTGRES_DB", "shop"),
            ("RABBITMQ_USER", "guest"),
            ("RABBITMQ_PASSWORD", "guest"),
            ("REDIS_PASSWORD", "x"),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut secrets = Secrets::new(Variables::new(given.into(), BTreeMap::new()));
        let (db, cache, queue) = (server("postgres", "db"), server("redis", "cache"), server("rabbitmq", "mq"));
        let own = "${POSTGRES_USER:-app}:${POSTGRES_PASSWORD}";
        let mut check = |server: &Server, variable: &str, text: &str, expected: Option<&str>| {
            let found = server.address(variable, text, "api", &mut secrets);
            let expected = expected.map(|text| match text {
                "given" => Address::Given,
                text => Address::Rewritten(text.replace("OWN", own)),
            });
            assert_eq!(found, expected, "{variable}={text}");
        };
        check(&db, "DATABASE_URL", "postgres://shop:pw@db:5432/shop", Some("given"));
        check(&db, "DATABASE_URL", "postgres://${POSTGRES_USER}:${P:-a/b}@${H:-db}/shop", Some("given"));
        check(
            &db,
            "DATABASE_URL",
            "postgresql+asyncpg://shop:pw@db/shop",
            Some("postgresql+asyncpg://OWN@postgres/shop"),
        );
        check(&db, "DATABASE_URL", "postgres://shop:pw@db/other", Some("postgres://OWN@postgres/other"));
        check(&db, "DSN", "postgres://ro:s3cret@db/shop", Some("postgres://ro:${DSN_PASSWORD}@postgres/shop"));
        check(&db, "PGHOST", "db", Some("postgres"));
        check(&db, "PGHOST", "db.example.com", None);
        check(&db, "DATABASE_URL", "postgres://shop:pw@elsewhere/shop", None);
        check(&cache, "REDIS_URL", "redis://cache:6379", Some("given"));
        check(&cache, "REDIS_URL", "redis://cache:6379/1", Some("redis://:${REDIS_PASSWORD}@redis:6379/1"));
        check(&cache, "CACHE", "cache:6379", Some("redis:6379"));
        check(&queue, "AMQP_URL", "amqp://guest:guest@mq:5672//", Some("given"));
        assert_eq!(secrets.added().len(), 1);
    }
}
