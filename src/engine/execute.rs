//! The executor: carries a plan out, step by step, and decides nothing.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::model::Observed;
use super::plan::{Action, Plan, Step, StepId};
use crate::error::Failure;

/// What can be asked of an engine: to look, and to do one thing.
pub trait Engine {
    /// What runs now.
    ///
    /// # Errors
    ///
    /// When the engine does not answer.
    fn observe(&self) -> impl Future<Output = Result<Observed, Failure>>;

    /// Does one thing; does nothing if it is already so.
    ///
    /// # Errors
    ///
    /// With the root cause, when it cannot be done.
    fn perform(&self, action: &Action, note: &dyn Fn(Note)) -> impl Future<Output = Result<(), Failure>>;
}

/// What a step has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// How far it is, for those who watch.
    Detail(String),
    /// Something that everybody should know.
    Warning(String),
}

/// What happens while a plan is carried out.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// A step begins.
    Started(&'a Step),
    /// A step has something to say about its progress.
    Note(&'a Step, Note),
    /// A step is done, after this time.
    Done(&'a Step, Duration),
    /// A step failed; the plan ends here.
    Failed(&'a Step),
    /// The way back of a failed step is gone.
    Undoing(&'a Step, &'a Action),
}

/// Listens to events.
pub trait Observer {
    /// Takes one event.
    fn event(&self, event: &Event<'_>);
}

/// Carries out the plan: steps that do not wait for each other at once, nothing more after the first failure.
///
/// # Errors
///
/// The first step's failure, or an interruption when `cancel` is done first. What was done stays done: the next command
/// observes it and goes on from there.
pub async fn execute(
    engine: &impl Engine,
    plan: &Plan,
    observer: &dyn Observer,
    cancel: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let run = steps(engine, plan, observer);
    tokio::pin!(run);
    tokio::pin!(cancel);
    tokio::select! {
        result = &mut run => result,
        () = &mut cancel => Err(Failure::interrupted("interrupted: the plan is half done")
            .hint("run the same command again to go on, or `scalectl down` to take everything back")),
    }
}

async fn steps(engine: &impl Engine, plan: &Plan, observer: &dyn Observer) -> Result<(), Failure> {
    let mut done: BTreeSet<StepId> = BTreeSet::new();
    let mut begun: BTreeSet<StepId> = BTreeSet::new();
    let mut running = FuturesUnordered::new();
    loop {
        for step in plan.steps() {
            if !begun.contains(&step.id) && step.after.iter().all(|s| done.contains(s)) {
                begun.insert(step.id);
                running.push(perform(engine, step, observer));
            }
        }
        match running.next().await {
            None => return Ok(()),
            Some(Ok(id)) => {
                done.insert(id);
            }
            Some(Err((step, failure))) => {
                observer.event(&Event::Failed(step));
                if let Some(undo) = &step.undo {
                    observer.event(&Event::Undoing(step, undo));
                    // The failure to report is the first one; what could not be undone is seen by the next command.
                    let _ = engine.perform(undo, &|_| ()).await;
                }
                return Err(failure);
            }
        }
    }
}

async fn perform<'p>(
    engine: &impl Engine,
    step: &'p Step,
    observer: &dyn Observer,
) -> Result<StepId, (&'p Step, Failure)> {
    fault::before(step.id);
    observer.event(&Event::Started(step));
    let begin = Instant::now();
    let note = |note| observer.event(&Event::Note(step, note));
    engine.perform(&step.action, &note).await.map_err(|failure| (step, failure))?;
    observer.event(&Event::Done(step, begin.elapsed()));
    fault::after(step.id);
    Ok(step.id)
}

/// Ends the process as `kill -9` would, before or after a given step, so that tests can show that every interrupted plan
/// is completed by the next command. The variable `SCALECTL_KILL` names the instant: `before:3`, `after:7`.
mod fault {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::StepId;

    pub fn before(step: StepId) {
        at("before", step);
    }

    pub fn after(step: StepId) {
        at("after", step);
    }

    fn at(instant: &str, step: StepId) {
        if std::env::var_os("SCALECTL_KILL").is_some_and(|wanted| *wanted == *format!("{instant}:{step}")) {
            let _ = kill(Pid::this(), Signal::SIGKILL);
        }
    }
}
