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
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
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
        let Some((config, name)) = &self.tls else { return Ok(Channel::Plain(socket)) };
        match Tls::new(socket, Arc::clone(config), name.clone()) {
            Ok(tls) => Ok(Channel::Tls(Box::new(tls))),
            Err(error) => Err(Fault::new(Phase::Tls, Cause::Other, Side::Client, error.to_string())),
        }
    }
}

fn look_up(target: &Target) -> Result<Vec<Endpoint>, Fault> {
    let unknown = |why: String| Fault::new(Phase::Dns, Cause::UnknownHost, Side::Network, why);
    let found = (target.host.as_str(), target.port).to_socket_addrs().map_err(|e| unknown(e.to_string()))?;
    let endpoints: Vec<_> = found.map(Endpoint::Tcp).collect();
    if endpoints.is_empty() { Err(unknown("the name has no address".to_owned())) } else { Ok(endpoints) }
}
