//! What the docker CLI was told, in its folder: `config.json` and contexts.
//!
//! Format: <https://docs.docker.com/reference/cli/docker/#configuration-files>.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::Failure;

/// What of `config.json` concerns us.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConfig {
    /// The context in use; none and `default` mean the default socket.
    pub current_context: Option<String>,
    /// Credentials by registry.
    pub auths: BTreeMap<String, Auth>,
    /// Name of the credential helper for every registry.
    pub creds_store: Option<String>,
    /// Names of credential helpers by registry.
    pub cred_helpers: BTreeMap<String, String>,
}

/// Credentials for one registry, as `docker login` writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// Base64 of `user:password`.
    pub auth: Option<String>,
    /// The user's name, where `auth` is not used.
    pub username: Option<String>,
    /// The password, where `auth` is not used.
    pub password: Option<String>,
    /// A token instead of a password.
    #[serde(rename = "identitytoken")]
    pub identity_token: Option<String>,
    /// A token that is sent to the registry as it is.
    #[serde(rename = "registrytoken")]
    pub registry_token: Option<String>,
}

/// The folder of the docker CLI: `DOCKER_CONFIG`, else `~/.docker`.
pub fn folder() -> Option<PathBuf> {
    variable("DOCKER_CONFIG").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".docker")))
}

/// An environment variable; an empty one counts as not set, as for the docker CLI.
pub(super) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

impl ClientConfig {
    /// Reads `config.json` in `folder`; what is not there is empty.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no such file.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("config.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Failure::usage(format!("{} is no configuration of the docker CLI", path.display()))
                    .because(error.to_string())
                    .hint("correct it, or move it away and run `docker login` again")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::failed(format!("cannot read {}", path.display()))
                .because(error.to_string())
                .hint("it may name the engine to use: make it readable, or set DOCKER_CONFIG to another folder")),
        }
    }
}
