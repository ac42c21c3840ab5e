//! The files as a tree that remembers where each value was written: read, parsed, laid over each other.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::path::{KeyPath, Step};
use super::problem::{Location, Problem};
use super::secret;

/// Larger than any stack that a person writes; a file beyond it was named by mistake.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub value: Value,
    /// Index into [`Document::files`].
    pub file: usize,
    /// Line of its key (of itself inside an array), counted from 1.
    pub line: u32,
    /// Whether `${VAR}` was replaced in it: then its text may stand for a number too.
    pub interpolated: bool,
    /// Whether it holds a secret that must not be shown.
    pub secret: bool,
}

/// A TOML value; dates are texts, because no key of a stack is a date.
#[derive(Debug, Clone)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

/// All files of a stack, laid over each other.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub root: Node,
    pub files: Vec<String>,
}

impl Node {
    /// A text that no file holds, such as the name given by a flag.
    pub fn text(text: &str) -> Self {
        Self { value: Value::String(text.to_owned()), file: 0, line: 0, interpolated: false, secret: false }
    }

    fn child(&self, step: &Step) -> Option<&Node> {
        match (&self.value, step) {
            (Value::Table(table), Step::Key(key)) => table.get(key),
            (Value::Array(array), Step::Index(index)) => array.get(*index),
            _ => None,
        }
    }

    fn child_mut(&mut self, step: &Step) -> Option<&mut Node> {
        match (&mut self.value, step) {
            (Value::Table(table), Step::Key(key)) => table.get_mut(key),
            (Value::Array(array), Step::Index(index)) => array.get_mut(*index),
            _ => None,
        }
    }

    /// The keys of a table; empty for anything else.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let table = if let Value::Table(table) = &self.value { Some(table) } else { None };
        table.into_iter().flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// Lays `over` over this value: tables are merged key by key, everything else is replaced.
    fn overlay(&mut self, over: Node) {
        match (&mut self.value, over) {
            (Value::Table(base), Node { value: Value::Table(table), .. }) => {
                for (key, node) in table {
                    match base.entry(key) {
                        std::collections::btree_map::Entry::Occupied(mut below) => below.get_mut().overlay(node),
                        std::collections::btree_map::Entry::Vacant(place) => {
                            place.insert(node);
                        }
                    }
                }
            }
            (_, over) => *self = over,
        }
    }
}

impl Document {
    /// Reads and parses a file, which errors show by the path that was given.
    pub fn read(path: &Path) -> Result<Self, Box<Problem>> {
        let shown = path.strip_prefix(".").unwrap_or(path).display().to_string();
        Self::parse(&shown, &read(path, &shown)?)
    }

    /// Parses the text of the file that is shown as `file`.
    pub fn parse(file: &str, text: &str) -> Result<Self, Box<Problem>> {
        let table = DeTable::parse(text).map_err(|error| syntax_problem(file, text, &error))?;
        let lines = Lines::of(text);
        let span = table.span();
        let root = Builder { lines: &lines, file }.node(DeValue::Table(table.into_inner()), lines.at(span.start))?;
        Ok(Self { root, files: vec![file.to_owned()] })
    }

    /// Lays a later file over this one.
    pub fn overlay(&mut self, mut over: Document) {
        let offset = self.files.len();
        over.root.each_mut(&mut |node| node.file += offset);
        self.files.append(&mut over.files);
        self.root.overlay(over.root);
    }

    /// The value at a path.
    pub fn get(&self, path: &KeyPath) -> Option<&Node> {
        path.0.iter().try_fold(&self.root, |node, step| node.child(step))
    }

    /// Takes the value at a path out; elements of an array are taken with the whole array, so that no index shifts.
    /// Returns the path of what was removed.
    pub fn remove(&mut self, path: &KeyPath) -> Option<KeyPath> {
        let end = path.0.iter().rposition(|step| matches!(step, Step::Key(_)))?;
        let parent = path.0[..end].iter().try_fold(&mut self.root, |node, step| node.child_mut(step))?;
        let (Value::Table(table), Step::Key(key)) = (&mut parent.value, &path.0[end]) else { return None };
        table.remove(key).map(|_| KeyPath(path.0[..=end].to_vec()))
    }

    /// Where the value at a path was written, or the nearest table around it.
    pub fn location(&self, path: &KeyPath) -> Location {
        let mut node = &self.root;
        for step in &path.0 {
            match node.child(step) {
                Some(child) => node = child,
                None => break,
            }
        }
        self.location_of(node)
    }

