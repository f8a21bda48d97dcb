//! Checks the model's function calls before anything is executed: the agent has the function, and its arguments are an
//! object that fits the function's parameters.

use serde_json::{Map, Value};
use switchboard_dialogue::FunctionCall;
use switchboard_model::agents::Tool;

/// Maximum length of a call's arguments, in bytes.
const MAX_ARGUMENTS_BYTES: usize = 16 * 1024;

/// A call that is not executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadCall {
    /// For the event log, in words that are ours or the agent's.
    pub(crate) fault: String,
    /// For the model, which can do better then.
    pub(crate) told: String,
}

/// Checks a call.
///
/// # Errors
/// The call is not to be executed.
pub(crate) fn check(tools: &[Tool], call: &FunctionCall) -> Result<(), BadCall> {
    let Some(tool) = tools.iter().find(|tool| tool.function.name == call.name) else {
        let names: Vec<&str> = tools.iter().map(|tool| &*tool.function.name).collect();
        let told = if names.is_empty() {
            "nothing was done: there are no functions to call".to_owned()
        } else {
            format!("nothing was done: there is no such function; there are {}", names.join(", "))
        };
        return Err(BadCall { fault: "it called a function that the agent does not have".to_owned(), told });
    };
    let name = &tool.function.name;
    let bad = |problem: &str| BadCall {
        fault: format!("it called {name} with invalid arguments: {problem}"),
        told: format!("nothing was done: {problem}"),
    };
    if call.arguments.len() > MAX_ARGUMENTS_BYTES {
        return Err(bad("they are too long"));
    }
    let Ok(Value::Object(arguments)) = serde_json::from_str(&call.arguments) else {
        return Err(bad("they are not a whole JSON object"));
    };
    match tool.function.parameters.as_ref().and_then(|schema| mismatch(schema, &arguments)) {
        Some(problem) => Err(bad(&problem)),
        None => Ok(()),
    }
}

/// The first argument that is missing, or whose type is not the schema's. The names are the schema's. Only what every
/// model can be held to is checked: `required`, `type` and `enum` of the object's own members.
fn mismatch(schema: &Map<String, Value>, arguments: &Map<String, Value>) -> Option<String> {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let required: Vec<&str> = required.filter_map(Value::as_str).collect();
    if let Some(missing) = required.iter().find(|name| !arguments.contains_key(**name)) {
        return Some(format!("{missing} is missing"));
    }
    let properties = schema.get("properties").and_then(Value::as_object)?;
    for (name, property) in properties {
        let Some(argument) = arguments.get(name) else { continue };
        // Models write null for what they leave out.
        if argument.is_null() && !required.contains(&name.as_str()) {
            continue;
        }
        if !has_type(&property["type"], argument) {
            return Some(format!("{name} has the wrong type"));
        }
        if property["enum"].as_array().is_some_and(|values| !values.contains(argument)) {
            return Some(format!("{name} is none of the allowed values"));
        }
    }
    None
}

/// Whether a value has the type, or one of the types. Types that this version does not know fit everything.
fn has_type(expected: &Value, value: &Value) -> bool {
    match expected {
        Value::Array(types) => types.iter().any(|one| has_type(one, value)),
        Value::String(one) => match one.as_str() {
            "string" => value.is_string(),
            "number" => value.is_number(),
            "integer" => {
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            _ => true,
        },
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use switchboard_model::agents::{Function, ToolKind};

    use super::*;

    fn told(name: &str, arguments: &str) -> Result<(), String> {
        let Value::Object(parameters) = json!({
            "type": "object",
            "properties": {
                "kind": {"type": "string", "enum": ["apple", "plum"]},
                "count": {"type": "integer"},
                "note": {"type": ["string", "null"]},
                "when": {},
            },
            "required": ["kind"],
        }) else {
            panic!("an object")
        };
        let function =
            |name: &str, parameters| Function { name: name.to_owned(), description: None, parameters };
        let tool = |function| Tool { kind: ToolKind::Function, function };
        let tools = [tool(function("order", Some(parameters))), tool(function("end_call", None))];
        let call = FunctionCall {
            id: "a".into(),
            name: name.into(),
            arguments: arguments.into(),
            provider_state: None,
        };
        check(&tools, &call).map_err(|bad| bad.told)
    }

    #[test]
    fn a_call_that_fits_is_executed() {
        for arguments in [
            r#"{"kind": "apple"}"#,
            r#"{"kind": "plum", "count": 2.0, "note": null, "when": 7, "more": true}"#,
            r#"{"kind": "plum", "count": null}"#,
        ] {
            assert_eq!(told("order", arguments), Ok(()), "{arguments}");
        }
        assert_eq!(told("end_call", "{}"), Ok(()));
    }

    #[test]
    fn a_call_that_does_not_fit_is_explained_to_the_model() {
        for (name, arguments, expected) in [
            ("transfer", "{}", "there is no such function; there are order, end_call"),
            ("order", r#"{"kind":"apple","count":1"#, "they are not a whole JSON object"),
            ("order", "", "they are not a whole JSON object"),
            ("order", "[]", "they are not a whole JSON object"),
            ("order", "{}", "kind is missing"),
            ("order", r#"{"kind": 1}"#, "kind has the wrong type"),
            ("order", r#"{"kind": null}"#, "kind has the wrong type"),
            ("order", r#"{"kind": "pear"}"#, "kind is none of the allowed values"),
            ("order", r#"{"kind": "plum", "count": "2"}"#, "count has the wrong type"),
        ] {
            let expected = format!("nothing was done: {expected}");
            assert_eq!(told(name, arguments), Err(expected), "{arguments}");
        }
        let long = format!(r#"{{"kind": "plum", "note": "{}"}}"#, "x".repeat(MAX_ARGUMENTS_BYTES));
        assert!(told("order", &long).is_err());
    }
}
