//! One kind of request of a mix, compiled.

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, Request, Uri};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::content::{self, ContentError};
use super::feed::Feeds;
use super::room::Room;
use super::template::{Escape, Names, Scope, Template};
use super::visit::{Cookies, Visit};
use super::workload::RequestSpec;
use crate::bench::answer::Answer;
use crate::bench::answer::check::Check;
use crate::bench::record::sample::{Cause, Fault, Outcome, Phase, Side};
use crate::bench::target::Target;
use crate::bench::transport;

/// Why a request cannot be sent.
pub type KindError = ContentError;

/// One kind of request, compiled.
#[derive(Debug, Clone)]
pub struct Kind {
    /// Its name in the results.
    pub name: String,
    /// Its method.
    pub method: Method,
    /// Its bytes, where nothing in them is rendered.
    pub constant: Option<Room>,
    uri: Template,
    headers: Vec<(HeaderName, Template)>,
    /// The cookies it has of itself, as their header has them.
    cookies: Template,
    body: Template,
    /// Whether a length of the body is stated: the request does not frame itself.
    states_length: bool,
    /// Whether it asks for the connection to be closed.
    closes: bool,
    check: Check,
    /// Whether its answers are kept until they are judged.
    keeps_answer: bool,
}

impl Kind {
    /// Compiles a request, which may name these values; `captured` are all that its flow captures, by place, if it is a
    /// step of one.
    pub fn compile(
        target: &Target,
        name: String,
        spec: &RequestSpec,
        names: Names<'_>,
        captured: Option<&[String]>,
    ) -> Result<Self, KindError> {
        let wrong = |why: String| KindError::Why(why);
        let method: Method =
            spec.method.parse().map_err(|_| wrong(format!("\"{}\" is not an HTTP method", spec.method)))?;
        if !spec.path.starts_with('/') && !spec.path.starts_with("{{") {
            return Err(wrong(format!("its path \"{}\" does not begin with \"/\"", spec.path)));
        }
        if spec.user.is_some() && spec.bearer.is_some() {
            return Err(wrong("it has both a user and a bearer token".to_owned()));
        }
        let (body, content_type) = content::body(spec, names)?;
        let mut headers = Vec::new();
        for (name, what) in [("Host", "hosts"), ("Content-Length", "lengths"), ("Transfer-Encoding", "framings")] {
            if spec.headers.all(name).nth(1).is_some() {
                return Err(wrong(format!("it has two {what}: {name} stands twice in its headers, leave one out")));
            }
        }
        for (key, value) in content::headers(target, spec, content_type) {
            let key = HeaderName::from_bytes(key.as_bytes())
                .map_err(|_| wrong(format!("\"{key}\" is not the name of a header")))?;
            headers.push((key, Template::compile(&value, names, Escape::Header)?));
        }
        if let Some(credentials) = content::credentials(spec, names)? {
            headers.push((AUTHORIZATION, credentials));
        }
        // A fragment is not sent.
        let path = spec.path.split_once('#').map_or(spec.path.as_str(), |(path, _)| path);
        let uri = Template::compile(path, names, Escape::Target)?;
        if let Some(value) = uri.begins_without('/', names.feeds) {
            return Err(wrong(format!("its path \"{value}\" does not begin with \"/\"")));
        }
        let cookies = Template::compile(&content::cookies(spec), names, Escape::Header)?;
        let has = |wanted: HeaderName| headers.iter().any(|(name, _)| *name == wanted);
        let closes = headers
            .iter()
            .filter(|(name, _)| *name == CONNECTION)
            .any(|(_, template)| template.constant().is_some_and(|value| asks_to_close(&value)));
        let frames_itself = has(CONTENT_LENGTH) || has(TRANSFER_ENCODING);
        let means_a_body = [Method::POST, Method::PUT, Method::PATCH].contains(&method);
        let states_length = !frames_itself && (!body.is_empty() || means_a_body);
        let values = captured.unwrap_or_default();
        let place_of = |name: &str| values.iter().position(|known| known == name).unwrap_or(usize::MAX);
        let check = Check::compile(spec, place_of).map_err(wrong)?;
        // A flow keeps the cookies that answers set.
        let keeps_answer = check.needs_answer() || captured.is_some();
        let constant = None;
        let mut kind =
            Self { name, method, constant, uri, headers, cookies, body, states_length, closes, check, keeps_answer };
        kind.prepare(names.feeds, values.len()).map_err(wrong)?;
        Ok(kind)
    }

    /// Renders once, so that what cannot be sent is refused before the run, and keeps what will not change.
    fn prepare(&mut self, feeds: &Feeds, values: usize) -> Result<(), String> {
        let captured = vec!["/".to_owned(); values];
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut scope = Scope { n: 0, rng: &mut rng, feeds, captured: &captured };
        self.head(&mut scope)?;
        let headers = self.headers.iter().map(|(_, template)| template);
        if headers.chain([&self.uri, &self.cookies, &self.body]).all(|template| template.constant().is_some()) {
            let mut room = Room::default();
            self.write(&mut scope, None, &mut room);
            self.constant = Some(room);
        }
        Ok(())
    }

    /// Keeps every answer until it is judged.
    pub fn keep_answers(&mut self) {
        self.keeps_answer = true;
    }

