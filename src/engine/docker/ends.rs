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

/// How long the engine waits for a program between the word and SIGKILL, where its container does not say.
pub const PATIENCE: Duration = Duration::from_secs(10);
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
    /// Listens to the events of a container since it was started last.
    pub fn watch(docker: &'d Docker, container: &ContainerInspectResponse) -> Self {
        let id = container.id.as_deref().unwrap_or_default();
        let filters = filters(vec![id], vec!["die", "kill", "oom", "start"]);
        let started = container.state.as_ref().and_then(|state| state.started_at.as_deref()?.parse().ok());
        let options = EventsOptionsBuilder::new().filters(&filters);
        let options = match started {
            // One that was never started says the year 1.
            Some(begin) if begin > Timestamp::UNIX_EPOCH => options.since(&at(begin)),
            _ => options,
        };
        let events = docker.events(Some(options.build()));
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
        let known = self.count;
        let end = async {
            while self.count == known {
                self.next().await;
            }
        };
        let _ = tokio::time::timeout(NEWS, end).await;
    }

    fn take(&mut self, event: &EventMessage) {
        match event.action.as_deref() {
            Some("oom") => self.out_of_memory = true,
            Some("kill") => self.told |= self.word.is_in(event),
            Some("start") => self.told = false,
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
/// for an engine goes on with what it was told. Of an engine that does not say, none; Docker's remembers the last 256
/// events of everything that runs on it, so one that is busy may have forgotten a word that was given many seconds ago.
/// The clock of a `remote` engine is asked for.
pub async fn told_to_end<'c>(
    docker: &Docker,
    containers: impl Iterator<Item = &'c ContainerInspectResponse>,
    remote: bool,
) -> BTreeSet<String> {
    let running = containers.filter(|container| super::observe::running(container));
    let running: BTreeMap<_, _> = running.filter_map(|c| Some((c.id.as_deref()?, word_of(c)))).collect();
    let Some(longest) = running.values().map(|word| word.patience).max() else { return BTreeSet::new() };
    let now = if remote { clock(docker).await } else { None }.unwrap_or_else(Timestamp::now);
    let since = now - (longest + LAST);
    let filters = filters(running.keys().copied().collect(), vec!["kill", "start"]);
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
                _ if word.is_in(&event) && word.is_recent(&event, now) => drop(told.insert((*id).to_owned())),
                _ => {}
            }
        }
    })
    .await;
    told
}

/// What time it is where the engine runs.
async fn clock(docker: &Docker) -> Option<Timestamp> {
    docker.info().await.ok()?.system_time?.parse().ok()
}

/// A time as the engine reads it.
fn at(time: Timestamp) -> String {
    format!("{}.{:09}", time.as_second(), time.subsec_nanosecond())
}

fn filters<'c>(ids: Vec<&'c str>, events: Vec<&'c str>) -> HashMap<&'static str, Vec<&'c str>> {
    HashMap::from([("type", vec!["container"]), ("container", ids), ("event", events)])
}

/// How a container is told to end.
struct Word {
    /// The number of the signal.
    signal: String,
    /// How long until it is killed.
    patience: Duration,
}

impl Word {
    /// Whether an event is this word, or a SIGKILL.
    fn is_in(&self, event: &EventMessage) -> bool {
        let attributes = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref());
        let signal = attributes.and_then(|of| of.get("signal"));
        signal.is_some_and(|signal| *signal == self.signal || signal == "9")
    }

    /// Whether it is not so long ago that the program can only have ignored it.
    fn is_recent(&self, event: &EventMessage, now: Timestamp) -> bool {
        event.time.is_none_or(|time| time >= (now - (self.patience + LAST)).as_second())
    }
}

/// How long a container may take to end, as it was created with.
pub fn patience(container: &ContainerInspectResponse) -> Duration {
    let seconds = container.config.as_ref().and_then(|config| u64::try_from(config.stop_timeout?).ok());
    seconds.map_or(PATIENCE, Duration::from_secs)
}

fn word_of(container: &ContainerInspectResponse) -> Word {
    let config = container.config.as_ref();
    let named = config.and_then(|c| c.stop_signal.as_deref()).unwrap_or_default();
    Word { signal: signal_number(named).unwrap_or(SIGTERM).to_string(), patience: patience(container) }
}

const SIGTERM: u8 = 15;
/// The signals that images are ended by, with their numbers on Linux, where containers run; this machine's may differ.
const SIGNALS: [(&str, u8); 9] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("TERM", SIGTERM),
    ("WINCH", 28),
    ("PWR", 30),
];

/// The number of a signal as images name it: `SIGQUIT`, `quit`, `3`, `SIGRTMIN+3`.
fn signal_number(named: &str) -> Option<u8> {
    if let Ok(number) = named.parse() {
        return Some(number);
    }
    let upper = named.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    // As the C library counts them, which leaves the first two to itself.
    let real_time = || 34_u8.checked_add(name.strip_prefix("RTMIN+")?.parse().ok()?);
    known.or_else(real_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_images_name_them() {
        assert_eq!(["SIGQUIT", "QUIT", "sigquit", "3"].map(signal_number), [Some(3); 4]);
        assert_eq!(["SIGRTMIN+3", "SIGWINCH"].map(signal_number), [Some(37), Some(28)]);
        assert_eq!(["", "TERMINATE", "RTMIN+300"].map(signal_number), [None; 3]);
    }
}
