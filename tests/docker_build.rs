//! Connecting to real engines, building on them, and pulling from a real registry.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveImageOptionsBuilder};
use scalectl::engine::Note;
use scalectl::engine::docker::build::{BuildSpec, build};
use scalectl::engine::docker::connect::{Connection, connect, find};
use scalectl::engine::docker::pull::{image_id, pull};
use scalectl::error::Failure;

const BASE: &str = "debian:trixie-slim";
/// Far above what a build of these tests takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// The engine that the environment names; nothing where there is none.
async fn engine(test: &str) -> Option<Connection> {
    match find().unwrap() {
        Some(endpoint) => Some(connect(&endpoint).await.unwrap_or_else(|failure| panic!("{}", told(&failure)))),
        None => {
            support::skip(test, "there is no Docker engine");
            None
        }
    }
}

fn told(failure: &Failure) -> String {
    format!("{}\n{}\n{}", failure.what(), failure.evidence().join("\n"), failure.hints().join("\n"))
}

/// A build folder, whose images are removed with it.
struct Source {
    folder: tempfile::TempDir,
    connection: Connection,
}

impl Source {
    fn new(connection: &Connection, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self { folder, connection: connection.clone() }
    }

    /// Its image has a name that nobody else has.
    fn spec(&self) -> BuildSpec {
        let unique = self.folder.path().file_name().unwrap().to_string_lossy().trim_start_matches('.').to_lowercase();
        BuildSpec {
            context: self.folder.path().to_owned(),
            dockerfile: "Dockerfile".into(),
            tag: format!("scalectl-test/{unique}:1"),
            ..BuildSpec::default()
        }
    }

    async fn build(&self, spec: &BuildSpec) -> Result<Vec<String>, Failure> {
        let notes = RefCell::new(Vec::new());
        let note = |note| match note {
            Note::Detail(text) | Note::Warning(text) => notes.borrow_mut().push(text),
        };
        build(&self.connection, spec, &note).await.map(|()| notes.into_inner())
    }

    async fn fails(&self, spec: &BuildSpec) -> Failure {
        self.build(spec).await.expect_err("the build should have failed")
    }

    /// Removes the image of a build.
    async fn remove(&self) {
        let options = RemoveImageOptionsBuilder::default().force(true).build();
        let tag = self.spec().tag;
        self.connection.docker.remove_image(&tag, Some(options), None).await.unwrap();
        assert_eq!(image_id(&self.connection, &tag).await.unwrap(), None);
    }
}

/// The connection as it is, and the same that builds by BuildKit.
fn builders(connection: &Connection) -> Vec<Connection> {
    let mut buildkit = connection.clone();
    buildkit.engine.buildkit = true;
    vec![connection.clone(), buildkit]
}

/// Each step checks something: the build is good if every one is.
const CHECKED: &str = "ARG TAG=none
FROM debian:${TAG} AS base
ARG WHO=nobody
COPY . /src
RUN test \"$WHO\" = ada
RUN cd /src && test -e app/main.py && test ! -e notes.txt && test ! -e .env && test ! -e __pycache__
RUN test -L /src/link && test -x /src/run.sh && test \"$(stat -c %u /src/run.sh)\" = 0
FROM base
RUN false
";

#[tokio::test]
async fn a_build_gets_its_source_its_target_and_its_arguments() {
    let Some(connection) = engine("a_build_gets_its_source_its_target_and_its_arguments").await else { return };
    for connection in builders(&connection) {
        let files = [
            ("Dockerfile", CHECKED),
            (".dockerignore", "*.txt\n"),
            ("app/main.py", ""),
            ("notes.txt", ""),
            (".env", "SECRET=1"),
            ("__pycache__/x.pyc", ""),
            ("run.sh", "#!/bin/sh\n"),
        ];
        let source = Source::new(&connection, &files);
        std::os::unix::fs::symlink("app/main.py", source.folder.path().join("link")).unwrap();
        let run = source.folder.path().join("run.sh");
        fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let args = [("TAG", "trixie-slim"), ("WHO", "ada")];
        let spec = BuildSpec {
            target: Some("base".into()),
            args: args.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            labels: BTreeMap::from([("scalectl.test".to_owned(), "label".to_owned())]),
            // What an earlier run has left in the engine's cache is not told step by step.
            no_cache: true,
            ..source.spec()
        };
        let notes = source.build(&spec).await.unwrap_or_else(|failure| panic!("{}", told(&failure)));
        // BuildKit replaces the variables in what it prints.
        let shown = |note: &String| note.contains("RUN test \"$WHO\" = ada") || note.contains("RUN test \"ada\" = ada");
        assert!(notes.iter().any(shown), "{notes:?}");
        assert!(notes.iter().all(|note| note.starts_with("step ")), "{notes:?}");
        let image = connection.docker.inspect_image(&spec.tag).await.unwrap();
        assert_eq!(image.config.unwrap().labels.unwrap()["scalectl.test"], "label");
        let other = BuildSpec { args: [("TAG".to_owned(), "trixie-slim".to_owned())].into(), ..spec.clone() };
        let failure = source.fails(&other).await;
        assert!(failure.evidence().contains(&"Dockerfile:5".to_owned()), "{}", told(&failure));
        let last = BuildSpec { target: None, ..spec };
        assert!(source.fails(&last).await.evidence().contains(&"Dockerfile:9".to_owned()));
        source.remove().await;
    }
}

