//! The `scalectl` binary: parse, run, print error and hint, exit code.

use std::process::ExitCode;

use clap::Parser;
use scalectl::cli::{self, Cli};
use scalectl::ui;

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => ui::print_error(&error).into(),
    }
}
