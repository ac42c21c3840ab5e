//! `scalectl up`.

use std::time::Instant;

use anyhow::Result;

use super::interrupt::Interruption;
use super::session::{self, Session, block_on, block_on_to_the_end};
use super::watch::Watch;
use super::{Global, logs, status, stdout};
use crate::engine::{BalancerId, Intent, Options, Plan};
use crate::error::Exit;
use crate::stack;
use crate::ui;
use crate::units::{Name, TimeSpan};

/// Arguments of `scalectl up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services and backing services, and what they need
    #[arg(value_name = "SERVICE")]
    services: Vec<Name>,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    images: Images,
    /// Build images even where there is one of this source
    #[arg(long)]
    build: bool,
    /// How long a replica may take to become ready
    #[arg(long, value_name = "TIME", default_value = "120s")]
    timeout: TimeSpan,
    /// Stay, and show the logs
    #[arg(long)]
    follow: bool,
    /// Stay, and do it again whenever the source, scalectl.toml or .env changes
    #[arg(long, conflicts_with_all = ["dry_run", "follow"])]
    watch: bool,
}

/// How images come about.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Images {
    /// Build without steps of earlier builds
    #[arg(long)]
    pub no_cache: bool,
    /// Pull images even where the engine has them, those that are built on too
    #[arg(long)]
    pub pull: bool,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// With the root cause of what does not come up.
    pub fn run(self, global: &Global) -> Result<Exit> {
        if self.watch { block_on_to_the_end(self.watch(global)) } else { block_on(self.up(global)) }
    }

    fn options(&self) -> Options {
        let Images { no_cache, pull } = self.images;
        Options { timeout: self.timeout.0, rebuild: self.build || no_cache, no_cache, pull }
    }

    /// Whether images are made or pulled before it is known what has to be replaced.
    fn prepares_first(&self) -> bool {
        let options = self.options();
        !self.dry_run && (options.rebuild || options.pull)
    }

    async fn up(&self, global: &Global) -> Result<Exit> {
        let begin = Instant::now();
        let mut session = Session::open_to_change(global, self.options(), self.dry_run).await?;
        session::require_running(&session, &self.services)?;
        if self.prepares_first() {
            // Whether there is anything to replace shows in the images that come of it.
            session.apply(&Intent::Prepare(self.services.clone())).await?;
            session = Session::open_to_change(global, Options::within(self.timeout.0), false).await?;
        }
        let intent = Intent::Up { only: self.services.clone(), scaled: Vec::new() };
        if self.dry_run {
            let plan = session.plan(&intent).await?;
            return print_plan(global, &plan);
        }
        let plan = session.apply_after(&intent, |plan| tell(&session, plan)).await?;
        let observed = session.observe().await?;
        let front = observed.balancers.iter().any(|b| b.id == BalancerId::Front);
        let url = status::front_url(&session.stack).filter(|_| front);
        if global.json {
            status::print(&session, global).await?;
        } else if let Some(url) = &url {
            stdout::print(url)?;
        }
        tell_result(&session, &plan, begin);
        if self.follow {
            return logs::follow(global, &session).await;
        }
        Ok(Exit::Done)
    }

    /// Brings the stack up, and again after each change, until Ctrl-C.
    async fn watch(self, global: &Global) -> Result<Exit> {
        let mut interruption = Interruption::listen();
        let mut watch = Watch::new(global.source())?;
        let mut state = watch.state()?;
        let mut result = self.up(global).await.map(drop);
        // A mistake can be mended while it watches; where there is no project, there is nothing to watch.
        if result.is_err() && stack::identity(&global.source()).is_none() {
            return result.map(|()| Exit::Done);
        }
        loop {
            if let Err(error) = result
                && ui::print_error(&error) == Exit::Interrupted
            {
                return Ok(Exit::Interrupted);
            }
            global.say("watching for changes; Ctrl-C ends the watching, not the stack");
            tokio::select! {
                changed = watch.changed(&state) => changed?,
                () = interruption.comes() => {
                    global.say("no longer watching; the stack goes on (`scalectl down` ends it)");
                    return Ok(Exit::Done);
                }
            }
            // What changes while it is planned and carried out is seen afterwards.
            state = watch.state()?;
            // The flags for images were meant for the first time.
            result = self.again(global, Options::within(self.timeout.0)).await;
        }
    }

    /// One turn of `--watch`: shows the plan with its causes, and carries it out.
    async fn again(&self, global: &Global, options: Options) -> Result<()> {
        let begin = Instant::now();
        let session = Session::open(global, options).await?;
        let intent = Intent::Up { only: self.services.clone(), scaled: Vec::new() };
        let tell = |plan: &Plan| {
            if !plan.is_empty() {
                session.say(plan.to_string().trim_end_matches('\n'));
            }
        };
        let plan = session.apply_after(&intent, tell).await?;
        tell_result(&session, &plan, begin);
        Ok(())
    }
}

fn tell_result(session: &Session<'_>, plan: &Plan, begin: Instant) {
    let took = begin.elapsed().as_secs_f64();
    session.say(&match plan.is_empty() {
        true => format!("nothing to change ({took:.2} s)"),
        false => format!("{} is up ({took:.1} s)", session.stack.project.name),
    });
}

/// Says where the stack comes up, and what is different there; nothing where nothing is to be done.
fn tell(session: &Session<'_>, plan: &Plan) {
    if plan.is_empty() {
        return;
    }
    let (project, engine) = (&session.stack.project.name, &session.engine);
    session.say(&format!("{project} on the {} engine: {} ({})", engine.kind(), engine.description(), session.why));
    for note in engine.notes() {
        session.say(&format!("  note: {note}"));
    }
}

/// Prints a plan as the result of a command.
///
/// # Errors
///
/// When it cannot be printed.
pub fn print_plan(global: &Global, plan: &Plan) -> Result<Exit> {
    if global.json {
        stdout::print_json(&serde_json::to_value(plan)?)?;
    } else if plan.is_empty() {
        stdout::print("nothing to change")?;
    } else {
        stdout::print(plan.to_string().trim_end_matches('\n'))?;
    }
    Ok(Exit::Done)
}
