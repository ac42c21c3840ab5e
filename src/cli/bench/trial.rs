//! `scalectl bench --try`: one exchange of every kind, printed.

use anyhow::Result;
use serde_json::{Value, json};

use crate::bench::{self, Config, Fault, Outcome, Trial};
use crate::cli::{Global, stdout};
use crate::error::Exit;

/// How many characters of a body are printed.
const MOST_BODY: usize = 2000;

/// Tries everything of the mix out, and prints it; fails where one exchange does.
///
/// # Errors
///
/// The configuration is refused.
pub fn run(config: &Config, global: &Global) -> Result<Exit> {
    let trials = bench::try_out(config).map_err(super::failure)?;
    if global.json {
        stdout::print_json(
            &json!({ "schema": "scalectl.try/1", "exchanges": trials.iter().map(as_json).collect::<Vec<_>>() }),
        )?;
    } else {
        stdout::print(trials.iter().map(as_text).collect::<Vec<_>>().join("\n\n"))?;
    }
    let is_ok = trials.iter().all(|trial| trial.outcome == Outcome::Ok);
    Ok(if is_ok { Exit::Done } else { Exit::Failed })
}

fn fault(trial: &Trial) -> Option<&Fault> {
    match &trial.outcome {
        Outcome::HttpError(fault) | Outcome::NetworkError(fault) | Outcome::Timeout(fault) => Some(fault),
        Outcome::Ok | Outcome::Unfinished => None,
    }
}

fn as_json(trial: &Trial) -> Value {
    let (head, body) = trial.request.split_at(trial.head);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    json!({
        "request": trial.name,
        "ok": trial.outcome == Outcome::Ok,
        "error": fault(trial).map(|fault| json!({"phase": fault.kind.phase, "cause": fault.kind.cause, "detail": fault.detail})),
        "sent": {"head": text(head), "body": text(body)},
        "received": trial.answer.as_ref().map(|a| json!({"head": text(a.head()), "body": text(a.body()), "cut": a.is_cut()})),
        "connect_ns": trial.connect_ns,
        "first_byte_ns": trial.first_byte_ns,
        "total_ns": trial.total_ns,
    })
}

fn as_text(trial: &Trial) -> String {
    let (head, body) = trial.request.split_at(trial.head);
    let mut lines = vec![trial.name.clone()];
    lines.extend(marked('>', head, body));
    if let Some(answer) = &trial.answer {
        lines.extend(marked('<', answer.head(), answer.body()));
    }
    let milliseconds = |ns: u64| format!("{:.2} ms", ns as f64 / 1e6);
    let connected = trial.connect_ns.map(|ns| format!("connected in {}", milliseconds(ns)));
    let first = trial.first_byte_ns.map(|ns| format!("first byte after {}", milliseconds(ns)));
    let total = Some(format!("all after {}", milliseconds(trial.total_ns)));
    let times = connected.into_iter().chain(first).chain(total).collect::<Vec<_>>().join(", ");
    lines.push(match fault(trial) {
        None => format!("ok: {times}"),
        Some(fault) => {
            format!("failed: {} in phase {}: {}; {times}", fault.kind.cause, fault.kind.phase, fault.detail)
        }
    });
    lines.join("\n")
}

/// Head and body, every line marked.
fn marked(mark: char, head: &[u8], body: &[u8]) -> Vec<String> {
    let head = String::from_utf8_lossy(head);
    let body = String::from_utf8_lossy(body);
    let shown = body.char_indices().nth(MOST_BODY).map_or(&*body, |(end, _)| &body[..end]);
    let left = body.len() - shown.len();
    let rest = (left > 0).then(|| format!("… and {left} bytes more"));
    // What a server sends is not to be taken for orders to the terminal.
    let clean = |line: &str| line.chars().filter(|c| *c == '\t' || !c.is_control()).collect::<String>();
    let lines = head.trim_end().lines().chain((!body.is_empty()).then_some("")).chain(shown.lines()).map(clean);
    lines.chain(rest).map(|line| format!("{mark} {line}").trim_end().to_owned()).collect()
}
