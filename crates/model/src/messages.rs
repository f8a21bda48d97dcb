//! The messages of a conversation.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The agent.
    Agent,
    /// The person on the other side.
    User,
}

/// The reason for which the agent said something. A worker that takes a call over treats the message accordingly. It is
/// no part of the API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// Words of the conversation. All messages of the user have this kind.
    #[default]
    Speech,
    /// "One moment, please", which is no reply.
    HoldPhrase,
    /// The agent failed to reply, and said so.
    Apology,
}

/// One utterance as it entered the conversation. An agent's message holds only what was heard.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// The speaker.
    pub role: Role,
    /// The words.
    pub content: String,
    /// Why the agent said it. Stored beside the message, and not shown.
    #[serde(skip)]
    pub kind: MessageKind,
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
