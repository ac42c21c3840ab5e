//! What a service's `runtime` needs before its command can run, prepared once and kept in the user's cache.
//!
//! | runtime | made from | result |
//! | --- | --- | --- |
//! | `python` | `requirements.lock` (with hashes) | a virtual environment, built by `uv` where it is installed, else by `venv` and `pip` |
//! | `node` | `package.json`, `package-lock.json` | `node_modules` by `npm ci`, and a link to it beside the source |
//! | `rust` | the whole source | the binaries of `cargo build --release --locked` |
//! | `none` | nothing | nothing |
//!
//! An environment lies at `<cache>/scalectl/envs/<key>`, where the key is a digest of everything it is made from: a new
//! lock file gives a new folder, and replicas that still run keep theirs. It is built in place (a virtual environment
//! cannot be moved) under a lock beside it, and its marker is written last: a folder without a valid marker was
//! interrupted, and is built again from nothing. [`plan`] looks and decides, [`Plan::prepare`] builds.

mod build;
mod error;
mod node;
mod python;
mod rust;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::stack::Runtime;

pub use error::EnvironmentError;

/// Raised when environments are built differently, so that those of an older version are not taken for these.
const FORMAT: &str = "1";

/// What a replica's process is given so that it runs in its environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// Folders before all others in `PATH`.
    pub path_prefix: Vec<PathBuf>,
    /// Variables to set.
    pub variables: Vec<(String, String)>,
    /// Variables of the caller's shell that must not reach the process.
    pub removed: &'static [&'static str],
    /// Digest of what it was made from; empty where there is nothing to prepare.
    pub key: String,
}

impl Environment {
    /// The value of `PATH` for the process, given that of the caller.
    pub fn path(&self, caller: Option<OsString>) -> OsString {
        let caller = caller.unwrap_or_default();
        let folders = self.path_prefix.iter().cloned().chain(std::env::split_paths(&caller));
        // Only a folder with a `:` in its name cannot be joined; the caller's PATH alone is the best that is left.
        std::env::join_paths(folders).unwrap_or(caller)
    }
}

/// What happens while an environment is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Another command is preparing the same environment; this one waits for it.
    Waiting {
        /// That command's process id, if it could be told.
        holder: Option<u32>,
    },
    /// A program was started, written as one would type it.
    Running(&'a str),
    /// A line that the program wrote.
    Output(&'a str),
    /// Something the user may want to know.
    Note(&'a str),
}

/// Where environments are kept, and which commands of the caller are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The folder of all environments.
    pub cache: PathBuf,
    /// The caller's `PATH`.
    pub path: OsString,
}

impl Host {
    /// From the process's own environment.
    ///
    /// # Errors
    /// Neither `XDG_CACHE_HOME` nor `HOME` is an absolute path.
    pub fn from_process() -> Result<Self, EnvironmentError> {
        let variable = |name| std::env::var_os(name);
        let cache = cache_folder(variable("XDG_CACHE_HOME"), variable("HOME"))?;
        Ok(Self { cache, path: variable("PATH").unwrap_or_default() })
    }

    /// The first program called `name` on the path.
    fn program(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.path).map(|folder| folder.join(name)).find(|path| build::is_executable(path))
    }
}

