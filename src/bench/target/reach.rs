//! How connections reach the target: addresses instead of those that its name has, where they come from, how long they
//! last, and what TLS shows and trusts. Pure; `transport` acts on it.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;

use super::{Scheme, Target};
use crate::units::TimeSpan;

/// How connections reach the target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    /// Addresses that stand in for a look-up.
    pub resolve: Vec<Resolve>,
    /// Other hosts and ports that are connected to; the first that applies counts.
    pub connect_to: Vec<ConnectTo>,
    /// The only kind of address that is connected to.
    pub family: Option<Family>,
    /// Addresses of this machine that connections come from, in turn; without any the system chooses.
    pub sources: Vec<IpAddr>,
    /// Longest time that opening a connection may take, TLS included; the timeout of the request counts all the same.
    pub connect_timeout: Option<TimeSpan>,
    /// After how many requests a connection is closed and another opened.
    pub requests_per_connection: Option<NonZeroU64>,
    /// Whether every request asks the target to close its connection.
    pub without_keepalive: bool,
    /// What TLS shows and trusts.
    pub tls: TlsSettings,
    /// Variables of the environment that name a proxy, which is not used.
    pub ignored_proxies: Vec<String>,
}

/// What TLS shows and trusts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// PEM files of certificate authorities that are trusted beside those of the system.
    pub authorities: Vec<PathBuf>,
    /// PEM files of the client's certificate chain and of its key, which may be the same.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name that is asked for and that the certificate has to bear, instead of the target's host.
    pub name: Option<String>,
    /// The oldest version that is spoken.
    pub oldest: Option<TlsVersion>,
    /// The newest version that is spoken.
    pub newest: Option<TlsVersion>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// A kind of address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// `HOST:PORT:ADDR[,ADDR…]`: the addresses of a host at a port, instead of a look-up. `*` is any host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    host: String,
    port: u16,
    addresses: Vec<IpAddr>,
}

/// `HOST1:PORT1:HOST2:PORT2`: what connections for the first go to. An empty part of the first is any, of the second
/// the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectTo {
    from: (Option<String>, Option<u16>),
    to: (Option<String>, Option<u16>),
}

/// Why the target cannot be reached in the way that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReachError {
    /// A file that cannot be used.
    #[error("cannot use {} as {what}: {why}", path.display())]
    File {
        /// What it was to be.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The certificate is not that of the key.
    #[error("the client certificate in {} cannot be used with the key in {}: {why}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        why: String,
    },
    /// No address of this machine.
    #[error("connections cannot come from {address}: {why}")]
    Source {
        /// Which.
        address: IpAddr,
        /// Why not.
        why: String,
    },
    /// Not a name that TLS can ask for.
    #[error("\"{name}\" is not a host name that TLS can ask for")]
    Name {
        /// What was given.
        name: String,
    },
    /// The newest version is older than the oldest.
    #[error("no version of TLS is at least {oldest} and at most {newest}")]
    Versions {
        /// The oldest that is wanted.
        oldest: TlsVersion,
        /// The newest that is wanted.
        newest: TlsVersion,
    },
}

impl ReachError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File { .. } => Some("it has to be a file in PEM form, with -----BEGIN …----- lines"),
            Self::Pair { .. } => Some("give the certificate and the key that belongs to it"),
            Self::Source { .. } => Some("`ip address` lists the addresses of this machine"),
            Self::Name { .. } | Self::Versions { .. } => None,
        }
    }
}

impl Reach {
    /// Refuses what contradicts itself.
    ///
    /// # Errors
    ///
    /// Versions of TLS that leave none.
    pub fn check(&self) -> Result<(), ReachError> {
        match (self.tls.oldest, self.tls.newest) {
            (Some(oldest), Some(newest)) if newest < oldest => Err(ReachError::Versions { oldest, newest }),
            _ => Ok(()),
        }
    }

