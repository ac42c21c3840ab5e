//! The stack file as a whole: what loads, and what is said about what does not.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

/// The example of the design, which every part of the program is built against.
pub(super) const SHOP: &str = include_str!("../../tests/golden/stack/design.toml");

fn variables(pairs: &[(&str, &str)]) -> Variables {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Variables::new(pairs.collect(), BTreeMap::new())
}

fn stack(text: &str) -> Stack {
    parse(text, Path::new("/project"), variables(&[])).unwrap_or_else(|error| panic!("{error}"))
}

/// The problems of a text, each with its hint, as a person reads them.
fn problems(text: &str) -> String {
    problems_with(text, variables(&[]))
}

fn problems_with(text: &str, variables: Variables) -> String {
    let error = parse(text, Path::new("/project"), variables).expect_err("the stack is valid");
    let lines = error.problems.iter().map(|problem| match &problem.hint {
        Some(hint) => format!("{problem}\n  hint: {hint}\n"),
        None => format!("{problem}\n"),
    });
    lines.collect()
}

/// Compares with a file of `tests/golden/stack`; `INSTA_UPDATE=always cargo test` writes it.
fn golden(name: &str, text: &str) {
    insta::with_settings!({ snapshot_path => "../../tests/golden/stack", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn the_example_of_the_design_loads_as_it_is() {
    let stack = stack(SHOP);
    assert_eq!(stack.project.name.as_str(), "shop");
    let api = &stack.services["api"];
    assert_eq!(api.replicas, Replicas(3));
    assert_eq!(api.port, Some(Port(8000)));
    assert_eq!(api.env["LOG_LEVEL"].text, "info");
    assert_eq!(stack.services["worker"].replicas, Replicas(1));
    assert_eq!(stack.bench["default"].requests.len(), 2);
}

#[test]
fn several_problems_are_reported_together() {
    let text = r#"
[project]
name = "shop"

[services.api]
build = "."
comand = ["python"]
port = "http"
replicas = 0
runtime = "pyton"
health = "health"
uses = ["postgers"]

[services.Api_2]
image = "x"

[jobs.migrate]
service = "api"
command = "migrate"
"#;
    golden("several_problems", &problems(text));
}
