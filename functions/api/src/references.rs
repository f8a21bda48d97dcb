//! Bodies that name things of the account's, which only the table knows.

use serde_json::Value;
use switchboard_aws::table::TableError;
use switchboard_contract::validation::{Checks, Field, FieldError, Loc, Read, Reference};
use switchboard_model::{agents::Agent, ids::AccountId, phone_numbers::PhoneNumber};

use crate::{Api, errors::ApiError};

/// What a body says, what is wrong with it, and what is still to be looked up.
pub(crate) struct Checked<T> {
    value: Option<T>,
    references: Vec<(Loc, Reference)>,
    errors: Vec<FieldError>,
}

impl<T> Checked<T> {
    /// Reads the body; apart from the handlers, since what notes the errors must not wait for the table.
    pub(crate) fn read(body: &Value, parse: impl FnOnce(&Field<'_>) -> Read<T>) -> Self {
        let checks = Checks::default();
        let value = parse(&Field::body(body, &checks)).ok();
        Self { value, references: checks.references(), errors: checks.into_errors() }
    }

    /// The value, whatever it names, if no field is wrong.
    pub(crate) fn valid(self) -> Result<T, Vec<FieldError>> {
        match self.value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(self.errors),
        }
    }
}

/// What of the account's a body names.
#[derive(Default)]
pub(crate) struct Found {
    /// The stored agent.
    pub(crate) agent: Option<Agent>,
    /// The number.
    pub(crate) number: Option<PhoneNumber>,
}

/// Looks up all that a body names, so that it is refused with every wrong field at once. Gives what it
/// says, and what it names, as far as somebody needs it.
pub(crate) async fn look_up<T>(
    api: &Api,
    account: AccountId,
    mut checked: Checked<T>,
) -> Result<(T, Found), ApiError> {
    let mut found = Found::default();
    for (loc, reference) in std::mem::take(&mut checked.references) {
        let exists = match reference {
            Reference::Destination(number) => {
                if !may_call(api, account, number.calling_code()).await? {
                    checked.errors.push(FieldError::country_not_allowed(loc));
                }
                continue;
            }
            Reference::PhoneNumber(number) => {
                let number = api.table.phone_number(account, &number).await?;
                found.number = number.filter(PhoneNumber::is_owned);
                found.number.is_some()
            }
            Reference::Agent(id) => {
                found.agent = api.table.agent(account, id).await?;
                found.agent.is_some()
            }
            Reference::Credential { id, provider } => {
                let stored = api.table.credential(account, id).await?;
                if let (Some((credential, _)), Some(provider)) = (&stored, provider)
                    && !credential.provider.serves(provider)
                {
                    checked.errors.push(FieldError::other_provider(loc, provider));
                    continue;
                }
                stored.is_some()
            }
        };
        if !exists {
            checked.errors.push(FieldError::not_found(loc));
        }
    }
    let value = checked.valid().map_err(ApiError::Invalid)?;
    Ok((value, found))
}

/// Whether an account may call a country: one of those that it is limited to, else one in which it has a
/// number itself.
async fn may_call(api: &Api, account: AccountId, calling_code: &str) -> Result<bool, TableError> {
    match api.table.limits(account).await?.destination_countries {
        Some(countries) => Ok(countries.iter().any(|country| country == calling_code)),
        None => api.table.has_number_in(account, calling_code).await,
    }
}
