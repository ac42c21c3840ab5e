//! `check`, `config` and `schema` from outside: what they print, and how they end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::TempDir;

/// The program in an environment that decides nothing.
fn scalectl(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("scalectl").unwrap();
    command.current_dir(folder).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    folder
}

fn stdout(command: &mut Command, code: i32) -> String {
    String::from_utf8(command.assert().code(code).get_output().stdout.clone()).unwrap()
}

fn stderr(command: &mut Command, code: i32) -> String {
    String::from_utf8(command.assert().code(code).get_output().stderr.clone()).unwrap()
}

/// Compares with a file of `tests/golden/config`; `INSTA_UPDATE=always cargo test` writes it.
fn golden(name: &str, text: &str) {
    insta::with_settings!({ snapshot_path => "golden/config", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

const SHOP: &str = r#"
[project]
name = "shop"

[services.api]
build = "."
command = ["sh", "-c", "exec serve --key ${API_KEY}"]
port = "${PORT:-8000}"
uses = ["postgres"]

[services.api.env]
LOG_LEVEL = "${LOG_LEVEL:-info}"
PRICE = "$$5 or $${VAR}"
JWT_SECRET = "${JWT_SECRET}"
SMTP_URL = "smtp://shop:hunter2@mail.example:587"

[backing.postgres]

[bench.default]
[[bench.default.requests]]
path = "/"
headers = { Authorization = "Bearer ${API_KEY}" }
"#;

const DOT_ENV: &str = "API_KEY=k3y-of-the-api\nJWT_SECRET='s3cret $x'\nLOG_LEVEL=debug\n";

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn every_example_passes_its_check_and_conforms_to_the_schema() {
    let schema: Value = serde_json::from_str(&stdout(scalectl(Path::new(".")).arg("schema"), 0)).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let example = entry.unwrap().path();
        let copy = TempDir::new().unwrap();
        copy_folder(&example, copy.path());
        let dot_env_example = copy.path().join(".env.example");
        if dot_env_example.exists() {
            fs::rename(dot_env_example, copy.path().join(".env")).unwrap();
        }
        assert!(copy.path().join("README.md").is_file(), "{} has no README.md", example.display());
        let text = fs::read_to_string(copy.path().join("scalectl.toml")).unwrap();
        assert!(schema.is_valid(&toml::from_str(&text).unwrap()), "{}", example.display());
        scalectl(copy.path()).arg("check").assert().success().stdout(contains("is valid"));
        for overlay in overlays(copy.path()) {
            scalectl(copy.path()).args(["check", "-f", "scalectl.toml", "-f"]).arg(&overlay).assert().success();
            scalectl(copy.path()).arg("config").arg("-f").arg(overlay).assert().code(2);
        }
        seen += 1;
    }
    assert!(seen >= 6, "{seen} examples");
}

/// The stack files of a folder beside the first one. None of them is a stack of its own.
fn overlays(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "toml") && !path.ends_with("scalectl.toml")).collect()
}

#[test]
fn config_prints_a_stack_file_without_secrets() {
    let folder = folder(&[("scalectl.toml", SHOP), (".env", DOT_ENV)]);
    let text = stdout(scalectl(folder.path()).arg("config"), 0);
    golden("resolved", &text);
    for secret in ["k3y-of-the-api", "s3cret", "hunter2"] {
        assert!(!text.contains(secret), "{secret}");
    }
    // What it prints is a stack file that resolves to itself.
    fs::write(folder.path().join("scalectl.toml"), &text).unwrap();
    assert_eq!(stdout(scalectl(folder.path()).arg("config"), 0), text);
}

#[test]
fn config_as_json_holds_the_values_themselves() {
    let folder = folder(&[("scalectl.toml", SHOP), (".env", DOT_ENV)]);
    let text = stdout(scalectl(folder.path()).args(["config", "--json", "-p", "other"]), 0);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["schema"], "scalectl.config/1");
    assert_eq!(document["root"], folder.path().canonicalize().unwrap().to_str().unwrap());
    let stack = &document["stack"];
    assert_eq!(stack["project"]["name"], "other");
    let api = &stack["services"]["api"];
    assert_eq!(api["port"], 8000);
    assert_eq!(api["env"]["PRICE"], "$5 or ${VAR}");
    assert_eq!(api["env"]["JWT_SECRET"], "********");
    assert_eq!(api["env"]["SMTP_URL"], "********");
    assert_eq!(api["command"][2], "********");
    assert_eq!(stack["bench"]["default"]["requests"][0]["headers"]["Authorization"], "********");
    assert_eq!(stack["backing"]["postgres"]["image"], "postgres:17");
}

