//! `init` from outside: what it makes of real compose files and Dockerfiles, and what it leaves alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::str::contains;
use serde_json::Value;
use tempfile::TempDir;

/// The program in an environment that decides nothing.
fn scalectl(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("scalectl").unwrap();
    command.current_dir(folder).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command
}

/// A copy of a project to adopt, in a repository; the name of its folder is the project's.
fn project(name: &str) -> (TempDir, PathBuf) {
    let home = TempDir::new().unwrap();
    let root = home.path().join(name);
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/init").join(name);
    for entry in walkdir::WalkDir::new(&fixture).into_iter().map(Result::unwrap) {
        let target = root.join(entry.path().strip_prefix(&fixture).unwrap());
        match entry.file_type().is_dir() {
            true => fs::create_dir_all(target).unwrap(),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
    fs::create_dir(root.join(".git")).unwrap();
    (home, root)
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::with_prefix("shop-").unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Compares with a file of `tests/golden/init`; `INSTA_UPDATE=always cargo test` writes it.
fn golden(name: &str, text: &str) {
    insta::with_settings!({ snapshot_path => "golden/init", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

fn read(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join(name)).unwrap()
}

/// The projects of `tests/fixtures/init`: arguments, and secrets of theirs.
const PROJECTS: [(&str, &[&str], &[&str]); 5] = [
    ("dockerfile", &[], &[]),
    ("flask-redis", &[], &[]),
    ("django", &[], &["s3cret-db", "django-insecure-key-of-the-shop", "mail $ecret"]),
    ("node-rabbit", &[], &["dev-token"]),
    (
        "unusual",
        &["--from", "deploy/compose.yaml"],
        &["st4ts-pw", "0rders-pw", "mysql-pw", "an4lytics-pw", "sess-pw", "gr4fana-pw"],
    ),
];

#[test]
fn what_it_writes_is_as_reviewed_passes_its_check_and_holds_no_secret() {
    let schema = scalectl(Path::new(".")).arg("schema").output().unwrap().stdout;
    let schema = jsonschema::validator_for(&serde_json::from_slice(&schema).unwrap()).unwrap();
    for (name, args, secrets) in PROJECTS {
        let (_home, root) = project(name);
        let dry = scalectl(&root).args(["init", "--dry-run"]).args(args).assert().success().get_output().clone();
        assert!(!root.join("scalectl.toml").exists() && !root.join(".env").exists(), "{name}: --dry-run wrote");
        golden(name, &format!("{}\n{}", text(&dry.stdout), text(&dry.stderr)));
        let out = scalectl(&root).arg("init").args(args).assert().success().get_output().clone();
        let file = read(&root, "scalectl.toml");
        assert_eq!(file, text(&dry.stdout), "{name}: it writes what it shows");
        let errors: Vec<_> =
            schema.iter_errors(&toml::from_str::<Value>(&file).unwrap()).map(|e| e.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{name}");
        scalectl(&root).arg("check").assert().success().stdout(contains("is valid"));
        scalectl(&root).arg("config").assert().success();
        let shown = format!("{file}{}{}{}", text(&out.stderr), text(&out.stdout), text(&dry.stderr));
        for secret in secrets {
            assert!(!shown.contains(secret), "{name}: {secret} is shown");
            assert!(read(&root, ".env").contains(secret), "{name}: {secret} is not in .env");
        }
        if root.join(".env").exists() {
            assert_eq!(fs::metadata(root.join(".env")).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(read(&root, ".gitignore"), ".env\n.scalectl/\n");
        }
        assert!(
            fs::read_dir(&root).unwrap().all(|entry| !entry
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with(".scalectl-"))
        );
    }
}

#[test]
fn an_existing_file_stays_unless_forced_and_dot_env_is_only_added_to() {
    let (_home, root) = project("django");
    fs::write(root.join("scalectl.toml"), "mine").unwrap();
    fs::write(root.join(".env"), "# mine\nDJANGO_SECRET_KEY=other\nPOSTGRES_USER=shop").unwrap();
    fs::write(root.join(".gitignore"), "/.env\n*.pyc").unwrap();
    scalectl(&root).arg("init").assert().code(2).stderr(contains("is there already")).stderr(contains("--force"));
    assert_eq!((read(&root, "scalectl.toml").as_str(), read(&root, ".env").lines().count()), ("mine", 3));
    scalectl(&root).args(["init", "--force"]).assert().success();
    let env = read(&root, ".env");
    assert!(env.starts_with("# mine\nDJANGO_SECRET_KEY=other\nPOSTGRES_USER=shop\n"), "{env}");
    assert_eq!(env.matches("POSTGRES_USER=").count(), 1, "{env}");
    assert!(env.contains("\nWEB_DJANGO_SECRET_KEY=") || env.contains("\nCELERY_DJANGO_SECRET_KEY="), "{env}");
    assert_eq!(read(&root, ".gitignore"), "/.env\n*.pyc\n.scalectl/\n");
    // What is in .env now is what the file refers to: again nothing is added.
    scalectl(&root).args(["init", "--force"]).assert().success();
    assert_eq!(read(&root, ".env"), env);
    scalectl(&root).arg("check").assert().success();
}

#[test]
fn as_json_it_is_the_file_and_the_notes() {
    let (_home, root) = project("flask-redis");
    let out = scalectl(&root)
        .args(["init", "--json", "--dry-run", "--name", "other"])
        .assert()
        .success()
        .get_output()
        .clone();
    let document: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(document["schema"], "scalectl.init/1");
    assert_eq!(document["written"], false);
    assert!(document["file"].as_str().unwrap().contains("name = \"other\""));
    assert_eq!(document["notes"].as_array().unwrap().len(), 4);
    assert_eq!(document["env"], serde_json::json!(["REDIS_PASSWORD"]));
}

#[test]
fn what_cannot_be_adopted_is_refused_and_nothing_is_written() {
    let refused = |files: &[(&str, &str)], args: &[&str], messages: &[&str]| {
        let folder = folder(files);
        let out = scalectl(folder.path()).arg("init").args(args).assert().code(2).get_output().clone();
        let said = text(&out.stderr);
        for message in messages {
            assert!(said.contains(message), "{message:?} is missing: {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), files.len(), "{left:?}");
    };
    refused(&[], &[], &["nothing to adopt", "--from FILE"]);
    refused(&[], &["--from", "x.yaml"], &["x.yaml", "a compose file or a Dockerfile"]);
    refused(&[("Dockerfile", "FROM x\n")], &[], &["which port", "--port 8000"]);
    refused(&[("Dockerfile", "# nothing\n")], &[], &["no FROM"]);
    refused(&[("compose.yaml", "a: [\npassword: hunter2\n")], &[], &["compose.yaml: not YAML"]);
    refused(&[("compose.yaml", "services:\n  a: {}\n")], &[], &["services.a: expected image or build"]);
    refused(&[("compose.yaml", "services:\n  a: { build: api }\n")], &[], &["services.a.build: expected a folder"]);
    refused(&[("compose.yaml", "include: [x]\nservices: {}\n")], &[], &["include", "docker compose config"]);
    let undefined = "services:\n  a: { image: x, environment: { B: \"${MISSING:?}\" } }\n";
    refused(&[("compose.yaml", undefined)], &[], &["${MISSING}", ".env"]);
    let cycle =
        "services:\n  a: { image: x, expose: [1], depends_on: [b] }\n  b: { image: x, expose: [2], depends_on: [a] }\n";
    refused(&[("compose.yaml", cycle)], &[], &["a cycle"]);
}

#[test]
fn a_dockerfile_without_expose_and_of_another_name_is_adopted_with_flags() {
    let folder = folder(&[("docker/app.Dockerfile", "FROM x\nENTRYPOINT [\"tini\"]\nCMD [\"serve\"]\n")]);
    let args = ["init", "--from", "docker/app.Dockerfile", "--port", "3000", "--balancer-port", "9000", "-p", "shop"];
    scalectl(folder.path()).args(args).assert().success().stderr(contains("note: services.shop: runs in containers"));
    let file = read(folder.path(), "scalectl.toml");
    for line in [
        "[services.shop]",
        "build = { context = \".\", dockerfile = \"docker/app.Dockerfile\" }",
        "port = 3000",
        "port = 9000",
    ] {
        assert!(file.contains(line), "{line}: {file}");
    }
    scalectl(folder.path()).arg("check").assert().success();
}

#[test]
fn an_address_in_dot_env_is_told_because_it_replaces_the_server() {
    let compose = "services:\n  web: { image: x, env_file: .env, ports: [\"80:80\"] }\n  db: { image: postgres:17 }\n";
    let folder = folder(&[("compose.yaml", compose), (".env", "DATABASE_URL=postgres://a:b@db/a\nLOG=1\n")]);
    let out = scalectl(folder.path()).args(["init", "--dry-run"]).assert().success().get_output().clone();
    assert!(text(&out.stderr).contains("remove it to run this one"), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("LOG = \"${LOG}\""), "{}", text(&out.stdout));
}
