//! Environments built for real, raced for, and killed in the middle.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::*;
use crate::error::Failure;

/// A cache and a source folder of a test's own, with the caller's programs but without its `uv`.
struct Place {
    root: tempfile::TempDir,
    host: Host,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("source")).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).filter(|folder| !folder.join("uv").exists());
        let host = Host { cache: root.path().join("cache"), path: std::env::join_paths(folders).unwrap() };
        Self { root, host }
    }

    fn source(&self) -> PathBuf {
        self.root.path().join("source")
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Puts a program before all others on the path.
    fn program(&self, name: &str, script: &str) {
        let path = self.write(&format!("programs/{name}"), &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn with_programs(mut self, only: bool) -> Self {
        let programs = self.root.path().join("programs");
        let others = std::env::split_paths(&self.host.path).filter(|_| !only).collect::<Vec<_>>();
        self.host.path = std::env::join_paths(std::iter::once(programs).chain(others)).unwrap();
        self
    }

    /// A wheel made here and a lock file that takes it from its folder: no package index is needed.
    fn python_source(&self, version: &str) {
        let script = "import sys, zipfile, hashlib, pathlib
version, folder = sys.argv[1], pathlib.Path('wheels')
folder.mkdir(exist_ok=True)
wheel = folder / f'greeting-{version}-py3-none-any.whl'
with zipfile.ZipFile(wheel, 'w') as z:
    z.writestr('greeting.py', f'VERSION = \"{version}\"\\n')
    info = f'greeting-{version}.dist-info/'
    z.writestr(info + 'METADATA', f'Metadata-Version: 2.1\\nName: greeting\\nVersion: {version}\\n')
    z.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    z.writestr(info + 'RECORD', f'greeting.py,,\\n{info}METADATA,,\\n{info}WHEEL,,\\n{info}RECORD,,\\n')
digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
pathlib.Path('requirements.lock').write_text(
    f'--no-index\\n--find-links ./wheels\\ngreeting=={version} --hash=sha256:{digest}\\n')
";
        let status = Command::new("python3").args(["-c", script, version]).current_dir(self.source()).status();
        assert!(status.unwrap().success());
    }

    fn plan(&self, runtime: Runtime) -> Result<Plan, EnvironmentError> {
        plan(runtime, &self.source(), || Ok("hash".to_owned()), &self.host)
    }
}

fn quiet(_: Progress<'_>) {}

/// What a process with this environment prints.
fn run(environment: &Environment, program: &str, arguments: &[&str], folder: &Path) -> String {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env("PATH", environment.path(std::env::var_os("PATH")));
    command.envs(environment.variables.iter().map(|(name, value)| (name, value)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

const GREET: [&str; 2] = ["-c", "import greeting; print(greeting.VERSION)"];

#[test]
fn a_virtual_environment_is_built_once_raced_for_and_rebuilt_when_broken() {
    let place = Place::new();
    place.python_source("1.0");
    let plan = place.plan(Runtime::Python).unwrap();
    assert!(!plan.is_ready());
    assert_eq!(plan.made_from(), "requirements.lock");

    // Two commands at once: one builds, the other waits and says so.
    let seen = Mutex::new(Vec::new());
    let note = |progress: Progress<'_>| seen.lock().unwrap().push(format!("{progress:?}"));
    std::thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| plan.prepare(&note).unwrap()));
        let [one, two] = both.map(|thread| thread.join().unwrap());
        assert_eq!(one, two);
    });
    let seen = seen.into_inner().unwrap();
    let count = |text: &str| seen.iter().filter(|line| line.contains(text)).count();
    assert_eq!((count("-m venv"), count(" install "), count("Waiting")), (1, 1, 1), "{seen:#?}");
    assert!(seen.iter().any(|line| line.contains("Output") && line.contains("greeting")), "{seen:#?}");

    assert!(plan.is_ready());
    let environment = plan.prepare(&|progress| panic!("nothing is left to do, but: {progress:?}")).unwrap();
    assert_eq!(run(&environment, "python", &GREET, &place.source()), "1.0");
    assert!(environment.path_prefix[0].starts_with(&place.host.cache));
    let compiled = "import greeting; print(greeting.__cached__, __import__('os').path.exists(greeting.__cached__))";
    assert!(run(&environment, "python", &["-c", compiled], &place.source()).ends_with("True"));

    // A new lock file is a new environment; the old one stays for the replicas that run in it.
    place.python_source("2.0");
    let next = place.plan(Runtime::Python).unwrap();
    assert!(!next.is_ready() && next.key() != plan.key() && plan.is_ready());

    // A marker that was cut off, and an interpreter that is gone, are noticed.
    let marker = plan.folder.join(".scalectl-complete");
    let whole = fs::read(&marker).unwrap();
    fs::write(&marker, &whole[..whole.len() / 2]).unwrap();
    assert!(!plan.is_ready());
    fs::write(&marker, &whole).unwrap();
    assert!(plan.is_ready());
    fs::remove_file(plan.folder.join("bin/python")).unwrap();
    assert!(!plan.is_ready());
}

/// Through the user's own configuration of index and certificates, with each builder that is installed.
#[test]
#[ignore = "needs a package index"]
fn a_package_of_the_index_is_installed_by_every_builder() {
    let lock = "idna==3.10 --hash=sha256:946d195a0d259cbba61165e88e65941f16e9b36ea6ddb97f00452bae8b1287d3\n";
    let with_uv = std::env::var_os("PATH").unwrap();
    for (builder, path) in [(" -m pip ", Place::new().host.path), ("/uv ", with_uv)] {
        let mut place = Place::new();
        place.host.path = path;
        if builder == "/uv " && place.host.program("uv").is_none() {
            eprintln!("uv is not installed");
            continue;
        }
        place.write("source/requirements.lock", lock);
        let used = Mutex::new(Vec::new());
        let note = |progress: Progress<'_>| used.lock().unwrap().push(format!("{progress:?}"));
        let begin = Instant::now();
        let environment = place.plan(Runtime::Python).unwrap().prepare(&note).unwrap();
        eprintln!("{builder}: {:?}", begin.elapsed());
        assert!(used.lock().unwrap().iter().any(|line| line.contains("Running") && line.contains(builder)));
        let version = ["-c", "import idna, sys; print(idna.__version__, sys.prefix == sys.base_prefix)"];
        assert_eq!(run(&environment, "python", &version, &place.source()), "3.10 False");
    }
}

#[test]
fn a_package_with_another_hash_is_refused_with_the_builders_words() {
    let place = Place::new();
    place.python_source("1.0");
    let lock = fs::read_to_string(place.source().join("requirements.lock")).unwrap();
    let (head, digest) = lock.trim().rsplit_once(':').unwrap();
    place.write("source/requirements.lock", &format!("{head}:{}\n", digest.chars().rev().collect::<String>()));
    let plan = place.plan(Runtime::Python).unwrap();
    let error = plan.prepare(&quiet).unwrap_err();
    let EnvironmentError::Failed { command, tail, .. } = &error else { panic!("{error:?}") };
    assert!(command.contains("-m pip ") && command.contains("--require-hashes"), "{command}");
    assert!(tail.len() <= 20 && tail.join("\n").contains("HASHES"), "{tail:#?}");
    assert!(!plan.is_ready());
    assert!(!Failure::from(error).evidence().is_empty());
}

/// Not a test: the process that `a_killed_builder_leaves_nothing…` kills.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn builder_process() {
    let Some(root) = std::env::var_os("BUILDER_PROCESS_ROOT").map(PathBuf::from) else { return };
    let path = std::env::join_paths(
        [root.join("programs")].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let host = Host { cache: root.join("cache"), path: path.unwrap() };
    let plan = plan(Runtime::Python, &root.join("source"), || unreachable!(), &host).unwrap();
    plan.prepare(&quiet).unwrap();
}

fn builder_process_in(root: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "engine::local::environment::tests::builder_process"])
        .env("BUILDER_PROCESS_ROOT", root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(60), "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `uv` is a script here, since the moment of the kill must be exact: it lives on until it is told to end.
#[test]
fn a_killed_builder_leaves_nothing_that_the_next_one_trips_over() {
    let place = Place::new().with_programs(false);
    place.write("source/requirements.lock", "");
    let root = place.root.path().to_owned();
    let script = "case \"$1\" in
venv) for last; do :; done; mkdir -p \"$last/bin\"; ln -s /bin/sh \"$last/bin/python\"; echo \"$last\" > \"$ROOT/folder\" ;;
pip) n=$(cat \"$ROOT/builds\" 2>/dev/null | wc -l); echo x >> \"$ROOT/builds\"
     if [ \"$n\" = 0 ]; then
       touch \"$(cat \"$ROOT/folder\")/half-built\"
       while [ ! -e \"$ROOT/go\" ]; do sleep 0.01; done
       touch \"$ROOT/ended\"
     fi ;;
esac";
    place.program("uv", &script.replace("$ROOT", &root.display().to_string()));
    let mut killed = builder_process_in(&root);
    eventually("the first build has begun", || root.join("builds").exists());
    killed.kill().unwrap();
    killed.wait().unwrap();

    let plan = place.plan(Runtime::Python).unwrap();
    assert!(!plan.is_ready());
    let waited = Mutex::new(None);
    let environment = plan.prepare(&|progress| {
        if let Progress::Waiting { holder } = progress {
            // What the killed one had started still writes to the folder; only now may it end.
            *waited.lock().unwrap() = Some(holder);
            fs::write(root.join("go"), "").unwrap();
        } else {
            assert!(root.join("ended").exists(), "{progress:?} while the first build still ran");
        }
    });
    let environment = environment.unwrap();
    assert_eq!(*waited.lock().unwrap(), Some(Some(killed.id())), "it waits, and says for whom");
    assert_eq!(fs::read_to_string(root.join("builds")).unwrap(), "x\nx\n", "built again from the beginning");
    assert!(!plan.folder.join("half-built").exists());
    assert!(plan.is_ready() && environment.key == plan.key());
}

#[test]
fn a_python_that_does_not_work_or_is_too_old_is_passed_over() {
    let place = Place::new();
    place.write("source/requirements.lock", "");
    place.program("python3", "echo 3.9.6; echo cpython-39; echo darwin-arm64; echo /usr/bin/python3");
    place.program("python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127");
    place.program("python3.12", "echo 3.12.1; echo cpython-312; echo linux; echo /opt/python3.12");
    let place = place.with_programs(true);
    assert!(place.plan(Runtime::Python).is_ok());
    fs::remove_file(place.root.path().join("programs/python3.12")).unwrap();
    let failure = Failure::from(place.plan(Runtime::Python).unwrap_err());
    assert_eq!(failure.what(), "no Python 3.11 or newer was found");
    let evidence = failure.evidence().join("\n");
    assert!(evidence.contains("programs/python3: it is Python 3.9.6"), "{evidence}");
    assert!(evidence.contains("programs/python3.13: pyenv: python3.13: command not found"), "{evidence}");
    assert!(failure.hints()[0].starts_with("install it: "), "{:?}", failure.hints());
}

#[test]
fn a_python_without_ensurepip_says_which_package_is_missing() {
    let place = Place::new();
    place.write("source/requirements.lock", "");
    let python = place.root.path().join("programs/python3");
    let about = format!("*-S*) echo 3.11.2; echo cpython-311; echo linux; echo {} ;;", python.display());
    place
        .program("python3", &format!("case \"$*\" in {about} *) echo 'No module named ensurepip' >&2; exit 1 ;; esac"));
    let place = place.with_programs(true);
    let failure = Failure::from(place.plan(Runtime::Python).unwrap().prepare(&quiet).unwrap_err());
    assert!(failure.what().ends_with("its module ensurepip is missing"), "{failure}");
    if cfg!(target_os = "linux") {
        assert!(failure.hints()[0].contains("apt-get install python3.11-venv"), "{:?}", failure.hints());
    }
}

#[test]
fn a_missing_lock_file_is_named_with_the_command_that_writes_it() {
    let place = Place::new();
    for (runtime, file) in [(Runtime::Python, "requirements.lock"), (Runtime::Rust, "Cargo.lock")] {
        let failure = Failure::from(place.plan(runtime).unwrap_err());
        assert!(failure.what().ends_with(&format!("{file} is missing")), "{failure}");
        assert!(failure.hints()[0].starts_with("write it with "), "{:?}", failure.hints());
    }
    assert!(place.plan(Runtime::None).unwrap().is_ready());
}

#[test]
fn a_rust_service_gets_its_binaries() {
    let place = Place::new();
    place.write("source/Cargo.toml", "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
    place.write("source/Cargo.lock", "version = 3\n\n[[package]]\nname = \"tiny\"\nversion = \"0.1.0\"\n");
    place.write("source/src/main.rs", "fn main() { println!(\"tiny\") }");
    let plan = place.plan(Runtime::Rust).unwrap();
    let environment = plan.prepare(&quiet).unwrap();
    assert!(plan.is_ready());
    assert_eq!(run(&environment, "tiny", &[], &place.source()), "tiny");
    assert!(!place.source().join("target").exists(), "nothing is left in the source");
    place.write("source/src/main.rs", "fn main() { mistake }");
    let changed = super::plan(Runtime::Rust, &place.source(), || Ok("other".to_owned()), &place.host).unwrap();
    assert!(!changed.is_ready() && plan.is_ready());
    let EnvironmentError::Failed { tail, .. } = changed.prepare(&quiet).unwrap_err() else { panic!() };
    assert!(tail.join("\n").contains("cannot find value `mistake`"), "{tail:#?}");
}

#[test]
fn a_node_service_finds_its_packages_through_a_link() {
    let place = Place::new();
    if place.host.program("npm").is_none() {
        eprintln!("skipped: npm is not installed");
        return;
    }
    place.write("source/package.json", r#"{"name": "tiny", "version": "1.0.0", "private": true}"#);
    let lock = r#"{"name": "tiny", "version": "1.0.0", "lockfileVersion": 3, "requires": true,
        "packages": {"": {"name": "tiny", "version": "1.0.0"}}}"#;
    place.write("source/package-lock.json", lock);
    let plan = place.plan(Runtime::Node).unwrap();
    plan.prepare(&quiet).unwrap();
    assert!(plan.is_ready());
    let modules = place.source().join("node_modules");
    fs::create_dir_all(modules.join("greeting")).unwrap();
    fs::write(modules.join("greeting/index.js"), "module.exports = 'hello'").unwrap();
    assert!(plan.folder.join("node_modules/greeting").exists(), "the link leads to the environment");
    assert_eq!(run(&plan.environment(), "node", &["-p", "require('greeting')"], &place.source()), "hello");
    fs::remove_file(&modules).unwrap();
    assert!(!plan.is_ready());
    plan.prepare(&|progress| panic!("only the link was missing, but: {progress:?}")).unwrap();

    // A folder of the developer's own is used as it is.
    fs::remove_file(&modules).unwrap();
    fs::create_dir(&modules).unwrap();
    assert_eq!(place.plan(Runtime::Node).unwrap().key(), "");
    fs::remove_dir(&modules).unwrap();

    let linked = lock.replace("\"packages\": {", "\"packages\": {\"node_modules/x\": {\"link\": true},");
    place.write("source/package-lock.json", &linked);
    let error = place.plan(Runtime::Node).unwrap_err();
    assert!(error.to_string().contains("links to a folder of the project (node_modules/x)"), "{error}");
}

#[test]
fn the_cache_is_where_xdg_says() {
    let at = |xdg: Option<&str>, home: Option<&str>| cache_folder(xdg.map(Into::into), home.map(Into::into));
    assert_eq!(at(Some("/x"), Some("/h")).unwrap(), Path::new("/x/scalectl/envs"));
    assert_eq!(at(Some("relative"), Some("/h")).unwrap(), Path::new("/h/.cache/scalectl/envs"));
    assert_eq!(at(None, Some("/h")).unwrap(), Path::new("/h/.cache/scalectl/envs"));
    assert!(at(None, None).is_err());
}
