//! The local engine on real processes: what it brings up, what it says when it cannot, and that it survives being killed
//! at any instant.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/project.rs"]
mod project;

use std::fs;
use std::time::{Duration, Instant};

use project::{Project, all, eventually, kill, scalectl};

#[test]
fn up_status_logs_and_down() {
    let project = Project::counter();
    let url = project.ok(&["up"]);
    assert_eq!(url.trim(), format!("http://127.0.0.1:{}", project.port));
    project.assert_converged("first up");
    let status = project.status();
    assert_eq!(status["schema"], "scalectl.status/1");
    assert_eq!(status["project"], project.name.as_str());
    assert_eq!(status["services"][0]["desired"], 3);

    let answers: std::collections::BTreeSet<_> = (0..12).map(|_| project.http("GET", "/", "").unwrap().1).collect();
    assert_eq!(answers.len(), 3, "all replicas answer: {answers:?}");

    let logs = project.ok(&["logs"]);
    assert!(logs.contains("job-migrate | migrated"), "{logs}");
    assert_eq!(logs.matches("serving").count(), 4);
    assert_eq!(project.ok(&["logs", "api-2"]).lines().count(), 1);
    assert_eq!(project.ok(&["logs", "-n", "2"]).lines().count(), 2);

    let port = project.ok(&["exec", "api-1", "--", "sh", "-c", "echo $PORT"]);
    assert!(project.replicas("api")[0]["address"].as_str().unwrap().ends_with(port.trim()));
    assert_eq!(project.run(&["run", "api", "--", "sh", "-c", "exit 42"]).status.code(), Some(42));
    assert!(project.ok(&["run", "migrate"]).contains("migrated"));
    assert!(project.ok(&["url", "worker"]).starts_with("http://127.0.0.1:"));

    project.ok(&["down"]);
    assert!(project.root().join(".scalectl/volumes/postgres/app.db").exists(), "data stays");
    assert!(project.ok(&["status"]).contains("is not up"));
    project.ok(&["down", "--volumes"]);
    project.assert_nothing_left("down --volumes");
}

#[test]
fn a_second_up_changes_nothing_and_a_stopped_service_starts_again() {
    let project = Project::counter();
    project.ok(&["up"]);
    let before = project.processes();
    project.ok(&["up"]);
    assert_eq!(project.processes(), before);
    project.ok(&["stop", "worker"]);
    assert_eq!(project.replicas("worker")[0]["state"], "stopped");
    project.ok(&["start"]);
    project.assert_converged("start");
    project.ok(&["stop"]);
    assert!(project.processes().is_empty());
    project.ok(&["up"]);
    project.assert_converged("up after stop");
}

#[test]
fn scale_is_temporary_unless_saved() {
    let project = Project::counter();
    let early = project.run(&["scale", "api=5"]);
    assert!(all(&early).contains("is not up"), "{}", all(&early));
    project.ok(&["up"]);
    project.ok(&["scale", "api=5"]);
    assert_eq!(project.replicas("api").len(), 5);
    project.ok(&["up"]);
    project.assert_converged("up restores what the file says");
    project.ok(&["scale", "api=2", "--save"]);
    let file = fs::read_to_string(project.root().join("scalectl.toml")).unwrap();
    assert!(file.contains("replicas = 2        # enough for a test"), "{file}");
    assert_eq!(project.ok(&["up", "--dry-run"]).trim(), "nothing to change");
    for (wrong, words) in [("api=0", "from 1 to 1000"), ("api", "SERVICE=NUMBER"), ("apo=2", "did you mean `api`?")] {
        let out = project.run(&["scale", wrong]);
        assert_eq!(out.status.code(), Some(2), "{}", all(&out));
        assert!(all(&out).contains(words), "{}", all(&out));
    }
}

#[test]
fn a_changed_source_rolls_and_the_new_one_serves() {
    let project = Project::counter();
    project.ok(&["up"]);
    let app = project.root().join("app.py");
    fs::write(&app, fs::read_to_string(&app).unwrap().replace("\"v1\"", "\"v2\"")).unwrap();
    let plan = project.ok(&["up", "--dry-run"]);
    assert!(plan.contains("replaces api-1: its source changed"), "{plan}");
    project.ok(&["up"]);
    project.assert_converged("roll");
    assert!(project.http("GET", "/", "").unwrap().1.contains("v2"));
    // Neither a touched file nor a byte-code cache is a change.
    fs::create_dir(project.root().join("__pycache__")).unwrap();
    fs::write(project.root().join("__pycache__/app.pyc"), "x").unwrap();
    fs::write(&app, fs::read(&app).unwrap()).unwrap();
    assert_eq!(project.ok(&["up", "--dry-run"]).trim(), "nothing to change");
}

