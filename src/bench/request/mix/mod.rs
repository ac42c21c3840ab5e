//! The mix of requests and flows, compiled before the first one is sent. The content of request n depends on (seed, n)
//! only.

mod entries;
mod error;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use self::entries::{Entries, Entry};
pub use self::error::MixError;
use super::feed::Feeds;
use super::kind::Kind;
use super::room::Room;
use super::template::{Names, Scope};
use super::visit::Visit;
use super::workload::{FeedSpec, FlowSpec, RequestSpec, Think};
use crate::bench::answer::Answer;
use crate::bench::answer::check::captured_names;
use crate::bench::answer::redirect::{Following, Hop, Lead};
use crate::bench::answer::unpack::unpack;
use crate::bench::record::sample::{Fault, Outcome};
use crate::bench::schedule::Arrival;
use crate::bench::schedule::replay::Recording;
use crate::bench::target::Target;
use crate::bench::transport;

/// What a mix is made of.
#[derive(Debug, Clone, Copy)]
pub struct Ingredients<'a> {
    /// Single requests.
    pub requests: &'a [RequestSpec],
    /// Flows.
    pub flows: &'a [FlowSpec],
    /// Files of values.
    pub feeds: &'a BTreeMap<String, FeedSpec>,
}

/// A compiled flow.
#[derive(Debug, Clone)]
struct Flow {
    /// The kind of its first step; those of the others follow.
    first: usize,
    /// The time before each step.
    thinks: Vec<Option<Think>>,
    /// How many values it captures.
    values: usize,
}

/// A compiled mix.
#[derive(Debug, Clone)]
pub struct Mix {
    /// Single requests, then the steps of each flow.
    kinds: Vec<Kind>,
    flows: Vec<Flow>,
    entries: Entries,
    feeds: Feeds,
    rng: ChaCha8Rng,
    /// The log that method and path are taken from: there is a kind for each of its methods.
    replay: Option<Arc<Recording>>,
    /// How far redirects are followed.
    following: Option<Following>,
    /// Whether bodies are decompressed.
    unpacks: bool,
}

/// How far apart the draws of the steps of a flow begin, in words of the generator.
const STEP_WORDS: u128 = 1 << 24;

impl Mix {
    /// Compiles single requests for `target`; with none, it is one GET of the target's path.
    ///
    /// # Errors
    ///
    /// As [`Self::of`].
    pub fn compile(target: &Target, requests: &[RequestSpec], seed: u64) -> Result<Self, MixError> {
        Self::of(target, Ingredients { requests, flows: &[], feeds: &BTreeMap::new() }, seed)
    }

    /// Compiles a mix for `target`; with no request and no flow, it is one GET of the target's path.
    ///
    /// # Errors
    ///
    /// Unknown generators and values, invalid methods, paths or headers, files that cannot be read, weights that are
    /// all 0.
    pub fn of(target: &Target, ingredients: Ingredients<'_>, seed: u64) -> Result<Self, MixError> {
        let Ingredients { requests, flows, feeds } = ingredients;
        let default = [RequestSpec::get(&target.path)];
        let requests = if requests.is_empty() && flows.is_empty() { &default[..] } else { requests };
        let feeds = Feeds::read(feeds, seed)?;
        let mut mix = Self {
            kinds: Vec::new(),
            flows: Vec::new(),
            entries: Entries::default(),
            feeds,
            rng: ChaCha8Rng::seed_from_u64(seed),
            replay: None,
            following: None,
            unpacks: false,
        };
        for spec in requests {
            mix.add_request(target, spec)?;
        }
        for spec in flows {
            mix.add_flow(target, spec)?;
        }
        if mix.entries.total() == 0 {
            return Err(MixError::Weightless);
        }
        Ok(mix)
    }

    /// Takes method and path from a log; the kinds are one for each of its methods, in their order.
    #[must_use]
    pub fn replaying(mut self, recording: Arc<Recording>) -> Self {
        self.replay = Some(recording);
        self
    }

    /// Follows redirects.
    #[must_use]
    pub(in crate::bench) fn following(mut self, following: Option<Following>) -> Self {
        if following.is_some() {
            self.kinds.iter_mut().for_each(Kind::keep_answers);
        }
        self.following = following;
        self
    }

