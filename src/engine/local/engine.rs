//! The local engine: what is desired, what is observed, and each action as a request to the supervisor.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use super::client::{Client, name_taken};
use super::environment::{self, Environment};
use super::leftovers::Leftovers;
use super::places::Places;
use super::protocol::{Process, Reply, Request};
use super::sources::Sources;
use super::spec::{self, Input, Specs};
use super::volumes::Volumes;
use crate::backing;
use crate::engine::{
    Action, Desired, DesiredEnvironment, DesiredJob, DesiredService, DesiredVolume, Engine, Ground, Identity, Note,
    Observed, Options, Plan, Preparation, Replacement, ReplicaId, preflight,
};
use crate::error::Failure;
use crate::ports::{self, Obstacle};
use crate::stack::{Part, Stack};
use crate::units::Name;

const POLL: Duration = Duration::from_millis(5);
/// How long a supervisor that owns nothing any more may take to end.
const END: Duration = Duration::from_secs(15);

/// The local engine of one project.
pub struct Local {
    identity: Identity,
    places: Places,
    client: Client,
    specs: Specs,
    recipes: BTreeMap<String, environment::Plan>,
    drain: Duration,
    options: Options,
}

impl Local {
    /// The engine for commands that only look or stop: it knows the project, not what should run.
    ///
    /// # Errors
    ///
    /// When no run-time folder can be had.
    pub fn bare(identity: Identity) -> Result<Self, Failure> {
        let places =
            Places::of(&identity).map_err(|e| Failure::failed(format!("cannot make the folder for sockets: {e}")))?;
        let client = Client::new(identity.clone(), places.clone());
        Ok(Self {
            identity,
            places,
            client,
            specs: Specs::default(),
            recipes: BTreeMap::new(),
            drain: Duration::from_secs(30),
            options: Options::default(),
        })
    }

    /// The engine for `down`: as [`Local::bare`], and it also ends what belongs to another version of scalectl, or to a
    /// folder of this project's name that is gone.
    ///
    /// # Errors
    ///
    /// As [`Local::bare`].
    pub fn to_end(identity: Identity, drain: Option<Duration>) -> Result<Self, Failure> {
        let mut local = Self::bare(identity)?;
        local.client = local.client.lenient();
        local.drain = drain.unwrap_or(local.drain);
        Ok(local)
    }

    /// The engine for a stack, and what should run.
    ///
    /// # Errors
    ///
    /// When a service cannot run as a process, its source cannot be read, or its runtime is missing.
    pub fn of(stack: &Stack, options: Options) -> Result<(Self, Desired), Failure> {
        let identity = Identity { project: stack.project.name.clone(), root: stack.root.clone() };
        let mut local = Self::bare(identity)?;
        local.options = options;
        if let Some(balancer) = &stack.balancer {
            local.drain = balancer.drain.0;
        }
        let sources = Sources::look(stack)?;
        let digest_key = local
            .places
            .digest_key()
            .map_err(|e| Failure::failed(format!("cannot write to {}: {e}", local.places.state().display())))?;
        let input = Input {
            stack,
            backing: backing::resolve(stack),
            places: &local.places,
            environments: sources.environments,
            sources: sources.hashes,
            digest_key,
            base: spec::base_variables(text_variables()),
        };
        local.recipes = sources.recipes;
        local.specs = spec::specs(&input)?;
        let desired = local.desired(stack, &input.environments);
        Ok((local, desired))
    }

    /// Where this project's files are.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Who the project is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What this engine leaves out or does otherwise, in sentences.
    pub fn notes(&self) -> &[String] {
        &self.specs.notes
    }

    /// How a service's or job's process is started, for commands that start one of their own beside it.
    pub fn process(&self, name: &Name) -> Option<&Process> {
        let service = self.specs.services.get(name).map(|(process, _)| process);
        service.or_else(|| self.specs.jobs.get(name).map(|(process, _)| process))
    }

    /// The mark of the running supervisor's processes.
    ///
    /// # Errors
    ///
    /// When the supervisor belongs to another folder or version.
    pub async fn run_mark(&self) -> Result<Option<String>, Failure> {
        self.client.hello().await
    }

