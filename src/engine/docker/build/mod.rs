//! Images from a Dockerfile: by the classic builder, or by the engine's BuildKit where it says that it wants it.
//!
//! Both get the context as a tar archive in the request; BuildKit asks for credentials through a session beside it.

mod cause;
mod context;
mod dockerfile;
mod log;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;

use bollard::errors::Error;
use bollard::query_parameters::{BuildImageOptions, BuilderVersion};
use futures_util::{Stream, StreamExt};
use uuid::Uuid;

use super::connect::Connection;
use super::{fail, registry};
use crate::engine::Note;
use crate::error::Failure;
use dockerfile::Dockerfile;
use log::Log;

/// How an image is built.
#[derive(Debug, Clone, Default)]
pub struct BuildSpec {
    /// Folder with the source.
    pub context: PathBuf,
    /// The Dockerfile, relative to the context; it may lie outside of it.
    pub dockerfile: PathBuf,
    /// The stage to build; the last one unless given.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Network of the build's own commands.
    pub network: Option<String>,
    /// Images whose layers are taken where they fit.
    pub cache_from: Vec<String>,
    /// Takes no layer from earlier builds.
    pub no_cache: bool,
    /// Asks the registries for newer base images.
    pub pull: bool,
    /// The name of the image, with a tag.
    pub tag: String,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
}

/// How often a build is begun that fails because an image of the cache was removed while it was used.
const ATTEMPTS: usize = 3;
/// What the classic builder says when somebody, perhaps another build of the same source, has removed an image of its
/// cache after the builder had decided to use it. It holds no lock on them.
const VANISHED: [&str; 3] = ["failed to get digest sha256:", "unknown parent image ID", "layer does not exist"];

/// Why an attempt to build has failed.
enum Ended {
    /// An image of the cache is gone: without it, the build may succeed.
    Vanished(Failure),
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Builds an image. Dropping the future ends the build on the engine too.
///
/// # Errors
///
/// With the cause: the step that failed with its line and its output, a base image that cannot be had, an unreadable
/// source, a full disk.
pub async fn build(connection: &Connection, spec: &BuildSpec, note: &dyn Fn(Note)) -> Result<(), Failure> {
    let mut attempt = 1;
    loop {
        match attempt_to_build(connection, spec, note).await {
            Ok(()) => return Ok(()),
            Err(Ended::Vanished(_)) if attempt < ATTEMPTS => {
                note(Note::Detail("an image of the cache was removed meanwhile: building again".to_owned()));
                attempt += 1;
            }
            Err(Ended::Vanished(failure) | Ended::Failed(failure)) => return Err(failure),
        }
    }
}

async fn attempt_to_build(connection: &Connection, spec: &BuildSpec, note: &dyn Fn(Note)) -> Result<(), Ended> {
    let dockerfile = read(spec)?;
    let credentials = registry::credentials_of(&dockerfile.bases(&spec.args, spec.target.as_deref()), note).await;
    let (archive, reading) = context::archive(&spec.context, &spec.dockerfile);
    let options = options(spec, connection.engine.buildkit);
    let body = bollard::body_try_stream(archive);
    let credentials = Some(credentials).filter(|found| !found.is_empty() || connection.engine.buildkit);
    let stream = connection.docker.build_image(options, credentials, Some(body));
    let mut log = Log::default();
    let result = follow(stream, &mut log, note).await;
    // The engine ends a build whose context ends early; that is then not the reason.
    let read = reading.await;
    match (result, read) {
        (Ok(()), _) if log.failed_without_reason => Err(cause::of(spec, &dockerfile, log.failed(), "").into()),
        (Ok(()), _) => Ok(()),
        (Err(Error::DockerStreamError { error: said }), _)
        | (Err(Error::DockerResponseServerError { message: said, .. }), Ok(Ok(()))) => {
            let failure = cause::of(spec, &dockerfile, log.failed(), &said);
            Err(if has_vanished(&said) { Ended::Vanished(failure) } else { Ended::Failed(failure) })
        }
        (Err(_), Ok(Err(unreadable))) => Err(Ended::Failed(unreadable.into())),
        (Err(error), _) => Err(fail::doing(&format!("build {}", spec.tag), &error).into()),
    }
}

fn has_vanished(said: &str) -> bool {
    VANISHED.iter().any(|text| said.contains(text))
}

/// The images from elsewhere that a Dockerfile needs for a target: the last stage where none is named. They are named
/// as in the Dockerfile, the variables replaced.
pub fn bases(dockerfile: &str, args: &BTreeMap<String, String>, target: Option<&str>) -> Vec<String> {
    Dockerfile::parse(dockerfile).bases(args, target)
}

fn read(spec: &BuildSpec) -> Result<Dockerfile, Failure> {
    let path = spec.context.join(&spec.dockerfile);
    let text = fs::read(&path).map_err(|error| {
        Failure::usage(format!("cannot read {}, from which {} is built", path.display(), spec.tag))
            .because(error.to_string())
    })?;
    Ok(Dockerfile::parse(&String::from_utf8_lossy(&text)))
}

async fn follow(
    stream: impl Stream<Item = Result<bollard::models::BuildInfo, Error>>,
    log: &mut Log,
    note: &dyn Fn(Note),
) -> Result<(), Error> {
    let mut stream = std::pin::pin!(stream);
    while let Some(info) = stream.next().await {
        if let Some(line) = log.take(info?) {
            note(Note::Detail(line));
        }
    }
    Ok(())
}

fn options(spec: &BuildSpec, buildkit: bool) -> BuildImageOptions {
    let map = |of: &BTreeMap<String, String>| Some(of.clone().into_iter().collect::<HashMap<_, _>>());
    BuildImageOptions {
        dockerfile: context::name(&spec.dockerfile).display().to_string(),
        t: Some(spec.tag.clone()),
        target: spec.target.clone().unwrap_or_default(),
        buildargs: map(&spec.args),
        networkmode: spec.network.clone(),
        cachefrom: Some(spec.cache_from.clone()).filter(|images| !images.is_empty()),
        nocache: spec.no_cache,
        pull: spec.pull.then(|| "true".to_owned()),
        labels: map(&spec.labels),
        // A step that fails leaves no container behind.
        rm: true,
        forcerm: true,
        version: if buildkit { BuilderVersion::BuilderBuildKit } else { BuilderVersion::BuilderV1 },
        session: buildkit.then(|| Uuid::new_v4().to_string()),
        ..BuildImageOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_the_cache_that_vanished_is_told_from_a_step_that_failed() {
        for said in [
            "failed to get digest sha256:97eb16b4: open /var/lib/docker/image/overlay2/imagedb/content/sha256/97eb16b4: no such file or directory",
            "failed to export image: failed to set parent sha256:0f1e: unknown parent image ID sha256:0f1e",
            "failed to create rwlayer: layer does not exist",
        ] {
            assert!(has_vanished(said), "{said}");
        }
        for said in [
            "COPY failed: file not found in build context: stat app.py: no such file or directory",
            "The command '/bin/sh -c false' returned a non-zero code: 1",
            "pull access denied for nothing, repository does not exist",
        ] {
            assert!(!has_vanished(said), "{said}");
        }
    }
}
