//! Plans as text, and a model of an engine that shows that every interrupted plan is completed by the next.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::engine::{
    BalancerId, DesiredBalancer, DesiredEnvironment, DesiredJob, DesiredVolume, Fingerprint, Identity, ObservedBalancer,
};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn fingerprint(source: &str) -> Fingerprint {
    Fingerprint { source: source.into(), ..Fingerprint::default() }
}

/// Three replicas of `api` behind the balancer, a worker, a migration, a volume.
fn stack(source: &str) -> Desired {
    let service = |service: &str, replicas| DesiredService {
        name: name(service),
        replicas,
        fingerprint: fingerprint(source),
        after: Vec::new(),
        environment: Some("env".into()),
        replacement: Replacement::Rolling,
    };
    Desired {
        identity: Identity { project: name("shop"), root: "/shop".into() },
        ground: Ground::Supervisor,
        volumes: vec![DesiredVolume { name: name("postgres") }],
        environments: vec![DesiredEnvironment {
            key: "env".into(),
            source: "requirements.lock".into(),
            preparation: Preparation::Install,
            again: false,
        }],
        jobs: vec![DesiredJob {
            name: name("migrate"),
            digest: source.into(),
            before: vec![name("api"), name("worker")],
            after: Vec::new(),
            environment: Some("env".into()),
        }],
        services: vec![service("api", 3), service("worker", 1)],
        balancers: vec![DesiredBalancer {
            id: BalancerId::Front,
            service: name("api"),
            port: 8080,
            fingerprint: Fingerprint::default(),
            environment: None,
        }],
    }
}

/// Does what a plan says, as an engine would.
struct Model(Observed);

impl Model {
    fn replica(&mut self, id: &ReplicaId) -> &mut ObservedReplica {
        self.0.replicas.iter_mut().find(|r| &r.id == id).unwrap_or_else(|| panic!("{id} does not exist"))
    }

    fn perform(&mut self, action: &Action, desired: &Desired) {
        match action {
            Action::StartSupervisor | Action::CreateNetwork => self.0.grounded = true,
            Action::StopSupervisor | Action::RemoveNetwork => {
                assert!(self.0.replicas.is_empty() && self.0.balancers.is_empty());
                self.0.grounded = false;
                self.0.jobs.clear();
            }
            Action::EndLeftovers => self.0.leftovers = 0,
            Action::CreateVolume { volume } => assert!(self.0.volumes.insert(volume.clone())),
            Action::RemoveImage { image } => self.0.images.retain(|i| i != image),
            Action::RemoveVolume { volume } => assert!(self.0.volumes.remove(volume)),
            Action::PrepareEnvironment { key, .. } => assert!(self.0.environments.insert(key.clone())),
            Action::RunJob { job } => {
                let digest = desired.jobs.iter().find(|j| &j.name == job).unwrap().digest.clone();
                self.0.jobs.retain(|(name, _)| name != job);
                self.0.jobs.push((job.clone(), digest));
            }
            Action::StartBalancer { balancer, port } => {
                let service = desired.balancers.iter().find(|b| &b.id == balancer).unwrap().service.clone();
                self.0.balancers.push(ObservedBalancer {
                    id: balancer.clone(),
                    service,
                    port: *port,
                    fingerprint: Fingerprint::default(),
                    stopped: false,
                });
            }
            Action::StopBalancer { balancer, .. } => self.0.balancers.retain(|b| &b.id != balancer),
            Action::StartReplica { replica } => {
                assert!(!self.0.replicas.iter().any(|r| &r.id == replica), "{replica} runs already");
                let service = desired.services.iter().find(|s| s.name == replica.service).unwrap();
                self.0.replicas.push(observed(replica.clone(), service.fingerprint.clone()));
            }
            Action::AwaitReady { replica } => self.replica(replica).ready = true,
            Action::AddMember { replica } => {
                let replica = self.replica(replica);
                assert!(replica.ready, "a replica that is not ready gets requests");
                (replica.member, replica.draining) = (true, false);
            }
            Action::DrainMember { replica } => {
                let replica = self.replica(replica);
                (replica.member, replica.draining) = (false, true);
            }
            Action::RemoveReplica { replica } => {
                assert!(!self.replica(replica).member || self.0.balancers.is_empty(), "{replica} still has requests");
                self.0.replicas.retain(|r| &r.id != replica);
            }
            Action::StopReplica { replica } => {
                let replica = self.replica(replica);
                (replica.state, replica.ready, replica.draining) = (ReplicaState::Stopped, false, false);
            }
            Action::ResumeReplica { replica } => self.replica(replica).state = ReplicaState::Running,
        }
    }

