//! Images: which the engine has, and getting those which it has not.

use std::collections::BTreeMap;

use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;

use super::connect::Connection;
use super::reference::Reference;
use super::{fail, registry};
use crate::engine::Note;
use crate::error::Failure;

/// The id of an image on the engine; `None` if it is not there.
///
/// # Errors
///
/// The engine does not say.
pub async fn image_id(connection: &Connection, reference: &str) -> Result<Option<String>, Failure> {
    match connection.docker.inspect_image(reference).await {
        Ok(image) => Ok(image.id),
        Err(error) if fail::is_missing(&error) => Ok(None),
        Err(error) => Err(fail::asking(&format!("whether it has the image {reference}"), &error)),
    }
}

/// Gets an image from its registry, for the engine's own platform, with the credentials of the docker CLI.
///
/// # Errors
///
/// With the cause: no such image or tag, a registry that wants other credentials or does not answer, a full disk.
pub async fn pull(connection: &Connection, image: &str, note: &dyn Fn(Note)) -> Result<(), Failure> {
    let reference = Reference::of(image);
    let credentials = registry::credentials(image, note).await;
    // In full: Podman does not guess a registry.
    let options = CreateImageOptionsBuilder::default().from_image(&reference.to_string()).build();
    let authenticated = credentials.is_some();
    let mut stream = connection.docker.create_image(Some(options), None, credentials);
    let mut layers = Layers::default();
    while let Some(progress) = stream.next().await {
        let info = progress.map_err(|error| cannot(image, &reference, authenticated, &error))?;
        if let Some(line) = layers.take(info) {
            note(Note::Detail(line));
        }
    }
    Ok(())
}

fn cannot(image: &str, reference: &Reference, authenticated: bool, error: &Error) -> Failure {
    match error {
        Error::DockerResponseServerError { message, .. } | Error::DockerStreamError { error: message } => {
            refused(image, reference, authenticated, message)
        }
        _ => fail::doing(&format!("pull {image}"), error),
    }
}

/// How far the layers of an image are.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// Bytes that are there, and all bytes, by layer.
    layers: BTreeMap<String, (u64, u64)>,
    said: String,
}

impl Layers {
    /// Takes one line of progress; says something when there is something new to say.
    pub(super) fn take(&mut self, info: CreateImageInfo) -> Option<String> {
        let (Some(id), Some(status)) = (info.id, info.status) else { return None };
        let detail = info.progress_detail.unwrap_or_default();
        let bytes = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        match status.as_str() {
            "Downloading" => {
                let current = bytes(detail.current).unwrap_or(0);
                self.layers.insert(id, (current, bytes(detail.total).unwrap_or(0).max(current)));
            }
            "Download complete" | "Pull complete" => {
                if let Some((current, total)) = self.layers.get_mut(&id) {
                    *current = *total;
                }
            }
            _ => {}
        }
        let line = self.line()?;
        (line != self.said).then(|| {
            self.said.clone_from(&line);
            line
        })
    }

    fn line(&self) -> Option<String> {
        let (current, total) = self.layers.values().fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
        (total > 0).then(|| match current < total {
            true => format!("{} of {}", size(current), size(total)),
            false => format!("{}, unpacking", size(total)),
        })
    }
}

/// A size in the unit that suits it, to one digit: `12.3 MiB`.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 2] = [("GiB", 1 << 30), ("MiB", 1 << 20)];
    let (unit, factor) = UNITS.into_iter().find(|(_, factor)| bytes >= *factor).unwrap_or(("KiB", 1 << 10));
    format!("{:.1} {unit}", bytes as f64 / factor as f64)
}

