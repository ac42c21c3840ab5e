//! How the target is reached, as flags.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;

use crate::bench::{Config, ConnectTo, Family, Resolve, TlsVersion};
use crate::error::Failure;
use crate::units::TimeSpan;

/// The part of the arguments that says how the target is reached.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Address of a host at a port, instead of a look-up of its name; '*' is any host; repeat for more
    #[arg(long, value_name = "HOST:PORT:ADDRESS", conflicts_with = "unix_socket")]
    resolve: Vec<Resolve>,
    /// Host and port that connections for another go to; Host header and TLS keep the URL's; an empty part is any, or
    /// the same; repeat for more
    #[arg(long, value_name = "HOST1:PORT1:HOST2:PORT2", conflicts_with = "unix_socket")]
    connect_to: Vec<ConnectTo>,
    /// Connect to IPv4 addresses only
    #[arg(short = '4', long, conflicts_with_all = ["ipv6", "unix_socket"])]
    ipv4: bool,
    /// Connect to IPv6 addresses only
    #[arg(short = '6', long, conflicts_with = "unix_socket")]
    ipv6: bool,
    /// Address of this machine that connections come from; several take turns, which multiplies the ports there are
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', conflicts_with = "unix_socket")]
    bind: Vec<IpAddr>,
    /// Longest time that opening a connection may take, TLS included [default: the timeout]
    #[arg(long, value_name = "TIME")]
    connect_timeout: Option<TimeSpan>,
    /// A connection for every request: each asks the target to close it
    #[arg(long, visible_alias = "disable-keepalive")]
    no_keepalive: bool,
    /// Close a connection after so many requests, and open another
    #[arg(long, value_name = "N")]
    requests_per_connection: Option<NonZeroU64>,
    /// PEM file of certificate authorities that are trusted beside those of the system; repeat for more
    #[arg(long, value_name = "FILE")]
    cacert: Vec<PathBuf>,
    /// PEM file of the client's certificate, with its chain
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// PEM file of the client certificate's key [default: the file of --cert]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Name that TLS asks for, and that the certificate has to bear [default: the URL's host]
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// Oldest version of TLS that is spoken: 1.2 or 1.3
    #[arg(long, value_name = "VERSION")]
    tls_min: Option<TlsVersion>,
    /// Newest version of TLS that is spoken: 1.2 or 1.3
    #[arg(long, value_name = "VERSION")]
    tls_max: Option<TlsVersion>,
}

impl ConnectionArgs {
    /// Takes the flags, over what `config` has from a bench file.
    ///
    /// # Errors
    ///
    /// A time that nothing can take, a key without a certificate.
    pub fn apply(&self, config: &mut Config) -> Result<(), Failure> {
        if self.connect_timeout.is_some_and(|time| time.0.is_zero()) {
            return Err(Failure::usage("--connect-timeout must be longer than 0"));
        }
        let is_about_addresses = self.ipv4 || self.ipv6 || !(self.resolve.is_empty() && self.connect_to.is_empty());
        if is_about_addresses || !self.bind.is_empty() {
            config.unix_socket = None;
        }
        let reach = &mut config.reach;
        replace(&mut reach.resolve, &self.resolve);
        replace(&mut reach.connect_to, &self.connect_to);
        reach.family = self.ipv4.then_some(Family::V4).or(self.ipv6.then_some(Family::V6)).or(reach.family);
        replace(&mut reach.sources, &self.bind);
        reach.connect_timeout = self.connect_timeout.or(reach.connect_timeout);
        reach.requests_per_connection = self.requests_per_connection.or(reach.requests_per_connection);
        reach.without_keepalive |= self.no_keepalive;
        reach.ignored_proxies = proxies();
        let tls = &mut reach.tls;
        replace(&mut tls.authorities, &self.cacert);
        match (&self.cert, &self.key, &mut tls.client) {
            (Some(cert), key, client) => *client = Some((cert.clone(), key.as_ref().unwrap_or(cert).clone())),
            (None, Some(key), Some((_, of_file))) => of_file.clone_from(key),
            (None, Some(_), None) => {
                return Err(Failure::usage("--key is that of a client certificate, and there is none")
                    .hint("give the certificate as well: --cert FILE"));
            }
            (None, None, _) => {}
        }
        tls.name = self.sni.clone().or(tls.name.take());
        tls.oldest = self.tls_min.or(tls.oldest);
        tls.newest = self.tls_max.or(tls.newest);
        Ok(())
    }
}

/// Takes what is given, where something is.
fn replace<T: Clone>(own: &mut Vec<T>, given: &[T]) {
    if !given.is_empty() {
        own.clear();
        own.extend_from_slice(given);
    }
}

/// The variables of the environment that would send other clients through a proxy, as far as they are set.
fn proxies() -> Vec<String> {
    let names = ["http_proxy", "https_proxy", "all_proxy"];
    let both = names.iter().flat_map(|name| [(*name).to_owned(), name.to_uppercase()]);
    both.filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())).collect()
}
