//! The mix of requests, compiled before the first one is sent. The content of request n depends on (seed, n) only.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
    USER_AGENT,
};
use http::{Method, Request, Uri};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::replay::Recording;
use super::target::Target;
use super::template::{Template, TemplateError};
use super::transport;
use super::workload::RequestSpec;

/// Why a mix cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    /// A generator in one of its texts is wrong.
    #[error("request \"{request}\": {source}")]
    Template {
        /// Name of the request.
        request: String,
        /// What is wrong.
        source: TemplateError,
    },
    /// Something else in a request is wrong.
    #[error("request \"{request}\": {why}")]
    Request {
        /// Name of the request.
        request: String,
        /// What is wrong.
        why: String,
    },
    /// All weights are 0.
    #[error("the weights of all requests are 0")]
    Weightless,
}

impl MixError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Template { source, .. } => Some(source.hint()),
            Self::Request { .. } | Self::Weightless => None,
        }
    }
}

/// One kind of request, compiled.
#[derive(Debug, Clone)]
struct Kind {
    name: String,
    method: Method,
    uri: Template,
    headers: Vec<(HeaderName, Template)>,
    body: Template,
    /// Whether a length of the body is stated: the request does not frame itself.
    states_length: bool,
    /// Whether it asks for the connection to be closed.
    closes: bool,
    /// The bytes of all of it, where nothing in it is generated.
    constant: Option<Room>,
}

/// The bytes of a request, and room to make those of the next one without an allocation.
#[derive(Debug, Clone, Default)]
pub struct Room {
    text: String,
    body: String,
    /// How many bytes of the text are the head.
    head: usize,
}

impl Room {
    /// Puts another path in the place of the `/` that begins at `start`.
    fn set_path(&mut self, start: usize, path: &str) {
        self.text.replace_range(start..=start, path);
        self.head += path.len() - 1;
    }
}

/// A compiled mix.
#[derive(Debug, Clone)]
pub struct Mix {
    kinds: Vec<Kind>,
    /// Running sums of the weights.
    bounds: Vec<u64>,
    rng: ChaCha8Rng,
    /// The log that method and path are taken from: there is a kind for each of its methods.
    replay: Option<Arc<Recording>>,
}

impl Mix {
    /// Compiles `specs` for `target`; with none, it is one GET of the target's path.
    ///
    /// # Errors
    ///
    /// Unknown generators, invalid methods, paths or headers, weights that are all 0.
    pub fn compile(target: &Target, specs: &[RequestSpec], seed: u64) -> Result<Self, MixError> {
        let default = [RequestSpec::get(&target.path)];
        let specs = if specs.is_empty() { &default[..] } else { specs };
        let kinds = specs.iter().map(|spec| Kind::compile(target, spec)).collect::<Result<Vec<_>, _>>()?;
        let bounds: Vec<u64> = specs
            .iter()
            .scan(0u64, |sum, spec| {
                *sum += u64::from(spec.weight);
                Some(*sum)
            })
            .collect();
        if bounds.last().is_none_or(|sum| *sum == 0) {
            return Err(MixError::Weightless);
        }
        Ok(Self { kinds, bounds, rng: ChaCha8Rng::seed_from_u64(seed), replay: None })
    }

    /// Takes method and path from a log; the kinds are one for each of its methods, in their order.
    #[must_use]
    pub fn replaying(mut self, recording: Arc<Recording>) -> Self {
        self.replay = Some(recording);
        self
    }

    /// Kind and path of request `n` of the log, if there is one.
    fn replayed(&self, n: u64) -> Option<(usize, &str)> {
        self.replay.as_ref()?.request(n)
    }

    /// Names of the kinds, by index.
    pub fn names(&self) -> Vec<String> {
        self.kinds.iter().map(|k| k.name.clone()).collect()
    }

    /// Whether a request of this kind may be sent twice (RFC 9110, 9.2.2).
    pub fn is_idempotent(&self, kind: usize) -> bool {
        self.kinds.get(kind).is_some_and(|k| k.method.is_idempotent())
    }

