//! The live display of a load: a bar on a terminal, a line a second elsewhere, nothing with `--quiet`.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::bench::{Observer, Percentile, Snapshot, Started};
use crate::report::{count, duration_or, rate};

/// Shows a run on stderr.
pub struct LiveBench {
    shape: Shape,
    is_quiet: bool,
    /// Requests that had ended, and when, at the last snapshots: the rate is taken over about a second.
    earlier: Vec<(u64, u64)>,
    printed_second: u64,
    /// Names of the parts of the schedule, each with its end in nanoseconds after the start.
    parts: Vec<(u64, String)>,
}

enum Shape {
    Bar(ProgressBar),
    Lines,
}

impl LiveBench {
    /// A display as stderr allows.
    pub fn new(is_quiet: bool) -> Self {
        let shape = if std::io::stderr().is_terminal() && !is_quiet {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            Shape::Bar(bar)
        } else {
            Shape::Lines
        };
        Self { shape, is_quiet, earlier: Vec::new(), printed_second: 0, parts: Vec::new() }
    }

    /// Requests a second that ended within about the last second.
    fn recent_rate(&mut self, snapshot: &Snapshot) -> f64 {
        let now = (snapshot.elapsed_ns, snapshot.counts.sent);
        // Counting begins anew after the warm-up.
        if self.earlier.last().is_some_and(|(_, sent)| *sent > now.1) {
            self.earlier.clear();
        }
        self.earlier.push(now);
        let second_ago = snapshot.elapsed_ns.saturating_sub(1_000_000_000);
        let keep_from = self.earlier.iter().rposition(|(at, _)| *at <= second_ago).unwrap_or(0);
        self.earlier.drain(..keep_from);
        match self.earlier.first() {
            Some((at, sent)) if *at < now.0 => now.1.saturating_sub(*sent) as f64 / ((now.0 - at) as f64 / 1e9),
            _ => 0.0,
        }
    }

    /// What is known now, of what matters most as much as fits into a line of `width`.
    fn figures(&mut self, snapshot: &Snapshot, width: usize) -> String {
        let at = |p| duration_or(snapshot.percentile(p), "-");
        let failed = snapshot.failed();
        let parts = [
            Some(rate(self.recent_rate(snapshot))),
            (failed > 0).then(|| format!("errors {}", count(failed))),
            Some(format!("in flight {}", count(snapshot.in_flight))),
            Some(format!("p50 {}", at(Percentile::P50))),
            Some(format!("p99 {}", at(Percentile::P99))),
        ];
        parts.into_iter().flatten().fold(String::new(), |line, part| {
            match line.chars().count() + 2 + part.chars().count() {
                _ if line.is_empty() => part,
                long if long > width => line,
                _ => format!("{line}  {part}"),
            }
        })
    }
}

impl Observer for LiveBench {
    fn is_watching(&self) -> bool {
        !self.is_quiet
    }

    fn started(&mut self, run: &Started) {
        if self.is_quiet {
            return;
        }
        self.parts = parts(run);
        if let Shape::Bar(bar) = &self.shape {
            let template = "{bar:24.cyan/dim} {prefix}\n{wide_msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
            }
            bar.set_length(run.duration_ns / 1_000_000);
            bar.set_prefix(progress(0, run.duration_ns));
        }
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        let width = match &self.shape {
            Shape::Bar(_) => terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| width.0.into()),
            Shape::Lines => usize::MAX,
        };
        let figures = self.figures(snapshot, width);
        let elapsed = snapshot.elapsed_ns.min(snapshot.duration_ns);
        let is_over = snapshot.elapsed_ns > snapshot.duration_ns;
        let part = self.parts.iter().find(|(end, _)| snapshot.elapsed_ns < *end);
        let state = match part {
            _ if is_over => ", waiting for the last answers".to_owned(),
            Some((_, name)) => format!(", {name}"),
            None => String::new(),
        };
        match &self.shape {
            Shape::Bar(bar) => {
                bar.set_position(elapsed / 1_000_000);
                bar.set_prefix(format!("{}{state}", progress(elapsed, snapshot.duration_ns)));
                bar.set_message(figures);
            }
            Shape::Lines => {
                let second = snapshot.elapsed_ns / 1_000_000_000;
                if second > self.printed_second {
                    self.printed_second = second;
                    super::say(&format!("{second:>4} s  {figures}{state}"));
                }
            }
        }
    }

    fn finished(&mut self) {
        if let Shape::Bar(bar) = &self.shape {
            bar.finish_and_clear();
        }
    }
}

/// The warm-up, and the stages in their order, each with its end in nanoseconds after the start.
fn parts(run: &Started) -> Vec<(u64, String)> {
    let warmup = (run.warmup_ns > 0).then(|| (run.warmup_ns, "warm-up".to_owned()));
    let number = run.stages.len();
    let ends = run.stages.iter().scan(0u64, |end, stage| {
        *end = end.saturating_add(u64::try_from(stage.duration().0.as_nanos()).unwrap_or(u64::MAX));
        Some((*end, stage))
    });
    let stages = ends.enumerate().map(|(i, (end, stage))| (end, format!("stage {} of {number}: {stage}", i + 1)));
    warmup.into_iter().chain(stages).collect()
}

/// How far a run of `duration_ns` is; nobody knows how long a closed loop of a number of requests takes.
fn progress(elapsed_ns: u64, duration_ns: u64) -> String {
    match duration_ns {
        u64::MAX => seconds(elapsed_ns),
        known => format!("{} of {}", seconds(elapsed_ns), seconds(known)),
    }
}

fn seconds(ns: u64) -> String {
    let duration = Duration::from_nanos(ns);
    if ns.is_multiple_of(1_000_000_000) {
        format!("{} s", duration.as_secs())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
