//! The command line: one file per verb. A verb parses, calls the domain and prints.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::{env, process};

use anyhow::Result;
use clap::builder::FalseyValueParser;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::engine::EngineKind;
use crate::error::{Exit, Failure};
use crate::stack::{self, Source, Stack};
use crate::ui;
use crate::units::Name;

use self::variables::Given;

mod bench;
mod build;
mod check;
mod compare;
mod completions;
mod config;
mod demo;
mod doctor;
mod down;
mod exec;
mod init;
mod interrupt;
mod logs;
mod man;
mod manifests;
mod new;
mod outputs;
mod pull;
mod report;
mod restart;
mod run;
mod scale;
mod schema;
mod session;
mod start;
mod status;
mod stdout;
mod stop;
mod supervise;
mod up;
mod url;
mod variables;
mod watch;

/// From an empty folder to a service that provably scales.
#[derive(Debug, Parser)]
#[command(name = "scalectl", version, propagate_version = true, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Print results as JSON on stdout
    #[arg(long, global = true, env = "SCALECTL_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
    /// Print no progress, only results and errors
    #[arg(short, long, global = true, env = "SCALECTL_QUIET", value_parser = FalseyValueParser::new())]
    pub quiet: bool,
    /// Say more (repeat for more still)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", env = "SCALECTL_COLOR")]
    pub color: ColorWhen,
    /// Folder of the project
    #[arg(
        short = 'C',
        long = "directory",
        global = true,
        value_name = "DIR",
        default_value = ".",
        env = "SCALECTL_DIRECTORY",
        hide_default_value = true
    )]
    pub directory: PathBuf,
    /// Name of the project instead of the file's
    #[arg(short, long, global = true, value_name = "NAME", env = "SCALECTL_PROJECT_NAME")]
    pub project: Option<Name>,
    /// Where the stack runs [default: where it runs already; else docker, if there is one]
    #[arg(long, global = true, value_name = "ENGINE", env = "SCALECTL_ENGINE")]
    pub engine: Option<EngineKind>,
    /// Stack file; repeat to lay later ones over earlier ones [default: scalectl.toml]
    #[arg(short, long = "file", global = true, value_name = "FILE", env = "SCALECTL_FILE", value_delimiter = ',')]
    pub files: Vec<PathBuf>,
    /// Identifiers of the flags that have their value from a variable of the environment, not from the command line.
    #[arg(skip)]
    variables: BTreeSet<String>,
}

impl Global {
    /// Where the stack is described.
    pub fn source(&self) -> Source {
        Source { directory: self.directory.clone(), files: self.files.clone(), project: self.project.clone() }
    }

    /// Whether the flag with this identifier has its value from a variable of the environment.
    pub fn is_from_variable(&self, id: &str) -> bool {
        self.variables.contains(id)
    }

    /// Tells something on stderr, unless told to be quiet.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            ui::say(text);
        }
    }

    /// Loads the stack.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with its files, as one failure with exit code 2.
    pub fn stack(&self) -> Result<Stack, Failure> {
        stack::load(&self.source()).map_err(Failure::from)
    }
}

/// When output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Render a new project from a template
    New(new::Args),
    /// Adopt a folder that has a compose file or a Dockerfile
    Init(init::Args),
    /// Validate scalectl.toml and everything it points to, without starting anything
    Check(check::Args),
    /// Print the resolved stack with its secrets masked
    Config(config::Args),
    /// Print the JSON Schema of scalectl.toml
    Schema(schema::Args),
    /// Bring the stack up, or what changed of it
    Up(up::Args),
    /// Stop and remove what `up` made; volumes stay
    Down(down::Args),
    /// Build the images of services, and start nothing
    Build(build::Args),
    /// Pull the images that services and backing services need, and start nothing
    Pull(pull::Args),
    /// Show services, replicas and their health
    #[command(visible_alias = "ps")]
    Status(status::Args),
    /// Show the logs of all replicas, merged by time
    Logs(logs::Args),
    /// Change the number of replicas until the next `up`
    Scale(scale::Args),
    /// Replace replicas one at a time
    Restart(restart::Args),
    /// Stop services without removing them
    Stop(stop::Args),
    /// Start stopped services
    Start(start::Args),
    /// Run a command in the environment of a running service
    Exec(exec::Args),
    /// Run a job, or a command in the environment of a service
    Run(run::Args),
    /// Print the address of a service or backing service
    Url(url::Args),
    /// Print the stack as another program's manifests: a compose file
    Manifests(manifests::Args),
    /// Load a URL or a service, and report latencies
    Bench(Box<bench::Args>),
    /// Render any report from the JSON of a bench
    Report(report::Args),
    /// Say whether the difference between results of a bench is real
    Compare(compare::Args),
    /// new + up + seed + bench + report in one go, in a scratch folder
    Demo(demo::Args),
    /// Check what the commands need on this machine
    Doctor(doctor::Args),
    /// Print a shell completion script
    Completions(completions::Args),
    /// Print or write the manual pages
    Man(man::Args),
    /// Own the processes of one project (started by `up`)
    #[command(hide = true)]
    Supervise(supervise::Args),
}

