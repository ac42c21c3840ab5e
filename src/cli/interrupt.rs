//! Ctrl-C and SIGTERM: as a flag that plain code can look at, and as something that a future waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

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

/// Done when the user presses Ctrl-C, or the command is asked to end, from the first time on that it is looked at.
pub async fn interrupted() {
    Interruption::listen().comes().await;
}

/// Ctrl-C and SIGTERM from an instant on, whenever they are looked at: once anybody has listened for them they no longer
/// end the process, and one that comes while nobody does is lost.
pub struct Interruption(Option<(Signal, Signal)>);

impl Interruption {
    /// Begins to listen, within a runtime.
    pub fn listen() -> Self {
        Self(signal(SignalKind::interrupt()).ok().zip(signal(SignalKind::terminate()).ok()))
    }

    /// Done when one has come since.
    pub async fn comes(&mut self) {
        let Some((interrupt, terminate)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_signal_that_comes_while_nobody_looks_is_kept() {
        let mut interruption = Interruption::listen();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
        // Whatever else is waited for in between.
        tokio::time::sleep(Duration::from_millis(20)).await;
        tokio::time::timeout(Duration::from_secs(60), interruption.comes()).await.unwrap();
    }
}
