//! The schemas of what goes in and out, taken from the types that are read and written.
//!
//! A type's schema says what is shown: every field is there. What is taken is more lenient, and derived
//! from that: whatever has a default or may be null may be left out, and null stands for the default.
//! Such a schema is named like the type, with `Input` behind.

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::examples;

/// Where the document keeps its schemas.
const PLACE: &str = "#/components/schemas/";

/// Of a union by `provider`, the alternative that is meant when none is named.
const DEFAULT_PROVIDERS: [(&str, &str); 3] =
    [("Voice", "playht"), ("LanguageModel", "openai"), ("Transcriber", "deepgram")];

/// Schemas that were asked for, and those they refer to.
pub(super) struct Schemas {
    generator: SchemaGenerator,
    /// Those that something is read by.
    inputs: BTreeMap<String, Value>,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { generator: settings.into_generator(), inputs: BTreeMap::new() }
    }

    /// What is shown as a `T`.
    pub(super) fn answer<T: JsonSchema>(&mut self) -> Value {
        self.generator.subschema_for::<T>().into()
    }

    /// What is taken for a `T`.
    pub(super) fn input<T: JsonSchema>(&mut self) -> Value {
        let mut schema = self.answer::<T>();
        self.refer_to_inputs(&mut schema);
        schema
    }

    /// All of them, by name.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        let shown = self.generator.take_definitions(true);
        let mut all: Map<String, Value> = shown.into_iter().chain(self.inputs).collect();
        all.values_mut().for_each(examples::add);
        all
    }

    /// Points every reference to an object at its lenient form.
    fn refer_to_inputs(&mut self, schema: &mut Value) {
        match schema {
            Value::Array(items) => items.iter_mut().for_each(|item| self.refer_to_inputs(item)),
            Value::Object(members) => {
                for (name, member) in members.iter_mut() {
                    // These hold values, not schemas.
                    if !matches!(name.as_str(), "default" | "const" | "enum" | "examples") {
                        self.refer_to_inputs(member);
                    }
                }
                let Some(Value::String(reference)) = members.get_mut("$ref") else { return };
                if let Some(name) = reference.strip_prefix(PLACE).filter(|name| !name.ends_with("Input")) {
                    let input = self.input_name(name);
                    *reference = format!("{PLACE}{input}");
                }
            }
            _ => {}
        }
    }

    fn input_name(&mut self, name: &str) -> String {
        let input = format!("{name}Input");
        if self.inputs.contains_key(&input) {
            return input;
        }
        let Some(shown) = self.generator.definitions().get(name).cloned() else { return name.to_owned() };
        if !has_properties(&shown) {
            return name.to_owned();
        }
        // Noted before it is made, in case it refers to itself.
        self.inputs.insert(input.clone(), Value::Null);
        let mut schema = shown;
        self.refer_to_inputs(&mut schema);
        soften(&mut schema);
        if let Some((_, provider)) = DEFAULT_PROVIDERS.iter().find(|(union, _)| *union == name) {
            default_provider(&mut schema, provider);
        }
        self.inputs.insert(input.clone(), schema);
        input
    }
}

fn has_properties(schema: &Value) -> bool {
    let alternatives =
        ["oneOf", "anyOf", "allOf"].iter().filter_map(|name| schema[name].as_array()).flatten();
    schema.get("properties").is_some() || alternatives.into_iter().any(has_properties)
}

/// Whatever has a default or may be null may be left out, or be null.
fn soften(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(soften),
        Value::Object(members) => {
            members.values_mut().for_each(soften);
            let Some(Value::Object(properties)) = members.get_mut("properties") else { return };
            let mut optional = vec![];
            for (name, property) in properties.iter_mut() {
                let is_nullable = may_be_null(property);
                if is_nullable || property.get("default").is_some() {
                    optional.push(name.clone());
                }
                if !is_nullable && property.get("default").is_some() {
                    *property = nullable(property.take());
                }
            }
            if let Some(Value::Array(required)) = members.get_mut("required") {
                required.retain(|name| !optional.iter().any(|other| name == other));
                if required.is_empty() {
                    members.remove("required");
                }
            }
        }
        _ => {}
    }
}

fn may_be_null(schema: &Value) -> bool {
    let is_null = |schema: &Value| schema["type"] == "null";
    schema["type"].as_array().is_some_and(|types| types.contains(&json!("null")))
        || schema["anyOf"].as_array().is_some_and(|alternatives| alternatives.iter().any(is_null))
}

/// The same or null; what is said of the property stays outside.
fn nullable(mut schema: Value) -> Value {
    let mut outside = Map::new();
    if let Value::Object(members) = &mut schema {
        for name in ["default", "description", "examples"] {
            outside.extend(members.remove_entry(name));
        }
    }
    outside.insert("anyOf".into(), json!([schema, { "type": "null" }]));
    Value::Object(outside)
}

fn default_provider(schema: &mut Value, provider: &str) {
    for alternative in schema["oneOf"].as_array_mut().into_iter().flatten() {
        if alternative["properties"]["provider"]["const"] == provider {
            alternative["properties"]["provider"] = json!({ "enum": [provider, null], "default": provider });
            if let Some(required) = alternative["required"].as_array_mut() {
                required.retain(|name| name != "provider");
            }
        }
    }
}
