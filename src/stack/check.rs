//! What a valid stack still points to: files, programs, variables, and the databases' connections. Reads, never
//! changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::budget::{Budget, Scale};
use super::model::{Build, Job, Runtime, Service, Stack};
use super::path::KeyPath;
use super::problem::{LoadError, Problem};
use super::variables::DOT_ENV;
use crate::backing::{self, Resolved};
use crate::bench::{Config, Workload};
use crate::units::Name;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Starting the stack, or loading it, would fail.
    Error,
    /// It works on some engine or for some time only.
    Warning,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub problem: Problem,
}

/// Everything that a check found out.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Errors and warnings, in the order of the file's sections.
    pub findings: Vec<Finding>,
    /// The connection budget of every database that is used.
    pub budgets: Vec<Budget>,
}

impl Report {
    /// Whether the stack can be started and loaded: warnings do not stop it.
    pub fn is_ok(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }
}

impl From<LoadError> for Report {
    /// What kept a stack from loading are errors of the check.
    fn from(error: LoadError) -> Self {
        let errors = error.problems.into_iter().map(|problem| Finding { severity: Severity::Error, problem });
        Self { findings: errors.collect(), budgets: Vec::new() }
    }
}

/// Checks everything that the stack points to.
pub fn check(stack: &Stack) -> Report {
    let mut checker = Checker { stack, report: Report::default(), folders: BTreeSet::new() };
    for (name, service) in &stack.services {
        checker.service(name, service);
    }
    for (name, job) in &stack.jobs {
        checker.job(name, job);
    }
    checker.balancer();
    for resolved in backing::resolve(stack).values() {
        checker.budget(resolved);
        checker.backing(resolved);
    }
    checker.secrets_in_arguments();
    checker.secrets_in_build_arguments();
    for (name, workload) in &stack.bench {
        checker.workload(name, workload);
    }
    checker.dot_env();
    checker.report
}

/// Files without which a runtime's environment cannot be prepared, each with what makes it.
fn prerequisites(runtime: Runtime) -> &'static [(&'static str, &'static str)] {
    match runtime {
        Runtime::Python => &[(
            "requirements.lock",
            "`uv pip compile --universal --generate-hashes requirements.in -o requirements.lock` writes it",
        )],
        Runtime::Node => &[
            ("package.json", "`npm init` writes it"),
            ("package-lock.json", "`npm install --package-lock-only` writes it"),
        ],
        Runtime::Rust => {
            &[("Cargo.toml", "`cargo init` writes it"), ("Cargo.lock", "`cargo generate-lockfile` writes it")]
        }
        Runtime::None => &[],
    }
}

struct Checker<'a> {
    stack: &'a Stack,
    report: Report,
    /// Folders and files that were already looked for: two services of one source miss them once.
    folders: BTreeSet<PathBuf>,
}

