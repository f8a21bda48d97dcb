//! Converts the engine's events into journal entries: the API's names and data, wall-clock times.

use serde_json::{Value, json};
use switchboard_dialogue::{CallTime, ConversationEvent, FunctionCall};
use switchboard_model::{
    conversations::JournalEntry,
    event_names::EventName,
    messages::{Message, Role},
    time::Timestamp,
};

use crate::dialogue::message_kind;

/// The entry of an event at `now` in a call whose stream began at `began_at`. `None` for events that the API does not
/// have.
pub(crate) fn from_event(
    event: ConversationEvent,
    began_at: Timestamp,
    now: CallTime,
) -> Option<JournalEntry> {
    let wall = |at: CallTime| began_at.after(std::time::Duration::from_micros(at.0));
    let mut message = None;
    let (name, data) = match event {
        ConversationEvent::SpeechStarted(role) => (EventName::SpeechStarted, json!({ "role": role })),
        ConversationEvent::SpeechEnded(role) => (EventName::SpeechEnded, json!({ "role": role })),
        ConversationEvent::MessageGenerated { content } => {
            (EventName::MessageGenerated, json!({ "message": { "role": Role::Agent, "content": content } }))
        }
        ConversationEvent::MessageSent {
            role,
            content,
            kind,
            started_at,
            ended_at,
            interrupted,
            latency,
        } => {
            let (started_at, ended_at) = (wall(started_at), wall(ended_at));
            message =
                Some(Message { role, content, kind: message_kind(kind), started_at, ended_at, interrupted });
            let latency = latency.map(|latency| {
                let mut stages = json!(latency);
                stages["response_ms"] = json!(latency.response_ms());
                json!({ "latency": stages })
            });
            (EventName::MessageSent, latency.unwrap_or(Value::Null))
        }
        ConversationEvent::FunctionCall(FunctionCall { id, name, arguments, .. }) => {
            // A model may write arguments that are not JSON: they are passed on as text.
            let arguments = serde_json::from_str(&arguments).unwrap_or(Value::String(arguments));
            let function = json!({ "id": id, "name": name, "arguments": arguments });
            (EventName::FunctionCallTriggered, json!({ "function": function }))
        }
        ConversationEvent::Duration { seconds } => (EventName::Duration, json!({ "duration": seconds })),
        ConversationEvent::ProviderTimedOut(_) | ConversationEvent::ModelFault(_) => return None,
    };
    Some(JournalEntry { at: wall(now), name, data, message, faults: vec![] })
}

#[cfg(test)]
mod tests {
    use switchboard_dialogue::{Latency, UtteranceKind};

    use super::*;

    #[test]
    fn a_message_has_its_times_and_latency() {
        let latency = Latency { transcript_ms: 400, model_ms: 300, voice_ms: 150, send_ms: 5 };
        let event = ConversationEvent::MessageSent {
            role: Role::Agent,
            content: "At six.".into(),
            kind: UtteranceKind::Speech,
            started_at: CallTime(2_000_000),
            ended_at: CallTime(3_500_000),
            interrupted: false,
            latency: Some(latency),
        };
        let entry = from_event(event, Timestamp::from_millis(10_000), CallTime(3_600_000)).unwrap();
        assert_eq!(entry.at, Timestamp::from_millis(13_600));
        let message = entry.message.unwrap();
        assert_eq!(
            (message.started_at, message.ended_at),
            (Timestamp::from_millis(12_000), Timestamp::from_millis(13_500))
        );
        assert_eq!(entry.data["latency"]["response_ms"], 855);
        assert_eq!(entry.data["latency"]["voice_ms"], 150);
    }

    #[test]
    fn arguments_are_json_where_they_parse() {
        let call = |arguments: &str| {
            let call = FunctionCall {
                id: "a".into(),
                name: "f".into(),
                arguments: arguments.into(),
                provider_state: None,
            };
            from_event(ConversationEvent::FunctionCall(call), Timestamp::from_millis(0), CallTime(0))
                .unwrap()
                .data["function"]["arguments"]
                .clone()
        };
        assert_eq!(call(r#"{"q": 1}"#), json!({ "q": 1 }));
        assert_eq!(call("{broken"), json!("{broken"));
    }
}
