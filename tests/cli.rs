//! The commands that need no running stack: new, doctor, completions, man, help.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

mod support;
use support::{scalectl, skip, wait_for};

/// A folder for a test, with a small template in `template/`.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        scratch.put(
            "template/template.toml",
            "name = \"mini\"\ndescription = \"A small one\"\nlanguage = \"python\"\n\
             [[features]]\nname = \"redis\"\ndescription = \"A cache\"\ndefault = true\n\
             [[features]]\nname = \"grpc\"\ndescription = \"A second port\"\n",
        );
        scratch.put(
            "template/scalectl.toml.tera",
            "[project]\nname = \"{{ project }}\"\nwith = {{ features | json_encode }}\n",
        );
        scratch.put("template/.env.tera", "JWT_SECRET={{ secret() }}\n");
        scratch.put("template/bin/start", "#!/bin/sh\n");
        scratch
    }

    fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// `scalectl new ARGUMENTS --template ./template`, in this folder.
    fn create(&self, arguments: &[&str]) -> assert_cmd::Command {
        let mut command = scalectl();
        command.current_dir(self.0.path()).arg("new").args(arguments).args(["--template", "./template"]);
        command
    }
}

/// What is in a folder, hidden entries included.
fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn json(output: &[u8]) -> Value {
    serde_json::from_slice(output).unwrap()
}

#[test]
fn new_renders_a_project_and_says_what_comes_next() {
    let scratch = Scratch::new();
    let ran = scratch.create(&["shop"]).assert().success().stdout("");
    ran.stderr(contains("Created shop from template mini with redis: 3 files").and(contains("cd shop && scalectl up")));
    assert_eq!(scratch.read("shop/scalectl.toml"), "[project]\nname = \"shop\"\nwith = [\"redis\"]\n");
    let mode = |path: &str| fs::metadata(scratch.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("shop/.env"), 0o600);
    assert_eq!(mode("shop/bin/start") & 0o100, 0o100);
    assert_eq!(entries(scratch.0.path()), ["shop", "template"]);
}

#[test]
fn new_as_json_lists_what_was_written() {
    let scratch = Scratch::new();
    let output =
        scratch.create(&["shop", "--json", "--with", "grpc"]).assert().success().stderr("").get_output().clone();
    let result = json(&output.stdout);
    assert_eq!(result["schema"], "scalectl.new/1");
    assert_eq!(result["with"], serde_json::json!(["grpc"]));
    assert_eq!(result["path"], scratch.path("shop").canonicalize().unwrap().to_str().unwrap());
    let files: Vec<_> = result["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert_eq!(files, [".env", "bin/start", "scalectl.toml"]);
}

#[test]
fn new_refuses_a_folder_that_is_not_empty() {
    let scratch = Scratch::new();
    scratch.put("shop/mine.txt", "mine");
    scratch
        .create(&["shop"])
        .assert()
        .code(2)
        .stderr(contains("shop is not empty").and(contains("it holds mine.txt")).and(contains("--force")));
    assert_eq!(entries(&scratch.path("shop")), ["mine.txt"]);
}

#[test]
fn new_with_force_keeps_other_files_and_the_secrets() {
    let scratch = Scratch::new();
    scratch.create(&["shop"]).assert().success();
    let secret = scratch.read("shop/.env");
    scratch.put("shop/mine.txt", "mine");
    scratch.put("shop/bin/start", "changed");
    scratch.create(&["shop", "--force"]).assert().success();
    assert_eq!(scratch.read("shop/.env"), secret);
    assert_eq!(scratch.read("shop/mine.txt"), "mine");
    assert_eq!(scratch.read("shop/bin/start"), "#!/bin/sh\n");
}

#[test]
fn new_into_this_folder_takes_its_name() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("My Shop")).unwrap();
    let mut command = scalectl();
    command.current_dir(scratch.path("My Shop")).args(["new", ".", "--template", "../template"]);
    command
        .assert()
        .code(2)
        .stderr(contains("\"My Shop\" cannot be a project's name").and(contains("try \"my-shop\"")));
    fs::create_dir(scratch.path("my-shop")).unwrap();
    scalectl()
        .current_dir(scratch.path("my-shop"))
        .args(["new", ".", "--template", "../template"])
        .assert()
        .success()
        .stderr(contains("Next:\n  scalectl up\n"));
    assert!(scratch.read("my-shop/scalectl.toml").contains("\"my-shop\""));
}

