//! Serde over the document's tree, with errors that know their path, what was expected and what was found.

use std::fmt;

use serde::de::{self, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor};

use super::document::{Node, Value};
use super::path::{KeyPath, Step};
use super::secret::{MASK, mask_found};

/// A value that is not what its key expects.
#[derive(Debug)]
pub(super) struct Error {
    /// From the innermost step outwards while the error rises; see [`Error::path`].
    steps: Vec<Step>,
    pub kind: Kind,
}

/// What is wrong with a value.
#[derive(Debug)]
pub(super) enum Kind {
    /// The value is not of the expected kind; the sentence says both.
    Invalid { message: String },
    /// A text that is none of the allowed ones.
    Choice { found: String, allowed: &'static [&'static str] },
    /// A key that the table does not have.
    UnknownKey { known: &'static [&'static str] },
    /// A required key that the table lacks.
    MissingKey { key: &'static str },
}

impl Error {
    fn new(kind: Kind) -> Self {
        Self { steps: Vec::new(), kind }
    }

    fn inside(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Takes the found value out of the message of a secret.
    fn masked(mut self) -> Self {
        match &mut self.kind {
            Kind::Invalid { message } => *message = mask_found(message),
            Kind::Choice { found, .. } => *found = MASK.to_owned(),
            Kind::UnknownKey { .. } | Kind::MissingKey { .. } => {}
        }
        self
    }

    /// The place of the value, from the top of the file.
    pub fn path(&self) -> KeyPath {
        KeyPath(self.steps.iter().rev().cloned().collect())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Invalid { message } => f.write_str(message),
            Kind::Choice { found, allowed } => {
                f.write_str("expected ")?;
                for (position, choice) in allowed.iter().enumerate() {
                    let separator = match position {
                        0 => "",
                        last if last + 1 == allowed.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{separator}\"{choice}\"")?;
                }
                write!(f, ", found \"{found}\"")
            }
            Kind::UnknownKey { .. } => f.write_str("unknown key"),
            Kind::MissingKey { key } => write!(f, "expected the key {key}, found none"),
        }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Kind::Invalid { message: message.to_string() })
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format!("expected {}, found {}", plain(&expected.to_string()), Found(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::custom(format!("expected {}, found {length} elements", plain(&expected.to_string())))
    }

    fn unknown_variant(found: &str, allowed: &'static [&'static str]) -> Self {
        Self::new(Kind::Choice { found: found.to_owned(), allowed })
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownKey { known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Kind::MissingKey { key })
    }
}

/// Serde's names of Rust types in the words of TOML.
fn plain(expected: &str) -> &str {
    match expected {
        "a string" | "str" | "path string" => "a string",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "i64" | "u64" | "usize" | "i32" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "a table",
        text if text.starts_with("struct ") => "a table",
        text if text.starts_with("enum ") => "a string",
        text => text,
    }
}

/// A value as an error shows it.
struct Found<'a>(Unexpected<'a>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Str(text) => write!(f, "{text:?}"),
            Unexpected::Signed(number) => write!(f, "{number}"),
            Unexpected::Unsigned(number) => write!(f, "{number}"),
            Unexpected::Float(number) => write!(f, "{number:?}"),
            Unexpected::Bool(truth) => write!(f, "{truth}"),
            Unexpected::Map => f.write_str("a table"),
            Unexpected::Seq => f.write_str("an array"),
            other => write!(f, "{other}"),
        }
    }
}

impl Node {
    fn visit<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Result<V::Value, Error> {
        let result = match &self.value {
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(truth) => visitor.visit_bool(*truth),
            Value::Array(array) => visitor.visit_seq(Elements { array, next: 0 }),
            Value::Table(table) => visitor.visit_map(Entries { entries: table.iter(), current: None }),
        };
        result.map_err(|error| if self.secret { error.masked() } else { error })
    }

    /// The number or truth value that an interpolated text stands for: `port = "${PORT:-8000}"`.
    fn coerced(&self) -> Option<Self> {
        let Value::String(text) = &self.value else { return None };
        if !self.interpolated {
            return None;
        }
        let text = text.trim();
        let value = text
            .parse()
            .map(Value::Integer)
            .or_else(|_| text.parse().map(Value::Boolean))
            .or_else(|_| text.parse().map(Value::Float))
            .ok()?;
        Some(Self { value, ..self.clone() })
    }
}

macro_rules! scalars {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.coerced() {
                Some(Node { value: Value::Integer(number), .. }) => visitor.visit_i64(number),
                Some(Node { value: Value::Boolean(truth), .. }) => visitor.visit_bool(truth),
                Some(Node { value: Value::Float(number), .. }) => visitor.visit_f64(number),
                _ => return self.visit(visitor),
            }
            .map_err(|error: Error| if self.secret { error.masked() } else { error })
        })*
    };
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit(visitor)
    }

    scalars! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::String(text) => {
                let text: de::value::StrDeserializer<'_, Error> = text.as_str().into_deserializer();
                visitor.visit_enum(text).map_err(|error| if self.secret { error.masked() } else { error })
            }
            _ => self.visit(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for &'de Node {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

struct Elements<'de> {
    array: &'de [Node],
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Elements<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let index = self.next;
        let Some(node) = self.array.get(index) else { return Ok(None) };
        self.next += 1;
        seed.deserialize(node).map(Some).map_err(|error| error.inside(Step::Index(index)))
    }
}

struct Entries<'de> {
    entries: std::collections::btree_map::Iter<'de, String, Node>,
    current: Option<(&'de str, &'de Node)>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, node)) = self.entries.next() else { return Ok(None) };
        self.current = Some((key, node));
        let deserializer: de::value::BorrowedStrDeserializer<'de, Error> = de::value::BorrowedStrDeserializer::new(key);
        seed.deserialize(deserializer).map(Some).map_err(|error| error.inside(Step::Key(key.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((key, node)) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(node).map_err(|error| error.inside(Step::Key(key.to_owned())))
    }
}
