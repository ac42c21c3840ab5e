//! The JSON Schema of `scalectl.toml`, from the types that parse it.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::model::Stack;

/// Name of the schema: a URN, because nothing is to be fetched from it.
pub const SCHEMA_ID: &str = "urn:scalectl:stack:1";

/// The schema, in the dialect 2020-12.
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Stack>();
    schema.insert("$id".to_owned(), SCHEMA_ID.into());
    schema.insert("title".to_owned(), "scalectl.toml".into());
    schema.to_value()
}
