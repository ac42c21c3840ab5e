//! Engines that are not the one at the default socket: a remote one with TLS, by variables and by a context, a registry
//! that asks for a password, and Podman.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/project.rs"]
mod project;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use project::{Project, all, docker, eventually, has_docker};

/// Starts a part of the test bed; its variables. Nothing where this machine cannot run it.
fn part(test: &str, part: &str) -> Option<BTreeMap<String, String>> {
    let output = Command::new(support::repository().join("tests/docker")).args([part, "up"]).output().unwrap();
    if !output.status.success() {
        support::skip(test, &format!("{part}: {}", String::from_utf8_lossy(&output.stderr)));
        return None;
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let variables = text.lines().filter_map(|line| line.split_once('='));
    Some(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The counter on an engine that variables name.
fn counter(environment: BTreeMap<String, String>) -> Project {
    let mut project = Project::docker_counter();
    project.environment = environment;
    project
}

fn ready(project: &Project, service: &str) -> usize {
    project.replicas(service).iter().filter(|replica| replica["ready"] == true && replica["state"] == "running").count()
}

/// The answer of the balancer, asked on the engine's machine: its ports are not on this one's loopback interface.
fn answer(project: &Project) -> String {
    let balancer = format!("{}-balancer", project.name);
    project.docker(&["exec", &balancer, "curl", "--silent", &format!("http://127.0.0.1:{}/", project.port)])
}

/// Waits until so many replicas have answered through the balancer.
fn answers_of(project: &Project, replicas: usize) {
    let mut seen = std::collections::BTreeSet::new();
    eventually(&format!("answers of {replicas} replicas"), || {
        seen.insert(answer(project));
        (seen.iter().filter(|answer| answer.contains("api-")).count() == replicas).then_some(())
    });
}

/// `up`, `status`, `scale` and `down` of the counter on an engine of another machine.
fn lives(project: &Project, address: &str) {
    let up = all(&project.run(&["up"]));
    assert!(up.contains(&format!("containers on {address}")), "{up}");
    let host = address.trim_start_matches("tcp://").split(':').next().unwrap();
    assert!(up.contains(&format!("ssh -NL {0}:127.0.0.1:{0} {host}", project.port)), "{up}");
    assert!(project.http("GET", "/", "").is_none(), "the engine is on this machine's loopback");
    assert_eq!((ready(project, "api"), ready(project, "worker")), (3, 1), "{up}");
    answers_of(project, 3);
    assert_eq!(project.ok(&["up", "--dry-run"]).trim(), "nothing to change");
    project.ok(&["scale", "api=5"]);
    assert_eq!(ready(project, "api"), 5);
    answers_of(project, 5);
    project.ok(&["scale", "api=2"]);
    assert_eq!(ready(project, "api"), 2);
    answers_of(project, 2);
    project.ok(&["down", "--volumes", "--images"]);
    project.assert_no_docker_objects("down --volumes");
}

#[test]
fn a_remote_engine_with_tls_runs_a_stack_and_says_where_its_ports_are() {
    let test = "a_remote_engine_with_tls_runs_a_stack_and_says_where_its_ports_are";
    let Some(variables) = part(test, "tls") else { return };
    let project = counter(variables);
    lives(&project, &project.environment["DOCKER_HOST"]);
}

/// A folder of the docker CLI whose context leads to the engine with TLS, as `docker context create` makes it.
fn context(folder: &Path, variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let folder_text = folder.to_str().unwrap().to_owned();
    let of_client = |args: &[&str]| {
        let out = Command::new("docker").args(args).env("DOCKER_CONFIG", folder).output().unwrap();
        assert!(out.status.success(), "docker {args:?}: {}", all(&out));
    };
    let (host, certificates) = (&variables["DOCKER_HOST"], &variables["DOCKER_CERT_PATH"]);
    let endpoint =
        format!("host={host},ca={certificates}/ca.pem,cert={certificates}/cert.pem,key={certificates}/key.pem");
    of_client(&["context", "create", "far", "--docker", &endpoint]);
    of_client(&["context", "use", "far"]);
    BTreeMap::from([("DOCKER_CONFIG".to_owned(), folder_text)])
}

#[test]
fn a_context_leads_to_a_remote_engine() {
    let test = "a_context_leads_to_a_remote_engine";
    let Some(variables) = part(test, "tls") else { return };
    let folder = tempfile::tempdir().unwrap();
    lives(&counter(context(folder.path(), &variables)), &variables["DOCKER_HOST"]);
}

#[test]
fn a_folder_that_is_not_on_this_machine_is_no_reason_to_take_a_remote_project_down() {
    let test = "a_folder_that_is_not_on_this_machine_is_no_reason_to_take_a_remote_project_down";
    let Some(variables) = part(test, "tls") else { return };
    let project = counter(variables);
    project.ok(&["up"]);
    let running = project.containers();
    // Another machine has no such folder.
    let moved = project.root().with_extension("moved");
    fs::rename(project.root(), &moved).unwrap();
    let there = |args: &[&str]| {
        let moved = moved.to_str().unwrap();
        let mut command = project::scalectl();
        command.args(["-C", moved]).args(args).env("SCALECTL_ENGINE", "docker").envs(&project.environment);
        command.env("XDG_RUNTIME_DIR", project.runtime()).output().unwrap()
    };
    for verb in ["up", "down"] {
        let out = there(&[verb]);
        let said = all(&out);
        assert_eq!(out.status.code(), Some(1), "{verb}: {said}");
        assert!(said.contains("another machine's project") && !said.contains("its folder is gone"), "{verb}: {said}");
    }
    assert_eq!(project.containers(), running);
    fs::rename(&moved, project.root()).unwrap();
    project.ok(&["down", "--volumes"]);
}

#[test]
fn up_pulls_from_a_registry_with_the_password_of_a_credential_helper() {
    let test = "up_pulls_from_a_registry_with_the_password_of_a_credential_helper";
    if !has_docker() {
        return support::skip(test, "no Docker engine answers");
    }
    let Some(mut variables) = part(test, "registry") else { return };
    let mut project = Project::docker_counter();
    let (name, address) = (project.name.clone(), variables["REGISTRY_ADDRESS"].clone());
    let image = format!("{address}/scalectl-test/{name}:1");
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::json!({ "credHelpers": { &address: "scalectltest" } });
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let path = format!("{}:{}", variables["REGISTRY_CREDENTIAL_HELPERS"], std::env::var("PATH").unwrap());
    variables.insert("PATH".to_owned(), path);
    variables.insert("DOCKER_CONFIG".to_owned(), folder.path().to_str().unwrap().to_owned());

    let context = project.root();
    project.docker(&["build", "--quiet", "--tag", &image, context.to_str().unwrap()]);
    project.environment = variables;
    project.docker(&["push", "--quiet", &image]);
    project.docker(&["image", "rm", "--force", &image]);
    let file = project.root().join("scalectl.toml");
    let text = fs::read_to_string(&file).unwrap().replace("build = \".\"", &format!("image = \"{image}\""));
    fs::write(&file, text).unwrap();

    let nobody = tempfile::tempdir().unwrap();
    let mut anonymous = project.command(&["up"]);
    let refused = anonymous.env("DOCKER_CONFIG", nobody.path()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", all(&refused));
    assert!(all(&refused).contains(&format!("docker login {address}")), "{}", all(&refused));

    let up = project.run(&["up", "-v"]);
    assert!(up.status.success(), "{}", all(&up));
    assert!(!all(&up).contains(&project.environment["REGISTRY_PASSWORD"]), "{}", all(&up));
    assert_eq!((ready(&project, "api"), ready(&project, "worker")), (3, 1));
    assert_eq!(project.http("GET", "/", "").unwrap().0, 200);
    project.ok(&["down", "--volumes"]);
    docker(&["image", "rm", "--force", &image]);
}

#[test]
fn podman_runs_the_template() {
    let test = "podman_runs_the_template";
    let Some(variables) = part(test, "podman") else { return };
    let mut project = Project::rendered("fastapi");
    project.engine = "docker";
    project.environment = variables;
    project.ok(&["up"]);
    assert_eq!(project.ok(&["up", "--dry-run"]).trim(), "nothing to change");
    assert_eq!((ready(&project, "api"), ready(&project, "worker")), (3, 1));
    for backing in project.status()["backing"].as_array().unwrap() {
        assert_eq!(backing["ready"], 1, "{backing}");
    }
    let user = r#"{"name": "Ada", "email": "ada@example.com"}"#;
    let (status, created) = project.http("POST", "/users", user).unwrap();
    assert_eq!(status, 201, "{created}");
    project.ok(&["scale", "api=5"]);
    assert_eq!(ready(&project, "api"), 5);
    project.ok(&["scale", "api=2"]);
    assert_eq!(ready(&project, "api"), 2);
    assert_eq!(project.http("GET", "/users/1", "").unwrap().0, 200);
    project.ok(&["up"]);
    assert_eq!(ready(&project, "api"), 3);
    project.ok(&["down", "--volumes", "--images"]);
    project.assert_no_docker_objects("down --volumes");
}
