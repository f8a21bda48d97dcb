use crate::{
    agents::AgentConfig,
    ids::{AccountId, AgentId},
    time::Timestamp,
};

/// An agent that an account stores, to hold conversations with by its id. A conversation keeps a
/// snapshot of the configuration it began with: it does not change with the agent, nor go with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// Whose it is.
    pub account_id: AccountId,
    /// How it is configured.
    pub config: AgentConfig,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Agent {
    /// A new agent.
    #[must_use]
    pub fn new(id: AgentId, account_id: AccountId, config: AgentConfig, now: Timestamp) -> Self {
        Self { id, account_id, config, created_at: now, updated_at: now }
    }
}