    /// The kind of request `n`.
    pub fn kind_of(&self, n: u64) -> usize {
        if let Some((kind, _)) = self.replayed(n) {
            return kind;
        }
        if self.kinds.len() == 1 { 0 } else { self.draw_kind(&mut self.stream(n)) }
    }

    /// Kind and content of request `n`.
    pub fn request(&self, n: u64) -> (usize, Request<Bytes>) {
        let mut rng = self.stream(n);
        if let Some((kind, path)) = self.replayed(n) {
            let mut request = self.kinds[kind].render(n, &mut rng);
            // A path that is none was left out when the log was read.
            *request.uri_mut() = path.parse().unwrap_or_default();
            return (kind, request);
        }
        let index = self.choose(&mut rng);
        (index, self.kinds[index].render(n, &mut rng))
    }

    /// Kind of request `n` and its bytes in HTTP/1.1, which may stand in `room`.
    pub(super) fn wire<'a>(&'a self, n: u64, room: &'a mut Room) -> (usize, transport::Request<'a>) {
        if let Some((index, path)) = self.replayed(n) {
            let kind = &self.kinds[index];
            kind.write(n, &mut self.stream(n), room);
            room.set_path(kind.method.as_str().len() + 1, path);
            return (index, kind.outgoing(room));
        }
        if let [Kind { constant: Some(constant), .. }] = self.kinds.as_slice() {
            return (0, self.kinds[0].outgoing(constant));
        }
        let mut rng = self.stream(n);
        let index = self.choose(&mut rng);
        let kind = &self.kinds[index];
        let room = match &kind.constant {
            Some(constant) => constant,
            None => {
                kind.write(n, &mut rng, room);
                room
            }
        };
        (index, kind.outgoing(room))
    }

    fn choose(&self, rng: &mut ChaCha8Rng) -> usize {
        if self.kinds.len() == 1 { 0 } else { self.draw_kind(rng) }
    }

    /// Stream n of the seeded generator: independent for every n, and the same whoever asks.
    fn stream(&self, n: u64) -> ChaCha8Rng {
        let mut rng = self.rng.clone();
        rng.set_stream(n);
        rng
    }

    fn draw_kind(&self, rng: &mut ChaCha8Rng) -> usize {
        let total = self.bounds.last().copied().unwrap_or(1);
        let drawn = rng.random_range(0..total);
        self.bounds.partition_point(|bound| *bound <= drawn)
    }
}

impl Kind {
    fn compile(target: &Target, spec: &RequestSpec) -> Result<Self, MixError> {
        let name = spec.name.clone().unwrap_or_else(|| format!("{} {}", spec.method, spec.path));
        let wrong = |why: String| MixError::Request { request: name.clone(), why };
        let template =
            |text: &str| Template::compile(text).map_err(|source| MixError::Template { request: name.clone(), source });
        let method: Method =
            spec.method.parse().map_err(|_| wrong(format!("\"{}\" is not an HTTP method", spec.method)))?;
        if !spec.path.starts_with('/') {
            return Err(wrong(format!("its path \"{}\" does not begin with \"/\"", spec.path)));
        }
        let body = match (&spec.body, &spec.json) {
            (Some(_), Some(_)) => return Err(wrong("it has both a body and json".to_owned())),
            (Some(text), None) => template(text)?,
            (None, Some(value)) => template(&value.to_string())?,
            (None, None) => template("")?,
        };
        let mut headers = Vec::new();
        for (key, value) in all_headers(target, spec) {
            let key = HeaderName::from_bytes(key.as_bytes())
                .map_err(|_| wrong(format!("\"{key}\" is not the name of a header")))?;
            headers.push((key, template(&value)?));
        }
        let uri = template(&spec.path)?;
        let has = |wanted: HeaderName| headers.iter().find(|(name, _)| *name == wanted);
        let closes = has(CONNECTION).and_then(|(_, t)| t.constant()).is_some_and(asks_to_close);
        let frames_itself = has(CONTENT_LENGTH).or(has(TRANSFER_ENCODING)).is_some();
        let has_body = body.constant() != Some("");
        let means_a_body = [Method::POST, Method::PUT, Method::PATCH].contains(&method);
        let states_length = !frames_itself && (has_body || means_a_body);
        let mut kind = Self { name: name.clone(), method, uri, headers, body, states_length, closes, constant: None };
        kind.prepare().map_err(wrong)?;
        Ok(kind)
    }

