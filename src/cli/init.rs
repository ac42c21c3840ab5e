//! `scalectl init`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anyhow::{Context, Result};
use dialoguer::Input;
use serde_json::json;

use super::{Global, stdout};
use crate::adopt::{self, Adoption, Choice};
use crate::error::{Exit, Failure};
use crate::stack::FILE_NAME;
use crate::units::Name;

/// Arguments of `scalectl init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Reads compose.yaml (or compose.yml, docker-compose.yml, docker-compose.yaml), or else the
Dockerfile. Databases, caches and queues that scalectl knows become backing services, a
load balancer becomes the balancer, services that end become jobs. Secrets go to .env.
What has no counterpart is told, and stands in the file as a comment.

Examples:
  scalectl init --dry-run                      look at the file first
  scalectl init --from deploy/compose.yaml     another file than the one that is found
  scalectl init --port 8000                    a Dockerfile without EXPOSE")]
pub struct Args {
    /// File to adopt: a compose file or a Dockerfile [default: the folder's]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Name of the project [default: the compose file's, or the folder's]
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    /// Port that the program of a Dockerfile listens on [default: what it exposes]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Port of the balancer [default: what the compose file publishes, or 8080]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    balancer_port: Option<u16>,
    /// Print the file and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace an existing scalectl.toml
    #[arg(long)]
    force: bool,
}

impl Args {
    /// Adopts a folder.
    ///
    /// # Errors
    ///
    /// When there is nothing to adopt, it would not make a valid stack, or a stack file is there already.
    pub fn run(self, global: &Global) -> Result<Exit> {
        let path = global.directory.join(FILE_NAME);
        if !self.dry_run && !self.force && path.symlink_metadata().is_ok() {
            let failure = Failure::usage(format!("{} is there already", path.display()));
            return Err(failure.hint("`--force` replaces it; `--dry-run` prints what would be written").into());
        }
        let adoption = self.adopt(global)?;
        if !self.dry_run {
            let root = global.directory.canonicalize().context("cannot enter the folder")?;
            adopt::write(&root, &adoption)?;
        }
        self.print(&adoption, global)?;
        Ok(Exit::Done)
    }

    /// Asks for the port where there is somebody to ask, and only then.
    fn adopt(&self, global: &Global) -> Result<Adoption> {
        let choice = Choice {
            from: self.from.clone(),
            name: self.name.clone().or_else(|| global.project.clone()),
            port: self.port,
            balancer_port: self.balancer_port,
        };
        let asks = io::stdin().is_terminal() && io::stderr().is_terminal() && !global.json && !global.quiet;
        if !asks || !adopt::needs_port(&global.directory, &choice) {
            return Ok(adopt::adopt(&global.directory, &choice)?);
        }
        let port = Input::new().with_prompt("Port that the program listens on").default(8000).interact_text()?;
        Ok(adopt::adopt(&global.directory, &Choice { port: Some(port), ..choice })?)
    }

    fn print(&self, adoption: &Adoption, global: &Global) -> Result<()> {
        if global.json {
            return stdout::print_json(&json!({
                "schema": "scalectl.init/1",
                "file": adoption.text,
                "notes": adoption.notes,
                "env": adoption.added().collect::<Vec<_>>(),
                "written": !self.dry_run,
            }));
        }
        adoption.notes.iter().for_each(|note| global.say(&format!("note: {note}")));
        if self.dry_run {
            return stdout::print(adoption.text.trim_end());
        }
        let added: Vec<_> = adoption.added().collect();
        if !added.is_empty() {
            global.say(&format!("added to .env: {}", added.join(", ")));
        }
        global.say(&format!("wrote {FILE_NAME}; `scalectl check` looks at it, `scalectl up` brings it up"));
        Ok(())
    }
}
