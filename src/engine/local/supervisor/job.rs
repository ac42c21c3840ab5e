//! One run of a job.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::super::protocol::Process;
use super::child::{self, Badge};
use super::fleet::Fleet;
use super::journal;
use crate::engine::Exited;
use crate::units::Name;

/// How many lines of its log are evidence.
const EVIDENCE: usize = 20;
/// How long a job that is in the way of a shutdown may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a run ended: well, or with what and why.
type End = Result<(), (String, Vec<String>)>;

/// A job that runs, or ran. Whoever asks for the same one while it runs waits for the same end.
#[derive(Clone)]
pub struct Run {
    /// What it runs and runs on.
    pub digest: String,
    end: watch::Receiver<Option<End>>,
    cancel: watch::Sender<bool>,
}

impl Run {
    /// How it ended, if it has.
    pub fn ended(&self) -> Option<End> {
        self.end.borrow().clone()
    }

    /// Waits for its end.
    pub async fn end(&self) -> End {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(Ok(())),
            Err(_) => Err(("the job's run was lost".to_owned(), Vec::new())),
        }
    }

    /// Ends it.
    pub async fn cancel(&self) {
        self.cancel.send_replace(true);
        let _ = self.end().await;
    }
}

/// Starts a job.
pub fn start(fleet: Arc<Fleet>, name: Name, digest: String, process: Process) -> Run {
    let (report, end) = watch::channel(None);
    let cancel = watch::Sender::new(false);
    let mut cancelled = cancel.subscribe();
    tokio::spawn(async move {
        let result = run(&fleet, &name, &process, &mut cancelled).await;
        let _ = std::fs::remove_dir_all(fleet.places().secrets(&format!("job-{name}")));
        report.send_replace(Some(result));
    });
    Run { digest, end, cancel }
}

async fn run(fleet: &Fleet, name: &Name, process: &Process, cancelled: &mut watch::Receiver<bool>) -> End {
    let log = fleet.places().job_log(name);
    let from = std::fs::metadata(&log).map_or(0, |m| m.len());
    let title = format!("job-{name}");
    let badge = Badge { identity: fleet.identity(), run: fleet.run(), service: &title, name: &title };
    let mut child = child::start(process, &badge, None, &log, fleet.places())
        .map_err(|error| (format!("job {name} cannot be started: {error}"), Vec::new()))?;
    let group = child.id().unwrap_or_default();
    let exited = tokio::select! {
        status = child.wait() => match status {
            Ok(status) => child::exited(status),
            Err(error) => Exited::NotStarted(error.to_string()),
        },
        () = async { drop(cancelled.wait_for(|c| *c).await) } => {
            child::end(&mut child, group, PATIENCE).await;
            return Err((format!("job {name} was interrupted"), Vec::new()));
        }
    };
    child::sweep(group);
    if exited == Exited::Code(0) {
        return Ok(());
    }
    let mut evidence = vec![format!("last lines of {}:", log.display())];
    evidence.extend(journal::tail_from(&log, from, EVIDENCE).into_iter().map(|line| format!("  {line}")));
    Err((format!("job {name} failed: {exited}"), evidence))
}
