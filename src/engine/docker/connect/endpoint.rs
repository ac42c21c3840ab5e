//! Where the engine is: `DOCKER_HOST`, a context of the docker CLI, or a socket at its usual place.
//!
//! The order is the docker CLI's: DOCKER_HOST goes before DOCKER_CONTEXT, which goes before `currentContext`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::client_config::{self, ClientConfig, variable};
use crate::error::Failure;

/// Where the system's engine listens.
const SYSTEM_SOCKET: &str = "/var/run/docker.sock";
/// Where the system's Podman listens.
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
/// The port of an engine without TLS, where the address names none.
const PORT: u16 = 2375;
/// The port of an engine with TLS, where the address names none.
const TLS_PORT: u16 = 2376;

/// Where an engine is, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// As a URL: `unix:///var/run/docker.sock`, `tcp://10.0.0.5:2376`.
    pub address: String,
    /// Who said so: `DOCKER_HOST`, `context prod`, `the default socket`.
    pub origin: String,
    /// It runs on another machine: the ports that it publishes are not on our loopback interface.
    pub remote: bool,
    /// How it is dialled.
    pub(super) dial: Dial,
}

/// How an endpoint is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dial {
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port`, with TLS or without.
    Tcp { authority: String, tls: Option<Tls> },
}

/// What TLS needs. A file that is not there is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The folder in which they are searched.
    pub folder: PathBuf,
    /// `ca.pem`, the authority that signed the engine's certificate; without it the system's authorities count.
    pub ca: Option<PathBuf>,
    /// `cert.pem` and `key.pem`, by which the engine knows the client.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Whether the engine's certificate is checked.
    pub verify: bool,
}

impl Tls {
    /// The files of the docker CLI in `folder`.
    fn in_folder(folder: PathBuf, verify: bool) -> Self {
        let present = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
        let client = present("cert.pem").zip(present("key.pem"));
        Self { ca: present("ca.pem"), client, verify, folder }
    }
}

impl Endpoint {
    /// An endpoint at `address`, which `origin` named. `tls` is what a `tcp://` address uses.
    ///
    /// # Errors
    ///
    /// The address has another form, or a scheme that is not supported.
    pub fn new(address: &str, origin: impl Into<String>, tls: Option<Tls>) -> Result<Self, Failure> {
        let origin = origin.into();
        let (scheme, rest) = address.split_once("://").unwrap_or(("tcp", address));
        let dial = match scheme {
            "unix" if rest.starts_with('/') => Dial::Unix(PathBuf::from(rest)),
            "tcp" | "http" => tcp(rest, tls).ok_or_else(|| malformed(address, &origin))?,
            "https" => {
                let tls = tls.unwrap_or_else(|| Tls::in_folder(client_config::folder().unwrap_or_default(), true));
                tcp(rest, Some(tls)).ok_or_else(|| malformed(address, &origin))?
            }
            "ssh" => return Err(ssh(address, rest, &origin)),
            _ => return Err(malformed(address, &origin)),
        };
        let (address, remote) = match &dial {
            Dial::Unix(path) => (format!("unix://{}", path.display()), false),
            Dial::Tcp { authority, .. } => (format!("tcp://{authority}"), !is_loopback(authority)),
        };
        Ok(Self { address, origin, remote, dial })
    }

    /// The machine that the engine runs on, if it is another one.
    pub fn host(&self) -> Option<&str> {
        let Dial::Tcp { authority, .. } = &self.dial else { return None };
        self.remote.then(|| authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host))
    }
}

/// `host:port`, the port added where it is missing. A path in the address would have no effect, so it is refused.
fn tcp(rest: &str, tls: Option<Tls>) -> Option<Dial> {
    let authority: http::uri::Authority = rest.trim_end_matches('/').parse().ok()?;
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return None;
    }
    let default = if tls.is_some() { TLS_PORT } else { PORT };
    let authority = match authority.port() {
        Some(port) => format!("{}:{}", authority.host(), port.as_str()),
        None => format!("{}:{default}", authority.host()),
    };
    Some(Dial::Tcp { authority, tls })
}

