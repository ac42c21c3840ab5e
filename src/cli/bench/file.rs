//! A run described in a file of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::bench::{Config, Slo, Workload};
use crate::error::Failure;
use crate::units::{Name, TimeSpan};

/// A bench file: the `[bench.NAME]` tables of a `scalectl.toml`, and beside them what the flags say of a run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchFile {
    /// Folder in which the paths in it begin.
    #[serde(skip)]
    folder: PathBuf,
    /// Its own path, for messages.
    #[serde(skip)]
    path: PathBuf,
    /// URL that is loaded.
    target: Option<String>,
    /// Headers of every request that has none of that name.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    slo: Vec<String>,
    connections: Option<u32>,
    threads: Option<u32>,
    timeout: Option<TimeSpan>,
    grace: Option<TimeSpan>,
    seed: Option<u64>,
    #[serde(default)]
    insecure: bool,
    bench: BTreeMap<Name, Workload>,
}

impl BenchFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no bench file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
        Self::parse(&text, path)
    }

    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    ///
    /// It is no bench file.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let mut file: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            Failure::usage(format!("{shown}:{line}: {}", error.message().trim()))
                .hint("a bench file has a target, and [bench.default] tables as in scalectl.toml")
        })?;
        file.folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        file.path = path.to_path_buf();
        Ok(file)
    }

    /// The URL that is loaded, if it says so.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// Takes all that it says into a run, with the workload of this name, or `default`.
    ///
    /// # Errors
    ///
    /// There is no such workload, or an objective is none.
    pub fn apply(&self, config: &mut Config, workload: Option<&Name>) -> Result<(), Failure> {
        let shown = self.path.display();
        let name = workload.map_or("default", Name::as_str);
        let mut workload = self.bench.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = self.bench.keys().map(Name::as_str).collect();
            Failure::usage(format!("{shown} has no [bench.{name}]")).hint(format!("there are: {}", known.join(", ")))
        })?;
        workload.begin_paths_at(&self.folder);
        config.apply(&workload);
        if config.requests.is_empty() && config.flows.is_empty() {
            config.requests = vec![crate::bench::RequestSpec::get(&config.target.path)];
        }
        let steps = config.flows.iter_mut().flat_map(|flow| &mut flow.steps);
        for request in config.requests.iter_mut().chain(steps) {
            for (name, value) in &self.headers {
                if !request.headers.keys().any(|own| own.eq_ignore_ascii_case(name)) {
                    request.headers.insert(name.clone(), value.clone());
                }
            }
        }
        for text in &self.slo {
            let slo: Slo = text
                .parse()
                .map_err(|error: crate::bench::SloError| Failure::usage(format!("{shown}: slo: {error}")))?;
            config.slos.push(slo);
        }
        config.connections = self.connections.or(config.connections);
        config.threads = self.threads.or(config.threads);
        config.timeout = self.timeout.unwrap_or(config.timeout);
        config.grace = self.grace.or(config.grace);
        config.seed = self.seed.unwrap_or(config.seed);
        config.insecure |= self.insecure;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::invariants::sendable;

    /// What is looked for by fuzzing, of what it begins with.
    #[test]
    fn every_request_of_the_seeds_can_be_sent() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
        let seeds: Vec<_> = fs::read_dir(folder.join("seeds/workload")).unwrap().map(|f| f.unwrap().path()).collect();
        assert!(!seeds.is_empty());
        for seed in seeds {
            let files = folder.join("files");
            let file = BenchFile::parse(&fs::read_to_string(&seed).unwrap(), &files.join("bench.toml"))
                .unwrap_or_else(|failure| panic!("{}: {failure:?}", seed.display()));
            let mut config = Config::new(file.target().unwrap_or("http://localhost:1/").parse().unwrap());
            file.apply(&mut config, None).unwrap();
            assert!(config.check().is_ok() && config.mix().is_ok(), "{}: {:?}", seed.display(), config.mix().err());
            sendable(&config, &files);
        }
    }
}
