//! `scalectl scale`.

use std::str::FromStr;

use anyhow::Result;

use super::session::{self, Session, block_on};
use super::{Global, up};
use crate::engine::{Intent, Options};
use crate::error::{Exit, Failure};
use crate::stack::{self, Replicas};
use crate::units::{Name, TimeSpan};

/// `api=5`.
#[derive(Debug, Clone)]
struct Target {
    service: Name,
    replicas: Replicas,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected SERVICE=NUMBER like api=5, found \"{text}\"");
        let (service, number) = text.split_once('=').ok_or_else(wrong)?;
        let number: i64 = number.parse().map_err(|_| wrong())?;
        let replicas = u16::try_from(number)
            .ok()
            .filter(|n| (1..=Replicas::MAX).contains(n))
            .ok_or_else(|| format!("expected a number of replicas from 1 to {}, found {number}", Replicas::MAX))?;
        Ok(Self { service: service.parse().map_err(|_| wrong())?, replicas: Replicas(replicas) })
    }
}

/// Arguments of `scalectl scale`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Service and number of replicas
    #[arg(value_name = "SERVICE=N", required = true)]
    targets: Vec<Target>,
    /// Write the number into scalectl.toml too, keeping its comments
    #[arg(long)]
    save: bool,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// How long a replica may take to become ready
    #[arg(long, value_name = "TIME", default_value = "120s")]
    timeout: TimeSpan,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// With the root cause of what does not come up.
    pub fn run(self, global: &Global) -> Result<Exit> {
        block_on(self.scale(global))
    }

    async fn scale(self, global: &Global) -> Result<Exit> {
        let mut session = Session::open_to_change(global, Options::within(self.timeout.0), self.dry_run).await?;
        let services: Vec<_> = self.targets.iter().map(|t| t.service.clone()).collect();
        if let Some(twice) = services.iter().enumerate().find(|(at, name)| services[..*at].contains(name)) {
            return Err(Failure::usage(format!("{} is named twice", twice.1)).into());
        }
        session::require_services(&session, &services)?;
        for service in &mut session.desired.services {
            if let Some(target) = self.targets.iter().find(|t| t.service == service.name) {
                service.replicas = target.replicas.0;
            }
        }
        let intent = Intent::Up { only: services.clone(), scaled: services };
        if self.dry_run {
            return up::print_plan(global, &session.plan(&intent).await?);
        }
        session.observe_up().await?;
        let plan = session.apply(&intent).await?;
        if self.save {
            for target in &self.targets {
                stack::save_replicas(&global.source(), &target.service, target.replicas).map_err(Failure::from)?;
            }
            session.say("saved to scalectl.toml");
        } else if !plan.is_empty() {
            session.say("the next `scalectl up` restores what the file says; --save writes it there");
        }
        if plan.is_empty() {
            session.say("nothing to change");
        }
        Ok(Exit::Done)
    }
}
