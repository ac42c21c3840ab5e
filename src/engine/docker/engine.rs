//! The Docker engine: what is observed, and each action as requests to the API.
//!
//! `desired` says what should run; `network` and `balancing` hold the actions of these.

mod balancing;
mod desired;
mod network;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bollard::Docker as Api;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{
    InspectContainerOptions, RemoveVolumeOptions, TagImageOptionsBuilder, WaitContainerOptions,
};
use futures_util::StreamExt;

use balancing::Change;
use desired::Source;

use super::build::{self, BuildSpec};
use super::connect::Connection;
use super::containers::{self, Placed};
use super::labels::{self, Names, Role};
use super::observe::{self, Inventory};
use super::spec::{self, Container, Input, Specs};
use super::{ends, fail, files, images, preflight, pull, readiness};
use crate::backing;
use crate::engine::local::Places;
use crate::engine::{Action, Desired, Engine, Fingerprint, Identity, Note, Observed, Options, Plan, ReplicaId};
use crate::error::Failure;
use crate::stack::Stack;
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
    /// What the images that are built are made from, by reference.
    made_from: BTreeMap<String, Source>,
    /// The hash of what an image was built from, where the build brought base images that were not there before.
    built_from: RefCell<BTreeMap<String, String>>,
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
            made_from: BTreeMap::new(),
            built_from: RefCell::default(),
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
        let wanted = match spec::specs(&input) {
            Ok(specs) => specs.images,
            Err(failure) => return Err(docker.with_older_data(failure, &input).await),
        };
        input.images = docker.image_ids(wanted.keys()).await?;
        docker.specs = spec::specs(&input)?;
        docker.specs.notes.extend(docker.far_away(stack));
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

    pub(super) fn api(&self) -> &Api {
        &self.connection.docker
    }

    fn is_remote(&self) -> bool {
        self.connection.endpoint.remote
    }

    /// Where a stack on a remote engine is reached.
    fn far_away(&self, stack: &Stack) -> Option<String> {
        let (host, port) = (self.connection.endpoint.host()?, stack.balancer.as_ref()?.port.0);
        Some(format!(
            "its ports are on the loopback interface of {host}, where the engine runs; to reach the balancer from here: \
             ssh -NL {port}:127.0.0.1:{port} {host}"
        ))
    }

    /// What the project's things are called.
    pub(super) fn names(&self) -> Names<'_> {
        Names(&self.identity.project)
    }

    async fn image_ids(&self, references: impl Iterator<Item = &String>) -> Result<BTreeMap<String, String>, Failure> {
        let looked = references.map(|reference| async move {
            Ok::<_, Failure>((reference.clone(), pull::image_id(&self.connection, reference).await?))
        });
        let found = futures_util::future::try_join_all(looked).await?;
        Ok(found.into_iter().filter_map(|(reference, id)| Some((reference, id?))).collect())
    }

    async fn inventory(&self) -> Result<Inventory, Failure> {
        Inventory::take(self.api(), &self.identity, self.lenient, self.is_remote()).await
    }

    fn service(&self, id: &ReplicaId) -> Result<(Role, &Container, &Fingerprint), Failure> {
        let own = self.specs.services.get(&id.service).map(|(c, f)| (Role::Replica, c, f));
        let found = own.or_else(|| self.specs.backing.get(&id.service).map(|(c, f)| (Role::Backing, c, f)));
        found.ok_or_else(|| Failure::failed(format!("{id} is not of this stack")))
    }

    /// The fingerprint of a container that is made now: with the image as it is now, for it may just have been pulled.
    async fn fingerprint(&self, container: &Container, known: &Fingerprint) -> Result<Fingerprint, Failure> {
        if let Some(source) = self.built_from.borrow().get(&container.image) {
            return Ok(Fingerprint { source: source.clone(), ..known.clone() });
        }
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

    async fn create_volume(&self, backing: &Name) -> Result<(), Failure> {
        let mut of = labels::of_role(&self.identity, Role::Data);
        of.insert(labels::SERVICE.to_owned(), backing.to_string());
        of.insert(labels::VOLUME_ID.to_owned(), uuid::Uuid::new_v4().to_string());
        if let Some(image) = self.specs.volumes.get(backing) {
            of.insert(labels::IMAGE.to_owned(), image.clone());
        }
        if let Some((_, fingerprint)) = self.specs.backing.get(backing) {
            of.insert(labels::SECRETS.to_owned(), fingerprint.secrets.clone());
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
            Some(spec) => {
                build::build(&self.connection, spec, note).await?;
                self.know_bases(image).await
            }
            None => pull::pull(&self.connection, image, note).await,
        }
    }

    /// A base image that the engine did not have, or that was asked for again, belongs to the source only now that the
    /// build has pulled it: under the name with its hash the next command finds what this one built.
    async fn know_bases(&self, image: &str) -> Result<(), Failure> {
        let Some(source) = self.made_from.get(image) else { return Ok(()) };
        let hash = self.hash(source).await?;
        let name = self.names().image(&hash);
        if name == image {
            return Ok(());
        }
        let (repository, tag) = name.rsplit_once(':').unwrap_or((&name, &hash));
        let options = TagImageOptionsBuilder::new().repo(repository).tag(tag).build();
        let tagged = self.api().tag_image(image, Some(options)).await;
        tagged.map_err(|e| fail::doing(&format!("name image {name}"), &e))?;
        self.built_from.borrow_mut().insert(image.to_owned(), hash);
        Ok(())
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
        let failed = readiness::job_failed(self.api(), &id, job, spec, code).await;
        Err(self.or_refused_login(failed).await)
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
        let (role, spec, _) = self.service(id)?;
        let name = self.names().replica(id);
        let (remote, patience) = (self.connection.endpoint.remote, self.options.timeout);
        let waited = readiness::wait(self.api(), &name, &id.to_string(), spec, remote, patience, note).await;
        match (role, waited) {
            (Role::Backing, Ok(())) => self.refused_login(&id.service).await.map_or(Ok(()), Err),
            (Role::Replica, Err(failure)) => Err(self.or_refused_login(failure).await),
            (_, waited) => waited,
        }
    }

    async fn stop_replica(&self, id: &ReplicaId) -> Result<(), Failure> {
        self.end(&self.names().replica(id), &id.to_string()).await
    }

    /// Ends a container within the time that it was created with. One that was told to end already is waited for: many
    /// programs drop what they are at when they are told twice.
    async fn end(&self, name: &str, called: &str) -> Result<(), Failure> {
        let inspected = self.api().inspect_container(name, None::<InspectContainerOptions>).await.ok();
        let patience = inspected.as_ref().map_or(ends::PATIENCE, ends::patience);
        let told = ends::told_to_end(self.api(), inspected.iter(), self.is_remote()).await;
        if !told.is_empty() {
            let mut end = Box::pin(self.api().wait_container(name, None::<WaitContainerOptions>));
            let _ = tokio::time::timeout(patience, end.next()).await;
        }
        containers::stop(self.api(), name, called, patience).await
    }

    async fn remove_replica(&self, id: &ReplicaId) -> Result<(), Failure> {
        let name = self.names().replica(id);
        let inspected = self.api().inspect_container(&name, None::<InspectContainerOptions>).await;
        let mounts = inspected.ok().and_then(|c| c.mounts).unwrap_or_default();
        self.stop_replica(id).await?;
        containers::remove(self.api(), &name, &id.to_string()).await?;
        let files = mounts.into_iter().filter(|m| m.destination.as_deref() == Some(spec::FILES));
        for volume in files.filter_map(|m| m.name) {
            files::remove_unused(self.api(), &volume).await?;
        }
        Ok(())
    }
}

impl Engine for Docker {
    async fn observe(&self) -> Result<Observed, Failure> {
        let inventory = self.inventory().await?;
        let looked = observe::observe(self.api(), &inventory, self.is_remote());
        let known = self.image_ids(self.specs.images.keys());
        let (mut observed, images, built) = tokio::try_join!(looked, known, images::built(self.api(), &self.identity))?;
        inventory.tell_other_images(&mut observed, &images, &self.names());
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
