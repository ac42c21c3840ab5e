//! What is read from the command line and from files as one text: refused with a reason, or a value that reads the same
//! once it was printed.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use crate::bench::request::workload::{AssertSpec, StatusSet, Think};
use crate::bench::target::protocol::Protocol;
use crate::bench::target::reach::{ConnectTo, Resolve, TlsVersion};
use crate::bench::{Io, Pacing, Percentile, Process, Slo, Speed, Stage, Target};
use crate::units::{Bytes, Cpu, Name, Percent, Rate, TimeSpan};

/// Reads a text as each of the types.
///
/// # Panics
///
/// A printed value is refused, or another one; a name that is suggested is none.
pub fn arguments(text: &str) {
    refused::<AssertSpec>(text);
    refused::<ConnectTo>(text);
    refused::<Io>(text);
    refused::<Resolve>(text);
    refused::<Speed>(text);
    printed::<Bytes>(text);
    printed::<Cpu>(text);
    printed::<Name>(text);
    printed::<Pacing>(text);
    printed::<Percent>(text);
    printed::<Percentile>(text);
    printed::<Process>(text);
    printed::<Protocol>(text);
    printed::<Rate>(text);
    printed::<Slo>(text);
    printed::<Stage>(text);
    printed::<StatusSet>(text);
    printed::<Target>(text);
    printed::<Think>(text);
    printed::<TimeSpan>(text);
    printed::<TlsVersion>(text);
    if let Some(name) = Name::suggestion(text) {
        assert!(name.parse::<Name>().is_ok(), "{name:?} for {text:?}");
    }
}

fn refused<T: FromStr<Err: Debug>>(text: &str) -> Option<T> {
    text.parse().map_err(|why: T::Err| assert!(!format!("{why:?}").is_empty(), "{text:?}")).ok()
}

fn printed<T: FromStr<Err: Debug> + Display + Debug + PartialEq>(text: &str) {
    let Some(value) = refused::<T>(text) else { return };
    let shown = value.to_string();
    match shown.parse::<T>() {
        Ok(again) => assert_eq!(again, value, "{text:?} prints as {shown:?}"),
        Err(why) => panic!("{text:?} prints as {shown:?}: {why:?}"),
    }
}
