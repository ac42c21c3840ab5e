//! The logs of a project, wherever they come from: one source that is read again for what has come since.

use jiff::Timestamp;

use super::docker;
use super::local;
use crate::error::Failure;

/// When a line was written, as far as that is known.
pub type Stamp = Option<Timestamp>;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When; a line that does not say so was written when the one before it was.
    pub time: Stamp,
    /// The replica, job or balancer.
    pub source: String,
    /// The line, without its end.
    pub text: String,
}

/// What of the logs is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Window {
    /// Nothing older than this.
    pub since: Stamp,
    /// Only this many lines, the last ones of all logs together.
    pub tail: Option<usize>,
}

impl Window {
    /// The lines of a merged log that are in the window.
    pub fn of(&self, mut lines: Vec<Line>) -> Vec<Line> {
        lines.retain(|line| self.since.is_none_or(|since| line.time.is_none_or(|time| time >= since)));
        let skipped = self.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
        lines.split_off(skipped)
    }
}

/// The logs of a project on one of the engines.
pub enum Logs {
    /// Files.
    Local(local::Logs),
    /// What the Docker engine keeps of its containers' output.
    Docker(docker::Logs),
}

impl Logs {
    /// The lines there are, by time.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub async fn present(&mut self, window: Window) -> Result<Vec<Line>, Failure> {
        let lines = match self {
            Self::Local(logs) => logs.read().map_err(unreadable)?,
            Self::Docker(logs) => logs.present(window).await?,
        };
        Ok(window.of(lines))
    }

    /// The lines that have come since the last call, by time; from replicas that have come since, too.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub async fn more(&mut self) -> Result<Vec<Line>, Failure> {
        match self {
            Self::Local(logs) => logs.read().map_err(unreadable),
            Self::Docker(logs) => logs.more().await,
        }
    }
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::failed(format!("cannot read the logs: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_the_last_lines_that_are_new_enough() {
        let line = |second, text: &str| Line {
            time: Timestamp::from_second(second).ok(),
            source: "api-1".into(),
            text: text.into(),
        };
        let lines = vec![line(1, "a"), line(2, "b"), line(3, "c")];
        let texts = |window: Window| window.of(lines.clone()).into_iter().map(|l| l.text).collect::<String>();
        assert_eq!(texts(Window::default()), "abc");
        let since = Timestamp::from_second(2).ok();
        assert_eq!(texts(Window { since, tail: None }), "bc");
        assert_eq!(texts(Window { since, tail: Some(1) }), "c");
        assert_eq!(texts(Window { since: None, tail: Some(9) }), "abc");
        assert_eq!(texts(Window { since: None, tail: Some(0) }), "");
    }
}