/// `$XDG_CACHE_HOME/scalectl/envs`, by default `~/.cache/scalectl/envs`. The XDG specification has relative paths
/// ignored.
fn cache_folder(xdg: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, EnvironmentError> {
    let absolute = |folder: Option<OsString>| folder.map(PathBuf::from).filter(|folder| folder.is_absolute());
    let cache = absolute(xdg).or_else(|| absolute(home).map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("scalectl").join("envs")).ok_or(EnvironmentError::NoCache)
}

/// What is to be prepared for one service, and how: decided, not yet done.
#[derive(Debug, Clone)]
pub struct Plan {
    recipe: Recipe,
    key: String,
    folder: PathBuf,
    host: Host,
}

#[derive(Debug, Clone)]
enum Recipe {
    Nothing,
    Python(python::Recipe),
    Node(node::Recipe),
    Rust(rust::Recipe),
}

/// Looks at the source and at the tools of this machine, and decides what its environment is.
///
/// Reads lock files and asks the tools for their version; builds and writes nothing. `source_hash` is used where the
/// build takes the whole source (rust).
///
/// # Errors
/// A lock file or a tool is missing.
pub fn plan(
    runtime: Runtime,
    source: &Path,
    source_hash: impl FnOnce() -> Result<String, EnvironmentError>,
    host: &Host,
) -> Result<Plan, EnvironmentError> {
    let (recipe, key) = match runtime {
        Runtime::None => (Recipe::Nothing, String::new()),
        Runtime::Python => {
            let (recipe, key) = python::recipe(source, host)?;
            (Recipe::Python(recipe), key)
        }
        Runtime::Node => match node::recipe(source, host)? {
            Some((recipe, key)) => (Recipe::Node(recipe), key),
            None => (Recipe::Nothing, String::new()),
        },
        Runtime::Rust => {
            let (recipe, key) = rust::recipe(source, &source_hash()?, host)?;
            (Recipe::Rust(recipe), key)
        }
    };
    let folder = host.cache.join(&key);
    Ok(Plan { recipe, key, folder, host: host.clone() })
}

/// The key of an environment: a digest of named parts, in their order.
fn key(runtime: &str, parts: &[(&str, &[u8])]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, value) in [("format", FORMAT.as_bytes()), ("runtime", runtime.as_bytes())].iter().chain(parts) {
        for bytes in [name.as_bytes(), value] {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
    }
    // 128 bits: short enough for the paths of sockets and interpreters, long enough never to meet twice.
    format!("{runtime}-{}", &hasher.finalize().to_hex()[..32])
}

impl Plan {
    /// Digest of what the environment is made from; empty where there is nothing to prepare.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What it is made from, for a plan that says why it must be prepared.
    pub fn made_from(&self) -> &'static str {
        match self.recipe {
            Recipe::Nothing => "nothing",
            Recipe::Python(_) => python::LOCK_FILE,
            Recipe::Node(_) => node::LOCK_FILE,
            Recipe::Rust(_) => "the source",
        }
    }

    /// Whether nothing needs to be built.
    pub fn is_ready(&self) -> bool {
        match &self.recipe {
            Recipe::Nothing => true,
            Recipe::Python(recipe) => build::is_complete(&self.folder, &self.key) && recipe.is_ready(&self.folder),
            Recipe::Node(recipe) => build::is_complete(&self.folder, &self.key) && recipe.is_ready(&self.folder),
            Recipe::Rust(_) => build::is_complete(&self.folder, &self.key),
        }
    }

    /// What a process is given to run in it; valid once it is ready.
    pub fn environment(&self) -> Environment {
        let (path_prefix, variables, removed) = match &self.recipe {
            Recipe::Nothing => return Environment::default(),
            Recipe::Python(_) => python::environment(&self.folder),
            Recipe::Node(_) => node::environment(&self.folder),
            Recipe::Rust(_) => rust::environment(&self.folder),
        };
        Environment { path_prefix, variables, removed, key: self.key.clone() }
    }

    /// Builds the environment if it is not ready, and returns it. Blocks: it may take minutes.
    ///
    /// # Errors
    /// What the builder said, or what could not be written.
    pub fn prepare(&self, progress: &dyn Fn(Progress<'_>)) -> Result<Environment, EnvironmentError> {
        if !self.is_ready() {
            let site = build::Site { folder: &self.folder, key: &self.key, progress };
            match &self.recipe {
                Recipe::Nothing => {}
                Recipe::Python(recipe) => {
                    site.build(|builder| recipe.build(builder, &self.host), || self.is_ready())?
                }
                Recipe::Node(recipe) => {
                    site.build(
                        |builder| recipe.build(builder, &self.host),
                        || build::is_complete(&self.folder, &self.key),
                    )?;
                    recipe.link(&self.folder)?;
                }
                Recipe::Rust(recipe) => site.build(|builder| recipe.build(builder, &self.host), || self.is_ready())?,
            }
        }
        Ok(self.environment())
    }
}
