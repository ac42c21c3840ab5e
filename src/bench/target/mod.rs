//! Where requests go: the address part of a URL.

pub mod protocol;
pub mod reach;

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How the target is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

/// A URL split into the address that is connected to and the path that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query, beginning with `/`; may hold generators.
    pub path: String,
}

/// Why a text is no URL that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a URL.
    #[error("\"{url}\" is not a URL: {why}")]
    Malformed {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A URL of something else than HTTP.
    #[error("\"{url}\" is not an http or https URL: its scheme is \"{scheme}\"")]
    Scheme {
        /// What was given.
        url: String,
        /// Its scheme.
        scheme: String,
    },
}

impl FromStr for Target {
    type Err = TargetError;

    /// Accepts `http://host:port/path?query`, and the same without a scheme.
    fn from_str(url: &str) -> Result<Self, TargetError> {
        let malformed = |why: &str| TargetError::Malformed { url: without_user(url), why: why.to_owned() };
        // "://" inside a query is no scheme.
        let before = url.find("://").filter(|at| !url[..*at].contains(['/', '?', ':']));
        let (scheme, rest) = match before.map(|at| (&url[..at], &url[at + 3..])) {
            None => (Scheme::Http, url),
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "http" => (Scheme::Http, rest),
                "https" => (Scheme::Https, rest),
                other => return Err(TargetError::Scheme { url: without_user(url), scheme: other.to_owned() }),
            },
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end);
        let path = behind.split('#').next().unwrap_or_default();
        if authority.contains('@') {
            return Err(malformed("user and password do not belong there; give them as --user NAME:PASSWORD"));
        }
        if authority.is_empty() {
            return Err(malformed("it names no host"));
        }
        let parsed: http::uri::Authority = authority.parse().map_err(|_| malformed("its host or port is invalid"))?;
        // http::uri takes "host:" and "host:99999" for a host without a port.
        let has_colon = authority.rsplit(']').next().is_some_and(|t| t.contains(':'));
        let port = match parsed.port_u16() {
            Some(0) => return Err(malformed("port 0 cannot be connected to")),
            Some(port) => port,
            None if has_colon => return Err(malformed("its port is not a number from 1 to 65535")),
            None => scheme.default_port(),
        };
        let host = bare_host(parsed.host(), authority).ok_or_else(|| malformed("its host or port is invalid"))?;
        if host.is_empty() {
            return Err(malformed("it names no host"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { scheme, host: host.to_owned(), port, path })
    }
}

/// A URL as it may be shown: without user and password.
fn without_user(url: &str) -> String {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find(['/', '?', '#']).map_or(url.len(), |at| begin + at);
    match url[begin..end].rfind('@') {
        Some(at) => format!("{}***{}", &url[..begin], &url[begin + at..]),
        None => url.to_owned(),
    }
}

/// The host without brackets. Those, which http::uri takes anywhere, belong around an IPv6 address and nothing else; its
/// zone may follow the address.
fn bare_host<'a>(host: &'a str, authority: &str) -> Option<&'a str> {
    let Some(inner) = host.strip_prefix('[') else { return (!authority.contains(['[', ']'])).then_some(host) };
    let behind = authority.strip_prefix(host)?;
    let inner = inner.strip_suffix(']')?;
    let address = inner.split('%').next().unwrap_or_default();
    let is_address = address.parse::<Ipv6Addr>().is_ok();
    (is_address && (behind.is_empty() || behind.starts_with(':'))).then_some(inner)
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Target {
    /// The host as others know it: without the zone of an address, which means something on this machine only (RFC 6874, 4).
    pub fn host_name(&self) -> &str {
        let is_address = self.host.contains(':');
        if is_address { self.host.split('%').next().unwrap_or_default() } else { &self.host }
    }

    /// Host and port as the `Host` header has them: without the scheme's own port.
    pub fn authority(&self) -> String {
        self.with_port(self.host_name())
    }

    fn with_port(&self, host: &str) -> String {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }

    /// Host and port, always with the port.
    pub fn address(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}", self.port)
    }

    /// Scheme, host and port, as others know them.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme.name(), self.authority())
    }
}

/// As it can be read again, the zone of an address included.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.name(), self.with_port(&self.host), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_with_and_without_a_scheme_are_read() {
        for (text, printed, address) in [
            ("http://127.0.0.1:8080/x?y=1#z", "http://127.0.0.1:8080/x?y=1", "127.0.0.1:8080"),
            ("localhost:8080/x", "http://localhost:8080/x", "localhost:8080"),
            ("example.test", "http://example.test/", "example.test:80"),
            ("HTTPS://example.test", "https://example.test/", "example.test:443"),
            ("https://example.test:443?a=b", "https://example.test/?a=b", "example.test:443"),
            ("http://[::1]:81/", "http://[::1]:81/", "[::1]:81"),
            ("http://[::1]", "http://[::1]/", "[::1]:80"),
            ("localhost:1/u/{{ int(1, 5) }}", "http://localhost:1/u/{{ int(1, 5) }}", "localhost:1"),
            ("localhost:1/go?to=http://other/", "http://localhost:1/go?to=http://other/", "localhost:1"),
        ] {
            let target: Target = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(target.to_string(), printed);
            assert_eq!(target.address(), address);
        }
    }

    #[test]
    fn what_is_no_url_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "names no host"),
            ("http://", "names no host"),
            ("http:///x", "names no host"),
            ("ftp://x/", "scheme is \"ftp\""),
            ("http://x:99999/", "port"),
            ("http://x:/", "port"),
            ("http://x:http/", "port"),
            ("http://x:0/", "port 0"),
            ("http://a b/", "invalid"),
            ("http://x[::1]/", "invalid"),
            ("http://[::1]80/", "invalid"),
            ("http://[x]:80/", "invalid"),
            ("http://ada:pw@x/", "--user NAME:PASSWORD"),
            ("ftp://ada:p@pw@x/", "\"ftp://***@x/\""),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("pw@"), "{text}: {error}");
        }
    }
}
