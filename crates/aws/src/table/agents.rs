//! Stored agents of accounts.

use serde::{Deserialize, Serialize};
use switchboard_model::{
    agents::{Agent, AgentConfig},
    ids::{AccountId, AgentId},
    lists::Listing,
    time::Timestamp,
};

use super::{
    ATTEMPTS, Table, TableError, back_off,
    conditions::Condition,
    items::{Item, StoredConfig},
};
use crate::keys;

const AGENT: &str = "AGENT";

/// An agent as an item; the key names the account.
#[derive(Serialize, Deserialize)]
struct StoredAgent {
    id: AgentId,
    #[serde(flatten)]
    config: StoredConfig,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Table {
    /// Stores a new agent. [`TableError::Conflict`] if its id exists.
    pub async fn create_agent(&self, agent: &Agent) -> Result<(), TableError> {
        let stored = self.seal_config(agent.account_id, &agent.config).await?;
        self.write(vec![self.put_new(agent_item(agent, stored)?)]).await
    }

    /// `None` if the account has no such agent.
    pub async fn agent(&self, account: AccountId, id: AgentId) -> Result<Option<Agent>, TableError> {
        Ok(self.stored_agent(account, id).await?.map(|(agent, _)| agent))
    }

    /// An agent, and its configuration as it is stored.
    async fn stored_agent(
        &self,
        account: AccountId,
        id: AgentId,
    ) -> Result<Option<(Agent, StoredConfig)>, TableError> {
        let Some(item) = self.get(keys::account_pk(account), keys::agent_sk(id)).await? else {
            return Ok(None);
        };
        let StoredAgent { id, config, created_at, updated_at } = item.read(AGENT)?;
        let open = self.open_config(account, &config).await?;
        Ok(Some((Agent { id, account_id: account, config: open, created_at, updated_at }, config)))
    }

    /// One page of an account's agents, newest first, and whether there are more.
    pub async fn agents(
        &self,
        account: AccountId,
        listing: Listing,
    ) -> Result<(Vec<Agent>, bool), TableError> {
        let read = |item| read_agent(account, item);
        let age = |agent: &Agent| (agent.created_at, agent.id);
        let (mut agents, has_more) = self.page(keys::agents_pk(account), listing, read, age).await?;
        for agent in &mut agents {
            self.open_webhooks(account, &mut agent.config.webhooks).await?;
        }
        Ok((agents, has_more))
    }

    /// Reads an agent, applies `change` to its configuration and writes it. If another writer changed it meanwhile, it
    /// starts again, so that neither change is lost. `None` if the account has no such agent; an error of `change` is
    /// returned as it is.
    pub async fn change_agent<E>(
        &self,
        account: AccountId,
        id: AgentId,
        now: Timestamp,
        mut change: impl FnMut(&AgentConfig) -> Result<AgentConfig, E>,
    ) -> Result<Option<Result<Agent, E>>, TableError> {
        for attempt in 0..ATTEMPTS {
            let Some((before, stored)) = self.stored_agent(account, id).await? else { return Ok(None) };
            let config = match change(&before.config) {
                Ok(config) => config,
                Err(refused) => return Ok(Some(Err(refused))),
            };
            // The write applies only if the stored text is still the one that the change is based on.
            let unchanged =
                Condition::new("#agent = :before").name("#agent", "agent").text(":before", &stored.agent);
            let after = Agent { config, updated_at: now, ..before };
            let stored = self.seal_config(account, &after.config).await?;
            match self.write(vec![self.put_if(agent_item(&after, stored)?, &unchanged)]).await {
                Ok(()) => return Ok(Some(Ok(after))),
                Err(TableError::Conflict) => back_off(attempt).await,
                Err(error) => return Err(error),
            }
        }
        Err(TableError::Conflict)
    }

    /// Deletes an agent. Returns it; `None` if the account has no such agent.
    pub async fn delete_agent(&self, account: AccountId, id: AgentId) -> Result<Option<Agent>, TableError> {
        let item = self.delete_one(keys::account_pk(account), &keys::agent_sk(id)).await?;
        let Some(mut agent) = item.map(|item| read_agent(account, item)).transpose()? else {
            return Ok(None);
        };
        self.open_webhooks(account, &mut agent.config.webhooks).await?;
        Ok(Some(agent))
    }
}

fn agent_item(agent: &Agent, config: StoredConfig) -> Result<Item, TableError> {
    let Agent { id, account_id, created_at, updated_at, .. } = agent;
    let stored = StoredAgent { id: *id, config, created_at: *created_at, updated_at: *updated_at };
    let item = Item::new(keys::account_pk(*account_id), keys::agent_sk(*id), &stored)?;
    Ok(item.listed(keys::agents_pk(*account_id), *created_at, id))
}

fn read_agent(account_id: AccountId, item: Item) -> Result<Agent, TableError> {
    let StoredAgent { id, config, created_at, updated_at } = item.read(AGENT)?;
    Ok(Agent { id, account_id, config: config.agent()?, created_at, updated_at })
}
