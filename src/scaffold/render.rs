//! Template and answers in, the files of a project out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::distr::{Alphanumeric, Distribution};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tera::{Context, Kwargs, State, Tera, Value};

use super::{Manifest, ScaffoldError, SourceFile, Template};
use crate::units::Name;

/// The suffix of files that are rendered.
const SUFFIX: &str = ".tera";

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Read and written: 0644.
    Plain,
    /// Run: 0755.
    Executable,
    /// Read and written by its owner only: 0600.
    Secret,
}

impl Mode {
    /// The permission bits, before the umask.
    pub fn bits(self) -> u32 {
        match self {
            Self::Plain => 0o644,
            Self::Executable => 0o755,
            Self::Secret => 0o600,
        }
    }

    fn of(path: &Path, bytes: &[u8]) -> Self {
        if is_env(path) {
            Self::Secret
        } else if bytes.starts_with(b"#!") {
            Self::Executable
        } else {
            Self::Plain
        }
    }
}

/// Whether the file holds the project's secrets.
pub(super) fn is_env(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == ".env")
}

/// A file of a rendered project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedFile {
    /// Path inside the project.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Who may do what with it.
    pub mode: Mode,
}

/// Renders a project: the chosen `features` of `template` for a project of this `name`.
///
/// Two renderings differ in nothing but their secrets.
///
/// # Errors
///
/// When a file of the template is wrong, with Tera's report.
pub fn render(template: &Template, name: &Name, features: &[String]) -> Result<Vec<RenderedFile>, ScaffoldError> {
    let manifest = &template.manifest;
    let wanted = |file: &&SourceFile| belongs(manifest, features, &rendered_path(&file.path));
    let files: Vec<&SourceFile> = template.files.iter().filter(wanted).collect();
    let tera = load(manifest, &files)?;
    let context = context(manifest, name, features);
    files.into_iter().filter_map(|file| render_file(manifest, file, &tera, &context).transpose()).collect()
}

/// Whether a file is part of the project: the features that own it, if any, are chosen.
fn belongs(manifest: &Manifest, features: &[String], path: &Path) -> bool {
    manifest
        .features
        .iter()
        .filter(|feature| feature.files.iter().any(|owned| path.starts_with(owned)))
        .all(|feature| features.contains(&feature.name))
}

fn load(manifest: &Manifest, files: &[&SourceFile]) -> Result<Tera, ScaffoldError> {
    let mut tera = Tera::default();
    tera.autoescape_on(Vec::<&str>::new());
    tera.register_function("secret", |arguments: Kwargs, _: &State| -> tera::TeraResult<String> {
        Ok(secret(arguments.get::<u64>("length")?.unwrap_or(32) as usize))
    });
    tera.register_filter("json_encode", |value: &Value, _: Kwargs, _: &State| -> tera::TeraResult<String> {
        serde_json::to_string(value).map_err(|error| tera::Error::message(error.to_string()))
    });
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| is_rendered(&file.path)) {
        let text = std::str::from_utf8(&file.bytes)
            .map_err(|_| render_error(manifest, &file.path, "expected text in UTF-8"))?;
        sources.push((file.path.to_string_lossy(), text));
    }
    tera.add_raw_templates(sources).map_err(|error| {
        let file = named_in(&error).unwrap_or("a file").to_owned();
        render_error(manifest, Path::new(&file), error)
    })?;
    Ok(tera)
}

fn named_in(error: &tera::Error) -> Option<&str> {
    match error.kind() {
        tera::ErrorKind::SyntaxError(report) | tera::ErrorKind::RenderingError(report) => Some(report.filename()),
        _ => None,
    }
}

fn context(manifest: &Manifest, name: &Name, features: &[String]) -> Context {
    let with: BTreeMap<&str, bool> =
        manifest.features.iter().map(|f| (f.name.as_str(), features.contains(&f.name))).collect();
    let mut context = Context::new();
    context.insert("project", name.as_str());
    context.insert("with", &with);
    context.insert("features", features);
    context.insert("scalectl_version", env!("CARGO_PKG_VERSION"));
    context
}

fn render_file(
    manifest: &Manifest,
    file: &SourceFile,
    tera: &Tera,
    context: &Context,
) -> Result<Option<RenderedFile>, ScaffoldError> {
    let path = rendered_path(&file.path);
    let bytes = if is_rendered(&file.path) {
        let text = tera
            .render(&file.path.to_string_lossy(), context)
            .map_err(|error| render_error(manifest, &file.path, error))?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        text.into_bytes()
    } else {
        file.bytes.to_vec()
    };
    let mode = Mode::of(&path, &bytes);
    Ok(Some(RenderedFile { path, bytes, mode }))
}

