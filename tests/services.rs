//! The tests' own PostgreSQL, Redis and RabbitMQ: each starts, answers, dies, comes back, and leaves nothing.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

mod support;
use support::services::{Instance, Postgres, RabbitMq, Redis, Server};
use support::{skip, wait_for};

fn folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("scalectl-")).collect()
}

fn lives_and_dies<S: Server>(test: &str, started: Result<Instance<S>, String>) {
    let mut instance = match started {
        Ok(instance) => instance,
        Err(reason) => return skip(test, &reason),
    };
    let url = instance.url();
    assert!(instance.answers());
    instance.kill9();
    assert!(!instance.answers());
    instance.restart();
    assert!(instance.answers());
    assert_eq!(instance.url(), url);
    let folder = instance.folder().to_owned();
    assert!(folder.exists() && folders().contains(&folder));
    drop(instance);
    assert!(!folder.exists());
}

#[test]
fn postgres_lives_and_dies() {
    lives_and_dies("postgres_lives_and_dies", Postgres::start());
}

#[test]
fn redis_lives_and_dies() {
    lives_and_dies("redis_lives_and_dies", Redis::start());
}

#[test]
fn rabbitmq_lives_and_dies() {
    lives_and_dies("rabbitmq_lives_and_dies", RabbitMq::start());
}

/// Not a test by itself: the next one runs it in a program of its own, and kills that.
#[test]
#[ignore = "started by an_instance_ends_with_its_test_program"]
fn holds_an_instance() {
    let redis = Redis::start().unwrap();
    println!("holding {} {}", redis.url(), redis.folder().display());
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn an_instance_ends_with_its_test_program() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    if let Err(reason) = Redis::start() {
        return skip("an_instance_ends_with_its_test_program", &reason);
    }
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holds_an_instance", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find_map(|line| line.split_once("holding ").map(|(_, rest)| rest.to_owned())).unwrap();
    let (url, folder) = line.split_once(' ').unwrap();
    let address = url.trim_start_matches("redis://").trim_end_matches("/0").to_owned();
    assert!(std::net::TcpStream::connect(&address).is_ok());
    program.kill().unwrap();
    program.wait().unwrap();
    wait_for("the watchdog", Duration::from_secs(60), || {
        let gone = std::net::TcpStream::connect(&address).is_err() && !PathBuf::from(folder).exists();
        gone.then_some(())
    });
}
