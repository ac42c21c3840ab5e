//! Stacks on a real Docker engine: what is said when something stands in the way, before anything is changed where that
//! can be known, and that the next `up` mends what people did by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/engine.rs"]
mod engine;
#[path = "support/project.rs"]
mod project;

use std::fs;
use std::process::Output;

use engine::{Canary, ask, assert_converged, assert_leaves_nothing, change, docker, edit, small, state, things_of};
use project::{Project, all, eventually, free_port, kill, scalectl};

/// Two replicas of the counter behind a balancer, nothing else.
fn bare() -> Project {
    let project = Project::docker_counter();
    let file = project.root().join("scalectl.toml");
    let text = fs::read_to_string(&file).unwrap();
    let end = text.find("[services.worker]").unwrap();
    let balancer = text.find("[balancer]").unwrap();
    let text = format!("{}{}", &text[..end], &text[balancer..]);
    fs::write(&file, text.replace("replicas = 3 ", "replicas = 2 ")).unwrap();
    project
}

/// A command that fails with this exit code, and says all of this.
fn assert_fails(project: &Project, args: &[&str], code: i32, words: &[&str]) -> String {
    assert_said(&project.run(args), code, words)
}

fn assert_said(out: &Output, code: i32, words: &[&str]) -> String {
    let text = all(out);
    assert_eq!(out.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    text
}

/// Nothing of the project is on the engine.
fn assert_untouched(project: &Project) {
    assert_eq!(things_of(&project.name), [""; 0]);
}

/// The name of a project's network.
fn network_of(project: &Project) -> String {
    format!("{}-network", project.name)
}

#[test]
fn up_again_down_and_what_stays() {
    let project = small();
    let canary = Canary::beside(&project);
    project.ok(&["up"]);
    assert_converged(&project, "first up");
    let before = project.containers();
    assert!(all(&project.run(&["up"])).contains("nothing to change"));
    assert_eq!(project.containers(), before);
    edit(&project, "another version");
    project.ok(&["up"]);
    assert_converged(&project, "roll");
    project.ok(&["down"]);
    assert_eq!(things_of(&project.name), [format!("volume {}-redis", project.name)], "data stays");
    project.ok(&["up"]);
    assert_converged(&project, "up after down");
    canary.assert_alive("while up");
    assert_leaves_nothing(&project, "down --volumes");
    canary.assert_alive("after down --volumes");
}

#[test]
fn a_missing_image_is_named_and_nothing_of_the_service_starts() {
    let project = bare();
    change(&project.root(), "build = \".\"", "image = \"127.0.0.1:1/nobody/nothing:1\"");
    assert_fails(&project, &["up"], 1, &["127.0.0.1:1/nobody/nothing:1", "connect"]);
    assert!(project.containers().is_empty());
}

#[test]
fn a_crash_at_start_is_told_with_its_exit_code_and_last_lines() {
    let project = bare();
    fs::write(project.root().join("crash"), "").unwrap();
    let words = ["does not start: it ended with exit code 7", "no such module: flux_capacitor", "run the same command"];
    assert_fails(&project, &["up"], 3, &words);
    fs::remove_file(project.root().join("crash")).unwrap();
    project.ok(&["up"]);
    assert_eq!(project.ok(&["up", "--dry-run"]).trim(), "nothing to change");
}

#[test]
fn a_program_that_is_not_in_the_image_is_named() {
    let project = bare();
    change(&project.root(), "port = 8000\n", "port = 8000\ncommand = [\"flux-capacitor\"]\n");
    assert_fails(&project, &["up"], 1, &["cannot start api-", "flux-capacitor", "executable file not found"]);
}

#[test]
fn a_program_that_needs_more_memory_than_its_limit_is_told_so_with_the_limit() {
    let project = bare();
    let eat = r#"port = 8000
command = ["python", "-c", "b = bytearray(300 << 20); print(len(b))"]
resources = { memory = "40Mi" }
"#;
    change(&project.root(), "port = 8000\n", eat);
    assert_fails(&project, &["up"], 3, &["it needs more memory than it may have", "40Mi", "resources.memory"]);
}

#[test]
fn a_job_that_fails_is_told_with_its_last_lines_and_starts_nothing() {
    let project = Project::docker_counter();
    fs::write(project.root().join("broken-migration"), "").unwrap();
    let words = ["job migrate failed: it ended with exit code 1", "column users.colour does not exist"];
    assert_fails(&project, &["up"], 1, &words);
    assert!(project.replicas("api").is_empty());
}

#[test]
fn a_replica_that_is_never_ready_is_told_with_its_last_answer() {
    let project = bare();
    fs::write(project.root().join("unready"), "").unwrap();
    let words = ["was not ready within 2s", "503", "elephant", "--timeout"];
    assert_fails(&project, &["up", "--timeout", "2s"], 3, &words);
}

#[test]
fn a_roll_to_a_broken_version_leaves_the_old_one_serving() {
    let project = bare();
    project.ok(&["up"]);
    fs::write(project.root().join("crash"), "").unwrap();
    assert_fails(&project, &["up"], 3, &["exit code 7"]);
    let serving = project.replicas("api").iter().filter(|r| r["ready"] == true && r["member"] == true).count();
    assert_eq!((serving, project.replicas("api").len()), (2, 2), "the new one was taken back");
    assert_eq!(project.http("GET", "/", "").unwrap().0, 200);
}

#[test]
fn a_port_that_a_process_holds_is_refused_before_anything_starts() {
    let project = bare();
    let _held = std::net::TcpListener::bind(("127.0.0.1", project.port)).unwrap();
    let port = format!("port {} is in use by", project.port);
    let pid = format!("pid {}", std::process::id());
    assert_fails(&project, &["up"], 1, &[&port, &pid, "nothing was started", "balancer.port"]);
    assert_untouched(&project);
}

#[test]
fn a_port_that_a_container_holds_is_refused_with_the_containers_name_image_and_project() {
    let first = bare();
    first.ok(&["up"]);
    let second = bare();
    change(&second.root(), &format!("port = {}", second.port), &format!("port = {}", first.port));
    let holder = format!("container {}-balancer (image nginx:1.30, of project {})", first.name, first.name);
    assert_fails(&second, &["up"], 1, &[&holder, "nothing was started"]);
    assert_untouched(&second);

    let foreign = format!("{}-foreign", second.name);
    let port = free_port();
    let publish = format!("127.0.0.1:{port}:80");
    let _foreign = Removed(foreign.clone());
    let run = ["run", "--detach", "--name", &foreign, "--publish", &publish, "python:3.13-slim", "sleep", "1000"];
    ask(&run);
    change(&second.root(), &format!("port = {}", first.port), &format!("port = {port}"));
    assert_fails(&second, &["up"], 1, &[&format!("container {foreign} (image python:3.13-slim)")]);
    assert_untouched(&second);
}

/// Containers, networks and volumes of a test that are not of its project, removed when it ends.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        for kind in [&["rm", "--force"][..], &["network", "rm"], &["volume", "rm"]] {
            let _ = docker(&[kind, &[&self.0]].concat());
        }
    }
}

