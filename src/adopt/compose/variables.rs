//! Variables in a compose file's texts, as `scalectl.toml` writes them.
//!
//! Compose knows more forms (<https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md>), and takes a
//! variable without a value as empty; here that has to be written.

use crate::stack::{Variables, is_variable_name};

/// A text in which every variable is written as `scalectl.toml` does, and what could not be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adapted {
    /// The text.
    pub text: String,
    /// Differences, for people.
    pub notes: Vec<String>,
}

/// Rewrites the variables of a text. `known` tells which have a value now.
pub fn adapt(text: &str, known: &Variables) -> Adapted {
    let mut out = Adapted::default();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.text.push_str("$$");
            rest = after;
        } else if let Some((inside, after)) = rest.strip_prefix('{').and_then(braced) {
            out.expression(inside, known);
            rest = after;
        } else {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            match is_variable_name(&rest[..end]) {
                true => {
                    out.variable(&rest[..end], known);
                    rest = &rest[end..];
                }
                false => out.text.push('$'),
            }
        }
    }
    out.text.push_str(rest);
    out
}

/// A text of values that are not interpolated, as `scalectl.toml` has to write it.
pub fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// What stands in braces, and what behind them; defaults may nest.
fn braced(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' if text[..at].ends_with('$') => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&text[..at], &text[at + 1..]));
        }
    }
    None
}

impl Adapted {
    fn variable(&mut self, name: &str, known: &Variables) {
        let default = if known.lookup(name).is_some() { "" } else { ":-" };
        self.text.push_str(&format!("${{{name}{default}}}"));
    }

    fn expression(&mut self, inside: &str, known: &Variables) {
        let end = inside.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inside.len());
        let (name, operator) = inside.split_at(end);
        if !is_variable_name(name) {
            self.text.push_str(&format!("$${{{inside}}}"));
        } else if operator.is_empty() {
            self.variable(name, known);
        } else if let Some(default) = operator.strip_prefix(":-").or_else(|| operator.strip_prefix('-')) {
            let Adapted { text, notes } = adapt(default, known);
            self.notes.extend(notes);
            self.text.push_str(&format!("${{{name}:-{text}}}"));
        } else if operator.starts_with('?') || operator.starts_with(":?") {
            self.text.push_str(&format!("${{{name}}}"));
        } else {
            self.notes.push(format!("${{{name}:+…}} has no counterpart: it became empty"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_form_becomes_one_that_the_stack_file_knows() {
        let known = Variables::new([("SET".to_owned(), "1".to_owned())].into(), BTreeMap::new());
        for (compose, expected) in [
            ("a $SET b", "a ${SET} b"),
            ("${SET}/${UNSET}", "${SET}/${UNSET:-}"),
            ("${UNSET-x}${UNSET:-y}", "${UNSET:-x}${UNSET:-y}"),
            ("${A:-${B-c}}", "${A:-${B:-c}}"),
            ("${MUST:?say it}${MUST?}", "${MUST}${MUST}"),
            ("$$HOME 5$ $1", "$$HOME 5$ $1"),
            ("${1x}", "$${1x}"),
        ] {
            assert_eq!(adapt(compose, &known), Adapted { text: expected.to_owned(), notes: Vec::new() }, "{compose}");
        }
        let dropped = adapt("${SET:+yes}", &known);
        assert_eq!((dropped.text.as_str(), dropped.notes.len()), ("", 1));
        assert_eq!(literal("a$b"), "a$$b");
    }
}
