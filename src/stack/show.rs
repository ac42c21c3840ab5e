//! The resolved stack as data, for people and scripts to look at: complete, and without secrets.

use serde_json::{Map, Value};

use super::model::Stack;
use super::path::{KeyPath, Step};
use super::secret::MASK;
use crate::backing;

impl Stack {
    /// The stack with everything that the catalog adds and with its secrets masked.
    ///
    /// # Errors
    ///
    /// A value that JSON cannot hold; no stack file has one.
    pub fn shown(&self) -> Result<Value, serde_json::Error> {
        let mut complete = self.clone();
        for (name, resolved) in backing::resolve(self) {
            let Some(section) = complete.backing.get_mut(&name) else { continue };
            let entry = resolved.entry;
            section.kind.get_or_insert_with(|| name.clone());
            section.image.get_or_insert_with(|| entry.image.clone());
            section.port.get_or_insert(super::Port(entry.port));
            section.max_connections = section.max_connections.or(entry.max_connections);
            section.reserve = section.reserve.or(section.max_connections.map(|_| entry.reserve));
        }
        let mut value = serde_json::to_value(&complete)?;
        for path in &self.secret_paths {
            if let Some(secret) = at(&mut value, path) {
                *secret = Value::String(MASK.to_owned());
            }
        }
        Ok(value)
    }

    /// The shown stack as a stack file: `$` is written so that it stands for itself.
    ///
    /// # Errors
    ///
    /// A value that TOML cannot hold; no stack file has one.
    pub fn shown_toml(&self) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let mut value = self.shown()?;
        tidy(&mut value);
        Ok(toml::to_string(&value)?)
    }

    /// Whether the text at a path holds a secret.
    pub fn is_secret(&self, path: &KeyPath) -> bool {
        self.secret_paths.contains(path)
    }
}

fn at<'a>(value: &'a mut Value, path: &KeyPath) -> Option<&'a mut Value> {
    path.0.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })
}

/// Doubles the dollars and leaves out empty tables and arrays, but for the sections of backing services.
fn tidy(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace('$', "$$"),
        Value::Array(array) => array.iter_mut().for_each(tidy),
        Value::Object(object) => {
            object.values_mut().for_each(tidy);
            object
                .retain(|_, value| !value.as_object().is_some_and(Map::is_empty) && *value != Value::Array(Vec::new()));
        }
        _ => {}
    }
}
