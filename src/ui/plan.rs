//! A plan while it is carried out: spinners on a terminal, lines elsewhere.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::engine::{Action, Event, Note, Observer, Preparation, Step, StepId};

const DONE: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();
/// Steps that take less are not worth a figure.
const WORTH_TELLING: Duration = Duration::from_millis(50);

/// Shows the steps of a plan on stderr.
pub struct PlanProgress {
    steps: usize,
    quiet: bool,
    /// Every step has its line, not only those that a person waits for.
    verbose: bool,
    bars: Option<MultiProgress>,
    spinning: RefCell<BTreeMap<StepId, ProgressBar>>,
}

impl PlanProgress {
    /// For a plan of so many steps.
    pub fn new(steps: usize, quiet: bool, verbose: bool) -> Self {
        let bars = (!quiet && std::io::stderr().is_terminal()).then(MultiProgress::new);
        Self { steps, quiet, verbose, bars, spinning: RefCell::default() }
    }

    fn line(&self, text: String) {
        if self.quiet {
            return;
        }
        match &self.bars {
            // The bars have to move out of the way of a line.
            Some(bars) => bars.suspend(|| super::say(&text)),
            None => super::say(&text),
        }
    }

    fn spin(&self, step: &Step) {
        let Some(bars) = &self.bars else { return };
        let bar = bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("  {spinner:.cyan} {prefix} {wide_msg:.dim}") {
            bar.set_style(style);
        }
        bar.set_prefix(step.action.to_string());
        bar.set_message(step.cause.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        self.spinning.borrow_mut().insert(step.id, bar);
    }

    fn end(&self, step: &Step) {
        if let Some(bar) = self.spinning.borrow_mut().remove(&step.id) {
            bar.finish_and_clear();
        }
    }
}

/// Steps whose end a person waits for, in the words of their end.
fn milestone(action: &Action) -> Option<String> {
    Some(match action {
        Action::AwaitReady { replica } => format!("{replica} is ready"),
        Action::RunJob { job } => format!("job {job} done"),
        Action::PrepareEnvironment { source, preparation, .. } => match preparation {
            Preparation::Install => format!("{source} installed"),
            Preparation::Build => format!("{source} built"),
            Preparation::Pull => format!("{source} pulled"),
        },
        Action::StartBalancer { balancer, port } => format!("{balancer} listens on port {port}"),
        Action::RemoveReplica { replica } | Action::StopReplica { replica } => format!("{replica} stopped"),
        Action::StopBalancer { balancer, .. } => format!("{balancer} stopped"),
        Action::RemoveVolume { volume } => format!("volume {volume} removed"),
        Action::EndLeftovers => "leftovers ended".to_owned(),
        _ => return None,
    })
}

impl Observer for PlanProgress {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Started(step) => self.spin(step),
            Event::Note(_, Note::Warning(text)) => self.line(format!("    {text}")),
            Event::Note(step, Note::Detail(text)) => match self.spinning.borrow().get(&step.id) {
                Some(bar) => bar.set_message(text.clone()),
                None if self.verbose => self.line(format!("    {DIM}{text}{DIM:#}")),
                None => {}
            },
            Event::Done(step, took) => {
                self.end(step);
                let words = milestone(&step.action).or_else(|| self.verbose.then(|| step.action.to_string()));
                if let Some(words) = words {
                    let took =
                        if *took >= WORTH_TELLING { format!(" ({:.1} s)", took.as_secs_f64()) } else { String::new() };
                    self.line(format!("  {DONE}✓{DONE:#} {words}{DIM}{took}{DIM:#}"));
                }
            }
            Event::Failed(step) => {
                self.end(step);
                self.line(format!("  {BAD}✗{BAD:#} {} (step {} of {})", step.action, step.id, self.steps));
            }
            Event::Undoing(_, action) => self.line(format!("    {DIM}taking back: {action}{DIM:#}")),
        }
    }
}

impl Drop for PlanProgress {
    fn drop(&mut self) {
        for bar in self.spinning.borrow().values() {
            bar.finish_and_clear();
        }
    }
}
