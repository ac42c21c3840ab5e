//! Ctrl-C and SIGTERM as a flag that plain code can look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Turns SIGINT and SIGTERM into a flag. From [`Interrupt::watch`] on they no longer end the process by themselves.
pub struct Interrupt {
    flag: Arc<AtomicBool>,
}

impl Interrupt {
    /// Begins to watch; it goes on to the end of the process.
    ///
    /// # Errors
    ///
    /// When the system refuses a signal handler or a thread.
    pub fn watch() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let runtime = runtime::Builder::new_current_thread().enable_io().build().context("cannot watch for signals")?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let raised = Arc::clone(&flag);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
            });
            raised.store(true, Ordering::Relaxed);
        })?;
        Ok(Self { flag })
    }

    /// True once one of the signals came.
    pub fn flag(&self) -> &AtomicBool {
        &self.flag
    }
}
