//! The names of the events: one for each fact about a conversation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The names of a conversation's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
    pub const fn as_str(self) -> &'static str {
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
