//! `scalectl logs`.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use jiff::Timestamp;

use super::interrupt::interrupted;
use super::session::{self, Chosen, Session, block_on, identity};
use super::{ColorWhen, Global};
use crate::engine::logs::{Line, Logs, Window};
use crate::error::Exit;
use crate::stack::Stack;
use crate::units::{Name, TimeSpan};

/// How often `--follow` looks for more.
const POLL: Duration = Duration::from_millis(100);
const COLORS: [AnsiColor; 6] =
    [AnsiColor::Cyan, AnsiColor::Yellow, AnsiColor::Green, AnsiColor::Magenta, AnsiColor::Blue, AnsiColor::BrightRed];

/// Arguments of `scalectl logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services, replicas, jobs and backing services, or the balancer
    #[arg(value_name = "NAME")]
    names: Vec<Name>,
    /// Go on as more comes
    #[arg(long)]
    follow: bool,
    /// Only what is not older than this
    #[arg(long, value_name = "TIME")]
    since: Option<TimeSpan>,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<usize>,
    /// The lines as they were written, JSON included
    #[arg(long)]
    raw: bool,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When a log cannot be read.
    pub fn run(self, global: &Global) -> Result<Exit> {
        let identity = identity(global)?;
        if let Ok(stack) = global.stack() {
            for name in &self.names {
                let known = sources(&stack);
                if !known.iter().any(|k| belongs(name.as_str(), k) || name.as_str().strip_prefix("job-") == Some(k)) {
                    return Err(session::unknown("log", name.as_str(), known.iter().map(String::as_str)).into());
                }
            }
        }
        block_on(async move {
            let engine = Chosen::find(global.engine, &identity).await?.bare(identity)?;
            let names = self.names.clone();
            let mut logs =
                engine.logs(move |log| names.is_empty() || names.iter().any(|name| belongs(log, name.as_str())));
            let printer = Printer { json: global.json, raw: self.raw, color: colored(global) };
            let since = self.since.and_then(|span| Timestamp::now().checked_sub(span.0).ok());
            let lines = logs.present(Window { since, tail: self.tail }).await?;
            printer.print(lines.iter())?;
            if self.follow { poll(global, &mut logs, &printer).await } else { Ok(Exit::Done) }
        })
    }
}

/// What has a log.
fn sources(stack: &Stack) -> Vec<String> {
    let named = stack.services.keys().chain(stack.jobs.keys()).chain(stack.backing.keys()).map(ToString::to_string);
    let front = stack.balancer.iter().map(|_| "balancer".to_owned());
    let inner = stack.services.keys().map(|service| format!("{service}-balancer"));
    named.chain(front).chain(inner).collect()
}

/// Whether a log is of the service, replica or job.
fn belongs(log: &str, name: &str) -> bool {
    let log = if name.starts_with("job-") { log } else { log.strip_prefix("job-").unwrap_or(log) };
    log == name || log.rsplit_once('-').is_some_and(|(service, slot)| service == name && slot.parse::<u16>().is_ok())
}

/// Shows what comes from now on, until Ctrl-C.
///
/// # Errors
///
/// When a log cannot be read.
pub async fn follow(global: &Global, session: &Session<'_>) -> Result<Exit> {
    let mut logs = session.engine.logs(|_| true);
    logs.present(Window { since: Some(Timestamp::now()), tail: Some(0) }).await?;
    let printer = Printer { json: global.json, raw: false, color: colored(global) };
    poll(global, &mut logs, &printer).await
}

async fn poll(global: &Global, logs: &mut Logs, printer: &Printer) -> Result<Exit> {
    let end = interrupted();
    tokio::pin!(end);
    loop {
        printer.print(logs.more().await?.iter())?;
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = &mut end => {
                global.say("no longer following; the stack goes on (`scalectl down` ends it)");
                return Ok(Exit::Done);
            }
        }
    }
}

fn colored(global: &Global) -> bool {
    match global.color {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

/// Prints lines for people or programs.
struct Printer {
    json: bool,
    raw: bool,
    color: bool,
}

impl Printer {
    fn print<'l>(&self, lines: impl Iterator<Item = &'l Line>) -> Result<()> {
        let mut out = std::io::stdout().lock();
        for line in lines {
            let written = if self.json {
                let value = serde_json::json!({ "source": line.source, "time": line.time.map(|t| t.to_string()), "line": line.text });
                writeln!(out, "{value}")
            } else {
                let text = if self.raw { line.text.clone() } else { readable(&line.text) };
                let style = self.style(&line.source);
                writeln!(out, "{style}{:10}{style:#} | {text}", line.source)
            };
            match written {
                // `scalectl logs | head` has read enough.
                Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
                other => other?,
            }
        }
        out.flush()?;
        Ok(())
    }

    /// The same colour for the same replica, always.
    fn style(&self, source: &str) -> Style {
        if !self.color {
            return Style::new();
        }
        let sum: usize = source.bytes().map(usize::from).sum();
        COLORS[sum % COLORS.len()].on_default()
    }
}

/// A JSON log line as text: time of day, level, message, and what else it says.
fn readable(text: &str) -> String {
    let Ok(mut object) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) else {
        return text.to_owned();
    };
    let mut take = |keys: &[&str]| {
        keys.iter().find_map(|key| object.shift_remove(*key)).map(|value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        })
    };
    let time =
        take(&["time", "timestamp", "ts"]).map(|t| t.split_once('T').map_or(t.clone(), |(_, day)| day.to_owned()));
    let level = take(&["level", "severity"]);
    let Some(message) = take(&["message", "msg", "event"]) else { return text.to_owned() };
    let (service, instance) = (take(&["service"]), take(&["instance"]));
    drop((service, instance));
    let rest = object.iter().map(|(key, value)| match value {
        serde_json::Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    });
    let head = [time, level.map(|l| format!("{:5}", l.to_uppercase())), Some(message)];
    head.into_iter().flatten().chain(rest).collect::<Vec<_>>().join(" ")
}
