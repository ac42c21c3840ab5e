//! What is done to the generator shows as its own fault, with exit code 5; what the target does never does.
//!
//! Limits on processor time and ports need root and a Linux kernel: without root those two tests are skipped.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/mod.rs"]
mod suite;
#[path = "support/server.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use support::{Fate, Server, now_ns};

const SCALECTL: &str = env!("CARGO_BIN_EXE_scalectl");

/// How long a run is repeated that was not trusted because this machine was too busy: what else runs on it, and on the
/// host of a virtual one, comes and goes within minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs one after another: side by side they would be each other's sabotage.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn result(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })
}

/// The run was found out, for a reason that says this; what it counted adds up all the same.
fn assert_flagged(output: &Output, said: &str) {
    let result = result(output);
    let reasons = result["verdict"]["reasons"].to_string();
    assert_eq!(output.status.code(), Some(5), "{}", result["verdict"]);
    assert!(reasons.contains(said), "{reasons}");
    let count = |key: &str| result["counts"][key].as_u64().unwrap();
    assert_eq!(count("scheduled"), count("sent") + count("unsent"));
    let ended = ["ok", "http_error", "network_error", "timeout", "unfinished"].map(count).iter().sum::<u64>();
    assert_eq!(count("sent"), ended, "{}", result["counts"]);
}

/// Runs `sh -c script`, with the command line of a load behind it.
fn shell(script: &str, load: &[&str]) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", SCALECTL, "bench", "--json", "-q"]).args(load);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A control group with a tenth of a processor.
struct Tenth(PathBuf);

impl Tenth {
    fn make() -> Self {
        let name = format!("scalectl-test-{}", std::process::id());
        let old = Path::new("/sys/fs/cgroup/cpu");
        let root = if old.exists() { old } else { Path::new("/sys/fs/cgroup") };
        let group = Self(root.join(name));
        fs::create_dir(&group.0).unwrap();
        if old.exists() {
            fs::write(group.0.join("cpu.cfs_period_us"), "100000").unwrap();
            fs::write(group.0.join("cpu.cfs_quota_us"), "10000").unwrap();
        } else {
            fs::write(group.0.join("cpu.max"), "10000 100000").unwrap();
        }
        group
    }
}

impl Drop for Tenth {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_tenth_of_a_processor_is_found_out() {
    let _alone = alone();
    if !geteuid().is_root() {
        return suite::skip("a_tenth_of_a_processor_is_found_out", "only root makes control groups");
    }
    let group = Tenth::make();
    let server = Server::start(|_| Fate::Answer(200, 0));
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display());
    let load = shell(&enter, &[&server.url(), "--rps", "5000", "-z", "3s", "-c", "16"]);
    assert_flagged(&load.wait_with_output().unwrap(), "throttled");
}

#[test]
fn a_pause_of_half_a_second_is_found_out() {
    let _alone = alone();
    for load in [&["--rps", "200"][..], &["--rps", "max", "--io", "epoll"], &["--rps", "max", "--io", "auto"]] {
        let server = Server::start(|_| Fate::Answer(200, 0));
        let load = shell("exec \"$@\"", &[&[server.url().as_str(), "-z", "3s", "-c", "4"], load].concat());
        let begun = Instant::now();
        while server.count() < 100 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        let process = Pid::from_raw(load.id().cast_signed());
        kill(process, Signal::SIGSTOP).unwrap();
        // The pause itself, not a wait for something to happen.
        std::thread::sleep(Duration::from_millis(500));
        kill(process, Signal::SIGCONT).unwrap();
        assert_flagged(&load.wait_with_output().unwrap(), "stood still");
    }
}

#[test]
fn few_file_descriptors_are_found_out() {
    let _alone = alone();
    let server = Server::start(|_| Fate::Answer(200, 0));
    // Those that a warm-up has not are missing after it, too.
    for warmup in ["0s", "500ms"] {
        let flags = ["--rps", "100", "-z", "1s", "-c", "80", "--warmup", warmup];
        let load = shell("ulimit -n 40 && exec \"$@\"", &[&[server.url().as_str()], &flags[..]].concat());
        assert_flagged(&load.wait_with_output().unwrap(), "file descriptors");
    }
}

/// As many connections as the limit allows are too few for this rate.
#[test]
fn a_file_limit_that_keeps_requests_waiting_is_found_out() {
    let _alone = alone();
    let server = Server::start(|_| Fate::Answer(200, now_ns() + 300_000_000));
    let load = shell("ulimit -n 48 && exec \"$@\"", &[&server.url(), "--rps", "200", "-z", "1s"]);
    assert_flagged(&load.wait_with_output().unwrap(), "the file limit allows no more, raise `ulimit -n`");
}

/// nginx and the load share a network of their own that has twenty ports for connections.
#[test]
fn a_range_of_twenty_ports_is_found_out() {
    let _alone = alone();
    if !geteuid().is_root() {
        return suite::skip("a_range_of_twenty_ports_is_found_out", "only root makes networks");
    }
    let folder = tempfile::tempdir().unwrap();
    let conf = "pid nginx.pid; error_log error.log; worker_processes 1; events {}\nhttp { access_log off; \
                client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; \
                scgi_temp_path scgi; server { listen 127.0.0.1:8080; location / { return 200 x; } } }\n";
    fs::write(folder.path().join("nginx.conf"), conf).unwrap();
    let at = folder.path().display();
    let inside = format!(
        "unshare -n sh -c 'ip link set lo up && echo \"40000 40019\" > /proc/sys/net/ipv4/ip_local_port_range && \
         nginx -e error.log -p {at} -c nginx.conf && {{ \"$@\"; code=$?; kill $(cat {at}/nginx.pid); exit $code; }}' \
         sh \"$@\""
    );
    let load = shell(&inside, &["http://127.0.0.1:8080/", "--rps", "100", "-z", "1s", "-c", "60"]);
    assert_flagged(&load.wait_with_output().unwrap(), "local ports");
}

/// A server that takes its time, or stops answering, leaves the generator beyond suspicion. On a machine that is too
/// busy for a clean run the run is repeated.
#[test]
fn a_slow_or_frozen_server_is_not_the_generators_fault() {
    let _alone = alone();
    let fates: [fn(u64) -> Fate; 3] = [
        |_| Fate::Answer(200, 0),
        |_| Fate::Answer(200, now_ns() + 300_000_000),
        |seq| if seq < 50 { Fate::Answer(200, 0) } else { Fate::Silence },
    ];
    for fate in fates {
        let mut found = Value::Null;
        let begin = Instant::now();
        let is_trusted = std::iter::repeat(()).take_while(|()| begin.elapsed() < PATIENCE).any(|()| {
            let server = Server::start(move |seen| fate(seen.seq));
            let url = format!("{}/{{{{ seq() }}}}", server.url());
            let load = shell("exec \"$@\"", &[&url, "--rps", "100", "-z", "2s", "-c", "4", "--grace", "500ms"]);
            let output = load.wait_with_output().unwrap();
            found = result(&output)["verdict"].clone();
            assert_eq!(output.status.code() == Some(5), found["trusted"] == false, "{found}");
            found["trusted"] == true
        });
        assert!(is_trusted, "{found}");
    }
}