fn is_loopback(authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn malformed(address: &str, origin: &str) -> Failure {
    Failure::usage(format!("{origin}: expected unix:///PATH or tcp://HOST:PORT, found {address:?}"))
}

fn ssh(address: &str, user_at_host: &str, origin: &str) -> Failure {
    let host = user_at_host.split('/').next().unwrap_or(user_at_host);
    Failure::usage(format!("{origin}: engines behind ssh:// are not supported, found {address:?}"))
        .hint(format!("forward its socket: ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock {host}"))
        .hint("then set DOCKER_HOST=unix:///tmp/docker.sock")
}

/// Finds the engine that the docker CLI would use, or Podman's socket where there is no Docker.
///
/// # Errors
///
/// What names an engine is wrong: an address, a context that does not exist, an unreadable configuration.
pub fn find() -> Result<Option<Endpoint>, Failure> {
    Settings::from_environment().endpoint()
}

/// What the environment says about the engine.
#[derive(Debug, Default)]
struct Settings {
    /// DOCKER_HOST.
    host: Option<String>,
    /// DOCKER_TLS_VERIFY, or DOCKER_TLS with `false`: TLS that checks no certificate.
    tls: Option<bool>,
    /// DOCKER_CERT_PATH.
    certificates: Option<PathBuf>,
    /// DOCKER_CONTEXT.
    context: Option<String>,
    /// Folder of the docker CLI.
    config: Option<PathBuf>,
    /// XDG_RUNTIME_DIR.
    runtime: Option<PathBuf>,
    /// The user's home.
    home: Option<PathBuf>,
}

impl Settings {
    fn from_environment() -> Self {
        let text = |name| variable(name).map(|value| value.to_string_lossy().into_owned());
        let tls = variable("DOCKER_TLS_VERIFY").map(|_| true).or_else(|| variable("DOCKER_TLS").map(|_| false));
        Self {
            host: text("DOCKER_HOST"),
            tls,
            certificates: variable("DOCKER_CERT_PATH").map(PathBuf::from),
            context: text("DOCKER_CONTEXT"),
            config: client_config::folder(),
            runtime: variable("XDG_RUNTIME_DIR").map(PathBuf::from),
            home: env::home_dir(),
        }
    }

    fn endpoint(&self) -> Result<Option<Endpoint>, Failure> {
        if let Some(host) = &self.host {
            return Endpoint::new(host, "DOCKER_HOST", self.tls()).map(Some);
        }
        if let Some((name, origin)) = self.context()?.filter(|(name, _)| name != "default") {
            return self.of_context(&name, &origin).map(Some);
        }
        let found = self.sockets().into_iter().find(|(socket, _)| socket.exists());
        found.map(|(socket, origin)| Endpoint::new(&format!("unix://{}", socket.display()), origin, None)).transpose()
    }

    fn tls(&self) -> Option<Tls> {
        let folder = self.certificates.clone().or_else(|| self.config.clone()).unwrap_or_default();
        self.tls.map(|verify| Tls::in_folder(folder, verify))
    }

    /// The context in use, and who chose it.
    fn context(&self) -> Result<Option<(String, String)>, Failure> {
        if let Some(name) = &self.context {
            return Ok(Some((name.clone(), "DOCKER_CONTEXT".to_owned())));
        }
        let Some(folder) = &self.config else { return Ok(None) };
        let current = ClientConfig::read(folder)?.current_context.filter(|name| !name.is_empty());
        Ok(current.map(|name| (name, folder.join("config.json").display().to_string())))
    }

    fn of_context(&self, name: &str, chosen_by: &str) -> Result<Endpoint, Failure> {
        let folder = self.config.clone().unwrap_or_default().join("contexts");
        let contexts = contexts(&folder.join("meta"));
        let Some((id, context)) = contexts.iter().find(|(_, context)| context.name == name) else {
            let known: Vec<_> = contexts.iter().map(|(_, context)| context.name.as_str()).collect();
            return Err(Failure::usage(format!("{chosen_by}: there is no context {name:?}")).hint(format!(
                "known contexts: default{}{}",
                if known.is_empty() { "" } else { ", " },
                known.join(", ")
            )));
        };
        let Some(endpoint) = context.endpoints.docker.as_ref().filter(|endpoint| !endpoint.host.is_empty()) else {
            return Err(Failure::usage(format!("context {name} ({chosen_by}) names no Docker engine")));
        };
        let files = Tls::in_folder(folder.join("tls").join(id).join("docker"), !endpoint.skip_verify);
        let tls = (files.ca.is_some() || files.client.is_some() || endpoint.skip_verify).then_some(files);
        Endpoint::new(&endpoint.host, format!("context {name}"), tls)
    }

    /// Sockets at their usual places, Podman's last.
    fn sockets(&self) -> Vec<(PathBuf, &'static str)> {
        let below = |folder: &Option<PathBuf>, path: &str| folder.as_ref().map(|folder| folder.join(path));
        let places = [
            (Some(PathBuf::from(SYSTEM_SOCKET)), "the default socket"),
            (below(&self.runtime, "docker.sock"), "the socket of rootless Docker"),
            (below(&self.home, ".docker/run/docker.sock"), "the socket of Docker Desktop"),
            (below(&self.runtime, "podman/podman.sock"), "the socket of rootless Podman"),
            (Some(PathBuf::from(PODMAN_SOCKET)), "the socket of Podman"),
        ];
        places.into_iter().filter_map(|(path, origin)| Some((path?, origin))).collect()
    }
}

/// A context, as `docker context create` writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Context {
    name: String,
    #[serde(default)]
    endpoints: Endpoints,
}

#[derive(Debug, Default, Deserialize)]
struct Endpoints {
    docker: Option<ContextEndpoint>,
}

#[derive(Debug, Deserialize)]
struct ContextEndpoint {
    #[serde(rename = "Host", default)]
    host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    skip_verify: bool,
}

