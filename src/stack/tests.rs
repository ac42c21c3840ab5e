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

/// One refusal each: the fragment behind a valid project, and what it is about.
const REFUSALS: &[(&str, &str)] = &[
    ("a key that the file does not have", "[servics.api]\nbuild = \".\""),
    ("a key that is like no other", "[services.api]\nbuild = \".\"\nxyz = 1"),
    ("image and build", "[services.api]\nbuild = \".\"\nimage = \"shop\""),
    ("neither image nor build", "[services.api]\nport = 80"),
    ("no neither-nor where one of them is wrong", "[services.api]\nbuild = 7"),
    ("an image with a space", "[services.api]\nimage = \"my shop\""),
    (
        "a build",
        "[services.api]\nbuild = { dockerfile = \"\", target = \"a b\", args = { \"A-B\" = \"x\", C = 1 }, cache = 1 }",
    ),
    ("an empty command", "[services.api]\nbuild = \".\"\ncommand = []"),
    ("a command without a program", "[services.api]\nbuild = \".\"\ncommand = [\" \", \"x\"]"),
    ("a command that is a text", "[services.api]\nbuild = \".\"\ncommand = \"python -m 'my app'\""),
    ("a port above 65535", "[services.api]\nbuild = \".\"\nport = 65536"),
    ("a negative port", "[services.api]\nbuild = \".\"\nport = -1"),
    ("a port with a fraction", "[services.api]\nbuild = \".\"\nport = 80.5"),
    ("too many replicas", "[services.api]\nbuild = \".\"\nreplicas = 100000"),
    ("a check without a port", "[services.api]\nbuild = \".\"\nready = \"/ready\""),
    ("a check without a slash", "[services.api]\nbuild = \".\"\nport = 80\nready = \"ready\""),
    ("a service that uses itself", "[services.api]\nbuild = \".\"\nuses = [\"api\"]"),
    ("a service listed twice", "[services.api]\nbuild = \".\"\nuses = [\"redis\", \"redis\"]\n[backing.redis]"),
    ("a use without its section", "[services.api]\nbuild = \".\"\nuses = [\"redis\"]"),
    ("a use of nothing", "[services.api]\nbuild = \".\"\nuses = [\"zzz\"]"),
    (
        "two services on one port",
        "[services.a]\nbuild = \".\"\nport = 80\n[services.b]\nbuild = \".\"\nport = 80\n[balancer]\nservice = \"a\"\nport = 80",
    ),
    (
        "a cycle",
        "[services.a]\nbuild = \".\"\nuses = [\"b\"]\n[services.b]\nbuild = \".\"\nuses = [\"c\"]\n[services.c]\nbuild = \".\"\nuses = [\"b\"]",
    ),
    ("a name for two things", "[services.redis]\nbuild = \".\"\n[backing.redis]"),
    ("a variable's name", "[services.api]\nbuild = \".\"\nenv = { \"LOG-LEVEL\" = \"info\", 1A = \"x\" }"),
    ("a variable that is a number", "[services.api]\nbuild = \".\"\nenv = { LOG_LEVEL = 1 }"),
    ("a text with a NUL", "[services.api]\nbuild = \".\"\ncommand = [\"a\\u0000b\"]"),
    ("an undefined variable", "[services.api]\nbuild = \".\"\nenv = { A = \"${MISSING}\" }"),
    ("a variable that does not end", "[services.api]\nbuild = \".\"\nenv = { A = \"${MISSING\" }"),
    ("a variable that is no number", "[services.api]\nbuild = \".\"\nport = \"${PORT:-http}\""),
    ("autoscale", "[services.api]\nbuild = \".\"\nautoscale = { min = 5, max = 3, cpu = 0 }"),
    ("autoscale without its keys", "[services.api]\nbuild = \".\"\nautoscale = {}"),
    (
        "a job of no service",
        "[services.api]\nbuild = \".\"\n[jobs.m]\nservice = \"apj\"\ncommand = []\nbefore = [\"zzz\"]",
    ),
    ("a job without a command", "[services.api]\nbuild = \".\"\n[jobs.m]\nservice = \"api\""),
    ("a balancer of no service", "[balancer]\nservice = \"api\"\nport = 80"),
    (
        "a balancer of a service without a port",
        "[services.api]\nbuild = \".\"\n[balancer]\nservice = \"api\"\nport = 80",
    ),
    (
        "no word of a missing port that is there but wrong",
        "[services.api]\nbuild = \".\"\nport = 0\nready = \"/\"\n[balancer]\nservice = \"api\"\nport = 80",
    ),
    ("an unknown backing service", "[backing.postgre]"),
    ("an unknown kind", "[backing.db]\nkind = \"oracle\"\nmax_connections = 0"),
    ("a duration", "[slo]\np99 = \"50 parsecs\"\nerrors = \"2\""),
    ("a section that is a value", "services = 1"),
    ("stages beside a rate", "[bench.default]\nrate = 5\nstages = [\"1..5rps:10s\"]"),
    ("a stage without a time", "[bench.default]\nstages = [\"1..5rps\"]"),
    ("weights of 0", "[[bench.default.requests]]\nweight = 0\npath = \"/\""),
    ("two bodies", "[[bench.default.requests]]\npath = \"x\"\nbody = \"a\"\njson = { a = 1 }"),
    (
        "a problem inside an array of tables",
        "[[bench.default.requests]]\npath = \"/\"\n[[bench.default.requests]]\npth = \"/\"",
    ),
];

