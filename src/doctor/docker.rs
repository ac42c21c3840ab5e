//! Whether a Docker engine answers.

use crate::engine::docker::connect::{connect, find};
use crate::error::Failure;

/// What asking for a Docker engine came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerAnswer {
    /// There is no socket, no context in use, and DOCKER_HOST is not set.
    Absent,
    /// It answered.
    Ready {
        /// Its address.
        address: String,
        /// What it is, with its version.
        engine: String,
        /// The API version in use.
        api: String,
    },
    /// There should be one, and it cannot be used.
    Failing {
        /// Why.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
}

/// Asks the engine that the docker CLI would use.
pub async fn ask() -> DockerAnswer {
    let endpoint = match find() {
        Ok(Some(endpoint)) => endpoint,
        Ok(None) => return DockerAnswer::Absent,
        Err(failure) => return failing(&failure),
    };
    match connect(&endpoint).await {
        Ok(connection) => DockerAnswer::Ready {
            address: endpoint.address,
            engine: connection.engine.to_string(),
            api: connection.engine.api,
        },
        Err(failure) => failing(&failure),
    }
}

fn failing(failure: &Failure) -> DockerAnswer {
    let mut reason = vec![failure.what()];
    reason.extend(failure.evidence().iter().map(String::as_str));
    let remedy = failure.hints().join("; ");
    let remedy = if remedy.is_empty() { "correct the address, or unset DOCKER_HOST".to_owned() } else { remedy };
    DockerAnswer::Failing { reason: reason.join(": "), remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_whole_and_always_with_a_remedy() {
        let whole =
            failing(&Failure::failed("it is not running").because("nobody listens").hint("start it").hint("or not"));
        let DockerAnswer::Failing { reason, remedy } = whole else { panic!("{whole:?}") };
        assert_eq!((reason.as_str(), remedy.as_str()), ("it is not running: nobody listens", "start it; or not"));
        let DockerAnswer::Failing { remedy, .. } = failing(&Failure::failed("broken")) else { panic!() };
        assert!(!remedy.is_empty());
    }
}
