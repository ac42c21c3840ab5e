//! `scalectl up`.

use std::time::Instant;

use anyhow::Result;

use super::session::{self, Session, block_on};
use super::{Global, logs, status, stdout};
use crate::engine::{BalancerId, Intent, Options, Plan};
use crate::error::Exit;
use crate::units::{Name, TimeSpan};

/// Arguments of `scalectl up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services, and what they need
    #[arg(value_name = "SERVICE")]
    services: Vec<Name>,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// How long a replica may take to become ready
    #[arg(long, value_name = "TIME", default_value = "120s")]
    timeout: TimeSpan,
    /// Stay, and show the logs
    #[arg(long)]
    follow: bool,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// With the root cause of what does not come up.
    pub fn run(self, global: &Global) -> Result<Exit> {
        block_on(self.up(global))
    }

    async fn up(self, global: &Global) -> Result<Exit> {
        let begin = Instant::now();
        let options = Options::within(self.timeout.0);
        let session = Session::open_to_change(global, options, self.dry_run).await?;
        session::require_services(&session, &self.services)?;
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
        let took = begin.elapsed().as_secs_f64();
        session.say(&match plan.is_empty() {
            true => format!("nothing to change ({took:.2} s)"),
            false => format!("{} is up ({took:.1} s)", session.stack.project.name),
        });
        if self.follow {
            return logs::follow(global, &session).await;
        }
        Ok(Exit::Done)
    }
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