#[test]
fn new_names_the_nearest_template_and_feature() {
    let scratch = Scratch::new();
    scratch.create(&["shop", "--with", "redsi"]).assert().code(2).stderr(contains("did you mean \"redis\"?"));
    scratch.create(&["shop", "--with", "redis", "--without", "grpc"]).assert().code(2);
    scalectl()
        .current_dir(scratch.0.path())
        .args(["new", "shop", "--template", "fastpi"])
        .assert()
        .code(2)
        .stderr(contains("there is no template \"fastpi\"").and(contains("did you mean \"fastapi\"?")));
    scalectl().current_dir(scratch.0.path()).args(["new", "shop", "--template", "./no"]).assert().code(2);
    assert_eq!(entries(scratch.0.path()), ["template"]);
}

#[test]
fn new_never_asks_without_a_terminal() {
    let scratch = Scratch::new();
    // A question would wait for this pipe, which stays open and silent.
    scalectl()
        .current_dir(scratch.0.path())
        .arg("new")
        .timeout(Duration::from_secs(60))
        .assert()
        .code(2)
        .stderr(contains("needs a name"));
    scalectl()
        .current_dir(scratch.0.path())
        .args(["new", "shop"])
        .timeout(Duration::from_secs(60))
        .assert()
        .success()
        .stderr(contains("from template fastapi"));
}

#[test]
fn new_as_a_dry_run_writes_nothing() {
    let scratch = Scratch::new();
    let dry = scratch.create(&["shop", "--dry-run"]).assert().success();
    dry.stdout(contains("  bin/start  (executable)\n").and(contains("  .env  (owner only)\n")));
    assert_eq!(entries(scratch.0.path()), ["template"]);
}

#[test]
fn new_lists_templates_and_their_features() {
    scalectl().args(["new", "--list"]).assert().success().stdout(contains("fastapi").and(contains("+ redis")));
    let output = scalectl().args(["new", "--list", "--json"]).assert().success().get_output().clone();
    let result = json(&output.stdout);
    assert_eq!(result["schema"], "scalectl.templates/1");
    assert!(result["templates"].as_array().unwrap().iter().any(|template| template["name"] == "fastapi"));
}

#[test]
fn a_mistake_in_a_template_is_shown_and_nothing_is_written() {
    let scratch = Scratch::new();
    scratch.put("template/zz.py.tera", "{{ nobody }}");
    scratch
        .create(&["shop"])
        .assert()
        .code(1)
        .stderr(contains("zz.py.tera could not be rendered").and(contains("nobody")));
    assert_eq!(entries(scratch.0.path()), ["template"]);
}

#[test]
fn new_leaves_nothing_where_it_may_not_write() {
    let scratch = Scratch::new();
    // Permissions do not stop root, but nobody makes folders in sysfs.
    let closed = if Uid::effective().is_root() { PathBuf::from("/sys/kernel") } else { scratch.path("closed") };
    if !closed.exists() {
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    }
    let target = closed.join("shop");
    scratch
        .create(&["shop", "--output", target.to_str().unwrap()])
        .assert()
        .code(1)
        .stderr(contains(format!("cannot write in {}", closed.display())).and(contains("--output")));
    assert!(!target.exists());
}

/// A small disk of its own, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Result<Self, String> {
        fs::create_dir(&path).unwrap();
        let mount =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&path).output();
        match mount {
            Ok(output) if output.status.success() => Ok(Self(path)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg(&self.0).status().unwrap();
    }
}

#[test]
fn new_leaves_nothing_on_a_full_disk() {
    let scratch = Scratch::new();
    scratch.put("template/large.bin", vec![b'x'; 256 * 1024]);
    let disk = match SmallDisk::mount(scratch.path("disk")) {
        Ok(disk) => disk,
        Err(reason) => {
            return skip("new_leaves_nothing_on_a_full_disk", &format!("cannot mount a small disk: {reason}"));
        }
    };
    scratch
        .create(&["shop", "--output", "disk/shop"])
        .assert()
        .code(1)
        .stderr(contains("No space left on device").and(contains("free some space")));
    assert!(entries(&disk.0).is_empty(), "{:?}", entries(&disk.0));

    // The same on a folder that is there and holds something.
    fs::create_dir(disk.0.join("shop")).unwrap();
    fs::write(disk.0.join("shop/.env"), "JWT_SECRET=old\n").unwrap();
    scratch.create(&["shop", "--output", "disk/shop", "--force"]).assert().code(1);
    assert_eq!(entries(&disk.0.join("shop")), [".env"]);
    assert_eq!(fs::read_to_string(disk.0.join("shop/.env")).unwrap(), "JWT_SECRET=old\n");
}

