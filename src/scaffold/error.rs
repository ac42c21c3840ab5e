//! Why a project could not be rendered or written.

use std::io;
use std::path::PathBuf;

use crate::error::{Exit, Failure};
use crate::units::Name;

/// Why a project could not be rendered or written. Nothing is left behind in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    /// No template of this name is in the binary.
    #[error("there is no template \"{name}\"")]
    UnknownTemplate {
        /// What was asked for.
        name: String,
        /// The templates there are.
        known: Vec<String>,
    },
    /// A folder was given that is no template.
    #[error("{path} is not a template: {reason}", path = path.display())]
    NotATemplate {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The template has no such feature.
    #[error("template {template} has no feature \"{feature}\"")]
    UnknownFeature {
        /// The template.
        template: Name,
        /// What was asked for.
        feature: String,
        /// The features there are.
        known: Vec<String>,
    },
    /// The project's name breaks the rule that all engines share.
    #[error("\"{name}\" cannot be a project's name: {reason}")]
    Name {
        /// What was asked for.
        name: String,
        /// Why it will not do.
        reason: String,
        /// The nearest name that will do.
        suggestion: Option<String>,
    },
    /// A file of the template is wrong.
    #[error("template {template}: {file} could not be rendered")]
    Render {
        /// The template.
        template: Name,
        /// The file, as it is called in the template.
        file: String,
        /// Tera's report, line by line.
        report: String,
    },
    /// The folder is not empty.
    #[error("{path} is not empty", path = path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// A few of the things in it.
        entries: Vec<String>,
    },
    /// Something that is no folder stands where the project should go.
    #[error("{path} exists and is not a folder", path = path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried: "write", "create".
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The user ended it before it was done.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

impl ScaffoldError {
    /// For `map_err`: what was tried on which path.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// The known name that was probably meant.
fn nearest<'a>(wanted: &str, known: &'a [String]) -> Option<&'a str> {
    let distance = |name: &String| strsim::damerau_levenshtein(wanted, name);
    known
        .iter()
        .min_by_key(|name| distance(name))
        .filter(|name| distance(name) <= 1 + name.len() / 3)
        .map(String::as_str)
}

fn known_hint(failure: Failure, wanted: &str, kind: &str, known: &[String]) -> Failure {
    let failure = match nearest(wanted, known) {
        Some(name) => failure.hint(format!("did you mean \"{name}\"?")),
        None => failure,
    };
    if known.is_empty() {
        failure.hint(format!("there are no {kind}"))
    } else {
        failure.hint(format!("{kind}: {}", known.join(", ")))
    }
}

impl From<ScaffoldError> for Failure {
    fn from(error: ScaffoldError) -> Self {
        let what = error.to_string();
        match error {
            ScaffoldError::UnknownTemplate { name, known } => known_hint(Self::usage(what), &name, "templates", &known)
                .hint("a template folder of your own is given by its path, like ./my-template"),
            ScaffoldError::UnknownFeature { feature, known, .. } => {
                known_hint(Self::usage(what), &feature, "features", &known)
            }
            ScaffoldError::NotATemplate { .. } => Self::usage(what)
                .hint("a template is a folder with a template.toml; `scalectl new --list` lists the built-in ones"),
            ScaffoldError::Name { suggestion, .. } => match suggestion {
                Some(name) => Self::usage(what).hint(format!("try \"{name}\"")),
                None => Self::usage(what),
            },
            ScaffoldError::Render { report, .. } => {
                report.lines().fold(Self::failed(what), |failure, line| failure.because(line))
            }
            ScaffoldError::Occupied { entries, .. } => Self::usage(what)
                .because(format!("it holds {}", entries.join(", ")))
                .hint("--force writes into it, replaces only the files of the template and keeps an existing .env")
                .hint("or choose another folder with --output"),
            ScaffoldError::NotAFolder { .. } => Self::usage(what).hint("choose another folder with --output"),
            ScaffoldError::Io { source, path, .. } => io_failure(what, &source, &path),
            ScaffoldError::Interrupted => Self::new(Exit::Interrupted, what),
        }
    }
}

fn io_failure(what: String, source: &io::Error, path: &std::path::Path) -> Failure {
    let failure = Failure::failed(what).because(source.to_string());
    let folder = path.parent().unwrap_or(path).display();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            failure.hint(format!("free some space on the disk of {folder}; nothing was left behind"))
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            failure.hint(format!("you may not write in {folder}: choose another folder with --output"))
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_template_names_the_nearest_and_lists_all() {
        let known = vec!["axum".to_owned(), "express".to_owned(), "fastapi".to_owned()];
        let failure = Failure::from(ScaffoldError::UnknownTemplate { name: "fastpai".into(), known });
        assert_eq!(failure.what(), "there is no template \"fastpai\"");
        assert_eq!(failure.exit(), Exit::Usage);
        assert_eq!(failure.hints()[0], "did you mean \"fastapi\"?");
        assert_eq!(failure.hints()[1], "templates: axum, express, fastapi");
    }

    #[test]
    fn nothing_is_suggested_that_is_far_away() {
        assert_eq!(nearest("django", &["axum".to_owned(), "fastapi".to_owned()]), None);
    }

    #[test]
    fn a_full_disk_and_a_forbidden_folder_have_remedies() {
        let error =
            |kind: io::ErrorKind| ScaffoldError::Io { action: "write", path: "/x/shop/a".into(), source: kind.into() };
        let full = Failure::from(error(io::ErrorKind::StorageFull));
        assert!(full.hints()[0].contains("/x/shop"), "{full:?}");
        let denied = Failure::from(error(io::ErrorKind::PermissionDenied));
        assert!(denied.hints()[0].contains("--output"), "{denied:?}");
    }
}
