//! The verbs on the Docker engine, on real containers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/project.rs"]
mod project;
mod support;

use project::{Project, has_docker};

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
