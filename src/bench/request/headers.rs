//! Headers of a request, in the order in which they are sent. A name may stand more than once: then its headers stand
//! together, as a file has them.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Headers. Names are compared whatever their case, and sent as they were given.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema)]
#[schemars(with = "BTreeMap<String, Values>")]
pub struct Headers(Vec<(String, String)>);

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, or a list of texts for a header that is sent more than once")]
enum Values {
    /// One header.
    One(String),
    /// As many headers of the same name.
    Several(Vec<String>),
}

impl Headers {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Names, as often as they stand.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// Whether one has this name.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// The values of a name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Adds one, behind those of the same name.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        let last = self.0.iter().rposition(|(own, _)| own.eq_ignore_ascii_case(&name));
        self.0.insert(last.map_or(self.0.len(), |last| last + 1), (name, value.into()));
    }

    /// Adds one instead of those of the same name.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.add(name, value);
    }

    /// Removes those of a name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
    }
}

impl FromIterator<(String, String)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let mut headers = Self::default();
        pairs.into_iter().for_each(|(name, value)| headers.add(name, value));
        headers
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut together: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, value) in self.iter() {
            match together.iter_mut().find(|(other, _)| *other == name) {
                Some((_, values)) => values.push(value),
                None => together.push((name, vec![value])),
            }
        }
        let mut map = serializer.serialize_map(Some(together.len()))?;
        for (name, values) in together {
            match values[..] {
                [value] => map.serialize_entry(name, value)?,
                _ => map.serialize_entry(name, &values)?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;

        impl<'de> Visitor<'de> for Map {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of headers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Headers::default();
                while let Some((name, values)) = map.next_entry::<String, Values>()? {
                    match values {
                        Values::One(value) => headers.add(name, value),
                        Values::Several(values) => values.into_iter().for_each(|value| headers.add(&*name, value)),
                    }
                }
                Ok(headers)
            }
        }

        deserializer.deserialize_map(Map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_twice_is_a_list_in_files() {
        let mut headers = Headers::default();
        headers.add("X-A", "1");
        headers.add("accept", "*/*");
        headers.add("X-A", "2");
        headers.add("x-a", "3");
        let text = toml::to_string(&headers).unwrap();
        assert_eq!(text, "X-A = [\"1\", \"2\"]\nx-a = \"3\"\naccept = \"*/*\"\n");
        let read: Headers = toml::from_str(&text).unwrap();
        assert_eq!(read.all("x-A").collect::<Vec<_>>(), ["1", "2", "3"]);
        assert_eq!(toml::to_string(&read).unwrap(), text);
        let error = toml::from_str::<Headers>("x-a = 1").unwrap_err().to_string();
        assert!(error.contains("a list of texts"), "{error}");
    }

    #[test]
    fn what_is_set_stands_alone() {
        let mut headers = Headers::default();
        headers.add("Connection", "keep-alive");
        headers.add("x-b", "1");
        headers.add("connection", "x");
        headers.set("connection", "close");
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("x-b", "1"), ("connection", "close")]);
    }
}
