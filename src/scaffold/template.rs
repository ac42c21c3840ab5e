//! A template: its manifest and its files.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry};
use serde::Deserialize;
use walkdir::WalkDir;

use super::ScaffoldError;
use super::leftovers::is_leftover;
use crate::units::Name;

/// The file that makes a folder a template.
pub const MANIFEST: &str = "template.toml";

/// What `template.toml` says about a template.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the template.
    pub name: Name,
    /// One line for lists.
    pub description: String,
    /// Language of the rendered project: `python`, `node`, `rust`, or another word.
    pub language: String,
    /// The optional parts.
    #[serde(default)]
    pub features: Vec<Feature>,
    /// Names that a project of this template cannot have, such as those of its own dependencies.
    #[serde(default)]
    pub reserved: Vec<String>,
}

/// An optional part of a template.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Name; files ask for it as `with.NAME`.
    pub name: String,
    /// One line for lists and questions.
    pub description: String,
    /// Whether it is chosen when nobody says otherwise.
    #[serde(default)]
    pub default: bool,
    /// Paths of files or folders of the rendered project that exist only with this feature.
    #[serde(default)]
    pub files: Vec<PathBuf>,
}

/// A file of a template, before rendering.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Path inside the template.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Cow<'static, [u8]>,
}

/// A template: its manifest and its files, in the order of their paths.
#[derive(Debug, Clone)]
pub struct Template {
    /// What it says about itself.
    pub manifest: Manifest,
    /// Its files without the manifest.
    pub files: Vec<SourceFile>,
}

impl Template {
    /// Reads a template from a folder; what development left behind there is not part of it.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read, or its manifest is missing or wrong.
    pub fn from_folder(folder: &Path) -> Result<Self, ScaffoldError> {
        let text = fs::read_to_string(folder.join(MANIFEST)).map_err(|error| {
            not_a_template(
                folder,
                match error.kind() {
                    std::io::ErrorKind::NotFound if folder.is_dir() => format!("it has no {MANIFEST}"),
                    std::io::ErrorKind::NotFound => "there is no such folder".to_owned(),
                    _ => error.to_string(),
                },
            )
        })?;
        let manifest = parse_manifest(&text).map_err(|reason| not_a_template(folder, reason))?;
        let mut files = Vec::new();
        let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
        for entry in walk.into_iter().filter_entry(|e| e.depth() == 0 || !is_leftover(e.file_name())) {
            let entry = entry.map_err(|error| not_a_template(folder, error.to_string()))?;
            let path = entry.path().strip_prefix(folder).unwrap_or(entry.path()).to_owned();
            if entry.file_type().is_file() && path != Path::new(MANIFEST) {
                let bytes = fs::read(entry.path()).map_err(ScaffoldError::io("read", entry.path()))?;
                files.push(SourceFile { path, bytes: bytes.into() });
            }
        }
        Ok(Self { manifest, files })
    }

    /// Reads a template from a folder inside the binary.
    ///
    /// # Errors
    ///
    /// When its manifest is missing or wrong: a mistake in the binary.
    pub fn from_embedded(folder: &'static Dir<'static>) -> Result<Self, ScaffoldError> {
        let text = folder.get_file(folder.path().join(MANIFEST)).and_then(|file| file.contents_utf8());
        let text = text.ok_or_else(|| not_a_template(folder.path(), format!("it has no {MANIFEST}")))?;
        let manifest = parse_manifest(text).map_err(|reason| not_a_template(folder.path(), reason))?;
        let mut files = Vec::new();
        collect(folder, folder.path(), &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { manifest, files })
    }
}

fn not_a_template(path: &Path, reason: impl Into<String>) -> ScaffoldError {
    ScaffoldError::NotATemplate { path: path.to_owned(), reason: reason.into() }
}

fn parse_manifest(text: &str) -> Result<Manifest, String> {
    let manifest: Manifest =
        toml::from_str(text).map_err(|error| format!("{MANIFEST}: {}", error.to_string().trim_end()))?;
    match manifest.features.iter().find(|feature| !is_identifier(&feature.name)) {
        Some(feature) => Err(format!(
            "{MANIFEST}: feature \"{}\": expected lower-case letters, digits and underscores, because files ask for with.NAME",
            feature.name
        )),
        None => Ok(manifest),
    }
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text != "none"
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn collect(folder: &'static Dir<'static>, root: &Path, files: &mut Vec<SourceFile>) {
    for entry in folder.entries() {
        match entry {
            DirEntry::Dir(inner) => collect(inner, root, files),
            DirEntry::File(file) => {
                let path = file.path().strip_prefix(root).unwrap_or(file.path());
                if path != Path::new(MANIFEST) {
                    files.push(SourceFile { path: path.to_owned(), bytes: Cow::Borrowed(file.contents()) });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_manifest_is_no_template() {
        let folder = tempfile::tempdir().unwrap();
        let error = Template::from_folder(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("is not a template: it has no template.toml"), "{error}");
        let error = Template::from_folder(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.to_string().ends_with("there is no such folder"), "{error}");
    }

    #[test]
    fn a_feature_that_no_file_could_ask_for_is_refused() {
        let text = "name = \"t\"\ndescription = \"d\"\nlanguage = \"python\"\n[[features]]\nname = \"a-b\"\ndescription = \"\"\n";
        assert!(parse_manifest(text).unwrap_err().contains("\"a-b\""));
        assert!(parse_manifest("name = \"t\"\nextra = 1\n").unwrap_err().contains("extra"));
    }

    #[test]
    fn leftovers_in_a_folder_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(MANIFEST, "name = \"t\"\ndescription = \"d\"\nlanguage = \"python\"\n");
        write("app/main.py", "");
        write("app/__pycache__/main.pyc", "x");
        write(".venv/bin/python", "x");
        let template = Template::from_folder(folder.path()).unwrap();
        let paths: Vec<_> = template.files.iter().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["app/main.py"]);
    }
}
