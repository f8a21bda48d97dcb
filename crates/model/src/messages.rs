//! What was said.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The agent.
    Agent,
    /// The person on the other side.
    User,
}

/// One utterance as it entered the conversation. An agent's message holds only what was heard.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// The words.
    pub content: String,
    /// When its first word began.
    pub started_at: Timestamp,
    /// When its last word ended.
    pub ended_at: Timestamp,
    /// The agent was cut off: the rest of what it meant to say was not heard.
    pub interrupted: bool,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("role", &self.role)
            .field("content", &"[redacted]")
            .finish_non_exhaustive()
    }
}