#[test]
fn every_refusal_says_where_what_was_expected_what_was_found_and_what_to_do() {
    let refusals = REFUSALS.iter().map(|(about, text)| {
        let text = format!("project = {{ name = \"shop\" }}\n{text}\n");
        format!("# {about}\n{}", problems(&text))
    });
    golden("refusals", &refusals.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_file_without_a_project_says_how_to_begin() {
    golden(
        "no_project",
        &["", "[services.api]\nbuild = \".\"\nprot = 1", "[project]\nname = \"My Shop\""].map(problems).join("\n"),
    );
}

#[test]
fn a_file_with_nothing_but_errors_ends() {
    let keys = (0..500).map(|n| format!("key{n} = {n}\n")).collect::<String>();
    assert_eq!(problems(&keys).lines().filter(|line| !line.starts_with("  hint")).count(), 50);
}

#[test]
fn a_text_stands_for_a_number_only_where_a_variable_was_replaced() {
    let text = |port: &str| format!("project = {{ name = \"shop\" }}\n[services.api]\nimage = \"x\"\nport = {port}\n");
    let with = variables(&[("PORT", " 8000 ")]);
    let stack = parse(&text("\"${PORT}\""), Path::new("/project"), with).unwrap();
    assert_eq!(stack.services["api"].port, Some(Port(8000)));
    assert!(problems(&text("\"8000\"")).contains("found \"8000\""));
}

#[test]
fn an_environment_value_that_looks_like_a_number_stays_a_text() {
    let text = "project = { name = \"shop\" }\n[services.api]\nimage = \"x\"\nenv = { A = \"${ONE}\" }\n";
    let stack = parse(text, Path::new("/project"), variables(&[("ONE", "01")])).unwrap();
    assert_eq!(stack.services["api"].env["A"].text, "01");
}

#[test]
fn secrets_are_marked_and_never_printed() {
    let text = r#"
        project = { name = "shop" }
        [services.api]
        image = "x"
        [services.api.env]
        FROM_SECRET = "a${DB_PASSWORD}b"
        DATABASE_URL = "postgres://u:pw-literal@h/db"
        API_KEY = "key-literal"
        LOG_LEVEL = "${LEVEL}"
        HOME_URL = "https://example.com/"
    "#;
    let variables = variables(&[("DB_PASSWORD", "pw-variable"), ("LEVEL", "info")]);
    let stack = parse(text, Path::new("/project"), variables).unwrap();
    let env = &stack.services["api"].env;
    assert_eq!(env["FROM_SECRET"].text, "apw-variableb");
    let secret = env.iter().filter(|(_, value)| value.secret).map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    assert_eq!(secret, ["API_KEY", "DATABASE_URL", "FROM_SECRET"]);
    let printed = format!("{stack:?} {}", serde_json::to_string(&stack).unwrap());
    for text in ["pw-variable", "pw-literal", "key-literal"] {
        assert!(!printed.contains(text), "{text}");
    }
}

#[test]
fn parts_start_after_what_they_wait_for() {
    let stack = stack(SHOP);
    let order = stack.start_order();
    let order = order.iter().map(|part| match part {
        Part::Backing(name) => format!("backing {name}"),
        Part::Job(name) => format!("job {name}"),
        Part::Service(name) => format!("service {name}"),
    });
    assert_eq!(
        order.collect::<Vec<_>>(),
        [
            "backing postgres",
            "backing prometheus",
            "backing rabbitmq",
            "backing redis",
            "job migrate",
            "service api",
            "service worker"
        ]
    );
}

#[test]
fn a_service_starts_after_the_service_that_it_uses() {
    let text =
        "project = { name = \"shop\" }\n[services.a]\nimage = \"x\"\nuses = [\"b\"]\n[services.b]\nimage = \"x\"\n";
    let stack = stack(text);
    let names = ["a", "b"].map(|name| name.parse::<crate::units::Name>().unwrap());
    assert_eq!(stack.start_order(), [Part::Service(&names[1]), Part::Service(&names[0])]);
    assert_eq!(stack.users()[&names[1]], [&names[0]]);
}

#[test]
fn a_file_that_was_cut_or_garbled_is_refused_without_a_panic() {
    let text = SHOP.replace("info", "größe ${X:-y}");
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        let _ = parse(&text[..end], Path::new("/project"), variables(&[]));
    }
    for garbage in ["\u{0}", "ü", "[[", "${", "\"", "\r", "{", "9e999", "99999999999999999999", "1979-05-27"] {
        for (at, _) in text.match_indices('=').step_by(3) {
            let garbled = format!("{} {garbage} {}", &text[..=at], &text[at + 1..]);
            let _ = parse(&garbled, Path::new("/project"), variables(&[]));
            let replaced = format!("{} {garbage}\n{}", &text[..=at], text[at..].split_once('\n').unwrap().1);
            let _ = parse(&replaced, Path::new("/project"), variables(&[]));
        }
    }
}

#[test]
fn a_build_is_a_folder_or_a_table_and_shown_as_it_was_written() {
    let text = r#"
        project = { name = "shop" }
        [services.api]
        build = "srv"
        [services.web]
        build = { target = "web", args = { VERSION = "${VERSION:-3}", NPM_TOKEN = "t0ken" }, cache_from = ["web:1"] }
    "#;
    let stack = stack(text);
    assert_eq!(stack.services["api"].build, Some(Build::folder("srv")));
    let web = stack.services["web"].build.as_ref().unwrap();
    assert_eq!((web.context.to_str(), web.dockerfile.to_str()), (Some("."), Some("Dockerfile")));
    assert_eq!((web.target.as_deref(), web.args["VERSION"].text.as_str()), (Some("web"), "3"));
    assert!(web.args["NPM_TOKEN"].secret && !web.args["VERSION"].secret);
    let shown = stack.shown().unwrap();
    assert_eq!(shown["services"]["api"]["build"], "srv");
    assert_eq!(shown["services"]["web"]["build"]["args"]["NPM_TOKEN"], MASK);
    let again = parse(&stack.shown_toml().unwrap(), Path::new("/project"), variables(&[])).unwrap();
    assert_eq!(again.services["web"].build.as_ref().unwrap().cache_from, ["web:1"]);
}