    fn apply(&mut self, desired: &Desired, intent: &Intent, steps: usize) -> usize {
        let plan = diff(desired, &self.0, intent);
        for step in plan.steps().iter().take(steps) {
            assert!(step.after.iter().all(|before| *before < step.id));
            self.perform(&step.action, desired);
        }
        plan.steps().len()
    }

    fn serving(&self) -> usize {
        self.0.replicas.iter().filter(|r| r.member && r.ready && r.state == ReplicaState::Running).count()
    }
}

fn observed(id: ReplicaId, fingerprint: Fingerprint) -> ObservedReplica {
    ObservedReplica {
        id,
        fingerprint,
        state: ReplicaState::Running,
        ready: false,
        backing: false,
        member: false,
        draining: false,
        restarts: 0,
        address: None,
        pid: Some(1),
        age: Duration::ZERO,
        exited: None,
        check: None,
        in_flight: 0,
    }
}

fn running(desired: &Desired) -> Model {
    let mut model = Model(Observed::default());
    model.apply(desired, &Intent::up(), usize::MAX);
    model
}

/// The first line of an expected text has lost its indentation to the line break before it.
fn assert_plan(plan: &str, expected: &str) {
    assert_eq!(plan.trim_start(), expected, "\n{plan}");
}

fn text(desired: &Desired, observed: &Observed, intent: &Intent) -> String {
    diff(desired, observed, intent).to_string()
}

#[test]
fn a_first_up_starts_everything_at_once_behind_the_migration() {
    let desired = stack("v1");
    let expected = "\
  1  start supervisor             nothing runs yet
  2  create volume postgres       it does not exist
  3  install requirements.lock    nothing is installed from it yet; api, worker need it
  4  run job migrate              it has not run on this data  [after 1, 2, 3]
  5  start balancer on port 8080  api is reached through it  [after 1, 2]
  6  start api-1                  3 wanted, none runs  [after 1, 2, 3, 4]
  7  wait for api-1               requests come once it is ready  [after 6]
  8  balance to api-1             it is ready  [after 5, 7]
  9  start api-2                  3 wanted, none runs  [after 1, 2, 3, 4]
 10  wait for api-2               requests come once it is ready  [after 9]
 11  balance to api-2             it is ready  [after 5, 10]
 12  start api-3                  3 wanted, none runs  [after 1, 2, 3, 4]
 13  wait for api-3               requests come once it is ready  [after 12]
 14  balance to api-3             it is ready  [after 5, 13]
 15  start worker-1               1 wanted, none runs  [after 1, 2, 3, 4]
 16  wait for worker-1            requests come once it is ready  [after 15]
";
    assert_plan(&text(&desired, &Observed::default(), &Intent::up()), expected);
}

#[test]
fn a_second_up_changes_nothing() {
    let desired = stack("v1");
    assert_eq!(text(&desired, &running(&desired).0, &Intent::up()), "");
}

#[test]
fn a_changed_source_rolls_one_replica_after_the_other() {
    let model = running(&stack("v1"));
    let expected = "\
  1  run job migrate    what it runs, or runs on, changed
  2  start api-4        replaces api-1: its source changed  [after 1]
  3  wait for api-4     requests come once it is ready  [after 2]
  4  balance to api-4   it is ready  [after 3]
  5  drain api-1        api-4 took its place  [after 4]
  6  remove api-1       it is drained  [after 5]
  7  start api-1        replaces api-2: its source changed  [after 1, 6]
  8  wait for api-1     requests come once it is ready  [after 7]
  9  balance to api-1   it is ready  [after 8]
 10  drain api-2        api-1 took its place  [after 9]
 11  remove api-2       it is drained  [after 10]
 12  start api-2        replaces api-3: its source changed  [after 1, 11]
 13  wait for api-2     requests come once it is ready  [after 12]
 14  balance to api-2   it is ready  [after 13]
 15  drain api-3        api-2 took its place  [after 14]
 16  remove api-3       it is drained  [after 15]
 17  start worker-2     replaces worker-1: its source changed  [after 1, 16]
 18  wait for worker-2  requests come once it is ready  [after 17]
 19  remove worker-1    worker-2 took its place  [after 18]
";
    assert_plan(&text(&stack("v2"), &model.0, &Intent::up()), expected);
    let plan = diff(&stack("v2"), &model.0, &Intent::up());
    let undo = plan.steps()[2].undo.clone();
    assert_eq!(undo, Some(Action::RemoveReplica { replica: ReplicaId { service: name("api"), slot: 4 } }));
}

