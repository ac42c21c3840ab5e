//! `scalectl check`.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Global, stdout};
use crate::error::{Exit, Failure};
use crate::stack::{self, Budget, Finding, LoadError, Problem, Report, Severity, Stack};

/// Arguments of `scalectl check`.
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    /// Runs the command: warnings and budgets are results, errors are the failure.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the stack, with exit code 2.
    pub fn run(self, global: &Global) -> Result<Exit> {
        if global.json {
            return check_as_json(global);
        }
        let stack = global.stack()?;
        let report = stack::check(&stack);
        for line in as_text(&stack, &report) {
            stdout::print(line)?;
        }
        let problems = report.findings.into_iter().filter(|finding| finding.severity == Severity::Error);
        let problems = problems.map(|finding| finding.problem).collect::<Vec<_>>();
        if problems.is_empty() { Ok(Exit::Done) } else { Err(Failure::from(LoadError { problems }).into()) }
    }
}

/// Warnings, the budgets that hold, and the verdict.
fn as_text(stack: &Stack, report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for Finding { problem, .. } in report.findings.iter().filter(|finding| finding.severity == Severity::Warning) {
        lines.push(format!("warning: {problem}"));
        lines.extend(problem.hint.iter().map(|hint| format!("  hint: {hint}")));
    }
    let budgets = report.budgets.iter().filter(|budget| budget.holds());
    lines.extend(budgets.map(|budget| format!("backing.{} {budget}", budget.backing)));
    if report.is_ok() {
        lines.push(format!(
            "{} is valid: {}, {}, {}",
            stack.project.name,
            count(stack.services.len(), "service"),
            count(stack.jobs.len(), "job"),
            count(stack.backing.len(), "backing service"),
        ));
    }
    lines
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A script gets every problem as data, those that kept the stack from loading included.
fn check_as_json(global: &Global) -> Result<Exit> {
    let (project, report) = match stack::load(&global.source()) {
        Ok(stack) => (Some(stack.project.name.clone()), stack::check(&stack)),
        Err(error) => (None, Report::from(error)),
    };
    let document = json!({
        "schema": "scalectl.check/1",
        "ok": report.is_ok(),
        "project": project,
        "problems": report.findings.iter().map(finding_as_json).collect::<Vec<_>>(),
        "connections": report.budgets.iter().map(budget_as_json).collect::<Vec<_>>(),
    });
    stdout::print_json(&document)?;
    Ok(if report.is_ok() { Exit::Done } else { Exit::Usage })
}

fn finding_as_json(finding: &Finding) -> Value {
    let Finding { severity, problem: Problem { location, path, message, hint, .. } } = finding;
    json!({
        "severity": severity,
        "file": location.file,
        "line": location.line,
        "path": path.to_string(),
        "message": message,
        "hint": hint,
    })
}

fn budget_as_json(budget: &Budget) -> Value {
    let users = budget.shares.iter().map(|share| {
        json!({
            "service": share.service,
            "replicas": share.replicas,
            "surge": share.surge,
            "pool": share.pool,
            "connections": share.connections(),
        })
    });
    json!({
        "backing": budget.backing,
        "max": budget.max,
        "reserve": budget.reserve,
        "available": budget.available(),
        "needed": budget.needed(),
        "migration": budget.migration,
        "users": users.collect::<Vec<_>>(),
        "ok": budget.holds(),
    })
}
