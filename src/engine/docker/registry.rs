//! The credentials that the docker CLI has for a registry.
//!
//! Where they are, as `docker login` puts them: the credential helper of this registry (`credHelpers`), else the one for
//! all registries (`credsStore`), else `auths` in `config.json`.
//! Protocol of the helpers: <https://github.com/docker/docker-credential-helpers>.

use std::collections::HashMap;
use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::client_config::{self, Auth, ClientConfig};
use super::reference::{DOCKER_HUB, Reference};
use crate::engine::Note;

/// The name of Docker Hub in `config.json`.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// How long a helper may take: some ask the user to unlock a key ring.
const PATIENCE: Duration = Duration::from_secs(60);
/// The user name that marks a secret as an identity token.
const TOKEN_USER: &str = "<token>";

/// The credentials for the registry of an image; `None` is anonymous.
///
/// Credentials that are configured and cannot be had are worth a warning, and the registry is asked anonymously: most
/// images are public.
pub async fn credentials(image: &str, note: &dyn Fn(Note)) -> Option<DockerCredentials> {
    let folder = client_config::folder()?;
    let key = key(&Reference::of(image).registry);
    let found = match ClientConfig::read(&folder) {
        Ok(config) => of_registry(&config, &key).await,
        Err(failure) => Err(failure.what().to_owned()),
    };
    found.unwrap_or_else(|reason| {
        note(Note::Warning(format!("no credentials for {key}, asking anonymously: {reason}")));
        None
    })
}

/// The credentials for the registries of several images, by the registry's name in `config.json`.
pub async fn credentials_of(images: &[String], note: &dyn Fn(Note)) -> HashMap<String, DockerCredentials> {
    let mut found = HashMap::new();
    for image in images {
        let key = key(&Reference::of(image).registry);
        if found.contains_key(&key) {
            continue;
        }
        if let Some(credentials) = credentials(image, note).await {
            found.insert(key, credentials);
        }
    }
    found
}

/// The name of a registry in `config.json`.
fn key(registry: &str) -> String {
    if registry == DOCKER_HUB { DOCKER_HUB_KEY.to_owned() } else { registry.to_owned() }
}

async fn of_registry(config: &ClientConfig, key: &str) -> Result<Option<DockerCredentials>, String> {
    let store = config.creds_store.as_ref().filter(|name| !name.is_empty());
    match config.cred_helpers.get(key).or(store) {
        Some(helper) => ask(helper, key).await,
        None => match written(config, key) {
            Some(auth) => decoded(auth, key).map(Some),
            None => Ok(None),
        },
    }
}

/// The entry of `auths`, also under the URLs that older versions wrote: `https://HOST/v1/`.
fn written<'a>(config: &'a ClientConfig, key: &str) -> Option<&'a Auth> {
    let of_host = || config.auths.iter().find(|(written, _)| host(written) == key).map(|(_, auth)| auth);
    config.auths.get(key).or_else(of_host)
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn decoded(auth: &Auth, key: &str) -> Result<DockerCredentials, String> {
    let mut credentials = DockerCredentials {
        username: auth.username.clone(),
        password: auth.password.clone(),
        identitytoken: auth.identity_token.clone(),
        registrytoken: auth.registry_token.clone(),
        serveraddress: Some(key.to_owned()),
        ..DockerCredentials::default()
    };
    if let Some(encoded) = auth.auth.as_ref().filter(|encoded| !encoded.is_empty()) {
        let malformed = || "its `auth` in config.json is not base64 of USER:PASSWORD".to_owned();
        let bytes = STANDARD.decode(encoded).map_err(|_| malformed())?;
        let text = String::from_utf8(bytes).map_err(|_| malformed())?;
        let (user, password) = text.split_once(':').ok_or_else(malformed)?;
        credentials.username = Some(user.to_owned());
        credentials.password = Some(password.trim_end_matches('\0').to_owned());
    }
    Ok(credentials)
}

/// What a credential helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

