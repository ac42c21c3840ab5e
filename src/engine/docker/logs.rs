//! The logs of a project's containers: the engine says when each line was written.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bollard::Docker as Api;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{ListContainersOptionsBuilder, LogsOptionsBuilder};
use futures_util::future::try_join_all;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::labels::{self, Role};
use super::{Docker, fail};
use crate::engine::BalancerId;
use crate::engine::logs::{Line, Stamp, Window};
use crate::error::Failure;

/// How often new containers are looked for.
const LOOK: Duration = Duration::from_millis(500);

/// Whether the log of a source is wanted.
type Wanted = Box<dyn Fn(&str) -> bool>;

/// A line, with the id of the container that wrote it.
type Found = (String, Line);

/// The logs of a project's containers.
pub struct Logs {
    api: Api,
    project: String,
    wanted: Wanted,
    /// The time of the last line of each container, by its id.
    seen: BTreeMap<String, Stamp>,
    /// Containers whose log is being followed, and the source of what they say.
    followed: BTreeMap<String, tokio::task::JoinHandle<()>>,
    lines: (UnboundedSender<Found>, UnboundedReceiver<Found>),
    looked: Option<Instant>,
    /// What is older than this is of no interest.
    begin: Stamp,
}

impl Docker {
    /// The logs of the project's containers whose sources are wanted.
    pub fn logs(&self, wanted: impl Fn(&str) -> bool + 'static) -> Logs {
        Logs {
            api: self.connection().docker.clone(),
            project: self.identity().project.to_string(),
            wanted: Box::new(wanted),
            seen: BTreeMap::new(),
            followed: BTreeMap::new(),
            lines: unbounded_channel(),
            looked: None,
            begin: Some(Timestamp::now()),
        }
    }
}

impl Logs {
    /// The lines there are, by time.
    ///
    /// # Errors
    ///
    /// When the engine does not answer.
    pub async fn present(&mut self, window: Window) -> Result<Vec<Line>, Failure> {
        self.begin = window.since;
        let containers = self.containers().await?;
        let read = containers.iter().map(|c| collect(&self.api, &c.id, &c.source, window));
        let read = try_join_all(read).await?;
        // Lines that were left out are not to come later.
        let skipped = window.tail.map(|_| Timestamp::now());
        for (container, lines) in containers.iter().zip(&read) {
            let last = lines.last().and_then(|line| line.time);
            self.seen.insert(container.id.clone(), last.or(skipped).or(window.since));
        }
        let mut lines: Vec<_> = read.into_iter().flatten().collect();
        lines.sort_by_key(|line| line.time);
        Ok(lines)
    }