    /// Decompresses bodies, if this is asked for.
    #[must_use]
    pub(in crate::bench) fn unpacking(mut self, unpacks: bool) -> Self {
        if unpacks {
            self.kinds.iter_mut().for_each(Kind::keep_answers);
        }
        self.unpacks = unpacks;
        self
    }

    /// Decompresses the body of an answer; gives its bytes as they came and decompressed, 0 where that was not asked for.
    ///
    /// # Errors
    ///
    /// It cannot be.
    pub(in crate::bench) fn unpack(&self, answer: Option<&mut Answer>) -> Result<(u64, u64), Fault> {
        answer.filter(|_| self.unpacks).map_or(Ok((0, 0)), unpack)
    }

    /// What the answer to request `n` leads to, which redirects have made `hop` of; takes the cookies that a redirect
    /// sets.
    pub(in crate::bench) fn lead(
        &self,
        n: u64,
        status: u16,
        answer: Option<&Answer>,
        of: (Option<&Hop>, Option<&mut Visit>),
    ) -> Lead {
        if self.following.is_none() || !(300..400).contains(&status) {
            return Lead::End;
        }
        let mut room = Room::default();
        let (_, request) = self.wire(n, of.1.as_deref(), &mut room);
        self.lead_from(&request.bytes[..request.head], status, answer, of)
    }

    /// The same of a request with this head.
    pub(in crate::bench) fn lead_from(
        &self,
        head: &[u8],
        status: u16,
        answer: Option<&Answer>,
        (hop, visit): (Option<&Hop>, Option<&mut Visit>),
    ) -> Lead {
        let Some(following) = &self.following else { return Lead::End };
        let lead = following.lead(status, answer, head, hop);
        if let (Lead::To(_), Some(visit), Some(answer)) = (&lead, visit, answer) {
            visit.cookies.take(answer);
        }
        lead
    }

    /// Kind and path of request `n` of the log, if there is one.
    fn replayed(&self, n: u64) -> Option<(usize, &str)> {
        self.replay.as_ref()?.request(n)
    }

    /// A name that no other kind has: figures of threads, and of several results, are put together by it.
    fn unique(&self, name: String) -> String {
        let is_free = |name: &str| self.kinds.iter().all(|kind| kind.name != name);
        if is_free(&name) {
            return name;
        }
        let alike = self.kinds.iter().filter(|kind| kind.name.starts_with(&name)).count();
        (alike + 1..).map(|n| format!("{name} ({n})")).find(|name| is_free(name)).unwrap_or(name)
    }

    fn add_request(&mut self, target: &Target, spec: &RequestSpec) -> Result<(), MixError> {
        let name = self.unique(spec.name.clone().unwrap_or_else(|| format!("{} {}", spec.method, spec.path)));
        let only_in_flows = match spec {
            RequestSpec { think: Some(_), .. } => Some("a think time"),
            RequestSpec { capture, .. } if !capture.is_empty() => Some("captures"),
            _ => None,
        };
        if let Some(what) = only_in_flows {
            let why = format!("it has {what}, which only steps of a flow have: write [[bench.NAME.flows]]");
            return Err(MixError::Request { request: name, why });
        }
        let kind = Kind::compile(target, name.clone(), spec, Names { feeds: &self.feeds, captured: &[] }, None);
        self.kinds.push(kind.map_err(|error| MixError::of_request(name, error))?);
        self.entries.add(Entry::Request(self.kinds.len() - 1), spec.weight);
        Ok(())
    }