/// All contexts with their ids, the names of their folders. What is no context is left out.
fn contexts(folder: &Path) -> Vec<(PathBuf, Context)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let bytes = fs::read(entry.path().join("meta.json")).ok()?;
        Some((PathBuf::from(entry.file_name()), serde_json::from_slice(&bytes).ok()?))
    };
    let mut found: Vec<(PathBuf, Context)> = entries.filter_map(read).collect();
    found.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn settings(config: &Path) -> Settings {
        Settings { config: Some(config.to_owned()), ..Settings::default() }
    }

    const PROD: &str =
        r#"{"Name":"prod","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://10.1.2.3:2376","SkipTLSVerify":false}}}"#;

    #[test]
    fn an_address_is_parsed_with_the_default_port_of_its_kind() {
        let tls = || Some(Tls::in_folder("/nowhere".into(), true));
        let address = |text: &str, tls| Endpoint::new(text, "DOCKER_HOST", tls).unwrap().address;
        assert_eq!(address("tcp://box", None), "tcp://box:2375");
        assert_eq!(address("tcp://box", tls()), "tcp://box:2376");
        assert_eq!(address("box:99", None), "tcp://box:99");
        assert_eq!(address("https://box/", tls()), "tcp://box:2376");
        assert_eq!(address("tcp://[::1]:5", None), "tcp://[::1]:5");
        assert_eq!(address("unix:///run/d.sock", None), "unix:///run/d.sock");
    }

    #[test]
    fn only_another_machine_is_remote() {
        for (address, remote) in [
            ("unix:///run/d.sock", false),
            ("tcp://localhost:1", false),
            ("tcp://127.0.0.2:1", false),
            ("tcp://[::1]:1", false),
            ("tcp://10.0.0.1:1", true),
            ("tcp://box", true),
        ] {
            assert_eq!(Endpoint::new(address, "x", None).unwrap().remote, remote, "{address}");
        }
    }

    #[test]
    fn other_addresses_are_refused_with_their_origin() {
        for wrong in ["unix://relative", "fd://", "tcp://", "tcp://a b", "tcp://host:1/path", "npipe:////./pipe/d"] {
            let refused = Endpoint::new(wrong, "DOCKER_HOST", None).unwrap_err();
            assert!(refused.what().starts_with("DOCKER_HOST: expected unix:///PATH or tcp://HOST:PORT"), "{wrong}");
            assert_eq!(refused.exit(), crate::error::Exit::Usage);
        }
        let ssh = Endpoint::new("ssh://ada@box", "context prod", None).unwrap_err();
        assert!(ssh.hints()[0].ends_with("docker.sock ada@box"), "{:?}", ssh.hints());
    }

    #[test]
    fn docker_host_goes_before_contexts_and_docker_context_before_the_file() {
        let folder = written(&[
            ("config.json", r#"{"currentContext":"prod","auths":{}}"#),
            ("contexts/meta/aa/meta.json", PROD),
            ("contexts/meta/bb/meta.json", r#"{"Name":"desk","Endpoints":{"docker":{"Host":"unix:///d.sock"}}}"#),
        ]);
        let mut settings = settings(folder.path());
        let origin = |settings: &Settings| settings.endpoint().unwrap().unwrap();
        assert_eq!(origin(&settings).origin, "context prod");
        assert!(origin(&settings).remote);
        settings.context = Some("desk".into());
        assert_eq!(origin(&settings).address, "unix:///d.sock");
        settings.host = Some("tcp://h:1".into());
        assert_eq!(origin(&settings).origin, "DOCKER_HOST");
    }

    #[test]
    fn a_context_brings_its_own_certificates() {
        let folder = written(&[
            ("contexts/meta/aa/meta.json", PROD),
            ("contexts/tls/aa/docker/ca.pem", ""),
            ("contexts/tls/aa/docker/cert.pem", ""),
            ("contexts/tls/aa/docker/key.pem", ""),
        ]);
        let settings = Settings { context: Some("prod".into()), ..settings(folder.path()) };
        let endpoint = settings.endpoint().unwrap().unwrap();
        let Dial::Tcp { tls: Some(tls), .. } = endpoint.dial else { panic!("no TLS") };
        assert!(tls.verify && tls.ca.is_some() && tls.client.is_some());
        assert_eq!(tls.folder, folder.path().join("contexts/tls/aa/docker"));
    }

    #[test]
    fn an_unknown_context_names_the_known_ones() {
        let folder = written(&[("config.json", r#"{"currentContext":"gone"}"#), ("contexts/meta/aa/meta.json", PROD)]);
        let refused = settings(folder.path()).endpoint().unwrap_err();
        assert!(refused.what().ends_with("config.json: there is no context \"gone\""), "{refused}");
        assert_eq!(refused.hints(), ["known contexts: default, prod"]);
    }

    #[test]
    fn sockets_are_tried_docker_first_podman_last() {
        let settings =
            Settings { runtime: Some("/run/user/7".into()), home: Some("/home/ada".into()), ..Settings::default() };
        let places: Vec<_> = settings.sockets().into_iter().map(|(path, _)| path.display().to_string()).collect();
        assert_eq!(
            places,
            [
                "/var/run/docker.sock",
                "/run/user/7/docker.sock",
                "/home/ada/.docker/run/docker.sock",
                "/run/user/7/podman/podman.sock",
                "/run/podman/podman.sock"
            ]
        );
    }
}
