//! Why there is no run, in words for people.

use std::ffi::OsString;

use clap::error::ErrorKind;

use crate::bench::{self, ConfigError};
use crate::cli::{Global, variables};
use crate::error::{Exit, Failure};
use crate::units::Rate;

/// What explains a refused command line, if it is one of this verb.
pub fn note_on(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    match error.kind() {
        ErrorKind::UnknownArgument => note_on_rate(arguments),
        ErrorKind::ArgumentConflict => {
            let named = variables::named(error);
            let of_length = ["--duration", "--requests", "--stage"];
            (named.contains("--find-max") && of_length.iter().any(|flag| named.contains(*flag))).then(|| {
                "--find-max tries one rate after the other, each for --probe-time, which is 10s unless told".to_owned()
            })
        }
        _ => None,
    }
}

/// `-q` is a rate in hey and oha, whose lines are known by heart.
fn note_on_rate(arguments: &[OsString]) -> Option<String> {
    let words: Vec<_> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let mut pairs = words.iter().zip(words.iter().skip(1));
    let (_, rate) = pairs.find(|(flag, rate)| **flag == "-q" && rate.parse::<Rate>().is_ok())?;
    words
        .contains(&"bench")
        .then(|| format!("-q is --quiet, which has no value; {rate} requests a second are -r {rate}"))
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
