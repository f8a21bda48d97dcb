//! The definitions of the OpenAPI document, by name.

use schemars::SchemaGenerator;
use serde_json::{Value, json};

/// The place of the schemas in the document.
pub(super) const PLACE: &str = "#/components/schemas/";

/// Which of the two schemas of a record is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The schema of an answer: every member is present.
    Shown,
    /// The schema of a request: a member that has a default, or that may be null, may be absent, and null stands
    /// for the default. Its name ends in `Input`.
    Input,
    /// The schema of a change to something that is stored: every member may be absent, and has no default. Its name
    /// ends in `Update`. The records inside are replaced as a whole, and have their [`Form::Input`].
    Update,
}

impl Form {
    /// The end of the name of a schema of this form.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Shown => "",
            Self::Input => "Input",
            Self::Update => "Update",
        }
    }

    /// The form of the records inside a record of this form.
    pub(super) fn inside(self) -> Self {
        match self {
            Self::Shown => Self::Shown,
            Self::Input | Self::Update => Self::Input,
        }
    }
}

/// Adds a schema to the definitions, unless one of this name is there, and refers to it.
pub(crate) fn define(
    generator: &mut SchemaGenerator,
    name: String,
    schema: impl FnOnce(&mut SchemaGenerator) -> Value,
) -> Value {
    let reference = reference(&name);
    if !generator.definitions().contains_key(&name) {
        let schema = schema(generator);
        generator.definitions_mut().insert(name, schema);
    }
    reference
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{PLACE}{name}") })
}
