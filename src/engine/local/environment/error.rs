//! Why an environment could not be prepared, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::error::Failure;

/// Why an environment could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// There is no place for environments.
    #[error("no folder for environments: neither XDG_CACHE_HOME nor HOME is an absolute path")]
    NoCache,
    /// The file that says what the environment consists of is missing.
    #[error("{} is missing", .0.display())]
    NoLockFile(PathBuf),
    /// No Python that is new enough; each that was found, and why it was not taken.
    #[error("no Python 3.11 or newer was found")]
    NoPython(Vec<String>),
    /// The Python found cannot make virtual environments (Debian ships that part as a package of its own).
    #[error("{} cannot make virtual environments: its module ensurepip is missing", python.display())]
    NoVenv {
        /// The interpreter.
        python: PathBuf,
        /// Its version, `3.11`.
        version: String,
    },
    /// A program is not installed, or does not run.
    #[error("{program} was not found")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// The runtime that needs it.
        runtime: &'static str,
    },
    /// Something about the source that the local engine cannot prepare.
    #[error("{what}")]
    Unsupported {
        /// What it is.
        what: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// A program ended with an error.
    #[error("\"{command}\" failed ({status})")]
    Failed {
        /// The program and its arguments.
        command: String,
        /// How it ended: `exit code 1`, `signal 9`.
        status: String,
        /// The last lines it wrote, at most 20.
        tail: Vec<String>,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// A verb: "read", "write".
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The source could not be read.
    #[error(transparent)]
    Source(#[from] crate::engine::source::SourceError),
}

impl EnvironmentError {
    /// For `map_err`: `cannot <what> <path>`.
    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

impl From<EnvironmentError> for Failure {
    fn from(error: EnvironmentError) -> Self {
        let failure = Self::failed(error.to_string());
        match error {
            EnvironmentError::NoCache => failure.hint("set HOME or XDG_CACHE_HOME"),
            EnvironmentError::NoLockFile(path) => failure.hint(lock_hint(&path)),
            EnvironmentError::NoPython(found) => {
                found.into_iter().fold(failure, Failure::because).hint(install("python3 python3-venv", "python"))
            }
            EnvironmentError::NoVenv { version, .. } => {
                failure.hint(install(&format!("python{version}-venv"), "python"))
            }
            EnvironmentError::NoProgram { program, runtime } => {
                let hint = match program {
                    "node" | "npm" => install("nodejs npm", "node"),
                    _ => install(program, if program == "cargo" { "rust" } else { program }),
                };
                failure.because(format!("a service with runtime = \"{runtime}\" needs it")).hint(hint)
            }
            EnvironmentError::Unsupported { hint, .. } => failure.hint(hint),
            EnvironmentError::Failed { tail, .. } => tail.into_iter().fold(failure, Failure::because),
            EnvironmentError::Io { source, .. } => failure.because(source.to_string()),
            EnvironmentError::Source(source) => source.into(),
        }
    }
}

fn lock_hint(path: &std::path::Path) -> &'static str {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("requirements.lock") => {
            "write it with \"uv pip compile --universal --generate-hashes pyproject.toml -o requirements.lock\", \
             or set runtime = \"none\""
        }
        Some("Cargo.lock") => "write it with \"cargo generate-lockfile\", or set runtime = \"none\"",
        _ => "write it with \"npm install --package-lock-only\", or set runtime = \"none\"",
    }
}

/// How to install something on the platform this runs on.
fn install(debian: &str, brew: &str) -> String {
    if cfg!(target_os = "macos") {
        format!("install it: brew install {brew}")
    } else {
        format!("install it: apt-get install {debian} (Debian, Ubuntu), or with your system's package manager")
    }
}
