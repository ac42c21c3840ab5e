//! `scalectl schema`.

use anyhow::Result;

use super::{Global, stdout};
use crate::error::Exit;
use crate::stack;

/// Arguments of `scalectl schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "An editor with a TOML language server completes and checks the stack file after\n  \
    scalectl schema > scalectl.schema.json\nwhen the file's first line is\n  #:schema ./scalectl.schema.json")]
pub struct Args {}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// A stdout that cannot be written to.
    pub fn run(self, _global: &Global) -> Result<Exit> {
        stdout::print_json(&stack::schema())?;
        Ok(Exit::Done)
    }
}