/// The command line: as the types describe it, and a variable for every flag.
pub fn command() -> clap::Command {
    Cli::command().mut_subcommands(|verb| {
        let name = verb.get_name().to_uppercase();
        verb.mut_args(|arg| with_variable(&name, arg))
    })
}

/// Gives a flag that has none its variable: SCALECTL_UP_TIMEOUT for `up --timeout`.
fn with_variable(verb: &str, arg: clap::Arg) -> clap::Arg {
    let is_flag = matches!(arg.get_action(), clap::ArgAction::SetTrue);
    let settable = is_flag || matches!(arg.get_action(), clap::ArgAction::Set | clap::ArgAction::Append);
    let Some(long) = arg.get_long().filter(|_| settable && arg.get_env().is_none()) else { return arg };
    let variable = format!("SCALECTL_{verb}_{}", long.to_uppercase().replace('-', "_"));
    let arg = arg.env(variable).hide_env(true);
    if is_flag { arg.value_parser(FalseyValueParser::new()) } else { arg }
}

/// Reads the process's arguments; ends the process where they are wrong, or ask for help.
pub fn parse() -> Cli {
    let mut arguments: Vec<OsString> = env::args_os().collect();
    // `scalectl help bench` is `scalectl bench --help`.
    if arguments.get(1).is_some_and(|word| word == "help") {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    let whole = command();
    let given = Given::of(&whole, &arguments);
    ui::set_color(match given.color() {
        ColorWhen::Auto => None,
        ColorWhen::Always => Some(true),
        ColorWhen::Never => Some(false),
    });
    let command = variables::yielding(whole.clone(), &given);
    if let Err(failure) = bench::refuse_misread(&arguments, &command) {
        process::exit(ui::print_error(&failure.into()).code().into());
    }
    let read = command.clone().try_get_matches_from(&arguments).and_then(|matches| {
        let mut cli = Cli::from_arg_matches(&matches)?;
        cli.global.variables = variables::used(&matches);
        let verb = matches.subcommand_name().unwrap_or_default();
        variables::misnamed(&whole, verb).iter().for_each(|note| cli.global.say(&format!("note: {note}")));
        Ok(cli)
    });
    read.unwrap_or_else(|mut error| {
        let own = bench::explain(&mut error, &arguments, &command);
        // Where stderr is closed there is nobody to tell.
        let _ = error.print();
        for line in variables::blamed(&error, &command, &given).into_iter().chain(own) {
            ui::print_note(&line);
        }
        process::exit(error.exit_code())
    })
}

/// Runs the verb, and says how it ended.
pub fn run(cli: Cli) -> Result<Exit> {
    let global = &cli.global;
    match cli.verb {
        Verb::New(args) => args.run(global),
        Verb::Init(args) => args.run(global),
        Verb::Check(args) => args.run(global),
        Verb::Config(args) => args.run(global),
        Verb::Schema(args) => args.run(global),
        Verb::Up(args) => args.run(global),
        Verb::Down(args) => args.run(global),
        Verb::Build(args) => args.run(global),
        Verb::Pull(args) => args.run(global),
        Verb::Status(args) => args.run(global),
        Verb::Logs(args) => args.run(global),
        Verb::Scale(args) => args.run(global),
        Verb::Restart(args) => args.run(global),
        Verb::Stop(args) => args.run(global),
        Verb::Start(args) => args.run(global),
        Verb::Exec(args) => args.run(global),
        Verb::Run(args) => args.run(global),
        Verb::Url(args) => args.run(global),
        Verb::Manifests(args) => args.run(global),
        Verb::Bench(args) => args.run(global),
        Verb::Report(args) => args.run(global),
        Verb::Compare(args) => args.run(global),
        Verb::Demo(args) => args.run(global),
        Verb::Doctor(args) => args.run(global),
        Verb::Completions(args) => args.run(global),
        Verb::Man(args) => args.run(global),
        Verb::Supervise(args) => args.run(global),
    }
}
