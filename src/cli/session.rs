//! What the verbs that change or look at a running stack have in common.

use std::cell::Cell;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Global;
use super::interrupt::interrupted;
use crate::backing;
use crate::engine::docker::{self, Docker, connect};
use crate::engine::local::{Local, Places};
use crate::engine::{
    AnyEngine, Desired, Engine, EngineKind, Identity, Intent, Lock, Observed, Options, Plan, Presence, choose, diff,
    execute, ground,
};
use crate::error::Failure;
use crate::stack::{self, Stack};
use crate::ui::PlanProgress;
use crate::units::Name;

/// How long a command waits for another one that works on the same project.
const LOCK_PATIENCE: Duration = Duration::from_secs(300);

/// How long what was interrupted may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs a future to its end, or until it is interrupted, on a runtime of its own.
///
/// # Errors
///
/// The future's, or that there is no runtime to be had.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    Runtime::new()?.block_on(future)
}

async fn until_interrupted<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::pin!(future);
    tokio::select! {
        result = &mut future => return result,
        () = interrupted() => {}
    }
    // Whoever waits for the same signal has more to say of it; whoever does not is cut off.
    match tokio::time::timeout(LAST_WORDS, future).await {
        Ok(result) => result,
        Err(_) => Err(Failure::interrupted("interrupted").into()),
    }
}

/// As [`block_on`], for what decides itself what Ctrl-C means.
///
/// # Errors
///
/// As [`block_on`].
pub fn block_on_to_the_end<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    Runtime::new()?.block_on_to_the_end(future)
}

/// What futures run on. The connection of a [`Session`] lives on the one that it was opened on.
pub struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    /// A runtime on this thread.
    ///
    /// # Errors
    ///
    /// When the system refuses it.
    pub fn new() -> Result<Self> {
        Ok(Self(Some(tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?)))
    }

    /// As the function of this name.
    ///
    /// # Errors
    ///
    /// As the function of this name.
    pub fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.block_on_to_the_end(until_interrupted(future))
    }

    fn block_on_to_the_end<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        match &self.0 {
            Some(runtime) => runtime.block_on(future),
            None => Err(Failure::failed("cannot start").into()),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // A build that was interrupted may still hold a thread; the process ends without it.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A stack and the engine it runs on.
pub struct Session<'g> {
    global: &'g Global,
    /// The stack as its files say.
    pub stack: Stack,
    /// The engine.
    pub engine: AnyEngine,
    /// Why it is this one.
    pub why: String,
    /// What should run.
    pub desired: Desired,
    /// The project's lock, where what should run was asked for under it.
    held: Cell<Option<Lock>>,
}

impl<'g> Session<'g> {
    /// Loads the stack and opens its engine.
    ///
    /// # Errors
    ///
    /// When the stack is invalid, or the engine cannot run it or does not answer.
    pub async fn open(global: &'g Global, options: Options) -> Result<Self, Failure> {
        let stack = global.stack()?;
        let chosen = Chosen::find(global.engine, &identity_of(&stack)).await?;
        Self::open_on(global, stack, chosen, options).await
    }

    /// As [`Session::open`], for commands that change what runs: under the project's lock, which the change takes over.
    /// What another command has just built or pulled belongs to what should run. A dry run changes nothing and needs no
    /// lock.
    ///
    /// # Errors
    ///
    /// As [`Session::open`], and when another command holds the lock and does not end.
    pub async fn open_to_change(global: &'g Global, options: Options, dry_run: bool) -> Result<Self> {
        if dry_run {
            return Ok(Self::open(global, options).await?);
        }
        let stack = global.stack()?;
        let identity = identity_of(&stack);
        let chosen = Chosen::find(global.engine, &identity).await?;
        let lock = lock_at(global, &chosen.lock(&identity)?).await?;
        let session = Self::open_on(global, stack, chosen, options).await?;
        session.held.set(Some(lock));
        Ok(session)
    }

    async fn open_on(global: &'g Global, stack: Stack, chosen: Chosen, options: Options) -> Result<Self, Failure> {
        let (engine, desired) = match chosen.connection {
            None => {
                let (local, desired) = Local::of(&stack, options)?;
                (AnyEngine::Local(Box::new(local)), desired)
            }
            Some(connection) => {
                let (docker, desired) = Docker::of(&stack, connection, options).await?;
                (AnyEngine::Docker(Box::new(docker)), desired)
            }
        };
        Ok(Self { global, stack, engine, why: chosen.why, desired, held: Cell::default() })
    }

    /// For commands that only look at what runs, or stop it: they need neither the sources nor their tools.
    ///
    /// # Errors
    ///
    /// When the stack is invalid, or the engine does not answer.
    pub async fn look(global: &'g Global) -> Result<Self, Failure> {
        let stack = global.stack()?;
        let identity = identity_of(&stack);
        let chosen = Chosen::find(global.engine, &identity).await?;
        let why = chosen.why.clone();
        let engine = chosen.bare(identity.clone())?;
        let desired = Desired::nothing(identity, engine.ground());
        Ok(Self { global, stack, engine, why, desired, held: Cell::default() })
    }

