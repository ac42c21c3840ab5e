//! `scalectl man`.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use clap::Command;
use clap_mangen::Man;

use super::{Global, stdout};
use crate::error::{Exit, Failure};

/// Arguments of `scalectl man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  scalectl man | man -l -
  scalectl man --output ~/.local/share/man/man1")]
pub struct Args {
    /// Write one page for every verb into this folder
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl Args {
    /// Prints the page of the program, or writes all pages.
    ///
    /// # Errors
    ///
    /// When stdout or the folder cannot be written to.
    pub fn run(self, global: &Global) -> Result<Exit> {
        let pages = pages()?;
        let Some(output) = self.output else {
            stdout::print(pages[0].1.trim_end())?;
            return Ok(Exit::Done);
        };
        let folder = global.directory.join(output);
        let failed = |path: &PathBuf, error: std::io::Error| {
            Failure::failed(format!("cannot write {}", path.display())).because(error.to_string())
        };
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
        for (name, page) in &pages {
            let path = folder.join(name);
            fs::write(&path, page).map_err(|error| failed(&path, error))?;
        }
        if !global.quiet {
            anstream::eprintln!("Wrote {} pages to {}", pages.len(), folder.display());
        }
        Ok(Exit::Done)
    }
}

/// File names and texts: the program first, then every visible verb.
fn pages() -> Result<Vec<(String, String)>> {
    let mut program = super::command();
    program.build();
    let verbs: Vec<Command> =
        program.get_subcommands().filter(|verb| !verb.is_hide_set()).map(|verb| named(verb, &program)).collect();
    std::iter::once(program).chain(verbs).map(page).collect()
}

/// A verb under the name of its page, `scalectl-up`.
fn named(verb: &Command, program: &Command) -> Command {
    let name = format!("{}-{}", program.get_name(), verb.get_name());
    verb.clone().name(name.clone()).display_name(name)
}

fn page(command: Command) -> Result<(String, String)> {
    let name = format!("{}.1", command.get_name());
    let mut text = Vec::new();
    Man::new(command).manual("scalectl").render(&mut text)?;
    Ok((name, String::from_utf8_lossy(&text).into_owned()))
}