    /// What is worth knowing of it beside the figures.
    pub fn notes(&self, target: &Target) -> Vec<String> {
        let names = self.ignored_proxies.join(", ");
        let proxies =
            (!names.is_empty()).then(|| format!("no proxy is used, although the environment names one: {names}"));
        let idle =
            |what: &str, rule: String, place: String| format!("{what} {rule} does nothing: it is not about {place}");
        let rules = self.connect_to.iter().filter(|rule| !rule.applies(&target.host, target.port));
        let rules = rules.map(|rule| idle("--connect-to", rule.to_string(), target.address()));
        let (host, port) = self.destination(&target.host, target.port);
        let names = self.resolve.iter().filter(|name| !name.applies(host, port));
        let names = names.map(|name| idle("--resolve", name.to_string(), format!("{}:{port}", bracketed(host))));
        let is_plain = target.scheme == Scheme::Http && self.tls != TlsSettings::default();
        let tls = is_plain.then(|| format!("settings of TLS do nothing: {} has none", target.origin()));
        proxies.into_iter().chain(tls).chain(rules).chain(names).collect()
    }

    /// Leaves out what means nothing for a unix socket.
    pub fn forget_addresses(&mut self) {
        self.resolve.clear();
        self.connect_to.clear();
        self.sources.clear();
        self.family = None;
    }

    /// The host and port that connections for these go to.
    pub fn destination<'a>(&'a self, host: &'a str, port: u16) -> (&'a str, u16) {
        match self.connect_to.iter().find(|rule| rule.applies(host, port)) {
            Some(rule) => (rule.to.0.as_deref().unwrap_or(host), rule.to.1.unwrap_or(port)),
            None => (host, port),
        }
    }

    /// The addresses that stand in for a look-up of this host; the last that was given counts.
    pub fn addresses(&self, host: &str, port: u16) -> Option<&[IpAddr]> {
        self.resolve.iter().rev().find(|r| r.applies(host, port)).map(|r| r.addresses.as_slice())
    }
}

impl Resolve {
    fn applies(&self, host: &str, port: u16) -> bool {
        self.port == port && (self.host == "*" || self.host.eq_ignore_ascii_case(host))
    }
}

impl ConnectTo {
    fn applies(&self, host: &str, port: u16) -> bool {
        self.from.0.as_ref().is_none_or(|from| from.eq_ignore_ascii_case(host))
            && self.from.1.is_none_or(|from| from == port)
    }
}

impl Family {
    /// Whether an address is of this kind.
    pub fn has(self, address: &IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

impl FromStr for TlsVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            _ => Err("the versions of TLS are 1.2 and 1.3".to_owned()),
        }
    }
}

/// Splits a text at its first colon outside of brackets; an address in brackets loses them.
fn part(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            Some((host, rest.strip_prefix(':')?))
        }
        None => text.split_once(':'),
    }
}

fn port_of(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

impl FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{why}; write HOST:PORT:ADDRESS, like example.com:443:127.0.0.1");
        let parts = part(text).and_then(|(host, rest)| Some((host, rest.split_once(':')?)));
        let Some((host, (port, addresses))) = parts else { return Err(wrong("it lacks a part")) };
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        let port = port_of(port).ok_or_else(|| wrong(&format!("\"{port}\" is not a port")))?;
        let address = |text: &str| {
            let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
            bare.parse().map_err(|_| wrong(&format!("\"{text}\" is not an IP address")))
        };
        let addresses = addresses.split(',').map(address).collect::<Result<_, _>>()?;
        Ok(Self { host: host.to_owned(), port, addresses })
    }
}

/// A host as it stands before a colon.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

impl fmt::Display for Resolve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.addresses.iter().map(|address| bracketed(&address.to_string())).collect();
        write!(f, "{}:{}:{}", bracketed(&self.host), self.port, addresses.join(","))
    }
}

impl fmt::Display for ConnectTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |(host, port): &(Option<String>, Option<u16>)| {
            let port = port.map(|port| port.to_string()).unwrap_or_default();
            format!("{}:{port}", host.as_deref().map(bracketed).unwrap_or_default())
        };
        write!(f, "{}:{}", side(&self.from), side(&self.to))
    }
}