#[test]
fn a_crash_at_start_is_explained_with_its_exit_code_and_last_lines() {
    let project = Project::counter();
    fs::write(project.root().join("crash"), "").unwrap();
    let out = project.run(&["up"]);
    assert_eq!(out.status.code(), Some(3), "{}", all(&out));
    let text = all(&out);
    assert!(text.contains("does not start: it ended with exit code 7"), "{text}");
    assert!(text.contains("no such module: flux_capacitor"), "{text}");
    fs::remove_file(project.root().join("crash")).unwrap();
    project.ok(&["up"]);
    project.assert_converged("after the mend");
}

#[test]
fn a_roll_to_a_broken_version_leaves_the_old_one_serving() {
    let project = Project::counter();
    project.ok(&["up"]);
    fs::write(project.root().join("unready"), "").unwrap();
    // The check of the running replicas fails too: the file is the environment's fault, not the version's. So let only
    // the new version look at it.
    fs::remove_file(project.root().join("unready")).unwrap();
    let app = project.root().join("app.py");
    let good = fs::read_to_string(&app).unwrap();
    fs::write(
        &app,
        good.replace("if self.path == \"/ready\" and (HERE / \"unready\").exists():", "if self.path == \"/ready\":"),
    )
    .unwrap();
    let out = project.run(&["up", "--timeout", "2s"]);
    assert_eq!(out.status.code(), Some(3), "{}", all(&out));
    assert!(all(&out).contains("503 Service Unavailable: "), "{}", all(&out));
    assert!(all(&out).contains("elephant"), "{}", all(&out));
    assert_eq!(project.replicas("api").iter().filter(|r| r["ready"] == true && r["member"] == true).count(), 3);
    assert_eq!(project.replicas("api").len(), 3, "the new one was taken back");
    fs::write(&app, good).unwrap();
    project.ok(&["up"]);
    project.assert_converged("the good version again");
}

#[test]
fn a_failing_job_stops_the_plan_before_anything_starts() {
    let project = Project::counter();
    fs::write(project.root().join("broken-migration"), "").unwrap();
    let out = project.run(&["up"]);
    assert_eq!(out.status.code(), Some(1), "{}", all(&out));
    assert!(all(&out).contains("job migrate failed: it ended with exit code 1"), "{}", all(&out));
    assert!(all(&out).contains("column users.colour does not exist"), "{}", all(&out));
    assert!(project.replicas("api").is_empty());
}

#[test]
fn an_occupied_port_is_refused_before_anything_starts_with_its_holder() {
    let project = Project::counter();
    let _held = std::net::TcpListener::bind(("127.0.0.1", project.port)).unwrap();
    let out = project.run(&["up"]);
    assert_eq!(out.status.code(), Some(1), "{}", all(&out));
    let text = all(&out);
    assert!(text.contains(&format!("port {} is in use by", project.port)), "{text}");
    assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
    assert!(project.processes().is_empty() && project.supervisor().is_none());
}

#[test]
fn the_same_name_from_another_folder_is_refused() {
    let project = Project::counter();
    project.ok(&["up"]);
    let other = tempfile::tempdir().unwrap();
    for file in ["app.py", "scalectl.toml"] {
        fs::copy(project.root().join(file), other.path().join(file)).unwrap();
    }
    for verb in ["up", "down", "status"] {
        let out = scalectl()
            .args(["-C", other.path().to_str().unwrap(), verb])
            .env("XDG_RUNTIME_DIR", project.runtime())
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(1), "{verb}: {}", all(&out));
        assert!(all(&out).contains("already runs from"), "{verb}: {}", all(&out));
    }
    project.assert_converged("untouched");
}

#[test]
fn two_ups_at_once_are_one_after_the_other() {
    let project = Project::counter();
    let (first, second) = (project.spawn(&["up"]), project.spawn(&["up"]));
    for child in [first, second] {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", all(&out));
    }
    project.assert_converged("two ups");
}

