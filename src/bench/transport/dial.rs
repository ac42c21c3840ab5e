//! Where connections go: addresses looked up once per run, TLS settings made once per run.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::net::{TcpStream, UnixStream};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, Type};

use super::channel::{Channel, Socket, Tls};
use super::session::Session;
use super::tls;
use crate::bench::clock::now_ns;
use crate::bench::record::sample::{Cause, Fault, Phase, Side};
use crate::bench::target::reach::{Reach, ReachError};
use crate::bench::target::{Scheme, Target};

/// Knows how to reach the target. The name is looked up once, before the run, so that a slow resolver neither blocks a
/// loop nor is measured with every connection.
#[derive(Clone)]
pub struct Dialer {
    endpoints: Arc<[Endpoint]>,
    sources: Arc<Sources>,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Requests of one connection; 0 is any number.
    most_requests: u64,
    dns_ns: Option<u64>,
}

/// Why the target cannot be dialed.
#[derive(Debug)]
pub enum DialError {
    /// What was asked for cannot be.
    Reach(ReachError),
    /// It was tried, and failed.
    Fault(Fault),
}

impl From<ReachError> for DialError {
    fn from(error: ReachError) -> Self {
        Self::Reach(error)
    }
}

impl From<Fault> for DialError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

#[derive(Debug, Clone)]
enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Addresses of this machine that connections come from, in turn.
#[derive(Debug, Default)]
struct Sources {
    addresses: Vec<IpAddr>,
    taken: AtomicUsize,
}

impl Dialer {
    /// Looks the target up, unless `unix_socket` leads to it. Blocks.
    ///
    /// # Errors
    ///
    /// The name is unknown, TLS cannot be set up, or what `reach` asks for cannot be.
    pub fn new(
        target: &Target,
        unix_socket: Option<&PathBuf>,
        insecure: bool,
        reach: &Reach,
    ) -> Result<Self, DialError> {
        reach.check()?;
        reach.sources.iter().try_for_each(check_source)?;
        let tls = match target.scheme {
            Scheme::Http => None,
            Scheme::Https => {
                let name = reach.tls.name.as_deref().unwrap_or(target.host_name());
                let wrong = |_| ReachError::Name { name: name.to_owned() };
                let config = tls::client(&reach.tls, insecure)?;
                Some((Arc::new(config), ServerName::try_from(name.to_owned()).map_err(wrong)?))
            }
        };
        let (endpoints, dns_ns) = match unix_socket {
            Some(path) => (vec![Endpoint::Unix(path.clone())], None),
            None => look_up(target, reach)?,
        };
        let sources = Arc::new(Sources { addresses: reach.sources.clone(), ..Sources::default() });
        let most_requests = reach.requests_per_connection.map_or(0, u64::from);
        Ok(Self { endpoints: endpoints.into(), sources, tls, most_requests, dns_ns })
    }

    /// How long the look-up of the name took, in nanoseconds; `None` where there was none.
    pub fn dns_ns(&self) -> Option<u64> {
        self.dns_ns
    }

    /// How many addresses there are to be tried.
    pub fn addresses(&self) -> usize {
        self.endpoints.len()
    }

    /// Has the address of this index tried first from now on.
    pub fn put_first(&mut self, index: usize) {
        let mut endpoints = self.endpoints.to_vec();
        if let Some(to_first) = endpoints.get_mut(..=index) {
            to_first.rotate_right(1);
        }
        self.endpoints = endpoints.into();
    }

    /// Whether its connections are TCP.
    #[cfg(target_os = "linux")]
    pub fn is_tcp(&self) -> bool {
        self.endpoints.iter().all(|endpoint| matches!(endpoint, Endpoint::Tcp(_)))
    }

    /// After how many requests a connection ends; 0 is never.
    pub fn most_requests(&self) -> u64 {
        self.most_requests
    }

    /// What is to be known of a connection that has just been opened.
    pub fn session(&self) -> Session {
        Session::for_at_most(self.most_requests)
    }

