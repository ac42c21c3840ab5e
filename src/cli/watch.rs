//! `scalectl up --watch`: waits until what a stack is made from has changed. Events of the file system wake it; hashes
//! decide.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::engine::source;
use crate::stack::{self, DOT_ENV, FILE_NAME, Source, Stack};

/// How long nothing may have changed before it is looked at: an editor, or a checkout, writes more than once.
const QUIET: Duration = Duration::from_millis(200);
/// Folders in which others write all the time, and which are no source.
const NOISY: [&str; 5] = [".git", ".scalectl", "__pycache__", ".venv", "node_modules"];

/// What a stack is made from: its files, and the sources of its services.
pub struct Watch {
    source: Source,
    /// Build folders and their Dockerfiles, of the last valid stack.
    builds: BTreeSet<(PathBuf, PathBuf)>,
    /// Watches as long as it lives.
    watcher: notify::RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    events: UnboundedReceiver<()>,
}

/// A state of what a stack is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State(blake3::Hash);

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// When the system watches no more files.
    pub fn new(source: Source) -> Result<Self> {
        let (send, events) = unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error is a reason to look, too: events may have been lost.
            if event.map_or(true, |event| concerns(&event)) {
                // Nobody listens any more when the command ends.
                let _ = send.send(());
            }
        });
        let watcher = watcher.context("cannot watch files")?;
        let mut watch = Self { source, builds: BTreeSet::new(), watcher, watched: BTreeSet::new(), events };
        let folder = watch.source.directory.clone();
        watch.add(&folder)?;
        Ok(watch)
    }

    /// The state of everything now. A stack that is not valid has one too.
    ///
    /// # Errors
    ///
    /// When the system watches no more files.
    pub fn state(&mut self) -> Result<State> {
        if let Ok(stack) = stack::load(&self.source) {
            self.builds = builds(&stack);
            for (context, _) in self.builds.clone() {
                self.add(&context)?;
            }
        }
        let mut hasher = blake3::Hasher::new();
        for file in files(&self.source) {
            // What is not there is a state as well.
            let bytes = std::fs::read(&file).unwrap_or_else(|e| e.kind().to_string().into_bytes());
            hasher.update(blake3::hash(&bytes).as_bytes());
        }
        for (context, dockerfile) in &self.builds {
            let text = source::hash(context, dockerfile).map_or_else(|e| e.to_string(), |hash| hash.to_string());
            hasher.update(blake3::hash(text.as_bytes()).as_bytes());
        }
        Ok(State(hasher.finalize()))
    }

    /// Waits until there is another state than this one, and it has been quiet for a moment.
    ///
    /// # Errors
    ///
    /// When the system watches no more files.
    pub async fn changed(&mut self, from: &State) -> Result<()> {
        loop {
            if &self.state()? != from {
                return Ok(());
            }
            if self.events.recv().await.is_none() {
                return std::future::pending().await;
            }
            while tokio::time::timeout(QUIET, self.events.recv()).await.is_ok_and(|event| event.is_some()) {}
        }
    }

    fn add(&mut self, folder: &Path) -> Result<()> {
        let folder = folder.canonicalize().with_context(|| format!("cannot watch {}", folder.display()))?;
        if self.watched.iter().any(|known| folder.starts_with(known)) {
            return Ok(());
        }
        let watched = self.watcher.watch(&folder, RecursiveMode::Recursive);
        watched.with_context(|| format!("cannot watch {}", folder.display()))?;
        self.watched.insert(folder);
        Ok(())
    }
}

/// Whether something may have changed that belongs to a stack.
fn concerns(event: &notify::Event) -> bool {
    let noisy = |path: &PathBuf| {
        path.components().any(|part| matches!(part, Component::Normal(name) if NOISY.iter().any(|n| name == *n)))
    };
    !event.kind.is_access() && !event.paths.iter().all(noisy)
}

/// The files that describe a stack.
fn files(source: &Source) -> Vec<PathBuf> {
    let given = source.files.iter().map(|file| source.directory.join(file));
    let mut files: Vec<_> = given.collect();
    if files.is_empty() {
        files.push(source.directory.join(FILE_NAME));
    }
    files.push(source.directory.join(DOT_ENV));
    files
}

/// Services without a build folder on the local engine are built from the project's.
fn builds(stack: &Stack) -> BTreeSet<(PathBuf, PathBuf)> {
    let builds = stack.services.values().filter_map(|service| service.build.as_ref());
    builds.map(|build| (stack.root.join(&build.context), build.dockerfile.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn project() -> (tempfile::TempDir, Watch) {
        let folder = tempfile::tempdir().unwrap();
        let text = "[project]\nname = \"shop\"\n[services.api]\nbuild = \".\"\ncommand = [\"true\"]\nport = 8000\n";
        fs::write(folder.path().join(FILE_NAME), text).unwrap();
        fs::write(folder.path().join("app.py"), "1").unwrap();
        let watch = Watch::new(Source::directory(folder.path())).unwrap();
        (folder, watch)
    }

    #[test]
    fn the_state_is_that_of_the_source_the_stack_and_its_secrets() {
        let (folder, mut watch) = project();
        let mut states = vec![watch.state().unwrap()];
        for (file, text) in [("app.py", "2"), (FILE_NAME, "broken"), ("app.py", "3"), (DOT_ENV, "A=1")] {
            fs::write(folder.path().join(file), text).unwrap();
            let state = watch.state().unwrap();
            assert!(!states.contains(&state), "{file}");
            states.push(state);
        }
        fs::create_dir(folder.path().join(".scalectl")).unwrap();
        fs::write(folder.path().join(".scalectl/log"), "x").unwrap();
        assert_eq!(&watch.state().unwrap(), states.last().unwrap());
    }

    #[tokio::test]
    async fn a_write_wakes_it_and_one_that_changes_nothing_does_not() {
        let (folder, mut watch) = project();
        let state = watch.state().unwrap();
        fs::write(folder.path().join("app.py"), "1").unwrap();
        let same = tokio::time::timeout(Duration::from_millis(600), watch.changed(&state)).await;
        assert!(same.is_err(), "nothing changed");
        fs::write(folder.path().join("app.py"), "2").unwrap();
        tokio::time::timeout(Duration::from_secs(60), watch.changed(&state)).await.unwrap().unwrap();
    }
}