async fn ask(helper: &str, key: &str) -> Result<Option<DockerCredentials>, String> {
    let program = format!("docker-credential-{helper}");
    let output = timeout(PATIENCE, run(&program, key))
        .await
        .map_err(|_| format!("{program} did not answer within {} s", PATIENCE.as_secs()))?
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("{program} is not installed (config.json names it)"),
            _ => format!("{program} cannot be run: {error}"),
        })?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        // The helpers say so on stdout, in these words.
        let unknown = said.contains("credentials not found");
        return if unknown { Ok(None) } else { Err(format!("{program} failed: {}", complaint(&output))) };
    }
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|_| format!("{program} answered no JSON"))?;
    Ok(Some(answered(answer, key)))
}

fn answered(Answer { username, secret }: Answer, key: &str) -> DockerCredentials {
    let serveraddress = Some(key.to_owned());
    if username == TOKEN_USER {
        return DockerCredentials { identitytoken: Some(secret), serveraddress, ..DockerCredentials::default() };
    }
    DockerCredentials {
        username: Some(username),
        password: Some(secret),
        serveraddress,
        ..DockerCredentials::default()
    }
}

/// The first line of what a helper that failed has to say.
fn complaint(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&all);
    text.lines().map(str::trim).find(|line| !line.is_empty()).map_or_else(|| output.status.to_string(), str::to_owned)
}

async fn run(program: &str, key: &str) -> io::Result<Output> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that fails at its start reads nothing; its output says why.
        let _ = stdin.write_all(key.as_bytes()).await;
    }
    child.wait_with_output().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> ClientConfig {
        serde_json::from_str(json).unwrap()
    }

    async fn found(json: &str, image: &str) -> Result<Option<DockerCredentials>, String> {
        of_registry(&config(json), &key(&Reference::of(image).registry)).await
    }

    #[tokio::test]
    async fn docker_hub_has_its_old_name() {
        // ada:love
        let json = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "YWRhOmxvdmU="}}}"#;
        let credentials = found(json, "python:3.13").await.unwrap().unwrap();
        assert_eq!((credentials.username.as_deref(), credentials.password.as_deref()), (Some("ada"), Some("love")));
        assert_eq!(found(json, "ghcr.io/a/b").await, Ok(None));
    }

    #[tokio::test]
    async fn a_registry_is_found_under_its_url_too() {
        let json = r#"{"auths": {"https://localhost:5000/v2/": {"auth": "YTpiOmM="}}}"#;
        let credentials = found(json, "localhost:5000/x").await.unwrap().unwrap();
        assert_eq!(credentials.password.as_deref(), Some("b:c"));
        assert_eq!(credentials.serveraddress.as_deref(), Some("localhost:5000"));
    }

    #[tokio::test]
    async fn tokens_take_the_place_of_passwords() {
        let json = r#"{"auths": {"r.io": {"identitytoken": "t"}}}"#;
        assert_eq!(found(json, "r.io/x").await.unwrap().unwrap().identitytoken.as_deref(), Some("t"));
        let token = answered(Answer { username: TOKEN_USER.into(), secret: "s".into() }, "r.io");
        assert_eq!((token.identitytoken.as_deref(), token.username), (Some("s"), None));
    }

    #[tokio::test]
    async fn what_is_wrong_with_credentials_is_said() {
        let broken = found(r#"{"auths": {"r.io": {"auth": "%%"}}}"#, "r.io/x").await.unwrap_err();
        assert!(broken.contains("not base64"), "{broken}");
        let missing = found(r#"{"credHelpers": {"r.io": "scalectl-none"}}"#, "r.io/x").await.unwrap_err();
        assert_eq!(missing, "docker-credential-scalectl-none is not installed (config.json names it)");
        // The helper of a registry goes before the one for all.
        let json = r#"{"credsStore": "scalectl-other", "credHelpers": {"r.io": "scalectl-none"}}"#;
        assert!(found(json, "r.io/x").await.unwrap_err().contains("scalectl-none"));
        assert!(found(json, "q.io/x").await.unwrap_err().contains("scalectl-other"));
    }
}
