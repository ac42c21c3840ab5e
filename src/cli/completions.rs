//! `scalectl completions`.

use anyhow::Result;
use clap::Command;
use clap_complete::Shell;

use super::{Global, stdout};
use crate::error::Exit;

/// Arguments of `scalectl completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  scalectl completions bash > ~/.local/share/bash-completion/completions/scalectl
  scalectl completions zsh > \"${fpath[1]}/_scalectl\"
  scalectl completions fish > ~/.config/fish/completions/scalectl.fish")]
pub struct Args {
    /// Shell to complete in
    shell: Shell,
}

impl Args {
    /// Prints a script that completes verbs, flags and their values.
    ///
    /// # Errors
    ///
    /// When stdout cannot be written to.
    pub fn run(self, _global: &Global) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut visible(&super::command()), "scalectl", &mut script);
        stdout::print(String::from_utf8_lossy(&script).trim_end())?;
        Ok(Exit::Done)
    }
}

/// The program without the verbs that are hidden from people: the generators would offer them.
fn visible(program: &Command) -> Command {
    Command::new(program.get_name().to_owned())
        .version(program.get_version().unwrap_or_default().to_owned())
        .about(program.get_about().cloned().unwrap_or_default())
        .propagate_version(program.is_propagate_version_set())
        .disable_help_subcommand(program.is_disable_help_subcommand_set())
        .args(program.get_arguments().cloned())
        .subcommands(program.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned())
}
