//! `scalectl manifests`.

use std::path::PathBuf;

use anyhow::Result;

use super::{Global, stdout};
use crate::engine::EngineKind;
use crate::engine::docker::compose;
use crate::error::{Exit, Failure};
use crate::stack::{self, Variables};

/// Arguments of `scalectl manifests`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With `--engine docker`, the default, it prints a compose file (Compose Spec): what `up` runs, for \
`docker compose up --wait`. It names the secrets of .env and holds none of them."
)]
pub struct Args {
    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// A stack that does not load, or cannot run in containers; a file that cannot be written.
    pub fn run(self, global: &Global) -> Result<Exit> {
        if global.engine == Some(EngineKind::Local) {
            let what = "the local engine has no manifests: it runs processes";
            return Err(Failure::usage(what).hint("`--engine docker` prints a compose file").into());
        }
        let stack = stack::load_symbolic(&global.source()).map_err(Failure::from)?;
        let compose = compose::of(&stack, &Variables::read(&stack.root).unwrap_or_default())?;
        for note in &compose.notes {
            global.say(&format!("note: {note}"));
        }
        let text = if global.json { format!("{:#}", compose.document) } else { compose.yaml()? };
        match &self.output {
            None => stdout::print(text.trim_end())?,
            Some(path) => {
                let failed = |e| Failure::failed(format!("cannot write {}: {e}", path.display()));
                std::fs::write(path, format!("{}\n", text.trim_end())).map_err(failed)?;
            }
        }
        Ok(Exit::Done)
    }
}