/// Starts a `new` of many files, and sends it `signal` as soon as its temporary folder is there.
fn interrupted(scratch: &Scratch, signal: Signal) -> std::process::ExitStatus {
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("scalectl"))
        .current_dir(scratch.0.path())
        .args(["new", "shop", "--template", "./template"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the temporary folder", Duration::from_secs(60), || {
        let begun = entries(scratch.0.path()).iter().any(|name| name.starts_with(".shop.scalectl-"));
        (begun || child.try_wait().unwrap().is_some()).then_some(())
    });
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    child.wait().unwrap()
}

#[test]
fn new_leaves_nothing_when_interrupted_and_cleans_up_after_a_kill() {
    let scratch = Scratch::new();
    for number in 0..4000 {
        scratch.put(&format!("template/files/{number}"), vec![b'x'; 8 * 1024]);
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        assert_eq!(interrupted(&scratch, signal).code(), Some(130), "{signal}");
        assert_eq!(entries(scratch.0.path()), ["template"], "{signal}");
    }
    assert_eq!(interrupted(&scratch, Signal::SIGKILL).code(), None);
    assert!(entries(scratch.0.path()).iter().any(|name| name.starts_with(".shop.scalectl-")));
    assert!(!scratch.path("shop").exists());
    scratch.create(&["shop"]).assert().success();
    assert_eq!(entries(scratch.0.path()), ["shop", "template"]);
}

/// The program on a terminal of its own, as util-linux's `script` makes one.
struct Terminal {
    child: std::process::Child,
    shown: std::sync::Arc<std::sync::Mutex<String>>,
}