#[tokio::test]
async fn a_build_has_the_network_that_it_is_given() {
    let Some(connection) = engine("a_build_has_the_network_that_it_is_given").await else { return };
    for connection in builders(&connection) {
        let dockerfile = format!("FROM {BASE}\nRUN test \"$(ls /sys/class/net)\" = lo\n");
        let source = Source::new(&connection, &[("Dockerfile", &dockerfile)]);
        let none = BuildSpec { network: Some("none".into()), ..source.spec() };
        source.build(&none).await.unwrap_or_else(|failure| panic!("{}", told(&failure)));
        source.remove().await;
        let default = BuildSpec { no_cache: true, ..source.spec() };
        assert!(source.fails(&default).await.evidence().contains(&"exit code 1".to_owned()));
    }
}

#[tokio::test]
async fn a_failed_step_shows_its_place_its_code_and_its_last_lines() {
    let Some(connection) = engine("a_failed_step_shows_its_place_its_code_and_its_last_lines").await else { return };
    for connection in builders(&connection) {
        let dockerfile = format!(
            "# a comment\nFROM {BASE}\nRUN echo of an earlier step\n\nRUN for n in $(seq 1 50); do echo line $n; done \\\n    && echo broken && exit 3\n"
        );
        let source = Source::new(&connection, &[("Dockerfile", &dockerfile)]);
        let failure = source.fails(&source.spec()).await;
        let tag = source.spec().tag;
        assert!(failure.what().contains(&format!("of the build of {tag} failed: RUN for n in")), "{failure}");
        let evidence = failure.evidence();
        assert_eq!(evidence[..2], ["Dockerfile:5", "exit code 3"], "{}", told(&failure));
        assert_eq!((evidence.len(), evidence.last().unwrap().as_str()), (22, "broken"), "{}", told(&failure));
        assert!(!told(&failure).contains("earlier"));
        assert_eq!(image_id(&connection, &tag).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_wrong_dockerfile_is_refused_with_its_line() {
    let Some(connection) = engine("a_wrong_dockerfile_is_refused_with_its_line").await else { return };
    for connection in builders(&connection) {
        let wrong = Source::new(&connection, &[("Dockerfile", &format!("FROM {BASE}\n\nRUNN true\n"))]);
        let failure = wrong.fails(&wrong.spec()).await;
        assert!(
            failure.what().to_lowercase().starts_with("dockerfile:3: unknown instruction: runn"),
            "{}",
            told(&failure)
        );
        assert_eq!(failure.exit().code(), 2);
        let named = Source::new(&connection, &[("Dockerfile", &format!("FROM {BASE} AS one\n"))]);
        let failure = named.fails(&BuildSpec { target: Some("two".into()), ..named.spec() }).await;
        assert_eq!(failure.what(), "Dockerfile has no stage two", "{}", told(&failure));
        assert_eq!(failure.hints(), ["stages with a name: one"]);
        let empty = Source::new(&connection, &[]);
        assert!(empty.fails(&empty.spec()).await.what().starts_with("cannot read "));
    }
}

#[tokio::test]
async fn a_base_that_cannot_be_had_is_named() {
    let Some(connection) = engine("a_base_that_cannot_be_had_is_named").await else { return };
    // Nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for connection in builders(&connection) {
        let base = format!("127.0.0.1:{port}/base:7");
        let source = Source::new(&connection, &[("Dockerfile", &format!("ARG A={base}\nFROM $A\n"))]);
        let failure = source.fails(&source.spec()).await;
        let what = format!("cannot pull {base}: the engine does not reach the registry 127.0.0.1:{port}");
        assert_eq!(failure.what(), what, "{}", told(&failure));
    }
}

#[tokio::test]
async fn a_build_that_is_dropped_ends_on_the_engine() {
    let Some(connection) = engine("a_build_that_is_dropped_ends_on_the_engine").await else { return };
    for connection in builders(&connection) {
        // A duration by which the process is known on the machine.
        let seconds = 100_000 + u64::from(std::process::id()) * 2 + u64::from(connection.engine.buildkit);
        let dockerfile = format!("FROM {BASE}\nRUN echo begins && sleep {seconds}\n");
        let source = Source::new(&connection, &[("Dockerfile", &dockerfile)]);
        let (sender, begun) = tokio::sync::oneshot::channel();
        let sender = RefCell::new(Some(sender));
        let note = |note| {
            if matches!(&note, Note::Detail(text) if text.ends_with("· begins"))
                && let Some(sender) = sender.take()
            {
                sender.send(()).unwrap();
            }
        };
        let spec = source.spec();
        tokio::select! {
            result = build(&connection, &spec, &note) => panic!("it ended by itself: {result:?}"),
            begun = begun => begun.unwrap(),
            () = tokio::time::sleep(LIMIT) => panic!("it did not begin"),
        }
        let sleeps = || sleeping(seconds);
        until("the command of the build to end", async || !sleeps()).await;
        until("its container to be removed", async || !has_container(&connection, seconds).await).await;
        assert_eq!(image_id(&connection, &spec.tag).await.unwrap(), None);
    }
}

/// Whether a process of this machine sleeps so long.
fn sleeping(seconds: u64) -> bool {
    let command = format!("sleep\0{seconds}\0");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok()).any(|line| line == command.as_bytes())
}

async fn has_container(connection: &Connection, seconds: u64) -> bool {
    let all = ListContainersOptionsBuilder::default().all(true).build();
    let containers = connection.docker.list_containers(Some(all)).await.unwrap();
    containers.iter().any(|container| container.command.as_ref().is_some_and(|c| c.contains(&seconds.to_string())))
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition().await {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What `tests/docker PART up` printed.
fn part(test: &str, part: &str) -> Option<BTreeMap<String, String>> {
    let output = Command::new(support::repository().join("tests/docker")).args([part, "up"]).output().unwrap();
    if !output.status.success() {
        support::skip(test, &format!("{part}: {}", String::from_utf8_lossy(&output.stderr)));
        return None;
    }
    let text = String::from_utf8(output.stdout).unwrap();
    Some(
        text.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

/// Runs another test of this program, one that is ignored otherwise, with other variables.
fn child(test: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", test])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
#[ignore = "run by other tests, in an environment of theirs"]
async fn pulls_what_the_environment_names() {
    let connection = engine("pulls_what_the_environment_names").await.unwrap();
    let image = std::env::var("PULLED").unwrap();
    let note = |note| println!("{note:?}");
    match pull(&connection, &image, &note).await {
        Ok(()) => println!("pulled {}", image_id(&connection, &image).await.unwrap().unwrap()),
        Err(failure) => println!("{}", told(&failure)),
    }
}

/// An image on the authenticated registry.
struct Published {
    image: String,
    registry: BTreeMap<String, String>,
    connection: Connection,
}

impl Published {
    async fn new(connection: &Connection, registry: BTreeMap<String, String>) -> Self {
        let address = &registry["REGISTRY_ADDRESS"];
        let name = tempfile::tempdir().unwrap().path().file_name().unwrap().to_string_lossy().to_lowercase();
        let image = format!("{address}/scalectl-test/{}:1", name.trim_start_matches('.'));
        let published = Self { image, registry: registry.clone(), connection: connection.clone() };
        let config = published.folder_with(&published.auths());
        let script = format!("docker tag {BASE} {0} && docker push -q {0} && docker rmi -f {0}", published.image);
        let pushed = Command::new("sh").args(["-c", &script]).env("DOCKER_CONFIG", config.path()).output().unwrap();
        assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
        published
    }

    fn folder_with(&self, config: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), config).unwrap();
        folder
    }

    fn auths(&self) -> String {
        use base64::Engine;
        let pair = format!("{}:{}", self.registry["REGISTRY_USER"], self.registry["REGISTRY_PASSWORD"]);
        let auth = base64::engine::general_purpose::STANDARD.encode(pair);
        serde_json::json!({"auths": {&self.registry["REGISTRY_ADDRESS"]: {"auth": auth}}}).to_string()
    }

    fn helper(&self, name: &str) -> String {
        serde_json::json!({"credHelpers": {&self.registry["REGISTRY_ADDRESS"]: name}}).to_string()
    }

    /// What pulling an image says with such a `config.json`.
    fn pull(&self, image: &str, config: &str) -> String {
        let folder = self.folder_with(config);
        let path = format!("{}:{}", self.registry["REGISTRY_CREDENTIAL_HELPERS"], std::env::var("PATH").unwrap());
        let mut variables =
            vec![("PULLED", image), ("DOCKER_CONFIG", folder.path().to_str().unwrap()), ("PATH", &path)];
        variables.extend(self.registry.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        child("pulls_what_the_environment_names", &variables)
    }

    async fn pulled(&self) -> bool {
        let there = image_id(&self.connection, &self.image).await.unwrap().is_some();
        if there {
            let options = RemoveImageOptionsBuilder::default().force(true).build();
            self.connection.docker.remove_image(&self.image, Some(options), None).await.unwrap();
        }
        there
    }
}

#[tokio::test]
async fn a_registry_gets_the_credentials_of_the_docker_cli() {
    let test = "a_registry_gets_the_credentials_of_the_docker_cli";
    let Some(connection) = engine(test).await else { return };
    let Some(registry) = part(test, "registry") else { return };
    let published = Published::new(&connection, registry).await;
    let (image, address) = (&published.image, &published.registry["REGISTRY_ADDRESS"]);

    let anonymous = published.pull(image, "{}");
    assert!(anonymous.contains(&format!("{address} does not give {image} to us")), "{anonymous}");
    assert!(anonymous.contains(&format!("if it is private: `docker login {address}`")), "{anonymous}");
    assert!(!published.pulled().await);

    let said = published.pull(image, &published.auths());
    assert!(published.pulled().await, "{said}");

    let said = published.pull(image, &published.helper("scalectltest"));
    assert!(published.pulled().await, "{said}");

    let missing = published.pull(image, &published.helper("scalectl-nowhere"));
    assert!(missing.contains("docker-credential-scalectl-nowhere is not installed"), "{missing}");
    assert!(missing.contains("does not give"), "{missing}");

    let wrong = serde_json::json!({"auths": {address: {"username": "ada", "password": "wrong"}}}).to_string();
    let said = published.pull(image, &wrong);
    assert!(
        said.contains(&format!("the credentials that `docker login {address}` left are not good for it")),
        "{said}"
    );

    let other = image.replace(":1", ":2");
    let other = other.replacen(":2", ":1", other.matches(":2").count() - 1);
    let said = published.pull(&other, &published.auths());
    assert!(said.contains(&format!("there is no image {other}")), "{said}");
    assert!(said.contains("with tag 2"), "{said}");
}

#[tokio::test]
#[ignore = "run by other tests, in an environment of theirs"]
async fn says_what_connecting_comes_to() {
    match connect(&find().unwrap().unwrap()).await {
        Ok(connection) => {
            println!("{} at {}, remote: {}", connection.engine, connection.endpoint.address, connection.endpoint.remote)
        }
        Err(failure) => println!("{}", told(&failure)),
    }
}

#[tokio::test]
async fn a_socket_that_is_closed_to_the_user_is_told_from_one_without_an_engine() {
    let test = "a_socket_that_is_closed_to_the_user_is_told_from_one_without_an_engine";
    let Some(connection) = engine(test).await else { return };
    if !nix::unistd::Uid::effective().is_root() || !connection.endpoint.address.starts_with("unix://") {
        return support::skip(test, "it takes root to become somebody else, and a socket");
    }
    // A copy: another user may not be able to read the checkout.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["--exact", "--ignored", "--nocapture", "says_what_connecting_comes_to"])
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("no permission to use the Docker engine at unix://"), "{said}");
    assert!(said.contains("and nobody is not in it"), "{said}");
    assert!(said.contains("sudo usermod -aG"), "{said}");
}

/// A folder of the docker CLI whose context in use is an engine with TLS.
fn context(address: &str, certificates: &Path, files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let tls = folder.path().join("contexts/tls/ab/docker");
    let meta = folder.path().join("contexts/meta/ab");
    fs::create_dir_all(&tls).unwrap();
    fs::create_dir_all(&meta).unwrap();
    fs::write(folder.path().join("config.json"), r#"{"currentContext": "far"}"#).unwrap();
    let endpoint = serde_json::json!({"Host": address, "SkipTLSVerify": false});
    let text = serde_json::json!({"Name": "far", "Metadata": {}, "Endpoints": {"docker": endpoint}}).to_string();
    fs::write(meta.join("meta.json"), text).unwrap();
    for file in files {
        fs::copy(certificates.join(file), tls.join(file)).unwrap();
    }
    folder
}

#[tokio::test]
async fn an_engine_with_tls_is_reached_by_a_context_and_by_variables() {
    let Some(tls) = part("an_engine_with_tls_is_reached_by_a_context_and_by_variables", "tls") else { return };
    let (address, path) = (&tls["DOCKER_HOST"], &tls["DOCKER_CERT_PATH"]);
    let certificates = Path::new(path);
    let says = |variables: &[(&str, &str)]| child("says_what_connecting_comes_to", variables);
    let with = |folder: &tempfile::TempDir| says(&[("DOCKER_CONFIG", folder.path().to_str().unwrap())]);

    let found = format!("at {address}, remote: true");
    let whole = with(&context(address, certificates, &["ca.pem", "cert.pem", "key.pem"]));
    assert!(whole.contains(&found), "{whole}");
    let variables = [("DOCKER_HOST", address.as_str()), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", path)];
    let said = says(&variables);
    assert!(said.contains(&found), "{said}");

    let anonymous = with(&context(address, certificates, &["ca.pem"]));
    assert!(anonymous.contains("wants a client certificate, and there is none"), "{anonymous}");
    let plain = says(&variables[..1]);
    assert!(plain.contains("wants TLS, and the connection has none"), "{plain}");
    // An authority that signed something else: the client's own certificate is none.
    let wrong = context(address, certificates, &["cert.pem", "key.pem"]);
    fs::copy(certificates.join("cert.pem"), wrong.path().join("contexts/tls/ab/docker/ca.pem")).unwrap();
    let said = with(&wrong);
    assert!(said.contains("has a certificate that is not to be trusted"), "{said}");
}

#[tokio::test]
#[ignore = "run by other tests, in an environment of theirs"]
async fn fills_the_disk_of_the_engine() {
    let connection = engine("fills_the_disk_of_the_engine").await.unwrap();
    let dockerfile = format!("FROM {BASE}\nRUN fallocate -l 8G /x\n");
    let source = Source::new(&connection, &[("Dockerfile", &dockerfile)]);
    println!("{}", told(&source.fails(&source.spec()).await));
}

#[tokio::test]
async fn a_full_disk_is_a_cause_of_its_own() {
    let Some(tls) = part("a_full_disk_is_a_cause_of_its_own", "tls") else { return };
    let variables: Vec<_> = tls.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let said = child("fills_the_disk_of_the_engine", &variables);
    assert!(said.contains("the engine's disk is full"), "{said}");
    assert!(said.contains("docker system df"), "{said}");
    assert!(said.contains("Dockerfile:2"), "{said}");
}

#[tokio::test]
#[ignore = "run by other tests, in an environment of theirs"]
async fn builds_on_the_engine() {
    let connection = engine("builds_on_the_engine").await.unwrap();
    let good = Source::new(&connection, &[("Dockerfile", &format!("FROM {BASE}\nRUN echo made\n"))]);
    let notes = good.build(&good.spec()).await.unwrap_or_else(|failure| panic!("{}", told(&failure)));
    assert!(image_id(&connection, &good.spec().tag).await.unwrap().is_some());
    good.remove().await;
    let bad = Source::new(&connection, &[("Dockerfile", &format!("FROM {BASE}\n\nRUN echo broken && exit 3\n"))]);
    println!("{}: {notes:?}\n{}", connection.engine, told(&bad.fails(&bad.spec()).await));
}

#[tokio::test]
async fn podman_builds_too() {
    let Some(podman) = part("podman_builds_too", "podman") else { return };
    let variables: Vec<_> = podman.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let said = child("builds_on_the_engine", &variables);
    assert!(said.contains("Podman 4"), "{said}");
    assert!(said.contains("RUN echo made"), "{said}");
    assert!(said.contains("Dockerfile:3\n"), "{said}");
    assert!(said.contains("broken"), "{said}");
}
