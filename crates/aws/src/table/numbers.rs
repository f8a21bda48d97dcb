//! Phone numbers and their owners, from reservation to release.
//!
//! A number has two items, written together: the owner's, one for all accounts, and the account's own. It is in the
//! account's list only while it is owned, and in the index `due` only while it is not.

use serde::{Deserialize, Serialize};
use switchboard_model::{
    conversations::Leg,
    ids::{AccountId, AgentId, PhoneNumberId},
    lists::Listing,
    phone_numbers::{CallAccount, Carrier, CarrierAccount, E164, PhoneNumber, Standing},
    secrets::Secret,
    time::Timestamp,
};

use super::{
    ATTEMPTS, Table, TableError, back_off,
    conditions::Condition,
    items::{Item, Owned},
};
use crate::keys::{self, DueList, NUMBER, OWNER};
use crate::sealing::Sealer;

/// A number as an item; the key names the account.
#[derive(Serialize, Deserialize)]
struct StoredNumber {
    id: PhoneNumberId,
    phone_number: E164,
    inbound_agent_id: Option<AgentId>,
    /// One JSON text, as in the configuration of an agent.
    webhooks: String,
    #[serde(flatten)]
    standing: Standing,
    carrier: Carrier,
    created_at: Timestamp,
    updated_at: Timestamp,
    version: u64,
}

impl Table {
    /// Stores a new number. [`TableError::Conflict`] if any account has it, this one included, in any standing.
    pub async fn add_phone_number(&self, number: &PhoneNumber) -> Result<(), TableError> {
        let owner = Owned { account_id: number.account_id };
        let sealed = self.seal_number(number).await?;
        self.write(vec![
            self.put_new(number_item(&sealed)?),
            self.put_new(Item::new(keys::number_key(&number.phone_number), OWNER, &owner)?),
        ])
        .await
    }

    /// A number of the account in any standing; `None` if the account does not have it.
    pub async fn phone_number(
        &self,
        account: AccountId,
        number: &E164,
    ) -> Result<Option<PhoneNumber>, TableError> {
        let item = self.get(keys::account_pk(account), keys::number_key(number)).await?;
        match item {
            Some(item) => Ok(Some(self.open_number(read_number(account, item)?).await?)),
            None => Ok(None),
        }
    }

    /// One page of the numbers that an account owns, newest first, and whether there are more.
    pub async fn phone_numbers(
        &self,
        account: AccountId,
        listing: Listing,
    ) -> Result<(Vec<PhoneNumber>, bool), TableError> {
        let read = |item| read_number(account, item);
        let age = |number: &PhoneNumber| (number.created_at, number.id);
        let (mut numbers, has_more) = self.page(keys::numbers_pk(account), listing, read, age).await?;
        // The index lags behind the table.
        numbers.retain(PhoneNumber::is_owned);
        for number in &mut numbers {
            self.open_webhooks(account, &mut number.webhooks).await?;
        }
        Ok((numbers, has_more))
    }

    /// Replaces `before`. Returns the number as it is stored. [`TableError::Conflict`] if another writer changed it
    /// meanwhile.
    pub async fn change_phone_number(
        &self,
        before: &PhoneNumber,
        after: PhoneNumber,
    ) -> Result<PhoneNumber, TableError> {
        let after = PhoneNumber { version: before.version + 1, ..after };
        let sealed = self.seal_number(&after).await?;
        self.write(vec![self.put_if(number_item(&sealed)?, &unchanged(before))]).await?;
        Ok(after)
    }

    /// Reads a number that the account owns, applies `change` and writes it. If another writer changed it meanwhile,
    /// it starts again. `None` if the account owns no such number; an error of `change` is returned as it is.
    pub async fn update_phone_number<E>(
        &self,
        account: AccountId,
        number: &E164,
        now: Timestamp,
        mut change: impl FnMut(&PhoneNumber) -> Result<PhoneNumber, E>,
    ) -> Result<Option<Result<PhoneNumber, E>>, TableError> {
        for attempt in 0..ATTEMPTS {
            let before = self.phone_number(account, number).await?.filter(PhoneNumber::is_owned);
            let Some(before) = before else { return Ok(None) };
            let after = match change(&before) {
                Ok(after) => PhoneNumber { updated_at: now, ..after },
                Err(refused) => return Ok(Some(Err(refused))),
            };
            match self.change_phone_number(&before, after).await {
                Err(TableError::Conflict) => back_off(attempt).await,
                changed => return Ok(Some(Ok(changed?))),
            }
        }
        Err(TableError::Conflict)
    }

    /// The number of the account with this id, in any standing.
    pub async fn phone_number_of(
        &self,
        account: AccountId,
        id: PhoneNumberId,
    ) -> Result<Option<PhoneNumber>, TableError> {
        let (pk, from, to) = (keys::account_pk(account), NUMBER.to_owned(), format!("{NUMBER}~"));
        for item in self.range(pk, from, to, usize::MAX).await? {
            let number = read_number(account, item)?;
            if number.id == id {
                return Ok(Some(self.open_number(number).await?));
            }
        }
        Ok(None)
    }

    /// Deletes a number, which frees it for any account. [`TableError::Conflict`] if another writer changed it
    /// meanwhile.
    pub async fn remove_phone_number(&self, number: &PhoneNumber) -> Result<(), TableError> {
        let key = keys::number_key(&number.phone_number);
        let own = Condition::new("account_id = :account").text(":account", &number.account_id);
        self.write(vec![
            self.delete_if(keys::account_pk(number.account_id), &key, &unchanged(number)),
            self.delete_if(key, OWNER, &own),
        ])
        .await
    }

