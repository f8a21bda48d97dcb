//! The schemas of one OpenAPI document.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};

use super::{
    definitions::{Form, PLACE},
    enums, examples,
    record::{Parameter, Record},
};

/// The schemas of the OpenAPI document: those that were asked for, and those they refer to.
pub struct Schemas(pub(super) SchemaGenerator);

impl Default for Schemas {
    fn default() -> Self {
        let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
            settings.definitions_path = PLACE.trim_start_matches('#').trim_end_matches('/').into();
            settings.meta_schema = None;
        });
        Self(settings.into_generator())
    }
}

impl Schemas {
    /// The schema of a view.
    pub fn view<T: JsonSchema>(&mut self) -> Value {
        self.0.subschema_for::<T>().into()
    }

    /// The schema of a request's body.
    pub(crate) fn input<'c, T: 'c>(&mut self, record: &Record<'c, T>) -> Value {
        record.schema(&mut self.0, Form::Input)
    }

    /// The schema of a body that changes something that is stored.
    pub(crate) fn update<'c, T: 'c>(&mut self, record: &Record<'c, T>) -> Value {
        record.schema(&mut self.0, Form::Update)
    }

    /// The parameters of a query.
    pub(crate) fn parameters<'c, T: 'c>(&mut self, query: &Record<'c, T>) -> Vec<Parameter> {
        query.parameters(&mut self.0)
    }

    /// All schemas, by name, with an example for every plain field.
    #[must_use]
    pub fn into_definitions(mut self) -> Map<String, Value> {
        let mut all = self.0.take_definitions(true);
        for (name, schema) in &mut all {
            enums::simplify(schema);
            examples::add(name, schema);
        }
        all
    }
}