/// Why an image could not be had, from what the engine said. Its words are those of Docker Engine 20.10 to 29 and of
/// Podman 4 and 5, which both hand on what the registry answered.
pub(super) fn refused(image: &str, reference: &Reference, authenticated: bool, said: &str) -> Failure {
    let registry = &reference.registry;
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let failure = |what: String| Failure::failed(what).because(said.trim().to_owned());
    if says(&["no space left on device"]) {
        return disk_full(&format!("pull {image}")).because(said.trim().to_owned());
    }
    if says(&["toomanyrequests", "429 Too Many"]) {
        return failure(format!("cannot pull {image}: {registry} limits how often it is asked"))
            .hint(format!("`docker login {registry}` raises the limit; else try again later"));
    }
    if says(&["no matching manifest for", "no image found in image index", "no image found in manifest list"]) {
        return failure(format!("{image} is not made for the platform of the engine"))
            .hint("choose an image or tag that is");
    }
    if says(&["unauthorized", "no basic auth credentials", "authentication required", "access denied", "denied:"]) {
        return unauthorized(failure(format!("{registry} does not give {image} to us")), registry, authenticated, said);
    }
    if says(&["manifest unknown", "not found", "name unknown"]) {
        return failure(missing(image, reference)).hint("correct the name or the tag, or push it there first");
    }
    if says(&["server gave HTTP response to HTTPS client"]) {
        return failure(format!("cannot pull {image}: the registry {registry} speaks HTTP without TLS")).hint(format!(
            "add {registry:?} to `insecure-registries` in the engine's daemon.json, or give it a certificate"
        ));
    }
    if says(&["x509:", "tls: "]) {
        return failure(format!("cannot pull {image}: the engine does not trust the registry {registry}"))
            .hint(format!("put its authority into /etc/docker/certs.d/{registry}/ca.crt on the engine's machine"));
    }
    if says(&["dial tcp", "no such host", "i/o timeout", "request canceled", "TLS handshake timeout", "Client.Timeout"])
    {
        return failure(format!("cannot pull {image}: the engine does not reach the registry {registry}"))
            .hint("is the network up, and the proxy set in the engine's configuration where one is needed?");
    }
    failure(format!("cannot pull {image}"))
}

fn missing(image: &str, reference: &Reference) -> String {
    let name = &reference.path;
    match (&reference.tag, &reference.digest) {
        (_, Some(digest)) => {
            format!("there is no image {image}: {} has no {name} with digest {digest}", reference.registry)
        }
        (Some(tag), None) => format!("there is no image {image}: {} has no {name} with tag {tag}", reference.registry),
        (None, None) => format!("there is no image {image}"),
    }
}

/// Docker Hub answers the same for what is private and for what does not exist.
fn unauthorized(failure: Failure, registry: &str, authenticated: bool, said: &str) -> Failure {
    let failure = match authenticated {
        true => failure.hint(format!("the credentials that `docker login {registry}` left are not good for it")),
        false => failure.hint(format!("if it is private: `docker login {registry}`")),
    };
    if said.contains("does not exist") { failure.hint("if it is public: correct the name") } else { failure }
}

/// The engine's disk is full.
pub(super) fn disk_full(doing: &str) -> Failure {
    Failure::failed(format!("cannot {doing}: the engine's disk is full"))
        .hint("`docker system df` shows what is on it, `docker system prune` removes what nobody uses")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(id: &str, status: &str, detail: Option<(i64, i64)>) -> CreateImageInfo {
        let json = match detail {
            Some((current, total)) => {
                serde_json::json!({"id": id, "status": status, "progressDetail": {"current": current, "total": total}})
            }
            None => serde_json::json!({"id": id, "status": status}),
        };
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn progress_is_over_all_layers() {
        let mut layers = Layers::default();
        assert_eq!(layers.take(progress("3.13", "Pulling from library/python", None)), None);
        assert_eq!(layers.take(progress("a", "Downloading", Some((1 << 20, 4 << 20)))).unwrap(), "1.0 MiB of 4.0 MiB");
        assert_eq!(layers.take(progress("a", "Downloading", Some(((1 << 20) + 1, 4 << 20)))), None);
        assert_eq!(layers.take(progress("b", "Downloading", Some((0, 2 << 30)))).unwrap(), "1.0 MiB of 2.0 GiB");
        layers.take(progress("b", "Download complete", None));
        assert_eq!(layers.take(progress("a", "Pull complete", None)).unwrap(), "2.0 GiB, unpacking");
    }

    #[test]
    fn each_refusal_has_its_cause_and_a_hint() {
        let cases = [
            ("manifest for a:9 not found: manifest unknown: manifest unknown", "has no library/a with tag 9"),
            (
                "pull access denied for a, repository does not exist or may require 'docker login'",
                "does not give a:9 to us",
            ),
            ("Head \"http://r/v2/\": no basic auth credentials", "does not give a:9 to us"),
            ("dial tcp: lookup r.invalid: no such host", "does not reach the registry docker.io"),
            ("write /x: no space left on device", "disk is full"),
            ("toomanyrequests: You have reached your pull rate limit", "limits how often"),
            ("no matching manifest for linux/s390x in the manifest list entries", "platform"),
            ("http: server gave HTTP response to HTTPS client", "HTTP without TLS"),
            ("x509: certificate signed by unknown authority", "does not trust"),
        ];
        for (said, expected) in cases {
            let failure = refused("a:9", &Reference::of("a:9"), false, said);
            assert!(failure.what().contains(expected), "{said}: {failure}");
            assert!(!failure.hints().is_empty(), "{said}");
            assert_eq!(failure.evidence(), [said]);
        }
    }
}
