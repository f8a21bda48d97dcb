//! The bodies of answers that report an error.

use schemars::JsonSchema;
use serde::Serialize;

use crate::validation::FieldError;

/// Any error but a wrong field.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct ErrorView {
    /// The reason, for people.
    pub detail: String,
}

/// Every wrong field at once.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ValidationError")]
pub struct ValidationErrorView {
    /// The wrong fields.
    pub detail: Vec<FieldError>,
}