#[test]
fn scaling_is_temporary_and_the_next_up_says_so() {
    let mut desired = stack("v1");
    let mut model = running(&desired);
    desired.services[0].replicas = 5;
    let scale = Intent::Up { only: vec![name("api")], scaled: vec![name("api")] };
    let plan = text(&desired, &model.0, &scale);
    assert!(plan.contains("start api-4       5 replicas were asked for, 3 run"), "{plan}");
    model.apply(&desired, &scale, usize::MAX);
    let plan = text(&stack("v1"), &model.0, &Intent::up());
    let expected = "\
  1  drain api-4   the file says 3, 5 run: scaled by hand
  2  remove api-4  it is drained  [after 1]
  3  drain api-5   the file says 3, 5 run: scaled by hand
  4  remove api-5  it is drained  [after 3]
";
    assert_plan(&plan, expected);
}

#[test]
fn down_closes_the_balancer_before_the_replicas_and_keeps_data_unless_told() {
    let desired = stack("v1");
    let model = running(&desired);
    let nothing = Desired::nothing(desired.identity.clone(), Ground::Supervisor);
    let expected = "\
  1  stop balancer          the stack goes down
  2  remove api-1           the stack goes down  [after 1]
  3  remove api-2           the stack goes down  [after 1]
  4  remove api-3           the stack goes down  [after 1]
  5  remove worker-1        the stack goes down  [after 1]
  6  remove volume postgres  its data was asked to be removed  [after 1, 2, 3, 4, 5]
  7  stop supervisor        it owns nothing any more  [after 1, 2, 3, 4, 5, 6]
";
    let plan = text(&nothing, &model.0, &Intent::Down { volumes: true, images: false });
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeeze(&plan), squeeze(expected));
    assert!(!text(&nothing, &model.0, &Intent::Down { volumes: false, images: false }).contains("volume"));
}

#[test]
fn a_replica_that_serves_nobody_is_replaced_first() {
    let mut model = running(&stack("v1"));
    model.0.replicas[2].ready = false;
    let plan = diff(&stack("v2"), &model.0, &Intent::up());
    assert!(plan.steps()[1].cause.starts_with("replaces api-3"), "{plan}");
}

#[test]
fn a_service_that_left_the_file_is_drained_and_removed() {
    let model = running(&stack("v1"));
    let mut desired = stack("v1");
    desired.services.pop();
    desired.jobs[0].before.pop();
    assert_eq!(
        text(&desired, &model.0, &Intent::up()),
        "  1  remove worker-1  its service is not in the stack any more\n"
    );
}

#[test]
fn a_balancer_whose_port_changes_says_that_it_interrupts() {
    let model = running(&stack("v1"));
    let mut desired = stack("v1");
    desired.balancers[0].port = 9090;
    let expected = "\
  1  stop balancer                its port changes from 8080 to 9090: an interruption
  2  start balancer on port 9090  api is reached through it  [after 1]
";
    assert_plan(&text(&desired, &model.0, &Intent::up()), expected);
}

#[test]
fn only_what_was_named_and_what_it_needs_is_started() {
    let mut desired = stack("v1");
    desired.services[1].after = vec![name("api")];
    let only = |service: &str| Intent::Up { only: vec![name(service)], scaled: Vec::new() };
    assert!(!text(&desired, &Observed::default(), &only("api")).contains("worker"));
    let both = text(&desired, &Observed::default(), &only("worker"));
    assert!(both.contains("start api-1") && both.contains("start worker-1"), "{both}");
}