#[test]
fn the_environment_wins_over_dot_env_and_later_files_over_earlier() {
    let overlay = "[services.api]\nreplicas = 4\nuses = []\n[services.api.env]\nEXTRA = \"1\"\n";
    let folder = folder(&[("scalectl.toml", SHOP), (".env", DOT_ENV), ("more.toml", overlay)]);
    let mut command = scalectl(folder.path());
    command.args(["config", "--json", "-f", "scalectl.toml", "-f", "more.toml"]);
    let document: Value = serde_json::from_str(&stdout(command.env("LOG_LEVEL", "warn"), 0)).unwrap();
    let api = &document["stack"]["services"]["api"];
    assert_eq!(api["replicas"], 4);
    assert_eq!(api["uses"], serde_json::json!([]));
    assert_eq!(api["env"]["LOG_LEVEL"], "warn");
    assert_eq!(api["env"]["EXTRA"], "1");
    assert_eq!(api["port"], 8000);
}

#[test]
fn a_problem_of_an_overlay_names_the_overlay() {
    let overlay = "[services.api]\nreplicas = 0\n";
    let folder = folder(&[("scalectl.toml", SHOP), (".env", DOT_ENV), ("more.toml", overlay)]);
    let text = stderr(scalectl(folder.path()).args(["check", "-f", "scalectl.toml", "-f", "more.toml"]), 2);
    assert_eq!(text, "error: more.toml:2: services.api.replicas: expected a number from 1 to 1000, found 0\n");
}

#[test]
fn secrets_stay_out_of_errors() {
    let text = SHOP.replace("LOG_LEVEL:-info", "JWT_SECRET").replace("${PORT:-8000}", "${API_KEY}")
        + "[slo]\np99 = \"${API_KEY}\"\n[services.web]\nbuild = \".\"\nport = 1\nhealth = \"${API_KEY}\"\nruntime = \"${API_KEY}\"\n";
    let folder = folder(&[("scalectl.toml", &text), (".env", DOT_ENV)]);
    let text = stderr(scalectl(folder.path()).arg("check"), 2);
    golden("secrets_in_errors", &text);
    assert!(!text.contains("k3y") && !text.contains("s3cret"), "{text}");
    let text = stdout(scalectl(folder.path()).args(["check", "--json"]), 2);
    assert!(!text.contains("k3y") && !text.contains("s3cret"), "{text}");
}

#[test]
fn a_folder_without_a_stack_file_says_where_one_is() {
    let folder = folder(&[("scalectl.toml", SHOP), ("deep/er/x", ""), ("dir/scalectl.toml/x", "")]);
    let text = stderr(scalectl(&folder.path().join("deep/er")).arg("check"), 2);
    assert!(text.contains("no scalectl.toml in this folder"), "{text}");
    assert!(text.contains(&format!("use `-C {}`", folder.path().canonicalize().unwrap().display())), "{text}");
    let empty = TempDir::new().unwrap();
    scalectl(empty.path()).arg("check").assert().code(2).stderr(contains("`scalectl new NAME`"));
    scalectl(folder.path()).args(["-C", "dir", "check"]).assert().code(2).stderr(contains("found a folder"));
    scalectl(folder.path())
        .args(["-f", "no.toml", "check"])
        .assert()
        .code(2)
        .stderr(contains("no.toml: expected a stack file"));
}

#[test]
fn what_is_no_text_or_too_much_of_it_is_refused() {
    let folder = folder(&[("huge.toml", &"# a line of nothing\n".repeat(60_000))]);
    fs::write(folder.path().join("binary.toml"), b"[project]\nname = \"\xff\xfe\"\n").unwrap();
    let refused = |file: &str, message: &str| {
        scalectl(folder.path()).args(["-f", file, "check"]).assert().code(2).stderr(contains(message));
    };
    refused("huge.toml", "at most 1 MiB");
    refused("binary.toml", "binary.toml:2: expected UTF-8");
}

