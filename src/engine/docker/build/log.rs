//! What a build says while it runs: steps and their output, from either builder.

use std::collections::{HashMap, VecDeque};

use bollard::moby::buildkit::v1::{StatusResponse, Vertex};
use bollard::models::{BuildInfo, BuildInfoAux, CreateImageInfo};

use super::super::pull::Layers;

/// Lines of output that are kept of each step.
const KEPT: usize = 20;
/// Characters of an instruction in a line of progress.
const SHORT: usize = 60;

/// The steps of a build so far.
#[derive(Debug, Default)]
pub struct Log {
    steps: Vec<Step>,
    /// BuildKit runs several steps at once: the place of each by its digest.
    places: HashMap<String, usize>,
    layers: Layers,
    said: String,
    /// Podman 4 puts the reason of a failure where no Docker does, and the client drops it.
    pub failed_without_reason: bool,
}

/// One step of a build.
#[derive(Debug, Default)]
pub struct Step {
    /// `step 4/9`, with the stage where the builder names it; empty for what belongs to no instruction.
    pub title: String,
    /// The instruction, as the builder prints it.
    pub instruction: String,
    /// Where the Dockerfile has it, as far as the builder says.
    pub place: Place,
    /// Its last lines of output.
    pub output: VecDeque<String>,
    /// What follows the last line break of its output.
    unfinished: String,
    /// Why it failed, where the builder says it of the step.
    pub error: Option<String>,
}

/// Where the Dockerfile has a step. All numbers are counted from 1.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Place {
    /// It belongs to no instruction.
    #[default]
    Nowhere,
    /// Among all instructions: how the classic builder and Podman count.
    Instruction(usize),
    /// Among those of its stage that change files, `FROM` included: how BuildKit counts. A stage that is the only one
    /// is not named.
    OfStage {
        /// Its name, or `stage-` and its number from 0.
        stage: Option<String>,
        /// Which one.
        number: usize,
        /// Of how many.
        total: usize,
    },
}

impl Log {
    /// Takes what the builder says next; says something when there is something new to say.
    pub fn take(&mut self, info: BuildInfo) -> Option<String> {
        if info == BuildInfo::default() {
            self.failed_without_reason = true;
        }
        let mut line = None;
        if let Some(text) = &info.stream {
            self.classic(text);
            line = self.steps.last().and_then(Step::progress);
        }
        match info.aux {
            Some(BuildInfoAux::BuildKit(status)) => line = self.buildkit(status),
            Some(BuildInfoAux::Default(_)) | None => {
                let pulled = self.pulled(info.id, info.status, info.progress_detail);
                line = line.or(pulled);
            }
        }
        let line = line.filter(|line| *line != self.said)?;
        self.said.clone_from(&line);
        Some(line)
    }

    /// The step that failed: the one that says so, else the last.
    pub fn failed(&mut self) -> Option<&Step> {
        let at = self.steps.iter().position(|step| step.error.is_some()).or(self.steps.len().checked_sub(1))?;
        let step = self.steps.get_mut(at)?;
        step.finish();
        Some(step)
    }

    fn pulled(
        &mut self,
        id: Option<String>,
        status: Option<String>,
        progress_detail: Option<bollard::models::ProgressDetail>,
    ) -> Option<String> {
        let line = self.layers.take(CreateImageInfo { id, status, progress_detail, error_detail: None })?;
        let step = self.steps.last()?;
        Some(format!("{}: {} · {line}", step.title, short(&step.instruction)))
    }

    fn classic(&mut self, text: &str) {
        for piece in text.split_inclusive('\n') {
            if let Some(step) = announced(piece) {
                self.steps.push(step);
            } else if let Some(step) = self.steps.last_mut() {
                step.say(piece);
            }
        }
    }

