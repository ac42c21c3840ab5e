//! The catalog of backing services, one entry each (`catalog.toml`), and what a stack makes of it.
//!
//! `text` fills the catalog's texts for a stack; [`container`] puts them together to what an engine runs.

mod container;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::stack::{EnvValue, Resources, Stack, variables_in};
use crate::units::{Bytes, Name, TimeSpan};

pub use container::{BackingContainer, FILES, FileText, address, address_at, container, major, project_files};

/// What is known of one kind of backing service. `catalog.toml` explains the fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// How messages call it.
    pub title: String,
    /// Image and tag.
    pub image: String,
    /// TCP port inside its network.
    pub port: u16,
    /// Environment variable that its users are given its address in; none for services that nobody calls.
    pub variable: Option<String>,
    /// Pattern of that address on the container engines.
    pub url: Option<String>,
    /// Its arguments on the container engines; the image's own without.
    pub command: Option<Vec<String>>,
    /// Its own environment on the container engines, before `${VAR}` is replaced.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// How its image takes variables from files; none if it cannot.
    pub secret_files: Option<SecretFiles>,
    /// Files that it is given, by name.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Folders of files of the project that it is given, and the pattern that finds them.
    #[serde(default)]
    pub project_files: BTreeMap<String, String>,
    /// User of the image that reads its files.
    pub owner: Option<String>,
    /// Name of its machine.
    pub hostname: Option<String>,
    /// Command inside the container that succeeds once it serves.
    pub health: Vec<String>,
    /// How it is asked whether its data knows its password.
    pub login: Option<Login>,
    /// Folder of its data.
    pub volume: Option<String>,
    /// Folders that it writes to besides.
    #[serde(default)]
    pub tmpfs: Vec<String>,
    /// Whether its root file system can be read-only.
    #[serde(default)]
    pub read_only: bool,
    /// Size of /dev/shm.
    pub shm_size: Option<Bytes>,
    /// Signal that ends it properly; the image's own without.
    pub stop_signal: Option<String>,
    /// How long it may take to end.
    pub stop_timeout: Option<TimeSpan>,
    /// Its limits unless the stack sets others.
    pub resources: Option<Resources>,
    /// Most connections it accepts.
    pub max_connections: Option<u32>,
    /// How many of these stay out of reach of ordinary users.
    #[serde(default)]
    pub reserve: u32,
    /// What stands in for it on the local engine.
    pub substitute: Substitute,
}

/// How a backing service is asked whether its data knows the password that it is given: a server takes that into its data
/// when it makes it, and never looks at it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Command inside the container; no secret is in its text.
    pub command: Vec<String>,
    /// The words in its output that mean no. Whatever else goes wrong says nothing about the password.
    pub refused: String,
}

/// How an image takes a variable from a file instead of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretFiles {
    /// What is appended to the variable's name.
    pub suffix: String,
    /// The variables that it works for; a `*` at the end stands for anything.
    pub variables: Vec<String>,
}

impl SecretFiles {
    /// Whether this variable can be given as a file.
    fn takes(&self, variable: &str) -> bool {
        self.variables.iter().any(|own| match own.strip_suffix('*') {
            Some(beginning) => variable.starts_with(beginning),
            None => variable == own,
        })
    }
}

impl Entry {
    /// All variables that its texts ask for.
    fn variables(&self) -> BTreeSet<String> {
        let texts = self.environment.values().chain(self.files.values()).chain(&self.url);
        texts.flat_map(|text| variables_in(text)).collect()
    }
}

/// What stands in for a backing service on the local engine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Substitute {
    /// A file in the project's data folder, whose URL the users are given.
    File {
        /// Name of the file.
        file: String,
        /// Pattern of the URL; `{path}` is the file's absolute path.
        url: String,
    },
    /// The users embed their own and are given no address.
    InProcess,
    /// Nothing.
    LeftOut {
        /// Why the stack is complete without it, or what is missing.
        reason: String,
    },
}

impl Substitute {
    /// The address of a file substitute at an absolute path.
    pub fn url(&self, path: &std::path::Path) -> Option<String> {
        match self {
            Self::File { url, .. } => Some(url.replace("{path}", &path.display().to_string())),
            Self::InProcess | Self::LeftOut { .. } => None,
        }
    }
}

static CATALOG: LazyLock<BTreeMap<Name, Entry>> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the text is compiled in, and a test reads every entry of it")]
    toml::from_str(include_str!("catalog.toml")).expect("the built-in catalog is valid")
});

/// All kinds of backing services, by name.
pub fn catalog() -> &'static BTreeMap<Name, Entry> {
    &CATALOG
}

