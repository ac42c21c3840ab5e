//! The connection to an engine: finding it, asking what it is, and saying why it does not answer.

mod cause;
mod endpoint;
mod transport;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, BollardRequest, ClientVersion, Docker};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

pub use endpoint::{Endpoint, Tls, find};

use crate::error::Failure;
use transport::Transport;

/// How long an engine may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to say what there is. Usually that is some milliseconds; one that has locked itself up answers a
/// ping, and this never.
const ANSWER: Duration = Duration::from_secs(60);
/// How long it may take to begin another answer: waiting for the end of a container is one request, which some engines
/// begin to answer only at its end.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);
/// Engine 20.10, the oldest that the tests run on.
const OLDEST: (usize, usize) = (1, 41);
/// Of the answer to a ping, no more than this is read.
const PING_LIMIT: usize = 64 << 10;

/// An engine that answered.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The client, at the API version that both sides know.
    pub docker: Docker,
    /// Where it is.
    pub endpoint: Endpoint,
    /// What it is.
    pub engine: EngineInfo,
}

/// What an engine said about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its version: `20.10.24+dfsg1`.
    pub version: String,
    /// The API version in use, the newest that both sides know: `1.41`.
    pub api: String,
    /// It is Podman.
    pub podman: bool,
    /// It wants images to be built by BuildKit.
    pub buildkit: bool,
}

impl fmt::Display for EngineInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.podman { "Podman" } else { "Docker Engine" }, self.version)
    }
}

/// Connects to an engine: asks what it is, and settles the API version.
///
/// # Errors
///
/// With the root cause, when it does not answer within 5 seconds, is too old, or is no Docker engine.
pub async fn connect(endpoint: &Endpoint) -> Result<Connection, Failure> {
    connect_within(PATIENCE, ANSWER, endpoint).await
}

async fn connect_within(patience: Duration, answer: Duration, endpoint: &Endpoint) -> Result<Connection, Failure> {
    let transport = Transport::to(endpoint)?;
    timeout(patience, handshake(endpoint, transport, answer))
        .await
        .unwrap_or_else(|_| Err(cause::silent(endpoint, &format!("no answer within {} s", patience.as_secs()))))
}

async fn handshake(endpoint: &Endpoint, transport: Transport, answer: Duration) -> Result<Connection, Failure> {
    let Pong { api, buildkit, podman } = ping(endpoint, &transport).await?;
    let docker = client(transport, api, answer)?;
    let asked = docker.version().await;
    let version = asked.map_err(|error| cause::unanswered(endpoint, &error))?.version.unwrap_or_default();
    let engine = EngineInfo { version, api: format!("{}.{}", api.0, api.1), podman, buildkit };
    Ok(Connection { docker, endpoint: endpoint.clone(), engine })
}

/// What the headers of the answer to a ping say.
#[derive(Debug, PartialEq, Eq)]
struct Pong {
    api: (usize, usize),
    buildkit: bool,
    podman: bool,
}

async fn ping(endpoint: &Endpoint, transport: &Transport) -> Result<Pong, Failure> {
    let request = http::Request::get(format!("{}/_ping", transport.base)).body(bollard::body_full(Bytes::new()));
    let request = request.map_err(|error| cause::unanswered(endpoint, &error))?;
    let response = transport.send(request).await.map_err(|error| cause::unanswered(endpoint, &error))?;
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        let body = Limited::new(body, PING_LIMIT).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        return Err(cause::unexpected(endpoint, head.status, &String::from_utf8_lossy(&body)));
    }
    let pong = pong(&head.headers).ok_or_else(|| cause::foreign(endpoint))?;
    if pong.api < OLDEST {
        return Err(too_old(endpoint, pong.api));
    }
    Ok(pong)
}

/// `None` if it is no answer of a Docker API.
fn pong(headers: &HeaderMap) -> Option<Pong> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (major, minor) = text("api-version")?.split_once('.')?;
    let server = (major.parse().ok()?, minor.parse().ok()?);
    let ours = (API_DEFAULT_VERSION.major_version, API_DEFAULT_VERSION.minor_version);
    Some(Pong {
        api: server.min(ours),
        buildkit: text("builder-version") == Some("2"),
        podman: headers.contains_key("libpod-api-version"),
    })
}

fn too_old(endpoint: &Endpoint, (major, minor): (usize, usize)) -> Failure {
    Failure::failed(format!("the Docker engine at {} ({}) is too old", endpoint.address, endpoint.origin))
        .because(format!(
            "it speaks API {major}.{minor}; Docker Engine 20.10 (API {}.{}) is needed",
            OLDEST.0, OLDEST.1
        ))
        .hint("upgrade it")
}

/// bollard over our transport. bollard names no version in its requests, so the transport does.
fn client(
    transport: Transport,
    (major_version, minor_version): (usize, usize),
    patience: Duration,
) -> Result<Docker, Failure> {
    let base = transport.base.clone();
    let send = move |mut request: BollardRequest| {
        let is_question = is_question(&request);
        let versioned = versioned(request.uri(), (major_version, minor_version));
        if let Some(uri) = versioned {
            *request.uri_mut() = uri;
        }
        let answer = transport.send(request);
        async move {
            if is_question {
                let answered =
                    timeout(patience, answer).await.map_err(|_| bollard::errors::Error::RequestTimeoutError)?;
                return Ok(answered?);
            }
            Ok(answer.await?)
        }
    };
    let version = ClientVersion { major_version, minor_version };
    Docker::connect_with_custom_transport(send, Some(base), LONGEST_WAIT.as_secs(), &version)
        .map_err(|error| Failure::failed("the Docker client cannot be set up").because(error.to_string()))
}

/// Whether a request asks what there is; others wait for something, read a stream, or do what takes its time.
fn is_question(request: &BollardRequest) -> bool {
    let path = request.uri().path();
    let is_list = path.ends_with("/json") && !path.starts_with("/distribution/");
    request.method() == http::Method::GET
        && (is_list || ["/networks", "/volumes", "/version", "/info"].iter().any(|begin| path.starts_with(begin)))
}

fn versioned(uri: &hyper::Uri, (major, minor): (usize, usize)) -> Option<hyper::Uri> {
    let mut parts = uri.clone().into_parts();
    let path = parts.path_and_query?;
    parts.path_and_query = Some(format!("/v{major}.{minor}{path}").parse().ok()?);
    hyper::Uri::from_parts(parts).ok()
}
