//! Variables of the environment beside flags: a flag on the command line goes before every variable that it cannot be
//! used with, and a variable that is empty is none.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::ColorWhen;

/// What is on the command line itself, as far as it can be understood.
pub struct Given {
    matches: Option<ArgMatches>,
}

impl Given {
    /// Reads the command line, and no variable but the one for colours.
    pub fn of(command: &Command, arguments: &[OsString]) -> Self {
        let command = without(command.clone(), |arg| arg.get_id() != "color").ignore_errors(true);
        // Asking for these ends the reading, and nothing would be known.
        let is_question =
            |word: &&OsString| ["--help", "-h", "--version", "-V"].iter().any(|question| *word == question);
        let arguments = arguments.iter().filter(|word| !is_question(word));
        Self { matches: command.try_get_matches_from(arguments).ok() }
    }

    /// When output is to be coloured.
    pub fn color(&self) -> ColorWhen {
        let color = self.matches.as_ref().and_then(|matches| matches.try_get_one("color").ok().flatten());
        color.copied().unwrap_or(ColorWhen::Auto)
    }

    /// Whether a flag is on the command line.
    fn has(&self, arg: &Arg) -> bool {
        let Some(matches) = &self.matches else { return false };
        let leaf = matches.subcommand().map_or(matches, |(_, leaf)| leaf);
        from(leaf, ValueSource::CommandLine).contains(arg.get_id().as_str())
    }
}

/// The command without the variables that are not to be looked at beside what is given.
pub fn yielding(command: Command, given: &Given) -> Command {
    let command = without(command, is_unset);
    // Groups of flags are there once it is built.
    let mut built = command.clone();
    built.build();
    let leaf =
        given.matches.as_ref().and_then(ArgMatches::subcommand_name).and_then(|name| built.find_subcommand(name));
    let Some(verb) = leaf else { return command };
    let flags: Vec<_> = verb.get_arguments().filter(|arg| given.has(arg)).collect();
    let has_lost = |arg: &&Arg| arg.get_env().is_some() && flags.iter().any(|flag| exclude(verb, flag, arg));
    let lost: BTreeSet<_> = verb.get_arguments().filter(has_lost).map(|arg| arg.get_id().clone()).collect();
    let name = verb.get_name().to_owned();
    command
        .mut_subcommand(name, |verb| verb.mut_args(|arg| if lost.contains(arg.get_id()) { unread(arg) } else { arg }))
}

/// Identifiers of the flags that have their value from a variable.
pub fn used(matches: &ArgMatches) -> BTreeSet<String> {
    let leaf = matches.subcommand().map_or(matches, |(_, leaf)| leaf);
    from(leaf, ValueSource::EnvVariable).into_iter().map(str::to_owned).collect()
}

/// Which of the flags that an error is about come from a variable, in words.
pub fn blamed(error: &Error, command: &Command, given: &Given) -> Vec<String> {
    let named = named(error);
    let verb =
        given.matches.as_ref().and_then(ArgMatches::subcommand_name).and_then(|name| command.find_subcommand(name));
    let arguments: Vec<_> = verb.into_iter().chain([command]).flat_map(Command::get_arguments).collect();
    // Where a flag lacks another one, the error names only what is not there.
    let is_any = error.kind() == ErrorKind::MissingRequiredArgument;
    let is_named = |flag: &str| is_any || named.contains(flag);
    let variable = |arg: &&Arg| {
        let flag = format!("--{}", arg.get_long()?);
        let name = arg.get_env().filter(|name| env::var_os(name).is_some() && !given.has(arg))?;
        is_named(&flag).then(|| format!("{flag} is set by the variable {}", name.display()))
    };
    arguments.iter().filter_map(variable).collect()
}

/// The variables of a verb's own flags whose identifiers `is_meant` says yes to.
pub fn names(verb: &str, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let command = super::command();
    let flags = command.find_subcommand(verb).into_iter().flat_map(Command::get_arguments);
    let meant = flags.filter(|flag| is_meant(flag.get_id().as_str())).filter_map(Arg::get_env);
    meant.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// The flags that an error is about, like `--rps`.
pub fn named(error: &Error) -> BTreeSet<String> {
    let of_kind = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    };
    let texts = [ContextKind::InvalidArg, ContextKind::PriorArg].into_iter().flat_map(of_kind);
    // Like "--rps <RATE|max>".
    texts.filter_map(|text| text.split([' ', '=']).next().map(str::to_owned)).collect()
}

/// Variables that are set and that nobody looks at, as the flags of a verb have theirs under another name: one with the
/// verb in it, or without.
pub fn misnamed(command: &Command, verb: &str) -> Vec<String> {
    let Some(verb) = command.find_subcommand(verb) else { return Vec::new() };
    let of_verbs = || command.get_subcommands().flat_map(Command::get_arguments);
    let all = || command.get_arguments().chain(of_verbs()).filter_map(Arg::get_env);
    let prefix = format!("SCALECTL_{}_", verb.get_name().to_uppercase());
    let note = |arg: &Arg| {
        let (flag, own) = (arg.get_long()?, arg.get_env()?);
        let name = flag.to_uppercase().replace('-', "_");
        let [short, long] = [format!("SCALECTL_{name}"), format!("{prefix}{name}")];
        let other = if own == long.as_str() { short } else { long };
        let is_set = env::var_os(&other).is_some_and(|value| !value.is_empty());
        let is_own = all().any(|known| known == other.as_str());
        (is_set && !is_own)
            .then(|| format!("the variable {other} is not looked at: that of --{flag} is {}", own.display()))
    };
    verb.get_arguments().filter_map(note).collect()
}

/// Identifiers of what has its value from `source`.
fn from(matches: &ArgMatches, source: ValueSource) -> BTreeSet<&str> {
    let ids = matches.ids().map(clap::Id::as_str);
    ids.filter(|id| matches.value_source(id) == Some(source)).collect()
}

/// Whether two flags cannot be used together.
fn exclude(verb: &Command, a: &Arg, b: &Arg) -> bool {
    let names = |a: &Arg, b: &Arg| verb.get_arg_conflicts_with(a).iter().any(|other| other.get_id() == b.get_id());
    // A group of which one may be given; those of clap's derived structs have any number.
    let is_of_one = |group: &clap::ArgGroup| {
        let has = |arg: &Arg| group.get_args().any(|id| id == arg.get_id());
        has(a) && has(b) && !group.clone().is_multiple()
    };
    a.get_id() != b.get_id() && (names(a, b) || names(b, a) || verb.get_groups().any(is_of_one))
}

/// Whether a variable says nothing: it is empty, or says no to a flag that is there or not.
fn is_unset(arg: &Arg) -> bool {
    let Some(value) = arg.get_env().and_then(env::var_os) else { return false };
    let is_no = || ["n", "no", "f", "false", "off", "0"].iter().any(|no| value.eq_ignore_ascii_case(no));
    value.is_empty() || matches!(arg.get_action(), ArgAction::SetTrue) && is_no()
}

fn without(command: Command, is_left_out: impl Fn(&Arg) -> bool) -> Command {
    let strip = |arg: Arg| if is_left_out(&arg) { unread(arg) } else { arg };
    command.mut_args(strip).mut_subcommands(|verb| verb.mut_args(strip))
}

fn unread(arg: Arg) -> Arg {
    arg.env(Resettable::Reset)
}
