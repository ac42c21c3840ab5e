//! TLS settings of a run.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, SupportedProtocolVersion};

use super::dial::DialError;
use crate::bench::record::sample::{Cause, Fault, Phase, Side};
use crate::bench::target::reach::{ReachError, TlsSettings, TlsVersion};
use crate::tls::TrustEverybody;

/// A client that trusts the system's certificate authorities and further ones, or everybody, and shows its certificate
/// if it has one.
///
/// # Errors
///
/// A file holds not what it should, or there is no usable certificate authority.
pub fn client(settings: &TlsSettings, insecure: bool) -> Result<ClientConfig, DialError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(settings))
        .map_err(|e| broken(&e))?;
    let builder = if insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustEverybody::with(provider)))
    } else {
        builder.with_root_certificates(roots(settings)?)
    };
    let mut config = identify(builder, settings)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn broken(error: &rustls::Error) -> DialError {
    Fault::new(Phase::Tls, Cause::Other, Side::Client, error.to_string()).into()
}

fn versions(settings: &TlsSettings) -> Vec<&'static SupportedProtocolVersion> {
    let is_wanted = |version| {
        settings.oldest.is_none_or(|oldest| oldest <= version) && settings.newest.is_none_or(|newest| version <= newest)
    };
    let all = [(TlsVersion::V1_3, &TLS13), (TlsVersion::V1_2, &TLS12)];
    all.into_iter().filter(|(version, _)| is_wanted(*version)).map(|(_, protocol)| protocol).collect()
}

/// The certificate authorities of the system, and those of the settings.
fn roots(settings: &TlsSettings) -> Result<RootCertStore, DialError> {
    const WHAT: &str = "a certificate authority";
    let mut roots = RootCertStore::empty();
    for path in &settings.authorities {
        for certificate in certificates(WHAT, path)? {
            roots.add(certificate).map_err(|error| unusable(WHAT, path, error.to_string()))?;
        }
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let why = "this system has no certificate authorities; install ca-certificates, or use --cacert or --insecure";
        return Err(Fault::new(Phase::Tls, Cause::Other, Side::Client, why).into());
    }
    Ok(roots)
}

fn identify(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    settings: &TlsSettings,
) -> Result<ClientConfig, DialError> {
    let Some((certificate, key)) = &settings.client else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates("a client certificate", certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| refused("the key of a client certificate", key, &e))?;
    builder.with_client_auth_cert(chain, secret).map_err(|error| {
        let (certificate, key) = (certificate.clone(), key.clone());
        ReachError::Pair { certificate, key, why: error.to_string() }.into()
    })
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, DialError> {
    let found = CertificateDer::pem_file_iter(path).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    match found {
        Ok(found) if found.is_empty() => Err(refused(what, path, &pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(error) => Err(refused(what, path, &error)),
    }
}

fn refused(what: &'static str, path: &Path, error: &pem::Error) -> DialError {
    let why = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "it holds none".to_owned(),
        other => other.to_string(),
    };
    unusable(what, path, why)
}

fn unusable(what: &'static str, path: &Path, why: String) -> DialError {
    ReachError::File { what, path: path.to_owned(), why }.into()
}
