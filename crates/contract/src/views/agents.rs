use schemars::JsonSchema;
use serde::Serialize;

use switchboard_model::{
    agents::{Agent, AgentConfig},
    ids::{AccountId, AgentId},
    time::Timestamp,
};

/// A stored agent: the fields of its configuration, every default filled in, and where it comes from.
#[derive(Serialize, JsonSchema)]
pub struct AgentView {
    /// Its id, such as `agt_01JD...`.
    pub id: AgentId,
    /// The URL of this agent.
    pub uri: String,
    /// Whose it is.
    pub account_id: AccountId,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// How it is configured.
    #[serde(flatten)]
    pub config: AgentConfig,
}

impl AgentView {
    /// `public_url` is the API's, without a slash at the end.
    #[must_use]
    pub fn new(public_url: &str, agent: Agent) -> Self {
        let Agent { id, account_id, config, created_at, updated_at } = agent;
        Self { id, uri: format!("{public_url}/agents/{id}"), account_id, created_at, updated_at, config }
    }
}
