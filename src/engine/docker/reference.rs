//! The name of an image, taken apart.
//!
//! The rules are those of the docker CLI: <https://pkg.go.dev/github.com/distribution/reference>.

use std::fmt;

/// The registry that names without one mean.
pub const DOCKER_HUB: &str = "docker.io";

/// `[REGISTRY/]PATH[:TAG][@DIGEST]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `docker.io`, `ghcr.io`, `localhost:5000`.
    pub registry: String,
    /// `library/python`.
    pub path: String,
    /// `3.13-slim`; `latest` where neither tag nor digest is written.
    pub tag: Option<String>,
    /// `sha256:…`.
    pub digest: Option<String>,
}

impl Reference {
    /// Takes a name apart; whether it is a valid one is for the engine to say.
    pub fn of(text: &str) -> Self {
        let (text, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (text, None),
        };
        let (name, tag) = match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (text, None),
        };
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest.to_owned()),
            Some(_) => (DOCKER_HUB, name.to_owned()),
            None => (DOCKER_HUB, format!("library/{name}")),
        };
        let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
        Self { registry: registry.to_owned(), path, tag, digest }
    }
}

/// Whether the first part of a name is a host and not a folder of Docker Hub.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase)
}

impl fmt::Display for Reference {
    /// In full: `docker.io/library/python:3.13-slim`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        for (short, full) in [
            ("python:3.13-slim", "docker.io/library/python:3.13-slim"),
            ("redis", "docker.io/library/redis:latest"),
            ("grafana/grafana:11", "docker.io/grafana/grafana:11"),
            ("ghcr.io/a/b", "ghcr.io/a/b:latest"),
            ("localhost/a:1", "localhost/a:1"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("a@sha256:00", "docker.io/library/a@sha256:00"),
            ("host:5000/a:2@sha256:00", "host:5000/a:2@sha256:00"),
            ("index.docker.io/library/a:1", "docker.io/library/a:1"),
        ] {
            assert_eq!(Reference::of(short).to_string(), full);
        }
    }
}
