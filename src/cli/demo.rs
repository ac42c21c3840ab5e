//! `scalectl demo`: the whole path in one command.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::interrupt::Interrupt;
use super::session::{Chosen, Runtime, Session, block_on, carry_out};
use super::{Global, bench, status};
use crate::bench as load;
use crate::engine::{Action, BalancerId, Desired, Engine, EngineKind, Intent, Options, Plan, diff};
use crate::error::{Exit, Failure};
use crate::ports;
use crate::report::{Format, Output};
use crate::scaffold::{self, Choice, Existing};
use crate::ui::bench::LiveBench;
use crate::units::{Name, Rate, TimeSpan};

/// The project's name in the scratch folder.
const NAME: &str = "demo";
/// How many ports are tried, where others open them first.
const PORT_ATTEMPTS: u32 = 3;
/// The same load every time.
const SEED: u64 = 1;

/// Arguments of `scalectl demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Template to render
    #[arg(short, long, value_name = "NAME", default_value = scaffold::DEFAULT_TEMPLATE)]
    template: String,
    /// Requests a second [default: what the template says]
    #[arg(long, value_name = "RATE")]
    rps: Option<Rate>,
    /// How long requests are scheduled
    #[arg(short = 'z', long, value_name = "TIME", default_value = "10s")]
    duration: TimeSpan,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "N", default_value_t = SEED)]
    seed: u64,
    /// Leave the folder and the running stack for you to look at
    #[arg(long)]
    keep: bool,
}

/// How long the parts took.
#[derive(Default)]
struct Times {
    render: Duration,
    environment: Duration,
    up: Duration,
    seed: Duration,
    bench: Duration,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// With the root cause of the part that did not work. The scratch folder and what runs in it are taken away.
    pub fn run(self, global: &Global) -> Result<Exit> {
        // Before there is anything to take away: from here on Ctrl-C takes it away.
        let interrupt = Interrupt::watch()?;
        let scratch = tempfile::Builder::new().prefix("scalectl-demo-").tempdir().context("a scratch folder")?;
        let folder = scratch.path().join(NAME);
        // A demo that runs beside another one needs a name of its own.
        let name: Name = format!("{NAME}-{}", std::process::id()).parse().map_err(anyhow::Error::from)?;
        let global = Global {
            directory: folder.clone(),
            project: Some(name.clone()),
            files: Vec::new(),
            // So that it needs nothing that is not there.
            engine: global.engine.or(Some(EngineKind::Local)),
            ..global.clone()
        };
        let result = self.all(&global, &name, &folder, interrupt.flag());
        if !self.keep {
            let cleaned = clean_up(&global, name.clone(), &folder);
            if cleaned.is_ok() {
                return result.map_err(|error| in_the_demo_s_words(error, interrupt.flag()));
            }
            // The folder is the way to what still runs in it.
            tell_where(&scratch.keep().join(NAME), &name);
            return result.and_then(|exit| cleaned.map(|()| exit));
        }
        tell_where(&scratch.keep().join(NAME), &name);
        result
    }

    fn all(&self, global: &Global, name: &Name, folder: &Path, interrupted: &AtomicBool) -> Result<Exit> {
        let go_on = || match interrupted.load(Ordering::Relaxed) {
            true => Err(Failure::interrupted("interrupted")),
            false => Ok(()),
        };
        let mut times = Times { render: timed(|| self.render(name, folder, interrupted))?.1, ..Times::default() };
        global.say(&format!("rendered template {} in {} ms", self.template, times.render.as_millis()));
        let runtime = Runtime::new()?;
        let session = open(&runtime, global)?;
        go_on()?;
        times.environment = timed(|| runtime.block_on(prepare(&session)))?.1;
        drop(session);
        go_on()?;
        let (session, took) = timed(|| bring_up(&runtime, global, folder, interrupted))?;
        times.up = took;
        go_on()?;
        times.seed = timed(|| runtime.block_on(seed(&session)))?.1;
        go_on()?;
        let (exit, took) = timed(|| self.bench(&session))?;
        times.bench = took;
        global.say(&times.report());
        Ok(exit)
    }

    fn render(&self, name: &Name, folder: &Path, interrupted: &AtomicBool) -> Result<()> {
        let template = scaffold::find(&self.template).map_err(Failure::from)?;
        let features = scaffold::choose(&template.manifest, &Choice::Defaults).map_err(Failure::from)?;
        let files = scaffold::render(&template, name, &features).map_err(Failure::from)?;
        scaffold::write(&files, folder, Existing::Refuse, interrupted).map_err(Failure::from)?;
        Ok(())
    }

    fn bench(&self, session: &Session<'_>) -> Result<Exit> {
        let url = status::front_url(&session.stack).unwrap_or_default();
        let mut config = load::Config::new(url.parse().context("the balancer's address")?);
        bench::of_stack(&mut config, &session.stack, None)?;
        config.rate = self.rps.unwrap_or(config.rate);
        config.length = load::Length::Duration(self.duration);
        config.seed = self.seed;
        session.say(&format!("loading {url} with {} requests a second for {}", config.rate, self.duration));
        let summary = bench::measure(&config, &mut LiveBench::new(session.global().quiet))?;
        let format = if session.global().json { Format::Json } else { Format::Text };
        super::outputs::emit(&summary, &[Output { format, file: None }], session.global())?;
        // What the machine makes of the objectives is printed; a demo that ran has done its work.
        Ok(match (summary.setup.interrupted, summary.counts.ok) {
            (true, _) => Exit::Interrupted,
            (false, 0) => Exit::Failed,
            (false, _) => Exit::Done,
        })
    }
}

