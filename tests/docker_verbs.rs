//! The verbs on the Docker engine, on real containers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/project.rs"]
mod project;
mod support;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use project::{Project, all, docker, eventually, has_docker, kill};
use serde_json::Value;

/// A project on the Docker engine; nothing where there is none.
fn counter(test: &str) -> Option<Project> {
    if !has_docker() {
        support::skip(test, "no Docker engine answers");
        return None;
    }
    Some(Project::docker_counter())
}

/// How many replicas of a service are ready.
fn ready(project: &Project, service: &str) -> usize {
    project.replicas(service).iter().filter(|replica| replica["ready"] == true).count()
}

#[test]
fn up_down_and_up_again() {
    let Some(project) = counter("up_down_and_up_again") else { return };
    project.ok(&["up"]);
    assert_eq!((ready(&project, "api"), ready(&project, "worker")), (3, 1));
    project.ok(&["down", "--volumes"]);
    project.assert_no_docker_objects("down --volumes");
    project.ok(&["up"]);
    assert_eq!((ready(&project, "api"), ready(&project, "worker")), (3, 1));
}

#[test]
fn the_example_in_containers_counts_in_redis_with_a_password_that_nobody_sees() {
    let test = "the_example_in_containers_counts_in_redis_with_a_password_that_nobody_sees";
    if !has_docker() {
        return support::skip(test, "no Docker engine answers");
    }
    let project = Project::example("06-in-containers");
    project.ok(&["up"]);
    for visit in 1..=6 {
        assert_eq!(project.http("GET", "/", "").unwrap(), (200, format!("visit {visit}\n")));
    }
    project.ok(&["scale", "api=5"]);
    assert_eq!(ready(&project, "api"), 5);
    assert_eq!(project.http("GET", "/", "").unwrap().1, "visit 7\n");
    let ids = project.docker_list(&["ps", "--all", "--quiet"]);
    let inspected = docker(&[&["inspect"], &ids.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
    assert!(!inspected.contains("change-me"));
    project.ok(&["down", "--volumes", "--images"]);
    project.assert_no_docker_objects("down --volumes --images");
}

#[test]
fn exec_has_separate_streams_input_and_exit_code() {
    let Some(project) = counter("exec_has_separate_streams_input_and_exit_code") else { return };
    project.ok(&["up"]);
    let out = project.run(&["exec", "api-2", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((out.status.code(), out.stdout, out.stderr), (Some(7), b"out\n".to_vec(), b"err\n".to_vec()));
    let mut child = project.command(&["exec", "worker", "--", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"hello\n");
    let unknown = project.run(&["exec", "apo", "--", "true"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", all(&unknown));
}

#[test]
fn run_leaves_no_container_whatever_becomes_of_it() {
    let Some(project) = counter("run_leaves_no_container_whatever_becomes_of_it") else { return };
    let runs = || project.docker_list(&["ps", "-aq", "--filter", "label=scalectl.role=run"]);
    assert_eq!(project.run(&["run", "api", "--", "sh", "-c", "exit 42"]).status.code(), Some(42));
    assert!(project.ok(&["run", "migrate"]).contains("migrated"));
    assert!(runs().is_empty());

    let sleeping = ["run", "api", "--", "sh", "-c", "trap 'exit 3' TERM; echo here; while :; do sleep 0.1; done"];
    let child = project.spawn(&sleeping);
    let id = eventually("it runs", || {
        runs().into_iter().next().filter(|id| docker(&["logs", id.as_str()]).contains("here"))
    });
    let plan = project.ok(&["up", "--dry-run"]);
    assert!(!plan.contains("end leftovers"), "a command that runs is not what was left: {plan}");
    kill(child.id(), "TERM");
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(3), "the signal went to {id}: {}", all(&out));
    assert!(runs().is_empty());

    let mut child = project.spawn(&sleeping);
    eventually("it runs", || (!runs().is_empty()).then_some(()));
    kill(child.id(), "KILL");
    child.wait().unwrap();
    project.ok(&["down", "--volumes"]);
    project.assert_no_docker_objects("down after a run that was killed");
}

#[test]
fn logs_are_merged_cut_and_followed_to_replicas_that_come_later() {
    let Some(project) = counter("logs_are_merged_cut_and_followed_to_replicas_that_come_later") else { return };
    project.ok(&["up"]);
    let logs = project.ok(&["logs"]);
    let lines: Vec<_> = logs.lines().filter(|line| line.contains("serving") || line.contains("migrated")).collect();
    assert!(lines[0].contains("job-migrate | migrated"), "{logs}");
    assert_eq!(lines.len(), 5, "{logs}");
    assert_eq!(project.ok(&["logs", "api-2"]).lines().count(), 1);
    assert_eq!(project.ok(&["logs", "api", "-n", "2"]).lines().count(), 2);
    let json = project.ok(&["logs", "migrate", "--json"]);
    let line: Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!((&line["source"], &line["line"]), (&"job-migrate".into(), &"migrated".into()));
    assert!(line["time"].is_string());
    assert_eq!(project.run(&["logs", "nobody"]).status.code(), Some(2));

    // Beside the source: a file in it would be a change.
    let output = project.runtime().join("followed");
    let file = fs::File::create(&output).unwrap();
    let mut follower = project.command(&["logs", "api", "--follow", "--tail", "0"]).stdout(file).spawn().unwrap();
    project.ok(&["scale", "api=4"]);
    eventually("the line of a later replica", || fs::read_to_string(&output).unwrap().contains("api-4").then_some(()));
    kill(follower.id(), "INT");
    assert_eq!(follower.wait().unwrap().code(), Some(0));
    assert!(!fs::read_to_string(&output).unwrap().contains("api-1 "), "old lines are not wanted");
}

#[test]
fn status_says_what_replicas_use() {
    let Some(project) = counter("status_says_what_replicas_use") else { return };
    project.ok(&["up"]);
    let status = project.status();
    assert_eq!((&status["schema"], &status["engine"]), (&"scalectl.status/1".into(), &"docker".into()));
    for replica in project.replicas("api") {
        assert!(replica["memory_bytes"].as_u64().unwrap() > 1 << 20, "{replica}");
        assert!(replica["cpu_percent"].as_f64().unwrap() >= 0.0, "{replica}");
        assert_eq!(replica["memory_limit_bytes"], Value::Null);
    }
    assert_eq!(status["balancers"][0]["name"], "balancer");
    assert_eq!(status["backing"], Value::Array(Vec::new()));
    let table = project.ok(&["status"]);
    assert!(table.contains("CPU") && table.contains("MEMORY") && table.contains("api-3"), "{table}");
}

#[test]
fn stop_start_and_restart() {
    let Some(project) = counter("stop_start_and_restart") else { return };
    project.ok(&["up"]);
    project.ok(&["stop", "worker"]);
    assert_eq!(project.replicas("worker")[0]["state"], "stopped");
    project.ok(&["start", "worker"]);
    assert_eq!(ready(&project, "worker"), 1);
    let before = docker(&["inspect", "--format", "{{.Id}}", &format!("{}-worker-1", project.name)]);
    project.ok(&["restart", "worker"]);
    assert_eq!(ready(&project, "worker"), 1);
    let ids = project.docker_list(&["ps", "-q", "--no-trunc", "--filter", "label=scalectl.service=worker"]);
    assert!(!ids.contains(&before), "{ids:?}");
}

#[test]
fn images_are_built_alone_and_removed_on_request() {
    let Some(project) = counter("images_are_built_alone_and_removed_on_request") else { return };
    let images = || docker(&["images", "-q", &format!("scalectl/{}", project.name)]);
    project.ok(&["build"]);
    assert!(!images().is_empty());
    assert!(project.containers().is_empty());
    assert!(project.ok(&["build", "--dry-run"]).contains("nothing to change"));
    assert!(project.ok(&["build", "--no-cache", "--dry-run"]).contains("asked for again"));
    project.ok(&["up"]);
    project.ok(&["down", "--volumes"]);
    assert!(!images().is_empty(), "images stay unless asked otherwise");
    project.ok(&["up"]);
    project.ok(&["down", "--volumes", "--images"]);
    assert!(images().is_empty());
}

#[test]
fn up_watch_rolls_after_an_edit_and_survives_a_mistake() {
    let Some(project) = counter("up_watch_rolls_after_an_edit_and_survives_a_mistake") else { return };
    let log = project.runtime().join("watch.err");
    let mut command = project.command(&["up", "--watch"]);
    let mut watching = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let said = |text: &str| eventually(text, || fs::read_to_string(&log).unwrap().contains(text).then_some(()));
    said("watching for changes");
    let file = project.root().join("scalectl.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("replicas = 3", "replicas = 0")).unwrap();
    said("services.api.replicas");
    fs::write(&file, good).unwrap();
    let app = project.root().join("app.py");
    fs::write(&app, fs::read_to_string(&app).unwrap().replace("v1", "v2")).unwrap();
    said("replaces api-");
    let version = || {
        let script = "import os,urllib.request as u;\
                      print(u.urlopen('http://127.0.0.1:'+os.environ['PORT']+'/').read().decode())";
        all(&project.run(&["exec", "api", "--", "python", "-c", script]))
    };
    eventually("the new version", || version().contains("v2").then_some(()));
    // The roll may still be going on: it is what Ctrl-C must not interrupt here.
    eventually("the roll's end", || (project.ok(&["up", "--dry-run"]).matches("replaces").count() == 0).then_some(()));
    let turns = || fs::read_to_string(&log).unwrap().matches("watching for changes").count();
    eventually("it waits again", || (turns() >= 3).then_some(()));
    kill(watching.id(), "INT");
    assert_eq!(watching.wait().unwrap().code(), Some(0));
    said("the stack goes on");
    assert_eq!(ready(&project, "api"), 3);
}
