//! Resolves the references of a request: items of the account that its body names.

use switchboard_aws::table::TableError;
use switchboard_contract::{
    references::{Checked, Reference},
    validation::FieldError,
};
use switchboard_model::{
    agents::Agent,
    ids::AccountId,
    phone_numbers::{E164, PhoneNumber},
};

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
                match may_call(api, account, &number).await? {
                    MayCall::Yes => {}
                    MayCall::NotTheCountry => checked.errors.push(Reference::country_not_allowed(loc)),
                    MayCall::NotTheNumber => checked.errors.push(Reference::restricted_number(loc)),
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

enum MayCall {
    Yes,
    NotTheCountry,
    NotTheNumber,
}

/// Whether an account may call a number: in a country that its limits list, or, without such a list, one in which it
/// bought a number. A number that it imported opens no country: it costs nothing.
async fn may_call(api: &Api, account: AccountId, number: &E164) -> Result<MayCall, TableError> {
    let (limits, calling_code) = (api.table.limits(account).await?, number.calling_code());
    let allowed = match limits.destination_countries {
        Some(countries) => countries.iter().any(|country| country == calling_code),
        None => api.table.has_bought_number_in(account, calling_code).await?,
    };
    Ok(match (allowed, number.is_restricted() && !limits.restricted_numbers) {
        (false, _) => MayCall::NotTheCountry,
        (true, true) => MayCall::NotTheNumber,
        (true, false) => MayCall::Yes,
    })
}
