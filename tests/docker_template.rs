//! The rendered service on a real Docker engine, its whole stack: under load replicas come and go and no request is lost;
//! each of its parts is killed, and the engine itself is restarted, and all of it comes back by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/load.rs"]
mod load;
#[path = "support/project.rs"]
mod project;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use load::{Load, assert_nothing_lost};
use project::{Project, all, docker, eventually, has_docker, kill};
use serde_json::Value;

/// The whole stack, seeded: one for all tests, one test at a time, for the engine is restarted and the machine may be small.
struct Shop {
    project: Project,
    /// The last user that the seed made.
    seeded: u64,
}

impl Shop {
    fn up() -> Self {
        let mut project = Project::rendered("fastapi");
        project.engine = "docker";
        project.ok(&["up"]);
        project.ok(&["run", "seed"]);
        let mut shop = Self { project, seeded: 0 };
        shop.seeded = shop.number("SELECT max(id) FROM users");
        shop
    }

    /// Asks PostgreSQL past the service.
    fn number(&self, sql: &str) -> u64 {
        let container = self.container("postgres-1");
        let psql = ["exec", &container, "psql", "--username", "app", "--tuples-only", "--no-align", "--command", sql];
        docker(&psql).parse().unwrap()
    }

    fn container(&self, replica: &str) -> String {
        format!("{}-{replica}", self.project.name)
    }

    /// The pid of a container's first process, as this machine has it.
    fn pid(&self, replica: &str) -> u32 {
        docker(&["inspect", "--format", "{{.State.Pid}}", &self.container(replica)]).parse().unwrap()
    }