impl Checker<'_> {
    fn add(&mut self, severity: Severity, path: &KeyPath, message: impl Into<String>, hint: impl Into<String>) {
        let problem = self.stack.problem(path, message).hint(hint);
        self.report.findings.push(Finding { severity, problem });
    }

    fn service(&mut self, name: &Name, service: &Service) {
        let path = KeyPath::keys(["services", name.as_str()]);
        let Some(build) = &service.build else {
            let image = path.key("image");
            let hint = "run it on a container engine; the local engine needs build and command";
            self.add(Severity::Warning, &image, "the local engine cannot run a ready image", hint);
            return;
        };
        let folder = self.stack.root.join(&build.context);
        if self.lacks(&folder, &build.dockerfile) {
            let (file, context) = (build.dockerfile.display(), build.context.display());
            let article = if build.dockerfile == Path::new(Build::DOCKERFILE) { "a " } else { "" };
            let message = format!("container engines need {article}{file} in {context}, found none");
            self.add(Severity::Warning, &path.key("build"), message, "the local engine does without");
        }
        let runtime = service.runtime.unwrap_or(Runtime::None);
        for (file, remedy) in prerequisites(runtime) {
            if self.lacks(&folder, file) {
                let message = format!("expected {file} in {}, found none", build.context.display());
                self.add(Severity::Error, &path.key("runtime"), message, *remedy);
            }
        }
        match &service.command {
            None => {
                let hint = "the image's own command is used elsewhere";
                self.add(Severity::Warning, &path, "the local engine needs a command, found none", hint);
            }
            Some(command) => self.program(&path.key("command"), command, runtime, &folder),
        }
    }

    /// Whether a folder lacks a file, and nobody said so yet.
    fn lacks(&mut self, folder: &Path, file: impl AsRef<Path>) -> bool {
        let path = folder.join(file);
        !path.is_file() && self.folders.insert(path)
    }

    fn job(&mut self, name: &Name, job: &Job) {
        let Some(service) = self.stack.services.get(&job.service) else { return };
        let Some(build) = &service.build else { return };
        let folder = self.stack.root.join(&build.context);
        let path = KeyPath::keys(["jobs", name.as_str(), "command"]);
        self.program(&path, &job.command, service.runtime.unwrap_or(Runtime::None), &folder);
    }

    /// Looks for a command's program. Those of the other runtimes come with the environment that is prepared later.
    fn program(&mut self, path: &KeyPath, command: &[String], runtime: Runtime, folder: &Path) {
        let Some(program) = command.first() else { return };
        if runtime != Runtime::None || is_found(program, folder, self.stack) {
            return;
        }
        let place = if program.contains('/') { "in the build folder" } else { "in PATH" };
        // An argument that came from a secret is not shown.
        let shown = if self.stack.is_secret(&path.index(0)) { super::MASK } else { program };
        let message = format!("expected a program {place}, found no executable {shown:?}");
        self.add(Severity::Warning, path, message, "install it, or set runtime so that its environment is prepared");
    }

    fn balancer(&mut self) {
        let Some(balancer) = &self.stack.balancer else { return };
        let Some(service) = self.stack.services.get(&balancer.service) else { return };
        if service.ready.is_none() {
            let path = KeyPath::keys(["services", balancer.service.as_str()]);
            let message = "the balancer sends requests to a replica as soon as its port is open, for want of ready";
            self.add(
                Severity::Warning,
                &path,
                message,
                "ready = \"/ready\", a path that answers 200 once it can serve",
            );
        }
    }

    fn budget(&mut self, database: &Resolved<'_>) {
        let path = KeyPath::keys(["backing", database.name.as_str()]);
        let budget = match Budget::of(self.stack, database, Scale::Replicas) {
            Ok(Some(budget)) => budget,
            Ok(None) => {
                if database.external.is_some() && database.entry.max_connections.is_some() {
                    let message = "the connection budget is unknown, because the database runs elsewhere";
                    let hint = format!("set {}, as its server says", path.key("max_connections"));
                    self.add(Severity::Warning, &path, message, hint);
                }
                return;
            }
            Err(problem) => {
                let finding = Finding { severity: Severity::Error, problem: *problem };
                if !self.report.findings.contains(&finding) {
                    self.report.findings.push(finding);
                }
                return;
            }
        };
        let at_most = Budget::of(self.stack, database, Scale::AutoscaleMax).ok().flatten();
        if !budget.holds() {
            self.add(Severity::Error, &path, budget.to_string(), budget.remedy());
        } else if let Some(at_most) = at_most.filter(|at_most| !at_most.holds()) {
            self.add(Severity::Warning, &path, format!("autoscaled, it {at_most}"), at_most.remedy());
        }
        self.report.budgets.push(budget);
    }

    /// Variables that container engines start the backing service with.
    fn backing(&mut self, resolved: &Resolved<'_>) {
        if resolved.external.is_some() {
            return;
        }
        for name in resolved.missing_variables(self.stack) {
            let path = KeyPath::keys(["backing", resolved.name.as_str()]);
            let message = format!("container engines need {name}, found none in .env or in the environment");
            self.add(Severity::Warning, &path, message, "the local engine does without");
        }
    }

    /// Everybody on a machine can read the arguments of its processes.
    fn secrets_in_arguments(&mut self) {
        let is_argument = |path: &&KeyPath| path.parent().last_key() == Some("command");
        for path in self.stack.secret_paths.iter().filter(is_argument).cloned().collect::<Vec<_>>() {
            let hint = "give it in env instead, and let the program read it there";
            self.add(Severity::Warning, &path, "a secret in a command can be read by everybody on the machine", hint);
        }
    }

    /// Everybody who has an image can read the arguments that it was built with.
    fn secrets_in_build_arguments(&mut self) {
        let is_argument = |path: &&KeyPath| path.parent().last_key() == Some("args");
        for path in self.stack.secret_paths.iter().filter(is_argument).cloned().collect::<Vec<_>>() {
            let hint = "give it in env instead, or let the build do without it";
            self.add(
                Severity::Warning,
                &path,
                "a secret in a build argument stays in the image, for everybody who has it",
                hint,
            );
        }
    }

    /// What the load generator would refuse before it sends anything.
    fn workload(&mut self, name: &Name, workload: &Workload) {
        let Ok(target) = "http://localhost/".parse() else { return };
        let mut config = Config::new(target);
        let mut workload = workload.clone();
        workload.begin_paths_at(&self.stack.root);
        config.apply(&workload);
        let refused = config.check().map_err(|why| (why.to_string(), None));
        let Err((message, hint)) = refused.and_then(|()| config.mix().map_err(|why| (why.to_string(), why.hint())))
        else {
            return;
        };
        let path = KeyPath::keys(["bench", name.as_str()]);
        // What is wrong may be shown with the secret in it.
        let problem = if self.stack.secret_paths.iter().any(|secret| secret.0.starts_with(&path.0)) {
            let message = "expected a workload that can be sent; what is wrong is not shown, as it holds a secret";
            self.stack.problem(&path, message).hint(format!("`scalectl bench --workload {name} --try` says it"))
        } else {
            let problem = self.stack.problem(&path, message);
            if let Some(hint) = hint { problem.hint(hint) } else { problem }
        };
        self.report.findings.push(Finding { severity: Severity::Error, problem });
    }

    #[cfg(unix)]
    fn dot_env(&mut self) {
        use std::os::unix::fs::PermissionsExt;
        let Ok(metadata) = self.stack.root.join(DOT_ENV).metadata() else { return };
        if metadata.permissions().mode() & 0o077 != 0 {
            let problem = Problem::of_file(DOT_ENV, "other users of the machine can read the secrets in it")
                .hint("`chmod 600 .env`");
            self.report.findings.push(Finding { severity: Severity::Warning, problem });
        }
    }

    #[cfg(not(unix))]
    fn dot_env(&mut self) {}
}

/// Whether a program is there to be run: by its path from the build folder, or in PATH.
fn is_found(program: &str, folder: &Path, stack: &Stack) -> bool {
    if program.contains('/') {
        return folder.join(program).is_file();
    }
    let path = stack.variables().lookup("PATH").map(|value| value.text).unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