impl Times {
    fn report(&self) -> String {
        let seconds = |time: Duration| format!("{:6.1} s", time.as_secs_f64());
        let total = self.render + self.environment + self.up + self.seed + self.bench;
        format!(
            "\nrender    {}\ninstall   {}   downloads and installs the service's libraries; kept for next time\nup        {}\nseed      {}\nbench     {}\ntotal     {}",
            seconds(self.render),
            seconds(self.environment),
            seconds(self.up),
            seconds(self.seed),
            seconds(self.bench),
            seconds(total),
        )
    }
}

fn timed<T>(part: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let begin = Instant::now();
    let value = part()?;
    Ok((value, begin.elapsed()))
}

/// An interrupted plan says how to go on with it; of a demo nothing is left to go on with.
fn in_the_demo_s_words(error: anyhow::Error, interrupted: &AtomicBool) -> anyhow::Error {
    // What a part says that Ctrl-C ended on the same terminal is about itself, not about its end.
    if interrupted.load(Ordering::Relaxed) {
        return Failure::interrupted("interrupted: what the demo had made was taken away").into();
    }
    error
}

/// Says where a demo still is, and how to end it.
fn tell_where(folder: &Path, name: &Name) {
    anstream::eprintln!("\nit is still there, in {}", folder.display());
    anstream::eprintln!("  end it with: scalectl -C {} -p {name} down --volumes", folder.display());
}

/// Keeps the template's port if it is free, and takes a free one otherwise: a demo should not fail because something
/// else runs.
fn choose_port(file: &Path) -> Result<()> {
    let text = fs::read_to_string(file)?;
    let mut document: toml_edit::DocumentMut = text.parse()?;
    let Some(port) = document.get_mut("balancer").and_then(|b| b.get_mut("port")) else { return Ok(()) };
    let wanted = port.as_integer().and_then(|p| u16::try_from(p).ok()).unwrap_or(0);
    if ports::is_free(wanted) {
        return Ok(());
    }
    let free = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    *port = toml_edit::value(i64::from(free));
    fs::write(file, document.to_string())?;
    Ok(())
}

fn open<'g>(runtime: &Runtime, global: &'g Global) -> Result<Session<'g>> {
    runtime.block_on(async { Ok(Session::open(global, Options::default()).await?) })
}

/// Environments and volumes, before the clock of `up` starts: a download says nothing about the engine.
async fn prepare(session: &Session<'_>) -> Result<()> {
    session.ground().await
}

/// Brings the stack up on a port that is free now. Whoever is quicker to open it, such as another demo, has it; then
/// another one is tried.
fn bring_up<'g>(runtime: &Runtime, global: &'g Global, folder: &Path, interrupted: &AtomicBool) -> Result<Session<'g>> {
    let mut attempt = 1;
    loop {
        choose_port(&folder.join(crate::stack::FILE_NAME))?;
        let session = open(runtime, global)?;
        let Err(error) = runtime.block_on(up(&session)) else { return Ok(session) };
        let is_last = attempt == PORT_ATTEMPTS || interrupted.load(Ordering::Relaxed);
        if is_last || !runtime.block_on(lost_port(&session))? {
            return Err(error);
        }
        session.say("somebody else opened the port meanwhile; taking another one");
        attempt += 1;
    }
}

async fn up(session: &Session<'_>) -> Result<()> {
    session.apply(&Intent::up()).await.map(drop)
}

/// Whether the balancer is not there because its port is somebody else's.
async fn lost_port(session: &Session<'_>) -> Result<bool> {
    let Some(balancer) = &session.stack.balancer else { return Ok(false) };
    let observed = session.observe().await?;
    let ours = observed.balancers.iter().any(|b| b.id == BalancerId::Front);
    Ok(!ours && !ports::is_free(balancer.port.0))
}

/// Runs the seed job, if the template has one.
async fn seed(session: &Session<'_>) -> Result<()> {
    let job = session.stack.jobs.keys().find(|name| name.as_str() == "seed");
    let Some(job) = job else { return Ok(()) };
    let mut plan = Plan::default();
    plan.push(Action::RunJob { job: job.clone() }, "the load asks for its users", &[]);
    session.carry_out(&plan).await
}

/// Takes the stack down and its data away.
fn clean_up(global: &Global, project: Name, folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let root = folder.canonicalize()?;
    let identity = crate::engine::Identity { project, root };
    block_on(async move {
        let engine = Chosen::find(global.engine, &identity).await?.bare(identity.clone())?;
        let lock = super::session::lock(global, &engine).await?;
        let observed = engine.observe().await?;
        let plan = diff(
            &Desired::nothing(identity, engine.ground()),
            &observed,
            &Intent::Down { volumes: true, images: true },
        );
        let quiet = Global { quiet: true, ..global.clone() };
        carry_out(&quiet, &engine, &plan).await?;
        lock.remove();
        Ok(())
    })
}
