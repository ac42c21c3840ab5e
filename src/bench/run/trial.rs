//! One exchange of every kind of a mix, to be looked at before a run.

use super::config::Config;
use super::{Error, reach};
use crate::bench::answer::Answer;
use crate::bench::answer::redirect::{Hop, Lead};
use crate::bench::clock::{nanos, now_ns};
use crate::bench::record::sample::{Cause, Fault, Outcome, Side};
use crate::bench::request::mix::Mix;
use crate::bench::request::room::Room;
use crate::bench::request::visit::Visit;
use crate::bench::transport::http2::request::is_left_out;
use crate::bench::transport::{Completion, Reading, Transport, Wait};

/// One exchange that was tried.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Name of its kind.
    pub name: String,
    /// Head and body of the request; in HTTP/2 its fields stand as those of HTTP/1.1 would.
    pub request: Vec<u8>,
    /// How many bytes of the request are its head.
    pub head: usize,
    /// The answer, where it was complete.
    pub answer: Option<Answer>,
    /// How it ended.
    pub outcome: Outcome,
    /// How long the connection took, in nanoseconds, where one was opened for it.
    pub connect_ns: Option<u64>,
    /// From the request to the first byte of the answer, in nanoseconds.
    pub first_byte_ns: Option<u64>,
    /// From the request to the end of the answer, or to its failure, in nanoseconds.
    pub total_ns: u64,
}

impl Trial {
    /// The same with the version of HTTP that its request had, and without the fields that HTTP/2 does not have.
    fn in_http2(self) -> Self {
        const OLD: &[u8] = b" HTTP/1.1\r\n";
        const NEW: &[u8] = b" HTTP/2\r\n";
        let head = &self.request[..self.head];
        let mut shown = Vec::with_capacity(self.request.len());
        for (number, line) in head.split_inclusive(|byte| *byte == b'\n').enumerate() {
            match line.strip_suffix(OLD) {
                Some(first) if number == 0 => shown.extend_from_slice(&[first, NEW].concat()),
                _ if number > 0 && is_hidden(line) => {}
                _ => shown.extend_from_slice(line),
            }
        }
        let head = shown.len();
        shown.extend_from_slice(&self.request[self.head..]);
        Self { request: shown, head, ..self }
    }
}

/// Sends one request of every kind of the mix, each through its redirects, flows as a whole up to a step that fails, and waits for each answer.
///
/// # Errors
///
/// The configuration is refused, or the system refuses what the generator needs. An exchange that fails is a trial.
pub fn try_out(config: &Config) -> Result<Vec<Trial>, Error> {
    config.check()?;
    let mix = config.mix()?;
    let (dialer, is_http2) = reach(config)?;
    let mut transport = if is_http2 {
        Transport::multiplexed(dialer, 1, config.connect_timeout().0)?
    } else {
        Transport::new(config.io, dialer, Reading::AtOnce)?
    };
    let mut trials = Vec::new();
    for (kind, mut visit) in mix.every_entry() {
        let mut kind = kind;
        let mut hop = None;
        loop {
            let (trial, lead) = attempt(config, &mix, &mut transport, kind, (hop.as_ref(), visit.as_mut()))?;
            let is_ok = trial.outcome == Outcome::Ok;
            trials.push(if is_http2 { trial.in_http2() } else { trial });
            if let Lead::To(next) = lead {
                hop = Some(next);
                continue;
            }
            hop = None;
            let Some(visit) = visit.as_mut().filter(|_| is_ok) else { break };
            // Whoever tries a flow out does not wait for its think times.
            if mix.next_step(0, visit).is_none() {
                break;
            }
            kind = mix.kind_of_step(visit);
        }
    }
    Ok(trials)
}

/// Whether a line of a head is not sent in HTTP/2; the host is, as `:authority`.
fn is_hidden(line: &[u8]) -> bool {
    let mut parts = line.splitn(2, |byte| *byte == b':');
    let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    !name.eq_ignore_ascii_case(b"host") && is_left_out(name, value.trim_ascii())
}

fn attempt(
    config: &Config,
    mix: &Mix,
    transport: &mut Transport,
    kind: usize,
    (hop, mut visit): (Option<&Hop>, Option<&mut Visit>),
) -> Result<(Trial, Lead), Error> {
    const SLOT: usize = 0;
    let (mut room, mut detour) = (Room::default(), Room::default());
    let first = mix.content(kind, visit.as_deref(), &mut room);
    let request = hop.map_or(first, |hop| hop.write(&first, &mut detour));
    let mut trial = Trial {
        name: mix.names().swap_remove(kind),
        request: request.bytes.to_vec(),
        head: request.head,
        answer: None,
        outcome: Outcome::Unfinished,
        connect_ns: None,
        first_byte_ns: None,
        total_ns: 0,
    };
    let mut begun = now_ns();
    let deadline = begun.saturating_add(nanos(config.timeout.0));
    match transport.is_open(SLOT) {
        true => transport.send(SLOT, &request),
        false => transport.open(SLOT),
    }
    loop {
        transport.wait(Wait::Until(deadline))?;
        while let Some(completion) = transport.next() {
            match completion {
                Completion::Opened { connect_ns, .. } => {
                    trial.connect_ns = Some(connect_ns);
                    begun = now_ns();
                    transport.send(SLOT, &request);
                }
                Completion::Joined { .. } => transport.send(SLOT, &request),
                Completion::Answered { status, exchange, mut answer, .. } => {
                    let head = &first.bytes[..first.head];
                    let lead = mix.lead_from(head, status, answer.as_deref(), (hop, visit.as_deref_mut()));
                    trial.outcome = match &lead {
                        Lead::To(_) => Outcome::Ok,
                        Lead::Lost(fault) => Outcome::HttpError(fault.clone()),
                        Lead::End => match mix.unpack(answer.as_deref_mut()) {
                            Ok(_) => mix.judge(kind, status, answer.as_deref(), visit),
                            Err(fault) => Outcome::HttpError(fault),
                        },
                    };
                    trial.answer = answer.map(|answer| *answer);
                    trial.first_byte_ns = Some(exchange.first_read.saturating_sub(begun));
                    trial.total_ns = exchange.last_read.saturating_sub(begun);
                    return Ok((trial, lead));
                }
                Completion::Failed { fault, .. } => {
                    trial.outcome = Outcome::NetworkError(fault);
                    trial.total_ns = now_ns().saturating_sub(begun);
                    return Ok((trial, Lead::End));
                }
            }
        }
        if now_ns() >= deadline {
            let (phase, _) = transport.abort(SLOT);
            let detail = format!("no complete answer within {:?}", config.timeout.0);
            trial.outcome = Outcome::Timeout(Fault::new(phase, Cause::Timeout, Side::Server, detail));
            trial.total_ns = now_ns().saturating_sub(begun);
            return Ok((trial, Lead::End));
        }
    }
}