    /// Begins a connection to the address of this index; `None` beyond the last one.
    pub fn connect(&self, index: usize) -> Option<io::Result<Socket>> {
        Some(match self.endpoints.get(index)? {
            Endpoint::Tcp(address) => match self.sources.next_for(address) {
                Some(source) => connect_from(source, *address).map(Socket::Tcp),
                None => TcpStream::connect(*address).map(Socket::Tcp),
            },
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

impl Sources {
    fn next_for(&self, destination: &SocketAddr) -> Option<IpAddr> {
        let fitting = || self.addresses.iter().filter(|a| a.is_ipv4() == destination.is_ipv4());
        match fitting().count() {
            0 => None,
            number => fitting().nth(self.taken.fetch_add(1, Ordering::Relaxed) % number).copied(),
        }
    }
}

/// Whether this machine has the address, so that its lack is not taken for a lack of ports later on.
fn check_source(address: &IpAddr) -> Result<(), ReachError> {
    let refused = |error: io::Error| ReachError::Source { address: *address, why: error.to_string() };
    TcpListener::bind((*address, 0)).map(drop).map_err(refused)
}

fn connect_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // The port is chosen when it connects: then only the pair of addresses has to be free, not the port itself. An old
    // kernel that refuses has fewer ports.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true);
    socket.bind(&SocketAddr::new(source, 0).into())?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

fn session<S: io::Read + io::Write>(
    (config, name): &(Arc<ClientConfig>, ServerName<'static>),
    carrier: S,
) -> Result<Tls<S>, Fault> {
    Tls::new(carrier, Arc::clone(config), name.clone())
        .map_err(|error| Fault::new(Phase::Tls, Cause::Other, Side::Client, error.to_string()))
}

/// The addresses that can be connected to, and how long it took to learn them where a name was looked up.
fn look_up(target: &Target, reach: &Reach) -> Result<(Vec<Endpoint>, Option<u64>), Fault> {
    let unknown = |why: String| Fault::new(Phase::Dns, Cause::UnknownHost, Side::Network, why);
    let (host, port) = reach.destination(&target.host, target.port);
    // Whole, as an address of a link is one of a zone.
    let at = |ip: &IpAddr| SocketAddr::new(*ip, port);
    let (found, dns_ns) = match (reach.addresses(host, port), host.parse::<IpAddr>()) {
        (Some(given), _) => (given.iter().map(at).collect(), None),
        (None, Ok(address)) => (vec![at(&address)], None),
        (None, Err(_)) => {
            let begun = now_ns();
            // The zone of an address stands behind a percent sign, which a URL encodes (RFC 6874).
            let name = host.replacen("%25", "%", 1);
            let found = (name.as_str(), port).to_socket_addrs().map_err(|e| unknown(format!("{host}: {e}")))?;
            (found.collect::<Vec<_>>(), Some(now_ns().saturating_sub(begun)))
        }
    };
    let wanted: Vec<_> =
        found.into_iter().filter(|address| reach.family.is_none_or(|family| family.has(&address.ip()))).collect();
    if wanted.is_empty() {
        let kind = reach.family.map_or(String::new(), |family| format!("{family} "));
        return Err(unknown(format!("{host} has no {kind}address")));
    }
    let can_leave = |address: &&SocketAddr| {
        reach.sources.is_empty() || reach.sources.iter().any(|source| source.is_ipv4() == address.is_ipv4())
    };
    let endpoints: Vec<_> = wanted.iter().filter(can_leave).map(|address| Endpoint::Tcp(*address)).collect();
    if endpoints.is_empty() {
        let (own, other) = if wanted[0].is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
        let why = format!("{host} has {own} addresses only, which --bind with {other} addresses cannot reach");
        return Err(Fault::new(Phase::Connect, Cause::Other, Side::Client, why));
    }
    Ok((endpoints, dns_ns))
}
