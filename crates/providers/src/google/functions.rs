//! Functions on the wire: their names, and their parameters in the part of JSON Schema that Gemini takes.
//!
//! Pure. What Gemini does not take of a schema is left out, which makes the schema wider: the worker checks arguments
//! itself.

use serde_json::{Map, Value, json};
use switchboard_model::agents::Tool;

/// The keywords of `parametersJsonSchema`, by the shape of their values.
const PLAIN: [&str; 14] = [
    "$anchor",
    "$id",
    "$ref",
    "description",
    "enum",
    "format",
    "maxItems",
    "maximum",
    "minItems",
    "minimum",
    "propertyOrdering",
    "required",
    "title",
    "type",
];
const SCHEMA: [&str; 2] = ["additionalProperties", "items"];
const LISTS_OF_SCHEMAS: [&str; 3] = ["anyOf", "oneOf", "prefixItems"];
const NAMED_SCHEMAS: [&str; 2] = ["$defs", "properties"];

/// The declaration of a function.
pub(super) fn declaration(tool: &Tool) -> Value {
    let function = &tool.function;
    let mut wire = json!({ "name": wire_name(&function.name) });
    if let Some(description) = &function.description {
        wire["description"] = json!(description);
    }
    if let Some(schema) = function.parameters.as_ref().and_then(parameters) {
        wire["parametersJsonSchema"] = schema;
    }
    wire
}

/// The name of a function on the wire, where none begins with a digit.
pub(super) fn wire_name(own: &str) -> String {
    let begins_with_digit = own.starts_with(|first: char| first.is_ascii_digit());
    if begins_with_digit { format!("_{own}") } else { own.to_owned() }
}

/// The agent's name of a function that the model calls.
pub(super) fn own_name(tools: &[Tool], wire: String) -> String {
    let own = tools.iter().find(|tool| wire_name(&tool.function.name) == wire);
    own.map_or(wire, |tool| tool.function.name.clone())
}

/// The schema of a function with these parameters; none if it takes none, for which the vendor wants no schema.
fn parameters(schema: &Map<String, Value>) -> Option<Value> {
    let mut taken = taken(schema);
    taken.entry("type").or_insert_with(|| json!("object"));
    let has_properties =
        taken.get("properties").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
    let is_object = taken["type"] == "object";
    (has_properties || !is_object).then_some(Value::Object(taken))
}

/// The depth is bounded: parameters are refused beyond 32 levels when the agent is stored.
fn taken(schema: &Map<String, Value>) -> Map<String, Value> {
    let mut wire = Map::new();
    for (keyword, value) in schema {
        let name = keyword.as_str();
        let value = match value {
            _ if PLAIN.contains(&name) => value.clone(),
            _ if SCHEMA.contains(&name) => within(value),
            Value::Array(all) if LISTS_OF_SCHEMAS.contains(&name) => all.iter().map(within).collect(),
            Value::Object(all) if NAMED_SCHEMAS.contains(&name) => {
                Value::Object(all.iter().map(|(name, schema)| (name.clone(), within(schema))).collect())
            }
            value if name == "const" => {
                wire.insert("enum".into(), json!([value]));
                continue;
            }
            _ => continue,
        };
        wire.insert(keyword.clone(), value);
    }
    wire
}

fn within(schema: &Value) -> Value {
    match schema {
        Value::Object(schema) => Value::Object(taken(schema)),
        // `true` and `false` are schemas.
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(schema: Value) -> Option<Value> {
        let Value::Object(schema) = schema else { panic!("no object") };
        parameters(&schema)
    }

    #[test]
    fn unknown_keywords_are_left_out_at_every_depth() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "properties": {
                "pattern": {"type": "string", "pattern": "^a", "description": "A name."},
                "days": {"type": "array", "items": {"const": "Monday", "examples": ["x"]}, "uniqueItems": true},
                "either": {"anyOf": [{"type": "null"}, {"type": "integer", "multipleOf": 2}]},
            },
            "required": ["pattern"], "additionalProperties": false, "not": {},
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "pattern": {"type": "string", "description": "A name."},
                "days": {"type": "array", "items": {"enum": ["Monday"]}},
                "either": {"anyOf": [{"type": "null"}, {"type": "integer"}]},
            },
            "required": ["pattern"], "additionalProperties": false,
        });
        assert_eq!(wire(schema), Some(expected));
    }

    #[test]
    fn a_function_without_parameters_has_no_schema() {
        assert_eq!(wire(json!({})), None);
        assert_eq!(wire(json!({"type": "object", "properties": {}})), None);
        let schema = json!({"properties": {"a": {}}});
        assert_eq!(wire(schema), Some(json!({"type": "object", "properties": {"a": {}}})));
    }
}
