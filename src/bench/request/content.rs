//! What a request carries: its body in whatever form it is described, and the headers that go with it.

use std::fs;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, USER_AGENT};

use super::fields::Fields;
use super::template::{Escape, Names, Template, TemplateError};
use super::workload::{RequestSpec, file_of_part};
use crate::bench::target::Target;

/// What stands between the parts of a multipart body.
const BOUNDARY: &str = "scalectl-d41f0c4e9b7a5362";

/// Why there is no content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentError {
    /// A text in it.
    Template(TemplateError),
    /// Something else.
    Why(String),
}

impl From<TemplateError> for ContentError {
    fn from(error: TemplateError) -> Self {
        Self::Template(error)
    }
}

/// The body of a request, and its content type where the form of the body says it.
pub fn body(spec: &RequestSpec, names: Names<'_>) -> Result<(Template, Option<String>), ContentError> {
    let bodies = spec.bodies();
    if bodies.len() > 1 {
        return Err(ContentError::Why(format!("it has both {}", bodies.join(" and "))));
    }
    if let Some(text) = &spec.body {
        return Ok((Template::compile(text, names, Escape::Not)?, None));
    }
    if let Some(file) = &spec.body_file {
        return Ok((Template::bytes(read(&file.display().to_string())?), None));
    }
    if let Some(bytes) = &spec.body_bytes {
        return Ok((Template::bytes(bytes.to_vec()), None));
    }
    if let Some(value) = &spec.json {
        let template = Template::compile(&value.to_string(), names, Escape::Json)?;
        return Ok((template, Some("application/json".to_owned())));
    }
    if !spec.form.is_empty() {
        return Ok((form(&spec.form, names)?, Some("application/x-www-form-urlencoded".to_owned())));
    }
    if !spec.multipart.is_empty() {
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        return Ok((multipart(&spec.multipart, names)?, Some(content_type)));
    }
    Ok((Template::bytes(Vec::new()), None))
}

fn read(file: &str) -> Result<Vec<u8>, ContentError> {
    fs::read(file).map_err(|error| ContentError::Why(format!("its body file {file} cannot be read: {error}")))
}

fn form(fields: &Fields, names: Names<'_>) -> Result<Template, ContentError> {
    let mut whole = Template::empty(Escape::Form);
    for (number, (key, value)) in fields.iter().enumerate() {
        if number > 0 {
            whole.append(Template::bytes(b"&".to_vec()));
        }
        whole.append(Template::compile_escaped(key, names, Escape::Form)?);
        whole.append(Template::bytes(b"=".to_vec()));
        whole.append(Template::compile_escaped(value, names, Escape::Form)?);
    }
    Ok(whole)
}

/// RFC 7578.
fn multipart(parts: &Fields, names: Names<'_>) -> Result<Template, ContentError> {
    let mut whole = Template::bytes(Vec::new());
    // Quotes and line ends in a name, as browsers write them.
    let name = |text: &str| text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    for (key, value) in parts.iter() {
        let mut head = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{}\"", name(key));
        let content = match file_of_part(value) {
            Some((file, kind)) => {
                let kind = kind.unwrap_or("application/octet-stream");
                let short = file.rsplit('/').next().unwrap_or(file);
                if kind.is_empty() || HeaderValue::from_str(kind).is_err() {
                    let why = format!(
                        "its part {key} is of type {kind:?}, which is none, write one like @FILE;type=image/png"
                    );
                    return Err(ContentError::Why(why));
                }
                head += &format!("; filename=\"{}\"\r\ncontent-type: {kind}", name(short));
                Template::bytes(read(file)?)
            }
            None => Template::compile(value, names, Escape::Not)?,
        };
        head += "\r\n\r\n";
        whole.append(Template::bytes(head.into_bytes()));
        whole.append(content);
        whole.append(Template::bytes(b"\r\n".to_vec()));
    }
    whole.append(Template::bytes(format!("--{BOUNDARY}--\r\n").into_bytes()));
    Ok(whole)
}