    /// Removes what is left of the project's own folder after `down --volumes`: logs, records, and itself.
    ///
    /// # Errors
    ///
    /// When it cannot be removed.
    pub fn remove_state(&self) -> Result<(), Failure> {
        match fs::remove_dir_all(self.places.state()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::failed(format!("cannot remove {}: {e}", self.places.state().display())))
            }
            _ => Ok(()),
        }
    }

    /// Whether the project has anything on this engine: a supervisor, or processes that one left.
    pub fn runs(&self) -> bool {
        self.client.owned() || Leftovers::find(&self.identity, None).count() > 0
    }

    fn desired(&self, stack: &Stack, environments: &BTreeMap<Name, Environment>) -> Desired {
        let key = |e: &Environment| Some(e.key.clone()).filter(|key| !key.is_empty());
        let environment = |service: &Name| environments.get(service).and_then(key);
        let order = stack.start_order().into_iter().filter_map(|part| match part {
            Part::Service(name) => Some(name),
            Part::Backing(_) | Part::Job(_) => None,
        });
        let services = order.filter_map(|name| {
            let service = stack.services.get(name)?;
            let (_, fingerprint) = self.specs.services.get(name)?;
            Some(DesiredService {
                replicas: service.replicas.0,
                fingerprint: fingerprint.clone(),
                after: service.uses.iter().filter(|used| stack.services.contains_key(*used)).cloned().collect(),
                environment: environment(name),
                replacement: Replacement::Rolling,
                name: name.clone(),
            })
        });
        let jobs = stack.jobs.iter().filter(|(_, job)| !job.before.is_empty()).filter_map(|(name, job)| {
            let (_, digest) = self.specs.jobs.get(name)?;
            Some(DesiredJob {
                name: name.clone(),
                digest: digest.clone(),
                before: job.before.clone(),
                after: Vec::new(),
                environment: environment(&job.service),
            })
        });
        Desired {
            identity: self.identity.clone(),
            ground: Ground::Supervisor,
            volumes: self.specs.volumes.keys().map(|name| DesiredVolume { name: name.clone() }).collect(),
            environments: self
                .recipes
                .values()
                .map(|recipe| DesiredEnvironment {
                    key: recipe.key().to_owned(),
                    source: recipe.made_from().to_owned(),
                    preparation: Preparation::Install,
                    again: false,
                })
                .collect(),
            jobs: jobs.collect(),
            services: services.collect(),
            balancers: self.specs.balancers.clone(),
        }
    }

    fn volumes(&self) -> Volumes<'_> {
        Volumes { places: &self.places, specs: &self.specs }
    }

    async fn prepare(&self, key: &str, note: &dyn Fn(Note)) -> Result<(), Failure> {
        let Some(recipe) = self.recipes.get(key).cloned() else { return Ok(()) };
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
        let building = tokio::task::spawn_blocking(move || {
            recipe.prepare(&|progress| {
                // The command may be interrupted and listen no more.
                let _ = send.send(describe(progress));
            })
        });
        while let Some(text) = receive.recv().await {
            note(text);
        }
        match building.await {
            Ok(result) => Ok(result.map(|_| ())?),
            Err(error) => Err(Failure::failed(format!("the environment could not be built: {error}"))),
        }
    }

    async fn run_job(&self, job: &Name) -> Result<(), Failure> {
        let Some((process, digest)) = self.specs.jobs.get(job) else { return Ok(()) };
        let request = Request::RunJob { name: job.clone(), digest: digest.clone(), process: Box::new(process.clone()) };
        self.client.tell(&request).await?;
        self.volumes().keep_record(job, digest).map_err(|e| Failure::failed(format!("cannot write to a volume: {e}")))
    }

    async fn start_replica(&self, id: &ReplicaId) -> Result<(), Failure> {
        let Some((process, fingerprint)) = self.specs.services.get(&id.service) else { return Ok(()) };
        let request = Request::StartReplica {
            id: id.clone(),
            fingerprint: fingerprint.clone(),
            process: Box::new(process.clone()),
        };
        self.client.tell(&request).await.map(drop)
    }

    async fn drain(&self, request: &Request, what: &str, note: &dyn Fn(Note)) -> Result<(), Failure> {
        if let Reply::Drained(left) = self.client.tell(request).await?
            && left > 0
        {
            let patience = self.drain.as_secs();
            note(Note::Warning(format!("{what} still had {left} requests after {patience} s; they are cut off")));
        }
        Ok(())
    }

    /// Ends the supervisor, and takes away the last files.
    async fn stop_supervisor(&self) -> Result<(), Failure> {
        // It may be gone before its answer is: its end is what counts.
        let _ = self.client.ask(&Request::Shutdown).await;
        let begin = Instant::now();
        while self.client.owned() {
            if begin.elapsed() > END {
                return Err(Failure::failed("the supervisor does not end")
                    .because(format!("its log is {}", self.places.supervisor_log().display())));
            }
            tokio::time::sleep(POLL).await;
        }
        self.forget();
        Ok(())
    }

    /// Removes what a supervisor that is gone may have left in the run-time folder.
    pub fn forget(&self) {
        // What is not there needs no removal.
        let _ = fs::remove_file(self.places.socket());
        let _ = fs::remove_file(self.places.supervisor_lock());
        let _ = fs::remove_dir_all(self.places.all_secrets());
    }
}

