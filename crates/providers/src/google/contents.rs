//! The conversation on Gemini's wire: turns of `user` and `model`, the user first.
//!
//! Pure. A turn with function calls is followed by one turn with their results, as many and in the same order. The first
//! call of a turn has its thought signature, without which Gemini 3 refuses the request; a call that another vendor made has the value
//! that Google documents for it.

use serde_json::{Map, Value, json};

use super::functions::wire_name;
use crate::language_model::{self, ChatMessage, ToolCall};

/// The user's first turn, where the agent speaks first.
const CALL_BEGINS: &str = "[The call begins.]";

/// Stands for the signature of a call that Gemini did not make (ai.google.dev/gemini-api/docs/thought-signatures).
pub(super) const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The member of [`ToolCall::provider_state`] with the signature.
pub(super) const SIGNATURE: &str = "google_thought_signature";

/// The turns of a conversation.
pub(super) fn wire(messages: &[ChatMessage]) -> Vec<Value> {
    let mut turns = Turns::default();
    for (position, message) in messages.iter().enumerate() {
        match message {
            ChatMessage::User(text) => {
                let notes = std::mem::take(&mut turns.notes);
                let texts = notes.iter().map(String::as_str).chain([text.as_str()]);
                turns.say("user", &texts.collect::<Vec<_>>().join("\n"));
            }
            ChatMessage::Agent(text) => turns.say("model", text),
            ChatMessage::System(text) => turns.notes.push(format!("[{text}]")),
            ChatMessage::ToolCalls(calls) if calls.is_empty() => {}
            ChatMessage::ToolCalls(calls) => {
                let parts = calls.iter().enumerate().map(|(index, call)| call_part(call, index == 0));
                turns.add("model", parts.collect());
                turns.push(
                    "user",
                    calls.iter().map(|call| result_part(call, &messages[position..])).collect(),
                );
            }
            // Sent right after its call, see above.
            ChatMessage::ToolResult { .. } => {}
        }
    }
    turns.finish()
}

/// The turns so far.
#[derive(Default)]
struct Turns {
    wire: Vec<Value>,
    /// Notes for the user's next turn.
    notes: Vec<String>,
}

impl Turns {
    fn say(&mut self, role: &str, text: &str) {
        // The vendor refuses an empty part.
        if !text.trim().is_empty() {
            self.add(role, vec![json!({ "text": text })]);
        }
    }

    /// Adds parts to the last turn if it is of the same side, and no turn of results or calls.
    fn add(&mut self, role: &str, mut parts: Vec<Value>) {
        let begins = self.wire.is_empty() && role == "model";
        if begins {
            self.push("user", vec![json!({ "text": CALL_BEGINS })]);
        }
        let last = self.wire.last_mut().filter(|last| last["role"] == role && is_text(last));
        match last.and_then(|last| last["parts"].as_array_mut()) {
            Some(last) => last.append(&mut parts),
            None => self.push(role, parts),
        }
    }

    fn push(&mut self, role: &str, parts: Vec<Value>) {
        self.wire.push(json!({ "role": role, "parts": Value::Array(parts) }));
    }

    fn finish(mut self) -> Vec<Value> {
        let notes = std::mem::take(&mut self.notes).join("\n");
        self.say("user", &notes);
        if self.wire.is_empty() {
            self.say("user", CALL_BEGINS);
        }
        self.wire
    }
}

/// Whether a turn is one of words alone.
fn is_text(turn: &Value) -> bool {
    turn["parts"].as_array().is_some_and(|parts| parts.iter().all(|part| part.get("text").is_some()))
}

fn call_part(call: &ToolCall, is_first: bool) -> Value {
    let arguments = language_model::arguments(call).unwrap_or_default();
    let function = json!({ "id": call.id, "name": wire_name(&call.name), "args": arguments });
    let mut part = json!({ "functionCall": function });
    let signature = call.provider_state.as_ref().and_then(|state| state[SIGNATURE].as_str());
    if let Some(signature) = signature.or(is_first.then_some(NO_SIGNATURE)) {
        part["thoughtSignature"] = json!(signature);
    }
    part
}

