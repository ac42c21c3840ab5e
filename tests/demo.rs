//! The whole path in one command, as the README promises it: three real replicas, a real load, and nothing left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/project.rs"]
mod project;

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use project::{all, eventually, kill, scalectl};
use serde_json::Value;

/// A demo with a temporary and a run-time folder of its own, to see what it leaves in them.
fn demo(folder: &Path, args: &[&str]) -> Command {
    for name in ["tmp", "run"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let mut command = scalectl();
    command
        .arg("demo")
        .args(args)
        .env("TMPDIR", folder.join("tmp"))
        .env("XDG_RUNTIME_DIR", folder.join("run"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Files below the folders that a demo was given, and processes that know one of them.
fn left(folder: &Path) -> Vec<String> {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten().filter(|entry| !entry.file_type().is_dir());
    let mut found: Vec<_> = files.map(|entry| entry.path().display().to_string()).collect();
    let mark = folder.join("run").display().to_string();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(&mark) {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

/// What a demo that has ended said.
fn output(child: &mut Child) -> String {
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

#[test]
fn the_demo_ends_with_a_measured_result_without_errors_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = demo(folder.path(), &["--rps", "100", "--duration", "3s", "--json"]).output().unwrap();
    assert!(out.status.success(), "{}: {}", out.status, all(&out));
    let summary: Value = serde_json::from_slice(&out.stdout).unwrap();
    let counts = &summary["counts"];
    assert_eq!((&counts["scheduled"], &counts["ok"]), (&300.into(), &300.into()), "{counts}");
    let names: Vec<_> = summary["requests"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert!(names.iter().any(|n| n.starts_with("GET")) && names.iter().any(|n| n.starts_with("POST")), "{names:?}");
    let said = String::from_utf8_lossy(&out.stderr);
    for part in ["api-1 is ready", "api-2 is ready", "api-3 is ready", "job seed done", "install  ", "total  "] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    assert_eq!(left(folder.path()), Vec::<String>::new());
}

#[test]
fn a_demo_that_is_interrupted_takes_everything_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(folder.path(), &["--duration", "60s"]).spawn().unwrap();
    eventually("its processes run", || {
        if let Some(status) = child.try_wait().unwrap() {
            panic!("it ended before it was interrupted, {status}: {}", output(&mut child));
        }
        (left(folder.path()).iter().filter(|l| l.starts_with("/proc")).count() > 3).then_some(())
    });
    kill(child.id(), "INT");
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", all(&out));
    eventually("nothing is left", || left(folder.path()).is_empty().then_some(()));
}
