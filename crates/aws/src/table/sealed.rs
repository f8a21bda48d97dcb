//! Secrets within items: sealed before they are written, opened after they are read.
//!
//! Only a table with a sealer does either ([`Table::sealing`]). Without one, sealed texts pass through as they are, so
//! that a function that needs no secret needs no permission for them, and loses none when it writes an item back.

use std::collections::BTreeMap;

use switchboard_model::{
    accounts::Account, agents::AgentConfig, ids::AccountId, phone_numbers::PhoneNumber, webhooks::Webhook,
};

use super::{Table, TableError, items::StoredConfig};
use crate::sealing::{Sealer, stored::is_sealed};

/// Stands for all headers of a webhook when they are sealed. No header can have this name.
const HEADERS: &str = "(sealed)";
/// The place of an account's signing secrets.
const SIGNING: &str = "signing secret";

impl Table {
    /// The same table, which seals the secrets that it writes and opens those that it reads.
    #[must_use]
    pub fn sealing(self, sealer: Sealer) -> Self {
        Self { sealer: Some(sealer), ..self }
    }

    /// A configuration as it is stored.
    pub(super) async fn seal_config(
        &self,
        account: AccountId,
        agent: &AgentConfig,
    ) -> Result<StoredConfig, TableError> {
        if self.sealer.is_none() || agent.webhooks.iter().all(|webhook| webhook.headers.is_none()) {
            return StoredConfig::new(agent);
        }
        let webhooks = self.seal_webhooks(account, &agent.webhooks).await?;
        StoredConfig::new(&AgentConfig { webhooks, ..agent.clone() })
    }

    /// A stored configuration as it is used.
    pub(super) async fn open_config(
        &self,
        account: AccountId,
        stored: &StoredConfig,
    ) -> Result<AgentConfig, TableError> {
        let mut agent = stored.agent()?;
        self.open_webhooks(account, &mut agent.webhooks).await?;
        Ok(agent)
    }

    pub(super) async fn seal_number(&self, number: &PhoneNumber) -> Result<PhoneNumber, TableError> {
        let webhooks = self.seal_webhooks(number.account_id, &number.webhooks).await?;
        Ok(PhoneNumber { webhooks, ..number.clone() })
    }

    pub(super) async fn open_number(&self, mut number: PhoneNumber) -> Result<PhoneNumber, TableError> {
        self.open_webhooks(number.account_id, &mut number.webhooks).await?;
        Ok(number)
    }

    pub(super) async fn seal_account(&self, account: &Account) -> Result<Account, TableError> {
        let mut sealed = account.clone();
        if let Some(sealer) = &self.sealer {
            for secret in secrets(&mut sealed).filter(|secret| !is_sealed(secret)) {
                *secret = sealer.seal_stored(account.id, SIGNING, secret).await?;
            }
        }
        Ok(sealed)
    }

    pub(super) async fn open_account(&self, mut account: Account) -> Result<Account, TableError> {
        let id = account.id;
        if let Some(sealer) = &self.sealer {
            for secret in secrets(&mut account) {
                *secret = sealer.open_stored(id, SIGNING, secret).await?;
            }
        }
        Ok(account)
    }

    /// The answer of an idempotency key holds what the API answered.
    pub(super) async fn seal_answer(
        &self,
        account: AccountId,
        key: &str,
        body: String,
    ) -> Result<String, TableError> {
        let Some(sealer) = &self.sealer else { return Ok(body) };
        Ok(sealer.seal_stored(account, &answer_place(key), &body).await?)
    }

    pub(super) async fn open_answer(
        &self,
        account: AccountId,
        key: &str,
        body: String,
    ) -> Result<String, TableError> {
        let Some(sealer) = &self.sealer else { return Ok(body) };
        Ok(sealer.open_stored(account, &answer_place(key), &body).await?)
    }

    async fn seal_webhooks(
        &self,
        account: AccountId,
        webhooks: &[Webhook],
    ) -> Result<Vec<Webhook>, TableError> {
        let mut webhooks = webhooks.to_vec();
        let Some(sealer) = &self.sealer else { return Ok(webhooks) };
        for webhook in &mut webhooks {
            let Some(headers) = webhook.headers.as_mut() else { continue };
            if headers.is_empty() || headers.contains_key(HEADERS) {
                continue;
            }
            let text = serde_json::to_string(headers).map_err(|_| TableError::Corrupt("NEW"))?;
            let stored = sealer.seal_stored(account, &headers_place(&webhook.url), &text).await?;
            *headers = BTreeMap::from([(HEADERS.to_owned(), stored)]);
        }
        Ok(webhooks)
    }

    pub(super) async fn open_webhooks(
        &self,
        account: AccountId,
        webhooks: &mut [Webhook],
    ) -> Result<(), TableError> {
        let Some(sealer) = &self.sealer else { return Ok(()) };
        for webhook in webhooks {
            let Some(headers) = webhook.headers.as_mut() else { continue };
            let Some(stored) = headers.get(HEADERS) else { continue };
            let text = sealer.open_stored(account, &headers_place(&webhook.url), stored).await?;
            *headers = serde_json::from_str(&text).map_err(|_| TableError::Corrupt("HEADERS"))?;
        }
        Ok(())
    }
}

/// Headers are bound to the URL that receives them.
fn headers_place(url: &str) -> String {
    format!("webhook {url}")
}

fn answer_place(key: &str) -> String {
    format!("answer {key}")
}

fn secrets(account: &mut Account) -> impl Iterator<Item = &mut String> {
    let previous = account.previous_signing_secret.iter_mut().map(|previous| &mut previous.secret);
    std::iter::once(&mut account.signing_secret).chain(previous)
}
