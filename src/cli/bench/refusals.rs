//! Why there is no run, in words for people.

use std::ffi::OsString;

use clap::error::{ContextKind, ErrorKind};

use super::foreign;
use crate::bench::{self, ConfigError};
use crate::cli::{Global, variables};
use crate::error::{Exit, Failure};

/// What explains a refused command line, if it is one of this verb. Where something does, the parser's own guesses are
/// taken out of the error.
pub fn explain(error: &mut clap::Error, arguments: &[OsString], command: &clap::Command) -> Vec<String> {
    let Some(typed) = foreign::typed(arguments, "bench", command) else { return Vec::new() };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let notes = notes_on_flags(&typed);
            // A URL or a service never begins with a dash, so "to pass it as a value" is never meant.
            error.remove(ContextKind::Suggested);
            if !notes.is_empty() {
                error.remove(ContextKind::SuggestedArg);
                // It has the suggested flag in it.
                error.remove(ContextKind::Usage);
            }
            notes
        }
        ErrorKind::ArgumentConflict => {
            let named = variables::named(error);
            let of_length = ["--duration", "--requests", "--stage"];
            let is_length = named.contains("--find-max") && of_length.iter().any(|flag| named.contains(*flag));
            let note = "--find-max tries one rate after the other, each for --probe-time, which is 10s unless told";
            is_length.then(|| note.to_owned()).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// What all the flags of a line would be here, so that one attempt shows every one of them.
fn notes_on_flags(typed: &[&str]) -> Vec<String> {
    let instead = |word: &&str| {
        let short = word.get(..2).filter(|_| !word.starts_with("--"));
        foreign::instead_of(word).or_else(|| foreign::instead_of(short?))
    };
    let is_json = |pair: &&[&str]| pair[0] == "--json" && pair[1].starts_with(['{', '[', '@']);
    let json = typed.windows(2).find(is_json);
    let json = json.map(|_| "--json has no value and prints the result as JSON; a body of JSON is --body-json JSON");
    let flags = typed.iter().filter(|word| word.starts_with('-')).filter_map(instead);
    let mut notes: Vec<String> =
        foreign::rate_of_quiet(typed).into_iter().chain(json.map(str::to_owned)).chain(flags).collect();
    notes.dedup();
    notes
}

/// Refuses a command line that would be read otherwise than it is meant.
///
/// # Errors
///
/// It is one.
pub fn refuse_misread(arguments: &[OsString], command: &clap::Command) -> Result<(), Failure> {
    let typed = foreign::typed(arguments, "bench", command);
    let verb = command.find_subcommand("bench");
    typed.zip(verb).map_or(Ok(()), |(typed, verb)| foreign::refuse_misread(&typed, verb))
}

/// Says which flags of a refused run were not typed but come from the environment.
pub fn naming_variables(error: anyhow::Error, global: &Global) -> anyhow::Error {
    let names = variables::names("bench", |id| global.is_from_variable(id));
    match error.downcast::<Failure>() {
        Ok(failure) if failure.exit() == Exit::Usage && !names.is_empty() => {
            failure.because(format!("set in the environment: {}", names.join(", "))).into()
        }
        Ok(failure) => failure.into(),
        Err(error) => error,
    }
}

/// What a run that there is none of comes to.
pub fn failure(error: bench::Error) -> Failure {
    match &error {
        bench::Error::Config(ConfigError::Mix(mix)) => {
            let failure = Failure::usage(error.to_string());
            match mix.hint() {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        }
        bench::Error::Config(ConfigError::Reach(reach)) => match reach.hint() {
            Some(hint) => Failure::usage(error.to_string()).hint(hint),
            None => Failure::usage(error.to_string()),
        },
        bench::Error::Config(_) => Failure::usage(error.to_string()),
        bench::Error::NoConnection { address, fault } => {
            let kind = fault.kind;
            let failure = Failure::failed(format!("cannot connect to {address}"))
                .because(format!("{} in phase {}: {}", kind.cause, kind.phase, fault.detail));
            match hint_for(kind) {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        }
        bench::Error::Interrupted => Failure::interrupted(error.to_string()),
        bench::Error::Setup(reason) if reason.to_string().contains("io_uring") => {
            Failure::failed("this system refuses io_uring")
                .because(reason.to_string())
                .hint("containers usually forbid it; leave the choice to the generator with --io auto")
        }
        bench::Error::Setup(reason) if reason.raw_os_error() == Some(nix::errno::Errno::EMFILE as i32) => {
            Failure::failed(error.to_string())
                .hint("every thread needs some descriptors of its own: raise the limit (ulimit -n), or lower --threads")
        }
        bench::Error::Setup(_) | bench::Error::Broken => Failure::failed(error.to_string()),
    }
}

fn hint_for(kind: bench::FaultKind) -> Option<&'static str> {
    match kind.cause {
        _ if kind.phase == bench::Phase::Protocol => {
            Some("a target that speaks HTTP/1.1 only is loaded with --http 1.1")
        }
        bench::Cause::Refused => Some("nobody listens there: is the service up, and is it this port?"),
        bench::Cause::UnknownHost => Some("check the spelling of the host name"),
        bench::Cause::Handshake => {
            Some("use http:// if the target speaks no TLS, --insecure for a certificate of your own")
        }
        bench::Cause::Descriptors => Some("raise `ulimit -n`, or lower --connections"),
        bench::Cause::Timeout | bench::Cause::Unreachable => Some("check the address, and firewalls in between"),
        _ => None,
    }
}
