//! What a reverse proxy does to the headers of requests and answers (RFC 9110 §7.6).
//!
//! - Hop-by-hop fields (§7.6.1) end here, in both directions.
//! - `Host` is kept. A request in absolute form gets the host of its target (RFC 9112 §3.2.2).
//! - `X-Forwarded-For` is appended to; `X-Forwarded-Proto` and `X-Forwarded-Host` are set, since what a client claims
//!   about them is not to be trusted by the service behind.
//! - `X-Request-Id` is kept where it is a plain token of at most 128 characters, else made; the answer repeats it.
//! - `Expect: 100-continue` ends here: the balancer itself says 100 as soon as it wants the body.

use std::net::IpAddr;

use hyper::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::{PathAndQuery, Uri};
use hyper::{Method, Request, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The name of a request through all logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken from a client, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// Removes the fields that are meant for this hop only: the well-known ones and those that `Connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            // Naming a field that frames or routes the message must not remove it: that would be request smuggling.
            .filter(|name| *name != CONTENT_LENGTH && *name != HOST)
            .collect::<Vec<_>>();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// The protocol that a message wants to switch to, if `Connection` says so too.
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
        .then(|| protocol.clone())
}

/// Puts back what [`strip_hop_by_hop`] took from a message that switches protocols.
pub fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// The client's request id where it is sane, else a new one of 128 random bits.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty()
            && bytes.len() <= MAX_REQUEST_ID
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(b))
    };
    headers.get(REQUEST_ID).filter(sane).cloned().unwrap_or_else(new_request_id)
}

fn new_request_id() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bits = rand::random::<u128>();
    let text: [u8; 32] = std::array::from_fn(|_| {
        let digit = DIGITS[(bits & 0xf) as usize];
        bits >>= 4;
        digit
    });
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"))
}

/// Why a request cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// RFC 9112 §3.2: an HTTP/1.1 request has exactly one Host.
    #[error("an HTTP/1.1 request needs exactly one Host header")]
    Host,
    /// A reverse proxy opens no tunnels to elsewhere.
    #[error("CONNECT is for forward proxies; this is a reverse proxy")]
    Connect,
}

/// Whether a request, as the client sent it, may be passed on.
///
/// # Errors
/// What is wrong with it.
pub fn check<B>(request: &Request<B>) -> Result<(), Unfit> {
    if request.method() == Method::CONNECT {
        return Err(Unfit::Connect);
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => Ok(()),
        (None, _) if request.version() < Version::HTTP_11 => Ok(()),
        _ => Err(Unfit::Host),
    }
}

/// The client's address as it is appended to `X-Forwarded-For`.
pub fn client(address: IpAddr) -> HeaderValue {
    HeaderValue::from_str(&address.to_canonical().to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

/// Makes a client's request one to a member.
pub fn to_member<B>(request: &mut Request<B>, client: &HeaderValue, id: &HeaderValue) {
    let upgrade = upgrade(request.headers()).filter(|_| request.version() == Version::HTTP_11);
    *request.version_mut() = Version::HTTP_11;
    let absolute_host = to_origin_form(request.uri_mut());
    let headers = request.headers_mut();
    strip_hop_by_hop(headers);
    headers.remove(EXPECT);
    if let Some(host) = absolute_host {
        headers.insert(HOST, host);
    } else if !headers.contains_key(HOST) {
        // Only a client of HTTP/1.0 may name no host; towards the member there has to be one.
        headers.insert(HOST, HeaderValue::from_static("localhost"));
    }
    let forwarded_for = forwarded_for(headers, client);
    headers.insert(FORWARDED_FOR, forwarded_for);
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Some(host) = headers.get(HOST).cloned() {
        headers.insert(FORWARDED_HOST, host);
    }
    headers.insert(REQUEST_ID, id.clone());
    if let Some(protocol) = upgrade {
        set_upgrade(headers, protocol);
    }
}

fn forwarded_for(headers: &HeaderMap, client: &HeaderValue) -> HeaderValue {
    let mut line = Vec::new();
    for value in headers.get_all(FORWARDED_FOR) {
        line.extend_from_slice(value.as_bytes());
        line.extend_from_slice(b", ");
    }
    if line.is_empty() {
        return client.clone();
    }
    line.extend_from_slice(client.as_bytes());
    HeaderValue::from_bytes(&line).unwrap_or_else(|_| client.clone())
}

/// `http://host/path` becomes `/path`; returns the host it had.
fn to_origin_form(uri: &mut Uri) -> Option<HeaderValue> {
    let authority = uri.authority()?;
    let without_user = authority.as_str().rsplit('@').next().unwrap_or_default();
    let host = HeaderValue::from_str(without_user).ok();
    *uri = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into();
    host
}
