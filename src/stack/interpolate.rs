//! `${VAR}`, `${VAR:-default}` and `$$` in the texts of a stack file. A `$` before anything else stands for itself.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::document::{Document, Node, Value};
use super::model::EnvValue;
use super::path::KeyPath;
use super::problem::Problem;
use super::secret;
use super::variables::Variables;

/// A text with its variables replaced.
#[derive(Debug, PartialEq, Eq)]
struct Text {
    text: String,
    /// Whether any variable was replaced.
    interpolated: bool,
    /// Whether one of the variables is a secret.
    secret: bool,
}

/// Why a text cannot be interpolated.
#[derive(Debug, PartialEq, Eq)]
pub enum FillError {
    /// A variable without a value and without a default.
    Undefined(String),
    /// `${` without a valid name or without its end.
    Syntax(String),
}

/// Replaces the variables in every text of the document. What cannot be replaced is taken out of the document and
/// reported.
pub(super) fn interpolate(document: &mut Document, variables: &Variables) -> Vec<(KeyPath, Problem)> {
    let mut failed = Vec::new();
    walk(&mut document.root, &KeyPath::default(), variables, &mut failed);
    failed
        .into_iter()
        .map(|(path, error)| {
            let problem = problem(document, &path, error);
            document.remove(&path);
            (path, problem)
        })
        .collect()
}

fn walk(node: &mut Node, path: &KeyPath, variables: &Variables, failed: &mut Vec<(KeyPath, FillError)>) {
    match &mut node.value {
        Value::String(text) if text.contains('$') => match replace(text, &|name| variables.lookup(name)) {
            Ok(replaced) => {
                *text = replaced.text;
                node.interpolated = replaced.interpolated;
                node.secret = replaced.secret;
            }
            Err(error) => failed.push((path.clone(), error)),
        },
        Value::Array(array) => {
            for (index, element) in array.iter_mut().enumerate() {
                walk(element, &path.index(index), variables, failed);
            }
        }
        Value::Table(table) => {
            for (key, value) in table {
                walk(value, &path.key(key), variables, failed);
            }
        }
        _ => {}
    }
}

/// The value of a variable, where it has one.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<EnvValue>;

fn replace(text: &str, lookup: Lookup<'_>) -> Result<Text, FillError> {
    let mut out = Text { text: String::with_capacity(text.len()), interpolated: false, secret: false };
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.text.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        if let Some(after) = behind.strip_prefix('$') {
            out.text.push('$');
            rest = after;
        } else if let Some(after) = behind.strip_prefix('{') {
            let end = closing_brace(after).ok_or_else(|| FillError::Syntax(format!("${{{after}")))?;
            substitute(&after[..end], lookup, &mut out)?;
            rest = &after[end + 1..];
        } else {
            out.text.push('$');
            rest = behind;
        }
    }
    out.text.push_str(rest);
    Ok(out)
}

/// Appends the value of `NAME` or `NAME:-default`. As in a shell, the default also stands in for an empty value.
fn substitute(expression: &str, lookup: Lookup<'_>, out: &mut Text) -> Result<(), FillError> {
    let (name, default) = match expression.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (expression, None),
    };
    if !is_variable_name(name) {
        return Err(FillError::Syntax(format!("${{{expression}}}")));
    }
    out.interpolated = true;
    out.secret |= secret::is_secret_name(name);
    match (lookup(name), default) {
        (Some(value), default) if default.is_none() || !value.text.is_empty() => {
            out.text.push_str(&value.text);
            out.secret |= value.secret;
        }
        (_, Some(default)) => {
            let default = replace(default, lookup)?;
            out.text.push_str(&default.text);
            out.secret |= default.secret;
        }
        (_, None) => return Err(FillError::Undefined(name.to_owned())),
    }
    Ok(())
}

/// Replaces `${VAR}` in a text that no stack file holds; `lookup` knows the values, and may write them as the text's
/// format asks for.
///
/// # Errors
///
/// A variable without a value and without a default.
pub fn fill(text: &str, lookup: Lookup<'_>) -> Result<EnvValue, FillError> {
    replace(text, lookup).map(|Text { text, secret, .. }| EnvValue { text, secret })
}

