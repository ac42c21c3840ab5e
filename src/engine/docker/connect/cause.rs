//! Why an engine does not answer, and what to do about it.

use std::error::Error;
use std::io;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User};
use rustls::{AlertDescription, CertificateError};

use super::endpoint::{Dial, Endpoint, Tls};
use crate::error::Failure;

/// How to start an engine on this machine.
const START: &str = "start it: sudo systemctl start docker, or Docker Desktop";

/// The failure for a request that was not answered.
pub(super) fn unanswered(endpoint: &Endpoint, error: &(dyn Error + 'static)) -> Failure {
    if let (Some(error), Dial::Tcp { tls: Some(files), .. }) = (search::<rustls::Error>(error), &endpoint.dial) {
        return insecure(endpoint, files, error);
    }
    match search::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::PermissionDenied) => forbidden(endpoint),
        Some(io::ErrorKind::NotFound) => absent(endpoint),
        Some(io::ErrorKind::ConnectionRefused) => refused(endpoint),
        Some(io::ErrorKind::TimedOut) => silent(endpoint, "the connection did not come about in time"),
        _ if text(error).contains("dns error") => unresolved(endpoint, error),
        _ => other(endpoint, error),
    }
}

/// The failure for an endpoint that takes a connection and says nothing.
pub(super) fn silent(endpoint: &Endpoint, reason: &str) -> Failure {
    let failure = about(endpoint, "does not answer").because(reason);
    match endpoint.dial {
        Dial::Unix(_) => failure.hint("it may hang or still be starting: see journalctl -u docker, and restart it"),
        Dial::Tcp { .. } => failure.hint("is the host up and its port open for this machine (firewall)?"),
    }
}

/// The failure for an answer with an error status.
pub(super) fn unexpected(endpoint: &Endpoint, status: http::StatusCode, body: &str) -> Failure {
    // What Go's HTTP server says to plain HTTP on a TLS port.
    if body.contains("HTTP request to an HTTPS server") {
        return about(endpoint, "wants TLS, and the connection has none")
            .hint("set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the folder of ca.pem, cert.pem and key.pem");
    }
    let failure = about(endpoint, &format!("answered {status} to a ping"));
    match body.trim().lines().next() {
        Some(line) if !line.is_empty() => failure.because(line),
        _ => failure,
    }
}

/// The failure for a server that is something else.
pub(super) fn foreign(endpoint: &Endpoint) -> Failure {
    Failure::failed(format!("what answers at {} ({}) is no Docker API", endpoint.address, endpoint.origin))
        .because("its answer to GET /_ping has no Api-Version header")
        .hint("correct the address")
}

fn about(endpoint: &Endpoint, what: &str) -> Failure {
    Failure::failed(format!("the Docker engine at {} ({}) {what}", endpoint.address, endpoint.origin))
}

fn absent(endpoint: &Endpoint) -> Failure {
    about(endpoint, "is not there").because("the socket does not exist").hint(START)
}

fn refused(endpoint: &Endpoint) -> Failure {
    match endpoint.dial {
        Dial::Unix(_) => {
            about(endpoint, "is not running").because("the socket is there, and nobody listens on it").hint(START)
        }
        Dial::Tcp { .. } => about(endpoint, "is not running")
            .because("the host refuses the connection: nothing listens on this port")
            .hint("is the engine running there, and is the port right (2376 with TLS, 2375 without)?"),
    }
}

fn unresolved(endpoint: &Endpoint, error: &(dyn Error + 'static)) -> Failure {
    about(endpoint, "has a host name that cannot be resolved")
        .because(root(error))
        .hint(format!("correct the address in {}", endpoint.origin))
}

fn forbidden(endpoint: &Endpoint) -> Failure {
    let failure = Failure::failed(format!("no permission to use the Docker engine at {}", endpoint.address));
    let Dial::Unix(path) = &endpoint.dial else { return failure };
    let user = user();
    let Some(group) = group_of(path) else { return failure.hint("its folder is closed to you: ask its owner") };
    failure
        .because(format!("the socket belongs to group {group}, and {user} is not in it"))
        .hint(format!("sudo usermod -aG {group} {user}, then log in again"))
        .hint("or use rootless Docker or Podman")
}

fn user() -> String {
    let user = Uid::effective();
    User::from_uid(user).ok().flatten().map_or_else(|| format!("user {user}"), |user| user.name)
}

/// `None` where the socket cannot even be looked at.
fn group_of(path: &Path) -> Option<String> {
    let id = nix::sys::stat::stat(path).ok()?.st_gid;
    Some(Group::from_gid(Gid::from_raw(id)).ok().flatten().map_or_else(|| id.to_string(), |group| group.name))
}

fn insecure(endpoint: &Endpoint, files: &Tls, error: &rustls::Error) -> Failure {
    match error {
        rustls::Error::InvalidCertificate(reason) => untrusted(endpoint, files, reason),
        rustls::Error::AlertReceived(alert) => rejected(endpoint, files, *alert),
        rustls::Error::InvalidMessage(_) => about(endpoint, "does not speak TLS")
            .because(error.to_string())
            .hint("unset DOCKER_TLS_VERIFY, or use the port that has TLS (2376)"),
        _ => about(endpoint, "cannot be reached by TLS").because(error.to_string()),
    }
}

/// We do not trust the engine.
fn untrusted(endpoint: &Endpoint, files: &Tls, reason: &CertificateError) -> Failure {
    let failure = about(endpoint, "has a certificate that is not to be trusted").because(reason.to_string());
    match (reason, &files.ca) {
        (CertificateError::UnknownIssuer | CertificateError::BadSignature, Some(ca)) => {
            failure.hint(format!("{} is not the authority that signed it: get the engine's own ca.pem", ca.display()))
        }
        (CertificateError::UnknownIssuer | CertificateError::BadSignature, None) => {
            failure.hint(format!("put the ca.pem of the engine into {}", files.folder.display()))
        }
        _ => failure.hint("give the engine a certificate that is valid for this address"),
    }
}

/// The engine does not trust us.
fn rejected(endpoint: &Endpoint, files: &Tls, alert: AlertDescription) -> Failure {
    match &files.client {
        None => about(endpoint, "wants a client certificate, and there is none")
            .because(format!("{} has no cert.pem and key.pem", files.folder.display()))
            .hint("get both from who runs the engine, or set DOCKER_CERT_PATH to the folder that has them"),
        Some((certificate, _)) => about(endpoint, "rejects the client certificate")
            .because(format!("{}: {alert:?}", certificate.display()))
            .hint("it must be signed by the authority that the engine was given, and not be expired"),
    }
}

fn other(endpoint: &Endpoint, error: &(dyn Error + 'static)) -> Failure {
    about(endpoint, "cannot be reached").because(text(error))
}

/// The first error of a type in a chain of sources, also inside of I/O errors, which do not name what they wrap.
fn search<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    if let Some(found) = error.downcast_ref::<T>() {
        return Some(found);
    }
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.and_then(|inner| search(inner)).or_else(|| error.source().and_then(search))
}

/// The whole chain in one line.
fn text(error: &(dyn Error + 'static)) -> String {
    let mut words = vec![error.to_string()];
    let mut next = error.source();
    while let Some(error) = next {
        words.push(error.to_string());
        next = error.source();
    }
    words.dedup();
    words.join(": ")
}

/// The last error of the chain.
fn root(error: &(dyn Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}
