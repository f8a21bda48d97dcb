//! The type of a field: a reader and a schema that belong together.

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::definitions::Form;
use crate::validation::{Field, Read};

type Reader<'c, T> = Box<dyn Fn(&Field<'_>) -> Read<T> + 'c>;
type Describer<'c> = Box<dyn Fn(&mut SchemaGenerator, Form) -> Value + 'c>;

/// The type of a field: how it is read and what its schema is.
pub(crate) struct FieldType<'c, T> {
    reader: Reader<'c, T>,
    describer: Describer<'c>,
    pub(super) takes_null: bool,
}

impl<'c, T: 'c> FieldType<'c, T> {
    /// A type of its own.
    pub(crate) fn new(
        reader: impl Fn(&Field<'_>) -> Read<T> + 'c,
        describer: impl Fn(&mut SchemaGenerator, Form) -> Value + 'c,
    ) -> Self {
        Self { reader: Box::new(reader), describer: Box::new(describer), takes_null: false }
    }

    /// A type whose schema refers to no other.
    pub(crate) fn plain(reader: impl Fn(&Field<'_>) -> Read<T> + 'c, schema: Value) -> Self {
        Self::new(reader, move |_, _| schema.clone())
    }

    /// Reads a value of this type.
    pub(crate) fn read(&self, field: &Field<'_>) -> Read<T> {
        (self.reader)(field)
    }

    /// The schema of this type.
    pub(crate) fn schema(&self, generator: &mut SchemaGenerator, form: Form) -> Value {
        (self.describer)(generator, form)
    }

    /// The same type, with these keywords added to its schema.
    #[must_use]
    pub(crate) fn keywords(self, keywords: Value) -> Self {
        let Self { reader, describer, takes_null } = self;
        let describer = move |generator: &mut SchemaGenerator, form: Form| {
            let mut schema = describer(generator, form);
            if let (Value::Object(schema), Value::Object(keywords)) = (&mut schema, &keywords) {
                schema.extend(keywords.clone());
            }
            schema
        };
        Self { reader, describer: Box::new(describer), takes_null }
    }

    /// The same type, with another schema.
    #[must_use]
    pub(crate) fn shown_as(self, schema: Value) -> Self {
        Self { describer: Box::new(move |_, _| schema.clone()), ..self }
    }

    /// The same type, or null.
    #[must_use]
    pub(crate) fn nullable(self) -> FieldType<'c, Option<T>> {
        let Self { reader, describer, .. } = self;
        FieldType {
            reader: Box::new(
                move |field| {
                    if field.value().is_null() { Ok(None) } else { reader(field).map(Some) }
                },
            ),
            describer: Box::new(move |generator, form| or_null(describer(generator, form))),
            takes_null: true,
        }
    }
}

/// A schema that also takes null: `"type": [.., "null"]` where the schema is nothing but a type.
pub(super) fn or_null(mut schema: Value) -> Value {
    if takes_null(&schema) {
        return schema;
    }
    if let Some(Value::String(name)) = schema.get("type").filter(|_| schema.get("const").is_none()) {
        schema["type"] = json!([name, "null"]);
        return schema;
    }
    any_of_null(schema)
}

/// A schema that also takes null, as one of two alternatives.
pub(super) fn any_of_null(schema: Value) -> Value {
    if takes_null(&schema) {
        return schema;
    }
    Value::Object(Map::from_iter([("anyOf".to_owned(), json!([schema, { "type": "null" }]))]))
}

fn takes_null(schema: &Value) -> bool {
    let is_null = |schema: &Value| schema["type"] == "null";
    schema["type"].as_array().is_some_and(|types| types.contains(&json!("null")))
        || schema["anyOf"].as_array().is_some_and(|alternatives| alternatives.iter().any(is_null))
}