#[test]
fn the_syntax_errors_of_all_files_are_shown_with_their_lines() {
    let folder = folder(&[
        ("a.toml", "[project]\nname = \"shop\nx = 1\n"),
        ("b.toml", "[services.api]\nport = 1\nport = 2\n"),
        ("c.toml", "[services.api.env]\nPASSWORD = \"hunter2\n"),
    ]);
    let text = stderr(scalectl(folder.path()).args(["check", "-f", "a.toml,b.toml,c.toml"]), 2);
    golden("syntax_errors", &text);
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_build_folder_that_is_not_there_is_refused() {
    let text = SHOP.replace("build = \".\"", "build = \"srv\"");
    let folder = folder(&[("scalectl.toml", &text), (".env", DOT_ENV)]);
    let text = stderr(scalectl(folder.path()).arg("config"), 2);
    assert!(text.contains("services.api.build: expected a folder with the service's source, found nothing"), "{text}");
}

#[test]
fn check_reports_what_the_stack_points_to() {
    let text = SHOP.replace("[services.api]\n", "[services.api]\nruntime = \"python\"\nreplicas = 9\n")
        + "[balancer]\nservice = \"api\"\nport = 8080\n";
    let folder = folder(&[("scalectl.toml", &text), (".env", DOT_ENV)]);
    let output = scalectl(folder.path()).arg("check").assert().code(2).get_output().clone();
    golden("check_warnings", &String::from_utf8(output.stdout).unwrap());
    golden("check_errors", &String::from_utf8(output.stderr).unwrap());
    let document: Value = serde_json::from_str(&stdout(scalectl(folder.path()).args(["check", "--json"]), 2)).unwrap();
    assert_eq!(document["schema"], "scalectl.check/1");
    assert_eq!(document["ok"], false);
    assert_eq!(document["project"], "shop");
    assert_eq!(document["connections"][0]["needed"], 100);
    assert_eq!(document["connections"][0]["available"], 97);
    let errors = document["problems"].as_array().unwrap().iter().filter(|problem| problem["severity"] == "error");
    let paths = errors.map(|problem| problem["path"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(paths, ["services.api.runtime", "backing.postgres"]);
}

#[test]
fn check_finds_what_bench_would_refuse() {
    let with = |bench: &str| format!("{SHOP}\n{}\n", bench.replace("[bench", "[bench.peak"));
    for (bench, said) in [
        ("[[bench.requests]]\npath = '/{{ ziff(1, 2) }}'", "did you mean \"zipf\"?"),
        ("[bench.feeds.users]\nfile = 'none.csv'\n[[bench.requests]]\npath = '/'", "none.csv"),
        ("[[bench.flows]]\nname = 'buy'\n[[bench.flows.steps]]\npath = '/{{ token }}'", "token"),
        ("[[bench.flows]]\nname = 'buy'\n[[bench.flows.steps]]\npath = 'cart'", "does not begin with \"/\""),
        ("[bench]\nrate = 1000000\nduration = '10h'\n[[bench.requests]]\npath = '/'", "10^10"),
    ] {
        let files = folder(&[("scalectl.toml", &with(bench)), (".env", DOT_ENV)]);
        let text = stderr(scalectl(files.path()).arg("check"), 2);
        assert!(text.contains("bench.peak: ") && text.contains(said), "{text}");
    }
    let bench = with("[bench.feeds.users]\nfile = 'users.csv'\n[[bench.requests]]\npath = '/{{ users.name }}'");
    let files = folder(&[("scalectl.toml", &bench), (".env", DOT_ENV), ("users.csv", "name\nada\n")]);
    stdout(scalectl(files.path()).arg("check"), 0);
    // Nobody learns a secret from what is wrong with it.
    let dot_env = DOT_ENV.replace("k3y-of-the-api", "'hunter2{{ no'");
    let files = folder(&[("scalectl.toml", SHOP), (".env", &dot_env)]);
    let text = stderr(scalectl(files.path()).arg("check"), 2);
    assert!(text.contains("bench.default: ") && text.contains("it holds a secret"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn check_counts_what_is_wrong_with_the_file_itself_as_json_too() {
    let folder =
        folder(&[("scalectl.toml", "[project]\nname = \"shop\"\n[services.api]\nimage = \"x\"\nport = \"http\"\n")]);
    let document: Value = serde_json::from_str(&stdout(scalectl(folder.path()).args(["check", "--json"]), 2)).unwrap();
    assert_eq!(document["ok"], false);
    assert_eq!(
        document["problems"],
        serde_json::json!([{
            "severity": "error",
            "file": "scalectl.toml",
            "line": 5,
            "path": "services.api.port",
            "message": "expected a number from 1 to 65535, found \"http\"",
            "hint": null,
        }])
    );
}

#[test]
fn a_dot_env_that_others_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder(&[("scalectl.toml", SHOP), (".env", DOT_ENV)]);
    let warning = contains("other users of the machine can read the secrets in it");
    for (mode, warned) in [(0o644, true), (0o600, false)] {
        fs::set_permissions(folder.path().join(".env"), fs::Permissions::from_mode(mode)).unwrap();
        let text = stdout(scalectl(folder.path()).arg("check"), 0);
        assert_eq!(warning.eval(&text), warned, "{mode:o}");
    }
}

#[test]
fn an_external_database_needs_no_password_and_has_no_known_budget() {
    let folder = folder(&[("scalectl.toml", SHOP), (".env", DOT_ENV)]);
    let mut command = scalectl(folder.path());
    command.arg("check").env("DATABASE_URL", "postgresql://shop:hunter2@db.example/shop");
    let text = stdout(&mut command, 0);
    assert!(text.contains("the connection budget is unknown, because the database runs elsewhere"), "{text}");
    assert!(!text.contains("POSTGRES_PASSWORD") && !text.contains("hunter2"), "{text}");
}
