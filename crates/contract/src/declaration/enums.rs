//! Enumerations as generators read them: `enum`, not alternatives of one constant each.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// Rewrites every enumeration in a schema, and replaces a union of one alternative by the alternative.
pub(super) fn simplify(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                // These hold values, not schemas.
                if !matches!(name.as_str(), "default" | "enum" | "examples" | "mapping") {
                    simplify(member);
                }
            }
            if let Some(text @ Value::String(_)) = members.get("const").cloned() {
                members.remove("const");
                members.insert("type".to_owned(), "string".into());
                members.insert("enum".to_owned(), json!([text]));
            }
            merge(members);
        }
        _ => {}
    }
}

fn merge(members: &mut Map<String, Value>) {
    let Some(Value::Array(alternatives)) = members.get("oneOf") else { return };
    let alternatives = alternatives.clone();
    if let [Value::Object(only)] = &*alternatives
        && only.get("$ref").is_none()
    {
        members.remove("oneOf");
        for (name, member) in only {
            members.entry(name.clone()).or_insert_with(|| member.clone());
        }
        return;
    }
    let mut values = vec![];
    let mut description = String::new();
    for alternative in &alternatives {
        let Some(Value::Array(named)) = alternative.get("enum") else { return };
        values.extend(named.iter().cloned());
        if let (Some(about), Some(name)) = (alternative["description"].as_str(), named[0].as_str()) {
            // Writing to a string does not fail.
            let _ = write!(description, "\n- `{name}`: {about}");
        }
    }
    members.remove("oneOf");
    members.insert("type".to_owned(), "string".into());
    members.insert("enum".to_owned(), values.into());
    let about = members.get("description").and_then(Value::as_str).unwrap_or_default();
    let description =
        if description.is_empty() { about.to_owned() } else { format!("{about}\n{description}") };
    members.insert("description".to_owned(), description.trim().into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_become_enumerations() {
        let mut schema = json!({
            "properties": {
                "one": { "const": "a" },
                "either": {
                    "description": "Which.",
                    "oneOf": [
                        { "type": "string", "const": "a", "description": "The first." },
                        { "type": "string", "const": "b", "description": "The second." },
                    ],
                },
                "single": { "oneOf": [{ "type": "object", "properties": { "kind": { "const": "x" } } }] },
                "union": { "oneOf": [{ "$ref": "#/a" }, { "$ref": "#/b" }] },
            },
            "examples": [{ "const": "x" }],
        });
        simplify(&mut schema);
        let expected = json!({
            "properties": {
                "one": { "type": "string", "enum": ["a"] },
                "either": {
                    "type": "string",
                    "enum": ["a", "b"],
                    "description": "Which.\n\n- `a`: The first.\n- `b`: The second.",
                },
                "single": { "type": "object", "properties": { "kind": { "type": "string", "enum": ["x"] } } },
                "union": { "oneOf": [{ "$ref": "#/a" }, { "$ref": "#/b" }] },
            },
            "examples": [{ "const": "x" }],
        });
        assert_eq!(schema, expected);
    }
}
