//! `scalectl doctor`.

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use serde_json::json;

use super::{Global, stdout};
use crate::doctor::{self, Check, Status};
use crate::error::Exit;

const OK: Style = AnsiColor::Green.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();
const MISSING: Style = AnsiColor::Red.on_default().bold();
const HEADING: Style = Style::new().bold();

/// Arguments of `scalectl doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    /// Checks what the commands need; ends with 1 when something is missing that the local path needs.
    ///
    /// # Errors
    ///
    /// When stdout cannot be written to.
    pub fn run(self, global: &Global) -> Result<Exit> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let machine = runtime.block_on(doctor::examine(&global.directory));
        let checks = doctor::checks(&machine);
        if global.json {
            stdout::print_json(&json!({ "schema": "scalectl.doctor/1", "checks": checks }))?;
        } else {
            stdout::print(text(&checks))?;
        }
        let missing = checks.iter().any(|check| check.status == Status::Missing);
        Ok(if missing { Exit::Failed } else { Exit::Done })
    }
}

/// The checks, grouped by the commands that need them.
fn text(checks: &[Check]) -> String {
    let mut lines = Vec::new();
    let mut group: &[&str] = &[];
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    for check in checks {
        if check.needed_by != group {
            group = check.needed_by;
            lines.extend((!lines.is_empty()).then(String::new));
            lines.push(format!("{HEADING}{}{HEADING:#}", group.join(", ")));
        }
        let (style, mark) = match check.status {
            Status::Ok => (OK, "✓"),
            Status::Warning => (WARNING, "!"),
            Status::Missing => (MISSING, "✗"),
        };
        lines.push(format!("  {style}{mark}{style:#} {:<width$}  {}", check.name, check.found));
        lines.extend(check.remedy.iter().map(|remedy| format!("    {:width$}  → {remedy}", "")));
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    lines.push(String::new());
    lines.push(match (count(Status::Missing), count(Status::Warning)) {
        (0, 0) => "Everything is there.".to_owned(),
        (0, warnings) => format!("Everything that the local engine needs is there; warnings: {warnings}"),
        (missing, warnings) => format!("Missing for the local engine: {missing}; warnings: {warnings}"),
    });
    lines.join("\n")
}
