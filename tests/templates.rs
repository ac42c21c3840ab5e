//! Every template renders with every choice of its features, and every rendered project passes its own tests and
//! linters, embedded and on real services.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use scalectl::scaffold::{self, RenderedFile, Template};
use scalectl::stack::Stack;

mod support;
use support::python::{cache, python_environment};
use support::services::control::Control;
use support::services::{Instance, Postgres, RabbitMq, Redis, Server};
use support::{repository, scalectl, skip};

/// Renders a template with every subset of its features.
fn each_rendering(mut look: impl FnMut(&Template, &[String], &[RenderedFile])) {
    for template in scaffold::all().unwrap() {
        let features: Vec<String> = template.manifest.features.iter().map(|f| f.name.clone()).collect();
        for subset in 0..1_u32 << features.len() {
            let chosen = (0..features.len()).filter(|bit| subset >> bit & 1 == 1);
            let chosen: Vec<String> = chosen.map(|bit| features[bit].clone()).collect();
            let files = scaffold::render(&template, &"shop".parse().unwrap(), &chosen)
                .unwrap_or_else(|error| panic!("{} with {chosen:?}: {error:?}", template.manifest.name));
            look(&template, &chosen, &files);
        }
    }
}

fn text<'a>(files: &'a [RenderedFile], path: &str) -> &'a str {
    let file = files.iter().find(|file| file.path == Path::new(path)).unwrap_or_else(|| panic!("there is no {path}"));
    std::str::from_utf8(&file.bytes).unwrap()
}

#[test]
fn every_folder_of_templates_is_in_the_binary_under_its_name() {
    let folders: BTreeSet<String> = fs::read_dir(repository().join("templates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let names: BTreeSet<String> = scaffold::all().unwrap().iter().map(|t| t.manifest.name.to_string()).collect();
    assert_eq!(folders, names);
    assert!(names.contains(scaffold::DEFAULT_TEMPLATE));
}

#[test]
fn every_rendering_is_a_valid_stack_that_remembers_its_answers() {
    each_rendering(|template, chosen, files| {
        let stack: Stack = toml::from_str(text(files, "scalectl.toml"))
            .unwrap_or_else(|error| panic!("{} with {chosen:?}: {error}", template.manifest.name));
        assert_eq!(stack.project.name.as_str(), "shop");
        assert_eq!(stack.project.template.as_deref(), Some(template.manifest.name.as_str()));
        assert_eq!(stack.project.with.as_deref(), Some(chosen), "{}", template.manifest.name);
    });
}

#[test]
fn no_rendering_has_leftovers_of_the_template_language() {
    // These languages have braces of their own.
    let braces = [".github", "scalectl.toml", "migrations/script.py.mako", "monitoring"];
    each_rendering(|template, chosen, files| {
        for file in files.iter().filter(|file| !braces.iter().any(|own| file.path.starts_with(own))) {
            let bytes = String::from_utf8_lossy(&file.bytes);
            for mark in ["{{ project", "{%", "{{ with", "{#"] {
                assert!(
                    !bytes.contains(mark),
                    "{} with {chosen:?}: {mark} in {}",
                    template.manifest.name,
                    file.path.display()
                );
            }
            assert!(!file.path.to_string_lossy().ends_with(".tera"));
        }
    });
}

#[test]
fn secrets_are_fresh_private_and_ignored_by_git() {
    let mut seen = BTreeSet::new();
    each_rendering(|_, _, files| {
        let env = files.iter().find(|file| file.path == Path::new(".env")).expect("a .env");
        assert_eq!(env.mode, scaffold::Mode::Secret);
        assert!(text(files, ".gitignore").lines().any(|line| line.trim_start_matches('/') == ".env"));
        for (name, value) in text(files, ".env").lines().filter_map(|line| line.split_once('=')) {
            assert!(seen.insert(value.to_owned()), "{name} is the same in two projects");
        }
    });
}

/// A rendered project with an environment to run its tests in.
struct Project {
    folder: PathBuf,
    environment: PathBuf,
}

impl Project {
    /// Renders the template by the real binary, with the features it proposes.
    fn render(template: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{template}-project"));
        let _ = fs::remove_dir_all(&folder);
        scalectl()
            .args(["new", "shop", "--defaults", "--template", template, "--output"])
            .arg(&folder)
            .assert()
            .success();
        let environment = python_environment(&folder.join("requirements-dev.lock"));
        Self { folder, environment }
    }

    /// Runs a program of the project's environment in the project's folder; what it printed, if it failed.
    fn run(&self, line: &str, variables: &[(&str, String)]) -> Result<String, String> {
        let words = shell_words::split(line).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new(self.program(&words[0]))
            .args(&words[1..])
            .current_dir(&self.folder)
            .env("PATH", format!("{}:{path}", self.environment.join("bin").display()))
            .env("VIRTUAL_ENV", &self.environment)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
            .output()
            .map_err(|error| format!("$ {line}\n{error}"))?;
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(printed) } else { Err(format!("$ {line}\n{printed}")) }
    }

    fn program(&self, name: &str) -> PathBuf {
        let places = [self.environment.join("bin"), cache().join("bin")].map(|folder| folder.join(name));
        places.into_iter().find(|file| file.exists()).unwrap_or_else(|| name.into())
    }
}

static FASTAPI: LazyLock<Project> = LazyLock::new(|| Project::render("fastapi"));

/// One suite at a time: they start replicas, and the machine may be small.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn fastapi_passes_its_linters() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut linters = vec![
        "ruff check --no-cache .",
        "ruff format --no-cache --check .",
        "mypy --strict",
        "bandit --quiet --recursive --configfile pyproject.toml app migrations",
        "hadolint Dockerfile",
        "yamllint --strict .",
    ];
    if FASTAPI.folder.join(".github/workflows").exists() {
        match Command::new(FASTAPI.program("actionlint")).arg("--version").output() {
            Ok(_) => linters.push("actionlint"),
            Err(error) => skip("actionlint of the fastapi template", &error.to_string()),
        }
    }
    let failures: Vec<String> = linters.iter().filter_map(|line| FASTAPI.run(line, &[]).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn fastapi_passes_its_tests_embedded() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let printed =
        FASTAPI.run("python -m pytest -q -p no:cacheprovider", &[]).unwrap_or_else(|printed| panic!("{printed}"));
    println!("{printed}");
}

/// An instance that the project's tests may kill and start.
fn shared<S: Server + Send + 'static>(started: Result<Instance<S>, String>) -> Result<(String, Control), String> {
    let instance = Arc::new(Mutex::new(started?));
    let url = instance.lock().unwrap().url();
    Ok((url, Control::new(instance)))
}

#[test]
fn fastapi_passes_its_tests_on_real_services() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut variables = Vec::new();
    for (url_name, part, service) in [
        ("DATABASE_URL", "DATABASE", shared(Postgres::start())),
        ("REDIS_URL", "REDIS", shared(Redis::start())),
        ("AMQP_URL", "BROKER", shared(RabbitMq::start())),
    ] {
        let (url, control) = match service {
            Ok(service) => service,
            Err(reason) => return skip("fastapi_passes_its_tests_on_real_services", &reason),
        };
        variables.push((url_name.to_owned(), url));
        variables.push((format!("TEST_KILL_{part}"), control.kill_command()));
        variables.push((format!("TEST_START_{part}"), control.start_command()));
    }
    let variables: Vec<(&str, String)> = variables.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let printed = FASTAPI
        .run("python -m pytest -q -p no:cacheprovider", &variables)
        .unwrap_or_else(|printed| panic!("{printed}"));
    println!("{printed}");
}
