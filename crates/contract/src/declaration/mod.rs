//! One declaration per field: its name, type, bounds, default and description.
//!
//! Two things derive from a declaration: the reader, which reports every wrong field of a request at once, and the
//! schema in `/openapi.json`. A `Record` is a function over `Members`. To read, it runs over a JSON object and
//! returns the typed value. To describe, it runs without one: then every member returns
//! [`Rejected`](crate::validation::Rejected), and `Members` keeps what was declared. A record therefore declares
//! all of its members before its first `?`.
//!
//! This module knows no resource of the API. Start at `record`; `types` has the types of fields.

mod definitions;
mod enums;
mod examples;
mod field_type;
mod record;
mod schemas;
pub(crate) mod types;

pub(crate) use self::{
    definitions::{Form, define},
    field_type::FieldType,
    record::{Members, Record},
};
pub use self::{examples::needs_example, record::Parameter, schemas::Schemas};