    /// What runs, of a stack that is up.
    ///
    /// # Errors
    ///
    /// When it is not, or the engine does not answer.
    pub async fn observe_up(&self) -> Result<Observed> {
        let observed = self.observe().await?;
        if observed.grounded {
            return Ok(observed);
        }
        let name = &self.stack.project.name;
        Err(Failure::failed(format!("{name} is not up")).hint("`scalectl up` brings it up").into())
    }

    /// Takes the project's lock, unless it is held already; says so when another command has it.
    ///
    /// # Errors
    ///
    /// When the other command does not end.
    pub async fn lock(&self) -> Result<Lock> {
        match self.held.take() {
            Some(lock) => Ok(lock),
            None => lock(self.global, &self.engine).await,
        }
    }

    /// The plan of an intent, from what runs now.
    ///
    /// # Errors
    ///
    /// When the engine does not answer, or the project's name is taken.
    pub async fn plan(&self, intent: &Intent) -> Result<Plan> {
        Ok(diff(&self.desired, &self.engine.observe().await?, intent))
    }

    /// Carries a plan out, after a look at what it needs.
    ///
    /// # Errors
    ///
    /// The root cause, when it cannot be carried out.
    pub async fn carry_out(&self, plan: &Plan) -> Result<()> {
        carry_out(self.global, &self.engine, plan).await
    }

    /// Plans and carries out under the lock; returns the plan.
    ///
    /// # Errors
    ///
    /// As its parts.
    pub async fn apply(&self, intent: &Intent) -> Result<Plan> {
        self.apply_after(intent, |_| ()).await
    }

    /// As [`Session::apply`]; `tell` is shown the plan before it is carried out.
    ///
    /// # Errors
    ///
    /// As its parts.
    pub async fn apply_after(&self, intent: &Intent, tell: impl FnOnce(&Plan)) -> Result<Plan> {
        let _lock = self.lock().await?;
        let plan = self.plan(intent).await?;
        tell(&plan);
        self.carry_out(&plan).await?;
        Ok(plan)
    }

    /// Prepares what a process needs that runs beside the stack: its environment and its volumes.
    ///
    /// # Errors
    ///
    /// When it cannot be prepared.
    pub async fn ground(&self) -> Result<()> {
        let _lock = self.lock().await?;
        let plan = ground(&self.desired, &self.engine.observe().await?);
        self.carry_out(&plan).await
    }

    /// Leaves nothing to be prepared but what one service needs.
    pub fn only(&mut self, service: &Name) {
        self.desired.services.retain(|known| &known.name == service);
        self.desired.balancers.clear();
    }

    /// The flags that every command takes.
    pub fn global(&self) -> &Global {
        self.global
    }

    /// Tells something on stderr, unless told to be quiet.
    pub fn say(&self, text: &str) {
        self.global.say(text);
    }

    /// What runs now.
    ///
    /// # Errors
    ///
    /// When the engine does not answer.
    pub async fn observe(&self) -> Result<Observed> {
        Ok(self.engine.observe().await?)
    }
}

/// The engine of a command, before it is opened.
pub struct Chosen {
    /// The connection to it, if it is Docker.
    connection: Option<connect::Connection>,
    why: String,
}

impl Chosen {
    /// Looks where the project runs, and what there is.
    ///
    /// # Errors
    ///
    /// As [`choose`].
    pub async fn find(asked: Option<EngineKind>, identity: &Identity) -> Result<Self, Failure> {
        let (mut connection, mut presence) = (None, Presence::Absent);
        if asked != Some(EngineKind::Local) {
            (connection, presence) = match connect::find()? {
                None => (None, Presence::Absent),
                Some(endpoint) => match connect::connect(&endpoint).await {
                    Err(failure) => (None, Presence::Silent(failure)),
                    Ok(connection) => match docker::runs(&connection, &identity.project).await {
                        Err(failure) => (None, Presence::Silent(failure)),
                        Ok(runs) => (Some(connection), Presence::Answers { runs, origin: endpoint.origin }),
                    },
                },
            };
        }
        let runs_locally = asked.is_none() && Local::bare(identity.clone())?.runs();
        let (kind, why) = choose(asked, runs_locally, presence)?;
        Ok(Self { connection: connection.filter(|_| kind == EngineKind::Docker), why })
    }

    /// The file whose lock a command holds while it plans and carries out.
    fn lock(&self, identity: &Identity) -> Result<PathBuf, Failure> {
        let places =
            Places::of(identity).map_err(|e| Failure::failed(format!("cannot make the folder for locks: {e}")))?;
        Ok(match &self.connection {
            None => places.lock(),
            Some(connection) => places.lock_of(&connection.endpoint.address),
        })
    }

