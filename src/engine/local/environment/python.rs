//! `runtime = "python"`: a virtual environment from `requirements.lock`.

use std::fs;
use std::path::{Path, PathBuf};

use super::build::{self, Builder};
use super::{EnvironmentError, Host, key};

/// What the environment is made from; pip and uv both read it.
pub(super) const LOCK_FILE: &str = "requirements.lock";

/// The oldest Python that the lock files are made for.
const OLDEST: (u32, u32) = (3, 11);

/// The caller's own choice first, then the newest.
const NAMES: [&str; 5] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11"];

/// What a shell may carry that would make Python or its installers look or write elsewhere. Settings of the index, of
/// certificates and proxies are not among them: those are the user's way to reach packages.
pub(super) const REMOVED: &[&str] = &[
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "PYTHONPLATLIBDIR",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "__PYVENV_LAUNCHER__",
    "PIP_USER",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_PYTHON",
    "PIP_REQUIREMENT",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_DRY_RUN",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_PROJECT_ENVIRONMENT",
    "UV_TARGET",
    "UV_PREFIX",
];

/// Version, implementation, platform and the interpreter itself, behind any shim or virtual environment. Without
/// site-packages (-S), so that the answer comes in milliseconds.
const ABOUT: &str = "import sys, os
i = sys.implementation
print('.'.join(map(str, sys.version_info[:3])))
print(i.cache_tag or i.name)
print(getattr(i, '_multiarch', '') or sys.platform + '-' + os.uname().machine)
print(getattr(sys, '_base_executable', '') or sys.executable)";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Python {
    version: String,
    implementation: String,
    platform: String,
    executable: PathBuf,
}

impl Python {
    /// Reads what [`ABOUT`] printed.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        let mut next = || lines.next().filter(|line| !line.is_empty()).map(str::to_owned);
        Some(Self { version: next()?, implementation: next()?, platform: next()?, executable: PathBuf::from(next()?) })
    }

    /// Major and minor version.
    fn release(&self) -> Option<(u32, u32)> {
        let mut parts = self.version.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Recipe {
    python: Python,
    source: PathBuf,
}

pub(super) fn recipe(source: &Path, host: &Host) -> Result<(Recipe, String), EnvironmentError> {
    let path = source.join(LOCK_FILE);
    let lock = match fs::read(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(EnvironmentError::NoLockFile(path)),
        Err(error) => return Err(EnvironmentError::io("read", path)(error)),
    };
    let python = find(source, host)?;
    let key = key_of(&lock, &python);
    Ok((Recipe { python, source: source.to_owned() }, key))
}

fn key_of(lock: &[u8], python: &Python) -> String {
    let executable = python.executable.as_os_str().as_encoded_bytes();
    key(
        "python",
        &[
            ("lock", lock),
            ("version", python.version.as_bytes()),
            ("implementation", python.implementation.as_bytes()),
            ("platform", python.platform.as_bytes()),
            ("executable", executable),
        ],
    )
}

/// The first Python that works and is new enough. Asked in the source's folder, where version managers look for
/// `.python-version`.
fn find(source: &Path, host: &Host) -> Result<Python, EnvironmentError> {
    let mut refused = Vec::new();
    for name in NAMES {
        let Some(program) = host.program(name) else { continue };
        let about = build::ask(&program, &["-I", "-S", "-c", ABOUT], source, REMOVED);
        let why = match about.map(|text| Python::parse(&text)) {
            Ok(Some(python)) if python.release().is_some_and(|release| release >= OLDEST) => return Ok(python),
            Ok(Some(python)) => format!("it is Python {}", python.version),
            Ok(None) => "it does not answer like a Python".to_owned(),
            Err(error) => error,
        };
        refused.push(format!("{}: {why}", program.display()));
    }
    if refused.is_empty() {
        refused.push("there is no python3 on PATH".to_owned());
    }
    Err(EnvironmentError::NoPython(refused))
}

pub(super) type Parts = (Vec<PathBuf>, Vec<(String, String)>, &'static [&'static str]);

pub(super) fn environment(folder: &Path) -> Parts {
    let variables = vec![("VIRTUAL_ENV".to_owned(), folder.display().to_string())];
    (vec![folder.join("bin")], variables, &["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__"])
}

impl Recipe {
    /// Its interpreter is a link to one that the user may have removed.
    pub(super) fn is_ready(&self, folder: &Path) -> bool {
        build::is_executable(&folder.join("bin/python"))
    }