/// The command's environment, as far as it is text.
fn text_variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The progress of an installation, in a line.
fn describe(progress: environment::Progress<'_>) -> Note {
    use environment::Progress;
    match progress {
        Progress::Waiting { holder: Some(pid) } => {
            Note::Warning(format!("waiting for process {pid}, which installs the same"))
        }
        Progress::Waiting { holder: None } => {
            Note::Warning("waiting for another command, which installs the same".to_owned())
        }
        Progress::Note(line) => Note::Warning(line.to_owned()),
        Progress::Running(line) | Progress::Output(line) => Note::Detail(line.to_owned()),
    }
}

impl Engine for Local {
    async fn observe(&self) -> Result<Observed, Failure> {
        let mut observed = Observed::default();
        if self.client.hello().await?.is_some() {
            if let Reply::Observed(seen) = self.client.tell(&Request::Observe).await? {
                observed = *seen;
            }
        } else {
            let leftovers = Leftovers::find(&self.identity, None);
            if let Some(root) = leftovers.foreign_root.as_ref().filter(|root| std::path::Path::new(root).exists()) {
                return Err(name_taken(&self.identity, root));
            }
            if let Some((pid, folder)) = leftovers.elsewhere(&self.places.socket()) {
                return Err(Failure::failed(format!("{} runs, but not for this session", self.identity.project))
                    .because(format!("its supervisor (pid {pid}) was started with XDG_RUNTIME_DIR={folder}"))
                    .hint(format!("run the command with XDG_RUNTIME_DIR={folder}")));
            }
            observed.leftovers = leftovers.count();
        }
        observed.volumes = self.volumes().names();
        observed.environments = self.recipes.values().filter(|r| r.is_ready()).map(|r| r.key().to_owned()).collect();
        observed.jobs = self.volumes().completed(std::mem::take(&mut observed.jobs));
        Ok(observed)
    }

    async fn preflight(&self, plan: &Plan) -> Result<(), Failure> {
        for (port, balancer) in preflight::opened(plan) {
            match ports::obstacle(port) {
                None => {}
                Some(Obstacle::Held(holder)) => return Err(preflight::port_taken(port, balancer, &holder.to_string())),
                Some(Obstacle::Refused(reason)) => return Err(preflight::port_refused(port, balancer, &reason)),
            }
        }
        Ok(())
    }

    async fn perform(&self, action: &Action, note: &dyn Fn(Note)) -> Result<(), Failure> {
        let disk = |what: &str, e: std::io::Error| Failure::failed(format!("{what}: {e}"));
        match action {
            Action::StartSupervisor => self.client.start_supervisor().await,
            Action::StopSupervisor => self.stop_supervisor().await,
            Action::EndLeftovers => {
                Leftovers::find(&self.identity, None).end().await;
                self.forget();
                Ok(())
            }
            Action::CreateVolume { volume } => {
                self.volumes().create(volume).map_err(|e| disk(&format!("cannot create volume {volume}"), e))
            }
            Action::RemoveVolume { volume } => fs::remove_dir_all(self.places.volume(volume))
                .map_err(|e| disk(&format!("cannot remove volume {volume}"), e)),
            // The ground of this engine is the supervisor, and it has no images.
            Action::CreateNetwork | Action::RemoveNetwork | Action::RemoveImage { .. } => Ok(()),
            Action::PrepareEnvironment { key, .. } => self.prepare(key, note).await,
            Action::RunJob { job } => self.run_job(job).await,
            Action::StartBalancer { balancer, port } => {
                let wanted = self.specs.balancers.iter().find(|b| &b.id == balancer);
                let Some(service) = wanted.map(|b| b.service.clone()) else { return Ok(()) };
                let request = Request::StartBalancer { id: balancer.clone(), service, port: *port };
                self.client.tell(&request).await.map(drop)
            }
            Action::StopBalancer { balancer, .. } => {
                let request = Request::StopBalancer { id: balancer.clone(), patience: self.drain };
                self.drain(&request, &balancer.to_string(), note).await
            }
            Action::StartReplica { replica } => self.start_replica(replica).await,
            Action::AwaitReady { replica } => {
                let request = Request::AwaitReady { id: replica.clone(), patience: self.options.timeout };
                self.client.tell(&request).await.map(drop)
            }
            Action::AddMember { replica } => {
                self.client.tell(&Request::AddMember { id: replica.clone() }).await.map(drop)
            }
            Action::DrainMember { replica } => {
                let request = Request::DrainMember { id: replica.clone(), patience: self.drain };
                self.drain(&request, &replica.to_string(), note).await
            }
            Action::RemoveReplica { replica } => {
                self.client.tell(&Request::RemoveReplica { id: replica.clone() }).await.map(drop)
            }
            Action::StopReplica { replica } => {
                self.client.tell(&Request::StopReplica { id: replica.clone() }).await.map(drop)
            }
            Action::ResumeReplica { replica } => {
                self.client.tell(&Request::ResumeReplica { id: replica.clone() }).await.map(drop)
            }
        }
    }
}