    /// The lines that have come since the last call, by time.
    ///
    /// # Errors
    ///
    /// When the engine does not answer.
    pub async fn more(&mut self) -> Result<Vec<Line>, Failure> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.follow_new().await?;
            self.looked = Some(Instant::now());
        }
        let mut lines = Vec::new();
        while let Ok((id, line)) = self.lines.1.try_recv() {
            self.seen.insert(id, line.time);
            lines.push(line);
        }
        lines.sort_by_key(|line| line.time);
        Ok(lines)
    }

    /// Follows the logs of containers that have come, or started again.
    async fn follow_new(&mut self) -> Result<(), Failure> {
        for Followed { id, source, lives } in self.containers().await? {
            // What ended says no more until it is started again.
            if self.followed.get(&id).is_some_and(|task| !lives || !task.is_finished()) {
                continue;
            }
            let after = self.seen.get(&id).copied().flatten().or(self.begin);
            let task = follow(self.api.clone(), id.clone(), source, after, self.lines.0.clone());
            self.followed.insert(id, tokio::spawn(task));
        }
        Ok(())
    }

    async fn containers(&self) -> Result<Vec<Followed>, Failure> {
        let label = format!("{}={}", labels::PROJECT, self.project);
        let filters = HashMap::from([("label", vec![label.as_str()])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = self.api.list_containers(Some(options)).await.map_err(|e| fail::asking("what runs", &e))?;
        let named = listed.into_iter().filter_map(Followed::of);
        let mut found: Vec<_> = named.filter(|container| (self.wanted)(&container.source)).collect();
        found.sort_by(|a, b| a.source.cmp(&b.source));
        Ok(found)
    }
}

/// A container whose log is of interest.
struct Followed {
    id: String,
    source: String,
    /// It runs, or is about to.
    lives: bool,
}

impl Followed {
    fn of(container: ContainerSummary) -> Option<Self> {
        use bollard::models::ContainerSummaryStateEnum as State;
        let lives = matches!(container.state, Some(State::RUNNING | State::RESTARTING | State::PAUSED));
        Some(Self { source: source(&container)?, id: container.id?, lives })
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        for task in self.followed.values() {
            task.abort();
        }
    }
}

/// What a container's lines are told by: `api-2`, `postgres-1`, `job-migrate`, `balancer`. A command beside the stack has
/// a terminal of its own.
fn source(container: &ContainerSummary) -> Option<String> {
    let of = container.labels.as_ref()?;
    match Role::of(of)? {
        Role::Replica | Role::Backing => labels::replica(of).map(|id| id.to_string()),
        Role::Job => of.get(labels::JOB).map(|job| format!("job-{job}")),
        Role::Balancer => labels::balancer(of).map(|(id, _)| match id {
            BalancerId::Front => "balancer".to_owned(),
            BalancerId::Service(service) => format!("{service}-balancer"),
        }),
        Role::Helper | Role::Run | Role::Data | Role::Files => None,
    }
}

async fn collect(api: &Api, id: &str, source: &str, window: Window) -> Result<Vec<Line>, Failure> {
    let tail = window.tail.map_or("all".to_owned(), |lines| lines.to_string());
    let options = LogsOptionsBuilder::new().tail(&tail).since(seconds(window.since));
    let mut found = Vec::new();
    let mut lines = Box::pin(lines(api, id, source, options));
    while let Some(line) = lines.next().await {
        match line {
            Ok(line) => found.push(line),
            // It was removed meanwhile.
            Err(e) if fail::is_missing(&e) => return Ok(found),
            Err(e) => return Err(fail::doing(&format!("read the log of {source}"), &e)),
        }
    }
    Ok(found)
}

/// Hands on what a container says after a time, until it ends.
async fn follow(api: Api, id: String, source: String, after: Stamp, to: UnboundedSender<(String, Line)>) {
    let options = LogsOptionsBuilder::new().follow(true).since(seconds(after));
    let mut lines = Box::pin(lines(&api, &id, &source, options));
    // An engine that does not answer any more says so at the next look for new containers.
    while let Some(Ok(line)) = lines.next().await {
        let is_new = after.is_none_or(|after| line.time.is_none_or(|time| time > after));
        if is_new && to.send((id.clone(), line)).is_err() {
            return;
        }
    }
}

/// The engine takes whole seconds.
fn seconds(time: Stamp) -> i32 {
    time.map_or(0, |time| i32::try_from(time.as_second()).unwrap_or(i32::MAX))
}

fn lines(
    api: &Api,
    id: &str,
    source: &str,
    options: LogsOptionsBuilder,
) -> impl Stream<Item = Result<Line, bollard::errors::Error>> {
    let options = options.stdout(true).stderr(true).timestamps(true).build();
    let parts = api.logs(id, Some(options));
    let source = source.to_owned();
    let mut partial: Option<Line> = None;
    parts.filter_map(move |part| {
        let line = part.map(|part| whole(&mut partial, &source, &part.into_bytes())).transpose();
        std::future::ready(line)
    })
}

/// A line of what the engine sent: it cuts long ones into parts, of which only the last has an end.
fn whole(partial: &mut Option<Line>, source: &str, bytes: &[u8]) -> Option<Line> {
    let text = String::from_utf8_lossy(bytes);
    let (stamp, rest) = text.split_once(' ').unwrap_or((text.trim_end(), ""));
    let (time, rest) = match stamp.parse::<Timestamp>() {
        Ok(time) => (Some(time), rest),
        Err(_) => (None, text.as_ref()),
    };
    let ends = rest.ends_with('\n') || rest.is_empty();
    let rest = rest.trim_end_matches(['\n', '\r']);
    let line = match partial.take() {
        Some(mut begun) => {
            begun.text.push_str(rest);
            begun
        }
        None => Line { time, source: source.to_owned(), text: rest.to_owned() },
    };
    if ends {
        return Some(line);
    }
    *partial = Some(line);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_in_parts_is_one_line_with_the_time_of_its_begin() {
        let mut partial = None;
        let mut take = |text: &str| whole(&mut partial, "api-1", text.as_bytes());
        assert_eq!(take("2026-01-01T00:00:01.5Z the begin"), None);
        let line = take("2026-01-01T00:00:02Z , the end\r\n").unwrap();
        assert_eq!(line.text, "the begin, the end");
        assert_eq!(line.time.unwrap().to_string(), "2026-01-01T00:00:01.5Z");
        assert_eq!(take("2026-01-01T00:00:03Z \n").unwrap().text, "");
        assert_eq!(take("2026-01-01T00:00:03Z  indented\n").unwrap().text, " indented");
        assert_eq!(take("no time\n").unwrap().text, "no time");
    }

    #[test]
    fn sources_are_called_as_people_call_them() {
        let container = |labels: &[(&str, &str)]| ContainerSummary {
            labels: Some(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
            ..ContainerSummary::default()
        };
        let named = |labels: &[(&str, &str)]| source(&container(labels));
        let replica = [("scalectl.role", "backing"), ("scalectl.service", "postgres"), ("scalectl.slot", "1")];
        assert_eq!(named(&replica).unwrap(), "postgres-1");
        assert_eq!(named(&[("scalectl.role", "job"), ("scalectl.job", "migrate")]).unwrap(), "job-migrate");
        let front = [("scalectl.role", "balancer"), ("scalectl.service", "api"), ("scalectl.slot", "front")];
        assert_eq!(named(&front).unwrap(), "balancer");
        assert_eq!(named(&front[..2]).unwrap(), "api-balancer");
        assert_eq!(named(&[("scalectl.role", "run"), ("scalectl.service", "api")]), None);
    }
}
