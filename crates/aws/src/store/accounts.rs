//! Accounts, their tokens, phone numbers and agents.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    accounts::{Account, Token},
    agents::AgentConfig,
    ids::{AccountId, AgentId, PhoneNumberId},
    phone_numbers::E164,
    time::Timestamp,
};

use super::{
    Store, StoreError,
    items::{self, ACCOUNT, Item, OWNER, Owned, OwnedNumber, StoredConfig, TOKEN},
    read_error,
};

impl Store {
    /// Stores a new account and the token that opens it. [`StoreError::Conflict`] if either exists.
    pub async fn create_account(&self, account: &Account, token: &Token) -> Result<(), StoreError> {
        self.write(vec![
            self.put_new(Item::new(items::account_pk(account.id), ACCOUNT, account)?),
            self.put_new(Item::new(items::token_pk(token), TOKEN, &Owned { account_id: account.id })?),
        ])
        .await
    }

    /// The account that `token` opens, if any.
    pub async fn account_of_token(&self, token: &Token) -> Result<Option<AccountId>, StoreError> {
        let Some(item) = self.get(items::token_pk(token), TOKEN).await? else { return Ok(None) };
        Ok(Some(item.read::<Owned>(TOKEN)?.account_id))
    }

    /// Gives `number` to an account. [`StoreError::Conflict`] if any account has it, this one included.
    pub async fn add_phone_number(
        &self,
        account: AccountId,
        id: PhoneNumberId,
        number: &E164,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = items::number_key(number);
        let owned = OwnedNumber { id, phone_number: number.clone(), created_at: now };
        self.write(vec![
            self.put_new(Item::new(items::account_pk(account), key.clone(), &owned)?),
            self.put_new(Item::new(key, OWNER, &Owned { account_id: account })?),
        ])
        .await
    }

    /// Whether `number` is the account's.
    pub async fn owns_phone_number(&self, account: AccountId, number: &E164) -> Result<bool, StoreError> {
        let item = self.get(items::account_pk(account), items::number_key(number)).await?;
        Ok(item.is_some())
    }

    /// Whether the account has a number in a country of this calling code, such as `+44`.
    pub async fn has_number_in(&self, account: AccountId, calling_code: &str) -> Result<bool, StoreError> {
        let from = format!("NUMBER#{calling_code}");
        let to = format!("{from}~");
        Ok(!self.range(items::account_pk(account), from, to, 1).await?.is_empty())
    }

    /// Stores an agent, in place of what it was before.
    pub async fn put_agent(
        &self,
        account: AccountId,
        id: AgentId,
        config: &AgentConfig,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let now = AttributeValue::S(now.to_string());
        self.client
            .update_item()
            .table_name(&self.table)
            .key("pk", AttributeValue::S(items::account_pk(account)))
            .key("sk", AttributeValue::S(items::agent_sk(id)))
            .update_expression(
                "SET id = :id, #agent = :agent, updated_at = :now, created_at = if_not_exists(created_at, :now)",
            )
            // A reserved word of the expression language.
            .expression_attribute_names("#agent", "agent")
            .expression_attribute_values(":id", AttributeValue::S(id.to_string()))
            .expression_attribute_values(":agent", AttributeValue::S(StoredConfig::new(config)?.agent))
            .expression_attribute_values(":now", now)
            .send()
            .await
            .map_err(|error| match error.as_service_error().and_then(|error| error.meta().message()) {
                Some(message) if super::is_about_size(message) => StoreError::TooLarge,
                _ => read_error("UpdateItem", &error),
            })?;
        Ok(())
    }

    /// A stored agent, if the account has it.
    pub async fn agent(&self, account: AccountId, id: AgentId) -> Result<Option<AgentConfig>, StoreError> {
        let Some(item) = self.get(items::account_pk(account), items::agent_sk(id)).await? else {
            return Ok(None);
        };
        item.read::<StoredConfig>("AGENT")?.agent().map(Some)
    }
}
