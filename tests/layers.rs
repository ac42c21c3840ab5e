//! The tables of what may use what, held against the sources.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// What each module may use; of the last rows of a table some may use all, or all that stand above them.
fn table(doc: &str) -> BTreeMap<String, BTreeSet<String>> {
    let name = Regex::new("`([a-z_]+)`").unwrap();
    let rows = doc.lines().filter_map(|line| line.strip_prefix("//! | ")).filter(|row| row.contains('`'));
    let mut allowed = BTreeMap::<String, BTreeSet<String>>::new();
    for row in rows {
        let cells: Vec<_> = row.trim_end_matches('|').split(" | ").collect();
        let [module, _, uses] = cells.as_slice() else { continue };
        let module = name.captures(module).unwrap()[1].to_owned();
        let uses = match uses.trim() {
            "all above" => allowed.keys().cloned().collect(),
            all if all.starts_with("all") => BTreeSet::from(["*".to_owned()]),
            some => name.captures_iter(some).map(|found| found[1].to_owned()).collect(),
        };
        allowed.insert(module, uses);
    }
    allowed
}

/// The sources below a folder, but for tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            found.extend(sources(&path));
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
    found
}

/// What is code, but for tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Holds the modules of a folder, which are called by paths that begin with `prefix`, against the table in `doc`.
fn hold(folder: &str, prefix: &str, doc: &str, free: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let allowed = table(&fs::read_to_string(root.join(doc)).unwrap());
    let plain = Regex::new(&format!("\\b{prefix}::([a-z_]+)")).unwrap();
    let grouped = Regex::new(&format!("\\b{prefix}::\\{{([^}}]*)\\}}")).unwrap();
    let beside = Regex::new("\\bsuper::([a-z_]+)::").unwrap();
    let first = Regex::new("([a-z_]+)::").unwrap();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in sources(&root) {
        let below = path.strip_prefix(&root).unwrap();
        let module = below.iter().next().unwrap().to_string_lossy().replace(".rs", "");
        if ["lib", "main", "mod"].contains(&module.as_str()) {
            continue;
        }
        let text = code(&path);
        let names = |regex: &Regex, text: &str| -> Vec<String> {
            regex.captures_iter(text).map(|found| found[1].to_owned()).collect()
        };
        let mut used = names(&plain, &text);
        names(&grouped, &text).iter().for_each(|group| used.extend(names(&first, group)));
        // What stands beside a module is called by its own root only.
        if below.components().count() == 1 || below.ends_with(format!("{module}/mod.rs")) {
            used.extend(names(&beside, &text));
        }
        let rules = allowed.get(&module).unwrap_or_else(|| panic!("{module} is in no row of {folder}/{doc}"));
        for other in used.into_iter().filter(|other| *other != module && allowed.contains_key(other)) {
            seen += 1;
            if !rules.contains("*") && !rules.contains(&other) && !free.contains(&other.as_str()) {
                wrong.push(format!("{} uses {other}", path.display()));
            }
        }
    }
    assert!(seen > 50, "{folder}: only {seen} uses found");
    assert!(wrong.is_empty(), "not in the table of {folder}/{doc}:\n{}", wrong.join("\n"));
}

#[test]
fn modules_use_what_the_map_of_the_code_says() {
    hold("src", "crate", "lib.rs", &["error", "units"]);
}

#[test]
fn parts_of_the_load_generator_use_what_its_layout_says() {
    hold("src/bench", "crate::bench", "mod.rs", &[]);
}
