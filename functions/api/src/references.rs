//! Resolves the references of a request: items of the account that its body names.

use switchboard_aws::table::TableError;
use switchboard_contract::{
    references::{Checked, Reference},
    validation::FieldError,
};
use switchboard_model::{agents::Agent, ids::AccountId, phone_numbers::PhoneNumber};

use crate::{Api, errors::ApiError};

/// The items that a body names, as far as handlers need them.
#[derive(Default)]
pub(crate) struct Resolved {
    /// The stored agent.
    pub(crate) agent: Option<Agent>,
    /// The account's phone number.
    pub(crate) number: Option<PhoneNumber>,
}

/// Looks up every item that a body names, also when other fields are wrong, so that the answer has every wrong field.
pub(crate) async fn resolve<T>(
    api: &Api,
    account: AccountId,
    mut checked: Checked<T>,
) -> Result<(T, Resolved), ApiError> {
    let mut resolved = Resolved::default();
    for (loc, reference) in std::mem::take(&mut checked.references) {
        let exists = match reference {
            Reference::Destination(number) => {
                if !may_call(api, account, number.calling_code()).await? {
                    checked.errors.push(Reference::country_not_allowed(loc));
                }
                continue;
            }
            Reference::PhoneNumber(number) => {
                let number = api.table.phone_number(account, &number).await?;
                resolved.number = number.filter(PhoneNumber::is_owned);
                resolved.number.is_some()
            }
            Reference::Agent(id) => {
                resolved.agent = api.table.agent(account, id).await?;
                resolved.agent.is_some()
            }
            Reference::Credential { id, provider } => {
                let stored = api.table.credential(account, id).await?;
                if let (Some((credential, _)), Some(provider)) = (&stored, provider)
                    && !credential.provider.serves(provider)
                {
                    checked.errors.push(Reference::other_provider(loc, provider));
                    continue;
                }
                stored.is_some()
            }
        };
        if !exists {
            checked.errors.push(FieldError::not_found(loc));
        }
    }
    Ok((checked.into_valid()?, resolved))
}

/// Whether an account may call a country: one that its limits list, or, without such a list, one in which it owns a
/// number.
async fn may_call(api: &Api, account: AccountId, calling_code: &str) -> Result<bool, TableError> {
    match api.table.limits(account).await?.destination_countries {
        Some(countries) => Ok(countries.iter().any(|country| country == calling_code)),
        None => api.table.has_number_in(account, calling_code).await,
    }
}