/// The request's own headers, before them the usual ones that it does not set; without its cookies.
pub fn headers(target: &Target, spec: &RequestSpec, content_type: Option<String>) -> Vec<(String, String)> {
    let agent = concat!("scalectl/", env!("CARGO_PKG_VERSION"));
    let mut defaults = vec![(HOST, target.authority()), (USER_AGENT, agent.to_owned()), (ACCEPT, "*/*".to_owned())];
    defaults.extend(content_type.map(|value| (CONTENT_TYPE, value)));
    let basic = spec.user.as_ref().filter(|user| !is_rendered(user));
    let basic = basic.map(|user| format!("Basic {}", BASE64_STANDARD.encode(user)));
    let bearer = spec.bearer.as_ref().map(|token| format!("Bearer {token}"));
    defaults.extend(basic.or(bearer).map(|value| (AUTHORIZATION, value)));
    let own = spec.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(COOKIE.as_str()));
    defaults
        .into_iter()
        .filter(|(name, _)| !spec.headers.has(name.as_str()))
        .map(|(name, value)| (name.to_string(), value))
        .chain(own.map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect()
}

/// Whether something in credentials differs from one request to the next; a password may have braces in it.
fn is_rendered(user: &str) -> bool {
    user.split_once("{{").is_some_and(|(_, behind)| behind.contains("}}"))
}

/// The credentials of a request that differ from one to the next, as their header has them.
///
/// # Errors
///
/// They are no template.
pub fn credentials(spec: &RequestSpec, names: Names<'_>) -> Result<Option<Template>, TemplateError> {
    let user = spec.user.as_ref().filter(|user| is_rendered(user) && !spec.headers.has(AUTHORIZATION.as_str()));
    let Some(user) = user else { return Ok(None) };
    let mut whole = Template::bytes(b"Basic ".to_vec());
    let compiled = Template::compile(user, names, Escape::Not).map_err(|error| match error {
        // It quotes the whole text.
        TemplateError::Unclosed { .. } => TemplateError::Unclosed { text: "user and password".to_owned() },
        other => other,
    });
    whole.append_in_base64(compiled?);
    Ok(Some(whole))
}