#[test]
fn names_that_something_foreign_has_are_refused_before_anything_starts() {
    let project = small();
    let container = Removed(format!("{}-api-2", project.name));
    ask(&["create", "--name", &container.0, "python:3.13-slim"]);
    let words = [&format!("the name {} is taken", container.0), "python:3.13-slim", "nothing was started"];
    assert_fails(&project, &["up"], 1, &words);
    assert_untouched(&project);
    drop(container);

    let network = Removed(network_of(&project));
    ask(&["network", "create", "--label", "com.docker.compose.project=theirs", &network.0]);
    let words = [&format!("a network called {} is there already", network.0), "the Compose project theirs"];
    assert_fails(&project, &["up"], 1, &words);
    assert_untouched(&project);
    drop(network);

    let volume = Removed(format!("{}-redis", project.name));
    ask(&["volume", "create", &volume.0]);
    let words = [&format!("a volume called {} is there already", volume.0), "it is not of this project"];
    assert_fails(&project, &["up"], 1, &words);
    assert_untouched(&project);
}

#[test]
fn the_same_name_from_another_folder_is_refused_and_taken_down_once_its_folder_is_gone() {
    let project = bare();
    project.ok(&["up"]);
    let moved = project.root().with_extension("moved");
    fs::create_dir(&moved).unwrap();
    for entry in fs::read_dir(project.root()).unwrap().flatten().filter(|e| e.path().is_file()) {
        fs::copy(entry.path(), moved.join(entry.file_name())).unwrap();
    }
    let there = |verb: &[&str]| {
        let mut command = scalectl();
        command.arg("-C").arg(&moved).args(verb).env("SCALECTL_ENGINE", "docker");
        command.env("XDG_RUNTIME_DIR", project.runtime()).output().unwrap()
    };
    let root = project.root().display().to_string();
    for verb in ["up", "down", "status"] {
        assert_said(&there(&[verb]), 1, &["from another folder", &root, "-p NAME"]);
    }
    assert_eq!(project.http("GET", "/", "").unwrap().0, 200);

    fs::remove_dir_all(project.root()).unwrap();
    assert_said(&there(&["up"]), 1, &["its folder is gone", "`scalectl down` ends it"]);
    assert_said(&there(&["down", "--volumes"]), 0, &[]);
    assert_eq!(things_of(&project.name), [""; 0]);
    fs::create_dir(project.root()).unwrap();
}

