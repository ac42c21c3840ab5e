//! What only the engine's events tell: how often, and how, a container's program ended while it was waited for, and which
//! containers were told to end and have not done so yet.
//!
//! The restart policy hides the former: with a restart the engine forgets the exit code, and that the program met its
//! memory limit. Of the latter an inspection says nothing: until its end such a container runs as any other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, EventMessage};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use nix::sys::signal::Signal;

/// How long the engine waits for a program between the word and SIGKILL, where its container does not say.
const PATIENCE: Duration = Duration::from_secs(10);
/// After SIGKILL a program ends within this time, and so it is not told to end any more.
const LAST: Duration = Duration::from_secs(10);
/// Events come this much after what an inspection shows, at most.
const NEWS: Duration = Duration::from_millis(250);
/// How long to listen for what has happened already. Only an engine whose clock is behind this machine's needs it all.
const LISTEN: Duration = Duration::from_secs(1);

/// The ends of a container's program since it was first looked at.
pub struct Ends<'d> {
    events: Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + 'd>>,
    /// How often it ended.
    pub count: u32,
    /// The exit code of the last time.
    pub code: Option<i64>,
    /// Whether the kernel killed a process of it for its memory limit.
    pub out_of_memory: bool,
    /// Whether the engine told it to end.
    pub told: bool,
    word: Word,
}

impl<'d> Ends<'d> {
    /// Listens to the events of a container.
    pub fn watch(docker: &'d Docker, container: &ContainerInspectResponse) -> Self {
        let id = container.id.as_deref().unwrap_or_default();
        let filters = HashMap::from([
            ("type", vec!["container"]),
            ("container", vec![id]),
            ("event", vec!["die", "kill", "oom"]),
        ]);
        let events = docker.events(Some(EventsOptionsBuilder::new().filters(&filters).build()));
        let word = word_of(container);
        Self { events: Box::pin(events), count: 0, code: None, out_of_memory: false, told: false, word }
    }

    /// Waits for the next event; for ever, where the engine tells no more.
    pub async fn next(&mut self) {
        match self.events.next().await {
            Some(Ok(event)) => self.take(&event),
            _ => std::future::pending().await,
        }
    }

    /// Waits for the news of an end that was seen by another way, for a moment.
    pub async fn settle(&mut self) {
        let end = async {
            while self.count == 0 {
                self.next().await;
            }
        };
        let _ = tokio::time::timeout(NEWS, end).await;
    }

    fn take(&mut self, event: &EventMessage) {
        match event.action.as_deref() {
            Some("oom") => self.out_of_memory = true,
            Some("kill") => self.told |= self.word.is_in(event, Timestamp::now()),
            Some("die") => {
                self.count += 1;
                let attributes = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref());
                self.code = attributes.and_then(|of| of.get("exitCode")?.parse().ok());
            }
            _ => {}
        }
    }
}

/// The full ids of those of these containers that run, but were told to end: by a command that was killed since, for one,
/// for an engine goes on with what it was told. Of an engine that does not say, none.
pub async fn told_to_end<'c>(
    docker: &Docker,
    containers: impl Iterator<Item = &'c ContainerInspectResponse>,
) -> BTreeSet<String> {
    let running = containers.filter(|container| super::observe::running(container));
    let running: BTreeMap<_, _> = running.filter_map(|c| Some((c.id.as_deref()?, word_of(c)))).collect();
    let Some(longest) = running.values().map(|word| word.patience).max() else { return BTreeSet::new() };
    let now = Timestamp::now();
    let since = now - (longest + LAST);
    let at = |time: Timestamp| format!("{}.{:09}", time.as_second(), time.subsec_nanosecond());
    let ids: Vec<_> = running.keys().copied().collect();
    let filters = HashMap::from([("type", vec!["container"]), ("container", ids), ("event", vec!["kill", "start"])]);
    let options = EventsOptionsBuilder::new().since(&at(since)).until(&at(now)).filters(&filters).build();
    let mut events = docker.events(Some(options));
    let mut told = BTreeSet::new();
    // Nobody is to wait for an engine that only tells what comes: what it has told so far counts.
    let _ = tokio::time::timeout(LISTEN, async {
        while let Some(Ok(event)) = events.next().await {
            let Some((id, word)) = event.actor.as_ref().and_then(|a| running.get_key_value(a.id.as_deref()?)) else {
                continue;
            };
            match event.action.as_deref() {
                Some("start") => drop(told.remove(*id)),
                _ if word.is_in(&event, now) => drop(told.insert((*id).to_owned())),
                _ => {}
            }
        }
    })
    .await;
    told
}

/// How a container is told to end.
struct Word {
    /// The number of the signal.
    signal: String,
    /// How long until it is killed.
    patience: Duration,
}

impl Word {
    /// Whether an event is this word, or a SIGKILL, and not so old that the program can only have ignored it.
    fn is_in(&self, event: &EventMessage, now: Timestamp) -> bool {
        let attributes = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref());
        let signal = attributes.and_then(|of| of.get("signal"));
        let is_recent = event.time.is_none_or(|time| time >= (now - (self.patience + LAST)).as_second());
        signal.is_some_and(|signal| *signal == self.signal || signal == "9") && is_recent
    }
}

fn word_of(container: &ContainerInspectResponse) -> Word {
    let config = container.config.as_ref();
    let patience = config.and_then(|c| u64::try_from(c.stop_timeout?).ok()).map_or(PATIENCE, Duration::from_secs);
    let named = config.and_then(|c| c.stop_signal.as_deref()).unwrap_or_default();
    Word { signal: signal_number(named).unwrap_or(Signal::SIGTERM as i32).to_string(), patience }
}

/// The number of a signal as images name it: `SIGQUIT`, `QUIT`, `3`.
fn signal_number(named: &str) -> Option<i32> {
    let signal = || named.parse().or_else(|_| format!("SIG{named}").parse::<Signal>());
    named.parse().ok().or_else(|| signal().ok().map(|signal| signal as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_images_name_them() {
        assert_eq!(["SIGQUIT", "QUIT", "3"].map(signal_number), [Some(3); 3]);
        assert_eq!(["", "SIGRTMIN+3", "TERMINATE"].map(signal_number), [None; 3]);
    }
}
