//! Where connections go: addresses looked up once per run, TLS settings made once per run.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;

use mio::net::{TcpStream, UnixStream};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::channel::{Channel, Socket, Tls};
use super::tls;
use crate::bench::sample::{Cause, Fault, Phase, Side};
use crate::bench::target::{Scheme, Target};

/// Knows how to reach the target. The name is looked up once, before the run, so that a slow resolver neither blocks a
/// loop nor is measured with every connection.
#[derive(Clone)]
pub struct Dialer {
    endpoints: Arc<[Endpoint]>,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

#[derive(Debug)]
enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Dialer {
    /// Looks the target up, unless `unix_socket` leads to it. Blocks.
    ///
    /// # Errors
    ///
    /// The name is unknown, or TLS cannot be set up.
    pub fn new(target: &Target, unix_socket: Option<&PathBuf>, insecure: bool) -> Result<Self, Fault> {
        let endpoints = match unix_socket {
            Some(path) => vec![Endpoint::Unix(path.clone())],
            None => look_up(target)?,
        };
        let tls = match target.scheme {
            Scheme::Http => None,
            Scheme::Https => {
                let broken = |why: String| Fault::new(Phase::Tls, Cause::Other, Side::Client, why);
                let config = tls::client(insecure).map_err(broken)?;
                let name = ServerName::try_from(target.host.clone()).map_err(|e| broken(e.to_string()))?;
                Some((Arc::new(config), name))
            }
        };
        Ok(Self { endpoints: endpoints.into(), tls })
    }

    /// Begins a connection to the address of this index; `None` beyond the last one.
    pub fn connect(&self, index: usize) -> Option<io::Result<Socket>> {
        Some(match self.endpoints.get(index)? {
            Endpoint::Tcp(address) => TcpStream::connect(*address).map(Socket::Tcp),
            Endpoint::Unix(path) => UnixStream::connect(path).map(Socket::Unix),
        })
    }

    /// The byte stream over a connected socket; that of TLS has its handshake before it.
    ///
    /// # Errors
    ///
    /// TLS refuses its settings.
    pub fn over(&self, socket: Socket) -> Result<Channel, Fault> {
        match &self.tls {
            None => Ok(Channel::Plain(socket)),
            Some(tls) => Ok(Channel::Tls(Box::new(session(tls, socket)?))),
        }
    }

    /// A TLS session over `carrier`, where the target speaks TLS.
    #[cfg(target_os = "linux")]
    pub fn tls<S: io::Read + io::Write>(&self, carrier: S) -> Option<Result<Tls<S>, Fault>> {
        Some(session(self.tls.as_ref()?, carrier))
    }
}

fn session<S: io::Read + io::Write>(
    (config, name): &(Arc<ClientConfig>, ServerName<'static>),
    carrier: S,
) -> Result<Tls<S>, Fault> {
    Tls::new(carrier, Arc::clone(config), name.clone())
        .map_err(|error| Fault::new(Phase::Tls, Cause::Other, Side::Client, error.to_string()))
}

fn look_up(target: &Target) -> Result<Vec<Endpoint>, Fault> {
    let unknown = |why: String| Fault::new(Phase::Dns, Cause::UnknownHost, Side::Network, why);
    let found = (target.host.as_str(), target.port).to_socket_addrs().map_err(|e| unknown(e.to_string()))?;
    let endpoints: Vec<_> = found.map(Endpoint::Tcp).collect();
    if endpoints.is_empty() { Err(unknown("the name has no address".to_owned())) } else { Ok(endpoints) }
}