impl FromStr for ConnectTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{why}; write HOST1:PORT1:HOST2:PORT2, like example.com:443:localhost:8443");
        let parts = || {
            let (from, rest) = part(text)?;
            let (from_port, rest) = rest.split_once(':')?;
            let (to, to_port) = part(rest)?;
            Some([(from, from_port), (to, to_port)])
        };
        let [from, to] = parts().ok_or_else(|| wrong("it lacks a part"))?;
        let side = |(host, port): (&str, &str)| {
            let number = match port {
                "" => None,
                port => Some(port_of(port).ok_or_else(|| wrong(&format!("\"{port}\" is not a port")))?),
            };
            Ok::<_, String>(((!host.is_empty()).then(|| host.to_owned()), number))
        };
        Ok(Self { from: side(from)?, to: side(to)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(resolve: &[&str], connect_to: &[&str]) -> Reach {
        Reach {
            resolve: resolve.iter().map(|t| t.parse().unwrap()).collect(),
            connect_to: connect_to.iter().map(|t| t.parse().unwrap()).collect(),
            ..Reach::default()
        }
    }

    #[test]
    fn addresses_stand_in_for_the_host_and_port_they_are_given_for() {
        let reach =
            reach(&["a.test:80:127.0.0.1", "a.test:80:127.0.0.2,[::1]", "*:443:::1", "[fe80::1]:1:10.0.0.1"], &[]);
        let found = |host, port| reach.addresses(host, port).map(|a| a.iter().map(IpAddr::to_string).collect());
        assert_eq!(found("A.test", 80), Some(vec!["127.0.0.2".to_owned(), "::1".to_owned()]));
        assert_eq!(found("a.test", 81), None::<Vec<_>>);
        assert_eq!(found("b.test", 443), Some(vec!["::1".to_owned()]));
        assert_eq!(found("fe80::1", 1), Some(vec!["10.0.0.1".to_owned()]));
    }

    #[test]
    fn connections_go_to_the_first_that_applies() {
        let reach = reach(&[], &["a.test:80:b.test:81", "a.test::c.test:", ":99::100", "d.test:80:[::1]:82"]);
        assert_eq!(reach.destination("a.test", 80), ("b.test", 81));
        assert_eq!(reach.destination("a.test", 90), ("c.test", 90));
        assert_eq!(reach.destination("x.test", 99), ("x.test", 100));
        assert_eq!(reach.destination("d.test", 80), ("::1", 82));
        assert_eq!(reach.destination("x.test", 80), ("x.test", 80));
    }

    #[test]
    fn what_is_printed_is_read_as_the_same() {
        for text in ["a.test:80:127.0.0.1", "*:443:[::1],10.0.0.1", "[fe80::1]:1:10.0.0.1"] {
            assert_eq!(text.parse::<Resolve>().unwrap().to_string(), text);
        }
        for text in ["a.test:80:b.test:81", "a.test::c.test:", ":99::100", "[::1]:80:[::2]:82", ":::"] {
            assert_eq!(text.parse::<ConnectTo>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        for (text, said) in [
            ("", "lacks a part"),
            ("a.test:80", "lacks a part"),
            ("a.test:x:127.0.0.1", "\"x\" is not a port"),
            ("a.test:0:127.0.0.1", "\"0\" is not a port"),
            (":80:127.0.0.1", "no host"),
            ("a.test:80:b.test", "\"b.test\" is not an IP address"),
        ] {
            let error = text.parse::<Resolve>().unwrap_err();
            assert!(error.contains(said) && error.contains("HOST:PORT:ADDRESS"), "{text}: {error}");
        }
        for text in ["", "a:1", "a:1:b", "a:1:b:x", "a:99999:b:1", "[::1:1:b:1"] {
            assert!(text.parse::<ConnectTo>().unwrap_err().contains("HOST1:PORT1:HOST2:PORT2"), "{text}");
        }
        assert!("1.1".parse::<TlsVersion>().unwrap_err().contains("1.2 and 1.3"));
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let (oldest, newest) = (Some(TlsVersion::V1_3), Some(TlsVersion::V1_2));
        let none = Reach { tls: TlsSettings { oldest, newest, ..Default::default() }, ..Reach::default() };
        assert!(none.check().unwrap_err().to_string().contains("at least 1.3 and at most 1.2"));
    }

    #[test]
    fn settings_of_tls_for_a_target_without_it_are_noted() {
        let (plain, tls) = ("http://x/".parse().unwrap(), "https://x/".parse().unwrap());
        let named = Reach { tls: TlsSettings { name: Some("y".to_owned()), ..Default::default() }, ..Reach::default() };
        assert_eq!(named.notes(&tls), [""; 0]);
        assert_eq!(named.notes(&plain), ["settings of TLS do nothing: http://x has none"]);
    }
}
