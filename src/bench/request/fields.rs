//! Fields of a form, or parts of a body, in the order in which they are sent. A name may stand more than once: then its
//! fields stand together, as a file has them.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a name stands for in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, or a list of texts for what is sent more than once")]
pub(super) enum Values {
    /// One.
    One(String),
    /// As many of the same name.
    Several(Vec<String>),
}

/// Fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema)]
#[schemars(with = "BTreeMap<String, Values>")]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut String> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Adds one, behind those of the same name.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        insert(&mut self.0, (name.into(), value.into()), |one, other| one == other);
    }
}

impl FromIterator<(String, String)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let mut fields = Self::default();
        pairs.into_iter().for_each(|(name, value)| fields.add(name, value));
        fields
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(pairs(deserializer, "a table of fields")?.into_iter().collect())
    }
}

/// Puts a pair behind those of the same name.
pub(super) fn insert(pairs: &mut Vec<(String, String)>, pair: (String, String), is_same: impl Fn(&str, &str) -> bool) {
    let last = pairs.iter().rposition(|(own, _)| is_same(own, &pair.0));
    pairs.insert(last.map_or(pairs.len(), |last| last + 1), pair);
}

/// Writes pairs as a table; what stands twice is a list.
pub(super) fn serialize<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut together: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, value) in pairs {
        match together.iter_mut().find(|(other, _)| other == name) {
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

/// Reads what [`serialize`] writes.
pub(super) fn pairs<'de, D: Deserializer<'de>>(
    deserializer: D,
    what: &'static str,
) -> Result<Vec<(String, String)>, D::Error> {
    struct Map(&'static str);

    impl<'de> Visitor<'de> for Map {
        type Value = Vec<(String, String)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some((name, values)) = map.next_entry::<String, Values>()? {
                match values {
                    Values::One(value) => pairs.push((name, value)),
                    Values::Several(values) => pairs.extend(values.into_iter().map(|value| (name.clone(), value))),
                }
            }
            Ok(pairs)
        }
    }

    deserializer.deserialize_map(Map(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_those_of_a_name_stand_together() {
        let mut fields = Fields::default();
        for (name, value) in [("z", "1"), ("a", "2"), ("z", "3"), ("Z", "4")] {
            fields.add(name, value);
        }
        let text = toml::to_string(&fields).unwrap();
        assert_eq!(text, "z = [\"1\", \"3\"]\na = \"2\"\nZ = \"4\"\n");
        assert_eq!(toml::from_str::<Fields>(&text).unwrap(), fields);
        let error = toml::from_str::<Fields>("a = 1").unwrap_err().to_string();
        assert!(error.contains("a list of texts"), "{error}");
    }
}
