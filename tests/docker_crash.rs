//! The Docker engine under `kill -9`: before and after every step of every plan, and at random instants. The next `up`
//! converges, `down --volumes` leaves nothing of the project, and nothing else is touched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/engine.rs"]
mod engine;
#[path = "support/project.rs"]
mod project;

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine::{Canary, PASSWORD, ask, assert_converged, assert_leaves_nothing, edit, small};
use project::{Project, all, eventually, kill};

/// Projects at once: steps wait for each other more than they compute. More of them make it likelier that the engine locks
/// itself up for ever, as 20.10 can when endpoints of several networks go at once: `processEndpointDelete` of libnetwork
/// has the controller's lock and wants a network's, `sbLeave` the other way round.
const AT_ONCE: usize = 2;

/// A command that is killed, and what goes before it.
struct Scene {
    title: &'static str,
    /// Whether the stack is up before.
    up: bool,
    /// Whether its source changes before.
    edit: bool,
    /// Whether Redis has to be replaced: it stops before another one starts on its data.
    replace: bool,
    verb: &'static [&'static str],
}

const SCENES: [Scene; 4] = [
    Scene { title: "first up", up: false, edit: false, replace: false, verb: &["up"] },
    Scene { title: "roll", up: true, edit: true, replace: false, verb: &["up"] },
    Scene { title: "down --volumes", up: true, edit: false, replace: false, verb: &["down", "--volumes"] },
    Scene { title: "another Redis", up: true, edit: false, replace: true, verb: &["up"] },
];

/// The number of steps that a plan has.
fn steps(project: &Project, scene: &Scene) -> usize {
    let plan = project.ok(&[scene.verb, &["--dry-run"]].concat());
    plan.lines().filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit())).count()
}

/// Runs the cases on a few projects at once; each has a project for itself as long as it runs.
fn on_projects(cases: usize, run: impl Fn(&Project, usize) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        let project = small();
        let canary = Canary::beside(&project);
        loop {
            let case = next.fetch_add(1, Ordering::Relaxed);
            if case >= cases {
                break;
            }
            run(&project, case);
            canary.assert_alive(&format!("case {case}"));
        }
        assert_leaves_nothing(&project, "after the last case");
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Asks the project's Redis, or tells it something.
fn redis(project: &Project, command: &[&str]) -> String {
    let container = format!("{}-redis-1", project.name);
    let password = format!("REDISCLI_AUTH={PASSWORD}");
    ask(&[&["exec", "--env", &password, &container, "redis-cli"], command].concat())
}

/// Gives the project's Redis another limit than it had.
fn another_redis(project: &Project) {
    static NEXT: AtomicUsize = AtomicUsize::new(256);
    let file = project.root().join("scalectl.toml");
    let text = fs::read_to_string(&file).unwrap();
    let before = text.split("[backing.redis]").next().unwrap();
    let memory = NEXT.fetch_add(1, Ordering::Relaxed);
    fs::write(&file, format!("{before}[backing.redis]\nresources = {{ memory = \"{memory}Mi\" }}\n")).unwrap();
}

fn prepare(project: &Project, scene: &Scene, case: &str) {
    match scene.up {
        true => drop(project.ok(&["up"])),
        false => assert_leaves_nothing(project, case),
    }
    if scene.edit {
        edit(project, case);
    }
    if scene.replace {
        redis(project, &["set", "kept", case]);
        another_redis(project);
    }
}

fn killed_at_every_step(scene: &Scene) {
    let count = {
        let project = small();
        prepare(&project, scene, "the plan");
        steps(&project, scene)
    };
    assert!(count >= 3, "{} has {count} steps", scene.title);
    on_projects(count * 2, |project, case| {
        let case_step = case / 2 + 1;
        let instant = format!("{}:{case_step}", ["before", "after"][case % 2]);
        let case = format!("{}, killed {instant} of {count}", scene.title);
        prepare(project, scene, &case);
        // Only the first plan of a project builds its image.
        if case_step > steps(project, scene) {
            return;
        }
        let out = project.command(scene.verb).env("SCALECTL_KILL", &instant).output().unwrap();
        assert_eq!(out.status.code(), None, "{case}: {}", all(&out));
        project.ok(&["up"]);
        assert_converged(project, &case);
        if scene.replace {
            assert_eq!(redis(project, &["get", "kept"]), case, "its data is what it was");
        }
    });
}

#[test]
fn a_first_up_killed_at_any_step_is_completed_by_the_next() {
    killed_at_every_step(&SCENES[0]);
}

#[test]
fn a_roll_killed_at_any_step_is_completed_by_the_next_up() {
    killed_at_every_step(&SCENES[1]);
}

#[test]
fn a_down_killed_at_any_step_is_no_obstacle_to_the_next_up() {
    killed_at_every_step(&SCENES[2]);
}

#[test]
fn a_replacement_of_a_backing_service_killed_at_any_step_is_completed_with_its_data() {
    killed_at_every_step(&SCENES[3]);
}

/// Instants that no step begins or ends at: in the middle of a build, of the filling of a volume, of a reload.
#[test]
fn killed_at_random_instants_the_next_up_converges() {
    use rand::{RngExt, SeedableRng};
    const SEED: u64 = 20;
    on_projects(20, |project, round| {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(SEED + round as u64);
        let scene = &SCENES[random.random_range(0..SCENES.len())];
        let pause = Duration::from_millis(random.random_range(0..4000));
        let signal = ["KILL", "KILL", "INT"][random.random_range(0..3)];
        let case = format!("seed {SEED}, round {round}: {}, SIG{signal} after {pause:?}", scene.title);
        prepare(project, scene, &case);
        let child = project.spawn(scene.verb);
        // Not a wait for a condition: the instant is the point of the test.
        std::thread::sleep(pause);
        kill(child.id(), signal);
        let out = child.wait_with_output().unwrap();
        assert_ne!(out.status.code(), Some(101), "{case}: it panicked: {}", all(&out));
        project.ok(&["up"]);
        assert_converged(project, &case);
    });
}

/// The engine goes on with what it was told, whoever told it: a replica that still serves may be about to end.
#[test]
fn what_a_killed_command_was_stopping_is_not_taken_for_what_runs() {
    let project = small();
    fs::write(project.root().join("lingering"), "").unwrap();
    for (verb, undo) in [(["down"], "up"), (["stop"], "start")] {
        project.ok(&["up"]);
        let now = || ask(&["info", "--format", "{{.SystemTime}}"]);
        let begin = now();
        let mut child = project.spawn(&verb);
        eventually(&format!("both replicas are told to end by {verb:?}"), || {
            let (end, format) = (now(), "{{.Actor.Attributes.name}}");
            let told =
                ask(&["events", "--since", &begin, "--until", &end, "--filter", "event=kill", "--format", format]);
            let replica = format!("{}-api-", project.name);
            let names: BTreeSet<_> = told.lines().filter(|name| name.starts_with(&replica)).collect();
            (names.len() == 2).then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        project.ok(&[undo]);
        assert_converged(&project, &format!("{undo} after a killed {verb:?}"));
    }
    assert_leaves_nothing(&project, "at the end");
}
