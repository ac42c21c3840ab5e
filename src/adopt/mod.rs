//! `scalectl init`: a stack file for a folder that has a Dockerfile or a compose file.
//!
//! [`adopt`] reads and decides, [`write`] writes. What the source says and a stack cannot is told, never lost: as a
//! comment in the file at its place, and as a note.
//!
//! ```text
//! compose file → model (both syntaxes as one) → roles → sections ─┐
//! Dockerfile   → its last stage ──────────────────────→ sections ─┴→ draft → text, which must load and pass its check
//! ```

mod compose;
mod dockerfile;
mod draft;
mod secrets;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::Failure;
use crate::stack::{self, LoadError, Severity, Variables};
use crate::units::Name;

use draft::Draft;
use secrets::Secrets;

pub use write::write;

/// Port of the balancer where the source publishes none.
pub const BALANCER_PORT: u16 = 8080;

/// Compose files in the order in which compose looks for them, then the Dockerfile.
const SOURCES: [&str; 5] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml", "Dockerfile"];

/// Files that compose lays over its own by itself.
const OVERRIDES: [&str; 4] =
    ["compose.override.yaml", "compose.override.yml", "docker-compose.override.yml", "docker-compose.override.yaml"];

/// What the user decides.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// The file to adopt, instead of the one that is found.
    pub from: Option<PathBuf>,
    /// Name of the project, instead of the source's or the folder's.
    pub name: Option<Name>,
    /// Port that the program of a Dockerfile listens on, where EXPOSE does not say.
    pub port: Option<u16>,
    /// Port of the balancer.
    pub balancer_port: Option<u16>,
}

/// A stack file that can be written.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// Its text.
    pub text: String,
    /// What could not be kept, and what changed.
    pub notes: Vec<String>,
    /// Variables that `.env` lacks.
    added: BTreeMap<String, String>,
}

impl Adoption {
    /// The names of the variables that will be added to `.env`.
    pub fn added(&self) -> impl Iterator<Item = &str> {
        self.added.keys().map(String::as_str)
    }
}

/// Makes a stack file for the folder `root`. Changes nothing.
///
/// # Errors
///
/// When there is nothing to adopt, or it cannot be read, or would not make a valid stack.
pub fn adopt(root: &Path, choice: &Choice) -> Result<Adoption, Failure> {
    let root = root.canonicalize().map_err(|error| Failure::usage(format!("{}: {error}", root.display())))?;
    let file = source(&root, choice)?;
    let shown = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
    let text =
        std::fs::read_to_string(&file).map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
    let mut secrets = Secrets::new(Variables::read(&root).map_err(LoadError::from)?);
    let mut draft = match is_dockerfile(&file) {
        true => from_dockerfile(&root, &file, &text, choice)?,
        false => from_compose(&root, &file, &shown, &text, choice, &mut secrets)?,
    };
    draft.source = shown;
    let text = valid(&mut draft, &root, &secrets)?;
    Ok(Adoption { text, notes: draft.all_notes(), added: secrets.added().clone() })
}

/// Whether a port has to be chosen before the folder can be adopted.
pub fn needs_port(root: &Path, choice: &Choice) -> bool {
    let Some(file) = source(root, choice).ok().filter(|file| choice.port.is_none() && is_dockerfile(file)) else {
        return false;
    };
    let image = std::fs::read_to_string(file).ok().and_then(|text| dockerfile::read(&text, None));
    image.is_some_and(|image| listens_on(&image).is_none())
}

/// The port that a Dockerfile says the program listens on.
fn listens_on(image: &dockerfile::Image) -> Option<u16> {
    let checked = || image.health.as_deref().and_then(dockerfile::http_check).and_then(|(_, port)| port);
    image.ports.first().copied().or_else(checked)
}

/// The file to adopt.
fn source(root: &Path, choice: &Choice) -> Result<PathBuf, Failure> {
    if let Some(from) = &choice.from {
        let path = root.join(from);
        let refused = |why: String| {
            Failure::usage(format!("{}: {why}", from.display())).hint(format!(
                "`--from` takes a compose file or a Dockerfile, its path from {}; without it the folder's own is found",
                root.display()
            ))
        };
        let path = path.canonicalize().map_err(|error| refused(error.to_string()))?;
        return if path.is_file() { Ok(path) } else { Err(refused("not a file".to_owned())) };
    }
    SOURCES.iter().map(|name| root.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        Failure::usage(format!("nothing to adopt in {}: no compose file and no Dockerfile", root.display()))
            .hint("`--from FILE` names one that is called otherwise; `scalectl new NAME` renders a new project")
    })
}

fn is_dockerfile(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let end = name.rsplit('.').next().unwrap_or_default();
    end == "dockerfile" || end == "containerfile" || name.starts_with("dockerfile") && !matches!(end, "yaml" | "yml")
}

/// The name of the project: the user's, the source's, the folder's.
fn project_name(root: &Path, choice: &Choice, own: Option<&str>) -> Result<Name, Failure> {
    if let Some(name) = &choice.name {
        return Ok(name.clone());
    }
    let folder = root.file_name().map(|name| name.to_string_lossy().into_owned());
    let candidates = own.map(str::to_owned).into_iter().chain(folder);
    candidates.filter_map(|text| Name::suggestion(&text)?.parse().ok()).next().ok_or_else(|| {
        Failure::usage("the folder's name is no name for a project").hint("give it one: `scalectl init --name my-shop`")
    })
}

