//! The `scalectl` binary: parse, run, print error and hint, exit code.

use std::process::ExitCode;

use scalectl::cli;
use scalectl::ui;

fn main() -> ExitCode {
    match cli::run(cli::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => ui::print_error(&error).into(),
    }
}
