//! Converts the engine's events into journal entries: the API's names and data, wall-clock times.

use serde_json::{Map, Value, json};
use switchboard_dialogue::{CallTime, ConversationEvent, FunctionCall, UtteranceKind};
use switchboard_model::{
    conversations::JournalEntry,
    event_names::EventName,
    messages::{Message, Role},
    time::Timestamp,
};

use crate::{
    dialogue::message_kind,
    stored_text::{self, MAX_MESSAGE_BYTES, MAX_NAME_BYTES},
};

/// The entry of an event at `now` in a call whose stream began at `began_at`. `None` for events that the API does not
/// have.
pub(crate) fn from_event(
    event: ConversationEvent,
    began_at: Timestamp,
    now: CallTime,
) -> Option<JournalEntry> {
    let wall = |at: CallTime| began_at.after(std::time::Duration::from_micros(at.0));
    let (mut message, mut faults) = (None, vec![]);
    let (name, data) = match event {
        ConversationEvent::SpeechStarted(role) => (EventName::SpeechStarted, json!({ "role": role })),
        ConversationEvent::SpeechEnded(role) => (EventName::SpeechEnded, json!({ "role": role })),
        ConversationEvent::MessageGenerated { mut content } => {
            faults.extend(cut_message(&mut content));
            (EventName::MessageGenerated, json!({ "message": { "role": Role::Agent, "content": content } }))
        }
        ConversationEvent::MessageSent {
            role,
            mut content,
            kind,
            started_at,
            ended_at,
            interrupted,
            latency,
        } => {
            faults.extend(cut_message(&mut content));
            let (started_at, ended_at) = (wall(started_at), wall(ended_at));
            message =
                Some(Message { role, content, kind: message_kind(kind), started_at, ended_at, interrupted });
            let mut data = Map::new();
            if let Some(latency) = latency {
                let mut stages = json!(latency);
                stages["response_ms"] = json!(latency.response_ms());
                data.insert("latency".to_owned(), stages);
            }
            if let Some(name) = kind_name(kind) {
                data.insert("kind".to_owned(), json!(name));
            }
            let data = if data.is_empty() { Value::Null } else { Value::Object(data) };
            (EventName::MessageSent, data)
        }
        ConversationEvent::FunctionCall(FunctionCall { id, mut name, arguments, .. }) => {
            stored_text::cut(&mut name, MAX_NAME_BYTES);
            // A model may write arguments that are not JSON: they are passed on as text.
            let arguments = serde_json::from_str(&arguments).unwrap_or(Value::String(arguments));
            let function = json!({ "id": id, "name": name, "arguments": arguments });
            (EventName::FunctionCallTriggered, json!({ "function": function }))
        }
        ConversationEvent::Duration { seconds } => (EventName::Duration, json!({ "duration": seconds })),
        ConversationEvent::ProviderTimedOut(_) | ConversationEvent::ModelFault(_) => return None,
    };
    Some(JournalEntry { at: wall(now), name, data, message, faults })
}

/// The name of a message that is no reply.
fn kind_name(kind: UtteranceKind) -> Option<&'static str> {
    match kind {
        UtteranceKind::Speech => None,
        UtteranceKind::HoldPhrase => Some("hold_phrase"),
        UtteranceKind::Apology => Some("apology"),
    }
}

/// Cuts a message that is too long to be stored; the fault that says so.
fn cut_message(content: &mut String) -> Option<String> {
    let bytes = content.len();
    stored_text::cut(content, MAX_MESSAGE_BYTES)
        .then(|| format!("the message was cut to {MAX_MESSAGE_BYTES} of {bytes} bytes"))
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
    fn a_hold_phrase_and_an_apology_are_named() {
        let data = |kind| {
            let event = ConversationEvent::MessageSent {
                role: Role::Agent,
                content: "One moment, please.".into(),
                kind,
                started_at: CallTime(0),
                ended_at: CallTime(1),
                interrupted: false,
                latency: None,
            };
            from_event(event, Timestamp::from_millis(0), CallTime(2)).unwrap().event_data()["kind"].clone()
        };
        assert_eq!(data(UtteranceKind::Speech), Value::Null);
        assert_eq!(data(UtteranceKind::HoldPhrase), "hold_phrase");
        assert_eq!(data(UtteranceKind::Apology), "apology");
    }

    #[test]
    fn a_message_that_is_too_long_is_cut_and_flagged() {
        let event = ConversationEvent::MessageSent {
            role: Role::User,
            content: "\u{e9}".repeat(300_000),
            kind: UtteranceKind::Speech,
            started_at: CallTime(0),
            ended_at: CallTime(0),
            interrupted: false,
            latency: None,
        };
        let entry = from_event(event, Timestamp::from_millis(0), CallTime(0)).unwrap();
        assert_eq!(entry.message.as_ref().unwrap().content.len(), MAX_MESSAGE_BYTES);
        assert_eq!(entry.faults, ["the message was cut to 32768 of 600000 bytes"]);
        assert!(entry.event_data().to_string().len() < 40_000);
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
