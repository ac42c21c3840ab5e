//! `scalectl schema`.

use anyhow::Result;

use super::Global;
use crate::error::Exit;
use crate::stack;

/// Arguments of `scalectl schema`.
///
/// An editor with a TOML language server completes and checks the stack file when its first line is
/// `#:schema ./scalectl.schema.json`, after `scalectl schema > scalectl.schema.json`.
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// None.
    pub fn run(self, _global: &Global) -> Result<Exit> {
        anstream::println!("{:#}", stack::schema());
        Ok(Exit::Done)
    }
}
