//! `scalectl bench`.

mod connection;
mod file;
mod find_max;
mod foreign;
mod print_config;
mod protocol;
mod refusals;
mod replay;
mod request;
mod results;
mod schedule;
mod signals;
mod trial;
mod values;
mod watch;

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::Result;

use self::connection::ConnectionArgs;
use self::file::BenchFile;
use self::find_max::FindMax;
use self::protocol::ProtocolArgs;
pub(super) use self::refusals::{explain, refuse_misread};
use self::refusals::{failure, naming_variables};
use self::replay::ReplayArgs;
use self::request::RequestArgs;
use self::results::Recording;
use self::schedule::ScheduleArgs;
use self::signals::interrupt_on_signal;
use self::values::{Replay, Rps};
use self::watch::{WatchArgs, Watched};
use super::outputs::{columns, emit, outputs_or_default};
use super::session::{self, Session, block_on};
use super::{Global, outputs, url};
use crate::bench::{
    self, Config, Io, Length, Measure, Observer, Pacing, Process, RequestSpec, Scheme, Slo, Summary, Target,
};
use crate::error::{Exit, Failure};
use crate::report::Output;
use crate::stack::{FILE_NAME, Stack};
use crate::ui::bench::LiveBench;
use crate::units::{Name, TimeSpan};

