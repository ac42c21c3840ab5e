//! Opening connections: addresses looked up once per run, TCP, TLS.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::http1::Connection;
use super::meter::{Meter, Metered};
use super::tls;
use crate::bench::clock::now_ns;
use crate::bench::sample::{Cause, Fault, Phase, Side};
use crate::bench::target::{Scheme, Target};

/// Knows how to reach the target. The name is looked up once, before the run, so that a slow resolver is not measured
/// with every connection.
#[derive(Clone)]
pub struct Dialer {
    addresses: Arc<[SocketAddr]>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// A new connection and how long its parts took, in nanoseconds.
pub struct Opened {
    /// The connection.
    pub connection: Connection,
    /// TCP.
    pub connect_ns: u64,
    /// TLS, where there is.
    pub tls_ns: Option<u64>,
}

impl Dialer {
    /// Looks the target up. Blocks.
    ///
    /// # Errors
    ///
    /// The name is unknown, or TLS cannot be set up.
    pub fn new(target: &Target, insecure: bool) -> Result<Self, Fault> {
        let unknown = |why: String| Fault::new(Phase::Dns, Cause::UnknownHost, Side::Network, why);
        let found = (target.host.as_str(), target.port).to_socket_addrs().map_err(|e| unknown(e.to_string()))?;
        let addresses: Arc<[SocketAddr]> = found.collect();
        if addresses.is_empty() {
            return Err(unknown("the name has no address".to_owned()));
        }
        let tls = match target.scheme {
            Scheme::Http => None,
            Scheme::Https => {
                let broken = |why: String| Fault::new(Phase::Tls, Cause::Other, Side::Client, why);
                let config = tls::client(insecure).map_err(broken)?;
                let name = ServerName::try_from(target.host.clone()).map_err(|e| broken(e.to_string()))?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
        };
        Ok(Self { addresses, tls })
    }

    /// Opens a connection that reports to `meter`; tries the addresses in order.
    ///
    /// # Errors
    ///
    /// The failure at the last address that was tried.
    pub async fn open(&self, meter: &Rc<Meter>) -> Result<Opened, Fault> {
        let begun = now_ns();
        let mut last = None;
        for address in self.addresses.iter() {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let connect_ns = now_ns() - begun;
                    stream.set_nodelay(true).map_err(|e| Fault::io(Phase::Connect, &e))?;
                    return self.over(stream, meter, connect_ns).await;
                }
                Err(error) => last = Some(Fault::io(Phase::Connect, &error)),
            }
        }
        Err(last.unwrap_or_else(|| Fault::new(Phase::Dns, Cause::UnknownHost, Side::Network, "no address")))
    }

    async fn over(&self, stream: TcpStream, meter: &Rc<Meter>, connect_ns: u64) -> Result<Opened, Fault> {
        let Some((connector, name)) = &self.tls else {
            let connection = Connection::new(Metered::new(stream, Rc::clone(meter)), meter).await?;
            return Ok(Opened { connection, connect_ns, tls_ns: None });
        };
        let begun = now_ns();
        meter.set_shaking_hands(true);
        let shaken = connector.connect(name.clone(), stream).await;
        meter.set_shaking_hands(false);
        let stream = shaken.map_err(|error| {
            let is_tls = error.get_ref().is_some_and(|e| e.is::<rustls::Error>());
            if is_tls {
                Fault::new(Phase::Tls, Cause::Handshake, Side::Server, error.to_string())
            } else {
                Fault::io(Phase::Tls, &error)
            }
        })?;
        let tls_ns = Some(now_ns() - begun);
        let connection = Connection::new(Metered::new(stream, Rc::clone(meter)), meter).await?;
        Ok(Opened { connection, connect_ns, tls_ns })
    }
}
