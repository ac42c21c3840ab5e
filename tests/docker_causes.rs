//! Root causes that lie outside of the stack's file: a lost `.env`, an engine that goes away, what a killed command left
//! half done, images that were built again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/engine.rs"]
mod engine;
#[path = "support/project.rs"]
mod project;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use engine::{ask, assert_converged, assert_leaves_nothing, change, docker, small, things_of};
use project::{Project, all, eventually, kill};

/// The counter in one replica, with a backing service that it uses and a migration before it.
fn with_data(backing: &str) -> Project {
    let project = Project::docker_counter();
    change(&project.root(), "replicas = 3 ", "replicas = 1 ");
    let uses = format!("[services.api]\nuses = [\"{backing}\"]\n");
    change(&project.root(), "[services.api]\n", &uses);
    change(&project.root(), "[balancer]\n", &format!("[backing.{backing}]\n\n[balancer]\n"));
    project
}

fn dot_env(project: &Project, text: &str) {
    fs::write(project.root().join(".env"), text).unwrap();
}

fn assert_said(out: &Output, code: i32, words: &[&str]) -> String {
    let text = all(out);
    assert_eq!(out.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    text
}

/// Runs SQL in the project's PostgreSQL, past every password.
fn sql(project: &Project, text: &str) -> String {
    let container = format!("{}-postgres-1", project.name);
    ask(&["exec", &container, "psql", "-U", "app", "-d", "app", "--tuples-only", "--command", text]).trim().to_owned()
}

const OLD: &str = "6tWq1nXhPz8rKdVb3yLs";
const NEW: &str = "mB4cJ7uRfG2eNa9oTiQx";

#[test]
fn a_password_that_postgres_data_does_not_know_is_the_cause_and_the_old_one_opens_it() {
    let project = with_data("postgres");
    dot_env(&project, &format!("POSTGRES_PASSWORD={OLD}\n"));
    project.ok(&["up"]);
    sql(&project, "CREATE TABLE kept (n int)");
    project.ok(&["down"]);

    dot_env(&project, &format!("POSTGRES_PASSWORD={NEW}\n"));
    let words = [
        "postgres: the password in .env is not the one that its volume was made with",
        "password authentication failed for user",
        "put the old .env back",
        "`scalectl down --volumes`",
    ];
    let said = assert_said(&project.run(&["up"]), 1, &words);
    assert!(!said.contains(OLD) && !said.contains(NEW), "{said}");
    let seen = ask(&["inspect", &format!("{}-postgres-1", project.name)]);
    assert!(!seen.contains(NEW), "{seen}");
    assert!(project.replicas("api").is_empty(), "its users were not started");

    // It runs by now, and nobody waits for it: a user's failure has the same cause.
    change(&project.root(), "[\"python\", \"app.py\", \"migrate\"]", "[\"sh\", \"-c\", \"echo no database; exit 1\"]");
    assert_said(&project.run(&["up"]), 1, &words);
    change(&project.root(), "[\"sh\", \"-c\", \"echo no database; exit 1\"]", "[\"python\", \"app.py\", \"migrate\"]");

    fs::remove_file(project.root().join(".env")).unwrap();
    let words = ["POSTGRES_PASSWORD", "volume", "if .env was lost, put the old one back"];
    assert_said(&project.run(&["up"]), 2, &words);

    dot_env(&project, &format!("POSTGRES_PASSWORD={OLD}\n"));
    project.ok(&["up"]);
    assert_eq!(sql(&project, "SELECT count(*) FROM kept"), "0", "the table is there");

    sql(&project, &format!("ALTER USER app PASSWORD '{NEW}'"));
    dot_env(&project, &format!("POSTGRES_PASSWORD={NEW}\n"));
    project.ok(&["up"]);
    assert_eq!(project.ok(&["up", "--dry-run"]).trim(), "nothing to change", "changed in both places");
}

#[test]
fn a_password_that_rabbitmq_data_does_not_know_is_the_cause() {
    let project = with_data("rabbitmq");
    dot_env(&project, &format!("RABBITMQ_PASSWORD={OLD}\n"));
    project.ok(&["up"]);
    dot_env(&project, &format!("RABBITMQ_PASSWORD={NEW}\n"));
    let words =
        ["rabbitmq: the password in .env is not the one that its volume was made with", "failed to authenticate"];
    let said = assert_said(&project.run(&["up"]), 1, &words);
    assert!(!said.contains(OLD) && !said.contains(NEW), "{said}");
    dot_env(&project, &format!("RABBITMQ_PASSWORD={OLD}\n"));
    project.ok(&["up"]);
    assert_eq!(project.ok(&["up", "--dry-run"]).trim(), "nothing to change");
}

#[test]
fn a_password_that_is_missing_where_there_is_no_data_was_not_lost() {
    let project = with_data("postgres");
    let said = assert_said(&project.run(&["up"]), 2, &["POSTGRES_PASSWORD", "set POSTGRES_PASSWORD in .env"]);
    assert!(!said.contains("lost"), "{said}");
}

#[test]
fn a_volume_that_a_killed_command_left_half_filled_is_filled_anew() {
    let project = small();
    project.ok(&["up"]);
    let redis = format!("{}-redis-1", project.name);
    let read = || ask(&["exec", &redis, "cat", "/run/scalectl/redis.conf", "/run/scalectl/password"]);
    let whole = read();
    let begin = format!("volume {}-redis-files-", project.name);
    let volume = things_of(&project.name).into_iter().find(|thing| thing.starts_with(&begin)).unwrap();
    let volume = volume.trim_start_matches("volume ").to_owned();
    project.ok(&["down"]);
    assert!(!docker(&["volume", "inspect", &volume]).status.success(), "it goes with the stack");

    // What is there between the first byte and the last, with the helper that they go through.
    let helper = format!("{volume}-helper");
    let root = project.root().canonicalize().unwrap();
    let of = [format!("scalectl.project={}", project.name), format!("scalectl.root={}", root.display())];
    let ours = ["--label", &of[0], "--label", &of[1]];
    ask(&[&["volume", "create", "--label", "scalectl.role=files"], &ours[..], &[&volume]].concat());
    let mount = format!("type=volume,src={volume},dst=/run/scalectl,volume-nocopy");
    let create = ["create", "--name", &helper, "--label", "scalectl.role=helper", "--mount", &mount];
    ask(&[&create[..], &ours, &["redis:8"]].concat());
    let half = project.runtime().join("redis.conf");
    fs::write(&half, &whole[..40]).unwrap();
    ask(&["cp", &half.display().to_string(), &format!("{helper}:/run/scalectl/redis.conf")]);

    project.ok(&["up"]);
    assert_converged(&project, "a half-filled volume");
    assert_eq!(read(), whole);
    assert!(!things_of(&project.name).iter().any(|thing| thing.ends_with("-helper")));
    assert_leaves_nothing(&project, "a half-filled volume");
}

/// The ids of the images that the replicas run.
fn image_ids(project: &Project) -> Vec<String> {
    let name = |replica: &serde_json::Value| format!("{}-{}", project.name, replica["name"].as_str().unwrap());
    let replicas: Vec<_> = project.replicas("api").iter().map(name).collect();
    replicas.iter().map(|name| ask(&["inspect", "--format", "{{.Image}}", name])).collect()
}

#[test]
fn an_image_that_was_built_again_replaces_the_replicas_if_it_became_another() {
    let project = small();
    project.ok(&["up"]);
    let (containers, before) = (project.containers(), image_ids(&project));
    let said = all(&project.run(&["up", "--build"]));
    assert!(said.contains("nothing to change"), "every step is in the cache: {said}");
    assert_eq!((project.containers(), image_ids(&project)), (containers, before.clone()));

    project.ok(&["up", "--no-cache"]);
    assert_converged(&project, "built without a cache");
    let after = image_ids(&project);
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|id| !before.contains(id)), "{before:?} {after:?}");
}