/// Kill the command after every step of a first up, a roll, a scaling and a down: the next `up` converges, and no roll
/// ever leaves fewer than three replicas serving.
#[test]
fn every_interrupted_plan_is_completed_by_the_next_up() {
    let (old, new) = (stack("v1"), stack("v2"));
    let mut five = stack("v1");
    five.services[0].replicas = 5;
    let scale = Intent::Up { only: vec![name("api")], scaled: vec![name("api")] };
    let down = Intent::Down { volumes: true, images: false };
    let scenarios: [(&str, Option<&Desired>, &Desired, Intent); 5] = [
        ("first up", None, &old, Intent::up()),
        ("roll", Some(&old), &new, Intent::up()),
        ("scale", Some(&old), &five, scale),
        ("restart", Some(&old), &old, Intent::Restart(vec![name("api"), name("worker")])),
        ("down", Some(&old), &old, down),
    ];
    for (title, before, desired, intent) in scenarios {
        let begin = || before.map_or_else(|| Model(Observed::default()), running);
        let length = diff(desired, &begin().0, &intent).steps().len();
        for kill in 0..=length {
            let mut model = begin();
            model.apply(desired, &intent, kill);
            if title == "roll" || title == "restart" {
                assert!(model.serving() >= 3, "{title} killed after step {kill}: {} serve", model.serving());
            }
            model.apply(&new, &Intent::up(), usize::MAX);
            assert_eq!(text(&new, &model.0, &Intent::up()), "", "{title} killed after step {kill}");
            assert_eq!(model.serving(), 3);
            let slots: BTreeSet<_> = model.0.replicas.iter().map(|r| r.id.clone()).collect();
            assert_eq!(slots.len(), 4);
        }
    }
}

#[test]
fn stop_and_start_keep_the_places() {
    let desired = stack("v1");
    let mut model = running(&desired);
    model.apply(&desired, &Intent::Stop(Vec::new()), usize::MAX);
    assert!(model.0.replicas.iter().all(|r| r.state == ReplicaState::Stopped));
    assert_eq!(text(&desired, &model.0, &Intent::Stop(Vec::new())), "");
    model.apply(&desired, &Intent::Start(vec![name("api")]), usize::MAX);
    assert_eq!(model.serving(), 3);
    model.apply(&desired, &Intent::up(), usize::MAX);
    assert_eq!(text(&desired, &model.0, &Intent::up()), "");
}

#[test]
fn a_dead_supervisor_is_replaced_and_its_processes_are_mentioned() {
    let (volumes, environments) = ([name("postgres")].into(), ["env".to_owned()].into());
    let observed = Observed { leftovers: 4, volumes, environments, ..Observed::default() };
    let plan = text(&stack("v1"), &observed, &Intent::up());
    let (first, second) = (
        "  1  end leftovers                4 processes of a supervisor that is gone\n",
        "  2  start supervisor             the one before is gone  [after 1]\n",
    );
    assert!(plan.starts_with(&format!("{first}{second}")), "{plan}");
    let nothing = Desired::nothing(stack("v1").identity, Ground::Supervisor);
    let down = text(&nothing, &observed, &Intent::Down { volumes: false, images: false });
    assert_eq!(down, "  1  end leftovers  4 processes of a supervisor that is gone\n");
}

#[test]
fn naming_one_service_leaves_the_balancer_of_another_alone() {
    let model = running(&stack("v1"));
    let mut desired = stack("v1");
    desired.balancers[0].port = 9090;
    let only = Intent::Up { only: vec![name("worker")], scaled: Vec::new() };
    assert_eq!(text(&desired, &model.0, &only), "");
}

#[test]
fn scaling_one_service_leaves_the_scale_of_another_alone() {
    let mut desired = stack("v1");
    desired.services[1].after = vec![name("api")];
    let mut model = running(&desired);
    desired.services[0].replicas = 5;
    let scale = |service: &str| Intent::Up { only: vec![name(service)], scaled: vec![name(service)] };
    model.apply(&desired, &scale("api"), usize::MAX);
    let mut desired = stack("v1");
    desired.services[1].after = vec![name("api")];
    desired.services[1].replicas = 2;
    let plan = text(&desired, &model.0, &scale("worker"));
    assert!(plan.contains("start worker-2") && !plan.contains("api"), "{plan}");
}