    /// Renders once, so that what cannot be sent is refused before the run, and keeps what will not change.
    fn prepare(&mut self) -> Result<(), String> {
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        self.head(0, rng)?;
        let headers = self.headers.iter().map(|(_, template)| template);
        if headers.chain([&self.uri, &self.body]).all(|template| template.constant().is_some()) {
            let mut room = Room::default();
            self.write(0, rng, &mut room);
            self.constant = Some(room);
        }
        Ok(())
    }

    fn outgoing<'a>(&self, room: &'a Room) -> transport::Request<'a> {
        let (bytes, head) = (room.text.as_bytes(), room.head);
        transport::Request { bytes, head, is_head: self.method == Method::HEAD, closes: self.closes }
    }

    /// Writes request `n` as HTTP/1.1; draws in the order of [`Self::render`].
    fn write(&self, n: u64, rng: &mut ChaCha8Rng, room: &mut Room) {
        let Room { text, body, head } = room;
        text.clear();
        text.push_str(self.method.as_str());
        text.push(' ');
        self.uri.render(n, rng, text);
        // A fragment is not sent; generators make none.
        if let Some(end) = text.find('#') {
            text.truncate(end);
        }
        text.push_str(" HTTP/1.1\r\n");
        for (name, template) in &self.headers {
            text.push_str(name.as_str());
            text.push_str(": ");
            template.render(n, rng, text);
            text.push_str("\r\n");
        }
        body.clear();
        self.body.render(n, rng, body);
        if self.states_length {
            text.push_str("content-length: ");
            push_number(text, body.len());
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        *head = text.len();
        text.push_str(body);
    }

    fn head(&self, n: u64, rng: &mut ChaCha8Rng) -> Result<(Uri, HeaderMap), String> {
        let mut text = String::new();
        self.uri.render(n, rng, &mut text);
        let uri = Uri::try_from(text.as_str()).map_err(|e| format!("\"{text}\" is not a path: {e}"))?;
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, template) in &self.headers {
            text.clear();
            template.render(n, rng, &mut text);
            let value = HeaderValue::try_from(text.as_str())
                .map_err(|_| format!("header {name}: \"{}\" is not a valid value", text.escape_debug()))?;
            headers.append(name, value);
        }
        Ok((uri, headers))
    }

    fn render(&self, n: u64, rng: &mut ChaCha8Rng) -> Request<Bytes> {
        // `prepare` has rendered it once, and generators make letters, digits and hyphens only.
        let (uri, headers) = self.head(n, rng).unwrap_or_default();
        let mut body = String::new();
        self.body.render(n, rng, &mut body);
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request
    }
}

fn asks_to_close(connection: &str) -> bool {
    connection.split(',').any(|token| token.trim().eq_ignore_ascii_case("close"))
}

fn push_number(text: &mut String, number: usize) {
    use std::fmt::Write as _;
    // Writing to a String does not fail.
    let _ = write!(text, "{number}");
}

