//! The events of a conversation, and who asked to hear of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    agents::{AgentConfig, Instruction},
    ids::{ConversationId, EventId},
    time::Timestamp,
};

/// What can happen in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventName {
    /// An outbound call is handed to the carrier; an inbound call arrives.
    #[serde(rename = "phone_call:connection_requested")]
    ConnectionRequested,
    /// Busy, no answer, failed, declined, or a hook hung up before the answer.
    #[serde(rename = "phone_call:rejected")]
    Rejected,
    /// The other side answered, or we did.
    #[serde(rename = "phone_call:accepted")]
    Accepted,
    /// Media flows.
    #[serde(rename = "conversation:started")]
    Started,
    /// Every whole second of a started conversation.
    #[serde(rename = "conversation:duration")]
    Duration,
    /// Once, at the end.
    #[serde(rename = "conversation:ended")]
    Ended,
    /// Someone starts to speak.
    #[serde(rename = "speech:started")]
    SpeechStarted,
    /// Someone stops speaking.
    #[serde(rename = "speech:ended")]
    SpeechEnded,
    /// The model finished an agent message, before it is heard.
    #[serde(rename = "message:generated")]
    MessageGenerated,
    /// A message entered the conversation.
    #[serde(rename = "message:sent")]
    MessageSent,
    /// The model calls a tool.
    #[serde(rename = "function_call:triggered")]
    FunctionCallTriggered,
}

impl EventName {
    /// Every event there is, in the order of the API's documentation.
    pub const ALL: [Self; 11] = [
        Self::ConnectionRequested,
        Self::Rejected,
        Self::Accepted,
        Self::Started,
        Self::Duration,
        Self::Ended,
        Self::SpeechStarted,
        Self::SpeechEnded,
        Self::MessageGenerated,
        Self::MessageSent,
        Self::FunctionCallTriggered,
    ];

    /// The name on the wire, such as `conversation:started`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionRequested => "phone_call:connection_requested",
            Self::Rejected => "phone_call:rejected",
            Self::Accepted => "phone_call:accepted",
            Self::Started => "conversation:started",
            Self::Duration => "conversation:duration",
            Self::Ended => "conversation:ended",
            Self::SpeechStarted => "speech:started",
            Self::SpeechEnded => "speech:ended",
            Self::MessageGenerated => "message:generated",
            Self::MessageSent => "message:sent",
            Self::FunctionCallTriggered => "function_call:triggered",
        }
    }
}

/// One event as it is stored: part of the same write as the change that caused it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its id, derived from conversation and sequence.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "event")]
    pub name: EventName,
    /// Its place among the conversation's events, from 1, without gaps.
    pub sequence: u64,
    /// When it happened.
    pub created_at: Timestamp,
    /// What the API's table of events says it carries; null where it says nothing.
    pub data: Value,
    /// Which of the agent's webhooks asked for it, by their place in the list.
    pub webhooks: Vec<usize>,
}

impl Event {
    /// The `sequence`-th event of `conversation`, matched against the agent's webhooks.
    #[must_use]
    pub fn new(
        conversation: ConversationId,
        sequence: u64,
        created_at: Timestamp,
        name: EventName,
        data: Value,
        agent: &AgentConfig,
    ) -> Self {
        let webhooks = matching_webhooks(agent, name).collect();
        Self {
            id: EventId::of(conversation, sequence, created_at),
            name,
            sequence,
            created_at,
            data,
            webhooks,
        }
    }
}

/// Whether the agent's hooks hang up when `name` happens.
#[must_use]
pub fn hangs_up(agent: &AgentConfig, name: EventName) -> bool {
    agent
        .hooks
        .iter()
        .any(|hook| hook.events.contains(&name) && hook.instructions.contains(&Instruction::HangUp))
}

/// Whether an event is worth storing: only an unmatched `conversation:duration` is not.
#[must_use]
pub fn is_stored(agent: &AgentConfig, name: EventName) -> bool {
    name != EventName::Duration || matching_webhooks(agent, name).next().is_some()
}

fn matching_webhooks(agent: &AgentConfig, name: EventName) -> impl Iterator<Item = usize> {
    agent
        .webhooks
        .iter()
        .enumerate()
        .filter(move |(_, webhook)| webhook.events.contains(&name))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_written_as_it_is_serialized() {
        for name in EventName::ALL {
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
        }
    }
}
