//! The catalog's texts, filled for one backing service of a stack: templates first, then variables.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Serialize;
use tera::{Context, Tera};

use super::{Resolved, container, resolve};
use crate::error::Failure;
use crate::stack::{EnvValue, FillError, Stack, fill};
use crate::units::Name;

/// What a template sees of something that listens.
#[derive(Debug, Serialize)]
struct Listener<'a> {
    name: &'a Name,
    port: u16,
}

/// Knows the value of a variable.
pub(super) type Lookup<'a> = dyn Fn(&str) -> Option<EnvValue> + 'a;

/// The variables of a backing service: those of its section, then `.env` and the environment. An empty value is none:
/// that is what a `.env.example` is copied with, and no server takes an empty password.
pub(super) fn lookup<'a>(stack: &'a Stack, resolved: &'a Resolved<'_>) -> Box<Lookup<'a>> {
    let own = stack.backing.get(resolved.name).map(|section| &section.env);
    Box::new(move |name| {
        let value = own.and_then(|env| env.get(name).cloned()).or_else(|| stack.variables().lookup(name));
        value.filter(|value| !value.text.is_empty())
    })
}

/// The variable for want of which a text cannot be filled.
pub(super) fn missing(text: &str, lookup: &Lookup<'_>) -> Option<String> {
    match fill(text, lookup) {
        Err(FillError::Undefined(name)) => Some(name),
        _ => None,
    }
}

/// How a value is written in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// As it is.
    Plain,
    /// Between quotes of a configuration file, whose rules for escapes differ: what would need one is refused.
    Quoted,
    /// As a part of a URL, every reserved character as `%XX` (RFC 3986 §2.1).
    Url,
}

/// Fills the catalog's texts for one backing service.
pub(super) struct Filler<'a> {
    name: &'a Name,
    title: &'a str,
    context: Context,
    lookup: Box<Lookup<'a>>,
}

impl<'a> Filler<'a> {
    pub(super) fn new(stack: &'a Stack, resolved: &'a Resolved<'_>) -> Self {
        Self {
            name: resolved.name,
            title: &resolved.entry.title,
            context: context(stack, resolved),
            lookup: lookup(stack, resolved),
        }
    }

    /// The same, seen from another place than its network.
    pub(super) fn at(mut self, host: &str, port: u16) -> Self {
        self.context.insert("host", host);
        self.context.insert("port", &port);
        self
    }

    /// A text with its template rendered and its variables replaced.
    pub(super) fn fill(&self, text: &str, format: Format) -> Result<EnvValue, Failure> {
        let rendered = self.rendered(text)?;
        let unfit = RefCell::new(None);
        let lookup = |name: &str| {
            let value = (self.lookup)(name)?;
            let text = written(&value.text, format).unwrap_or_else(|| {
                unfit.borrow_mut().get_or_insert_with(|| name.to_owned());
                String::new()
            });
            Some(EnvValue { text, ..value })
        };
        let filled = fill(&rendered, &lookup).map_err(|error| self.failure(error))?;
        match unfit.into_inner() {
            Some(name) => Err(self.unfit(&name)),
            None => Ok(filled),
        }
    }

    /// As [`Filler::fill`], for a text that cannot hold a secret.
    pub(super) fn fill_plain(&self, text: &str) -> Result<String, Failure> {
        self.fill(text, Format::Plain).map(|value| value.text)
    }

    fn rendered(&self, text: &str) -> Result<String, Failure> {
        let mut tera = Tera::default();
        tera.autoescape_on(Vec::<&str>::new());
        tera.add_raw_template("text", text).and_then(|()| tera.render("text", &self.context)).map_err(|error| {
            Failure::failed(format!("the catalog's entry for {} is wrong", self.title)).because(error.to_string())
        })
    }

    fn failure(&self, error: FillError) -> Failure {
        match error {
            FillError::Undefined(name) => {
                let what = format!(
                    "backing.{}: {} needs {name}, found none in .env or in the environment",
                    self.name, self.title
                );
                Failure::usage(what).hint(format!("set {name} in .env"))
            }
            FillError::Syntax(found) => Failure::failed(format!("the catalog's entry for {} is wrong", self.title))
                .because(format!("expected ${{NAME}} or ${{NAME:-default}}, found {found}")),
        }
    }

    fn unfit(&self, variable: &str) -> Failure {
        let what = format!(
            "backing.{}: {variable} has a character that {}'s configuration file cannot hold",
            self.name, self.title
        );
        Failure::usage(what)
            .hint("use no quotes, backslashes or line breaks in it; letters, digits, - and _ always work")
    }
}

/// A value as a format writes it; none if it cannot.
fn written(value: &str, format: Format) -> Option<String> {
    match format {
        Format::Plain => Some(value.to_owned()),
        Format::Quoted => {
            let fits = |c: char| !c.is_control() && !matches!(c, '"' | '\'' | '\\');
            value.chars().all(fits).then(|| value.to_owned())
        }
        Format::Url => Some(percent_encoding::utf8_percent_encode(value, RESERVED).to_string()),
    }
}

/// Everything but the unreserved characters of RFC 3986 §2.3.
const RESERVED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn context(stack: &Stack, resolved: &Resolved<'_>) -> Context {
    let section = stack.backing.get(resolved.name);
    let entry = resolved.entry;
    let image = container::image(stack, resolved);
    let most = section.and_then(|section| section.max_connections).or(entry.max_connections);
    let memory = container::resources(stack, resolved).and_then(|resources| resources.memory);
    let mut context = Context::new();
    context.insert("host", resolved.name);
    context.insert("port", &container::port(stack, resolved));
    context.insert("files", container::FILES);
    context.insert("major", &container::major(image).or_else(|| container::major(&entry.image)).unwrap_or_default());
    context.insert("memory", &memory.map_or(0, |memory| memory.0));
    context.insert("max_connections", &most.unwrap_or_default());
    context.insert("reserve", &section.and_then(|section| section.reserve).unwrap_or(entry.reserve));
    context.insert("services", &services(stack));
    context.insert("backing", &backing(stack));
    context
}

fn services(stack: &Stack) -> Vec<Listener<'_>> {
    let with_port = stack.services.iter().filter_map(|(name, service)| Some((name, service.port?.0)));
    with_port.map(|(name, port)| Listener { name, port }).collect()
}

/// The backing services that run here, by kind.
fn backing(stack: &Stack) -> BTreeMap<&str, Vec<Listener<'_>>> {
    let mut by_kind: BTreeMap<&str, Vec<Listener<'_>>> = BTreeMap::new();
    for resolved in resolve(stack).into_values().filter(|resolved| resolved.external.is_none()) {
        let Some((name, section)) = stack.backing.get_key_value(resolved.name) else { continue };
        let kind = section.kind.as_ref().unwrap_or(name).as_str();
        let listener = Listener { name, port: container::port(stack, &resolved) };
        by_kind.entry(kind).or_default().push(listener);
    }
    by_kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_as_its_text_asks_for() {
        let password = "p@ss/w:rd#1%";
        assert_eq!(written(password, Format::Plain).as_deref(), Some(password));
        assert_eq!(written(password, Format::Quoted).as_deref(), Some(password));
        assert_eq!(written(password, Format::Url).as_deref(), Some("p%40ss%2Fw%3Ard%231%25"));
        for unfit in ["a\"b", "a'b", "a\\b", "a\nb"] {
            assert_eq!(written(unfit, Format::Quoted), None, "{unfit:?}");
        }
    }
}