/// The request's own headers, before them the usual ones that it does not set.
fn all_headers(target: &Target, spec: &RequestSpec) -> Vec<(String, String)> {
    let agent = concat!("scalectl/", env!("CARGO_PKG_VERSION"));
    let mut defaults = vec![(HOST, target.authority()), (USER_AGENT, agent.to_owned()), (ACCEPT, "*/*".to_owned())];
    if spec.json.is_some() {
        defaults.push((CONTENT_TYPE, "application/json".to_owned()));
    }
    let is_set = |name: &HeaderName| spec.headers.keys().any(|key| key.eq_ignore_ascii_case(name.as_str()));
    let own = spec.headers.iter().map(|(key, value)| (key.clone(), value.clone()));
    defaults
        .into_iter()
        .filter(|(name, _)| !is_set(name))
        .map(|(name, value)| (name.to_string(), value))
        .chain(own)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        "http://127.0.0.1:8080/".parse().unwrap()
    }

    fn spec(json: serde_json::Value) -> RequestSpec {
        serde_json::from_value(json).unwrap()
    }

    fn shop(seed: u64) -> Mix {
        let specs = [
            spec(serde_json::json!({"weight": 9, "path": "/users/{{ zipf(1, 10000) }}"})),
            spec(
                serde_json::json!({"weight": 1, "method": "POST", "path": "/users", "json": {"email": "{{ uuid() }}@example.com"}}),
            ),
        ];
        Mix::compile(&target(), &specs, seed).unwrap()
    }

    #[test]
    fn content_depends_on_seed_and_number_only() {
        let (one, same, other) = (shop(1), shop(1), shop(2));
        let text = |mix: &Mix, n| format!("{:?}", mix.request(n));
        let mut differ = 0;
        for n in (0..200).rev() {
            assert_eq!(text(&one, n), text(&same, n));
            assert_eq!(one.kind_of(n), one.request(n).0);
            differ += u32::from(text(&one, n) != text(&other, n));
        }
        assert!(differ > 150, "{differ} of 200 differ under another seed");
    }

    /// The number of kind 0 is binomial; five standard deviations are beyond one in a million.
    #[test]
    fn kinds_have_their_shares() {
        let mix = shop(7);
        let total = 100_000u64;
        let first = (0..total).filter(|n| mix.kind_of(*n) == 0).count() as f64;
        let (mean, deviation) = (total as f64 * 0.9, (total as f64 * 0.9 * 0.1).sqrt());
        assert!((first - mean).abs() < 5.0 * deviation, "{first} of {total}");
    }

    #[test]
    fn a_request_has_the_usual_headers_and_its_own() {
        let spec = spec(serde_json::json!({"path": "/", "headers": {"accept": "text/html", "X-Id": "{{ seq() }}"}}));
        let (_, request) = Mix::compile(&target(), &[spec], 0).unwrap().request(5);
        assert_eq!(request.headers()["host"], "127.0.0.1:8080");
        assert_eq!(request.headers()["accept"], "text/html");
        assert_eq!(request.headers().get_all("accept").iter().count(), 1);
        assert_eq!(request.headers()["x-id"], "5");
        let (kind, post) = (0..).map(|n| shop(1).request(n)).find(|(kind, _)| *kind == 1).unwrap();
        assert_eq!(post.headers()["content-type"], "application/json");
        assert!(post.body().starts_with(b"{\"email\":\""));
        assert!(!shop(1).is_idempotent(kind));
    }

    /// What is written, read back by a parser, is the request.
    #[test]
    fn the_bytes_of_a_request_are_the_request() {
        let specs = [
            serde_json::json!({"path": "/constant?a=b#fragment"}),
            serde_json::json!({"path": "/{{ seq() }}", "headers": {"X": "{{ uuid() }}", "connection": "TE, close"}}),
            serde_json::json!({"path": "/", "method": "POST"}),
            serde_json::json!({"path": "/{{ uuid() }}", "method": "PUT", "body": "ü{{ int(1, 9999) }}"}),
            serde_json::json!({"path": "/", "method": "HEAD", "headers": {"Host": "other"}}),
            serde_json::json!({"path": "/", "method": "POST", "body": "x", "headers": {"Content-Length": "1"}}),
        ];
        let specs = specs.map(spec);
        let mix = Mix::compile(&target(), &specs, 3).unwrap();
        let mut room = Room::default();
        let mut kinds = std::collections::BTreeSet::new();
        for n in 0..200 {
            let (kind, expected) = mix.request(n);
            let (same, wire) = mix.wire(n, &mut room);
            assert_eq!((same, mix.kind_of(n)), (kind, kind));
            kinds.insert(kind);
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut parsed = httparse::Request::new(&mut headers);
            assert_eq!(parsed.parse(wire.bytes).unwrap().unwrap(), wire.head);
            assert_eq!(parsed.method.unwrap(), expected.method().as_str());
            assert_eq!(parsed.path.unwrap(), expected.uri().to_string());
            assert_eq!(&wire.bytes[wire.head..], expected.body());
            let (mut own, rest): (Vec<_>, Vec<_>) = parsed
                .headers
                .iter()
                .map(|h| (h.name.to_owned(), h.value.to_vec()))
                .partition(|(name, _)| expected.headers().contains_key(name));
            own.sort();
            let mut all: Vec<_> =
                expected.headers().iter().map(|(k, v)| (k.to_string(), v.as_bytes().to_vec())).collect();
            all.sort();
            assert_eq!(own, all);
            let length = expected.body().len().to_string().into_bytes();
            let stated = if [2, 3].contains(&kind) { vec![("content-length".to_owned(), length)] } else { vec![] };
            assert_eq!(rest, stated);
            assert_eq!((wire.is_head, wire.closes), (kind == 4, kind == 1));
        }
        assert_eq!(kinds.len(), 6);
    }

    #[test]
    fn a_log_gives_method_and_path_and_the_mix_the_rest() {
        let line = |request: &str| format!("h - - [10/Oct/2000:13:55:36 +0000] \"{request} HTTP/1.1\" 200 1\n");
        let log = ["GET /a?b=c", "HEAD /", "GET /{{no}}", "POST /long/path"].map(line).concat();
        let recording = Arc::new(Recording::read(log.as_bytes(), Default::default(), true).unwrap());
        let kinds = ["GET", "HEAD", "POST"].map(|method| {
            spec(serde_json::json!({"name": method, "method": method, "path": "/", "headers": {"X-Id": "{{ seq() }}"}}))
        });
        let mix = Mix::compile(&target(), &kinds, 0).unwrap().replaying(recording);
        let mut room = Room::default();
        for (n, expected, kind) in [(0, "GET /a?b=c", 0), (1, "HEAD /", 1), (3, "POST /long/path", 2)] {
            let (index, wire) = mix.wire(n, &mut room);
            let text = std::str::from_utf8(wire.bytes).unwrap();
            assert!(text.starts_with(&format!("{expected} HTTP/1.1\r\n")), "{text}");
            assert!(text.contains(&format!("x-id: {n}\r\n")) && text.ends_with("\r\n\r\n"), "{text}");
            assert_eq!((wire.head, wire.is_head, index, mix.kind_of(n)), (wire.bytes.len(), kind == 1, kind, kind));
            let (same, request) = mix.request(n);
            assert_eq!((same, format!("{} {}", request.method(), request.uri())), (kind, expected.to_owned()));
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_before_the_run() {
        for (json, said) in [
            (serde_json::json!({"path": "users"}), "does not begin with"),
            (serde_json::json!({"path": "/a b"}), "is not a path"),
            (serde_json::json!({"path": "/", "method": "G T"}), "not an HTTP method"),
            (serde_json::json!({"path": "/", "headers": {"a b": "c"}}), "name of a header"),
            (serde_json::json!({"path": "/", "headers": {"a": "c\nd"}}), "not a valid value"),
            (serde_json::json!({"path": "/", "body": "x", "json": 1}), "both"),
            (serde_json::json!({"path": "/{{ ziff(1, 2) }}"}), "did you mean \"zipf\""),
            (serde_json::json!({"path": "/", "weight": 0}), "weights"),
        ] {
            let error = Mix::compile(&target(), &[spec(json.clone())], 0).unwrap_err().to_string();
            assert!(error.contains(said), "{json}: {error}");
        }
    }
}
