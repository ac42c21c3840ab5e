//! The failure that a person reads: what, where, why, and what to do about it.
//!
//! Domains have typed errors of their own and convert them into a [`Failure`] where they meet the command line;
//! `main` prints it and ends with its [`Exit`].

use std::fmt;

/// How a command ended, as the exit code that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: everything that was asked for was done.
    Done,
    /// 1: it failed for a reason that the message names.
    Failed,
    /// 2: wrong usage or an invalid configuration; nothing was started or changed.
    Usage,
    /// 3: what was started did not become healthy in time.
    Unhealthy,
    /// 4: a service level objective was missed.
    SloMissed,
    /// 5: the load generator itself was the limit, so the result is not to be trusted.
    Untrusted,
    /// 130: interrupted by the user.
    Interrupted,
    /// The exit code of the command that was run for the user.
    Of(u8),
}

impl Exit {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unhealthy => 3,
            Self::SloMissed => 4,
            Self::Untrusted => 5,
            Self::Interrupted => 130,
            Self::Of(code) => code,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failure as its reader needs it: one line that says what and where, evidence that says why, a hint that says
/// what to do.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    what: String,
    evidence: Vec<String>,
    hints: Vec<String>,
}

impl Failure {
    /// A failure that ends the program with `exit`; `what` is one line without a full stop.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), evidence: Vec::new(), hints: Vec::new() }
    }

    /// Something did not work: exit code 1.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Exit::Failed, what)
    }

    /// Wrong usage or configuration: exit code 2.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// The user ended it: exit code 130.
    pub fn interrupted(what: impl Into<String>) -> Self {
        Self::new(Exit::Interrupted, what)
    }

    /// Adds a line of evidence: the cause, an output, a state that was observed.
    #[must_use]
    pub fn because(mut self, line: impl Into<String>) -> Self {
        self.evidence.push(line.into());
        self
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The exit code it ends the program with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The first line: what failed, and where.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Why, line by line; may be empty.
    pub fn evidence(&self) -> &[String] {
        &self.evidence
    }

    /// What to do about it; may be empty.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}
