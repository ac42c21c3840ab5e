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

    /// Looks at what a plan needs of the machine before its first step is done: free ports, free names, data that fits.
    ///
    /// # Errors
    ///
    /// With the root cause, when the plan could not be carried out.
    fn preflight(&self, plan: &Plan) -> impl Future<Output = Result<(), Failure>>;

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

/// Looks whether the plan can be carried out, and does it: steps that do not wait for each other at once, nothing more after the first failure.
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
    let run = async {
        engine.preflight(plan).await?;
        steps(engine, plan, observer).await
    };
    tokio::pin!(run);
    tokio::pin!(cancel);
    tokio::select! {
        biased;
        () = &mut cancel => Err(Failure::interrupted("interrupted: the plan is half done")
            .hint("run the same command again to go on, or `scalectl down` to take everything back")),
        result = &mut run => result,
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
/// is completed by the next command. Only in builds for tests. The variable `SCALECTL_KILL` names the instant: `before:3`, `after:7`.
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
        if cfg!(debug_assertions)
            && std::env::var_os("SCALECTL_KILL").is_some_and(|wanted| *wanted == *format!("{instant}:{step}"))
        {
            let _ = kill(Pid::this(), Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Writes down what is performed; one action fails.
    #[derive(Default)]
    struct Recorder {
        performed: RefCell<Vec<String>>,
        failing: Option<&'static str>,
    }

    impl Engine for Recorder {
        async fn observe(&self) -> Result<Observed, Failure> {
            Ok(Observed::default())
        }

        async fn preflight(&self, _: &Plan) -> Result<(), Failure> {
            Ok(())
        }

        async fn perform(&self, action: &Action, _: &dyn Fn(Note)) -> Result<(), Failure> {
            let text = action.to_string();
            self.performed.borrow_mut().push(format!("{text}…"));
            tokio::task::yield_now().await;
            if self.failing == Some(text.as_str()) {
                return Err(Failure::failed("no"));
            }
            self.performed.borrow_mut().push(format!("{text}."));
            Ok(())
        }
    }

    struct Silent;

    impl Observer for Silent {
        fn event(&self, _: &Event<'_>) {}
    }

    fn volume(name: &str) -> Action {
        Action::CreateVolume { volume: name.parse().unwrap() }
    }

    fn plan() -> Plan {
        let mut plan = Plan::default();
        let a = plan.push(volume("a"), "", &[]);
        let b = plan.push(volume("b"), "", &[]);
        plan.push(volume("c"), "", &[a, b]);
        plan.undo_last(Action::RemoveVolume { volume: "c".parse().unwrap() });
        plan
    }

    #[tokio::test]
    async fn steps_wait_for_those_they_need_and_for_no_others() {
        let engine = Recorder::default();
        execute(&engine, &plan(), &Silent, std::future::pending()).await.unwrap();
        let order = engine.performed.borrow();
        let at = |text: &str| order.iter().position(|line| line == text).unwrap();
        assert!(at("create volume b…") < at("create volume a."), "both at once: {order:?}");
        assert!(at("create volume c…") > at("create volume a.").max(at("create volume b.")), "{order:?}");
    }

    #[tokio::test]
    async fn a_failed_step_is_undone_and_ends_the_plan_with_its_own_failure() {
        let engine = Recorder { failing: Some("create volume c"), ..Recorder::default() };
        let failure = execute(&engine, &plan(), &Silent, std::future::pending()).await.unwrap_err();
        assert_eq!(failure.what(), "no");
        assert_eq!(engine.performed.borrow().last().unwrap(), "remove volume c.");
        let engine = Recorder { failing: Some("create volume a"), ..Recorder::default() };
        execute(&engine, &plan(), &Silent, std::future::pending()).await.unwrap_err();
        assert!(!engine.performed.borrow().iter().any(|done| done.contains('c') && done.contains("volume c")));
    }

    #[tokio::test]
    async fn an_interruption_says_how_to_go_on() {
        let failure = execute(&Recorder::default(), &plan(), &Silent, std::future::ready(())).await.unwrap_err();
        assert_eq!(failure.exit(), crate::error::Exit::Interrupted);
        assert!(failure.hints()[0].contains("run the same command again"));
    }
}