#[test]
fn a_new_major_image_on_old_data_is_refused_before_anything_changes() {
    let project = small();
    project.ok(&["up"]);
    let before = project.containers();
    // Another image: one that only has another name is no change.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Dockerfile"), "FROM redis:8\nLABEL newer=yes\n").unwrap();
    let newer = format!("{}/redis:9", project.name);
    ask(&["build", "-q", "-t", &newer, &folder.path().display().to_string()]);
    change(&project.root(), "[backing.redis]\n", &format!("[backing.redis]\nimage = \"{newer}\"\n"));
    let told = format!("redis: {newer} cannot take over the data of redis:8");
    let words = [told.as_str(), "another major version", "nothing was started"];
    assert_fails(&project, &["up"], 1, &words);
    assert_eq!(project.containers(), before);
    ask(&["rmi", &newer]);
}

#[test]
fn what_people_did_by_hand_is_mended() {
    let project = small();
    project.ok(&["up"]);
    let named = |rest: &str| format!("{}-{rest}", project.name);
    let mend = |title: &str| {
        project.ok(&["up"]);
        assert_converged(&project, title);
    };
    ask(&["rm", "--force", &named("api-1")]);
    mend("a removed replica");
    ask(&["stop", &named("api-2")]);
    mend("a stopped replica");
    ask(&["pause", &named("worker-1")]);
    mend("a paused worker");
    ask(&["stop", &named("balancer")]);
    let plan = project.ok(&["up", "--dry-run"]);
    assert!(plan.contains("it was stopped, or ended by itself") && !plan.contains("changed"), "{plan}");
    mend("a stopped balancer");
    ask(&["rm", "--force", &named("redis-1")]);
    mend("a removed backing service");
    ask(&["network", "disconnect", &network_of(&project), &named("api-1")]);
    mend("a replica that was taken off the network");
    for container in project.containers() {
        ask(&["stop", "--time", "2", &container]);
    }
    ask(&["network", "rm", &network_of(&project)]);
    mend("a removed network");
    assert_leaves_nothing(&project, "after all that");
}

#[test]
fn a_replica_that_is_stopped_while_it_is_waited_for_is_not_said_to_crash() {
    let project = bare();
    fs::write(project.root().join("unready"), "").unwrap();
    let child = project.spawn(&["up"]);
    let replica = format!("{}-api-1", project.name);
    eventually("a replica runs", || docker(&["exec", &replica, "true"]).status.success().then_some(()));
    ask(&["stop", &replica]);
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(3), "{}", all(&out));
    assert!(all(&out).contains("api-1 was told to end while it was waited for"), "{}", all(&out));
    fs::remove_file(project.root().join("unready")).unwrap();
    project.ok(&["up"]);
    assert_leaves_nothing(&project, "after that");
}

