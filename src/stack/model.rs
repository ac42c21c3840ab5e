//! The types of `scalectl.toml`: what people write, and what every command reads.
//!
//! They are at once the file's parser, its JSON Schema (`scalectl schema`) and the resolved model: `super::load`
//! interpolates, overlays and validates, and only a valid [`Stack`] leaves it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::assemble::Places;
use super::path::KeyPath;
use super::secret::MASK;
use super::variables::Variables;

use crate::bench::Workload;
use crate::units::{Bytes, Cpu, Name, Percent, TimeSpan};

/// A stack: services, jobs, the backing services they use, the balancer in front of them and the load to test them
/// with.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// Folder of the (first) file, canonical; every relative path in the file starts there.
    #[serde(skip)]
    pub root: PathBuf,
    /// `.env` and the environment that the file was interpolated from.
    #[serde(skip)]
    pub(super) variables: Variables,
    /// Texts outside of `env` that hold a secret, such as an argument of a command.
    #[serde(skip)]
    pub(super) secret_paths: Vec<KeyPath>,
    /// Where the sections stand in the files, for later messages.
    #[serde(skip)]
    pub(super) places: Places,
    /// What this project is called and where it came from.
    pub project: Project,
    /// Long-running processes of the project's own code, by name.
    #[serde(default)]
    pub services: BTreeMap<Name, Service>,
    /// Processes that end: migrations, seeds, clean-ups.
    #[serde(default)]
    pub jobs: BTreeMap<Name, Job>,
    /// The load balancer in front of one service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balancer: Option<Balancer>,
    /// Databases, caches, queues and monitoring that the services use; defaults come from the catalog.
    #[serde(default)]
    pub backing: BTreeMap<Name, Backing>,
    /// Service level objectives that `bench` holds its results against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,
    /// Workloads for `scalectl bench`, by name; `default` is used when none is named.
    #[serde(default)]
    pub bench: BTreeMap<Name, Workload>,
}

/// What the project is called, and the template and answers that it was rendered from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Name of the project: it labels everything that runs.
    pub name: Name,
    /// The template that `scalectl new` rendered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The optional parts that were chosen when the template was rendered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<Vec<String>>,
}

/// How a service's program is prepared on the local engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// A virtual environment from `requirements.lock`.
    Python,
    /// `node_modules` from the lock file.
    Node,
    /// A release build by cargo.
    Rust,
    /// The command runs as it is.
    None,
}

/// A long-running process of the project's own code, in one or more replicas.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Folder with the source and its Dockerfile, or a table that says how its image is built. Either this or `image`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "folder_or_table")]
    #[schemars(with = "Option<FolderOrTable>")]
    pub build: Option<Build>,
    /// A ready image. Either this or `build`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How the local engine prepares the program's environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Program and arguments. The local engine needs it; elsewhere it overrides the image's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Port that the program listens on (it is told by the variable PORT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Number of replicas, 1 to 1000.
    #[serde(default = "one_replica")]
    pub replicas: Replicas,
    /// Path of the liveness check: consults nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// Path of the readiness check: checks what the service needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// Backing services or other services whose addresses this one is given.
    #[serde(default)]
    pub uses: Vec<Name>,
    /// Environment variables; `${VAR}` comes from `.env` or the environment.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// How the service is given its secrets.
    #[serde(default)]
    pub secrets: SecretDelivery,
    /// Processor and memory limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Whether nothing in its container can be written but `/tmp`, which is in memory; the local engine has no such
    /// thing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Horizontal autoscaling; Kubernetes only, the other engines ignore it and say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale: Option<Autoscale>,
    /// How long a replica may take from SIGTERM to its end before it is killed.
    #[serde(default = "default_stop_timeout")]
    pub stop_timeout: TimeSpan,
}

/// What the image of a service is built from, and how. In the file a text stands for its context alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Folder with the source: what is sent to the engine, but for what `.dockerignore` leaves out.
    #[serde(default = "this_folder")]
    pub context: PathBuf,
    /// The Dockerfile, relative to the context; it may lie outside of it.
    #[serde(default = "default_dockerfile")]
    pub dockerfile: PathBuf,
    /// Stage of the Dockerfile to build; the last one unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Build arguments. They stay in the image for everybody who has it, so they are no place for secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, EnvValue>,
    /// Network of the build's own commands, such as `"host"` or `"none"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Images whose layers are taken where they fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_from: Vec<String>,
}

impl Build {
    /// The Dockerfile that is built unless another one is named.
    pub const DOCKERFILE: &str = "Dockerfile";

    /// Builds the Dockerfile of a folder, without arguments.
    pub fn folder(context: impl Into<PathBuf>) -> Self {
        Self {
            context: context.into(),
            dockerfile: default_dockerfile(),
            target: None,
            args: BTreeMap::new(),
            network: None,
            cache_from: Vec::new(),
        }
    }
}