/// Brings up a part of `tests/docker`; its variables. None where this machine cannot have it.
fn part(test: &str, part: &str) -> Option<BTreeMap<String, String>> {
    let output = Command::new(support::repository().join("tests/docker")).args([part, "up"]).output().unwrap();
    if !output.status.success() {
        support::skip(test, &format!("{part}: {}", String::from_utf8_lossy(&output.stderr)));
        return None;
    }
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().filter_map(|line| line.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect())
}

/// An image that only a registry has, and the configuration with which it is pulled.
struct Published {
    image: String,
    config: tempfile::TempDir,
}

impl Published {
    fn new(registry: &BTreeMap<String, String>, name: &str) -> Self {
        let [address, user, password] =
            ["REGISTRY_ADDRESS", "REGISTRY_USER", "REGISTRY_PASSWORD"].map(|name| &registry[name]);
        let published = Self { image: format!("{address}/{name}:1"), config: tempfile::tempdir().unwrap() };
        let auths = serde_json::json!({"auths": {address: {"username": user, "password": password}}}).to_string();
        fs::write(published.config.path().join("config.json"), auths).unwrap();
        let script = format!(
            "echo '{password}' | docker login --username '{user}' --password-stdin {address} && docker push {image}",
            image = published.image
        );
        let folder = tempfile::tempdir().unwrap();
        let dockerfile = format!("FROM python:3.13-slim\nLABEL test={name}\n");
        fs::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
        ask(&["build", "-q", "-t", &published.image, &folder.path().display().to_string()]);
        let login = tempfile::tempdir().unwrap();
        let pushed = Command::new("sh").args(["-c", &script]).env("DOCKER_CONFIG", login.path()).output().unwrap();
        assert!(pushed.status.success(), "{}", all(&pushed));
        ask(&["rmi", &published.image]);
        published
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let _ = docker(&["rmi", &self.image]);
    }
}

