//! Changes to a stack file that keep its comments and order.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml_edit::DocumentMut;

use super::model::Replicas;
use super::{FILE_NAME, Source};
use crate::error::Failure;
use crate::units::Name;

/// Why a stack file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It could not be read or written.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML.
    #[error("{}: {source}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Why.
        source: Box<toml_edit::TomlError>,
    },
    /// None of the files has the service.
    #[error("no stack file has a section [services.{0}]")]
    NoService(Name),
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        Self::failed(error.to_string())
    }
}

/// Writes a number of replicas into the file that says it now, or else into the one that has the service's section.
///
/// # Errors
///
/// When no file has the service, or the file cannot be read or written; then it is as it was.
pub fn save_replicas(source: &Source, service: &Name, replicas: Replicas) -> Result<(), EditError> {
    let files = match source.files.as_slice() {
        [] => vec![source.directory.join(FILE_NAME)],
        files => files.iter().map(|file| source.directory.join(file)).collect(),
    };
    let mut fallback = None;
    // Later files lie over earlier ones, so the last one that says it is the one that counts.
    for file in files.into_iter().rev() {
        let document = read(&file)?;
        let Some(section) = section(&document, service) else { continue };
        if section.contains_key("replicas") {
            return write(&file, document, service, replicas);
        }
        fallback.get_or_insert((file, document));
    }
    match fallback {
        Some((file, document)) => write(&file, document, service, replicas),
        None => Err(EditError::NoService(service.clone())),
    }
}

fn read(file: &Path) -> Result<DocumentMut, EditError> {
    let text = fs::read_to_string(file).map_err(|source| EditError::Io { file: file.to_owned(), source })?;
    text.parse().map_err(|source| EditError::Syntax { file: file.to_owned(), source: Box::new(source) })
}

fn section<'d>(document: &'d DocumentMut, service: &Name) -> Option<&'d dyn toml_edit::TableLike> {
    document.get("services")?.get(service.as_str())?.as_table_like()
}

fn write(file: &Path, mut document: DocumentMut, service: &Name, replicas: Replicas) -> Result<(), EditError> {
    let number = i64::from(replicas.0);
    let section =
        document.get_mut("services").and_then(|s| s.get_mut(service.as_str())).and_then(|s| s.as_table_like_mut());
    match section.and_then(|s| s.get_mut("replicas")).and_then(|item| item.as_value_mut()) {
        // The spaces and the comment around the old number belong to it.
        Some(old) => {
            let decor = old.decor().clone();
            *old = toml_edit::Value::from(number);
            *old.decor_mut() = decor;
        }
        None => document["services"][service.as_str()]["replicas"] = toml_edit::value(number),
    }
    let error = |source| EditError::Io { file: file.to_owned(), source };
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::Builder::new().prefix(".scalectl-").tempfile_in(folder).map_err(error)?;
    io::Write::write_all(&mut new, document.to_string().as_bytes()).map_err(error)?;
    let permissions = fs::metadata(file).map_err(error)?.permissions();
    new.as_file().set_permissions(permissions).map_err(error)?;
    new.persist(file).map_err(|e| error(e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_saved_where_it_stands_and_comments_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let text = "# a stack\n[services.api]\nreplicas = 3   # enough\nport = 8000\n\n[services.worker]\nport = 1\n";
        fs::write(&path, text).unwrap();
        let source = Source::directory(folder.path());
        save_replicas(&source, &"api".parse().unwrap(), Replicas(5)).unwrap();
        save_replicas(&source, &"worker".parse().unwrap(), Replicas(2)).unwrap();
        let saved = fs::read_to_string(&path).unwrap();
        assert_eq!(saved, text.replace("= 3 ", "= 5 ").replace("port = 1\n", "port = 1\nreplicas = 2\n"));
        let missing = save_replicas(&source, &"web".parse().unwrap(), Replicas(2)).unwrap_err();
        assert_eq!(missing.to_string(), "no stack file has a section [services.web]");
    }
}
