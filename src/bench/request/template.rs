//! Texts with generators and values, `/users/{{ zipf(1, 10000) }}`, `{{ users.email }}`: compiled once, rendered per
//! request.

use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Zipf};

use super::feed::Feeds;

/// What generators there are, as they are written.
pub const GENERATORS: [(&str, &str); 6] = [
    ("choice", "choice(red, \"light blue\"): one of these texts, all equally likely"),
    ("int", "int(1, 100): a whole number, all equally likely"),
    ("now", "now(): seconds since 1970; now(ms) milliseconds; now(rfc3339) like 2026-01-31T12:00:00.5Z"),
    ("seq", "seq(): the number of the request in the run, from 0; seq(1000) counts from 1000"),
    ("uuid", "uuid(): a random UUID (version 4)"),
    (
        "zipf",
        "zipf(1, 10000): a whole number, k-th most likely with weight 1/k; zipf(1, 10000, 0.8) with weight 1/k^0.8",
    ),
];

/// What may not stand in the target of a request as it is (RFC 3986), but for what divides it into parts: a value may be
/// several of them.
const TARGET: AsciiSet = CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'`').add(b'{').add(b'}');
/// What a form has as it is.
const FORM: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("\"{text}\": \"{{{{\" is not closed by \"}}}}\"")]
    Unclosed {
        /// The text.
        text: String,
    },
    /// Not of the form `name(arguments)`.
    #[error("\"{{{{ {found} }}}}\" is not a generator: expected a call like \"uuid()\" or \"int(1, 100)\"")]
    NotACall {
        /// What stands between the braces.
        found: String,
    },
    /// No generator of that name.
    #[error("there is no generator \"{name}\"{}", did_you_mean(name, GENERATORS.map(|(known, _)| known)))]
    Unknown {
        /// The name.
        name: String,
    },
    /// No value of that name.
    #[error("there is no value \"{name}\"{}", did_you_mean(name, known.iter().map(String::as_str)))]
    UnknownValue {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// Arguments that it does not take.
    #[error("generator {call}: {why}; write {usage}")]
    Arguments {
        /// What was written.
        call: String,
        /// What is wrong with it.
        why: String,
        /// How it is written.
        usage: &'static str,
    },
}

impl TemplateError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownValue { known, .. } if known.is_empty() => {
                "no feed has a column here, and no earlier step captures anything".to_owned()
            }
            Self::UnknownValue { known, .. } => format!("values are {}", known.join(", ")),
            _ => {
                let all = GENERATORS.map(|(_, usage)| usage.split(':').next().unwrap_or(usage)).join(", ");
                format!("generators are {all}")
            }
        }
    }
}

fn did_you_mean<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(score, _)| *score > 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| format!(", did you mean \"{known}\"?"))
        .unwrap_or_default()
}

/// A generator with its arguments.
#[derive(Debug, Clone)]
enum Generator {
    Choice(Vec<String>),
    Now(Now),
    Int { low: i64, high: i64 },
    Seq { first: u64 },
    Uuid,
    Zipf { low: i64, law: Zipf<f64> },
}

impl Generator {
    fn parse(call: &str) -> Result<Self, TemplateError> {
        let not_a_call = || TemplateError::NotACall { found: call.to_owned() };
        let (name, rest) = call.split_once('(').ok_or_else(not_a_call)?;
        let arguments = rest.strip_suffix(')').ok_or_else(not_a_call)?;
        let name = name.trim();
        let (_, usage) = GENERATORS
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| TemplateError::Unknown { name: name.to_owned() })?;
        let wrong = |why| TemplateError::Arguments { call: call.to_owned(), why, usage };
        let arguments = split(arguments).map_err(wrong)?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Self::with_arguments(name, &arguments).map_err(wrong)
    }

    fn with_arguments(name: &str, arguments: &[&str]) -> Result<Self, String> {
        match (name, arguments) {
            ("choice", [_, ..]) => Ok(Self::Choice(arguments.iter().map(|&text| text.to_owned()).collect())),
            ("now", []) => Ok(Self::Now(Now::Seconds)),
            ("now", ["ms"]) => Ok(Self::Now(Now::Milliseconds)),
            ("now", ["rfc3339"]) => Ok(Self::Now(Now::Rfc3339)),
            ("int", [low, high]) => {
                let (low, high) = range(low, high)?;
                Ok(Self::Int { low, high })
            }
            ("seq", []) => Ok(Self::Seq { first: 0 }),
            ("seq", [first]) => Ok(Self::Seq { first: whole(first)?.try_into().map_err(|_| "it is negative")? }),
            ("uuid", []) => Ok(Self::Uuid),
            ("zipf", [low, high]) => Self::zipf(low, high, 1.0),
            ("zipf", [low, high, exponent]) => {
                let exponent = exponent.parse().map_err(|_| format!("\"{exponent}\" is not a number"))?;
                Self::zipf(low, high, exponent)
            }
            _ => Err(format!("{} arguments are not what it takes", arguments.len())),
        }
    }

    fn zipf(low: &str, high: &str, exponent: f64) -> Result<Self, String> {
        let (low, high) = range(low, high)?;
        let size = high.checked_sub(low).and_then(|s| s.checked_add(1)).ok_or("the range is too wide")?;
        if !(exponent.is_finite() && exponent >= 0.0) {
            return Err("the exponent is below 0".to_owned());
        }
        let law = Zipf::new(size as f64, exponent).map_err(|e| e.to_string())?;
        Ok(Self::Zipf { low, law })
    }

    fn write(&self, escape: Escape, scope: &mut Scope<'_>, out: &mut Vec<u8>) {
        // Writing to a Vec does not fail.
        let _ = match self {
            Self::Choice(texts) => {
                escape.write(&texts[scope.rng.random_range(0..texts.len())], out);
                Ok(())
            }
            Self::Now(Now::Seconds) => write!(out, "{}", jiff::Timestamp::now().as_second()),
            Self::Now(Now::Milliseconds) => write!(out, "{}", jiff::Timestamp::now().as_millisecond()),
            Self::Now(Now::Rfc3339) => write!(out, "{}", jiff::Timestamp::now()),
            Self::Int { low, high } => write!(out, "{}", scope.rng.random_range(*low..=*high)),
            Self::Seq { first } => write!(out, "{}", first.wrapping_add(scope.n)),
            Self::Uuid => write!(out, "{}", uuid::Builder::from_random_bytes(scope.rng.random()).into_uuid()),
            Self::Zipf { low, law } => write!(out, "{}", low + law.sample(scope.rng) as i64 - 1),
        };
    }
}

