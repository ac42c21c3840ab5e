//! `scalectl config`.

use anyhow::{Result, anyhow};
use serde_json::json;

use super::{Global, stdout};
use crate::error::Exit;

/// Arguments of `scalectl config`.
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    /// Runs the command: prints the stack with overlays, variables, defaults and the catalog resolved.
    ///
    /// # Errors
    ///
    /// A stack that does not load.
    pub fn run(self, global: &Global) -> Result<Exit> {
        let stack = global.stack()?;
        if global.json {
            stdout::print_json(&json!({ "schema": "scalectl.config/1", "root": stack.root, "stack": stack.shown()? }))?;
        } else {
            stdout::print(stack.shown_toml().map_err(|error| anyhow!(error))?.trim_end())?;
        }
        Ok(Exit::Done)
    }
}
