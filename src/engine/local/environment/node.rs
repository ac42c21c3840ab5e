//! `runtime = "node"`: `node_modules` from `package-lock.json`.
//!
//! Node looks for packages in `node_modules` beside the file that imports them and in the folders above, so they must
//! seem to lie beside the source: a symbolic link there leads to the environment. Packages find each other by their
//! real path, within the environment. Replicas that run keep theirs when the link moves on.
//!
//! A `node_modules` that is a folder of its own (the developer ran `npm install`) is used as it is: it may hold what
//! cannot be installed from the lock file alone, and removing it is not for us to decide.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::build::{self, Builder};
use super::{EnvironmentError, Host, key, python};

pub(super) const LOCK_FILE: &str = "package-lock.json";
const MANIFEST: &str = "package.json";
const MODULES: &str = "node_modules";

/// `production` here would leave out the build's tools; the other ones point npm elsewhere.
const REMOVED: &[&str] = &["NODE_ENV", "NODE_PATH", "NODE_OPTIONS", "npm_config_prefix", "npm_config_global"];

#[derive(Debug, Clone)]
pub(super) struct Recipe {
    source: PathBuf,
    manifest: Vec<u8>,
    lock: Vec<u8>,
    /// Settings of the project, such as its registry.
    settings: Option<Vec<u8>>,
}

/// `None` where the developer keeps `node_modules` by hand.
pub(super) fn recipe(source: &Path, host: &Host) -> Result<Option<(Recipe, String)>, EnvironmentError> {
    if fs::symlink_metadata(source.join(MODULES)).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(None);
    }
    let (manifest, lock) = (read(source, MANIFEST)?, read(source, LOCK_FILE)?);
    let settings = fs::read(source.join(".npmrc")).ok();
    refuse_links(&lock)?;
    let missing = |program| EnvironmentError::NoProgram { program, runtime: "node" };
    let node = host.program("node").ok_or_else(|| missing("node"))?;
    host.program("npm").ok_or_else(|| missing("npm"))?;
    let about = "const p = process; console.log(p.version, p.platform, p.arch, p.versions.modules)";
    let about = build::ask(&node, &["-e", about], source, REMOVED).map_err(|_| missing("node"))?;
    let parts: [(&str, &[u8]); 4] = [
        ("manifest", &manifest),
        ("lock", &lock),
        ("settings", settings.as_deref().unwrap_or_default()),
        ("node", about.as_bytes()),
    ];
    let key = key("node", &parts);
    Ok(Some((Recipe { source: source.to_owned(), manifest, lock, settings }, key)))
}

fn read(source: &Path, name: &str) -> Result<Vec<u8>, EnvironmentError> {
    let path = source.join(name);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(EnvironmentError::NoLockFile(path)),
        read => read.map_err(EnvironmentError::io("read", path)),
    }
}

/// Packages that are folders of the project cannot be installed away from it.
fn refuse_links(lock: &[u8]) -> Result<(), EnvironmentError> {
    let lock: serde_json::Value = serde_json::from_slice(lock).unwrap_or_default();
    let Some(packages) = lock["packages"].as_object() else { return Ok(()) };
    match packages.iter().find(|(_, package)| package["link"] == true) {
        None => Ok(()),
        Some((name, _)) => Err(EnvironmentError::Unsupported {
            what: format!(
                "{LOCK_FILE} links to a folder of the project ({name}), which the local engine cannot install"
            ),
            hint: "run \"npm ci\" in the service's folder: a node_modules of your own is used as it is",
        }),
    }
}

pub(super) fn environment(folder: &Path) -> python::Parts {
    (vec![folder.join(MODULES).join(".bin")], Vec::new(), &["NODE_PATH"])
}

impl Recipe {
    pub(super) fn is_ready(&self, folder: &Path) -> bool {
        fs::read_link(self.source.join(MODULES)).is_ok_and(|target| target == folder.join(MODULES))
    }

    pub(super) fn build(&self, builder: &Builder<'_>, host: &Host) -> Result<(), EnvironmentError> {
        let folder = builder.folder;
        fs::create_dir_all(folder).map_err(EnvironmentError::io("create", folder))?;
        let settings = self.settings.as_ref().map(|settings| (".npmrc", settings));
        for (name, bytes) in [(MANIFEST, &self.manifest), (LOCK_FILE, &self.lock)].into_iter().chain(settings) {
            let path = folder.join(name);
            fs::write(&path, bytes).map_err(EnvironmentError::io("write", path))?;
        }
        let npm = host.program("npm").ok_or(EnvironmentError::NoProgram { program: "npm", runtime: "node" })?;
        let mut install = builder.command(&npm, REMOVED)?;
        install.args(["ci", "--include=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--no-progress"]);
        install.current_dir(folder);
        builder.run(install)?;
        // Without dependencies npm makes no folder, and the link would lead nowhere.
        fs::create_dir_all(folder.join(MODULES)).map_err(EnvironmentError::io("create", folder.join(MODULES)))
    }

    /// Points `node_modules` beside the source to the environment, at once for whoever looks.
    pub(super) fn link(&self, folder: &Path) -> Result<(), EnvironmentError> {
        let link = self.source.join(MODULES);
        let part = self.source.join(format!(".node_modules.{}", std::process::id()));
        let swap = || {
            match fs::remove_file(&part) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            symlink(folder.join(MODULES), &part)?;
            fs::rename(&part, &link)
        };
        swap().map_err(EnvironmentError::io("link", &link))
    }
}