/// The result of a call, which is an object. In the conversation other messages may stand before it, or there is none yet.
fn result_part(call: &ToolCall, messages: &[ChatMessage]) -> Value {
    let result = messages.iter().find_map(|message| match message {
        ChatMessage::ToolResult { call: id, content } if *id == call.id => Some(content.as_str()),
        _ => None,
    });
    let response = match result {
        None => json!({ "error": "there is no result yet" }),
        Some(content) => match serde_json::from_str::<Map<String, Value>>(content) {
            Ok(object) => Value::Object(object),
            Err(_) => json!({ "result": serde_json::from_str(content).unwrap_or(json!(content)) }),
        },
    };
    let function = json!({ "id": call.id, "name": wire_name(&call.name), "response": response });
    json!({ "functionResponse": function })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, provider_state: Option<Value>) -> ToolCall {
        ToolCall { id: id.into(), name: "look".into(), arguments: r#"{"q":1}"#.into(), provider_state }
    }

    fn user(text: &str) -> ChatMessage {
        ChatMessage::User(text.into())
    }

    fn agent(text: &str) -> ChatMessage {
        ChatMessage::Agent(text.into())
    }

    fn result(call: &str, content: &str) -> ChatMessage {
        ChatMessage::ToolResult { call: call.into(), content: content.into() }
    }

    fn turn(role: &str, parts: &Value) -> Value {
        json!({ "role": role, "parts": parts })
    }

    #[test]
    fn the_user_begins_and_each_side_has_one_turn() {
        let wire = wire(&[
            agent("Hello."),
            user("Hi."),
            ChatMessage::System("It is noon.".into()),
            user("Well?"),
            agent(" "),
            ChatMessage::System("Silence.".into()),
        ]);
        let expected = [
            turn("user", &json!([{"text": CALL_BEGINS}])),
            turn("model", &json!([{"text": "Hello."}])),
            turn("user", &json!([{"text": "Hi."}, {"text": "[It is noon.]\nWell?"}, {"text": "[Silence.]"}])),
        ];
        assert_eq!(wire, expected);
        assert_eq!(super::wire(&[]), [turn("user", &json!([{"text": CALL_BEGINS}]))]);
    }

    #[test]
    fn calls_have_their_signature_and_results_follow_in_one_turn() {
        let signed = call("a", Some(json!({ SIGNATURE: "c2ln" })));
        let wire = wire(&[
            user("Look."),
            agent("One moment."),
            ChatMessage::ToolCalls(vec![signed, call("b", None)]),
            user("Still there?"),
            result("b", "2"),
            result("a", r#"{"ok":true}"#),
            ChatMessage::ToolCalls(vec![call("c", None)]),
            agent("Done."),
        ]);
        let function = |id: &str| json!({"id": id, "name": "look", "args": {"q": 1}});
        let response = |id: &str, response: Value| json!({"functionResponse": {"id": id, "name": "look", "response": response}});
        let expected = [
            turn("user", &json!([{"text": "Look."}])),
            turn(
                "model",
                &json!([
                    {"text": "One moment."},
                    {"functionCall": function("a"), "thoughtSignature": "c2ln"},
                    {"functionCall": function("b")},
                ]),
            ),
            turn("user", &json!([response("a", json!({"ok": true})), response("b", json!({"result": 2}))])),
            turn("user", &json!([{"text": "Still there?"}])),
            turn("model", &json!([{"functionCall": function("c"), "thoughtSignature": NO_SIGNATURE}])),
            turn("user", &json!([response("c", json!({"error": "there is no result yet"}))])),
            turn("model", &json!([{"text": "Done."}])),
        ];
        assert_eq!(wire, expected);
    }

    #[test]
    fn a_result_of_any_form_becomes_an_object() {
        let response = |content: &str| {
            let wire = wire(&[ChatMessage::ToolCalls(vec![call("a", None)]), result("a", content)]);
            wire[2]["parts"][0]["functionResponse"]["response"].clone()
        };
        assert_eq!(response("closed"), json!({"result": "closed"}));
        assert_eq!(response("[1]"), json!({"result": [1]}));
        assert_eq!(response("{}"), json!({}));
    }
}