/// How an instant is written.
#[derive(Debug, Clone, Copy)]
enum Now {
    Seconds,
    Milliseconds,
    Rfc3339,
}

/// Arguments at their commas; what stands in quotes may hold commas.
fn split(arguments: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut rest = arguments.trim();
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|first| ['"', '\''].contains(first));
        let argument = if let Some(quote) = quote {
            let (text, behind) = rest[1..].split_once(quote).ok_or("a quote is not closed")?;
            rest = behind.trim_start();
            text
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let text = rest[..end].trim();
            rest = &rest[end..];
            text
        };
        found.push(argument.to_owned());
        rest = match rest.strip_prefix(',') {
            Some(behind) => behind.trim_start(),
            None if rest.is_empty() => rest,
            None => return Err("a comma is missing between two arguments".to_owned()),
        };
    }
    Ok(found)
}

fn whole(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not a whole number"))
}

fn range(low: &str, high: &str) -> Result<(i64, i64), String> {
    let (low, high) = (whole(low)?, whole(high)?);
    if low <= high { Ok((low, high)) } else { Err(format!("the range from {low} to {high} is empty")) }
}

/// What has to be done to a value so that it is only a value where it is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// Nothing.
    Not,
    /// Path and query of a request: what may not stand there is percent-encoded.
    Target,
    /// Header: line ends and other control characters are left out.
    Header,
    /// Inside of a JSON text.
    Json,
    /// A form: everything but letters, digits and `-._*` is percent-encoded.
    Form,
}

impl Escape {
    fn write(self, text: &str, out: &mut Vec<u8>) {
        match self {
            Self::Not => out.extend_from_slice(text.as_bytes()),
            Self::Target => utf8_percent_encode(text, &TARGET).for_each(|part| out.extend_from_slice(part.as_bytes())),
            Self::Form => utf8_percent_encode(text, &FORM).for_each(|part| out.extend_from_slice(part.as_bytes())),
            Self::Header => out.extend(text.bytes().filter(|byte| *byte == b'\t' || !byte.is_ascii_control())),
            Self::Json => {
                for byte in text.bytes() {
                    match byte {
                        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                        // Writing to a Vec does not fail.
                        0..0x20 => drop(write!(out, "\\u{byte:04x}")),
                        _ => out.push(byte),
                    }
                }
            }
        }
    }
}

/// The values that a text may name.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// Feeds and their columns.
    pub feeds: &'a Feeds,
    /// What earlier steps of the flow captured.
    pub captured: &'a [String],
}

impl Names<'_> {
    fn find(&self, name: &str) -> Result<Segment, TemplateError> {
        if let Some(position) = self.captured.iter().position(|known| known == name) {
            return Ok(Segment::Captured(position));
        }
        if let Some((feed, column)) = self.feeds.find(name) {
            return Ok(Segment::Cell { feed, column });
        }
        if GENERATORS.iter().any(|(known, _)| *known == name) {
            return Err(TemplateError::NotACall { found: name.to_owned() });
        }
        let known = self.captured.iter().cloned().chain(self.feeds.names()).collect();
        Err(TemplateError::UnknownValue { name: name.to_owned(), known })
    }
}

/// What a text is rendered with.
#[derive(Debug)]
pub struct Scope<'a> {
    /// Number of the request in the run.
    pub n: u64,
    /// What it draws from.
    pub rng: &'a mut ChaCha8Rng,
    /// Feeds.
    pub feeds: &'a Feeds,
    /// What earlier steps of the flow captured.
    pub captured: &'a [String],
}

