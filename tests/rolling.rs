//! The rendered service under load: replicas come, go and die, and no request is lost; every request is counted once; and
//! with a real database, cache and broker every user gets exactly one e-mail, whatever is killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/load.rs"]
mod load;
#[path = "support/project.rs"]
mod project;
mod support;

use std::fs;
use std::time::{Duration, Instant};

use load::{Load, assert_nothing_failed, requests_served};

use project::{Project, all, eventually, kill};
use serde_json::Value;
use support::services::{Postgres, RabbitMq, Redis};

#[test]
fn membership_changes_under_load_lose_no_request() {
    let project = Project::rendered("fastapi");
    project.ok(&["up"]);
    project.ok(&["run", "seed"]);
    for round in 1..=3 {
        let load = Load::start(&project, "300", &round.to_string());
        let mut changes = 0;
        let mut step = |args: &[&str], members: usize| {
            project.ok(args);
            changes += members;
        };
        step(&["scale", "api=5"], 2);
        step(&["scale", "api=2"], 3);
        step(&["restart", "api"], 4);
        let source = project.root().join("app/__init__.py");
        let text = fs::read_to_string(&source).unwrap();
        fs::write(&source, format!("{text}\n# round {round}\n")).unwrap();
        step(&["up"], 5);
        step(&["restart", "api"], 6);
        let summary = load.end();
        assert!(changes >= 20, "{changes} changes");
        assert_nothing_failed(&summary, &format!("round {round}, {changes} membership changes"));
        println!("round {round}: {changes} membership changes, {}", summary["counts"]);
    }
}

#[test]
fn every_request_is_counted_once_by_the_generator_and_the_replicas() {
    let project = Project::rendered("fastapi");
    project.ok(&["up"]);
    project.ok(&["run", "seed"]);
    let before = requests_served(&project);
    let out = project.run(&["bench", "--rps", "200", "--duration", "5s", "--json", "-q"]);
    let summary: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", all(&out)));
    assert_nothing_failed(&summary, "200 a second");
    assert_eq!(summary["counts"]["scheduled"], 1000);
    assert_eq!(requests_served(&project) - before, 1000);
    assert_eq!(summary["counts"]["wire"], serde_json::json!([1000, 1000]));
}

#[test]
fn a_killed_replica_costs_at_most_the_requests_in_flight_on_it() {
    let project = Project::rendered("fastapi");
    project.ok(&["up"]);
    project.ok(&["run", "seed"]);
    let load = Load::start(&project, "300", "1");
    let victim = project.replicas("api")[1].clone();
    let begin = Instant::now();
    kill(victim["pid"].as_u64().unwrap() as u32, "KILL");
    eventually("the replica is back in the balancer", || {
        let now = &project.replicas("api")[1];
        (now["restarts"] == 1 && now["ready"] == true && now["member"] == true).then_some(())
    });
    let back = begin.elapsed();
    let summary = load.end();
    let failed = ["http_error", "network_error", "timeout", "unfinished", "unsent"];
    let failed: u64 = failed.iter().map(|kind| summary["counts"][kind].as_u64().unwrap()).sum();
    println!("back after {back:?}; {}", summary["counts"]);
    // 50 connections can have no more than 50 requests on one replica.
    assert!(failed <= 50, "{failed} failed: {}", summary["errors"]);
    assert_eq!(summary["counts"]["network_error"], 0, "the balancer answers for a dead replica");
}

#[test]
fn with_real_services_every_user_gets_one_e_mail_whatever_is_killed() {
    let (postgres, redis, mut rabbit) = match (Postgres::start(), Redis::start(), RabbitMq::start()) {
        (Ok(postgres), Ok(redis), Ok(rabbit)) => (postgres, redis, rabbit),
        (postgres, redis, rabbit) => {
            let reasons =
                [postgres.err(), redis.err(), rabbit.err()].into_iter().flatten().collect::<Vec<_>>().join("; ");
            return support::skip("with_real_services_every_user_gets_one_e_mail_whatever_is_killed", &reasons);
        }
    };
    let project = Project::rendered("fastapi");
    let env = project.root().join(".env");
    let urls = format!("DATABASE_URL={}\nREDIS_URL={}\nAMQP_URL={}\n", postgres.url(), redis.url(), rabbit.url());
    fs::write(&env, fs::read_to_string(&env).unwrap() + &urls).unwrap();
    project.ok(&["up"]);
    assert!(!project.root().join(".scalectl/volumes/postgres").exists(), "nothing stands in for the real database");

    let url = format!("http://127.0.0.1:{}/users", project.port);
    let body = r#"{"name": "Ada", "email": "{{ uuid() }}@example.com"}"#;
    let request = ["-m", "POST", "-H", "content-type: application/json", "-d", body];
    let amount = ["--rps", "40", "-n", "800", "--timeout", "60s", "--json", "-q"];
    let load = project.spawn(&[&["bench", &url], &request[..], &amount[..]].concat());
    eventually("users are created", || (rows(&project, "users") > 50).then_some(()));
    rabbit.kill9();
    let worker = project.replicas("worker")[0]["pid"].as_u64().unwrap() as u32;
    kill(worker, "KILL");
    std::thread::sleep(Duration::from_secs(1));
    rabbit.restart();
    let replica = project.replicas("api")[0]["pid"].as_u64().unwrap() as u32;
    kill(replica, "KILL");
    let summary: Value = serde_json::from_slice(&load.wait_with_output().unwrap().stdout).unwrap();
    let created = summary["counts"]["ok"].as_u64().unwrap();
    assert!(created >= 700, "{}", summary["counts"]);
    let users = rows(&project, "users");
    // An answer that was lost with the killed replica may have been a user all the same; a committed one is never lost.
    assert!(users >= created, "{users} users, {created} answered with 201");
    eventually("every user has an e-mail", || (rows(&project, "sent_emails") == users).then_some(()));
    let twice = query(
        &project,
        "SELECT count(*) FROM (SELECT user_id FROM sent_emails GROUP BY user_id HAVING count(*) > 1) AS t",
    );
    assert_eq!(twice, 0);
    println!("{users} users, {} e-mails, {}", rows(&project, "sent_emails"), summary["counts"]);
}

fn rows(project: &Project, table: &str) -> u64 {
    query(project, &format!("SELECT count(*) FROM {table}"))
}

/// Asks the real database through the service's own environment.
fn query(project: &Project, sql: &str) -> u64 {
    let program = "import asyncio, os, pathlib, sys, asyncpg\n\
        url = pathlib.Path(os.environ['DATABASE_URL_FILE']).read_text() if 'DATABASE_URL_FILE' in os.environ else os.environ['DATABASE_URL']\n\
        async def main():\n    c = await asyncpg.connect(url)\n    print(await c.fetchval(sys.argv[1]))\n\
        asyncio.run(main())";
    project.ok(&["run", "api", "--", "python", "-c", program, sql]).trim().parse().unwrap()
}