fn this_folder() -> PathBuf {
    PathBuf::from(".")
}

fn default_dockerfile() -> PathBuf {
    PathBuf::from(Build::DOCKERFILE)
}

/// The two ways in which a file writes a [`Build`], for its schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum FolderOrTable {
    Folder(PathBuf),
    Table(Build),
}

/// A [`Build`] as the file writes it: its folder alone where it says no more.
mod folder_or_table {
    use super::*;

    pub fn serialize<S: Serializer>(build: &Option<Build>, serializer: S) -> Result<S::Ok, S::Error> {
        match build {
            Some(build) if *build == Build::folder(&build.context) => build.context.serialize(serializer),
            build => build.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Build>, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Build;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a folder, or a table like { context = \".\", target = \"web\" }")
            }
            fn visit_str<E: de::Error>(self, folder: &str) -> Result<Build, E> {
                Ok(Build::folder(folder))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Build, A::Error> {
                Build::deserialize(de::value::MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Visitor).map(Some)
    }
}

/// How a service is given its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretDelivery {
    /// As files: the variable `NAME_FILE` holds a path.
    #[default]
    Files,
    /// As plain environment variables, for programs that read no files.
    Env,
}

/// The value of an environment variable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub struct EnvValue {
    /// The text; after loading, `${VAR}` is replaced.
    pub text: String,
    /// Whether the text holds a secret: then it is masked in output and delivered as [`SecretDelivery`] says.
    pub secret: bool,
}

impl fmt::Debug for EnvValue {
    /// A secret is masked here too: debug output ends up in logs and test failures.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.secret { MASK } else { &self.text };
        write!(f, "{text:?}")
    }
}

impl From<String> for EnvValue {
    fn from(text: String) -> Self {
        Self { text, secret: false }
    }
}

impl From<EnvValue> for String {
    fn from(value: EnvValue) -> Self {
        if value.secret { MASK.to_owned() } else { value.text }
    }
}

/// Serde and JSON Schema for a whole number from 1 to `$max`; a text may stand for it where `${VAR}` is replaced.
macro_rules! counted {
    ($type:ident, $max:expr, $expected:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u16(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                        u16::try_from(number)
                            .ok()
                            .filter(|number| (1..=$max).contains(number))
                            .map($type)
                            .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$type, E> {
                        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
                    }
                }
                deserializer.deserialize_i64(Visitor)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "integer", "minimum": 1, "maximum": $max, "description": $expected })
            }
        }
    };
}

/// A TCP port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(pub u16);

counted!(Port, u16::MAX, "a number from 1 to 65535");

/// A number of replicas, 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replicas(pub u16);

impl Replicas {
    /// The most replicas a service may have on one machine or cluster described by one file.
    pub const MAX: u16 = 1000;
}

counted!(Replicas, Replicas::MAX, "a number from 1 to 1000");

fn one_replica() -> Replicas {
    Replicas(1)
}

fn default_stop_timeout() -> TimeSpan {
    TimeSpan::seconds(30)
}

/// Processor and memory limits of one replica.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Processor share, such as `"250m"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory, such as `"256Mi"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
}

/// Horizontal autoscaling on processor use.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Autoscale {
    /// Fewest replicas.
    pub min: Replicas,
    /// Most replicas.
    pub max: Replicas,
    /// Target processor use in percent of the request.
    pub cpu: u8,
}

/// A process that ends.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The service whose source, environment and addresses the job has.
    pub service: Name,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Services that start only after this job ended well. Without it the job runs only by `scalectl run`.
    #[serde(default)]
    pub before: Vec<Name>,
}

/// The load balancer in front of one service.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Balancer {
    /// The service whose replicas it balances.
    pub service: Name,
    /// Port it listens on.
    pub port: Port,
    /// How long a replica that leaves may take to finish its requests.
    #[serde(default = "default_drain")]
    pub drain: TimeSpan,
}

fn default_drain() -> TimeSpan {
    TimeSpan::seconds(30)
}

/// A backing service: what is not written here comes from the catalog.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backing {
    /// Entry of the catalog; the section's own name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Name>,
    /// Image instead of the catalog's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Port inside its network instead of the catalog's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Additional environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// Most connections that a database accepts, for the connection budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// How many of these stay out of reach of the services, instead of the catalog's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve: Option<u32>,
    /// Processor and memory limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Service level objectives.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// Upper limit of the median response time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<TimeSpan>,
    /// Upper limit of the 95th percentile of the response time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<TimeSpan>,
    /// Upper limit of the 99th percentile of the response time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<TimeSpan>,
    /// Upper limit of the 99.9th percentile of the response time.
    #[serde(default, rename = "p99.9", skip_serializing_if = "Option::is_none")]
    pub p999: Option<TimeSpan>,
    /// Upper limit of the share of requests that did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Percent>,
}
