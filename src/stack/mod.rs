//! `scalectl.toml`: parse, overlay, interpolate, validate.
//!
//! [`load`] reads the files and `.env` and touches nothing else; everything behind it is a function of their texts:
//!
//! ```text
//! text → document (tree with lines) → overlay → interpolate → de (serde, several errors) → validate → Stack
//! ```

use std::path::{Path, PathBuf};

use crate::units::Name;

mod assemble;
mod budget;
mod check;
mod de;
mod document;
mod edit;
mod interpolate;
mod model;
mod order;
mod path;
mod problem;
mod schema;
mod secret;
mod show;
mod symbol;
mod validate;
mod variables;

#[cfg(test)]
mod tests;

pub use budget::{Budget, DEFAULT_POOL_SIZE, POOL_SIZE, Scale, Share};
pub use check::{Finding, Report, Severity, check};
pub use edit::{EditError, save_replicas};
pub use interpolate::{FillError, fill, is_variable_name, variables_in};
pub use model::*;
pub use order::Part;
pub use path::{KeyPath, Step};
pub use problem::{LoadError, Location, Problem};
pub use schema::{SCHEMA_ID, schema};
pub use secret::{MASK, has_password, is_secret_name};
pub use symbol::{as_symbol, replace_symbols, symbol};
pub use variables::{DOT_ENV, Variables};

use document::Document;

/// The name of the stack file.
pub const FILE_NAME: &str = "scalectl.toml";

/// Where a stack is described.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The project's folder; relative files start here.
    pub directory: PathBuf,
    /// Stack files, later ones laid over earlier ones; `scalectl.toml` in the folder when empty.
    pub files: Vec<PathBuf>,
    /// The project's name instead of the file's.
    pub project: Option<Name>,
}

impl Source {
    /// The `scalectl.toml` of a folder.
    pub fn directory(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), ..Self::default() }
    }
}

/// Reads, overlays, interpolates and validates a stack.
///
/// # Errors
///
/// Everything that is wrong with its files, at once.
pub fn load(source: &Source) -> Result<Stack, LoadError> {
    load_with(source, |variables| variables)
}

/// As [`load`], with a symbol in the place of every secret: what is made of the stack names its secrets and holds none.
///
/// # Errors
///
/// As [`load`].
pub fn load_symbolic(source: &Source) -> Result<Stack, LoadError> {
    load_with(source, Variables::symbolic)
}

fn load_with(source: &Source, seen: impl Fn(Variables) -> Variables) -> Result<Stack, LoadError> {
    let document = read_all(source)?;
    let first =
        source.files.first().map_or_else(|| source.directory.join(FILE_NAME), |file| source.directory.join(file));
    let folder = first.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let root = folder
        .canonicalize()
        .map_err(|error| Problem::of_file(folder.display().to_string(), format!("cannot be entered: {error}")))?;
    let variables = seen(Variables::read(&root)?);
    let stack = assemble::assemble(document, root, variables, source.project.as_ref())?;
    let missing = missing_folders(&stack);
    if missing.is_empty() { Ok(stack) } else { Err(LoadError { problems: missing }) }
}

/// The project's name and root folder, from files whose other parts may be invalid; `None` if not even that can be read.
pub fn identity(source: &Source) -> Option<(Name, PathBuf)> {
    let file = source.files.first().map_or_else(|| source.directory.join(FILE_NAME), |f| source.directory.join(f));
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let root = folder.canonicalize().ok()?;
    if let Some(project) = &source.project {
        return Some((project.clone(), root));
    }
    let text = std::fs::read_to_string(&file).ok()?;
    let table: toml::Table = toml::from_str(&text).ok()?;
    Some((table.get("project")?.get("name")?.as_str()?.parse().ok()?, root))
}

/// Builds a stack from the text of one file, without reading anything: `root` stands for its folder and need not
/// exist.
///
/// # Errors
///
/// Everything that is wrong with it, at once.
pub fn parse(text: &str, root: &Path, variables: Variables) -> Result<Stack, LoadError> {
    assemble::assemble(Document::parse(FILE_NAME, text)?, root.to_path_buf(), variables, None)
}

/// All files laid over each other; the syntax errors of all of them are reported together.
fn read_all(source: &Source) -> Result<Document, LoadError> {
    if source.files.is_empty() {
        let path = source.directory.join(FILE_NAME);
        if !path.exists() {
            return Err(nothing_here(&source.directory).into());
        }
        return Ok(Document::read(&path)?);
    }
    let mut problems = Vec::new();
    let mut whole: Option<Document> = None;
    for file in &source.files {
        match (Document::read(&source.directory.join(file)), &mut whole) {
            (Ok(document), Some(below)) => below.overlay(document),
            (Ok(document), None) => whole = Some(document),
            (Err(problem), _) => problems.push(*problem),
        }
    }
    whole.filter(|_| problems.is_empty()).ok_or(LoadError { problems })
}

/// The problem of a folder without a stack file; its hint names the nearest one above it.
fn nothing_here(directory: &Path) -> Problem {
    let shown = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
    let above = shown.ancestors().skip(1).find(|folder| folder.join(FILE_NAME).is_file());
    let hint = match above {
        Some(folder) => format!("there is one in {0}: use `-C {0}`", folder.display()),
        None => "`scalectl new NAME` renders a project; `-C DIR` names the folder of one that exists".to_owned(),
    };
    Problem::of_file(shown.display().to_string(), format!("no {FILE_NAME} in this folder")).hint(hint)
}

/// `build` folders that are not there.
fn missing_folders(stack: &Stack) -> Vec<Problem> {
    let with_build = stack.services.iter().filter_map(|(name, service)| Some((name, service.build.as_ref()?)));
    with_build
        .filter_map(|(name, build)| {
            let path = stack.root.join(&build.context);
            let found = match path.metadata() {
                Ok(metadata) if metadata.is_dir() => return None,
                Ok(_) => "a file",
                Err(_) => "nothing",
            };
            let message =
                format!("expected a folder with the service's source, found {found} at {}", build.context.display());
            let problem = stack.problem(&KeyPath::keys(["services", name.as_str(), "build"]), message);
            Some(problem.hint("the path starts at the folder of the stack file"))
        })
        .collect()
}