    fn buildkit(&mut self, status: StatusResponse) -> Option<String> {
        let mut current = None;
        for vertex in status.vertexes {
            let at = *self.places.entry(vertex.digest.clone()).or_insert_with(|| {
                self.steps.push(of_vertex(&vertex));
                self.steps.len() - 1
            });
            let step = self.steps.get_mut(at)?;
            // Steps that ran beside the one that failed are ended with these words.
            if !vertex.error.is_empty() && !vertex.error.ends_with("context canceled") {
                step.error = Some(vertex.error);
            } else if vertex.started.is_some() && vertex.completed.is_none() {
                current = Some(at);
            }
        }
        for log in status.logs {
            let Some(at) = self.places.get(&log.vertex) else { continue };
            if let Some(step) = self.steps.get_mut(*at) {
                step.say(&String::from_utf8_lossy(&log.msg));
                current = Some(*at);
            }
        }
        self.steps.get(current?)?.progress()
    }
}

impl Step {
    /// A step that has said nothing yet.
    pub fn new(title: impl Into<String>, instruction: impl Into<String>, place: Place) -> Self {
        Self { title: title.into(), instruction: instruction.into(), place, ..Self::default() }
    }

    fn say(&mut self, text: &str) {
        self.unfinished.push_str(text);
        while let Some((line, rest)) = self.unfinished.split_once('\n') {
            let (line, rest) = (line.to_owned(), rest.to_owned());
            self.keep(&line);
            self.unfinished = rest;
        }
    }

    fn finish(&mut self) {
        let rest = std::mem::take(&mut self.unfinished);
        self.keep(&rest);
    }

    fn keep(&mut self, line: &str) {
        let plain = anstream::adapter::strip_str(line).to_string();
        // A progress bar writes itself anew after each carriage return.
        let line = plain.trim_end().rsplit('\r').next().unwrap_or_default();
        if line.trim().is_empty() || is_chatter(line) {
            return;
        }
        if self.output.len() == KEPT {
            self.output.pop_front();
        }
        self.output.push_back(line.to_owned());
    }

    /// Nothing for what belongs to no instruction.
    fn progress(&self) -> Option<String> {
        let begin = format!("{}: {}", self.title, short(&self.instruction));
        (!self.title.is_empty()).then(|| match self.output.back() {
            Some(line) => format!("{begin} · {}", line.trim()),
            None => begin,
        })
    }
}

/// The beginning of a step: `Step 4/9 : RUN make`, as Podman prints it `STEP 4/9: RUN make`.
fn announced(line: &str) -> Option<Step> {
    let rest = line.strip_prefix("Step ").or_else(|| line.strip_prefix("STEP "))?;
    let (count, instruction) = rest.split_once(':')?;
    let (number, _) = count.trim().split_once('/')?;
    let place = Place::Instruction(number.parse().ok()?);
    Some(Step::new(format!("step {}", count.trim()), instruction.trim(), place))
}

/// What the classic builder says of itself between the output of the commands.
fn is_chatter(line: &str) -> bool {
    line.starts_with(" ---> ") || line.starts_with("Removing intermediate container ") || line.starts_with("--> ")
}

/// `[stage 2/5] RUN make`; the name of the stage is missing where there is only one.
fn of_vertex(vertex: &Vertex) -> Step {
    let named = vertex.name.strip_prefix('[').and_then(|name| name.split_once("] "));
    let counted = named.and_then(|(counted, instruction)| Some((in_stage(counted.trim())?, instruction)));
    let Some(((stage, number, total), instruction)) = counted else {
        return Step::new("", &vertex.name, Place::Nowhere);
    };
    let title = match &stage {
        Some(stage) => format!("step {number}/{total} of {stage}"),
        None => format!("step {number}/{total}"),
    };
    Step::new(title, instruction, Place::OfStage { stage, number, total })
}