fn from_dockerfile(root: &Path, file: &Path, text: &str, choice: &Choice) -> Result<Draft, Failure> {
    let name = project_name(root, choice, None)?;
    let image =
        dockerfile::read(text, None).ok_or_else(|| Failure::usage(format!("{}: no FROM in it", file.display())))?;
    let check = image.health.as_deref().and_then(dockerfile::http_check);
    let port = choice.port.or_else(|| listens_on(&image)).ok_or_else(|| {
        Failure::usage("the Dockerfile does not say which port the program listens on")
            .hint("say it: `scalectl init --port 8000`, or EXPOSE it in the Dockerfile")
    })?;
    let mut notes = Vec::new();
    if image.ports.len() > 1 && choice.port.is_none() {
        notes.push(format!("exposes more than port {port}; `--port` chooses another one"));
    }
    let runtime = runtime(root);
    let command = command_of(&image).filter(|_| runtime.is_some());
    if command.is_none() {
        notes.push(
            "runs in containers; for the local engine it needs a command, and a runtime with its lock file".to_owned(),
        );
    }
    let relative = file.strip_prefix(root).unwrap_or(file).display().to_string();
    let build = draft::Build {
        context: ".".to_owned(),
        dockerfile: Some(relative).filter(|relative| relative != "Dockerfile"),
        ..draft::Build::default()
    };
    let section = draft::Service {
        notes,
        build: Some(build),
        runtime,
        command,
        port: Some(port.to_string()),
        ready: check.map(|(path, _)| path),
        ..draft::Service::default()
    };
    let port = choice.balancer_port.unwrap_or(BALANCER_PORT).to_string();
    Ok(Draft {
        project: name.to_string(),
        services: [(name.clone(), section)].into(),
        balancer: Some(draft::Balancer { notes: Vec::new(), service: name, port }),
        ..Draft::default()
    })
}

fn from_compose(
    root: &Path,
    file: &Path,
    shown: &str,
    text: &str,
    choice: &Choice,
    secrets: &mut Secrets,
) -> Result<Draft, Failure> {
    // Without an excerpt: the lines around an error may hold secrets.
    let options = serde_saphyr::options! { with_snippet: false, leading_zero_numbers_as_strings: true };
    let tree = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| Failure::usage(format!("{shown}: not YAML: {error}")))?;
    let compose = compose::read(tree, &secrets.variables()).map_err(|refusal| {
        let failure = Failure::usage(format!("{shown}: {}", refusal.what));
        refusal.hint.into_iter().fold(failure, Failure::hint)
    })?;
    let folder = file.parent().unwrap_or(root);
    let input = compose::Input { compose: &compose, root, folder, balancer_port: choice.balancer_port };
    let mut draft = compose::convert(&input, secrets)?;
    draft.project = project_name(root, choice, compose.name.as_deref())?.to_string();
    let over = OVERRIDES.iter().find(|name| choice.from.is_none() && folder.join(name).is_file());
    draft.notes.extend(over.map(|name| {
        format!("not adopted: {name}, which compose lays over it; `docker compose config --no-interpolate` makes one file of both")
    }));
    Ok(draft)
}

/// The runtime that the local engine can prepare from the files of a folder.
fn runtime(folder: &Path) -> Option<&'static str> {
    let has = |name: &str| folder.join(name).is_file();
    match () {
        () if has("requirements.lock") => Some("python"),
        () if has("package.json") && has("package-lock.json") => Some("node"),
        () if has("Cargo.toml") && has("Cargo.lock") => Some("rust"),
        () => None,
    }
}

/// The command of an image as a stack file writes it, where it is all that the image runs.
fn command_of(image: &dockerfile::Image) -> Option<Vec<String>> {
    let command = image.command.as_ref().filter(|_| image.entrypoint.is_none())?;
    Some(command.iter().map(|word| word.replace('$', "$$")).collect()).filter(|words: &Vec<String>| !words.is_empty())
}

/// The file's text, after it was loaded and checked as it will be. A database that is asked for more connections than
/// it has is given as many.
fn valid(draft: &mut Draft, root: &Path, secrets: &Secrets) -> Result<String, Failure> {
    let check = |text: &str| stack::parse(text, root, secrets.variables()).map(|stack| stack::check(&stack));
    let mut report = check(&draft.text())?;
    for budget in report.budgets.iter().filter(|budget| !budget.holds()) {
        let Some(section) = draft.backing.get_mut(&budget.backing) else { continue };
        section.max_connections = Some((budget.needed() + u64::from(budget.reserve)).to_string());
        let note =
            "max_connections is what pools of 10 in every replica need; DB_POOL_SIZE in their env says otherwise";
        section.notes.push(note.to_owned());
    }
    let text = draft.text();
    report = check(&text)?;
    let errors = report.findings.into_iter().filter(|found| found.severity == Severity::Error);
    let problems: Vec<_> = errors.map(|found| found.problem).collect();
    if problems.is_empty() { Ok(text) } else { Err(LoadError { problems }.into()) }
}