#[test]
fn a_killed_replica_is_back_within_five_seconds() {
    let project = Project::counter();
    project.ok(&["up"]);
    let victim = &project.replicas("api")[1];
    let pid = victim["pid"].as_u64().unwrap() as u32;
    let begin = Instant::now();
    kill(pid, "KILL");
    eventually("the replica is back", || {
        let now = &project.replicas("api")[1];
        (now["pid"] != victim["pid"] && now["ready"] == true && now["restarts"] == 1).then_some(())
    });
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let exited = project.replicas("api")[1]["exited"].clone();
    assert_eq!(exited, "it was ended by SIGKILL");
}

#[test]
fn ctrl_c_in_the_middle_says_what_to_do_and_the_next_up_goes_on() {
    let project = Project::counter();
    fs::write(project.root().join("unready"), "").unwrap();
    let child = project.spawn(&["up"]);
    eventually("replicas start", || (project.processes().len() == 4).then_some(()));
    kill(child.id(), "INT");
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", all(&out));
    assert!(all(&out).contains("run the same command again"), "{}", all(&out));
    fs::remove_file(project.root().join("unready")).unwrap();
    project.ok(&["up"]);
    project.assert_converged("after Ctrl-C");
}

/// Kills the command before and after every step of a first `up`, a roll and a `down`: the next `up` converges, no
/// committed user is lost, and `down --volumes` leaves nothing.
#[test]
fn killed_at_every_step_of_every_plan_the_next_up_converges() {
    let project = Project::counter();
    for (title, prepare, verb) in
        [("first up", None, vec!["up"]), ("roll", Some("up"), vec!["up"]), ("down", Some("up"), vec!["down"])]
    {
        let mut step = 1;
        loop {
            for instant in ["before", "after"] {
                let case = format!("{title}, killed {instant} step {step}");
                if let Some(prepare) = prepare {
                    project.ok(&[prepare]);
                }
                if title == "roll" {
                    edit(&project, &case);
                }
                let users = add_user(&project);
                let out = project.command(&verb).env("SCALECTL_KILL", format!("{instant}:{step}")).output().unwrap();
                if out.status.success() {
                    assert!(step > 5, "{title} has only {step} steps");
                    step = 0;
                    project.ok(&["down", "--volumes"]);
                    project.assert_nothing_left(&case);
                    break;
                }
                assert_eq!(out.status.code(), None, "{case}: {}", all(&out));
                project.ok(&["up"]);
                project.assert_converged(&case);
                if let Some(users) = users {
                    assert_eq!(count(&project), Some(users), "{case}: a committed user is lost");
                }
                if title == "first up" {
                    project.ok(&["down", "--volumes"]);
                    project.assert_nothing_left(&case);
                }
            }
            if step == 0 {
                break;
            }
            step += 1;
        }
    }
}

fn edit(project: &Project, text: &str) {
    let path = project.root().join("app.py");
    let source = fs::read_to_string(&path).unwrap();
    let body = source.split("\n# edit").next().unwrap();
    fs::write(&path, format!("{body}\n# edit: {text}\n")).unwrap();
}

/// Adds a user if the service is up, and returns how many there are then.
fn add_user(project: &Project) -> Option<u64> {
    project.http("POST", "/users", "ada").filter(|(status, _)| *status == 201)?;
    count(project)
}

fn count(project: &Project) -> Option<u64> {
    let (_, body) = project.http("GET", "/users", "").filter(|(status, _)| *status == 200)?;
    serde_json::from_str::<serde_json::Value>(&body).ok()?["count"].as_u64()
}

