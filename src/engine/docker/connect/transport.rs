//! How requests reach the engine.
//!
//! bollard's own transports hide the headers of a response, always want a client certificate and trust the system's
//! authorities beside the given one; its requests name no API version. So requests go through a client of ours.

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::BollardRequest;
use hyper::Response;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use hyperlocal::UnixConnector;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::endpoint::{Dial, Endpoint, Tls};
use crate::error::Failure;
use crate::tls::TrustEverybody;

type SendError = hyper_util::client::legacy::Error;
type Answer = Pin<Box<dyn Future<Output = Result<Response<Incoming>, SendError>> + Send>>;

/// How long a TCP connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// Sends requests to one engine.
#[derive(Clone)]
pub(super) struct Transport {
    send: Arc<dyn Fn(BollardRequest) -> Answer + Send + Sync>,
    /// Scheme and authority of every request.
    pub(super) base: String,
}

impl Transport {
    /// Prepares a transport; nothing is sent yet.
    pub(super) fn to(endpoint: &Endpoint) -> Result<Self, Failure> {
        Ok(match &endpoint.dial {
            Dial::Unix(path) => Self::over(UnixConnector, socket_base(path)),
            Dial::Tcp { authority, tls: None } => Self::over(tcp(), format!("http://{authority}")),
            Dial::Tcp { authority, tls: Some(tls) } => {
                let mut tcp = tcp();
                tcp.enforce_http(false);
                let secure = hyper_rustls::HttpsConnector::from((tcp, client_config(tls)?));
                Self::over(secure, format!("https://{authority}"))
            }
        })
    }

    fn over<C: Connect + Clone + Send + Sync + 'static>(connector: C, base: String) -> Self {
        // A connection per request: one that idles may be closed by the engine just as it is used again.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Self { send: Arc::new(move |request| Box::pin(client.request(request))), base }
    }

    /// Sends one request and waits for the headers of its response.
    pub(super) fn send(&self, request: BollardRequest) -> Answer {
        (self.send)(request)
    }
}

/// The authority of a socket is its path in hexadecimal digits, as `hyperlocal` wants it.
fn socket_base(path: &Path) -> String {
    let uri: hyper::Uri = hyperlocal::Uri::new(path, "").into();
    format!("unix://{}", uri.authority().map_or("", |authority| authority.as_str()))
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_nodelay(true);
    connector
}

/// The engine's certificate is checked against `ca.pem` alone where there is one, else against the system's authorities.
fn client_config(files: &Tls) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::failed("TLS cannot be set up").because(error.to_string()))?;
    let builder = if files.verify {
        builder.with_root_certificates(authorities(files)?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustEverybody::with(provider)))
    };
    let Some((certificate, key)) = &files.client else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(certificate)?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
    builder.with_client_auth_cert(chain, key_der).map_err(|error| unusable(certificate, &error))
}

fn authorities(files: &Tls) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let found = match &files.ca {
        Some(ca) => certificates(ca)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(found);
    if roots.is_empty() {
        return Err(Failure::failed("there is no authority to check the Docker engine's certificate against")
            .because(format!("{} has no usable ca.pem", files.folder.display()))
            .hint("put the ca.pem of the engine there, or set DOCKER_CERT_PATH to the folder that has it"));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &dyn Error) -> Failure {
    Failure::failed(format!("{} cannot be used for the connection to the Docker engine", path.display()))
        .because(error.to_string())
        .hint("it must be readable and hold a certificate or key in PEM form")
}
