//! The answers that a template needs: the project's name, and which optional parts it has.

use std::collections::BTreeSet;

use super::{Manifest, ScaffoldError};
use crate::units::Name;

/// How the optional parts were chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// As the template proposes.
    Defaults,
    /// Exactly these; `none` alone means no part at all.
    Exactly(Vec<String>),
    /// What the template proposes without these.
    Without(Vec<String>),
}

/// The chosen features, in the order of the manifest.
///
/// # Errors
///
/// When a feature is named that the template does not have.
pub fn choose(manifest: &Manifest, choice: &Choice) -> Result<Vec<String>, ScaffoldError> {
    let known: Vec<String> = manifest.features.iter().map(|feature| feature.name.clone()).collect();
    let named: BTreeSet<&str> = match choice {
        Choice::Defaults => BTreeSet::new(),
        Choice::Exactly(names) if names.iter().all(|name| name == "none") => BTreeSet::new(),
        Choice::Exactly(names) | Choice::Without(names) => names.iter().map(String::as_str).collect(),
    };
    if let Some(unknown) = named.iter().find(|name| !known.iter().any(|feature| feature == *name)) {
        return Err(ScaffoldError::UnknownFeature {
            template: manifest.name.clone(),
            feature: (*unknown).to_owned(),
            known,
        });
    }
    let chosen = |name: &str, default: bool| match choice {
        Choice::Defaults => default,
        Choice::Exactly(_) => named.contains(name),
        Choice::Without(_) => default && !named.contains(name),
    };
    Ok(manifest.features.iter().filter(|f| chosen(&f.name, f.default)).map(|f| f.name.clone()).collect())
}

/// Words that cargo refuses as a package's name: keywords, built-in crates, and folders of its own target folder.
/// Source: `cargo new`, `cargo::util::restricted_names`.
const RUST: [&str; 63] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
    "main",
    "bin",
    "union",
];

/// Names that npm refuses for a new package: modules that are part of Node.js, and two names of its own.
/// Source: `validate-npm-package-name`.
const NODE: [&str; 41] = [
    "assert",
    "buffer",
    "cluster",
    "console",
    "constants",
    "crypto",
    "dgram",
    "diagnostics-channel",
    "dns",
    "domain",
    "events",
    "fs",
    "http",
    "http2",
    "https",
    "inspector",
    "module",
    "net",
    "node-modules",
    "os",
    "path",
    "perf-hooks",
    "process",
    "punycode",
    "querystring",
    "readline",
    "repl",
    "sqlite",
    "stream",
    "string-decoder",
    "sys",
    "test",
    "timers",
    "tls",
    "tty",
    "url",
    "util",
    "v8",
    "vm",
    "wasi",
    "zlib",
];

/// Parses a project's name and refuses those that the template's language could not build.
///
/// A Python project may be called anything that a [`Name`] allows, because nothing imports it by that name.
///
/// # Errors
///
/// When the name breaks the rule, with the nearest one that does not.
pub fn check_name(text: &str, manifest: &Manifest) -> Result<Name, ScaffoldError> {
    let name: Name = text.parse().map_err(|error: crate::units::ParseError| ScaffoldError::Name {
        name: text.to_owned(),
        reason: format!("expected {}", error.expected),
        suggestion: Name::suggestion(text),
    })?;
    let refused = |reason: String| ScaffoldError::Name {
        name: text.to_owned(),
        reason,
        suggestion: Some(format!("my-{text}")).filter(|name| name.len() <= Name::MAX),
    };
    if manifest.reserved.iter().any(|reserved| reserved == text) {
        return Err(refused(format!("template {} uses that name for something else", manifest.name)));
    }
    match manifest.language.as_str() {
        "rust" if RUST.contains(&text) => Err(refused("it is reserved in Rust".to_owned())),
        "node" if NODE.contains(&text) => Err(refused("it is a module of Node.js".to_owned())),
        _ => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(language: &str) -> Manifest {
        toml::from_str(&format!(
            "name = \"t\"\ndescription = \"d\"\nlanguage = \"{language}\"\nreserved = [\"fastapi\"]\n\
             [[features]]\nname = \"postgres\"\ndescription = \"\"\ndefault = true\n\
             [[features]]\nname = \"grpc\"\ndescription = \"\"\n\
             [[features]]\nname = \"redis\"\ndescription = \"\"\ndefault = true\n"
        ))
        .unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn features_are_the_default_or_exactly_or_all_but() {
        let manifest = manifest("python");
        let chosen = |choice| choose(&manifest, &choice).unwrap();
        assert_eq!(chosen(Choice::Defaults), ["postgres", "redis"]);
        assert_eq!(chosen(Choice::Exactly(names(&["redis", "grpc"]))), ["grpc", "redis"]);
        assert!(chosen(Choice::Exactly(names(&["none"]))).is_empty());
        assert_eq!(chosen(Choice::Without(names(&["redis"]))), ["postgres"]);
    }

    #[test]
    fn an_unknown_feature_is_refused() {
        let error = choose(&manifest("python"), &Choice::Exactly(names(&["postgres", "redsi"]))).unwrap_err();
        assert_eq!(error.to_string(), "template t has no feature \"redsi\"");
        assert!(choose(&manifest("python"), &Choice::Exactly(names(&["none", "redis"]))).is_err());
    }

    #[test]
    fn names_are_refused_where_their_language_could_not_build_them() {
        assert!(check_name("test", &manifest("python")).is_ok());
        assert!(check_name("shop", &manifest("rust")).is_ok());
        for (name, language, suggestion) in [
            ("test", "rust", "my-test"),
            ("http", "node", "my-http"),
            ("fastapi", "python", "my-fastapi"),
            ("My Shop!", "python", "my-shop"),
        ] {
            match check_name(name, &manifest(language)) {
                Err(ScaffoldError::Name { suggestion: found, .. }) => assert_eq!(found.as_deref(), Some(suggestion)),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
