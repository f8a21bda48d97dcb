//! Items of the account that a request names. Only the table knows whether they exist.
//!
//! A reader records each of them with its location; the caller of this crate looks them up and adds an error for
//! each one that it does not find, so that one answer has every wrong field.

use std::cell::RefCell;

use serde_json::Value;
use switchboard_model::{
    ids::{AgentId, CredentialId},
    phone_numbers::E164,
};

use crate::{
    declaration::{FieldType, types},
    validation::{Field, FieldError, FieldErrors, Loc, Read, Rejected},
};

/// An item that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A phone number of the account.
    PhoneNumber(E164),
    /// A number to call: in a country that the account may call.
    Destination(E164),
    /// An agent of the account.
    Agent(AgentId),
    /// A credential of the account.
    Credential {
        /// Its id.
        id: CredentialId,
        /// The provider of the block that names it; `None` if that is wrong itself.
        provider: Option<&'static str>,
    },
}

impl Reference {
    /// The account may not call the country of the number at `loc`.
    #[must_use]
    pub fn country_not_allowed(loc: Loc) -> FieldError {
        let msg = "This account may not call numbers of this country".into();
        FieldError { loc, msg, kind: "country_not_allowed" }
    }

    /// The number at `loc` is a premium-rate one, or the like.
    #[must_use]
    pub fn restricted_number(loc: Loc) -> FieldError {
        let msg = "This account may not call premium-rate, satellite and high-fraud numbers".into();
        FieldError { loc, msg, kind: "number_restricted" }
    }

    /// The credential at `loc` is not for the provider of its block.
    #[must_use]
    pub fn other_provider(loc: Loc, wanted: &str) -> FieldError {
        FieldError { loc, msg: format!("Should be a credential of '{wanted}'"), kind: "value_error" }
    }
}

/// Collects the references of one request.
#[derive(Debug, Default)]
pub(crate) struct References(RefCell<Vec<(Loc, Reference)>>);

impl References {
    fn push(&self, field: &Field<'_>, reference: Reference) {
        self.0.borrow_mut().push((field.loc().to_vec(), reference));
    }

    /// The id of an agent of the account.
    pub(crate) fn agent(&self) -> FieldType<'_, AgentId> {
        types::read_as(|field| {
            let id = field.id()?;
            self.push(field, Reference::Agent(id));
            Ok(id)
        })
    }

    /// The id of a credential of the account, for a block of this provider.
    pub(crate) fn credential(&self, provider: Read<&'static str>) -> FieldType<'_, CredentialId> {
        types::read_as(move |field| {
            let id = field.id()?;
            self.push(field, Reference::Credential { id, provider: provider.ok() });
            Ok(id)
        })
    }

    /// A phone number of the account.
    pub(crate) fn phone_number(&self) -> FieldType<'_, E164> {
        self.number(Reference::PhoneNumber)
    }

    /// A number that the account wants to call.
    pub(crate) fn destination(&self) -> FieldType<'_, E164> {
        self.number(Reference::Destination)
    }

    fn number(&self, reference: fn(E164) -> Reference) -> FieldType<'_, E164> {
        types::read_as(move |field| {
            let number: E164 = field.parsed()?;
            self.push(field, reference(number.clone()));
            Ok(number)
        })
    }
}

/// A request's body after it was read: its value, its errors, and the references to look up.
#[derive(Debug)]
pub struct Checked<T> {
    pub(crate) value: Option<T>,
    /// The items to look up, with the location of each.
    pub references: Vec<(Loc, Reference)>,
    /// The errors so far.
    pub errors: Vec<FieldError>,
}

impl<T> Checked<T> {
    /// Reads a body.
    pub(crate) fn body(body: &Value, read: impl FnOnce(&Field<'_>, &References) -> Read<T>) -> Self {
        let (errors, references) = (FieldErrors::default(), References::default());
        let value = read(&Field::body(body, &errors), &references).ok();
        Self { value, references: references.0.into_inner(), errors: errors.into_vec() }
    }

    /// The value, if no field is wrong. The references are not looked up.
    pub fn into_valid(self) -> Result<T, Vec<FieldError>> {
        match self.value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(self.errors),
        }
    }
}

/// Reads the parameters of a query, given as one JSON object.
pub fn read_query<T>(query: &Value, read: impl FnOnce(&Field<'_>) -> Read<T>) -> Result<T, Vec<FieldError>> {
    let errors = FieldErrors::default();
    read(&Field::query(query, &errors)).map_err(|Rejected| errors.into_vec())
}