/// The cookies that a request has of itself, as their header has them.
pub fn cookies(spec: &RequestSpec) -> String {
    let pairs = spec.cookies.iter().map(|(name, value)| format!("{name}={value}"));
    spec.headers.all(COOKIE.as_str()).map(str::to_owned).chain(pairs).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::feed::Feeds;
    use super::*;

    fn spec(json: serde_json::Value) -> RequestSpec {
        let mut full = json!({"path": "/"});
        full.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        serde_json::from_value(full).unwrap()
    }

    fn content(json: serde_json::Value) -> Result<(String, Option<String>), ContentError> {
        let feeds = Feeds::default();
        let (body, kind) = body(&spec(json), Names { feeds: &feeds, captured: &[] })?;
        Ok((String::from_utf8(body.constant().unwrap()).unwrap(), kind))
    }

    #[test]
    fn what_is_drawn_for_a_form_is_encoded_as_what_stands_in_it() {
        let feeds = Feeds::default();
        let names = Names { feeds: &feeds, captured: &["token".to_owned()] };
        let spec = spec(json!({"form": {"a": "{{ choice(\"b&c=d+e\") }} f", "t": "{{ token }}"}}));
        let (body, _) = body(&spec, names).unwrap();
        let mut rng = rand::SeedableRng::seed_from_u64(1);
        let mut scope =
            super::super::template::Scope { n: 0, rng: &mut rng, feeds: &feeds, captured: &["x+/=".to_owned()] };
        let mut out = Vec::new();
        body.render(&mut scope, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "a=b%26c%3Dd%2Be%20f&t=x%2B%2F%3D");
    }

    #[test]
    fn credentials_are_rendered_before_they_are_encoded() {
        let feeds = Feeds::default();
        let names = Names { feeds: &feeds, captured: &["name".to_owned()] };
        let template = credentials(&spec(json!({"user": "{{ name }}:pw"})), names).unwrap().unwrap();
        let mut rng = rand::SeedableRng::seed_from_u64(1);
        let mut scope =
            super::super::template::Scope { n: 0, rng: &mut rng, feeds: &feeds, captured: &["ada".to_owned()] };
        let mut out = Vec::new();
        template.render(&mut scope, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("Basic {}", BASE64_STANDARD.encode("ada:pw")));
        // Braces of a password are not those of a generator, and no password is in a message.
        assert!(credentials(&spec(json!({"user": "ada:pa{{ss"})), names).unwrap().is_none());
        let secret = credentials(&spec(json!({"user": "{{ name }}:pa{{ss"})), names).unwrap_err().to_string();
        assert!(secret.contains("not closed") && !secret.contains("ss\""), "{secret}");
    }

    #[test]
    fn every_form_of_a_body_has_its_bytes_and_its_type() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cat \"1\".txt");
        fs::write(&file, "{{ not a text }}").unwrap();
        let file = file.display().to_string();
        for (json, expected, kind) in [
            (json!({"body": "x"}), "x".to_owned(), None),
            (json!({"body_file": file}), "{{ not a text }}".to_owned(), None),
            (json!({"json": {"a": "\""}}), "{\"a\":\"\\\"\"}".to_owned(), Some("application/json")),
            (
                json!({"form": {"a b": "c&d", "e": "ü"}}),
                "a%20b=c%26d&e=%C3%BC".to_owned(),
                Some("application/x-www-form-urlencoded"),
            ),
            (
                json!({"form": {"z": ["1", "2"], "a": "3"}}),
                "z=1&z=2&a=3".to_owned(),
                Some("application/x-www-form-urlencoded"),
            ),
            (
                json!({"multipart": {"a\"": "b", "f": [format!("@{file}"), format!("@{file};type=image/png")]}}),
                [
                    "--B\r\ncontent-disposition: form-data; name=\"a%22\"\r\n\r\nb\r\n",
                    "--B\r\ncontent-disposition: form-data; name=\"f\"; filename=\"cat %221%22.txt\"\r\n",
                    "content-type: application/octet-stream\r\n\r\n{{ not a text }}\r\n",
                    "--B\r\ncontent-disposition: form-data; name=\"f\"; filename=\"cat %221%22.txt\"\r\n",
                    "content-type: image/png\r\n\r\n{{ not a text }}\r\n--B--\r\n",
                ]
                .concat()
                .replace("--B", &format!("--{BOUNDARY}")),
                Some("multipart/form-data; boundary=scalectl-d41f0c4e9b7a5362"),
            ),
        ] {
            assert_eq!(content(json).unwrap(), (expected, kind.map(str::to_owned)));
        }
        let Err(ContentError::Why(both)) = content(json!({"body": "x", "form": {"a": "b"}})) else { panic!() };
        assert_eq!(both, "it has both body and form");
        let Err(ContentError::Why(gone)) = content(json!({"body_file": "/nowhere"})) else { panic!() };
        assert!(gone.contains("/nowhere cannot be read"), "{gone}");
    }

    #[test]
    fn who_is_asked_for_and_who_asks_are_headers() {
        let target = "http://127.0.0.1:8080/".parse().unwrap();
        let of = |json| headers(&target, &spec(json), Some("a/b".to_owned()));
        let value = |json, name: &str| {
            let found: Vec<_> = of(json).into_iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).collect();
            assert!(found.len() < 2, "{found:?}");
            found.into_iter().next().map(|(_, value)| value)
        };
        // RFC 7617, section 2.
        let basic = value(json!({"user": "Aladdin:open sesame"}), "authorization").unwrap();
        assert_eq!(basic, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(value(json!({"bearer": "t"}), "authorization").unwrap(), "Bearer t");
        assert_eq!(value(json!({"headers": {"Content-Type": "c/d"}}), "content-type").unwrap(), "c/d");
        let cookie = json!({"headers": {"Cookie": "a=1"}, "cookies": {"b": "2"}});
        assert_eq!(value(cookie.clone(), "cookie"), None);
        assert_eq!(cookies(&spec(cookie)), "a=1; b=2");
    }
}
