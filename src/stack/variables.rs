//! Variables of the process's environment and of `.env`, for `${VAR}` and for external backing services.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::model::EnvValue;
use super::problem::Problem;
use super::secret;
use super::symbol;

/// Name of the file beside the stack file that holds the project's secrets.
pub const DOT_ENV: &str = ".env";

/// `.env` and the process's environment, which wins.
#[derive(Clone, Default)]
pub struct Variables {
    dot_env: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
}

impl Variables {
    /// Variables of known content; `environment` wins over `dot_env`.
    pub fn new(dot_env: BTreeMap<String, String>, environment: BTreeMap<String, String>) -> Self {
        Self { dot_env, environment }
    }

    /// The process's environment over the `.env` of a folder, which may be missing. Variables that are not text are
    /// left out.
    ///
    /// # Errors
    ///
    /// A `.env` that cannot be read or parsed, with its line; never with what stands there.
    pub fn read(root: &Path) -> Result<Self, Box<Problem>> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let path = root.join(DOT_ENV);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Problem::of_file(DOT_ENV, format!("cannot be read: {error}")).into()),
        };
        Ok(Self { dot_env: parse_dot_env(&text)?, environment })
    }

    /// These variables, and more in `.env`; what stood there stays as it is.
    #[must_use]
    pub fn with_dot_env(mut self, more: &BTreeMap<String, String>) -> Self {
        for (name, value) in more {
            self.dot_env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// The value of a variable, and whether its name or a password in it makes it a secret.
    pub fn lookup(&self, name: &str) -> Option<EnvValue> {
        let text = self.environment.get(name).or_else(|| self.dot_env.get(name))?;
        Some(EnvValue { text: text.clone(), secret: is_secret(name, text) })
    }

    /// The same variables, with a symbol in the place of every secret.
    pub fn symbolic(mut self) -> Self {
        for (name, text) in self.dot_env.iter_mut().chain(&mut self.environment) {
            if !text.is_empty() && is_secret(name, text) {
                *text = symbol::symbol(name);
            }
        }
        self
    }

    /// The variables that `.env` sets, whether or not the environment overrides them.
    pub fn dot_env_names(&self) -> impl Iterator<Item = &str> {
        self.dot_env.keys().map(String::as_str)
    }
}

fn is_secret(name: &str, text: &str) -> bool {
    secret::is_secret_name(name) || secret::has_password(text) || symbol::has_symbol(text)
}

impl fmt::Debug for Variables {
    /// Names only: every second value is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").field("dot_env", &self.dot_env.keys()).finish_non_exhaustive()
    }
}

fn parse_dot_env(text: &str) -> Result<BTreeMap<String, String>, Box<Problem>> {
    let mut variables = BTreeMap::new();
    for item in dotenvy::from_read_iter(text.trim_start_matches('\u{feff}').as_bytes()) {
        let (name, value) = item.map_err(|error| dot_env_problem(text, &error))?;
        variables.insert(name, value);
    }
    Ok(variables)
}

/// The line and the column, but not the line's text: it may be a password.
fn dot_env_problem(text: &str, error: &dotenvy::Error) -> Problem {
    let dotenvy::Error::LineParse(wrong, _) = error else {
        return Problem::of_file(DOT_ENV, "cannot be parsed");
    };
    let mut problem = Problem::of_file(DOT_ENV, "expected NAME=value, found something else")
        .hint("put a value with spaces, quotes, $ or # into single quotes");
    // The parser names the text that it did not understand, a line or a value, but not the line's number.
    let first = wrong.lines().next().unwrap_or_default().trim();
    problem.location.line = text
        .lines()
        .position(|line| !first.is_empty() && line.contains(first) && !line.trim_start().starts_with('#'))
        .and_then(|position| u32::try_from(position + 1).ok());
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let variables = Variables::new(map(&[("A", "file"), ("B", "file")]), map(&[("A", "process")]));
        assert_eq!(variables.lookup("A").unwrap().text, "process");
        assert_eq!(variables.lookup("B").unwrap().text, "file");
        assert_eq!(variables.lookup("C"), None);
    }

    #[test]
    fn a_broken_line_is_named_but_not_shown() {
        let problem = parse_dot_env("A=1\n\nPASSWORD=hunter two\nB=2\n").unwrap_err();
        assert_eq!(problem.to_string(), ".env:3: expected NAME=value, found something else");
        assert!(!format!("{problem:?}").contains("hunter"));
    }

    #[test]
    fn quotes_comments_and_a_byte_order_mark_are_understood() {
        let variables = parse_dot_env("\u{feff}# secrets\nA='a $b #c'\nexport B=\"two words\"\nC=\n").unwrap();
        assert_eq!(variables, map(&[("A", "a $b #c"), ("B", "two words"), ("C", "")]));
    }
}
