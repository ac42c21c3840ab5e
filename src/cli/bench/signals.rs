//! Signals that end a run.

use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::bench::Control;

/// How long answers are waited for at most after SIGTERM or SIGHUP: whoever sends one follows it up with SIGKILL, Docker
/// after ten seconds, and the result is to be written by then.
const PATIENCE: Duration = Duration::from_secs(3);

/// The first Ctrl-C ends the schedule, the second aborts; so do SIGTERM, with which CI systems cancel, and SIGHUP, with
/// which a terminal goes away, in any order. What was measured until then is a result all the same.
pub fn interrupt_on_signal(control: Control) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        // Watching SIGHUP would undo what `nohup` did.
        let hangup = if is_hangup_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, hangup)
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let mut abort_at = None;
            loop {
                let hung_up = async {
                    match &mut hangup {
                        Some(hangup) => hangup.recv().await,
                        None => std::future::pending().await,
                    }
                };
                let is_late = async {
                    match abort_at {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                let is_patient = tokio::select! {
                    _ = interrupt.recv() => true,
                    _ = terminate.recv() => false,
                    _ = hung_up => false,
                    () = is_late => true,
                };
                abort_at = (!is_patient).then(|| tokio::time::Instant::now() + PATIENCE);
                control.interrupt();
            }
        });
    })?;
    Ok(())
}

/// Whether the process was started with SIGHUP ignored; false where the system does not say.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit n - 1 is signal n.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}