/// `stage 2/5`, `2/5`; nothing for `internal` and the like.
fn in_stage(counted: &str) -> Option<(Option<String>, usize, usize)> {
    let (stage, count) = match counted.rsplit_once(' ') {
        Some((stage, count)) => (Some(stage.trim().to_owned()), count),
        None => (None, counted),
    };
    let (number, total) = count.split_once('/')?;
    Some((stage, number.parse().ok()?, total.parse().ok()?))
}

/// The beginning of a long instruction.
pub fn short(instruction: &str) -> String {
    match instruction.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}…", instruction[..end].trim_end()),
        None => instruction.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(text: &str) -> BuildInfo {
        BuildInfo { stream: Some(text.to_owned()), ..BuildInfo::default() }
    }

    #[test]
    fn the_classic_builder_tells_its_steps() {
        let mut log = Log::default();
        assert_eq!(log.take(stream("Step 1/2 : FROM a")).as_deref(), Some("step 1/2: FROM a"));
        assert_eq!(log.take(stream("\n")), None);
        assert_eq!(log.take(stream(" ---> 0123\n")), None);
        assert_eq!(log.take(stream("Step 2/2 : RUN make")).as_deref(), Some("step 2/2: RUN make"));
        assert_eq!(log.take(stream("\n ---> Running in 01\n\u{1b}[91mlin")), None);
        assert_eq!(log.take(stream("e 1\u{1b}[0m\n")).as_deref(), Some("step 2/2: RUN make · line 1"));
        log.take(stream("no line break"));
        let failed = log.failed().unwrap();
        assert_eq!((&failed.place, failed.title.as_str()), (&Place::Instruction(2), "step 2/2"));
        assert_eq!(failed.output, ["line 1", "no line break"]);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut step = Step::default();
        (0..50).for_each(|n| step.say(&format!("10%\r20%\r{n}\n")));
        assert_eq!((step.output.len(), step.output.front().unwrap().as_str()), (KEPT, "30"));
    }

    fn vertex(digest: &str, name: &str, error: &str) -> Vertex {
        let started = Some(Default::default());
        Vertex { digest: digest.into(), name: name.into(), error: error.into(), started, ..Vertex::default() }
    }

    fn status(vertexes: Vec<Vertex>, logs: &[(&str, &str)]) -> BuildInfo {
        let log = |(vertex, text): &(&str, &str)| bollard::moby::buildkit::v1::VertexLog {
            vertex: (*vertex).to_owned(),
            msg: text.as_bytes().to_vec(),
            ..Default::default()
        };
        let response = StatusResponse { vertexes, logs: logs.iter().map(log).collect(), ..Default::default() };
        BuildInfo { aux: Some(BuildInfoAux::BuildKit(response)), ..BuildInfo::default() }
    }

    #[test]
    fn buildkit_tells_the_step_that_failed_among_those_at_once() {
        let mut log = Log::default();
        assert_eq!(log.take(status(vec![vertex("i", "[internal] load build definition", "")], &[])), None);
        let two = vec![vertex("a", "[tools 2/3] RUN a", ""), vertex("b", "[2/2] RUN b", "")];
        assert_eq!(log.take(status(two, &[])).as_deref(), Some("step 2/2: RUN b"));
        let said = log.take(status(vec![], &[("a", "from a\n")]));
        assert_eq!(said.as_deref(), Some("step 2/3 of tools: RUN a · from a"));
        let ended = vec![vertex("b", "", "context canceled"), vertex("a", "", "exit code: 3")];
        log.take(status(ended, &[]));
        let said = BuildInfo { stream: Some("Successfully tagged x\n".into()), ..BuildInfo::default() };
        log.take(status(vec![vertex("e", "exporting to image", "")], &[]));
        assert_eq!(log.take(said), None);
        let failed = log.failed().unwrap();
        assert_eq!(failed.place, Place::OfStage { stage: Some("tools".into()), number: 2, total: 3 });
        assert_eq!((failed.instruction.as_str(), failed.error.as_deref()), ("RUN a", Some("exit code: 3")));
    }
}