#[test]
fn a_restart_installs_and_migrates_what_it_starts() {
    let model = running(&stack("v1"));
    let mut desired = stack("v2");
    desired.environments[0].key = "new".into();
    desired.services[0].environment = Some("new".into());
    desired.jobs[0].environment = Some("new".into());
    let plan = text(&desired, &model.0, &Intent::Restart(vec![name("api")]));
    let first: Vec<_> = plan.lines().take(3).map(|line| line[5..].split("  ").next().unwrap().to_owned()).collect();
    assert_eq!(first, ["install requirements.lock", "run job migrate", "start api-4"], "{plan}");
}

#[test]
fn a_stop_that_was_interrupted_drains_before_it_stops_and_can_be_taken_back() {
    let desired = stack("v1");
    let mut model = running(&desired);
    model.apply(&desired, &Intent::Stop(vec![name("api")]), 1);
    let again = text(&desired, &model.0, &Intent::Stop(vec![name("api")]));
    assert!(
        again.starts_with("  1  drain api-1  it was asked to stop\n  2  stop api-1   it is drained  [after 1]"),
        "{again}"
    );
    model.apply(&desired, &Intent::Start(Vec::new()), usize::MAX);
    assert_eq!(model.serving(), 3);
}

#[test]
fn the_front_balancer_closes_before_those_behind_it() {
    let desired = stack("v1");
    let mut model = running(&desired);
    let inner = ObservedBalancer {
        id: BalancerId::Service(name("api")),
        service: name("api"),
        port: 8000,
        fingerprint: Fingerprint::default(),
        stopped: false,
    };
    model.0.balancers.insert(0, inner);
    let plan = text(
        &Desired::nothing(desired.identity, Ground::Supervisor),
        &model.0,
        &Intent::Down { volumes: false, images: false },
    );
    let order: Vec<_> = plan.lines().take(2).collect();
    assert!(order[0].contains("stop balancer  ") && order[1].contains("stop balancer of api"), "{plan}");
    assert!(order[1].ends_with("[after 1]"), "{plan}");
}

#[test]
fn what_is_ending_is_not_kept_and_nothing_else_works_on_its_data_before_its_end() {
    let mut desired = stack("v1");
    desired.services[1].replacement = Replacement::StopFirst;
    let mut model = running(&desired);
    for replica in &mut model.0.replicas {
        (replica.state, replica.ready, replica.member) = (ReplicaState::Stopping, false, false);
    }
    let expected = "\
 1  remove worker-1    it was told to end
  2  start worker-1     1 wanted, none runs  [after 1]
  3  wait for worker-1  requests come once it is ready  [after 2]
";
    assert_plan(&text(&desired, &model.0, &Intent::Up { only: vec![name("worker")], scaled: Vec::new() }), expected);
    let expected = "\
 1  stop worker-1         it was told to end
  2  start worker-1 again  it is stopped  [after 1]
  3  wait for worker-1     requests come once it is ready  [after 2]
";
    assert_plan(&text(&desired, &model.0, &Intent::Start(vec![name("worker")])), expected);
    let all = text(&desired, &model.0, &Intent::up());
    assert!(all.contains("start api-4"), "{all}");
    // The second `stop` waits for what the first one, which was interrupted, has told to end.
    let again = text(&desired, &model.0, &Intent::Stop(Vec::new()));
    assert_eq!(again.matches("it was asked to stop").count(), 4, "{again}");
    for replica in &mut model.0.replicas {
        replica.state = ReplicaState::Removing;
    }
    assert_eq!(text(&desired, &model.0, &Intent::Start(Vec::new())), "", "what goes away cannot be started again");
}

#[test]
fn a_balancer_that_is_replaced_is_there_before_members_are_drained() {
    let desired = stack("v1");
    let mut model = running(&desired);
    model.0.balancers[0].stopped = true;
    model.0.replicas[2].state = ReplicaState::Stopping;
    let plan = diff(&desired, &model.0, &Intent::up());
    let step = |begin: &str| {
        let found = plan.steps().iter().find(|step| step.action.to_string().starts_with(begin));
        found.unwrap_or_else(|| panic!("{begin}: {plan}"))
    };
    assert!(step("drain api-3").after.contains(&step("start balancer").id), "{plan}");
}