    /// The engine for commands that only look.
    ///
    /// # Errors
    ///
    /// When no run-time folder can be had.
    pub fn bare(self, identity: Identity) -> Result<AnyEngine, Failure> {
        Ok(match self.connection {
            None => AnyEngine::Local(Box::new(Local::bare(identity)?)),
            Some(connection) => AnyEngine::Docker(Box::new(Docker::bare(identity, connection)?)),
        })
    }

    /// The engine for `down`.
    ///
    /// # Errors
    ///
    /// As [`Chosen::bare`].
    pub fn lenient(self, identity: Identity, drain: Option<Duration>) -> Result<AnyEngine, Failure> {
        Ok(match self.connection {
            None => AnyEngine::Local(Box::new(Local::to_end(identity, drain)?)),
            Some(connection) => AnyEngine::Docker(Box::new(Docker::to_end(identity, connection)?)),
        })
    }
}

fn identity_of(stack: &Stack) -> Identity {
    Identity { project: stack.project.name.clone(), root: stack.root.clone() }
}

/// Takes a project's lock.
///
/// # Errors
///
/// When another command holds it and does not end.
pub async fn lock(global: &Global, engine: &AnyEngine) -> Result<Lock> {
    lock_at(global, &engine.lock()).await
}

async fn lock_at(global: &Global, path: &Path) -> Result<Lock> {
    let waiting = |holder: &str| global.say(&format!("waiting for another command: {holder}"));
    let lock = Lock::acquire(path, LOCK_PATIENCE, waiting);
    tokio::select! {
        lock = lock => Ok(lock.map_err(Failure::from)?),
        () = interrupted() => Err(Failure::interrupted("interrupted while waiting for another command").into()),
    }
}

/// Carries a plan out, and shows how far it is.
///
/// # Errors
///
/// The root cause, when it cannot be carried out.
pub async fn carry_out(global: &Global, engine: &AnyEngine, plan: &Plan) -> Result<()> {
    let progress = PlanProgress::new(plan.steps().len(), global.quiet, global.verbose > 0);
    execute(engine, plan, &progress, interrupted()).await?;
    Ok(())
}

/// Who the project is, for commands that have to work even where the rest of its file is broken.
///
/// # Errors
///
/// When the file does not even name the project.
pub fn identity(global: &Global) -> Result<Identity> {
    match stack::load(&global.source()) {
        Ok(stack) => Ok(Identity { project: stack.project.name, root: stack.root }),
        Err(error) => match stack::identity(&global.source()) {
            Some((project, root)) => {
                global.say("scalectl.toml is not valid (see `scalectl check`); going on with the project's name");
                Ok(Identity { project, root })
            }
            None => Err(Failure::from(error).into()),
        },
    }
}

/// Refuses what the engine does not run: everything but the stack's services, and backing services on Docker.
///
/// # Errors
///
/// With the nearest name, or why a backing service does not run.
pub fn require_running(session: &Session<'_>, names: &[Name]) -> Result<()> {
    let stack = &session.stack;
    let resolved = backing::resolve(stack);
    for name in names.iter().filter(|name| !stack.services.contains_key(*name)) {
        let Some(found) = resolved.get(name) else {
            let known = stack.services.keys().chain(resolved.keys()).map(Name::as_str);
            return Err(unknown("service or backing service", name.as_str(), known).into());
        };
        if found.external.is_some() {
            return Err(Failure::usage(format!("{name} does not run here"))
                .because("its address in .env is that of one outside")
                .into());
        }
        if session.engine.kind() == EngineKind::Local {
            return Err(Failure::usage(format!("{name} is no process of its own on the local engine"))
                .because("each service has its substitute in its own process")
                .into());
        }
    }
    Ok(())
}

/// Refuses services that the stack does not have.
///
/// # Errors
///
/// With the nearest name.
pub fn require_services(session: &Session<'_>, services: &[Name]) -> Result<()> {
    for service in services {
        if !session.stack.services.contains_key(service) {
            let known = session.stack.services.keys().map(Name::as_str);
            return Err(unknown("service", service.as_str(), known).into());
        }
    }
    Ok(())
}

/// The failure for a name that nothing has: it names the nearest, or all.
pub fn unknown<'n>(kind: &str, name: &str, known: impl Iterator<Item = &'n str>) -> Failure {
    let known: Vec<_> = known.collect();
    let nearest = known.iter().max_by(|a, b| strsim::jaro(name, a).total_cmp(&strsim::jaro(name, b)));
    let failure = Failure::usage(format!("there is no {kind} `{name}` in this stack"));
    match nearest {
        Some(near) if strsim::jaro(name, near) > 0.75 => failure.hint(format!("did you mean `{near}`?")),
        Some(_) => failure.hint(format!("there are: {}", known.join(", "))),
        None => failure.hint(format!("the stack has no {kind} at all")),
    }
}
