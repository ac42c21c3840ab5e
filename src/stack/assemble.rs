//! From the document to the model: interpolation, deserialization and validation, with every problem collected.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::de::{Error, Kind};
use super::document::{Document, Node, Value};
use super::model::{EnvValue, Stack};
use super::path::KeyPath;
use super::problem::{LoadError, Location, Problem};
use super::variables::Variables;
use super::{interpolate, secret, validate};
use crate::units::Name;

/// More problems than anybody repairs at once; also the bound of the retries.
const MOST_PROBLEMS: usize = 50;

/// Where each key of the files stands, for problems that are found after loading.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(BTreeMap<KeyPath, Location>);

impl Places {
    /// The place of a key, or of the nearest table around it.
    pub fn get(&self, path: &KeyPath) -> Location {
        let mut path = path.clone();
        loop {
            if let Some(location) = self.0.get(&path) {
                return location.clone();
            }
            if path.0.pop().is_none() {
                return Location::default();
            }
        }
    }
}

impl Stack {
    /// A problem of one of this stack's keys, with its file and line.
    pub fn problem(&self, path: &KeyPath, message: impl Into<String>) -> Problem {
        Problem::of_key(self.places.get(path), path.clone(), message)
    }

    /// `.env` and the environment that the file was interpolated from.
    pub fn variables(&self) -> &Variables {
        &self.variables
    }
}

/// Builds the stack.
pub(super) fn assemble(
    mut document: Document,
    root: PathBuf,
    variables: Variables,
    project: Option<&Name>,
) -> Result<Stack, LoadError> {
    if let Some(name) = project {
        document.set_project_name(name);
    }
    let whole = document.clone();
    let mut gone = Gone::default();
    for (path, problem) in interpolate::interpolate(&mut document, &variables) {
        gone.report(problem);
        gone.paths.push(path);
    }
    let stack = deserialize(&mut document, &mut gone);
    let Gone { paths, mut problems } = gone;
    if let Some(mut stack) = stack {
        stack.root = root;
        stack.variables = variables;
        stack.mark_secrets(&document);
        stack.places = places(&document);
        problems.extend(validate::problems(&stack, &whole, &paths));
        if problems.is_empty() {
            return Ok(stack);
        }
    }
    let file_position = |problem: &Problem| whole.files.iter().position(|file| *file == problem.location.file);
    problems.sort_by_key(|problem| (file_position(problem), problem.location.line));
    Err(LoadError { problems })
}

/// What was taken out of the document so that the rest could be read, and why.
#[derive(Default)]
struct Gone {
    paths: Vec<KeyPath>,
    problems: Vec<Problem>,
}