    /// Whether the account owns `number`.
    pub async fn owns_phone_number(&self, account: AccountId, number: &E164) -> Result<bool, TableError> {
        Ok(self.phone_number(account, number).await?.is_some_and(|number| number.is_owned()))
    }

    /// The number of phone numbers that the account has, in any standing.
    pub async fn count_phone_numbers(&self, account: AccountId) -> Result<usize, TableError> {
        let (from, to) = (NUMBER.to_owned(), format!("{NUMBER}~"));
        Ok(self.range(keys::account_pk(account), from, to, usize::MAX).await?.len())
    }

    /// Whether the account owns a number in a country of this calling code, such as `+44`, that it did not import.
    pub async fn has_bought_number_in(
        &self,
        account: AccountId,
        calling_code: &str,
    ) -> Result<bool, TableError> {
        let from = format!("{NUMBER}{calling_code}");
        let to = format!("{from}~");
        for item in self.range(keys::account_pk(account), from, to, usize::MAX).await? {
            let number = read_number(account, item)?;
            if number.is_owned() && !number.is_imported() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// At most `limit` numbers whose purchase or release is incomplete, the longest overdue at `now` first.
    pub async fn due_phone_numbers(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(AccountId, E164)>, TableError> {
        let items = self.due_items(DueList::Numbers, now, limit).await?;
        let key = |item: Item| {
            let number = item.sk()?.strip_prefix(NUMBER)?;
            Some((item.pk()?.parse().ok()?, number.parse().ok()?))
        };
        Ok(items.into_iter().filter_map(key).collect())
    }

    /// Makes a number due again at `until`.
    pub async fn postpone_phone_number(
        &self,
        account: AccountId,
        number: &E164,
        until: Timestamp,
    ) -> Result<(), TableError> {
        self.postpone_item(keys::account_pk(account), &keys::number_key(number), until).await
    }

    /// The account at the carrier that a leg's call goes through.
    pub async fn call_account(
        &self,
        sealer: &Sealer,
        account: AccountId,
        leg: &Leg,
    ) -> Result<CallAccount, TableError> {
        let Some(call) = leg.phone_call.as_ref().filter(|call| call.imported) else {
            return Ok(CallAccount::Deployments);
        };
        match self.phone_number(account, call.own_number()).await? {
            Some(number) => self.carrier_account(sealer, &number).await,
            None => Ok(CallAccount::Gone),
        }
    }

    /// The id of the customer's own account at the carrier that a leg's call goes through; none: the deployment's.
    pub(super) async fn own_carrier_account(
        &self,
        account: AccountId,
        leg: &Leg,
    ) -> Result<Option<String>, TableError> {
        let Some(call) = leg.phone_call.as_ref().filter(|call| call.imported) else { return Ok(None) };
        let number = self.phone_number(account, call.own_number()).await?;
        Ok(number.and_then(|number| number.carrier.own).map(|own| own.account_sid))
    }

    /// The account at the carrier that owns a number.
    pub async fn carrier_account(
        &self,
        sealer: &Sealer,
        number: &PhoneNumber,
    ) -> Result<CallAccount, TableError> {
        let Some(own) = &number.carrier.own else { return Ok(CallAccount::Deployments) };
        let id = number.id.to_string();
        let auth_token: Secret = sealer.open((number.account_id, &id), &own.auth_token).await?;
        Ok(CallAccount::Customers(CarrierAccount { account_sid: own.account_sid.clone(), auth_token }))
    }
}

pub(super) fn unchanged(number: &PhoneNumber) -> Condition {
    Condition::new("version = :before").number(":before", &number.version)
}

pub(super) fn number_item(number: &PhoneNumber) -> Result<Item, TableError> {
    let stored = StoredNumber {
        id: number.id,
        phone_number: number.phone_number.clone(),
        inbound_agent_id: number.inbound_agent_id,
        webhooks: serde_json::to_string(&number.webhooks).map_err(|_| TableError::Corrupt("NEW"))?,
        standing: number.standing,
        carrier: number.carrier.clone(),
        created_at: number.created_at,
        updated_at: number.updated_at,
        version: number.version,
    };
    let (account, key) = (number.account_id, keys::number_key(&number.phone_number));
    let item = Item::new(keys::account_pk(account), key, &stored)?;
    Ok(match number.due_at() {
        Some(at) => item.due_in(DueList::Numbers, at),
        None => item.listed(keys::numbers_pk(account), number.created_at, &number.id),
    })
}

pub(super) fn read_number(account_id: AccountId, item: Item) -> Result<PhoneNumber, TableError> {
    let StoredNumber {
        id,
        phone_number,
        inbound_agent_id,
        webhooks,
        standing,
        carrier,
        created_at,
        updated_at,
        version,
    } = item.read(NUMBER)?;
    let webhooks = serde_json::from_str(&webhooks).map_err(|_| TableError::Corrupt(NUMBER))?;
    Ok(PhoneNumber {
        id,
        account_id,
        phone_number,
        inbound_agent_id,
        webhooks,
        standing,
        carrier,
        created_at,
        updated_at,
        version,
    })
}

#[cfg(test)]
#[path = "numbers_tests.rs"]
mod tests;