    /// Where a value was written; the top of a file has no line.
    pub fn location_of(&self, node: &Node) -> Location {
        let line = (node.line > 0 && !std::ptr::eq(node, &self.root)).then_some(node.line);
        Location { file: self.files.get(node.file).cloned().unwrap_or_default(), line }
    }
}

impl Node {
    /// Visits this value and everything in it.
    pub fn each_mut(&mut self, visit: &mut impl FnMut(&mut Node)) {
        visit(self);
        match &mut self.value {
            Value::Array(array) => array.iter_mut().for_each(|node| node.each_mut(visit)),
            Value::Table(table) => table.values_mut().for_each(|node| node.each_mut(visit)),
            _ => {}
        }
    }
}

/// Reads a stack file as text.
///
/// # Errors
///
/// What is in its way: missing, a folder, too large, not text.
fn read(path: &Path, shown: &str) -> Result<String, Box<Problem>> {
    let problem = |message: String| Problem::of_file(shown, message);
    let file = std::fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => problem("expected a stack file, found nothing".to_owned()),
        _ => problem(format!("cannot be read: {error}")),
    })?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(problem("expected a stack file, found a folder".to_owned())
            .hint("name the file in it, or use -C for the project's folder")
            .into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| problem(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(problem("expected a stack file of at most 1 MiB, found a larger file".to_owned()).into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        let mut problem =
            problem("expected UTF-8 text, found other bytes".to_owned()).hint("save the file with the encoding UTF-8");
        problem.location.line = u32::try_from(line).ok();
        problem.into()
    })
}

/// The starts of a text's lines, to turn an offset into a line.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line of an offset, counted from 1.
    fn at(&self, offset: usize) -> u32 {
        u32::try_from(self.0.partition_point(|start| *start <= offset)).unwrap_or(u32::MAX)
    }
}

/// Turns parsed TOML into nodes of one file.
struct Builder<'a> {
    lines: &'a Lines,
    file: &'a str,
}

impl Builder<'_> {
    fn node(&self, value: DeValue<'_>, line: u32) -> Result<Node, Box<Problem>> {
        let value = match value {
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map(Value::Integer)
                .map_err(|_| self.number_problem(line, number.as_str()))?,
            DeValue::Float(number) => {
                number.as_str().parse().map(Value::Float).map_err(|_| self.number_problem(line, number.as_str()))?
            }
            DeValue::Boolean(truth) => Value::Boolean(truth),
            DeValue::Datetime(time) => Value::String(time.to_string()),
            DeValue::Array(array) => Value::Array(
                array.into_iter().map(|element| self.spanned(element)).collect::<Result<Vec<_>, Box<Problem>>>()?,
            ),
            DeValue::Table(table) => Value::Table(
                table
                    .into_iter()
                    .map(|(key, value)| {
                        let line = self.lines.at(key.span().start);
                        Ok((key.into_inner().into_owned(), self.node(value.into_inner(), line)?))
                    })
                    .collect::<Result<BTreeMap<_, _>, Box<Problem>>>()?,
            ),
        };
        Ok(Node { value, file: 0, line, interpolated: false, secret: false })
    }

    fn spanned(&self, value: Spanned<DeValue<'_>>) -> Result<Node, Box<Problem>> {
        let line = self.lines.at(value.span().start);
        self.node(value.into_inner(), line)
    }

    fn number_problem(&self, line: u32, found: &str) -> Problem {
        let mut problem = Problem::of_file(self.file, format!("expected a number of at most 64 bits, found {found}"));
        problem.location.line = Some(line);
        problem
    }
}

/// A syntax error with its line and column, and the line itself unless it may hold a secret.
fn syntax_problem(file: &str, text: &str, error: &toml::de::Error) -> Problem {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    let Some(span) = error.span() else { return Problem::of_file(file, message) };
    let start = span.start.min(text.len());
    let lines = Lines::of(text);
    let line = lines.at(start);
    let line_start = lines.0[line as usize - 1];
    let source = text[line_start..].lines().next().unwrap_or_default();
    let column = text.get(line_start..start).map_or(0, |before| before.chars().count());
    let mut problem = Problem::of_file(file, format!("column {}: {message}", column + 1));
    problem.location.line = Some(line);
    let key = source.split(['=', ':']).next().unwrap_or_default().trim().trim_matches('"');
    if !secret::is_secret_name(key) && !secret::has_password(source) {
        problem.excerpt =
            vec![format!("{line} | {source}"), format!("{:>1$}", "^", line.to_string().len() + 4 + column)];
    }
    problem
}
