//! What working on a template leaves behind in its folder. It is never part of the template.
//!
//! The build script uses this file too, so it depends on nothing of the crate.

use std::ffi::OsStr;

const NAMES: [&str; 13] = [
    ".coverage",
    ".DS_Store",
    ".git",
    ".hypothesis",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".scalectl",
    ".venv",
    "__pycache__",
    "htmlcov",
    "node_modules",
    "target",
];

const SUFFIXES: [&str; 6] = [".db", ".db-shm", ".db-wal", ".egg-info", ".pyc", ".swp"];

/// Whether a file or folder of this name is a leftover of development.
pub fn is_leftover(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    NAMES.contains(&name.as_ref()) || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_leftovers_and_sources_are_not() {
        for name in ["__pycache__", ".venv", "app.db", "app.db-wal", "main.pyc"] {
            assert!(is_leftover(OsStr::new(name)), "{name}");
        }
        for name in [".env.tera", ".gitignore", "db.py", ".dockerignore", "targets.json"] {
            assert!(!is_leftover(OsStr::new(name)), "{name}");
        }
    }
}
