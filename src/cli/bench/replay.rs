//! Replaying an access log, as flags.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::values::Replay;
use crate::bench::{Config, Length, Recording, RequestSpec, Speed};
use crate::cli::Global;
use crate::error::Failure;
use crate::units::TimeSpan;

/// The part of the arguments that replays a log.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Load")]
pub struct ReplayArgs {
    /// Replay an access log, '-' for stdin: its timing, methods and paths; common, combined, or JSON lines as nginx and
    /// Caddy write them. Only GET and HEAD are sent; --duration and --requests take its first part
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["rps", "stages", "arrivals", "method", "body", "body_file", "body_json",
            "form", "multipart", "urls", "workload", "find_max"]
    )]
    replay: Option<PathBuf>,
    /// How many times as fast as the log: 2 takes half the time [default: 1]
    #[arg(long, value_name = "FACTOR")]
    speed: Option<Speed>,
    /// Send every method of the log, whatever it changes; bodies are empty, as logs have none
    #[arg(long)]
    replay_unsafe: bool,
}

impl ReplayArgs {
    /// The log that the flags name, or else that of a bench file, as far as the flags leave it as it is.
    pub fn replay(&self, of_file: Option<Replay>) -> Option<Replay> {
        let named = self.replay.clone().map(|log| Replay { log, ..Replay::default() });
        let replay = named.or(of_file)?;
        Some(Replay {
            speed: self.speed.unwrap_or(replay.speed),
            is_unsafe: self.replay_unsafe || replay.is_unsafe,
            ..replay
        })
    }

    /// The flags that say how a log is replayed, by identifier and name, as far as they are given.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let flags =
            [(self.speed.is_some(), ("speed", "--speed")), (self.replay_unsafe, ("replay_unsafe", "--replay-unsafe"))];
        flags.into_iter().filter_map(|(is_given, names)| is_given.then_some(names))
    }
}

impl Replay {
    /// Takes the log for what `config` is to send and when, each request with the headers of the first of `like`.
    ///
    /// # Errors
    ///
    /// It cannot be read or replayed, or the target has a path of its own.
    pub fn apply(&self, config: &mut Config, like: &[RequestSpec], global: &Global) -> Result<(), Failure> {
        let path = &self.log;
        if config.target.path != "/" {
            let what = format!("the URL has the path {}, but a replay takes paths from its log", config.target.path);
            return Err(Failure::usage(what).hint("leave the path out of the URL"));
        }
        let name = path.display();
        let cannot = |why: String| Failure::usage(format!("{name} cannot be replayed")).because(why);
        let log: Box<dyn BufRead> = if path.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            let hint = "give the path of an access log, or - for standard input";
            Box::new(BufReader::new(File::open(path).map_err(|e| cannot(e.to_string()).hint(hint))?))
        };
        let recording = Recording::read(log, self.speed, self.is_unsafe).map_err(|error| cannot(error.to_string()))?;
        let skipped = recording.skipped();
        if !skipped.is_empty() {
            let said = match skipped.count() {
                1 => format!("1 line of {name} is left out"),
                count => format!("{count} lines of {name} are left out"),
            };
            global.say(&format!("{said}: {skipped}"));
        }
        let recording = match self.length {
            Some(length) => {
                let is_over = |why: String| global.say(&format!("note: {name} {why}"));
                match length {
                    Length::Requests(number) if number > recording.count() => {
                        is_over(format!("has {} requests to send, fewer than {number}", recording.count()));
                    }
                    Length::Duration(span) if span.0 > Duration::from_nanos(recording.duration_ns()) => {
                        let whole = TimeSpan::millis(recording.duration_ns().div_ceil(1_000_000));
                        is_over(format!("is over after {whole}, before {span}"));
                    }
                    Length::Requests(_) | Length::Duration(_) => {}
                }
                recording.first(length)
            }
            None => recording,
        };
        // Paths are those of the log, and bodies are none.
        let like = like.first().map_or_else(|| RequestSpec::get("/"), RequestSpec::without_content);
        let kind = |method: &String| RequestSpec { name: Some(method.clone()), method: method.clone(), ..like.clone() };
        config.requests = recording.methods().iter().map(kind).collect();
        config.flows.clear();
        // A workload's timing is not that of the log.
        let default = Config::new(config.target.clone());
        (config.rate, config.closed_loop, config.arrivals) = (default.rate, default.closed_loop, default.arrivals);
        config.stages.clear();
        config.length = self.length.unwrap_or(default.length);
        config.replay = Some(Arc::new(recording));
        Ok(())
    }
}