    /// What Prometheus answers.
    fn prometheus(&self, path: &str) -> Value {
        let url = self.project.ok(&["url", "prometheus"]);
        let address = url.trim().trim_start_matches("http://").trim_end_matches('/');
        let answer: Value = serde_json::from_str(&fetch(address, path)).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// Waits until Prometheus collects from so many replicas.
    fn collected(&self, replicas: usize) {
        eventually(&format!("Prometheus collects from {replicas} replicas"), || {
            let targets = self.prometheus("/api/v1/targets?state=active")["activeTargets"].clone();
            let api = targets.as_array()?.iter().filter(|t| t["labels"]["job"] == "api");
            let healthy: Vec<_> = api.map(|target| target["health"] == "up").collect();
            (healthy.len() == replicas && healthy.iter().all(|healthy| *healthy)).then_some(())
        });
    }

    /// Asserts that every query of the dashboard has an answer, and that every rule can be evaluated.
    fn assert_dashboard(&self) {
        let file = self.project.root().join("monitoring/grafana-dashboard.json");
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let mut queries = Vec::new();
        expressions(&dashboard, &mut queries);
        assert!(queries.len() > 20, "{queries:?}");
        for query in queries {
            let path = format!("/api/v1/query?query={}", encoded(&query));
            eventually(&format!("an answer to {query}"), || {
                (!self.prometheus(&path)["result"].as_array()?.is_empty()).then_some(())
            });
        }
        eventually("every rule is evaluated", || {
            let groups = self.prometheus("/api/v1/rules")["groups"].clone();
            let rules = groups.as_array()?.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
            let health: Vec<_> = rules.map(|rule| rule["health"] == "ok").collect();
            (health.len() > 5 && health.iter().all(|healthy| *healthy)).then_some(())
        });
    }

    /// Waits until every replica and backing service is ready, and every replica of `api` is reached through the balancer.
    fn healthy(&self, title: &str) -> Duration {
        let begin = Instant::now();
        let mut last = Value::Null;
        let limit = Duration::from_secs(180);
        support::wait_for(&format!("{title}: all of it is healthy"), limit, || {
            let out = self.project.run(&["status", "--json"]);
            let status: Value = serde_json::from_slice(&out.stdout).ok()?;
            let services = status["services"].as_array()?;
            let good = services.iter().all(|service| {
                let replicas = service["replicas"].as_array().cloned().unwrap_or_default();
                let member = service["name"] == "api";
                !replicas.is_empty() && replicas.iter().all(|r| r["ready"] == true && (!member || r["member"] == true))
            });
            last = status;
            (good && self.project.http("GET", "/ready", "")?.0 == 200).then_some(())
        });
        begin.elapsed()
    }

    /// Asserts that every user since the seed has exactly one e-mail, once the queue has been worked off.
    fn assert_each_welcomed_once(&self, title: &str) {
        let since = self.seeded;
        let amiss = format!(
            "SELECT count(*) FROM (SELECT u.id FROM users u LEFT JOIN sent_emails s ON s.user_id = u.id \
             WHERE u.id > {since} GROUP BY u.id HAVING count(s.message_id) <> 1) AS amiss"
        );
        eventually(&format!("{title}: every user has one e-mail"), || (self.number(&amiss) == 0).then_some(()));
        let twice =
            "SELECT count(*) FROM (SELECT user_id FROM sent_emails GROUP BY user_id HAVING count(*) > 1) AS twice";
        assert_eq!(self.number(twice), 0, "{title}");
    }
}

/// All queries in a dashboard, whichever row they are in.
fn expressions(part: &Value, found: &mut Vec<String>) {
    match part {
        Value::Object(members) => {
            found.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| expressions(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The body of an answer; HTTP/1.0, so that it comes in one piece.
fn fetch(address: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Nothing where there is no Docker. The stack goes with the last test's guard.
static SHOP: LazyLock<Mutex<Option<Shop>>> = LazyLock::new(|| Mutex::new(None));

fn shop(test: &str) -> Option<MutexGuard<'static, Option<Shop>>> {
    if !has_docker() {
        support::skip(test, "no Docker engine answers");
        return None;
    }
    let mut shop = SHOP.lock().unwrap_or_else(PoisonError::into_inner);
    // A value of a static is never dropped: each test takes its own stack down.
    *shop = None;
    *shop = Some(Shop::up());
    Some(shop)
}

/// Ends the stack of a test, whether or not the test succeeded.
struct Ending(MutexGuard<'static, Option<Shop>>);

impl Drop for Ending {
    fn drop(&mut self) {
        *self.0 = None;
    }
}

#[test]
fn changes_under_load_lose_no_request() {
    let Some(shop) = shop("changes_under_load_lose_no_request") else { return };
    let ending = Ending(shop);
    let shop = ending.0.as_ref().unwrap();
    let project = &shop.project;
    let load = Load::start(project, "300", "1");
    let mut changes = 0;
    let mut step = |args: &[&str], members: usize| {
        project.ok(args);
        changes += members;
    };
    for round in 1..=2 {
        step(&["scale", "api=5"], 2);
        shop.collected(5);
        step(&["scale", "api=2"], 3);
        step(&["restart", "api"], 4);
        let source = project.root().join("app/__init__.py");
        let text = fs::read_to_string(&source).unwrap();
        fs::write(&source, format!("{text}\n# round {round}\n")).unwrap();
        // Two are replaced, and the third comes back: the file says three.
        step(&["up"], 5);
    }
    shop.collected(3);
    shop.assert_dashboard();
    let summary = load.end();
    assert!(changes >= 20, "{changes} changes");
    println!("{changes} membership changes, {}", summary["counts"]);
    assert_nothing_lost(&summary, &format!("{changes} membership changes"));
    shop.assert_each_welcomed_once("after the changes");
}

/// What a failed request may have been answered with, by who was killed; nobody else's failure may show at all.
fn may_fail(part: &str) -> &'static [&'static str] {
    match part {
        // The requests in flight on it that cannot be sent again.
        "api-2" => &["502", "504"],
        // Reads go to the database meanwhile; where it is too busy for all of them, the rest is told to come back.
        "redis-1" | "postgres-1" => &["503"],
        _ => &[],
    }
}

#[test]
fn whatever_is_killed_comes_back_by_itself() {
    let Some(shop) = shop("whatever_is_killed_comes_back_by_itself") else { return };
    let ending = Ending(shop);
    let shop = ending.0.as_ref().unwrap();
    for (number, part) in ["api-2", "worker-1", "redis-1", "rabbitmq-1", "postgres-1"].into_iter().enumerate() {
        let load = Load::start(&shop.project, "100", &number.to_string());
        let pid = shop.pid(part);
        kill(pid, "KILL");
        support::wait_for(&format!("{part} runs again"), Duration::from_secs(120), || {
            (shop.pid(part) != pid && shop.pid(part) != 0).then_some(())
        });
        let took = shop.healthy(part);
        let summary = load.end();
        println!("{part} killed: healthy {took:.1?} after it ran again, {}, {}", summary["counts"], summary["status"]);
        let status: BTreeMap<String, u64> = serde_json::from_value(summary["status"].clone()).unwrap();
        let failed: Vec<_> = status.into_iter().filter(|(code, _)| !code.starts_with('2')).collect();
        for (code, count) in failed {
            assert!(may_fail(part).contains(&code.as_str()), "{part} killed: {count} answers of {code}: {summary}");
        }
        let counts = &summary["counts"];
        for kind in ["network_error", "timeout"] {
            assert_eq!(counts[kind], 0, "{part} killed: {counts} {}", summary["errors"]);
        }
        shop.assert_each_welcomed_once(&format!("{part} killed"));
    }

    let bed = support::repository().join("tests/docker");
    let ours = Command::new(&bed).arg("status").output().unwrap();
    if String::from_utf8_lossy(&ours.stdout).trim() != "ours" {
        return support::skip("the restart of the engine", "it is not the one that tests/docker started");
    }
    let load = Load::start(&shop.project, "100", "99");
    let restarted = Command::new(&bed).arg("restart").output().unwrap();
    assert!(restarted.status.success(), "{}", all(&restarted));
    let took = shop.healthy("engine restarted");
    let summary = load.end();
    println!("engine restarted: healthy {took:.1?} later, {}", summary["counts"]);
    shop.assert_each_welcomed_once("engine restarted");
    let plan = shop.project.ok(&["up", "--dry-run"]);
    assert_eq!(plan.trim(), "nothing to change");
}