    fn add_flow(&mut self, target: &Target, spec: &FlowSpec) -> Result<(), MixError> {
        let wrong = |why: &str| Err(MixError::Flow { flow: spec.name.clone(), why: why.to_owned() });
        if spec.steps.is_empty() {
            return wrong("it has no step");
        }
        if spec.steps.iter().any(|step| step.weight != 1) {
            return wrong("a step of it has a weight; the flow as a whole may have one");
        }
        if spec.steps[0].think.is_some() {
            return wrong("its first step has a think time; there is no step before it");
        }
        let all = captured_names(spec.steps.iter().map(|step| &step.capture));
        let first = self.kinds.len();
        for (number, step) in spec.steps.iter().enumerate() {
            let own = step.name.clone().unwrap_or_else(|| format!("{} {}", step.method, step.path));
            let name = self.unique(format!("{}: {own}", spec.name));
            // Values keep their places: what comes first is known first.
            let known = captured_names(spec.steps[..number].iter().map(|step| &step.capture));
            let names = Names { feeds: &self.feeds, captured: &known };
            let kind = Kind::compile(target, name.clone(), step, names, Some(&all));
            self.kinds.push(kind.map_err(|error| MixError::of_request(name, error))?);
        }
        let thinks = spec.steps.iter().map(|step| step.think).collect();
        self.flows.push(Flow { first, thinks, values: all.len() });
        self.entries.add(Entry::Flow(self.flows.len() - 1), spec.weight);
        Ok(())
    }

    /// Names of the kinds, by index.
    pub fn names(&self) -> Vec<String> {
        self.kinds.iter().map(|k| k.name.clone()).collect()
    }

    /// Whether a request of this kind may be sent twice (RFC 9110, 9.2.2).
    pub fn is_idempotent(&self, kind: usize) -> bool {
        self.kinds.get(kind).is_some_and(|k| k.method.is_idempotent())
    }

    /// Whether redirects are followed.
    pub fn follows_redirects(&self) -> bool {
        self.following.is_some()
    }

    /// Whether there are flows in it.
    pub fn has_flows(&self) -> bool {
        !self.flows.is_empty()
    }

    /// The kind of request `n`, or of the first step of flow `n`.
    pub fn kind_of(&self, n: u64) -> usize {
        self.kind_at(self.entry_of(n), 0)
    }

    fn entry_of(&self, n: u64) -> Entry {
        if let Some((kind, _)) = self.replayed(n) {
            return Entry::Request(kind);
        }
        self.entries.only().unwrap_or_else(|| self.entries.draw(&mut self.stream(n, 0)))
    }

    fn kind_at(&self, entry: Entry, step: usize) -> usize {
        match entry {
            Entry::Request(kind) => kind,
            Entry::Flow(flow) => self.flows[flow].first + step,
        }
    }

    /// The run through a flow that an arrival begins; `None` where it is a single request.
    pub(in crate::bench) fn visit(&self, arrival: Arrival) -> Option<Box<Visit>> {
        if self.flows.is_empty() {
            return None;
        }
        match self.entry_of(arrival.n) {
            Entry::Request(_) => None,
            Entry::Flow(flow) => Some(Box::new(Visit::new(flow, self.flows[flow].values, arrival.at_ns))),
        }
    }

    /// Takes a visit to its next step; gives the time before it in nanoseconds, or `None` after the last one.
    pub(in crate::bench) fn next_step(&self, n: u64, visit: &mut Visit) -> Option<u64> {
        visit.step += 1;
        let think = self.flows[visit.flow].thinks.get(visit.step)?;
        let Some(Think { least, most }) = think else { return Some(0) };
        let range = crate::bench::clock::nanos(least.0)..=crate::bench::clock::nanos(most.0);
        // Just before what the step itself draws.
        let mut rng = self.stream(n, visit.step);
        rng.set_word_pos(visit.step as u128 * STEP_WORDS - 16);
        Some(rng.random_range(range))
    }

    /// The kind of a step.
    pub(in crate::bench) fn kind_of_step(&self, visit: &Visit) -> usize {
        self.flows[visit.flow].first + visit.step
    }

    /// Kind and content of request `n`, or of the first step of flow `n`.
    pub fn request(&self, n: u64) -> (usize, Request<Bytes>) {
        let mut rng = self.stream(n, 0);
        if let Some((kind, path)) = self.replayed(n) {
            let scope = &mut Scope { n, rng: &mut rng, feeds: &self.feeds, captured: &[] };
            let mut request = self.kinds[kind].render(scope);
            // A path that is none was left out when the log was read.
            *request.uri_mut() = path.parse().unwrap_or_default();
            return (kind, request);
        }
        let index = self.choose(&mut rng);
        let scope = &mut Scope { n, rng: &mut rng, feeds: &self.feeds, captured: &[] };
        (index, self.kinds[index].render(scope))
    }