#[test]
fn a_base_image_that_the_build_brought_is_no_change_at_the_next_up() {
    let test = "a_base_image_that_the_build_brought_is_no_change_at_the_next_up";
    let Some(registry) = part(test, "registry") else { return };
    let project = small();
    let base = Published::new(&registry, &project.name);
    let dockerfile = project.root().join("Dockerfile");
    let text = fs::read_to_string(&dockerfile).unwrap();
    fs::write(&dockerfile, text.replace("python:3.13-slim", &base.image)).unwrap();
    let up = || project.command(&["up"]).env("DOCKER_CONFIG", base.config.path()).output().unwrap();
    assert_said(&up(), 0, &[]);
    assert!(docker(&["image", "inspect", &base.image]).status.success(), "the build brought it");
    assert_said(&up(), 0, &["nothing to change"]);
    assert_converged(&project, "the second up");
    project.ok(&["down", "--volumes", "--images"]);
}

#[test]
fn an_engine_that_goes_away_in_the_middle_is_the_cause_and_the_next_up_goes_on() {
    let test = "an_engine_that_goes_away_in_the_middle_is_the_cause_and_the_next_up_goes_on";
    let Some(tls) = part(test, "tls") else { return };
    let pid = fs::read_to_string("/run/scalectl-tests/tls.pid").unwrap().trim().parse().unwrap();
    let project = Project::docker_counter();
    let app = project.root().join("app.py");
    let good = fs::read_to_string(&app).unwrap();
    let hung = good.replace("def migrate() -> None:\n", "def migrate() -> None:\n    import time; time.sleep(600)\n");
    fs::write(&app, hung).unwrap();
    let there = |args: &[&str]| project.command(args).envs(&tls).output().unwrap();
    let listed = || {
        let label = format!("label=scalectl.project={}", project.name);
        let args = ["ps", "--format", "{{.Names}}", "--filter", &label];
        let out = Command::new("docker").args(args).envs(&tls).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let child = project.command(&["up"]).envs(&tls).spawn().unwrap();
    eventually("the migration runs", || listed().contains("job-migrate").then_some(()));
    // As at a restart of the engine: it ends what runs, then itself.
    kill(pid, "TERM");
    let out = child.wait_with_output().unwrap();
    let restarted = part(test, "tls");
    assert_said(&out, 1, &["the engine went away", "run the same command again"]);

    fs::write(&app, good).unwrap();
    assert!(restarted.is_some());
    assert_said(&there(&["up"]), 0, &[]);
    assert_said(&there(&["up", "--dry-run"]), 0, &["nothing to change"]);
    assert_said(&there(&["down", "--volumes"]), 0, &[]);
    assert_eq!(listed(), "");
}
