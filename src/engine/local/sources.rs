//! What the services of a stack are built from: the hash of each source, and the environment that it needs.

use std::collections::btree_map::{BTreeMap, Entry};
use std::path::Path;

use super::environment::{self, Environment};
use crate::engine::source;
use crate::error::Failure;
use crate::stack::{Runtime, Stack};
use crate::units::Name;

/// What was found, by service.
#[derive(Default)]
pub struct Sources {
    /// The environment that each runs in.
    pub environments: BTreeMap<Name, Environment>,
    /// The hash of each source.
    pub hashes: BTreeMap<Name, String>,
    /// How environments are prepared, by their key.
    pub recipes: BTreeMap<String, environment::Plan>,
}

impl Sources {
    /// Looks at every source once: services that are built from the same folder share hash and environment.
    ///
    /// # Errors
    ///
    /// When a source cannot be read, or its runtime is missing on this machine.
    pub fn look(stack: &Stack) -> Result<Self, Failure> {
        let host = environment::Host::from_process()?;
        let mut found = Self::default();
        let mut seen: BTreeMap<(&Path, &Path, Runtime), (Environment, String)> = BTreeMap::new();
        for (name, service) in &stack.services {
            let Some(build) = &service.build else { continue };
            let folder = stack.root.join(&build.context);
            let runtime = service.runtime.unwrap_or(Runtime::None);
            let (environment, hash) = match seen.entry((&build.context, &build.dockerfile, runtime)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(free) => {
                    let hash = source::hash(&folder, &build.dockerfile)?.to_string();
                    let recipe = environment::plan(runtime, &folder, || Ok(hash.clone()), &host)?;
                    let environment = recipe.environment();
                    if !recipe.key().is_empty() {
                        found.recipes.insert(recipe.key().to_owned(), recipe);
                    }
                    free.insert((environment, hash))
                }
            };
            found.environments.insert(name.clone(), environment.clone());
            found.hashes.insert(name.clone(), hash.clone());
        }
        Ok(found)
    }
}
