//! The service's contract, asked through the real balancer in front of three replicas and beside a worker: on the embedded
//! parts, and on real PostgreSQL, Redis and RabbitMQ.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/project.rs"]
mod project;
mod support;

use std::fs;
use std::process::Command;

use project::{Project, all};
use support::python::python_environment;
use support::services::{Postgres, RabbitMq, Redis};

fn assert_contract(project: &Project) {
    project.ok(&["up"]);
    let ready = |service: &str| project.replicas(service).iter().filter(|r| r["ready"] == true).count();
    assert_eq!((ready("api"), ready("worker")), (3, 1));
    let environment = python_environment(&project.root().join("requirements-dev.lock"));
    let out = Command::new(environment.join("bin/python"))
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract"])
        .current_dir(project.root())
        .env("BASE_URL", project.ok(&["url"]).trim())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", all(&out));
    let printed = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(printed.contains(" passed"), "{printed}");
    println!("{}", printed.lines().last().unwrap_or_default());
}

#[test]
fn fastapi_keeps_its_contract_through_the_balancer_embedded() {
    assert_contract(&Project::rendered("fastapi"));
}

#[test]
fn fastapi_keeps_its_contract_through_the_balancer_on_real_services() {
    let started = (Postgres::start(), Redis::start(), RabbitMq::start());
    let (Ok(postgres), Ok(redis), Ok(rabbit)) = &started else {
        let reasons = [started.0.err(), started.1.err(), started.2.err()].into_iter().flatten().collect::<Vec<_>>();
        return support::skip("fastapi_keeps_its_contract_through_the_balancer_on_real_services", &reasons.join("; "));
    };
    let project = Project::rendered("fastapi");
    let env = project.root().join(".env");
    let urls = format!("DATABASE_URL={}\nREDIS_URL={}\nAMQP_URL={}\n", postgres.url(), redis.url(), rabbit.url());
    fs::write(&env, fs::read_to_string(&env).unwrap() + &urls).unwrap();
    assert_contract(&project);
}