fn render_error(manifest: &Manifest, file: &Path, report: impl ToString) -> ScaffoldError {
    ScaffoldError::Render {
        template: manifest.name.clone(),
        file: file.display().to_string(),
        report: report.to_string(),
    }
}

fn is_rendered(path: &Path) -> bool {
    path.to_string_lossy().ends_with(SUFFIX)
}

fn rendered_path(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    text.strip_suffix(SUFFIX).map_or_else(|| path.to_owned(), PathBuf::from)
}

/// A secret of letters and digits from the operating system's generator: 5.95 bits a character, safe in a URL and in
/// every shell.
pub fn secret(length: usize) -> String {
    Alphanumeric.sample_iter(UnwrapErr(SysRng)).take(length.min(1024)).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(files: &[(&str, &str)]) -> Template {
        let manifest = toml::from_str(
            "name = \"t\"\ndescription = \"d\"\nlanguage = \"python\"\n\
             [[features]]\nname = \"redis\"\ndescription = \"\"\ndefault = true\n\
             [[features]]\nname = \"grpc\"\ndescription = \"\"\nfiles = [\"app/grpc\"]\n",
        )
        .unwrap();
        let files = files
            .iter()
            .map(|(path, text)| SourceFile { path: path.into(), bytes: text.as_bytes().to_vec().into() })
            .collect();
        Template { manifest, files }
    }

    fn rendered(files: &[(&str, &str)], features: &[&str]) -> Vec<RenderedFile> {
        let features: Vec<String> = features.iter().map(|f| (*f).to_owned()).collect();
        render(&template(files), &"shop".parse().unwrap(), &features).unwrap()
    }

    #[test]
    fn only_tera_files_are_rendered_and_they_lose_their_suffix() {
        let files = rendered(&[("a.toml.tera", "name = \"{{ project }}\""), ("b.txt", "{{ project }}")], &[]);
        assert_eq!(files[0].path, Path::new("a.toml"));
        assert_eq!(files[0].bytes, b"name = \"shop\"");
        assert_eq!(files[1].bytes, b"{{ project }}");
    }

    #[test]
    fn features_are_seen_and_nothing_is_escaped() {
        let text =
            "{% if with.redis %}r{% endif %}{% if with.grpc %}g{% endif %} {{ features | json_encode }} {{ \"<'&>\" }}";
        assert_eq!(rendered(&[("a.html.tera", text)], &["redis"])[0].bytes, b"r [\"redis\"] <'&>");
    }

    #[test]
    fn a_file_that_renders_to_nothing_is_left_out() {
        let files = [("a.tera", "{% if with.grpc %}x{% endif %}\n"), ("__init__.py", "")];
        let paths: Vec<_> = rendered(&files, &[]).into_iter().map(|file| file.path).collect();
        assert_eq!(paths, [PathBuf::from("__init__.py")]);
    }

    #[test]
    fn files_of_a_feature_exist_only_with_it() {
        let files = [("app/grpc/server.py", ""), ("app/grpc.py", "")];
        assert_eq!(rendered(&files, &[]).len(), 1);
        assert_eq!(rendered(&files, &["grpc"]).len(), 2);
    }

    #[test]
    fn scripts_are_executable_and_secrets_private() {
        let files = [(".env.tera", "A=1"), (".env.example", "A="), ("run", "#!/bin/sh\n")];
        let modes: Vec<_> = rendered(&files, &[]).into_iter().map(|file| file.mode).collect();
        assert_eq!(modes, [Mode::Secret, Mode::Plain, Mode::Executable]);
    }

    #[test]
    fn secrets_are_long_url_safe_and_never_the_same() {
        let files = rendered(&[("a.tera", "{{ secret() }} {{ secret(length=48) }} {{ secret() }}")], &[]);
        let text = String::from_utf8(files[0].bytes.clone()).unwrap();
        let secrets: Vec<_> = text.split(' ').collect();
        assert_eq!(secrets.iter().map(|s| s.len()).collect::<Vec<_>>(), [32, 48, 32]);
        assert!(secrets.iter().all(|s| s.chars().all(|c| c.is_ascii_alphanumeric())));
        assert_ne!(secrets[0], secrets[2]);
    }

    #[test]
    fn a_mistake_in_a_template_names_file_and_place() {
        for text in ["{{ nobody }}", "{% if %}"] {
            let template = template(&[("app/a.py.tera", text)]);
            let error = render(&template, &"shop".parse().unwrap(), &[]).unwrap_err();
            assert_eq!(error.to_string(), "template t: app/a.py.tera could not be rendered");
            let ScaffoldError::Render { report, .. } = error else { panic!("{error:?}") };
            assert!(report.contains(text), "{report}");
        }
    }
}
