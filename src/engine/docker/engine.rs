//! The Docker engine: what is desired, what is observed, and each action as requests to the API.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bollard::Docker as Api;
use bollard::models::{NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::{RemoveVolumeOptions, WaitContainerOptions};
use futures_util::StreamExt;

use super::balancer::{self, BalancerConfig};
use super::build::{self, BuildSpec};
use super::connect::Connection;
use super::containers::{self, Placed};
use super::labels::{self, Names, Role};
use super::observe::{self, Inventory};
use super::spec::{self, BalancerSpec, Container, Input, Origin, Specs};
use super::{fail, files, images, preflight, pull, readiness};
use crate::backing;
use crate::engine::local::Places;
use crate::engine::{
    Action, BalancerId, Desired, DesiredBalancer, DesiredEnvironment, DesiredJob, DesiredService, DesiredVolume,
    Engine, Fingerprint, Ground, Identity, Note, Observed, Options, Plan, Preparation, Replacement, ReplicaId, source,
};
use crate::error::Failure;
use crate::stack::{Build, Part, Stack};
use crate::units::Name;

/// A network or volume that something is only just leaving is free a little later.
const IN_USE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// The Docker engine of one project.
pub struct Docker {
    identity: Identity,
    connection: Connection,
    places: Places,
    specs: Specs,
    builds: BTreeMap<String, BuildSpec>,
    options: Options,
    digest_key: [u8; 32],
    /// Whether things of a folder that is gone count as the project's.
    lenient: bool,
    /// Changes of members that no balancer knows yet.
    waiting: RefCell<Vec<Change>>,
    changing: tokio::sync::Mutex<()>,
    /// The volumes with files that this command has filled.
    filled: tokio::sync::Mutex<BTreeSet<String>>,
}

impl Docker {
    /// The engine for commands that only look or stop: it knows the project, not what should run.
    ///
    /// # Errors
    ///
    /// When no run-time folder can be had.
    pub fn bare(identity: Identity, connection: Connection) -> Result<Self, Failure> {
        let places =
            Places::of(&identity).map_err(|e| Failure::failed(format!("cannot make the folder for locks: {e}")))?;
        Ok(Self {
            identity,
            connection,
            places,
            specs: Specs::default(),
            builds: BTreeMap::new(),
            options: Options::default(),
            digest_key: [0; 32],
            lenient: false,
            waiting: RefCell::default(),
            changing: tokio::sync::Mutex::default(),
            filled: tokio::sync::Mutex::default(),
        })
    }

    /// The engine for `down`: as [`Docker::bare`], and it also ends what belongs to a folder of this project's name that
    /// is gone.
    ///
    /// # Errors
    ///
    /// As [`Docker::bare`].
    pub fn to_end(identity: Identity, connection: Connection) -> Result<Self, Failure> {
        Ok(Self { lenient: true, ..Self::bare(identity, connection)? })
    }

    /// The engine for a stack, and what should run.
    ///
    /// # Errors
    ///
    /// When a source cannot be read, a secret is missing, or the engine does not answer.
    pub async fn of(stack: &Stack, connection: Connection, options: Options) -> Result<(Self, Desired), Failure> {
        let identity = Identity { project: stack.project.name.clone(), root: stack.root.clone() };
        let mut docker = Self::bare(identity, connection)?;
        docker.options = options;
        docker.digest_key = docker
            .places
            .digest_key()
            .map_err(|e| Failure::failed(format!("cannot write to {}: {e}", docker.places.state().display())))?;
        let backing = backing::resolve(stack);
        let sources = docker.sources(stack).await?;
        let own_files = |(name, resolved): (&Name, &backing::Resolved<'_>)| {
            Ok::<_, Failure>((name.clone(), backing::project_files(stack, resolved)?))
        };
        let project_files = backing.iter().map(own_files).collect::<Result<_, _>>()?;
        let (images, digest_key) = (BTreeMap::new(), docker.digest_key);
        let mut input = Input { stack, backing, project_files, sources, images, digest_key };
        // A first look says which images there have to be; what the engine has of them belongs to what runs.
        let wanted = spec::specs(&input)?.images;
        input.images = docker.image_ids(wanted.keys()).await?;
        docker.specs = spec::specs(&input)?;
        docker.builds = docker.build_specs(stack);
        let desired = docker.desired(stack);
        Ok((docker, desired))
    }

    /// Where this project's files are.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Who the project is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The connection to the engine.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What this engine leaves out or does otherwise, in sentences.
    pub fn notes(&self) -> &[String] {
        &self.specs.notes
    }

    /// The containers of the stack, as they should be.
    pub fn specs(&self) -> &Specs {
        &self.specs
    }

    fn api(&self) -> &Api {
        &self.connection.docker
    }

    fn is_remote(&self) -> bool {
        self.connection.endpoint.remote
    }

    /// What the project's things are called.
    pub(super) fn names(&self) -> Names<'_> {
        Names(&self.identity.project)
    }

    /// The hash of what each service is built from: its files, how they are built, and the images they are built on.
    async fn sources(&self, stack: &Stack) -> Result<BTreeMap<Name, String>, Failure> {
        let mut found = BTreeMap::new();
        // Services that are built from the same source are looked at once.
        let mut seen: Vec<(&Build, String)> = Vec::new();
        for (name, service) in &stack.services {
            let Some(build) = &service.build else { continue };
            let hash = match seen.iter().find(|(known, _)| *known == build) {
                Some((_, hash)) => hash.clone(),
                None => self.source(stack, build).await?,
            };
            seen.push((build, hash.clone()));
            found.insert(name.clone(), hash);
        }
        Ok(found)
    }

    async fn source(&self, stack: &Stack, build: &Build) -> Result<String, Failure> {
        let context = stack.root.join(&build.context);
        let files = source::hash(&context, &build.dockerfile)?.to_string();
        let args: BTreeMap<_, _> = build.args.iter().map(|(name, value)| (name.clone(), value.text.clone())).collect();
        let path = context.join(&build.dockerfile);
        let dockerfile = std::fs::read_to_string(&path).map_err(|e| {
            Failure::failed(format!("cannot read {}: {e}", path.display()))
                .hint("the Docker engine builds a service from its Dockerfile; `image` names one that is built already")
        })?;
        let bases = build::bases(&dockerfile, &args, build.target.as_deref());
        let bases = self.image_ids(bases.iter()).await?;
        let all = serde_json::json!([files, args, build.target, build.network, bases]);
        Ok(blake3::hash(all.to_string().as_bytes()).to_hex()[..16].to_owned())
    }

    async fn image_ids(&self, references: impl Iterator<Item = &String>) -> Result<BTreeMap<String, String>, Failure> {
        let looked = references.map(|reference| async move {
            Ok::<_, Failure>((reference.clone(), pull::image_id(&self.connection, reference).await?))
        });
        let found = futures_util::future::try_join_all(looked).await?;
        Ok(found.into_iter().filter_map(|(reference, id)| Some((reference, id?))).collect())
    }

    fn build_specs(&self, stack: &Stack) -> BTreeMap<String, BuildSpec> {
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

    fn desired(&self, stack: &Stack) -> Desired {
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

    async fn inventory(&self) -> Result<Inventory, Failure> {
        Inventory::take(self.api(), &self.identity, self.lenient).await
    }

    fn service(&self, id: &ReplicaId) -> Result<(Role, &Container, &Fingerprint), Failure> {
        let own = self.specs.services.get(&id.service).map(|(c, f)| (Role::Replica, c, f));
        let found = own.or_else(|| self.specs.backing.get(&id.service).map(|(c, f)| (Role::Backing, c, f)));
        found.ok_or_else(|| Failure::failed(format!("{id} is not of this stack")))
    }

    /// The fingerprint of a container that is made now: with the image as it is now, for it may just have been pulled.
    async fn fingerprint(&self, container: &Container, known: &Fingerprint) -> Result<Fingerprint, Failure> {
        if self.builds.contains_key(&container.image) || !known.source.is_empty() {
            return Ok(known.clone());
        }
        let source = pull::image_id(&self.connection, &container.image).await?.unwrap_or_default();
        Ok(Fingerprint { source, ..known.clone() })
    }

    /// The volume with a container's files.
    pub(super) async fn files(&self, service: &Name, spec: &Container) -> Result<Option<String>, Failure> {
        if spec.files.is_empty() {
            return Ok(None);
        }
        let digest = spec::files_digest(&self.digest_key, &spec.files);
        let volume = self.names().files(service, &digest);
        // Replicas that start at once have it in common, and one that runs must not see it change.
        let mut filled = self.filled.lock().await;
        if !filled.contains(&volume) {
            files::provide(self.api(), &self.identity, service, spec, &volume).await?;
            filled.insert(volume.clone());
        }
        Ok(Some(volume))
    }

    async fn create_network(&self) -> Result<(), Failure> {
        let request = NetworkCreateRequest {
            name: self.names().network(),
            driver: Some("bridge".to_owned()),
            labels: Some(labels::of_project(&self.identity)),
            ..NetworkCreateRequest::default()
        };
        match self.api().create_network(request).await {
            Err(e) if fail::is_conflict(&e) => return Err(preflight::network_taken(&self.names().network(), None)),
            other => other.map(drop).map_err(|e| fail::doing("create the project's network", &e))?,
        }
        self.keep_one_network(&self.inventory().await?.networks).await
    }

    /// An engine makes a second network of the same name without a word: a command that was killed while its request was
    /// on its way leaves one more than the next command saw, and no container can then be put on that name.
    async fn keep_one_network(&self, networks: &[String]) -> Result<(), Failure> {
        let mut left = networks.len();
        for id in networks {
            if left <= 1 {
                break;
            }
            match self.api().remove_network(id).await {
                Ok(()) => left -= 1,
                Err(e) if fail::is_missing(&e) => left -= 1,
                // Containers are on this one: another has to go.
                Err(e) if fail::status(&e).is_some() => {}
                Err(e) => return Err(fail::doing("remove a second network of the project", &e)),
            }
        }
        Ok(())
    }

    /// Removes the network and what else is left: records of jobs, commands beside the stack, files.
    async fn remove_network(&self) -> Result<(), Failure> {
        let inventory = self.inventory().await?;
        for (_, container) in &inventory.containers {
            if let Some(id) = &container.id {
                containers::remove(self.api(), id, "a container").await?;
            }
        }
        for volume in &inventory.volumes {
            if Role::of(&volume.labels) != Some(Role::Data) {
                files::remove_unused(self.api(), &volume.name).await?;
            }
        }
        for network in &inventory.networks {
            self.remove_one_network(network).await?;
        }
        Ok(())
    }

    async fn remove_one_network(&self, id: &str) -> Result<(), Failure> {
        let begin = std::time::Instant::now();
        loop {
            match self.api().remove_network(id).await {
                Err(e) if fail::is_missing(&e) => return Ok(()),
                Err(_) if begin.elapsed() < IN_USE => tokio::time::sleep(POLL).await,
                Err(e) => return Err(preflight::network_in_use(self.api(), id, &e).await),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Removes what an interrupted command left: helpers with the volumes they were filling, jobs that still run.
    async fn end_leftovers(&self) -> Result<(), Failure> {
        let inventory = self.inventory().await?;
        self.keep_one_network(&inventory.networks).await?;
        for (role, container) in &inventory.containers {
            let left = *role == Role::Helper || (*role == Role::Job && observe::running(container));
            if let (true, Some(id)) = (left, &container.id) {
                containers::stop(self.api(), id, "what was left", self.options.timeout.min(IN_USE)).await?;
                containers::remove(self.api(), id, "what was left").await?;
            }
        }
        Ok(())
    }

    async fn create_volume(&self, backing: &Name) -> Result<(), Failure> {
        let mut of = labels::of_role(&self.identity, Role::Data);
        of.insert(labels::SERVICE.to_owned(), backing.to_string());
        of.insert(labels::VOLUME_ID.to_owned(), uuid::Uuid::new_v4().to_string());
        if let Some(image) = self.specs.volumes.get(backing) {
            of.insert(labels::IMAGE.to_owned(), image.clone());
        }
        let request = VolumeCreateRequest {
            name: Some(self.names().volume(backing)),
            labels: Some(of),
            ..VolumeCreateRequest::default()
        };
        let created = self.api().create_volume(request).await;
        let volume = created.map_err(|e| fail::doing(&format!("create volume {backing}"), &e))?;
        // The engine gives away one of that name that is there, whoever's it is.
        match volume.labels.get(labels::PROJECT) == Some(&self.identity.project.to_string()) {
            true => Ok(()),
            false => Err(preflight::volume_taken(&volume)),
        }
    }

    async fn remove_volume(&self, backing: &Name) -> Result<(), Failure> {
        let name = self.names().volume(backing);
        match self.api().remove_volume(&name, None::<RemoveVolumeOptions>).await {
            Err(e) if fail::is_missing(&e) => Ok(()),
            Err(e) if fail::is_conflict(&e) => Err(preflight::volume_in_use(self.api(), &name, &e).await),
            other => other.map_err(|e| fail::doing(&format!("remove volume {name}"), &e)),
        }
    }

    async fn prepare(&self, image: &str, note: &dyn Fn(Note)) -> Result<(), Failure> {
        match self.builds.get(image) {
            Some(spec) => build::build(&self.connection, spec, note).await,
            None => pull::pull(&self.connection, image, note).await,
        }
    }

    async fn run_job(&self, job: &Name) -> Result<(), Failure> {
        let Some((spec, fingerprint)) = self.specs.jobs.get(job) else { return Ok(()) };
        let digest = self.fingerprint(spec, fingerprint).await?.digest();
        let name = self.names().job(job);
        containers::remove(self.api(), &name, &name).await?;
        let ids = self.inventory().await?.volume_ids();
        let uses = self.specs.job_uses.get(job).into_iter().flatten().filter_map(|used| ids.get(used).cloned());
        let mut of = labels::of_role(&self.identity, Role::Job);
        of.insert(labels::JOB.to_owned(), job.to_string());
        of.insert(labels::DIGEST.to_owned(), digest);
        of.insert(labels::VOLUME_IDS.to_owned(), uses.collect::<Vec<_>>().join(","));
        let files = self.files(job, spec).await?;
        let placed = Placed {
            name: &name,
            labels: of,
            project: &self.identity.project,
            alias: None,
            files: files.as_deref(),
            own: &[],
            restart: false,
        };
        let id = containers::create(self.api(), &self.identity, spec, &placed).await?;
        containers::start(self.api(), &id, &format!("job {job}")).await?;
        let code = self.wait_for_end(&id).await?;
        if code == 0 {
            return Ok(());
        }
        Err(readiness::job_failed(self.api(), &id, job, spec, code).await)
    }

    async fn wait_for_end(&self, id: &str) -> Result<i64, Failure> {
        let mut waiting = Box::pin(self.api().wait_container(id, None::<WaitContainerOptions>));
        match waiting.next().await {
            Some(Ok(end)) => Ok(end.status_code),
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(e)) => Err(fail::asking("how a job ended", &e)),
            None => Err(Failure::failed("the Docker engine does not say how a job ended")
                .because("it went away while the job ran")
                .hint("once it runs again, run the same command again: it goes on from here")),
        }
    }

    async fn start_replica(&self, id: &ReplicaId) -> Result<(), Failure> {
        let (role, spec, fingerprint) = self.service(id)?;
        let fingerprint = self.fingerprint(spec, fingerprint).await?;
        let files = self.files(&id.service, spec).await?;
        let name = self.names().replica(id);
        let own = match role {
            Role::Replica => vec![("SCALECTL_REPLICA", id.to_string())],
            _ => Vec::new(),
        };
        let mut of = labels::of_replica(&self.identity, role, id, &fingerprint);
        if let Some(check) = &spec.check {
            of.insert(labels::CHECK.to_owned(), serde_json::json!(check).to_string());
        }
        let placed = Placed {
            name: &name,
            labels: of,
            project: &self.identity.project,
            alias: Some(labels::replica_host(id)),
            files: files.as_deref(),
            own: &own,
            restart: true,
        };
        let created = containers::create(self.api(), &self.identity, spec, &placed).await?;
        containers::start(self.api(), &created, &id.to_string()).await
    }

    async fn await_ready(&self, id: &ReplicaId, note: &dyn Fn(Note)) -> Result<(), Failure> {
        let (_, spec, _) = self.service(id)?;
        let name = self.names().replica(id);
        let (remote, patience) = (self.connection.endpoint.remote, self.options.timeout);
        readiness::wait(self.api(), &name, &id.to_string(), spec, remote, patience, note).await
    }

    async fn stop_replica(&self, id: &ReplicaId) -> Result<(), Failure> {
        let name = self.names().replica(id);
        containers::stop(self.api(), &name, &id.to_string(), self.patience(&name).await).await
    }

    /// How long a container may take to end, as it was created with.
    async fn patience(&self, name: &str) -> Duration {
        let inspected =
            self.api().inspect_container(name, None::<bollard::query_parameters::InspectContainerOptions>).await;
        let seconds = inspected.ok().and_then(|c| c.config?.stop_timeout).and_then(|s| u64::try_from(s).ok());
        seconds.map_or(IN_USE, Duration::from_secs)
    }

    async fn remove_replica(&self, id: &ReplicaId) -> Result<(), Failure> {
        let name = self.names().replica(id);
        let inspected =
            self.api().inspect_container(&name, None::<bollard::query_parameters::InspectContainerOptions>).await;
        let mounts = inspected.ok().and_then(|c| c.mounts).unwrap_or_default();
        self.stop_replica(id).await?;
        containers::remove(self.api(), &name, &id.to_string()).await?;
        let files = mounts.into_iter().filter(|m| m.destination.as_deref() == Some(spec::FILES));
        for volume in files.filter_map(|m| m.name) {
            files::remove_unused(self.api(), &volume).await?;
        }
        Ok(())
    }

    async fn start_balancer(&self, id: &BalancerId) -> Result<(), Failure> {
        let Some(spec) = self.specs.balancers.get(id) else { return Ok(()) };
        let name = self.names().balancer(id);
        let fingerprint = self.fingerprint(&spec.container, &spec.fingerprint).await?;
        self.create_config_volume(id).await?;
        let config = self.config(spec);
        let mut of = labels::of_balancer(&self.identity, id, &spec.service, &fingerprint);
        of.insert(labels::BALANCER.to_owned(), serde_json::to_string(&config).unwrap_or_default());
        let placed = Placed {
            name: &name,
            labels: of,
            project: &self.identity.project,
            alias: None,
            files: None,
            own: &[],
            restart: true,
        };
        let created = containers::create(self.api(), &self.identity, &spec.container, &placed).await?;
        balancer::put(self.api(), &created, &config).await?;
        let started = containers::start(self.api(), &created, &id.to_string()).await;
        match started {
            // Somebody was faster, since the look before the first step.
            Err(failure) => {
                Err(preflight::port(self.api(), spec.published, id, self.is_remote()).await.err().unwrap_or(failure))
            }
            Ok(()) => Ok(()),
        }
    }

    async fn create_config_volume(&self, id: &BalancerId) -> Result<(), Failure> {
        let request = VolumeCreateRequest {
            name: Some(self.names().balancer_volume(id)),
            labels: Some(labels::of_role(&self.identity, Role::Files)),
            ..VolumeCreateRequest::default()
        };
        let created = self.api().create_volume(request).await;
        created.map(drop).map_err(|e| fail::doing("create the balancer's volume", &e))
    }

    fn config(&self, spec: &BalancerSpec) -> BalancerConfig {
        BalancerConfig {
            listen: spec.listen.clone(),
            service: spec.service.clone(),
            port: spec.port,
            check: spec.check.clone(),
            members: Vec::new(),
            drain: spec.drain,
        }
    }

    async fn stop_balancer(&self, id: &BalancerId) -> Result<(), Failure> {
        let name = self.names().balancer(id);
        containers::stop(self.api(), &name, &id.to_string(), self.patience(&name).await).await?;
        containers::remove(self.api(), &name, &id.to_string()).await?;
        files::remove_unused(self.api(), &self.names().balancer_volume(id)).await
    }

    /// Changes the members of every balancer of a replica's service. Changes that come while another is being made are
    /// made together: each costs a reload.
    async fn change_member(&self, change: Change, note: &dyn Fn(Note)) -> Result<(), Failure> {
        self.waiting.borrow_mut().push(change.clone());
        let _one_at_a_time = self.changing.lock().await;
        let changes = std::mem::take(&mut *self.waiting.borrow_mut());
        if !changes.contains(&change) {
            // Another step has made it, with its own.
            return Ok(());
        }
        for (_, container) in self.inventory().await?.containers.iter().filter(|(role, _)| *role == Role::Balancer) {
            let of = observe::labels_of(container);
            let config = of.get(labels::BALANCER).and_then(|text| serde_json::from_str::<BalancerConfig>(text).ok());
            let (Some(name), Some(mut config)) = (&container.id, config) else { continue };
            let concerned: Vec<_> = changes.iter().filter(|c| c.replica().service == config.service).collect();
            if concerned.is_empty() {
                continue;
            }
            let mut members: BTreeSet<_> = balancer::read_members(self.api(), name).await?.into_iter().collect();
            for change in concerned {
                match change {
                    Change::Add(replica) => members.insert(replica.clone()),
                    Change::Remove(replica) => members.remove(replica),
                };
            }
            config.members = members.into_iter().collect();
            balancer::install(self.api(), name, &config, note).await?;
        }
        Ok(())
    }
}

/// What becomes of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Add(ReplicaId),
    Remove(ReplicaId),
}

impl Change {
    fn replica(&self) -> &ReplicaId {
        match self {
            Self::Add(replica) | Self::Remove(replica) => replica,
        }
    }
}

impl Engine for Docker {
    async fn observe(&self) -> Result<Observed, Failure> {
        let inventory = self.inventory().await?;
        let looked = observe::observe(self.api(), &inventory, self.connection.endpoint.remote);
        let known = self.image_ids(self.specs.images.keys());
        let (mut observed, images, built) = tokio::try_join!(looked, known, images::built(self.api(), &self.identity))?;
        observed.environments = images.into_keys().collect();
        observed.images = built;
        Ok(observed)
    }

    async fn preflight(&self, plan: &Plan) -> Result<(), Failure> {
        if plan.is_empty() {
            return Ok(());
        }
        let inventory = self.inventory().await?;
        let look = preflight::Look {
            docker: self.api(),
            identity: &self.identity,
            specs: &self.specs,
            inventory: &inventory,
            remote: self.is_remote(),
        };
        look.at(plan).await
    }

    async fn perform(&self, action: &Action, note: &dyn Fn(Note)) -> Result<(), Failure> {
        match action {
            // The ground of this engine is the network.
            Action::StartSupervisor | Action::StopSupervisor => Ok(()),
            Action::CreateNetwork => self.create_network().await,
            Action::RemoveNetwork => self.remove_network().await,
            Action::EndLeftovers => self.end_leftovers().await,
            Action::CreateVolume { volume } => self.create_volume(volume).await,
            Action::RemoveVolume { volume } => self.remove_volume(volume).await,
            Action::PrepareEnvironment { key, .. } => self.prepare(key, note).await,
            Action::RemoveImage { image } => images::remove(self.api(), image, note).await,
            Action::RunJob { job } => self.run_job(job).await,
            Action::StartBalancer { balancer, .. } => self.start_balancer(balancer).await,
            Action::StopBalancer { balancer, .. } => self.stop_balancer(balancer).await,
            Action::StartReplica { replica } => self.start_replica(replica).await,
            Action::AwaitReady { replica } => self.await_ready(replica, note).await,
            Action::AddMember { replica } => self.change_member(Change::Add(replica.clone()), note).await,
            Action::DrainMember { replica } => self.change_member(Change::Remove(replica.clone()), note).await,
            Action::RemoveReplica { replica } => self.remove_replica(replica).await,
            Action::StopReplica { replica } => self.stop_replica(replica).await,
            Action::ResumeReplica { replica } => {
                containers::resume(self.api(), &self.names().replica(replica), &replica.to_string()).await
            }
        }
    }
}
