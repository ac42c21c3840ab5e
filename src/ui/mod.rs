//! What a person sees on stderr: errors, progress, tables.

pub mod bench;
mod plan;
mod screen;
mod table;

pub use plan::PlanProgress;
pub use screen::Screen;
pub use table::table;

use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use dialoguer::console;

use crate::error::{Exit, Failure};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Decides whether stdout and stderr are coloured, bars and prompts included; `None` leaves it to terminal and NO_COLOR.
pub fn set_color(is_coloured: Option<bool>) {
    let Some(is_coloured) = is_coloured else { return };
    let choice = if is_coloured { anstream::ColorChoice::Always } else { anstream::ColorChoice::Never };
    choice.write_global();
    // What bars and prompts are drawn with.
    console::set_colors_enabled(is_coloured);
    console::set_colors_enabled_stderr(is_coloured);
}

/// Prints what helps to understand an error.
pub fn print_note(text: &str) {
    say(&format!("{HINT}note:{HINT:#} {text}"));
}

/// Prints a line on stderr; where that is gone, as after the end of a terminal, there is nobody to tell.
pub fn say(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Prints an error with its evidence and hints, and says which exit code it ends the program with.
pub fn print_error(error: &anyhow::Error) -> Exit {
    let failure = error.downcast_ref::<Failure>();
    say(&format!("{ERROR}error:{ERROR:#} {error}"));
    for cause in error.chain().skip(1) {
        say(&format!("  because: {cause}"));
    }
    let Some(failure) = failure else { return Exit::Failed };
    for line in failure.evidence() {
        say(&format!("  {line}"));
    }
    for hint in failure.hints() {
        say(&format!("{HINT}hint:{HINT:#} {hint}"));
    }
    failure.exit()
}
