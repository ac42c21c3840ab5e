//! What the integration tests share: the binary, waiting for a condition, skipping with a reason, real services.

// Each test program uses a part of it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use assert_cmd::Command;

pub mod python;
pub mod services;

/// The binary under test, without settings that the caller's shell may have for it.
pub fn scalectl() -> Command {
    let mut command = Command::cargo_bin("scalectl").unwrap();
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SCALECTL_")) {
        command.env_remove(name);
    }
    command
}

/// The repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Whether the suite runs where every real part has to be there.
pub fn on_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Ends a test that needs what this machine does not have: it fails on CI, elsewhere it counts as skipped.
///
/// `tests/run` names a file in SCALECTL_TESTS_SKIPPED, and lists at its end what stands there.
pub fn skip(test: &str, reason: &str) {
    assert!(!on_ci(), "{test} cannot be skipped on CI: {reason}");
    eprintln!("skipped: {test}: {reason}");
    if let Some(path) = std::env::var_os("SCALECTL_TESTS_SKIPPED") {
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(file, "{test}: {reason}").unwrap();
    }
}

/// Waits until a condition holds; says what it waited for when it never does.
///
/// The limit is there to end a test that hangs, and is far above what a busy machine needs.
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