/// Arguments of `scalectl bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to load: a URL (its scheme may be left out), or a service of this project; its balancer unless given
    #[arg(value_name = "URL|SERVICE")]
    target: Option<String>,
    /// Requests a second that are scheduled, whatever the target does [default: 50]; 'max': a closed loop, in which
    /// every connection sends its next request when the last has ended
    #[arg(
        short = 'r',
        long,
        visible_alias = "rate",
        value_name = "RATE|max",
        env = "SCALECTL_RPS",
        help_heading = "Load"
    )]
    rps: Option<Rps>,
    /// How long requests are scheduled [default: 10s, of a log that is replayed all of it]
    #[arg(
        short = 'z',
        long,
        value_name = "TIME",
        env = "SCALECTL_DURATION",
        conflicts_with = "number",
        help_heading = "Load"
    )]
    duration: Option<TimeSpan>,
    /// How many requests are scheduled, instead of a duration, like 5000 or 10k; of a log that is replayed its first ones
    #[arg(
        short = 'n',
        long = "requests",
        id = "number",
        value_name = "N",
        value_parser = values::count::<u64>,
        help_heading = "Load"
    )]
    requests: Option<u64>,
    #[command(flatten)]
    schedule: ScheduleArgs,
    #[command(flatten)]
    replay: ReplayArgs,
    #[command(flatten)]
    protocol: ProtocolArgs,
    /// When to wake for what is due: exact, a time like 500us (fewer wake-ups, more lag), or spin (burns a core)
    /// [default: exact]
    #[arg(long, value_name = "PACING", env = "SCALECTL_PACING", help_heading = "Load")]
    pacing: Option<Pacing>,
    /// How sockets are driven: auto, epoll or uring [default: auto]
    #[arg(long, value_name = "IO", env = "SCALECTL_IO", help_heading = "Load")]
    io: Option<Io>,
    /// Connections, all opened before the start [default: 16, growing to 1024 on demand except in a closed loop]
    #[arg(
        short,
        long,
        value_name = "N",
        env = "SCALECTL_CONNECTIONS",
        value_parser = values::count::<u32>,
        help_heading = "Load"
    )]
    connections: Option<u32>,
    /// Threads that send [default: one for 20000 rps, leaving a core free]
    #[arg(long, value_name = "N", env = "SCALECTL_THREADS", help_heading = "Load")]
    threads: Option<u32>,
    /// Seed of everything that is drawn [default: another one each time]
    #[arg(long, value_name = "N", env = "SCALECTL_SEED", help_heading = "Load")]
    seed: Option<u64>,
    /// Longest time an answer may take [default: 10s]
    #[arg(short, long, value_name = "TIME", help_heading = "Load")]
    timeout: Option<TimeSpan>,
    /// How long after the schedule's end answers are awaited [default: the timeout, at most 10s]
    #[arg(long, value_name = "TIME", env = "SCALECTL_GRACE", help_heading = "Load")]
    grace: Option<TimeSpan>,
    /// Mix of requests from scalectl.toml, for a service [default: default]
    #[arg(short = 'w', long, value_name = "NAME", env = "SCALECTL_WORKLOAD", help_heading = "Request")]
    workload: Option<Name>,
    /// File that describes the run: the [bench.NAME] tables of a scalectl.toml, and beside them target, headers, and
    /// flags under their names, like no_keepalive = true; flags go before it
    #[arg(long, value_name = "FILE", env = "SCALECTL_BENCH_FILE", help_heading = "Request")]
    bench_file: Option<PathBuf>,
    /// Send one request of every kind, and every flow once; print what was sent and what came back
    #[arg(long = "try", conflicts_with_all = ["output", "metrics_listen"], help_heading = "Request")]
    r#try: bool,
    /// Print the run as a bench file, for --bench-file, and send nothing
    #[arg(long, conflicts_with = "try", help_heading = "Request")]
    print_config: bool,
    #[command(flatten)]
    request: RequestArgs,
    /// Connect to this unix socket instead of the URL's host and port
    #[arg(long, value_name = "PATH", help_heading = "Request")]
    unix_socket: Option<PathBuf>,
    /// Accept every TLS certificate
    #[arg(long, visible_short_alias = 'k', help_heading = "Request")]
    insecure: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    watch: WatchArgs,
    /// Objective that the result is held against: 'p99<50ms', 'errors<0.1%', 'rate>=9900'; repeat for more
    #[arg(long, value_name = "OBJECTIVE", help_heading = "Result")]
    slo: Vec<Slo>,
    /// Format of the result and where it goes, json or json=FILE: text, json, csv, hgrm, hlog, html, junit, markdown, prometheus; repeat for more
    #[arg(short, long, value_name = "FORMAT[=FILE]", help_heading = "Result")]
    output: Vec<Output>,
    #[command(flatten)]
    find_max: FindMax,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// The configuration is refused, nothing can be connected to, or a result cannot be written.
    pub fn run(self, global: &Global) -> Result<Exit> {
        self.carry_out(global).map_err(|error| naming_variables(error, global))
    }

    fn carry_out(self, global: &Global) -> Result<Exit> {
        let outputs = outputs_or_default(&self.output, global)?;
        self.refuse_file_for_target()?;
        let (mut config, replay) = self.config(global)?;
        self.refuse_idle_flags(&config, replay.is_some(), global)?;
        if self.request.is_body_in_stdin() {
            outputs::check(&outputs)?;
            config.check().map_err(|error| failure(bench::Error::Config(error)))?;
            self.take_body_from_stdin(&mut config, replay.as_ref(), global)?;
        }
        if self.print_config {
            return print_config::run(&self, &config, replay.as_ref(), global);
        }
        if let Some(path) = self.lost_path(&config) {
            global.say(&format!("note: the path {path} of the URL is left out: the workload has paths of its own"));
        }
        config.reach.notes(&config.target).iter().for_each(|note| global.say(&format!("note: {note}")));
        if self.r#try {
            return trial::run(&config, global);
        }
        self.tell_of_default_rate(&config, global);
        if self.find_max.is_wanted() {
            return self.find_max.run(&config, &outputs, columns(), global);
        }
        outputs::check(&outputs)?;
        let (mut recording, outputs) = Recording::new(LiveBench::new(global.quiet), outputs)?;
        let mut watched = Watched::new(&mut recording, self.watch.metrics_listen)?;
        let summary = measure(&config, &mut watched)?;
        let written = emit(&summary, &outputs, global);
        recording.finish()?;
        written?;
        Ok(exit_of(&summary))
    }

    /// The run, and the log that its requests come from, where there is one.
    fn config(&self, global: &Global) -> Result<(Config, Option<Replay>), Failure> {
        let file = self.bench_file.as_deref().map(BenchFile::read).transpose()?;
        let own_target = file.as_ref().and_then(BenchFile::target).filter(|_| self.target.is_none());
        let found = if own_target.is_some() { None } else { self.service(global)? };
        let mut config = match found {
            _ if file.is_some() => {
                let url = own_target.or(self.target.as_deref()).map(str::to_owned);
                let url = found.map(|(_, url)| url).or(url).unwrap_or_default();
                let mut config = Config::new(parse(&url)?);
                if let Some(file) = &file {
                    file.apply(&mut config, self.workload.as_ref())?;
                }
                self.take_request_flags(&mut config)?;
                config
            }
            Some((stack, url)) => {
                let mut config = Config::new(parse(&url)?);
                of_stack(&mut config, &stack, self.workload.as_ref())?;
                self.take_request_flags(&mut config)?;
                config
            }
            None => {
                if self.workload.is_some() && !global.is_from_variable("workload") {
                    let what = "--workload names a mix of a scalectl.toml, which a URL has none of";
                    return Err(Failure::usage(what).hint("name a service of the project, or give --bench-file FILE"));
                }
                let target = match &self.target {
                    Some(target) => parse(target)?,
                    None => self.request.first_target()?.map_or_else(|| parse(""), Ok)?,
                };
                let requests = self.request.requests(&target)?;
                let mut config = Config::new(target);
                config.requests = requests;
                config
            }
        };
        let length = self.requests.map(Length::Requests).or(self.duration.map(Length::Duration));
        // A variable says how long runs take, not that logs are to be cut.
        let is_flag = !global.is_from_variable(if self.requests.is_some() { "number" } else { "duration" });
        let cut = length.filter(|_| is_flag);
        let of_file = file.as_ref().and_then(|file| file.replay(self.workload.as_ref()));
        let replay = self.replay.replay(of_file);
        let replay = replay.map(|replay| Replay { length: cut.or(replay.length), ..replay });
        if let Some(replay) = &replay {
            self.is_replayed_as_it_is(global)?;
            let like = if file.is_some() { config.requests.clone() } else { self.request.requests(&config.target)? };
            replay.apply(&mut config, &like, global)?;
        }
        self.request.expect(&mut config);
        // A variable is for runs that have a schedule of their own.
        let is_idle = |id: &str| replay.is_some() && global.is_from_variable(id);
        let (rps, schedule) = (self.rps.filter(|_| !is_idle("rps")), self.schedule.without(is_idle));
        match rps {
            Some(Rps::Max) => (config.closed_loop, config.arrivals) = (true, Process::default()),
            Some(Rps::Rate(rate)) => (config.rate, config.closed_loop) = (rate, false),
            None => {}
        }
        config.pacing = self.pacing.unwrap_or(config.pacing);
        config.io = self.io.unwrap_or(config.io);
        self.protocol.apply(&mut config);
        schedule.apply(&mut config, rps.is_some(), length)?;
        config.connections = self.connections.or(config.connections);
        config.threads = self.threads.or(config.threads);
        config.seed = self.seed.unwrap_or(config.seed);
        config.timeout = self.timeout.unwrap_or(config.timeout);
        config.grace = self.grace.or(config.grace);
        config.insecure |= self.insecure;
        if self.unix_socket.is_some() {
            config.unix_socket.clone_from(&self.unix_socket);
            config.reach.forget_addresses();
        }
        self.connection.apply(&mut config)?;
        if !self.watch.abort_on.is_empty() {
            config.abort_on.clone_from(&self.watch.abort_on);
        }
        if !self.slo.is_empty() {
            config.slos.clone_from(&self.slo);
        }
        if self.find_max.is_wanted() {
            self.leave_rates_out(&mut config, global);
        }
        Ok((config, replay))
    }

    fn take_body_from_stdin(
        &self,
        config: &mut Config,
        replay: Option<&Replay>,
        global: &Global,
    ) -> Result<(), Failure> {
        if self.print_config {
            return Err(Failure::usage("a bench file cannot hold a body that is read from stdin")
                .hint("write it to a file, and give that: --body-file FILE"));
        }
        if replay.is_some() {
            return Err(Failure::usage("requests of a log have no body").hint("leave --body out"));
        }
        if io::stdin().is_terminal() {
            global.say("reading the body from stdin; Ctrl-D ends it");
        }
        self.request.read_stdin(config)
    }

    /// Leaves out what is said about the rate in a bench file or a variable, which is for runs at one rate.
    fn leave_rates_out(&self, config: &mut Config, global: &Global) {
        let is_flag = |is_given: bool, id: &str| is_given && !global.is_from_variable(id);
        for (conditions, is_flag) in [
            (&mut config.slos, is_flag(!self.slo.is_empty(), "slo")),
            (&mut config.abort_on, is_flag(!self.watch.abort_on.is_empty(), "abort_on")),
        ] {
            conditions.retain(|condition| {
                let stays = is_flag || condition.measure() != Measure::Rate;
                if !stays {
                    global.say(&format!("note: \"{condition}\" is left out: the rate is what --find-max looks for"));
                }
                stays
            });
        }
    }

    /// Refuses flags that would do nothing here, and tells of one that hardly does what was meant. A variable may be set
    /// for other runs.
    fn refuse_idle_flags(&self, config: &Config, is_replay: bool, global: &Global) -> Result<(), Failure> {
        let is_flag = |id: &str| !global.is_from_variable(id);
        if !is_replay && let Some((_, flag)) = self.replay.given().find(|(id, _)| is_flag(id)) {
            return Err(Failure::usage(format!("{flag} is about a log that is replayed, and none is"))
                .hint("add --replay FILE, or leave it out"));
        }
        if !self.find_max.is_wanted()
            && let Some((_, flag)) = self.find_max.given().find(|(id, _)| is_flag(id))
        {
            return Err(Failure::usage(format!("{flag} is about --find-max, which is not given"))
                .hint("add --find-max, or leave it out"));
        }
        if self.insecure && is_flag("insecure") && config.target.scheme == Scheme::Http {
            global.say(&format!("note: --insecure does nothing: {} has no TLS", config.target.origin()));
        }
        Ok(())
    }

    /// Refuses the name of a file where a URL goes, which would be taken for the name of a host.
    fn refuse_file_for_target(&self) -> Result<(), Failure> {
        let file = self.target.as_deref().filter(|text| text.ends_with(".toml") && Path::new(text).is_file());
        file.map_or(Ok(()), |file| {
            Err(Failure::usage(format!("{file} is a file, and a target is a URL or a service"))
                .hint(format!("a file that describes a run is given with --bench-file {file}")))
        })
    }

    /// The path of a URL that a workload's own paths stand in place of.
    fn lost_path<'c>(&self, config: &'c Config) -> Option<&'c str> {
        let path = config.target.path.as_str();
        let is_asked_for = config.every_request().any(|request| request.path == path);
        (self.target.is_some() && self.bench_file.is_some() && path != "/" && !is_asked_for).then_some(path)
    }

    /// Says which rate a run has that is described as those of other load generators are, which send as fast as they can.
    fn tell_of_default_rate(&self, config: &Config, global: &Global) {
        let has_rate = self.rps.is_some() || self.schedule.has_stages() || self.find_max.is_wanted();
        let is_replay = self.replay.replay(None).is_some();
        let is_sized = self.connections.is_some() || self.requests.is_some() || self.duration.is_some();
        // A workload's own rate is what its author wants.
        let is_bare = self.bench_file.is_none() && self.names_no_service();
        if is_sized && is_bare && !has_rate && !is_replay {
            let rate = config.rate;
            global.say(&format!(
                "note: no rate is given, so it is {rate} requests a second; -r RATE sets it, -r max sends as fast as the connections take it"
            ));
        }
    }

    /// Refuses what would replace the timing of a log that a bench file names; beside `--replay` the flags themselves
    /// are refused.
    fn is_replayed_as_it_is(&self, global: &Global) -> Result<(), Failure> {
        let is_flag = |id: &str| !global.is_from_variable(id);
        let given = [
            ("--rps", self.rps.is_some() && is_flag("rps")),
            ("--stage", self.schedule.has_stages() && is_flag("stages")),
            ("--arrivals", self.schedule.has_arrivals() && is_flag("arrivals")),
            ("--find-max", self.find_max.is_wanted()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(Failure::usage(format!("the bench file replays a log, which {flag} cannot change"))
                .hint(
                    "leave the flag out, or take replay out of the file; --duration and --requests shorten the replay",
                )),
            None => Ok(()),
        }
    }

    /// Takes the request that the flags describe instead of a workload's, if they do; what else they say of requests
    /// goes for the workload's own.
    fn take_request_flags(&self, config: &mut Config) -> Result<(), Failure> {
        if !self.request.describes_a_request() {
            return self.request.add_to(config);
        }
        config.requests = self.request.requests(&config.target)?;
        config.flows.clear();
        Ok(())
    }

    /// Whether the target is a URL, or in a file of URLs.
    fn names_no_service(&self) -> bool {
        let is_url = |text: &str| text == "localhost" || text.parse::<Name>().is_err();
        self.target.as_deref().map_or(self.request.describes_urls(), is_url)
    }

    /// The project's service that is meant, with its address; `None` where the target is a URL.
    fn service(&self, global: &Global) -> Result<Option<(Stack, String)>, Failure> {
        let name = match &self.target {
            None if self.request.describes_urls() => return Ok(None),
            None if !global.directory.join(FILE_NAME).exists() && global.files.is_empty() => {
                return Err(Failure::usage("bench needs a URL, or a folder with a scalectl.toml")
                    .hint("scalectl bench http://localhost:8080/"));
            }
            None => None,
            Some(_) if self.names_no_service() => return Ok(None),
            Some(text) => text.parse::<Name>().ok(),
        };
        let looked = block_on(async {
            let session = Session::look(global).await?;
            let url = url::address(&session, name.as_ref()).await?;
            Ok((session.stack, url))
        });
        looked.map(Some).map_err(|error| error.downcast().unwrap_or_else(|e| Failure::failed(e.to_string())))
    }
}

