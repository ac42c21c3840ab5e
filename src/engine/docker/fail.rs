//! The engine's errors in words for people.

use bollard::errors::Error;

use crate::error::Failure;

/// The status of an answer that is an error.
pub fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether what was asked for does not exist.
pub fn is_missing(error: &Error) -> bool {
    status(error) == Some(404)
}

/// Whether a name is taken, or something is in use.
pub fn is_conflict(error: &Error) -> bool {
    status(error) == Some(409)
}

/// What the engine said, without the client's framing.
pub fn words(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::RequestTimeoutError => "it did not answer in time".to_owned(),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(inner) = source {
                let more = inner.to_string();
                if !text.contains(&more) {
                    text = format!("{text}: {more}");
                }
                source = inner.source();
            }
            text
        }
    }
}

/// The failure for a question that the engine did not answer.
pub fn asking(what: &str, error: &Error) -> Failure {
    with_cause(Failure::failed(format!("the Docker engine did not say {what}")), error)
}

/// The failure for something that the engine did not do.
pub fn doing(what: &str, error: &Error) -> Failure {
    with_cause(Failure::failed(format!("cannot {what}")), error)
}

fn with_cause(failure: Failure, error: &Error) -> Failure {
    let said = words(error);
    if matches!(error, Error::RequestTimeoutError) {
        return failure
            .because("it answers a ping, but not this: it hangs")
            .hint("restart it, and run the same command again: it goes on from here");
    }
    if is_gone(error) {
        return failure
            .because(format!("the engine went away, or does not answer any more: {said}"))
            .hint("once it runs again (`scalectl doctor` looks), run the same command again: it goes on from here");
    }
    let failure = failure.because(said.clone());
    match said.contains("no space left on device") {
        true => failure.hint("the engine's disk is full: `docker system df` shows what is on it"),
        false => failure,
    }
}

/// Whether there was no answer at all, in contrast to one that is an error.
fn is_gone(error: &Error) -> bool {
    !matches!(
        error,
        Error::DockerResponseServerError { .. }
            | Error::DockerStreamError { .. }
            | Error::DockerContainerWaitError { .. }
            | Error::JsonDataError { .. }
    )
}
