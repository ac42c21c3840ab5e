//! What a search for the highest rate has found, to read and as JSON.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::figures::{count, duration, duration_or, percent, rate, slo_value};
use super::table::keep_words_whole;
use crate::bench::search::{End, Purpose, Vote};
use crate::bench::{Broken, Capacity, Probe};

/// Writes what was found for people, at most `width` columns wide.
///
/// # Errors
///
/// The writer fails.
pub fn capacity(found: &Capacity, out: &mut (impl Write + ?Sized), width: usize) -> io::Result<()> {
    writeln!(out, "Target      {}", found.target)?;
    if !found.objectives.is_empty() {
        writeln!(out, "Objectives  {}", found.objectives.join(", "))?;
    }
    writeln!(out, "Capacity    {}", answer(found))?;
    for (i, broken) in found.limit.iter().enumerate() {
        let title = if i == 0 { "Limit" } else { "" };
        writeln!(out, "{title:<11} {}", limit(broken))?;
    }
    for (at, held, missed) in found.disagreed() {
        writeln!(out, "Noise       at {} the probes disagreed: {held} of {} held", rate(at), held + missed)?;
    }
    writeln!(out, "\n{}", table(&found.probes, width))
}

/// Writes what was found as JSON.
///
/// # Errors
///
/// The writer fails.
pub fn capacity_json(found: &Capacity, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, found)?;
    writeln!(out)
}

/// Writes what was found as Markdown.
///
/// # Errors
///
/// The writer fails.
pub fn capacity_markdown(found: &Capacity, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    writeln!(out, "### Capacity of `{}`\n", found.target.replace('`', "'"))?;
    writeln!(out, "**{}**\n", answer(found))?;
    found.objectives.iter().try_for_each(|objective| writeln!(out, "- objective `{objective}`"))?;
    found.limit.iter().try_for_each(|broken| writeln!(out, "- limit: {}", limit(broken)))?;
    for (at, held, missed) in found.disagreed() {
        writeln!(out, "- at {} the probes disagreed: {held} of {} held", rate(at), held + missed)?;
    }
    writeln!(out, "\n| {} |\n| ---: | ---: | --- | ---: | ---: | ---: | ---: | --- |", COLUMNS.join(" | "))?;
    for (number, probe) in (1..).zip(&found.probes) {
        writeln!(out, "| {} |", row(number, probe).map(|cell| cell.replace('|', "\\|")).join(" | "))?;
    }
    Ok(())
}

/// The answer in one line.
fn answer(found: &Capacity) -> String {
    let generator = "the generator itself was the limit";
    let text = match (found.low, found.high) {
        (Some(low), Some(_)) if found.is_limited_by_generator => {
            format!("at least {}; beyond that {generator}, and nothing is known of the target", rate(low))
        }
        (None, Some(high)) if found.is_limited_by_generator => format!("not known: at {} {generator}", rate(high)),
        (Some(low), Some(high)) => format!("between {} and {}", rate(low), rate(high)),
        (Some(low), None) => format!("at least {}", rate(low)),
        (None, Some(high)) => format!("below {}", rate(high)),
        (None, None) => "not known".to_owned(),
    };
    match found.end {
        End::Found | End::NothingHeld => text,
        End::Ceiling => format!("{text}, the highest rate that is tried"),
        End::GaveUp => format!("{text}, not confirmed: {} probes did not agree", found.probes.len()),
        End::Interrupted => format!("{text}, not confirmed: interrupted"),
        End::TargetGone => format!("{text}, not confirmed: the target accepts no connections any more"),
    }
}

/// What did not hold, in a few words.
fn limit(broken: &Broken) -> String {
    match broken {
        Broken::Slo(slo) => format!("{}: {}", slo.expression, slo_value(slo)),
        Broken::Errors { share } => format!("errors: {}", percent(*share)),
        Broken::Unsent { count: unsent } => format!("{} unsent", count(*unsent)),
        Broken::FallsBehind { by } => {
            format!("it falls behind: response times grow by {} a second", duration((by * 1e9) as u64))
        }
        Broken::Connections { limit } => {
            let all = count(*limit);
            format!("all {all} connections were in use; if the target could answer more at once, raise --connections")
        }
        Broken::Generator { reason } => format!("the generator: {reason}"),
        Broken::NoConnection { reason } => format!("no connection: {reason}"),
    }
}

/// One probe in one line.
pub fn probe(probe: &Probe) -> String {
    let result = match probe.vote {
        Vote::Held => "held".to_owned(),
        Vote::Missed => format!("missed: {}", broke(probe)),
        Vote::Untrusted => format!("no vote, {}", broke(probe)),
    };
    let [p50, p99] = [probe.response_time_ns.p50, probe.response_time_ns.p99].map(|ns| duration_or(ns, "-"));
    format!("{}  p50 {p50}  p99 {p99}  {result}", rate(probe.rate))
}