/// Takes the load of a stack: the workload of this name, or `default`, and the objectives.
///
/// # Errors
///
/// When there is no such workload.
pub fn of_stack(config: &mut Config, stack: &Stack, workload: Option<&Name>) -> Result<(), Failure> {
    let name = workload.map_or("default", Name::as_str);
    match stack.bench.get(name) {
        Some(workload) => {
            let mut workload = workload.clone();
            workload.begin_paths_at(&stack.root);
            config.apply(&workload);
        }
        None if workload.is_some() => {
            return Err(session::unknown("workload", name, stack.bench.keys().map(Name::as_str)));
        }
        None => config.requests = vec![RequestSpec::get("/")],
    }
    let Some(slo) = &stack.slo else { return Ok(()) };
    let percentiles = [("p50", slo.p50), ("p95", slo.p95), ("p99", slo.p99), ("p99.9", slo.p999)];
    let percentiles = percentiles.into_iter().filter_map(|(name, limit)| Some(format!("{name}<{}", limit?)));
    for text in percentiles.chain(slo.errors.map(|limit| format!("errors<{limit}"))) {
        let objective = text.parse().map_err(|e: bench::SloError| Failure::usage(format!("slo: {e}")))?;
        config.slos.push(objective);
    }
    Ok(())
}

/// Runs a load to its end, or until Ctrl-C or a signal that asks to end.
///
/// # Errors
///
/// The configuration is refused, or nothing can be connected to.
pub fn measure(config: &Config, observer: &mut dyn Observer) -> Result<Summary> {
    interrupt_on_signal(config.control.clone())?;
    Ok(bench::run(config, observer).map_err(failure)?)
}