    /// What goes to the connection of a request whose bytes stand in `room`.
    pub fn outgoing<'a>(&self, room: &'a Room) -> transport::Request<'a> {
        let (bytes, head) = (room.bytes.as_slice(), room.head);
        let is_head = self.method == Method::HEAD;
        let is_constant = self.constant.as_ref().is_some_and(|constant| std::ptr::eq(constant, room));
        transport::Request { bytes, head, is_head, closes: self.closes, keeps_answer: self.keeps_answer, is_constant }
    }

    /// Writes a request as HTTP/1.1; draws in the order of [`Self::render`].
    pub fn write(&self, scope: &mut Scope<'_>, cookies: Option<&Cookies>, room: &mut Room) {
        let Room { bytes, body, head } = room;
        bytes.clear();
        bytes.extend_from_slice(self.method.as_str().as_bytes());
        bytes.push(b' ');
        let path = bytes.len();
        self.uri.render(scope, bytes);
        if bytes.get(path) != Some(&b'/') {
            make_path(bytes, path);
        }
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        for (name, template) in &self.headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            template.render(scope, bytes);
            bytes.extend_from_slice(b"\r\n");
        }
        self.write_cookies(scope, cookies, bytes);
        body.clear();
        self.body.render(scope, body);
        if self.states_length {
            push_length(bytes, body.len());
        }
        bytes.extend_from_slice(b"\r\n");
        *head = bytes.len();
        bytes.extend_from_slice(body);
    }

    /// One line for the cookies that answers have set, and for its own.
    fn write_cookies(&self, scope: &mut Scope<'_>, cookies: Option<&Cookies>, bytes: &mut Vec<u8>) {
        let set = cookies.filter(|cookies| !cookies.is_empty());
        if set.is_none() && self.cookies.is_empty() {
            return;
        }
        bytes.extend_from_slice(b"cookie: ");
        if let Some(cookies) = set {
            cookies.write(bytes);
            if !self.cookies.is_empty() {
                bytes.extend_from_slice(b"; ");
            }
        }
        self.cookies.render(scope, bytes);
        bytes.extend_from_slice(b"\r\n");
    }

    /// Holds a complete answer against what is expected of it; takes from it what `visit` keeps.
    pub fn judge(&self, status: u16, answer: Option<&Answer>, visit: Option<&mut Visit>) -> Outcome {
        let is_expected = self.check.statuses().map_or(status < 400, |statuses| statuses.contains(status));
        if !is_expected {
            return self.unexpected(status);
        }
        let Some(answer) = answer else { return Outcome::Ok };
        let examined = match visit {
            Some(visit) => {
                visit.cookies.take(answer);
                self.check.examine(answer, &mut visit.captured)
            }
            None => self.check.examine(answer, &mut []),
        };
        match examined {
            Ok(()) => Outcome::Ok,
            Err(why) => Outcome::HttpError(Fault::new(Phase::Assertion, Cause::Assertion, Side::Server, why)),
        }
    }

    fn unexpected(&self, status: u16) -> Outcome {
        let fault = match self.check.statuses() {
            Some(expected) if status < 400 => {
                let detail = format!("status {status} where {expected} was expected");
                Fault::new(Phase::Assertion, Cause::Assertion, Side::Server, detail)
            }
            _ => Fault::new(Phase::Head, Cause::Status, Side::Server, format!("status {status}")),
        };
        Outcome::HttpError(fault)
    }

    fn head(&self, scope: &mut Scope<'_>) -> Result<(Uri, HeaderMap), String> {
        let mut bytes = Vec::new();
        self.uri.render(scope, &mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if !text.starts_with('/') {
            return Err(format!("its path \"{text}\" does not begin with \"/\""));
        }
        let uri = Uri::try_from(text.as_str()).map_err(|e| format!("\"{text}\" is not a path: {e}"))?;
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        let cookies = [(COOKIE, self.cookies.clone())];
        for (name, template) in self.headers.iter().chain(cookies.iter().filter(|(_, t)| !t.is_empty())) {
            bytes.clear();
            template.render(scope, &mut bytes);
            let value = HeaderValue::try_from(bytes.as_slice()).map_err(|_| {
                let text = String::from_utf8_lossy(&bytes).escape_debug().to_string();
                format!("header {name}: \"{text}\" is not a valid value")
            })?;
            headers.append(name, value);
        }
        Ok((uri, headers))
    }

    /// The request as its parts.
    pub fn render(&self, scope: &mut Scope<'_>) -> Request<Bytes> {
        // `prepare` has rendered it once, and values are escaped.
        let (uri, headers) = self.head(scope).unwrap_or_default();
        let mut body = Vec::new();
        self.body.render(scope, &mut body);
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request
    }
}

fn asks_to_close(connection: &[u8]) -> bool {
    connection.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Makes a path of what was captured to be one, and begins at `start`: a whole URL loses its beginning, as a run has one
/// target.
fn make_path(bytes: &mut Vec<u8>, start: usize) {
    let url = &bytes[start..];
    let is_url = [&b"http://"[..], b"https://"].into_iter().find(|scheme| url.starts_with(scheme));
    if let Some(scheme) = is_url {
        let authority = &url[scheme.len()..];
        let end = authority.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(authority.len());
        let end = start + scheme.len() + end;
        bytes.drain(start..end);
    }
    if bytes.get(start) != Some(&b'/') {
        bytes.insert(start, b'/');
    }
}

fn push_length(bytes: &mut Vec<u8>, length: usize) {
    use std::io::Write as _;
    // Writing to a Vec does not fail.
    let _ = write!(bytes, "content-length: {length}\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_captured_is_sent_as_a_path() {
        for (captured, path) in [
            ("https://shop.test:8080/a?b", "/a?b"),
            ("http://shop.test", "/"),
            ("http://shop.test?b", "/?b"),
            ("a/b", "/a/b"),
            ("", "/"),
        ] {
            let mut bytes = format!("GET {captured}").into_bytes();
            make_path(&mut bytes, 4);
            assert_eq!(String::from_utf8(bytes).unwrap(), format!("GET {path}"), "{captured}");
        }
    }
}