impl Gone {
    fn report(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// Serde stops at the first error. So what it names is noted and taken out, and the rest is tried again; a key that is
/// missing because it was taken out takes its table with it, unreported.
fn deserialize(document: &mut Document, gone: &mut Gone) -> Option<Stack> {
    while gone.problems.len() < MOST_PROBLEMS {
        let error = match Stack::deserialize(&document.root) {
            Ok(stack) => return Some(stack),
            Err(error) => error,
        };
        let path = error.path();
        let is_consequence = matches!(error.kind, Kind::MissingKey { key } if gone.paths.contains(&path.key(key)));
        if !is_consequence {
            gone.report(problem(document, &error));
        }
        gone.paths.push(document.remove(&path)?);
    }
    None
}

fn problem(document: &Document, error: &Error) -> Problem {
    let path = error.path();
    let (path, hint) = match &error.kind {
        Kind::UnknownKey { known } => {
            let hint = path.last_key().and_then(|key| unknown_key_hint(document, &path, key, known));
            (path, hint)
        }
        Kind::MissingKey { key } => (path.key(key), missing_key_hint(&path, key)),
        Kind::Choice { found, allowed } => (path, nearest(found, allowed.iter().copied())),
        Kind::Invalid { message } => {
            let hint = document.get(&path).and_then(|node| invalid_hint(node, &path, message));
            (path, hint)
        }
    };
    let message = match &error.kind {
        Kind::MissingKey { .. } => "expected a value, found none".to_owned(),
        _ => error.to_string(),
    };
    let mut problem = Problem::of_key(document.location(&path), path, message);
    problem.hint = hint;
    problem
}

/// The value that was meant, where it can be guessed: a name, a command line in its parts, a number as a text.
fn invalid_hint(node: &Node, path: &KeyPath, message: &str) -> Option<String> {
    match &node.value {
        _ if node.secret => None,
        Value::Table(_) => {
            let name = Name::suggestion(path.last_key()?)?;
            (Some(name.as_str()) != path.last_key()).then(|| format!("\"{name}\" would do"))
        }
        Value::String(text) if message.starts_with("expected a name") => {
            Name::suggestion(text).map(|name| format!("\"{name}\" would do"))
        }
        Value::String(text) if message.starts_with("expected an array") => {
            let parts = shell_words::split(text).ok().filter(|parts| !parts.is_empty())?;
            Some(format!("write it as an array: {} = {parts:?}", path.last_key()?))
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) if message.starts_with("expected a string") => {
            Some("write it in quotes".to_owned())
        }
        _ => None,
    }
}

/// The known key that was meant, or all of them.
fn unknown_key_hint(document: &Document, path: &KeyPath, key: &str, known: &[&'static str]) -> Option<String> {
    let taken = document.get(&path.parent()).map(|table| table.keys().collect::<Vec<_>>()).unwrap_or_default();
    let free = known.iter().copied().filter(|known| !taken.contains(known)).collect::<Vec<_>>();
    nearest(key, free.iter().copied())
        .or_else(|| (!free.is_empty()).then(|| format!("keys that can stand here: {}", free.join(", "))))
}

fn missing_key_hint(table: &KeyPath, key: &str) -> Option<String> {
    let tables = table.0.is_empty() && key == "project";
    tables.then(|| "begin the file with [project] and name = \"my-shop\"".to_owned())
}

/// `did you mean "…"?` for the most similar candidate, where one is similar enough.
pub(super) fn nearest<'a>(found: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    const SIMILAR: f64 = 0.7;
    candidates
        .map(|candidate| (strsim::jaro_winkler(found, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| format!("did you mean \"{candidate}\"?"))
}

impl Document {
    fn set_project_name(&mut self, name: &Name) {
        let Value::Table(root) = &mut self.root.value else { return };
        let empty = Node { value: Value::Table(BTreeMap::new()), ..Node::text("") };
        if let Value::Table(project) = &mut root.entry("project".to_owned()).or_insert(empty).value {
            project.insert("name".to_owned(), Node::text(name.as_str()));
        }
    }
}

impl Stack {
    /// Marks the environment values that are secret, and remembers the other texts that are.
    fn mark_secrets(&mut self, document: &Document) {
        let mut paths = Vec::new();
        secret_paths(&document.root, &KeyPath::default(), &mut paths);
        let mark = |table: KeyPath, values: &mut BTreeMap<String, EnvValue>| {
            for (variable, EnvValue { secret, .. }) in values {
                *secret = paths.contains(&table.key(variable));
            }
        };
        for (name, service) in &mut self.services {
            let path = KeyPath::keys(["services", name.as_str()]);
            mark(path.key("env"), &mut service.env);
            if let Some(build) = &mut service.build {
                mark(path.key("build").key("args"), &mut build.args);
            }
        }
        for (name, backing) in &mut self.backing {
            mark(KeyPath::keys(["backing", name.as_str(), "env"]), &mut backing.env);
        }
        self.secret_paths = paths;
    }
}

/// Texts that hold a secret: a secret variable was put in, the key says so, or it is a URL with a password.
fn secret_paths(node: &Node, path: &KeyPath, found: &mut Vec<KeyPath>) {
    match &node.value {
        Value::String(text) => {
            // Only there do people choose the keys; a service's own key `secrets` holds none.
            let is_chosen = matches!(path.parent().last_key(), Some("env" | "headers" | "args"));
            let named = is_chosen && path.last_key().is_some_and(secret::is_secret_name);
            if node.secret || named || secret::has_password(text) {
                found.push(path.clone());
            }
        }
        Value::Array(array) => {
            array.iter().enumerate().for_each(|(index, element)| secret_paths(element, &path.index(index), found));
        }
        Value::Table(table) => table.iter().for_each(|(key, value)| secret_paths(value, &path.key(key), found)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {}
    }
}

fn places(document: &Document) -> Places {
    fn walk(document: &Document, node: &Node, path: &KeyPath, places: &mut BTreeMap<KeyPath, Location>) {
        places.insert(path.clone(), document.location_of(node));
        match &node.value {
            Value::Table(table) => table.iter().for_each(|(key, n)| walk(document, n, &path.key(key), places)),
            Value::Array(array) => {
                array.iter().enumerate().for_each(|(at, n)| walk(document, n, &path.index(at), places));
            }
            _ => {}
        }
    }
    let mut places = BTreeMap::new();
    walk(document, &document.root, &KeyPath::default(), &mut places);
    Places(places)
}
