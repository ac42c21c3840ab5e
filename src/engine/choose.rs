//! Which engine a command works with.

use std::fmt;

use serde::Serialize;

use crate::error::Failure;

/// An engine that runs whole stacks on one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// As processes on this machine
    Local,
    /// As containers, through the Docker API
    Docker,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Local => "local",
            Self::Docker => "docker",
        })
    }
}

/// What is known of a Docker engine.
#[derive(Debug)]
pub enum Presence {
    /// Neither DOCKER_HOST nor a context nor a socket.
    Absent,
    /// There should be one, and it does not answer.
    Silent(Failure),
    /// It answers.
    Answers {
        /// Whether the project has anything on it.
        runs: bool,
        /// How it was found, for people.
        origin: String,
    },
}

/// The engine for a command, and why: what was asked for, else where the project runs already, else Docker wherever
/// there is a sign of it. A Docker engine that does not answer is an error, never a second stack elsewhere.
///
/// # Errors
///
/// When the project runs on both, or Docker is there and does not answer.
pub fn choose(
    asked: Option<EngineKind>,
    runs_locally: bool,
    docker: Presence,
) -> Result<(EngineKind, String), Failure> {
    match (asked, docker) {
        (Some(EngineKind::Local), _) => Ok((EngineKind::Local, "it was asked for".to_owned())),
        (Some(EngineKind::Docker), Presence::Absent) => Err(Failure::failed("there is no Docker engine")
            .because("DOCKER_HOST is not set, there is no Docker context, and no socket at the usual places")
            .hint("install and start Docker or Podman, or use `--engine local`")),
        (_, Presence::Silent(failure)) if asked.is_some() || !runs_locally => {
            Err(if asked.is_some() { failure } else { failure.hint("`--engine local` runs the stack without Docker") })
        }
        (Some(EngineKind::Docker), _) => Ok((EngineKind::Docker, "it was asked for".to_owned())),
        (None, Presence::Answers { runs: true, .. }) if runs_locally => {
            Err(Failure::usage("the project is on two engines: as local processes, and on Docker")
                .hint("say which one is meant: `--engine local` or `--engine docker`"))
        }
        (None, Presence::Answers { runs: true, .. }) => Ok((EngineKind::Docker, "it runs there".to_owned())),
        (None, _) if runs_locally => Ok((EngineKind::Local, "it runs there".to_owned())),
        (None, Presence::Answers { origin, .. }) => Ok((EngineKind::Docker, origin)),
        (None, _) => Ok((EngineKind::Local, "there is no Docker here".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(runs: bool) -> Presence {
        Presence::Answers { runs, origin: "DOCKER_HOST".into() }
    }

    fn silent() -> Presence {
        Presence::Silent(Failure::failed("no answer"))
    }

    #[test]
    fn what_was_asked_for_comes_first() {
        assert_eq!(choose(Some(EngineKind::Local), false, answers(true)).unwrap().0, EngineKind::Local);
        assert_eq!(choose(Some(EngineKind::Docker), true, answers(false)).unwrap().0, EngineKind::Docker);
        assert_eq!(choose(Some(EngineKind::Docker), true, Presence::Absent).unwrap_err().exit().code(), 1);
        assert_eq!(choose(Some(EngineKind::Docker), true, silent()).unwrap_err().what(), "no answer");
    }

    #[test]
    fn a_project_stays_where_it_runs() {
        assert_eq!(choose(None, true, answers(false)).unwrap().0, EngineKind::Local);
        assert_eq!(choose(None, true, silent()).unwrap().0, EngineKind::Local);
        assert_eq!(choose(None, false, answers(true)).unwrap().0, EngineKind::Docker);
        assert_eq!(choose(None, true, answers(true)).unwrap_err().exit().code(), 2);
    }

    #[test]
    fn a_first_up_takes_docker_wherever_there_is_a_sign_of_it() {
        assert_eq!(choose(None, false, answers(false)).unwrap(), (EngineKind::Docker, "DOCKER_HOST".into()));
        assert_eq!(choose(None, false, Presence::Absent).unwrap().0, EngineKind::Local);
        assert!(choose(None, false, silent()).unwrap_err().hints()[0].contains("--engine local"));
    }
}