    pub(super) fn build(&self, builder: &Builder<'_>, host: &Host) -> Result<(), EnvironmentError> {
        match host.program("uv") {
            Some(uv) => self.build_with_uv(builder, &uv),
            None => self.build_with_pip(builder),
        }
    }

    fn build_with_uv(&self, builder: &Builder<'_>, uv: &Path) -> Result<(), EnvironmentError> {
        let mut venv = builder.command(uv, REMOVED)?;
        // Else uv would look for, and might download, another Python than the key was made with.
        venv.args(["venv", "--no-progress", "--no-python-downloads", "--no-project", "--python"]);
        venv.arg(&self.python.executable).arg(builder.folder).current_dir(&self.source);
        builder.run(venv)?;
        let mut install = builder.command(uv, REMOVED)?;
        install.args(["pip", "sync", "--no-progress", "--require-hashes", "--compile-bytecode", "--python"]);
        install.arg(builder.folder.join("bin/python")).arg(LOCK_FILE).current_dir(&self.source);
        builder.run(install)
    }

    /// With the interpreter's own pip where it has one that can: putting a pip into each environment takes seconds and
    /// gives the service a package that its lock file does not name.
    fn build_with_pip(&self, builder: &Builder<'_>) -> Result<(), EnvironmentError> {
        let python = &self.python.executable;
        let target = builder.folder.join("bin/python");
        let outside = self.has_pip();
        let mut venv = builder.command(python, REMOVED)?;
        venv.args(["-I", "-m", "venv"]).args(outside.then_some("--without-pip"));
        venv.arg(builder.folder).current_dir(&self.source);
        builder.run(venv).map_err(|error| self.missing_module().unwrap_or(error))?;
        let mut install = builder.command(if outside { python } else { &target }, REMOVED)?;
        install.args(["-I", "-m", "pip"]);
        if outside {
            install.arg("--python").arg(&target);
        }
        install.args(["install", "--no-user", "--no-input", "--disable-pip-version-check"]);
        install.args(["--progress-bar", "off", "--require-hashes", "--compile", "-r", LOCK_FILE]);
        install.current_dir(&self.source);
        builder.run(install)
    }

    /// Whether the interpreter has a pip that can install into another one's environment (22.3).
    fn has_pip(&self) -> bool {
        build::ask(&self.python.executable, &["-I", "-m", "pip", "--version"], &self.source, REMOVED)
            .is_ok_and(|text| pip_release(&text).is_some_and(|release| release >= (22, 3)))
    }

    /// The reason why no virtual environment can be made, if it is the one that Debian's packages are known for.
    fn missing_module(&self) -> Option<EnvironmentError> {
        let python = &self.python.executable;
        build::ask(python, &["-I", "-c", "import venv, ensurepip"], &self.source, REMOVED).err()?;
        let (major, minor) = self.python.release()?;
        Some(EnvironmentError::NoVenv { python: python.clone(), version: format!("{major}.{minor}") })
    }
}

/// Major and minor version in `pip 23.2.1 from /usr/lib/... (python 3.11)`.
fn pip_release(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("pip ")?.split_whitespace().next()?.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "3.12.1\ncpython-312\nx86_64-linux-gnu\n/usr/bin/python3.12\n";

    #[test]
    fn the_answer_of_an_interpreter_is_read() {
        let python = Python::parse(ANSWER).unwrap();
        assert_eq!(python.release(), Some((3, 12)));
        assert_eq!(python.executable, Path::new("/usr/bin/python3.12"));
        assert_eq!(Python::parse("3.12.1\n"), None);
    }

    #[test]
    fn the_version_of_pip_is_read() {
        assert_eq!(pip_release("pip 22.3 from /usr/lib (python 3.11)"), Some((22, 3)));
        assert_eq!(pip_release("pip 24.0.1"), Some((24, 0)));
        assert_eq!(pip_release("No module named pip"), None);
    }

    #[test]
    fn each_part_changes_the_key_and_nothing_else_does() {
        let python = Python::parse(ANSWER).unwrap();
        let base = key_of(b"a==1", &python);
        assert_eq!(base, key_of(b"a==1", &python.clone()));
        assert!(base.starts_with("python-") && base.len() == "python-".len() + 32, "{base}");
        let changed = ["3.12.1", "cpython-312", "x86_64", "/usr/bin"].map(|part| ANSWER.replacen(part, "3.13", 1));
        for answer in &changed {
            assert_ne!(key_of(b"a==1", &Python::parse(answer).unwrap()), base, "{answer}");
        }
        assert_ne!(key_of(b"a==2", &python), base);
    }
}
