//! The JSON Schema of `scalectl.toml`, from the types that parse it.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::model::Stack;

/// Name of the schema: a URN, because nothing is to be fetched from it.
pub const SCHEMA_ID: &str = "urn:scalectl:stack:1";

/// A text with a variable in it stands for any value, because it is replaced before the value is read.
const VARIABLE: &str = r"\$\{";

/// The schema, in the dialect 2020-12.
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Stack>();
    schema.insert("$id".to_owned(), SCHEMA_ID.into());
    schema.insert("title".to_owned(), "scalectl.toml".into());
    let mut schema = schema.to_value();
    adapt(&mut schema);
    schema
}

/// Makes a schema of the types a schema of the file: TOML has no null, and `${VAR}` may stand for any value.
fn adapt(value: &mut Value) {
    match value {
        Value::Array(array) => array.iter_mut().for_each(adapt),
        Value::Object(object) => {
            without_null(object);
            object.values_mut().for_each(adapt);
            with_variables(object);
        }
        _ => {}
    }
}

/// `anyOf: [X, null]` and `type: [x, null]` become X: a key of a stack is there or not.
fn without_null(object: &mut Map<String, Value>) {
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else { return };
    choices.retain(|choice| *choice != json!({ "type": "null" }));
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        only.into_iter().for_each(|(key, value)| {
            object.entry(key).or_insert(value);
        });
    }
}

fn with_variables(object: &mut Map<String, Value>) {
    match object.get("type").and_then(Value::as_str) {
        Some("string") => {
            if let Some(Value::String(pattern)) = object.get_mut("pattern") {
                *pattern = format!("({pattern})|{VARIABLE}");
            }
        }
        Some("integer" | "number" | "boolean") => {
            let (about, constraint) = std::mem::take(object)
                .into_iter()
                .partition::<Map<String, Value>, _>(|(key, _)| matches!(key.as_str(), "description" | "default"));
            *object = about;
            object.insert("anyOf".to_owned(), json!([constraint, { "type": "string", "pattern": VARIABLE }]));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let document: Value = toml::from_str(text).unwrap();
        validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    #[test]
    fn the_example_of_the_design_conforms() {
        assert_eq!(errors(super::super::tests::SHOP), Vec::<String>::new());
    }

    #[test]
    fn a_resolved_stack_conforms() {
        let root = std::path::Path::new("/project");
        let stack = super::super::parse(super::super::tests::SHOP, root, super::super::Variables::default()).unwrap();
        assert_eq!(errors(&stack.shown_toml().unwrap()), Vec::<String>::new());
    }

    #[test]
    fn what_does_not_load_does_not_conform() {
        let valid = "[project]\nname = \"shop\"\n[services.api]\nimage = \"x\"\n";
        assert_eq!(errors(valid), Vec::<String>::new());
        for wrong in ["port = 0", "port = \"http\"", "replicas = 1001", "prot = 1", "command = \"x\"", "uses = [\"A\"]"]
        {
            assert_eq!(errors(&format!("{valid}{wrong}")).len(), 1, "{wrong}");
        }
        assert_eq!(errors("[services]\n").len(), 1, "the project is missing");
        assert!(!errors(&valid.replace("api", "Api")).is_empty(), "a section's name");
    }

    #[test]
    fn variables_may_stand_for_any_value() {
        let text = "[project]\nname = \"${NAME:-shop}\"\n[services.api]\nimage = \"x\"\nport = \"${PORT:-8000}\"\n\
                    replicas = \"${REPLICAS}\"\nstop_timeout = \"${TIMEOUT:-30s}\"\n";
        assert_eq!(errors(text), Vec::<String>::new());
    }

    #[test]
    fn no_value_of_a_stack_is_null() {
        assert!(!schema().to_string().contains("null"));
    }
}