/// A backing service of a stack: its section, its entry, and where its users find it.
#[derive(Debug, Clone)]
pub struct Resolved<'a> {
    /// Its name in the stack.
    pub name: &'a Name,
    /// Its entry in the catalog.
    pub entry: &'static Entry,
    /// The variable that its users are given its address in: the entry's where the section has the kind's own name,
    /// otherwise `NAME_URL`, so that two databases do not take each other's.
    pub variable: Option<String>,
    /// The address of a service that runs elsewhere, from `.env` or the environment: it is used and nothing is run.
    pub external: Option<EnvValue>,
}

impl Resolved<'_> {
    /// The variables that the container engines cannot do without, and that have no value.
    pub fn missing_variables(&self, stack: &Stack) -> BTreeSet<String> {
        let texts = self.entry.environment.values().chain(self.entry.files.values()).chain(&self.entry.url);
        texts.filter_map(|text| text::missing(text, &text::lookup(stack, self))).collect()
    }
}

/// Looks up every backing service of a stack. A loaded stack has no unknown kinds; of one that has, they are left out.
pub fn resolve(stack: &Stack) -> BTreeMap<Name, Resolved<'_>> {
    let resolved = stack.backing.iter().filter_map(|(name, backing)| {
        let kind = backing.kind.as_ref().unwrap_or(name);
        let entry = catalog().get(kind)?;
        let variable =
            entry.variable.as_ref().map(|own| if kind == name { own.clone() } else { address_variable(name) });
        let external = variable
            .as_deref()
            .and_then(|variable| stack.variables().lookup(variable))
            .filter(|value| !value.text.is_empty());
        Some((name.clone(), Resolved { name, entry, variable, external }))
    });
    resolved.collect()
}

/// The variable that the users of a service are given its address in: `API_URL` for `api`.
pub fn address_variable(name: &Name) -> String {
    format!("{}_URL", name.as_str().to_ascii_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::stack::{self, Variables};

    #[test]
    fn every_entry_is_complete() {
        assert!(catalog().len() >= 5);
        for (name, entry) in catalog() {
            assert!(entry.image.contains(':'), "{name}: the image has no tag");
            assert!(!entry.image.ends_with(":latest"), "{name}: the image is not pinned");
            assert!(!entry.health.is_empty(), "{name}: no health check");
            assert_eq!(entry.variable.is_some(), entry.url.is_some(), "{name}: a variable and a URL go together");
            if let Some(url) = &entry.url {
                assert!(url.contains("{{ host }}") && url.contains("{{ port }}"), "{name}: {url}");
            }
            assert!(entry.max_connections.is_none_or(|most| most > entry.reserve), "{name}: the reserve is all");
            if let Substitute::File { url, .. } = &entry.substitute {
                assert!(url.contains("{path}"), "{name}: {url}");
            }
        }
    }

    fn stack(dot_env: &[(&str, &str)]) -> Stack {
        let text = r#"
            [project]
            name = "shop"
            [backing.postgres]
            [backing.orders-db]
            kind = "postgres"
            [backing.redis]
            [backing.prometheus]
        "#;
        let dot_env = dot_env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        stack::parse(text, Path::new("/project"), Variables::new(dot_env, BTreeMap::new())).unwrap()
    }

    #[test]
    fn a_section_of_another_name_exports_a_variable_of_its_own() {
        let stack = stack(&[]);
        let resolved = resolve(&stack);
        assert_eq!(resolved["postgres"].variable.as_deref(), Some("DATABASE_URL"));
        assert_eq!(resolved["orders-db"].variable.as_deref(), Some("ORDERS_DB_URL"));
        assert_eq!(resolved["orders-db"].entry.title, resolved["postgres"].entry.title);
        assert_eq!(resolved["prometheus"].variable, None);
        assert!(resolved.values().all(|backing| backing.external.is_none()));
    }

    #[test]
    fn an_address_from_outside_replaces_the_service() {
        let stack = stack(&[("DATABASE_URL", "postgresql://shop:s3cret@db.example/shop"), ("REDIS_URL", "")]);
        let resolved = resolve(&stack);
        let external = resolved["postgres"].external.as_ref().unwrap();
        assert_eq!(external.text, "postgresql://shop:s3cret@db.example/shop");
        assert!(external.secret);
        assert!(!format!("{resolved:?}").contains("s3cret"));
        assert!(resolved["redis"].external.is_none(), "an empty variable is no address");
        assert!(resolved["orders-db"].external.is_none());
    }

    #[test]
    fn a_file_substitute_has_an_address() {
        let url = catalog()["postgres"].substitute.url(Path::new("/data/app.db"));
        assert_eq!(url.as_deref(), Some("sqlite:////data/app.db"));
        assert_eq!(catalog()["redis"].substitute.url(Path::new("/data/x")), None);
    }
}
