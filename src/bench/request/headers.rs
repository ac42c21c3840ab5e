//! Headers of a request, in the order in which they are sent. A name may stand more than once: then its headers stand
//! together, as a file has them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fields::{self, Values};

/// Headers. Names are compared whatever their case, and sent as they were given.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema)]
#[schemars(with = "BTreeMap<String, Values>")]
pub struct Headers(Vec<(String, String)>);

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
        fields::insert(&mut self.0, (name.into(), value.into()), str::eq_ignore_ascii_case);
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
        fields::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(fields::pairs(deserializer, "a table of headers")?.into_iter().collect())
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
