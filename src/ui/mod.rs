//! What a person sees on stderr: errors, progress, tables.

pub mod bench;
mod plan;
mod screen;
mod table;

pub use plan::PlanProgress;
pub use screen::Screen;
pub use table::table;

use anstyle::{AnsiColor, Style};

use crate::error::{Exit, Failure};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Prints an error with its evidence and hints, and says which exit code it ends the program with.
pub fn print_error(error: &anyhow::Error) -> Exit {
    let failure = error.downcast_ref::<Failure>();
    anstream::eprintln!("{ERROR}error:{ERROR:#} {error}");
    for cause in error.chain().skip(1) {
        anstream::eprintln!("  because: {cause}");
    }
    let Some(failure) = failure else { return Exit::Failed };
    for line in failure.evidence() {
        anstream::eprintln!("  {line}");
    }
    for hint in failure.hints() {
        anstream::eprintln!("{HINT}hint:{HINT:#} {hint}");
    }
    failure.exit()
}