#[derive(Debug, Clone)]
enum Segment {
    Literal(Vec<u8>),
    Generator(Generator),
    /// A value of a feed.
    Cell {
        feed: usize,
        column: usize,
    },
    Captured(usize),
    /// A text of its own, which is encoded as a whole.
    Base64(Template),
}

/// A compiled text.
#[derive(Debug, Clone)]
pub struct Template {
    segments: Vec<Segment>,
    escape: Escape,
}

impl Template {
    /// Bytes as they are.
    pub fn bytes(bytes: Vec<u8>) -> Self {
        let segments = if bytes.is_empty() { Vec::new() } else { vec![Segment::Literal(bytes)] };
        Self { segments, escape: Escape::Not }
    }

    /// Nothing yet, for texts whose values are escaped in this way.
    pub fn empty(escape: Escape) -> Self {
        Self { segments: Vec::new(), escape }
    }

    /// Compiles a text whose values are escaped in this way; what stands around them is taken as it is.
    ///
    /// # Errors
    ///
    /// Unclosed braces, unknown generators or values, arguments that a generator does not take.
    pub fn compile(text: &str, names: Names<'_>, escape: Escape) -> Result<Self, TemplateError> {
        let mut segments = Vec::new();
        let mut rest = text;
        while let Some((literal, behind)) = rest.split_once("{{") {
            let (expression, next) =
                behind.split_once("}}").ok_or_else(|| TemplateError::Unclosed { text: text.to_owned() })?;
            if !literal.is_empty() {
                segments.push(Segment::Literal(literal.as_bytes().to_vec()));
            }
            // JSON has escaped the quotes of a call.
            let expression =
                if escape == Escape::Json { expression.replace("\\\"", "\"") } else { expression.to_owned() };
            let expression = expression.trim();
            segments.push(match expression.contains('(') {
                true => Segment::Generator(Generator::parse(expression)?),
                false => names.find(expression)?,
            });
            rest = next;
        }
        if !rest.is_empty() {
            segments.push(Segment::Literal(rest.as_bytes().to_vec()));
        }
        Ok(Self { segments, escape })
    }

    /// Compiles a text that is escaped as a whole, what stands around its values as well.
    ///
    /// # Errors
    ///
    /// As [`Self::compile`].
    pub fn compile_escaped(text: &str, names: Names<'_>, escape: Escape) -> Result<Self, TemplateError> {
        let mut template = Self::compile(text, names, escape)?;
        for segment in &mut template.segments {
            if let Segment::Literal(bytes) = segment {
                let text = String::from_utf8_lossy(bytes).into_owned();
                bytes.clear();
                escape.write(&text, bytes);
            }
        }
        Ok(template)
    }

    /// Appends another text, whose values are escaped as those of this one.
    pub fn append(&mut self, other: Self) {
        debug_assert!(self.escape == other.escape || other.constant().is_some(), "{other:?}");
        self.segments.extend(other.segments);
    }

    /// Appends another text, encoded (RFC 4648).
    pub fn append_in_base64(&mut self, other: Self) {
        self.segments.push(Segment::Base64(other));
    }

    /// The bytes, if they are the same for every request.
    pub fn constant(&self) -> Option<Vec<u8>> {
        let literal = |segment: &Segment| match segment {
            Segment::Literal(bytes) => Some(bytes.clone()),
            _ => None,
        };
        self.segments.iter().map(literal).collect::<Option<Vec<_>>>().map(|parts| parts.concat())
    }

    /// A value that the text begins with in some request, and that does not begin with `start`. What is captured is not
    /// known, and other generators give numbers.
    pub fn begins_without(&self, start: char, feeds: &Feeds) -> Option<String> {
        let is_wrong = |text: &&str| !text.starts_with(start);
        match self.segments.first()? {
            Segment::Generator(Generator::Choice(texts)) => texts.iter().map(String::as_str).find(is_wrong),
            Segment::Cell { feed, column } => feeds.column(*feed, *column).find(is_wrong),
            Segment::Literal(_) | Segment::Generator(_) | Segment::Captured(_) | Segment::Base64(_) => None,
        }
        .map(str::to_owned)
    }

    /// Whether nothing is ever rendered.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Appends the text of the request that `scope` is of.
    pub fn render(&self, scope: &mut Scope<'_>, out: &mut Vec<u8>) {
        for segment in &self.segments {
            match segment {
                Segment::Literal(bytes) => out.extend_from_slice(bytes),
                Segment::Generator(generator) => generator.write(self.escape, scope, out),
                Segment::Cell { feed, column } => self.escape.write(scope.feeds.cell(*feed, *column, scope.n), out),
                Segment::Captured(position) => {
                    let value = scope.captured.get(*position).map_or("", String::as_str);
                    self.escape.write(value, out);
                }
                Segment::Base64(template) => {
                    let mut text = Vec::new();
                    template.render(scope, &mut text);
                    out.extend_from_slice(BASE64_STANDARD.encode(&text).as_bytes());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