impl Terminal {
    fn start(folder: &Path, arguments: &str) -> Self {
        let line = format!("{} {arguments}", assert_cmd::cargo::cargo_bin!("scalectl").display());
        let mut child = std::process::Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .current_dir(folder)
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let shown = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let (mut output, screen) = (child.stdout.take().unwrap(), shown.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                screen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Self { child, shown }
    }

    /// Types once the question is on the screen.
    fn answer(&mut self, question: &str, keys: &str) {
        wait_for(question, Duration::from_secs(60), || self.shown.lock().unwrap().contains(question).then_some(()));
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        let shown = self.shown.lock().unwrap().clone();
        (code, shown)
    }
}

#[cfg(target_os = "linux")]
#[test]
fn new_asks_on_a_terminal() {
    let scratch = Scratch::new();
    let mut terminal = Terminal::start(scratch.0.path(), "new");
    terminal.answer("Template", "\r");
    terminal.answer("Name of the project", "shop\r");
    // The first of the optional parts is chosen already: the space takes it away.
    terminal.answer("Optional parts", " \r");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    let text = scratch.read("shop/scalectl.toml");
    let file: toml::Table = text.parse().unwrap();
    let backing = file["backing"].as_table().unwrap();
    assert!(!backing.contains_key("postgres") && backing.contains_key("redis"), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn new_is_interrupted_at_a_question() {
    let scratch = Scratch::new();
    let mut terminal = Terminal::start(scratch.0.path(), "new shop");
    terminal.answer("Template", "\u{3}");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(130), "{shown}");
    assert!(shown.contains("interrupted"), "{shown}");
    assert_eq!(entries(scratch.0.path()), ["template"]);
}

#[test]
fn doctor_groups_its_checks_and_gives_remedies() {
    let scratch = Scratch::new();
    let output = scalectl().current_dir(scratch.0.path()).args(["doctor", "--json"]).output().unwrap();
    let result = json(&output.stdout);
    assert_eq!(result["schema"], "scalectl.doctor/1");
    let checks = result["checks"].as_array().unwrap();
    for check in checks {
        assert!(["ok", "warning", "missing"].contains(&check["status"].as_str().unwrap()), "{check}");
        assert_eq!(check["status"] == "ok", check["remedy"].is_null(), "{check}");
        assert!(!check["needed_by"].as_array().unwrap().is_empty(), "{check}");
    }
    let missing = checks.iter().any(|check| check["status"] == "missing");
    assert_eq!(output.status.code(), Some(i32::from(missing)));
}

#[test]
fn doctor_names_who_holds_the_balancers_port() {
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    scratch.put("scalectl.toml", format!("[project]\nname = \"shop\"\n[balancer]\nservice = \"api\"\nport = {port}\n"));
    scalectl()
        .current_dir(scratch.0.path())
        .arg("doctor")
        .assert()
        .code(1)
        .stdout(contains(format!("(pid {}", std::process::id())).and(contains("choose another balancer.port")));
    drop(listener);
    scalectl()
        .current_dir(scratch.0.path())
        .arg("doctor")
        .assert()
        .stdout(contains(format!("Port {port} (balancer.port)")).and(contains("free")));
}

/// There is nothing to watch; a project whose file has a mistake is watched until it is mended.
#[test]
fn up_watch_ends_where_there_is_no_project() {
    let scratch = Scratch::new();
    let up = || scalectl().current_dir(scratch.0.path()).args(["up", "--watch"]).assert();
    up().code(2).stderr(contains("no scalectl.toml in this folder"));
    scratch.put("scalectl.toml", "[project\n");
    up().code(2).stderr(contains("scalectl.toml"));
}

#[test]
fn doctor_says_why_docker_does_not_answer() {
    let scratch = Scratch::new();
    let doctor = |host: &str| scalectl().current_dir(scratch.0.path()).env("DOCKER_HOST", host).arg("doctor").assert();
    doctor("unix:///nowhere/docker.sock").stdout(contains("the socket does not exist"));
    doctor("tcp://127.0.0.1:1").stdout(contains("the host refuses the connection"));
    doctor("ssh://ada@box").stdout(contains("ssh -nNT -L"));
}

/// The verbs that `--help` lists.
fn verbs() -> Vec<String> {
    let help = scalectl().arg("--help").assert().success().get_output().stdout.clone();
    let help = String::from_utf8(help).unwrap();
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_verb_has_a_help_text_and_a_manual_page() {
    let scratch = Scratch::new();
    let verbs = verbs();
    assert!(verbs.len() > 15 && verbs.contains(&"up".to_owned()), "{verbs:?}");
    assert!(!verbs.contains(&"supervise".to_owned()));
    scalectl().current_dir(scratch.0.path()).args(["man", "--output", "man"]).assert().success();
    let mut expected: Vec<_> =
        verbs.iter().map(|verb| format!("scalectl-{verb}.1")).chain(["scalectl.1".to_owned()]).collect();
    expected.sort();
    assert_eq!(entries(&scratch.path("man")), expected);
    for verb in &verbs {
        scalectl().args([verb, "--help"]).assert().success().stdout(contains("Usage: scalectl"));
        assert!(scratch.read(&format!("man/scalectl-{verb}.1")).contains(&format!(".TH scalectl-{verb} 1")));
    }
    let page = String::from_utf8(scalectl().arg("man").assert().success().get_output().stdout.clone()).unwrap();
    assert_eq!(page.trim_end(), scratch.read("man/scalectl.1").trim_end());
}

#[test]
fn help_may_be_asked_for_as_a_verb() {
    let printed = |arguments: &[&str]| {
        let output = scalectl().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(printed(&["help", "bench"]), printed(&["bench", "--help"]));
    assert_eq!(printed(&["help"]), printed(&["--help"]));
}

#[test]
fn the_readme_lists_every_verb_and_no_other() {
    let readme = fs::read_to_string(support::repository().join("README.md")).unwrap();
    let table = readme.split("## All commands").nth(1).unwrap().split("\n## ").next().unwrap();
    let first_cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let mut listed: Vec<String> = first_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .filter(|name| name != "ps")
        .collect();
    let mut known = verbs();
    listed.sort();
    known.sort();
    assert_eq!(listed, known);
}

#[test]
fn completions_offer_every_verb_and_no_hidden_one() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = scalectl().args(["completions", shell]).assert().success().get_output().clone();
        let script = String::from_utf8(output.stdout).unwrap();
        for verb in verbs() {
            assert!(script.contains(&verb), "{shell}: {verb}");
        }
        assert!(!script.contains("supervise"), "{shell}");
    }
    scalectl().args(["completions", "tcsh"]).assert().code(2);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("scalectl"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
