//! Results that are written while a run goes on.

use std::fs::{self, File};
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

/// One interval log and its file. Before the run begins, a file that was there keeps its text, and one that was not goes
/// again if nothing comes of the run.
struct Log {
    path: PathBuf,
    is_new: bool,
    state: State,
}

/// How far a log is.
enum State {
    Opened(File),
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
                    let is_new = !path.exists();
                    let file = File::options()
                        .write(true)
                        .create(true)
                        .truncate(false)
                        .open(path)
                        .map_err(|error| cannot_write(path.clone(), &error))?;
                    logs.push(Log { path: path.clone(), is_new, state: State::Opened(file) });
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
        self.logs.iter().try_for_each(|log| match &log.state {
            State::Failed(error) => Err(cannot_write(log.path.clone(), error)),
            State::Opened(_) | State::Growing(_) => Ok(()),
        })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.is_new && matches!(self.state, State::Opened(_)) {
            // Empty, and of no use to anybody; whoever cannot remove it leaves it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn cannot_write(path: PathBuf, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot write {}", path.display())).because(error.to_string())
}

impl State {
    fn begin(&mut self, run: &Started) {
        let Self::Opened(file) = self else { return };
        let begun = file.try_clone().and_then(|file| {
            // A terminal or a pipe has nothing to be cut off.
            if file.metadata()?.is_file() {
                file.set_len(0)?;
            }
            let version = env!("CARGO_PKG_VERSION");
            IntervalLog::begin(BufWriter::new(file), run.start.unix_ns, version, run.rate.is_some())
        });
        *self = begun.map_or_else(Self::Failed, Self::Growing);
    }
}

impl Observer for Recording {
    fn is_watching(&self) -> bool {
        self.live.is_watching()
    }

    fn started(&mut self, run: &Started) {
        self.logs.iter_mut().for_each(|log| log.state.begin(run));
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
