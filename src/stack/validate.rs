//! What a stack of the right types can still get wrong. Pure: looks at no file and no network.

use std::collections::BTreeMap;

use super::assemble::nearest;
use super::document::{Document, Node, Value};
use super::interpolate::is_variable_name;
use super::model::{Autoscale, Build, EnvValue, Service, Stack};
use super::path::KeyPath;
use super::problem::Problem;
use super::secret::mask_found;
use crate::backing;
use crate::bench::Workload;
use crate::units::Name;

/// Everything that is wrong. `document` is the document as it was written, and `gone` what had to be taken out of it
/// before it became `stack`: nothing is reported that only follows from that.
pub(super) fn problems(stack: &Stack, document: &Document, gone: &[KeyPath]) -> Vec<Problem> {
    let mut checker = Checker { stack, document, gone, problems: Vec::new() };
    checker.texts();
    checker.names();
    for (name, service) in &stack.services {
        checker.service(name, service);
    }
    checker.ports();
    checker.cycle();
    checker.jobs();
    checker.balancer();
    checker.backing();
    for (name, workload) in &stack.bench {
        checker.workload(name, workload);
    }
    checker.problems
}

const VARIABLE_NAME: &str = "expected a variable's name of letters, digits and _ that begins with no digit";

struct Checker<'a> {
    stack: &'a Stack,
    document: &'a Document,
    gone: &'a [KeyPath],
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn add(&mut self, path: &KeyPath, message: impl Into<String>) -> &mut Problem {
        let mut message = message.into();
        if self.stack.secret_paths.contains(path) {
            message = mask_found(&message);
        }
        let at = self.problems.len();
        self.problems.push(Problem::of_key(self.document.location(path), path.clone(), message));
        &mut self.problems[at]
    }

    fn add_with_hint(&mut self, path: &KeyPath, message: impl Into<String>, hint: impl Into<String>) {
        self.add(path, message).hint = Some(hint.into());
    }

    /// Whether the value was taken out, alone or with the table around it.
    fn is_gone(&self, path: &KeyPath) -> bool {
        self.gone.iter().any(|gone| path.0.starts_with(&gone.0))
    }

    /// The names that a section declares, those with errors included.
    fn declared(&self, section: &str) -> Vec<&str> {
        self.document.get(&KeyPath::keys([section])).map(|table| table.keys().collect()).unwrap_or_default()
    }

    /// A NUL byte can stand in no argument, variable or path.
    fn texts(&mut self) {
        fn walk(node: &Node, path: &KeyPath, found: &mut Vec<KeyPath>) {
            match &node.value {
                Value::String(text) if text.contains('\0') => found.push(path.clone()),
                Value::Array(array) => array.iter().enumerate().for_each(|(at, n)| walk(n, &path.index(at), found)),
                Value::Table(table) => table.iter().for_each(|(key, n)| walk(n, &path.key(key), found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        walk(&self.document.root, &KeyPath::default(), &mut found);
        for path in found {
            self.add(&path, "expected a text without NUL characters, found one");
        }
    }

    /// Services, jobs and backing services are addressed by one name each.
    fn names(&mut self) {
        let mut first: BTreeMap<&str, &str> = BTreeMap::new();
        let mut twice = Vec::new();
        for section in ["services", "jobs", "backing"] {
            for name in self.declared(section) {
                if let Some(other) = first.insert(name, section) {
                    twice.push((KeyPath::keys([section, name]), format!("{other}.{name}")));
                }
            }
        }
        for (path, other) in twice {
            self.add_with_hint(&path, format!("the name is taken by {other}"), "rename one of the two");
        }
    }

    fn service(&mut self, name: &Name, service: &Service) {
        let path = KeyPath::keys(["services", name.as_str()]);
        self.source(&path, service);
        if let Some(build) = &service.build {
            self.build(&path.key("build"), build);
        }
        if let Some(command) = &service.command {
            self.command(&path.key("command"), command);
        }
        for (key, check) in [("health", &service.health), ("ready", &service.ready)] {
            if let Some(check) = check {
                self.check_path(&path, key, check, service);
            }
        }
        self.uses(&path, name, service);
        self.environment(&path, &service.env);
        if let Some(autoscale) = &service.autoscale {
            self.autoscale(&path.key("autoscale"), autoscale);
        }
    }

    fn source(&mut self, path: &KeyPath, service: &Service) {
        match (&service.build, &service.image) {
            (Some(_), Some(_)) => self.add_with_hint(
                &path.key("image"),
                "expected either build or image, found both",
                "keep build for your own source, image for a ready image",
            ),
            (None, None) if !self.is_gone(&path.key("build")) && !self.is_gone(&path.key("image")) => self
                .add_with_hint(
                    path,
                    "expected build or image, found neither",
                    "build = \".\" builds the folder of this file",
                ),
            (None, Some(image)) if image.is_empty() || image.contains(char::is_whitespace) => {
                let path = path.key("image");
                self.add_with_hint(
                    &path,
                    format!("expected the name of an image, found {image:?}"),
                    "an image is written like \"registry/shop:1.2\"",
                );
            }
            _ => {}
        }
    }

    fn build(&mut self, path: &KeyPath, build: &Build) {
        for name in build.args.keys().filter(|name| !is_variable_name(name)) {
            self.add_with_hint(&path.key("args").key(name), VARIABLE_NAME, "such as VERSION");
        }
        let texts = [("target", build.target.as_deref()), ("network", build.network.as_deref())];
        for (key, text) in texts {
            if text.is_some_and(|text| text.is_empty() || text.contains(char::is_whitespace)) {
                self.add(&path.key(key), format!("expected a name, found {:?}", text.unwrap_or_default()));
            }
        }
        if build.dockerfile.as_os_str().is_empty() || build.dockerfile.is_absolute() {
            let message = format!("expected a path from the context, found {:?}", build.dockerfile);
            self.add_with_hint(&path.key("dockerfile"), message, "such as \"deploy/Dockerfile\"");
        }
    }

    fn command(&mut self, path: &KeyPath, command: &[String]) {
        if command.first().is_none_or(|program| program.trim().is_empty()) {
            self.add_with_hint(
                path,
                "expected a program and its arguments, found none",
                "command = [\"python\", \"-m\", \"app\"]",
            );
        }
    }

    fn check_path(&mut self, path: &KeyPath, key: &str, check: &str, service: &Service) {
        let own = path.key(key);
        if !check.starts_with('/') {
            let hint = format!("write it like \"/{key}\"");
            self.add_with_hint(&own, format!("expected a path that begins with /, found {check:?}"), hint);
        }
        if service.port.is_none() && !self.is_gone(&path.key("port")) {
            self.add_with_hint(
                &own,
                "expected a port to send the check to, found none",
                format!("add {}, the port that the program listens on", path.key("port")),
            );
        }
    }

    fn uses(&mut self, path: &KeyPath, name: &Name, service: &Service) {
        for (position, used) in service.uses.iter().enumerate() {
            let own = path.key("uses").index(position);
            if service.uses[..position].contains(used) {
                self.add(&own, format!("\"{used}\" is listed twice"));
            } else if used == name {
                self.add(&own, "expected another service, found the service itself");
            } else if !["services", "backing"].iter().any(|section| self.declared(section).contains(&used.as_str())) {
                let hint = self.unknown_use_hint(name, used);
                self.add(&own, format!("expected a service or a backing service, found \"{used}\"")).hint = hint;
            }
        }
    }

    fn unknown_use_hint(&self, user: &Name, used: &Name) -> Option<String> {
        if backing::catalog().contains_key(used) {
            return Some(format!("add an empty section [backing.{used}]"));
        }
        let declared = [self.declared("services"), self.declared("backing")].concat();
        let kinds = backing::catalog().keys().map(Name::as_str);
        nearest(used.as_str(), declared.iter().copied().chain(kinds)).or_else(|| {
            let others = declared.into_iter().filter(|name| *name != user.as_str()).collect::<Vec<_>>();
            (!others.is_empty()).then(|| format!("this stack has: {}", others.join(", ")))
        })
    }

    fn environment(&mut self, path: &KeyPath, env: &BTreeMap<String, EnvValue>) {
        for name in env.keys().filter(|name| !is_variable_name(name)) {
            self.add_with_hint(&path.key("env").key(name), VARIABLE_NAME, "such as LOG_LEVEL");
        }
    }

    fn autoscale(&mut self, path: &KeyPath, autoscale: &Autoscale) {
        if autoscale.min > autoscale.max {
            let (min, max) = (autoscale.min.0, autoscale.max.0);
            self.add(&path.key("min"), format!("expected at most max ({max}), found {min}"));
        }
        if autoscale.cpu == 0 {
            self.add(&path.key("cpu"), "expected a percentage above 0, found 0");
        }
    }

    /// The port tells the services of a stack apart, so that one of them can move onto the host as it is.
    fn ports(&mut self) {
        let mut first = BTreeMap::new();
        for (name, service) in &self.stack.services {
            let Some(port) = service.port else { continue };
            if let Some(other) = first.insert(port, name) {
                self.add_with_hint(
                    &KeyPath::keys(["services", name.as_str(), "port"]),
                    format!("port {} is taken by services.{other}", port.0),
                    "give each service a port of its own",
                );
            }
        }
    }

    fn cycle(&mut self) {
        let Some(cycle) = self.stack.cycle().filter(|cycle| cycle.len() > 2) else { return };
        let way = cycle.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" → ");
        self.add_with_hint(
            &KeyPath::keys(["services", cycle[0].as_str(), "uses"]),
            format!("expected an order to start in, found a cycle: {way}"),
            "let one of them find the other at run time, through an address in its env",
        );
    }

    /// A name that must be one of the services.
    fn known_service(&mut self, path: &KeyPath, name: &Name) {
        let services = self.declared("services");
        if services.contains(&name.as_str()) {
            return;
        }
        let all = || (!services.is_empty()).then(|| format!("the services are: {}", services.join(", ")));
        let hint = nearest(name.as_str(), services.iter().copied()).or_else(all);
        self.add(path, format!("expected a service, found \"{name}\"")).hint = hint;
    }

    fn jobs(&mut self) {
        for (name, job) in &self.stack.jobs {
            let path = KeyPath::keys(["jobs", name.as_str()]);
            self.known_service(&path.key("service"), &job.service);
            self.command(&path.key("command"), &job.command);
            for (position, service) in job.before.iter().enumerate() {
                self.known_service(&path.key("before").index(position), service);
            }
        }
    }

    fn balancer(&mut self) {
        let Some(balancer) = &self.stack.balancer else { return };
        let path = KeyPath::keys(["balancer", "service"]);
        self.known_service(&path, &balancer.service);
        let port = KeyPath::keys(["services", balancer.service.as_str(), "port"]);
        let service = self.stack.services.get(&balancer.service);
        if service.is_some_and(|service| service.port.is_none()) && !self.is_gone(&port) {
            let message = format!("expected a service with a port, found \"{}\" without one", balancer.service);
            self.add_with_hint(&path, message, format!("add {port}, the port that the program listens on"));
        }
    }

    fn backing(&mut self) {
        for (name, backing) in &self.stack.backing {
            let path = KeyPath::keys(["backing", name.as_str()]);
            let kind = backing.kind.as_ref().unwrap_or(name);
            if !backing::catalog().contains_key(kind) {
                let kinds = || backing::catalog().keys().map(Name::as_str);
                let hint = nearest(kind.as_str(), kinds());
                let all = kinds().collect::<Vec<_>>().join(", ");
                let own = if backing.kind.is_some() { path.key("kind") } else { path.clone() };
                let message = format!("expected a kind of backing service that the catalog knows, found \"{kind}\"");
                self.add(&own, message).hint =
                    Some(hint.unwrap_or_else(|| format!("kind = one of {all}; a section of another name needs it")));
            }
            self.environment(&path, &backing.env);
            if backing.max_connections == Some(0) {
                self.add(&path.key("max_connections"), "expected a number above 0, found 0");
            }
        }
    }

    fn workload(&mut self, name: &Name, workload: &Workload) {
        let path = KeyPath::keys(["bench", name.as_str()]);
        if !workload.stages.is_empty() && (workload.rate.is_some() || workload.duration.is_some()) {
            let message = "expected either stages, or rate and duration, found both";
            self.add_with_hint(&path.key("stages"), message, "every stage has a rate and a duration of its own");
        }
        let path = path.key("requests");
        let mut weights = workload.requests.iter().map(|r| r.weight).chain(workload.flows.iter().map(|f| f.weight));
        if !workload.requests.is_empty() && weights.all(|weight| weight == 0) {
            self.add_with_hint(&path, "expected a weight above 0, found only 0", "a request of weight 0 is never sent");
        }
        for (position, request) in workload.requests.iter().enumerate() {
            let path = path.index(position);
            if let [one, other, ..] = request.bodies().as_slice() {
                self.add(&path.key(other), format!("expected either {one} or {other}, found both"));
            }
            if !request.path.starts_with('/') && !request.path.starts_with("{{") {
                let message = format!("expected a path that begins with /, found {:?}", request.path);
                self.add_with_hint(&path.key("path"), message, "the host is that of the service under load");
            }
        }
    }
}
