//! Declarations of functions, and the part of JSON Schema that the API takes.

use serde_json::{Map, Value};

use super::refusal::{Refusal, known};

/// Longest name of a function.
const MAX_NAME: usize = 64;

/// The keywords that the API documents for schemas in JSON. What else it does not document is refused here.
const KEYWORDS: [&str; 20] = [
    "$anchor",
    "$defs",
    "$id",
    "$ref",
    "additionalProperties",
    "anyOf",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maximum",
    "minItems",
    "minimum",
    "oneOf",
    "prefixItems",
    "properties",
    "propertyOrdering",
    "required",
    "title",
];

/// Checks a declaration. Returns the function's name.
pub(super) fn check_function(declaration: &Value, place: &str) -> Result<String, Refusal> {
    let empty = Map::new();
    let declaration = declaration.as_object().unwrap_or(&empty);
    let members = [
        "behavior",
        "description",
        "name",
        "parameters",
        "parametersJsonSchema",
        "response",
        "responseJsonSchema",
    ];
    known(declaration, &members, place)?;
    let name = declaration.get("name").and_then(Value::as_str).unwrap_or_default();
    let is_name = name.len() <= MAX_NAME
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte));
    if !is_name {
        return Err(Refusal::invalid(format!(
            "* GenerateContentRequest.{place}.name: [Invalid function name. Must start with a letter or an underscore. \
             Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum \
             length of {MAX_NAME}.]"
        )));
    }
    match (declaration.get("parameters"), declaration.get("parametersJsonSchema")) {
        (Some(_), Some(_)) => Err(Refusal::invalid(format!(
            "* GenerateContentRequest.{place}: only one of parameters and parameters_json_schema may be set."
        ))),
        (Some(schema), None) | (None, Some(schema)) => {
            let place = format!("{place}.parameters");
            if !schema["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("object")) {
                return Err(Refusal::invalid(format!(
                    "* GenerateContentRequest.{place}: should be of type OBJECT"
                )));
            }
            if declaration.contains_key("parameters")
                && schema["properties"].as_object().is_none_or(Map::is_empty)
            {
                let message = format!(
                    "* GenerateContentRequest.{place}.properties: should be non-empty for OBJECT type"
                );
                return Err(Refusal::invalid(message));
            }
            check_schema(schema, &place)
        }
        (None, None) => Ok(()),
    }?;
    Ok(name.to_owned())
}

/// Refuses keywords that are not documented, at any depth.
fn check_schema(schema: &Value, place: &str) -> Result<(), Refusal> {
    let Some(schema) = schema.as_object() else { return Ok(()) };
    let unknown = schema.keys().find(|name| *name != "type" && !KEYWORDS.contains(&name.as_str()));
    if let Some(name) = unknown {
        return Err(Refusal::unknown_name(name, place));
    }
    for (keyword, value) in schema {
        let place = format!("{place}.{keyword}");
        match (keyword.as_str(), value) {
            ("properties" | "$defs", Value::Object(named)) => {
                named.values().try_for_each(|schema| check_schema(schema, &place))?;
            }
            ("anyOf" | "oneOf" | "prefixItems", Value::Array(all)) => {
                all.iter().try_for_each(|schema| check_schema(schema, &place))?;
            }
            ("items" | "additionalProperties", schema) => check_schema(schema, &place)?,
            _ => {}
        }
    }
    Ok(())
}