/// Kills the command, the supervisor, or presses Ctrl-C, at 20 random instants of random verbs: the next `up` converges
/// and no committed user is lost.
#[test]
fn killed_at_random_instants_the_next_up_converges() {
    use rand::{Rng, RngExt, SeedableRng};
    const SEED: u64 = 20;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(SEED);
    let project = Project::counter();
    project.ok(&["up"]);
    let mut users = add_user(&project).unwrap();
    for round in 0..20 {
        let verb: &[&str] = match random.random_range(0..5) {
            0 => &["up"],
            1 => &["scale", "api=5"],
            2 => &["restart"],
            3 => &["down"],
            _ => &["stop"],
        };
        if verb == ["up"] {
            edit(&project, &format!("round {round} {}", random.next_u64()));
        }
        let victim = ["command", "supervisor", "ctrl-c"][random.random_range(0..3)];
        let pause = Duration::from_millis(random.random_range(0..700));
        let case = format!("seed {SEED}, round {round}: {verb:?}, {victim} after {pause:?}");
        let child = project.spawn(verb);
        // Not a wait for a condition: the instant is the point of the test.
        std::thread::sleep(pause);
        match victim {
            "command" => kill(child.id(), "KILL"),
            "ctrl-c" => kill(child.id(), "INT"),
            _ => project.supervisor().into_iter().for_each(|pid| kill(pid, "KILL")),
        }
        let out = child.wait_with_output().unwrap();
        assert_ne!(out.status.code(), Some(101), "{case}: it panicked: {}", all(&out));
        project.ok(&["up"]);
        project.assert_converged(&case);
        assert_eq!(count(&project), Some(users), "{case}: a committed user is lost");
        users = add_user(&project).unwrap();
    }
    project.ok(&["down", "--volumes"]);
    project.assert_nothing_left("20 rounds");
}

#[test]
fn a_balancer_moves_to_another_service_on_its_port() {
    let project = Project::counter();
    project.ok(&["up"]);
    let file = project.root().join("scalectl.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[balancer]\nservice = \"api\"", "[balancer]\nservice = \"worker\"")).unwrap();
    project.ok(&["up"]);
    let (status, body) = project.http("GET", "/", "").unwrap();
    assert!(status == 200 && body.contains("worker-1"), "{status} {body}");
}

#[test]
fn a_migration_that_an_interrupted_command_left_running_is_ended_before_the_next_one() {
    let project = Project::counter();
    let app = project.root().join("app.py");
    let good = fs::read_to_string(&app).unwrap();
    fs::write(
        &app,
        good.replace("def migrate() -> None:\n", "def migrate() -> None:\n    import time; time.sleep(600)\n"),
    )
    .unwrap();
    let child = project.spawn(&["up"]);
    eventually("the migration runs", || (!project.processes().is_empty()).then_some(()));
    kill(child.id(), "INT");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    fs::write(&app, good).unwrap();
    project.ok(&["up"]);
    project.assert_converged("after a migration that hung");
}

#[test]
fn a_project_that_was_moved_while_it_ran_can_be_ended() {
    let project = Project::counter();
    project.ok(&["up"]);
    let moved = project.root().with_extension("moved");
    fs::rename(project.root(), &moved).unwrap();
    let there = |verb: &[&str]| {
        scalectl().arg("-C").arg(&moved).args(verb).env("XDG_RUNTIME_DIR", project.runtime()).output().unwrap()
    };
    let up = there(&["up"]);
    assert_eq!(up.status.code(), Some(1), "{}", all(&up));
    assert!(all(&up).contains("`scalectl down` here ends what runs from it"), "{}", all(&up));
    let down = there(&["down", "--volumes"]);
    assert!(down.status.success(), "{}", all(&down));
    fs::rename(&moved, project.root()).unwrap();
    project.assert_nothing_left("down in the new place");
}

#[test]
fn another_session_is_told_where_the_supervisor_listens() {
    let project = Project::counter();
    project.ok(&["up"]);
    let other = tempfile::tempdir().unwrap();
    for verb in ["status", "up", "down"] {
        let out = project.command(&[verb]).env("XDG_RUNTIME_DIR", other.path()).output().unwrap();
        assert_eq!(out.status.code(), Some(1), "{verb}: {}", all(&out));
        let hint = format!("run the command with XDG_RUNTIME_DIR={}", project.runtime().display());
        assert!(all(&out).contains(&hint), "{verb}: {}", all(&out));
    }
    project.assert_converged("untouched");
    // As after a log-out: the folder is gone, the supervisor is not.
    fs::remove_dir_all(project.runtime()).unwrap();
    fs::create_dir(project.runtime()).unwrap();
    project.ok(&["up"]);
    project.assert_converged("taken over");
}

#[test]
fn every_flag_has_its_variable() {
    let project = Project::counter();
    let out = project.command(&["up"]).env("SCALECTL_UP_DRY_RUN", "1").output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains("start supervisor"), "{}", all(&out));
    assert!(project.supervisor().is_none());
    let out = project.command(&["status"]).env("SCALECTL_JSON", "1").output().unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()["schema"], "scalectl.status/1");
}
