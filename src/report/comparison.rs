//! A comparison of results: to read, for a pull request, and as JSON.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::figures::{count, duration, percent, rate};
use super::table::keep_words_whole;
use crate::bench::compare::{Change, Comparison, Figure, Finding, Size};

const HEAD: [&str; 6] = ["figure", "before", "after", "change", "interval", "finding"];
/// What the mark at a finding says.
const ONLY_LARGE: &str = "batches of the runs resemble each other, or are too few to tell: the interval allows for that, and \
    only a large difference shows; load longer, or more often";

/// Writes `comparison` for people, at most `width` columns wide.
///
/// # Errors
///
/// The writer fails.
pub fn comparison(comparison: &Comparison, out: &mut (impl Write + ?Sized), width: usize) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    table.set_header(HEAD);
    table.add_rows(comparison.changes.iter().map(row));
    keep_words_whole(&mut table);
    for number in 1..5 {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{}\n", sizes(comparison))?;
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)?;
    if comparison.changes.iter().any(|change| change.only_large) {
        writeln!(out, "* {ONLY_LARGE}\n")?;
    }
    for warning in &comparison.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    writeln!(out, "{}", conclusion(comparison))
}

/// Writes `comparison` as Markdown.
///
/// # Errors
///
/// The writer fails.
pub fn comparison_markdown(comparison: &Comparison, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    writeln!(out, "### {}\n\n{}\n", conclusion(comparison), sizes(comparison))?;
    writeln!(out, "| {} |\n| --- | ---: | ---: | ---: | ---: | --- |", HEAD.join(" | "))?;
    for change in &comparison.changes {
        // A star alone could begin emphasis.
        writeln!(out, "| {} |", row(change).join(" | ").replace('*', "\\*"))?;
    }
    if comparison.changes.iter().any(|change| change.only_large) {
        writeln!(out, "\n\\* {ONLY_LARGE}")?;
    }
    if !comparison.warnings.is_empty() {
        writeln!(out)?;
    }
    comparison.warnings.iter().try_for_each(|warning| writeln!(out, "- {}", warning.replace('`', "'")))
}

/// Writes `comparison` as JSON.
///
/// # Errors
///
/// The writer fails.
pub fn comparison_json(comparison: &Comparison, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, comparison)?;
    writeln!(out)
}

fn sizes(comparison: &Comparison) -> String {
    let size = |size: Size| {
        let plural = if size.results == 1 { "" } else { "s" };
        format!("{} result{plural} of {} requests", size.results, count(size.requests))
    };
    format!("Before: {}. After: {}.", size(comparison.before), size(comparison.after))
}

fn conclusion(comparison: &Comparison) -> String {
    let with = |finding| {
        let named = comparison.changes.iter().filter(|c| c.finding == finding).map(|c| c.figure.name());
        named.collect::<Vec<_>>().join(", ")
    };
    let parts = [("worse", with(Finding::Worse)), ("better", with(Finding::Better))];
    let said: Vec<_> = parts.iter().filter(|(_, f)| !f.is_empty()).map(|(how, f)| format!("{f} {how}")).collect();
    match (said.is_empty(), comparison.changes.iter().all(|c| c.finding == Finding::Unknown)) {
        (_, true) => "Nothing can be said: load longer, or more often".to_owned(),
        (true, false) => {
            let wide = comparison.changes.iter().filter(|c| c.only_large).map(|c| c.figure.name()).collect::<Vec<_>>();
            let none = format!("No difference of {} or more is shown", percent(comparison.threshold));
            if wide.is_empty() { none } else { format!("{none}; of {} only a large one would be", wide.join(", ")) }
        }
        (false, false) => {
            let text = said.join("; ");
            text[..1].to_uppercase() + &text[1..]
        }
    }
}