/// The names of all variables that a text asks for, those in defaults included.
pub fn variables_in(text: &str) -> BTreeSet<String> {
    let asked = RefCell::new(BTreeSet::new());
    // Without a value every default is looked into; what has none ends the text, so it is given an empty one.
    let note = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        Some(EnvValue::from(String::new()))
    };
    // A text that cannot be read asks for what was found so far; filling it says what is wrong.
    let _ = replace(text, &note);
    asked.into_inner()
}

/// The `}` that ends an expression; `${A:-${B}}` nests.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if previous == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        previous = c;
    }
    None
}

/// Whether a process's environment can hold a variable of this name, as POSIX writes them.
pub fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn problem(document: &Document, path: &KeyPath, error: FillError) -> Problem {
    let location = document.location(path);
    match error {
        FillError::Undefined(name) => Problem::of_key(
            location,
            path.clone(),
            format!("expected a value for ${{{name}}}, found none in .env or in the environment"),
        )
        .hint(format!(
            "set {name} in .env (.env.example shows what belongs there), or write a default: ${{{name}:-…}}"
        )),
        FillError::Syntax(found) => {
            Problem::of_key(location, path.clone(), format!("expected ${{NAME}} or ${{NAME:-default}}, found {found}"))
                .hint("write $$ for a dollar sign before a brace")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn variables() -> Variables {
        let pairs = [("NAME", "Ada"), ("EMPTY", ""), ("DB_PASSWORD", "s3cret"), ("URL", "redis://:x@h")];
        Variables::new(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into(), BTreeMap::new())
    }

    fn replace(text: &str, variables: &Variables) -> Result<Text, FillError> {
        super::replace(text, &|name| variables.lookup(name))
    }

    #[test]
    fn variables_defaults_and_dollars_are_replaced() {
        for (text, expected) in [
            ("hello ${NAME}!", "hello Ada!"),
            ("${EMPTY}", ""),
            ("${EMPTY:-none}", "none"),
            ("${MISSING:-}", ""),
            ("${MISSING:-a:-b}", "a:-b"),
            ("${MISSING:-${NAME}}/${MISSING:-${OTHER:-x}}", "Ada/x"),
            ("$$NAME $${NAME} $NAME 5$ $", "$NAME ${NAME} $NAME 5$ $"),
            ("{{ uuid() }}", "{{ uuid() }}"),
        ] {
            assert_eq!(replace(text, &variables()).unwrap().text, expected, "{text}");
        }
    }

    #[test]
    fn a_value_is_not_interpolated_again() {
        let variables = Variables::new([("A".to_owned(), "${A} $$".to_owned())].into(), BTreeMap::new());
        assert_eq!(replace("${A}", &variables).unwrap().text, "${A} $$");
    }

    #[test]
    fn the_variables_of_a_text_are_known_without_their_values() {
        let asked = variables_in("${A}:${B:-${C:-x}}@{host} $D");
        assert_eq!(asked, ["A", "B", "C"].map(str::to_owned).into());
    }

    #[test]
    fn a_secret_stays_a_secret() {
        for (text, secret) in [
            ("x${DB_PASSWORD}y", true),
            ("${URL}", true),
            ("${OTHER_SECRET:-dev}", true),
            ("${MISSING:-${DB_PASSWORD}}", true),
            ("${NAME}", false),
        ] {
            assert_eq!(replace(text, &variables()).unwrap().secret, secret, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_refused() {
        assert_eq!(replace("${MISSING}", &variables()), Err(FillError::Undefined("MISSING".to_owned())));
        for wrong in ["${", "${NAME", "${}", "${A B}", "${1A}", "${NAME?oops}", "${NAME:-${X}"] {
            assert!(matches!(replace(wrong, &variables()), Err(FillError::Syntax(_))), "{wrong}");
        }
    }
}
