//! The templates that the binary carries.

use include_dir::{Dir, include_dir};

use super::{ScaffoldError, Template};

/// Copied there from `templates/` by the build script.
static TEMPLATES: Dir<'static> = include_dir!("$OUT_DIR/templates");

/// The template that is rendered when nobody says which.
pub const DEFAULT_TEMPLATE: &str = "fastapi";

/// All templates of the binary, by name.
///
/// # Errors
///
/// When one of them has no valid manifest: a mistake in the binary.
pub fn all() -> Result<Vec<Template>, ScaffoldError> {
    let mut templates = TEMPLATES.dirs().map(Template::from_embedded).collect::<Result<Vec<_>, _>>()?;
    templates.sort_by(|a, b| a.manifest.name.cmp(&b.manifest.name));
    Ok(templates)
}

/// The template of this name.
///
/// # Errors
///
/// When there is none; the error knows the names there are.
pub fn find(name: &str) -> Result<Template, ScaffoldError> {
    let templates = all()?;
    let known = templates.iter().map(|template| template.manifest.name.to_string()).collect();
    templates
        .into_iter()
        .find(|template| template.manifest.name.as_str() == name)
        .ok_or_else(|| ScaffoldError::UnknownTemplate { name: name.to_owned(), known })
}