/// Reads an address.
fn parse(text: &str) -> Result<Target, Failure> {
    text.parse().map_err(|error: bench::TargetError| {
        Failure::usage(error.to_string()).hint("write it like http://localhost:8080/path")
    })
}

/// What a run ends with.
fn exit_of(summary: &Summary) -> Exit {
    Ended {
        is_interrupted: summary.setup.interrupted,
        is_trusted: summary.verdict.trusted,
        meets_objectives: summary.slo_met(),
        is_in_vain: summary.counts.ok == 0 && summary.slo.is_empty(),
    }
    .exit()
}

/// What the exit code of a run depends on.
#[derive(Debug, Clone, Copy)]
struct Ended {
    is_interrupted: bool,
    is_trusted: bool,
    meets_objectives: bool,
    /// Not one request ended well, and no objective says what that means.
    is_in_vain: bool,
}

impl Ended {
    /// In order of precedence: what a script has to know before it reads the rest.
    fn exit(self) -> Exit {
        match self {
            Self { is_interrupted: true, .. } => Exit::Interrupted,
            Self { is_trusted: false, .. } => Exit::Untrusted,
            Self { meets_objectives: false, .. } => Exit::SloMissed,
            Self { is_in_vain: true, .. } => Exit::Failed,
            Self { .. } => Exit::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_what_matters_most() {
        let mut ended = Ended { is_interrupted: true, is_trusted: false, meets_objectives: false, is_in_vain: true };
        assert_eq!(ended.exit().code(), 130);
        ended.is_interrupted = false;
        assert_eq!(ended.exit().code(), 5);
        ended.is_trusted = true;
        assert_eq!(ended.exit().code(), 4);
        ended.meets_objectives = true;
        assert_eq!(ended.exit().code(), 1);
        ended.is_in_vain = false;
        assert_eq!(ended.exit().code(), 0);
    }
}
