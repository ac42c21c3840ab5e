//! What is wrong with a stack file, for the person who has to repair it.

use std::fmt;

use super::path::KeyPath;
use crate::error::Failure;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Location {
    /// The file as the user knows it: relative to the project's folder where it lies inside.
    pub file: String,
    /// Line, counted from 1, where it is known.
    pub line: Option<u32>,
}

/// One thing that is wrong: where, what was expected and found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file and the line.
    pub location: Location,
    /// The key; empty where the problem is the file itself.
    pub path: KeyPath,
    /// What was expected and what was found; never a secret.
    pub message: String,
    /// The lines of the file around it, for syntax errors.
    pub excerpt: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of a file as a whole.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            location: Location { file: file.into(), line: None },
            path: KeyPath::default(),
            message: message.into(),
            excerpt: Vec::new(),
            hint: None,
        }
    }

    /// A problem of one key.
    pub fn of_key(location: Location, path: KeyPath, message: impl Into<String>) -> Self {
        Self { location, path, message: message.into(), excerpt: Vec::new(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.location.file)?;
        if let Some(line) = self.location.line {
            write!(f, ":{line}")?;
        }
        if !self.path.0.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Why a stack was not loaded: everything that is wrong with it, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// At least one problem, in the order of the file's sections.
    pub problems: Vec<Problem>,
}

impl From<Problem> for LoadError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl From<Box<Problem>> for LoadError {
    fn from(problem: Box<Problem>) -> Self {
        Self::from(*problem)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

impl From<LoadError> for Failure {
    /// One problem is the error itself; several are its evidence, a line each with their hints below them.
    fn from(error: LoadError) -> Self {
        let LoadError { problems } = error;
        if let [problem] = problems.as_slice() {
            let mut failure = Self::usage(problem.to_string());
            for line in &problem.excerpt {
                failure = failure.because(line);
            }
            return match &problem.hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            };
        }
        let mut failure = Self::usage(format!("the stack has {} problems", problems.len()));
        for problem in &problems {
            failure = failure.because(problem.to_string());
            for line in &problem.excerpt {
                failure = failure.because(format!("  {line}"));
            }
            if let Some(hint) = &problem.hint {
                failure = failure.because(format!("  hint: {hint}"));
            }
        }
        failure
    }
}
