//! What a process or container is given: its variables, the secret ones apart, and digests of what it is made from.

use std::collections::BTreeMap;

use crate::stack::EnvValue;

/// Variables, the secret ones apart.
#[derive(Default)]
pub struct Variables {
    /// What everybody may see.
    pub plain: BTreeMap<String, String>,
    /// What only the process may see.
    pub secret: BTreeMap<String, String>,
}

impl Variables {
    /// Sets a variable, whatever it was before.
    pub fn set(&mut self, variable: &str, value: &EnvValue) {
        let (into, other) =
            if value.secret { (&mut self.secret, &mut self.plain) } else { (&mut self.plain, &mut self.secret) };
        into.insert(variable.to_owned(), value.text.clone());
        other.remove(variable);
    }
}

/// The hash of a rendered configuration.
pub fn hash(value: &serde_json::Value) -> String {
    short(blake3::hash(value.to_string().as_bytes()))
}

/// The keyed digest of secrets by name: without the key nobody can try passwords against it.
pub fn keyed_digest<'t>(key: &[u8; 32], texts: impl IntoIterator<Item = (&'t str, &'t str)>) -> String {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for (name, text) in texts {
        hasher.update(name.as_bytes()).update(&[0]).update(text.as_bytes()).update(&[0]);
    }
    short(hasher.finalize())
}

fn short(hash: blake3::Hash) -> String {
    hash.to_hex()[..16].to_owned()
}
