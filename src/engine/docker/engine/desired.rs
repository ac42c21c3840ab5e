//! What should run, and what it is made from: sources, how they are built, the stack as the engine knows it.

use std::collections::BTreeMap;

use serde_json::json;

use super::Docker;
use crate::engine::docker::build::{self, BuildSpec};
use crate::engine::docker::labels;
use crate::engine::docker::spec::Origin;
use crate::engine::{
    Desired, DesiredBalancer, DesiredEnvironment, DesiredJob, DesiredService, DesiredVolume, Ground, Preparation,
    Replacement, source,
};
use crate::error::Failure;
use crate::stack::{Build, Part, Stack};
use crate::units::Name;

impl Docker {
    /// The hash of what each service is built from: its files, how they are built, and the images they are built on.
    pub(super) async fn sources(&mut self, stack: &Stack) -> Result<BTreeMap<Name, String>, Failure> {
        let mut found = BTreeMap::new();
        // Services that are built from the same source are looked at once.
        let mut seen: Vec<(&Build, String)> = Vec::new();
        for (name, service) in &stack.services {
            let Some(build) = &service.build else { continue };
            let hash = match seen.iter().find(|(known, _)| *known == build) {
                Some((_, hash)) => hash.clone(),
                None => {
                    let source = Source::of(stack, build)?;
                    let hash = self.hash(&source).await?;
                    self.made_from.insert(self.names().image(&hash), source);
                    hash
                }
            };
            seen.push((build, hash.clone()));
            found.insert(name.clone(), hash);
        }
        Ok(found)
    }

    pub(super) async fn hash(&self, source: &Source) -> Result<String, Failure> {
        let bases = self.image_ids(source.bases.iter()).await?;
        Ok(source.hash(&bases))
    }

    pub(super) fn build_specs(&self, stack: &Stack) -> BTreeMap<String, BuildSpec> {
        let built = self.specs.images.iter().filter_map(|(image, origin)| match origin {
            Origin::Build(service) => Some((image, stack.services.get(service)?.build.as_ref()?)),
            Origin::Pull => None,
        });
        built
            .map(|(image, build)| {
                let spec = BuildSpec {
                    context: stack.root.join(&build.context),
                    dockerfile: build.dockerfile.clone(),
                    target: build.target.clone(),
                    args: build.args.iter().map(|(name, value)| (name.clone(), value.text.clone())).collect(),
                    network: build.network.clone(),
                    cache_from: build.cache_from.clone(),
                    tag: image.clone(),
                    labels: labels::of_project(&self.identity).into_iter().collect(),
                    no_cache: self.options.no_cache,
                    pull: self.options.pull,
                };
                (image.clone(), spec)
            })
            .collect()
    }

    pub(super) fn desired(&self, stack: &Stack) -> Desired {
        let backing = self.specs.backing.iter().map(|(name, (container, fingerprint))| DesiredService {
            name: name.clone(),
            replicas: 1,
            fingerprint: fingerprint.clone(),
            after: Vec::new(),
            environment: Some(container.image.clone()),
            replacement: Replacement::StopFirst,
        });
        let order = stack.start_order().into_iter().filter_map(|part| match part {
            Part::Service(name) => Some(name),
            Part::Backing(_) | Part::Job(_) => None,
        });
        let own = order.filter_map(|name| {
            let service = stack.services.get(name)?;
            let (container, fingerprint) = self.specs.services.get(name)?;
            let known = |used: &&Name| stack.services.contains_key(*used) || self.specs.backing.contains_key(*used);
            Some(DesiredService {
                name: name.clone(),
                replicas: service.replicas.0,
                fingerprint: fingerprint.clone(),
                after: service.uses.iter().filter(known).cloned().collect(),
                environment: Some(container.image.clone()),
                replacement: Replacement::Rolling,
            })
        });
        let jobs = stack.jobs.iter().filter(|(_, job)| !job.before.is_empty()).filter_map(|(name, job)| {
            let (container, fingerprint) = self.specs.jobs.get(name)?;
            Some(DesiredJob {
                name: name.clone(),
                digest: fingerprint.digest(),
                before: job.before.clone(),
                after: self.specs.job_uses.get(name).cloned().unwrap_or_default(),
                environment: Some(container.image.clone()),
            })
        });
        let balancers = self.specs.balancers.iter().map(|(id, spec)| DesiredBalancer {
            id: id.clone(),
            service: spec.service.clone(),
            port: spec.published,
            fingerprint: spec.fingerprint.clone(),
            environment: Some(spec.container.image.clone()),
        });
        let images = self.specs.images.iter().map(|(image, origin)| DesiredEnvironment {
            key: image.clone(),
            source: format!("image {image}"),
            preparation: match origin {
                Origin::Build(_) => Preparation::Build,
                Origin::Pull => Preparation::Pull,
            },
            again: match origin {
                Origin::Build(_) => self.options.rebuild,
                Origin::Pull => self.options.pull,
            },
        });
        Desired {
            identity: self.identity.clone(),
            ground: Ground::Network,
            volumes: self.specs.volumes.keys().map(|name| DesiredVolume { name: name.clone() }).collect(),
            environments: images.collect(),
            jobs: jobs.collect(),
            services: backing.chain(own).collect(),
            balancers: balancers.collect(),
        }
    }
}

/// What an image is built from, besides the ids of its base images: those are the engine's to tell.
pub(super) struct Source {
    /// Files, arguments, target and network.
    own: [serde_json::Value; 4],
    /// Base images, as the Dockerfile names them.
    bases: Vec<String>,
}

impl Source {
    fn of(stack: &Stack, build: &Build) -> Result<Self, Failure> {
        let context = stack.root.join(&build.context);
        let files = source::hash(&context, &build.dockerfile)?.to_string();
        let args: BTreeMap<_, _> = build.args.iter().map(|(name, value)| (name.clone(), value.text.clone())).collect();
        let path = context.join(&build.dockerfile);
        let dockerfile = std::fs::read_to_string(&path).map_err(|e| {
            Failure::failed(format!("cannot read {}: {e}", path.display()))
                .hint("the Docker engine builds a service from its Dockerfile; `image` names one that is built already")
        })?;
        let bases = build::bases(&dockerfile, &args, build.target.as_deref());
        Ok(Self { own: [json!(files), json!(args), json!(build.target), json!(build.network)], bases })
    }

    /// The hash, with the ids of those base images that the engine has.
    fn hash(&self, ids: &BTreeMap<String, String>) -> String {
        let [files, args, target, network] = &self.own;
        let all = json!([files, args, target, network, ids]);
        blake3::hash(all.to_string().as_bytes()).to_hex()[..16].to_owned()
    }
}
