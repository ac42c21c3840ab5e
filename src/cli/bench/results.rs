//! Results that are written while a run goes on.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::PathBuf;

use crate::bench::{Lap, Observer, Snapshot, Started};
use crate::error::Failure;
use crate::report::{Format, IntervalLog, Output};
use crate::ui::bench::LiveBench;

/// Shows a run, and writes its interval logs as it goes.
pub struct Recording {
    live: LiveBench,
    logs: Vec<Log>,
}

/// One interval log and its file.
struct Log {
    path: PathBuf,
    state: State,
}

/// How far a log is.
enum State {
    Opened(BufWriter<File>),
    Growing(IntervalLog<BufWriter<File>>),
    Failed(io::Error),
}

impl Recording {
    /// Opens the files that `outputs` name for interval logs; gives the other outputs, which are written at the end.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn new(live: LiveBench, outputs: Vec<Output>) -> Result<(Self, Vec<Output>), Failure> {
        let mut logs = Vec::new();
        let mut others = Vec::new();
        for output in outputs {
            match (output.format, &output.file) {
                (Format::Hlog, Some(path)) => {
                    let file = File::create(path).map_err(|error| cannot_write(path.clone(), &error))?;
                    logs.push(Log { path: path.clone(), state: State::Opened(BufWriter::new(file)) });
                }
                _ => others.push(output),
            }
        }
        Ok((Self { live, logs }, others))
    }

    /// Says whether all was written.
    ///
    /// # Errors
    ///
    /// A log could not be written to its end.
    pub fn finish(self) -> Result<(), Failure> {
        self.logs.into_iter().try_for_each(|log| match log.state {
            State::Failed(error) => Err(cannot_write(log.path, &error)),
            State::Opened(_) | State::Growing(_) => Ok(()),
        })
    }
}

fn cannot_write(path: PathBuf, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot write {}", path.display())).because(error.to_string())
}

impl State {
    fn begin(self, run: &Started) -> Self {
        let Self::Opened(file) = self else { return self };
        let version = env!("CARGO_PKG_VERSION");
        IntervalLog::begin(file, run.start.unix_ns, version, run.rate.is_some())
            .map_or_else(Self::Failed, Self::Growing)
    }
}

impl Observer for Recording {
    fn is_watching(&self) -> bool {
        self.live.is_watching()
    }

    fn started(&mut self, run: &Started) {
        self.logs = std::mem::take(&mut self.logs)
            .into_iter()
            .map(|log| Log { path: log.path, state: log.state.begin(run) })
            .collect();
        self.live.started(run);
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        self.live.snapshot(snapshot);
    }

    fn wants_laps(&self) -> bool {
        !self.logs.is_empty()
    }

    /// A log that fails is told of at the end: the load goes on.
    fn lap(&mut self, lap: &Lap) {
        for log in &mut self.logs {
            if let State::Growing(growing) = &mut log.state
                && let Err(error) = growing.write(lap)
            {
                log.state = State::Failed(error);
            }
        }
    }

    fn finished(&mut self) {
        self.live.finished();
    }
}