fn row(change: &Change) -> [String; 6] {
    let value = |v: Option<f64>| match (v, change.figure) {
        (None, _) => "-".to_owned(),
        (Some(v), Figure::Rate) => rate(v),
        (Some(v), Figure::Errors) => percent(v),
        (Some(ns), _) => duration(ns.round() as u64),
    };
    let interval = match (change.change, change.low, change.high) {
        (None, ..) => "-".to_owned(),
        (_, low, high) => {
            let end = |v: Option<f64>, open: &str| v.map_or_else(|| open.to_owned(), |v| signed(change.figure, v));
            format!("{} to {}", end(low, "less"), end(high, "more"))
        }
    };
    let mark = if change.only_large { " *" } else { "" };
    let finding = match change.finding {
        Finding::Worse => "worse".to_owned(),
        Finding::Better => "better".to_owned(),
        Finding::Small => "small".to_owned(),
        Finding::NotShown => "no difference shown".to_owned(),
        Finding::Unknown => format!("not known, {}", change.refused.as_deref().unwrap_or("no interval")),
    };
    let shown = change.change.map_or_else(|| "-".to_owned(), |v| signed(change.figure, v));
    [change.figure.name().to_owned(), value(change.before), value(change.after), shown, interval, finding + mark]
}

/// A change with its sign: of errors in percentage points, of all else in percent.
fn signed(figure: Figure, change: f64) -> String {
    match figure {
        Figure::Errors => format!("{:+.3} pp", change * 100.0),
        _ => format!("{:+.1}%", change * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(figure: Figure, before: f64, after: f64, ends: [f64; 3], finding: Finding) -> Change {
        let [low, change, high] = ends.map(Some);
        let (before, after) = (Some(before), Some(after));
        Change { figure, before, after, change, low, high, finding, only_large: false, refused: None }
    }

    #[test]
    fn a_comparison_reads_as_a_table_and_ends_with_its_conclusion() {
        let changes = vec![
            change(Figure::Mean, 1e6, 1.3e6, [0.1, 0.3, 0.5], Finding::Worse),
            change(Figure::Rate, 100.0, 100.0, [-0.01, 0.0, 0.01], Finding::NotShown),
            change(Figure::Errors, 0.02, 0.01, [-0.015, -0.01, -0.005], Finding::Better),
        ];
        let size = Size { results: 1, requests: 1000 };
        let mut comparison_of = Comparison {
            schema: "scalectl.compare/1".to_owned(),
            level: 0.95,
            threshold: 0.05,
            before: size,
            after: Size { results: 2, ..size },
            changes,
            warnings: vec!["the rates differ: 1/s, 2/s".to_owned()],
        };
        let mut text = Vec::new();
        comparison(&comparison_of, &mut text, 100).unwrap();
        let text = String::from_utf8(text).unwrap();
        for said in [
            "Before: 1 result of 1,000 requests. After: 2 results of",
            "1.00 ms",
            "+10.0% to +50.0%",
            "-1.000 pp",
            "no difference shown",
            "warning: the rates differ: 1/s, 2/s",
            "\nMean worse; errors better\n",
        ] {
            assert!(text.contains(said), "{said}:\n{text}");
        }
        let mut markdown = Vec::new();
        comparison_markdown(&comparison_of, &mut markdown).unwrap();
        let markdown = String::from_utf8(markdown).unwrap();
        assert!(markdown.contains("| mean | 1.00 ms | 1.30 ms | +30.0% | +10.0% to +50.0% | worse |"), "{markdown}");
        let mut json = Vec::new();
        comparison_json(&comparison_of, &mut json).unwrap();
        assert_eq!(serde_json::from_slice::<Comparison>(&json).unwrap(), comparison_of);
        comparison_of.changes.retain(|c| c.finding == Finding::NotShown);
        assert_eq!(conclusion(&comparison_of), "No difference of 5.00% or more is shown");
        comparison_of.changes[0].only_large = true;
        let mut text = Vec::new();
        comparison(&comparison_of, &mut text, 100).unwrap();
        let text = String::from_utf8(text).unwrap();
        for said in [
            "no difference shown *",
            "\n* batches of the runs resemble each other",
            "No difference of 5.00% or more is shown; of rate only a large one would be\n",
        ] {
            assert!(text.contains(said), "{said}:\n{text}");
        }
        let mut markdown = Vec::new();
        comparison_markdown(&comparison_of, &mut markdown).unwrap();
        assert!(String::from_utf8(markdown).unwrap().contains("no difference shown \\* |"));
    }
}
