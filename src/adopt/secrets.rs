//! What goes into `.env`, so that the stack file itself holds no secret.

use std::collections::BTreeMap;

use crate::stack::{Variables, fill, is_secret_name};

/// The variables of `.env` and the environment, and those that will be added.
#[derive(Debug, Clone)]
pub struct Secrets {
    known: Variables,
    added: BTreeMap<String, String>,
}

impl Secrets {
    /// Nothing is added yet to what is known.
    pub fn new(known: Variables) -> Self {
        Self { known, added: BTreeMap::new() }
    }

    /// What is to be added to `.env`.
    pub fn added(&self) -> &BTreeMap<String, String> {
        &self.added
    }

    /// All variables, as they will be.
    pub fn variables(&self) -> Variables {
        self.known.clone().with_dot_env(&self.added)
    }

    /// The value that a variable will have.
    pub fn value(&self, name: &str) -> Option<String> {
        self.known.lookup(name).map(|value| value.text).or_else(|| self.added.get(name).cloned())
    }

    /// Gives a variable a value where it has none; returns whether it has this one now.
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        match self.value(name) {
            Some(other) => other == value,
            None => {
                self.added.insert(name.to_owned(), value.to_owned());
                true
            }
        }
    }

    /// A secret of `.env` that has this value, so that nothing is written twice.
    fn same(&self, value: &str) -> Option<String> {
        let mut added = self.added.iter().filter(|(_, added)| *added == value).map(|(name, _)| name.as_str());
        let has_it =
            |name: &&str| is_secret_name(name) && self.known.lookup(name).is_some_and(|known| known.text == value);
        added.next().or_else(|| self.known.dot_env_names().find(has_it)).map(str::to_owned)
    }

    /// The variable that holds a secret: one of the same value, the one of its own name, or one with the
    /// service's name before it where that is taken.
    pub fn keep(&mut self, service: &str, name: &str, value: &str) -> String {
        if let Some(same) = self.same(value) {
            return same;
        }
        let prefix = service.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let mut candidate = name.to_owned();
        while !self.set(&candidate, value) {
            candidate = format!("{prefix}_{candidate}");
        }
        candidate
    }
}

/// A text with its variables replaced; `None` where one has no value, or the text is written wrongly.
pub fn interpolated(text: &str, variables: &Variables) -> Option<String> {
    fill(text, &|name| variables.lookup(name)).ok().map(|value| value.text)
}

/// A line of `.env` that dotenvy reads back as it was: bare where nothing needs quotes, else in quotes.
pub fn line(name: &str, value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if value.chars().all(is_plain) {
        return format!("{name}={value}");
    }
    if !value.contains(['\'', '\n', '\r', '\\']) {
        return format!("{name}='{value}'");
    }
    let mut quoted = String::new();
    for c in value.chars() {
        match c {
            '"' | '\\' | '$' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c => quoted.push(c),
        }
    }
    format!("{name}=\"{quoted}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_keeps_its_name_unless_it_is_taken() {
        let known = Variables::new([("API_KEY".to_owned(), "mine".to_owned())].into(), BTreeMap::new());
        let mut secrets = Secrets::new(known);
        assert_eq!(secrets.keep("web-1", "TOKEN", "a"), "TOKEN");
        assert_eq!(secrets.keep("api", "OTHER_TOKEN", "a"), "TOKEN", "the same secret is written once");
        assert_eq!(secrets.keep("web-1", "TOKEN", "b"), "WEB_1_TOKEN");
        assert_eq!(secrets.keep("web-1", "API_KEY", "c"), "WEB_1_API_KEY");
        assert_eq!(secrets.keep("web-1", "API_KEY", "mine"), "API_KEY");
        assert_eq!(secrets.added().keys().collect::<Vec<_>>(), ["TOKEN", "WEB_1_API_KEY", "WEB_1_TOKEN"]);
    }

    #[test]
    fn a_line_is_read_back_as_it_was() {
        for value in ["plain-1", "", "with space", "a#b", "it's", "$HOME ${X} \"q\"", "back\\slash", "two\nlines", "ü"]
        {
            let text = line("A", value);
            let read: Vec<_> = dotenvy::from_read_iter(text.as_bytes()).collect::<Result<_, _>>().unwrap();
            assert_eq!(read, [("A".to_owned(), value.to_owned())], "{text}");
        }
    }
}