#[test]
fn what_is_left_without_the_network_is_removed() {
    let project = Project::docker_counter();
    project.ok(&["up"]);
    let all: Vec<_> = ask(&["ps", "--all", "--quiet", "--filter", &format!("label=scalectl.project={}", project.name)])
        .lines()
        .map(str::to_owned)
        .collect();
    for container in &all {
        ask(&["stop", "--time", "2", container]);
    }
    ask(&["network", "rm", &network_of(&project)]);
    assert_leaves_nothing(&project, "down without a network");
}

#[test]
fn something_foreign_on_the_network_is_named_and_left_alone() {
    let project = bare();
    project.ok(&["up"]);
    let guest = Removed(format!("{}-guest", project.name));
    ask(&[
        "run",
        "--detach",
        "--name",
        &guest.0,
        "--network",
        &network_of(&project),
        "python:3.13-slim",
        "sleep",
        "1000",
    ]);
    assert_fails(&project, &["down"], 1, &["remove the project's network", &guest.0, "docker network disconnect"]);
    assert_eq!(state(&guest.0), "running");
    ask(&["network", "disconnect", &network_of(&project), &guest.0]);
    assert_leaves_nothing(&project, "once the guest is gone");
}

#[test]
fn two_ups_at_once_are_one_after_the_other() {
    let project = small();
    let (first, second) = (project.spawn(&["up"]), project.spawn(&["up"]));
    let outs = [first, second].map(|child| child.wait_with_output().unwrap());
    for out in &outs {
        assert!(out.status.success(), "{}", all(out));
    }
    assert!(outs.iter().any(|out| all(out).contains("nothing to change")), "one did it, the other found it done");
    assert_converged(&project, "two ups");
}

#[test]
fn ctrl_c_in_the_middle_says_what_to_do_and_the_next_up_goes_on() {
    let project = bare();
    fs::write(project.root().join("unready"), "").unwrap();
    let child = project.spawn(&["up"]);
    eventually("replicas start", || (project.containers().len() >= 2).then_some(()));
    kill(child.id(), "INT");
    assert_said(&child.wait_with_output().unwrap(), 130, &["run the same command again"]);
    fs::remove_file(project.root().join("unready")).unwrap();
    project.ok(&["up"]);
    assert_eq!(project.ok(&["up", "--dry-run"]).trim(), "nothing to change");
}

#[test]
fn a_migration_that_an_interrupted_command_left_running_is_ended_before_the_next_one() {
    let project = Project::docker_counter();
    let app = project.root().join("app.py");
    let good = fs::read_to_string(&app).unwrap();
    let hung = good.replace("def migrate() -> None:\n", "def migrate() -> None:\n    import time; time.sleep(600)\n");
    fs::write(&app, hung).unwrap();
    let child = project.spawn(&["up"]);
    eventually("the migration runs", || project.containers().iter().any(|c| c.ends_with("job-migrate")).then_some(()));
    kill(child.id(), "KILL");
    child.wait_with_output().unwrap();
    fs::write(&app, good).unwrap();
    project.ok(&["up"]);
    project.assert_converged("after a migration that hung");
}

#[test]
fn the_longest_names_serve_behind_a_balancer() {
    let (project, service) = (Project::docker_counter(), "a-service-with-a-name-of-forty-characters");
    let service = &service[..40];
    let file = project.root().join("scalectl.toml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace("[services.api]", &format!("[services.{service}]"));
    let text = text.replace("\"api\"", &format!("\"{service}\""));
    let long = format!("{}-{}", project.name, "x".repeat(40))[..40].to_owned();
    fs::write(&file, text.replace(&project.name, &long)).unwrap();
    let up = project.run(&["up"]);
    let answer = project.http("GET", "/", "");
    let down = project.run(&["down", "--volumes", "--images"]);
    assert!(up.status.success(), "{}", all(&up));
    assert_eq!(answer.unwrap().0, 200);
    assert!(down.status.success(), "{}", all(&down));
}