    /// Kind of request `n`, or of the step that `visit` is at, and its bytes in HTTP/1.1, which may stand in `room`.
    pub(in crate::bench) fn wire<'a>(
        &'a self,
        n: u64,
        visit: Option<&Visit>,
        room: &'a mut Room,
    ) -> (usize, transport::Request<'a>) {
        if let Some((index, path)) = self.replayed(n) {
            let kind = &self.kinds[index];
            let scope = &mut Scope { n, rng: &mut self.stream(n, 0), feeds: &self.feeds, captured: &[] };
            kind.write(scope, None, room);
            room.set_path(kind.method.as_str().len() + 1, path);
            return (index, kind.outgoing(room));
        }
        let has_cookies = visit.is_some_and(|v| !v.cookies.is_empty());
        if let [Kind { constant: Some(constant), .. }] = self.kinds.as_slice()
            && !has_cookies
        {
            return (0, self.kinds[0].outgoing(constant));
        }
        let mut rng = self.stream(n, visit.map_or(0, |v| v.step));
        let index = match visit {
            Some(visit) if visit.step > 0 => self.kind_of_step(visit),
            _ => self.choose(&mut rng),
        };
        let kind = &self.kinds[index];
        let room = match &kind.constant {
            Some(constant) if !has_cookies => constant,
            _ => {
                let captured = visit.map_or(&[][..], |v| &v.captured);
                let scope = &mut Scope { n, rng: &mut rng, feeds: &self.feeds, captured };
                kind.write(scope, visit.map(|v| &v.cookies), room);
                room
            }
        };
        (index, kind.outgoing(room))
    }

    /// All that an arrival can be: the kind of a request, or the first one of a flow with a run through it.
    pub(in crate::bench) fn every_entry(&self) -> impl Iterator<Item = (usize, Option<Visit>)> {
        self.entries.iter().map(|entry| match entry {
            Entry::Request(kind) => (kind, None),
            Entry::Flow(flow) => {
                let Flow { first, values, .. } = self.flows[flow];
                (first, Some(Visit::new(flow, values, 0)))
            }
        })
    }

    /// The bytes that a request of this kind has as the first of a run, or of the log; its answer is kept.
    pub(in crate::bench) fn content<'a>(
        &'a self,
        kind: usize,
        visit: Option<&Visit>,
        room: &'a mut Room,
    ) -> transport::Request<'a> {
        let mut rng = self.stream(0, visit.map_or(0, |v| v.step));
        let captured = visit.map_or(&[][..], |v| &v.captured);
        let scope = &mut Scope { n: 0, rng: &mut rng, feeds: &self.feeds, captured };
        self.kinds[kind].write(scope, visit.map(|v| &v.cookies), room);
        if let Some(path) = self.replay.as_ref().and_then(|recording| recording.first_path(kind)) {
            room.set_path(self.kinds[kind].method.as_str().len() + 1, path);
        }
        transport::Request { keeps_answer: true, ..self.kinds[kind].outgoing(room) }
    }

    /// What a complete answer comes to; takes from it what `visit` keeps.
    pub(in crate::bench) fn judge(
        &self,
        kind: usize,
        status: u16,
        answer: Option<&Answer>,
        visit: Option<&mut Visit>,
    ) -> Outcome {
        self.kinds[kind].judge(status, answer, visit)
    }

    fn choose(&self, rng: &mut ChaCha8Rng) -> usize {
        self.kind_at(self.entries.only().unwrap_or_else(|| self.entries.draw(rng)), 0)
    }

    /// Stream n of the seeded generator, at where a step begins: independent for every n and step, and the same
    /// whoever asks.
    fn stream(&self, n: u64, step: usize) -> ChaCha8Rng {
        let mut rng = self.rng.clone();
        rng.set_stream(n);
        if step > 0 {
            rng.set_word_pos(step as u128 * STEP_WORDS);
        }
        rng
    }
}

#[cfg(test)]
mod tests;
