use crate::{
    agents::AgentConfig,
    ids::{AccountId, AgentId},
    time::Timestamp,
};

/// A stored agent of an account. A conversation keeps a snapshot of the configuration, which neither changes nor
/// disappears with the agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// The account that owns it.
    pub account_id: AccountId,
    /// Its configuration.
    pub config: AgentConfig,
    /// The time at which it was stored.
    pub created_at: Timestamp,
    /// The time of its last change.
    pub updated_at: Timestamp,
}

impl Agent {
    /// A new agent.
    #[must_use]
    pub fn new(id: AgentId, account_id: AccountId, config: AgentConfig, now: Timestamp) -> Self {
        Self { id, account_id, config, created_at: now, updated_at: now }
    }
}