fn broke(probe: &Probe) -> String {
    probe.broke.first().map(limit).unwrap_or_default()
}

const COLUMNS: [&str; 8] = ["probe", "rate", "to", "achieved", "p50", "p99", "errors", "result"];

/// A probe in as many cells as there are [`COLUMNS`].
fn row(number: usize, probe: &Probe) -> [String; 8] {
    let purpose = match probe.purpose {
        Purpose::Bracket => "bracket",
        Purpose::Bisect => "bisect",
        Purpose::Confirm => "confirm",
        Purpose::Repeat => "repeat",
    };
    let result = match probe.vote {
        Vote::Held => "held".to_owned(),
        Vote::Missed => broke(probe),
        Vote::Untrusted => format!("no vote: {}", broke(probe)),
    };
    let time = |ns| duration_or(ns, "-");
    [
        number.to_string(),
        rate(probe.rate),
        purpose.to_owned(),
        rate(probe.achieved_rate),
        time(probe.response_time_ns.p50),
        time(probe.response_time_ns.p99),
        percent(probe.errors),
        result,
    ]
}

fn table(probes: &[Probe], width: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    table.set_header(COLUMNS);
    for (number, probe) in (1..).zip(probes) {
        table.add_row(row(number, probe));
    }
    keep_words_whole(&mut table);
    for number in [0, 1, 3, 4, 5, 6] {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Latency;

    fn found(low: Option<f64>, high: Option<f64>, end: End, limit: Vec<Broken>) -> Capacity {
        let is_limited_by_generator = limit.iter().any(|b| matches!(b, Broken::Generator { .. }));
        let probe = |rate, vote, broke| Probe {
            rate,
            purpose: Purpose::Bisect,
            vote,
            broke,
            achieved_rate: rate,
            errors: 0.0,
            response_time_ns: Latency { p50: Some(2_000_000), p99: Some(61_000_000), ..Latency::default() },
        };
        Capacity {
            schema: "scalectl.capacity/1".to_owned(),
            target: "http://x/".to_owned(),
            objectives: vec!["p99<50ms".to_owned()],
            low,
            high,
            end,
            limit: limit.clone(),
            is_limited_by_generator,
            precision: 0.05,
            probe_time_ns: 1_000_000_000,
            probes: vec![probe(4_200.0, Vote::Held, vec![]), probe(4_200.0, Vote::Missed, limit)],
        }
    }

    #[test]
    fn the_answer_says_how_sure_it_is_and_what_the_limit_was() {
        let generator = || vec![Broken::Generator { reason: "its own lag".to_owned() }];
        let behind = || vec![Broken::FallsBehind { by: 0.04 }];
        for (found, said) in [
            (found(Some(4_200.0), Some(4_400.0), End::Found, behind()), "between 4,200/s and 4,400/s\n"),
            (found(Some(4_200.0), Some(4_400.0), End::Found, behind()), "Limit       it falls behind: response times"),
            (found(Some(4_200.0), Some(4_400.0), End::Found, behind()), "grow by 40.0 ms a second\n"),
            (found(Some(4_200.0), Some(4_400.0), End::Found, behind()), "at 4,200/s the probes disagreed: 1 of 2 held"),
            (
                found(Some(4_200.0), Some(4_400.0), End::Found, generator()),
                "at least 4,200/s; beyond that the generator",
            ),
            (found(None, Some(0.1), End::NothingHeld, vec![]), "below 0.100/s\n"),
            (found(Some(100.0), None, End::Interrupted, vec![]), "at least 100.0/s, not confirmed: interrupted"),
        ] {
            let mut text = Vec::new();
            capacity(&found, &mut text, 100).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains(said), "{said}:\n{text}");
            let mut markdown = Vec::new();
            capacity_markdown(&found, &mut markdown).unwrap();
            let markdown = String::from_utf8(markdown).unwrap();
            let value = said.trim_end().split("  ").last().unwrap_or_default().trim();
            assert!(markdown.contains(value), "{value}:\n{markdown}");
            assert!(markdown.contains("\n| 2 | 4,200/s | bisect | 4,200/s | 2.00 ms | 61.0 ms | 0% | "), "{markdown}");
            let mut json = Vec::new();
            capacity_json(&found, &mut json).unwrap();
            assert_eq!(serde_json::from_slice::<Capacity>(&json).unwrap(), found);
        }
    }
}
