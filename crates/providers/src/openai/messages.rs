//! The conversation on the wire, in the vendor's form and in the one that all chat templates accept.

use serde_json::{Value, json};

use super::EXTRA_CONTENT;
use crate::language_model::{self, ChatMessage, ToolCall};

/// The user's first turn, where the assistant speaks first and a template wants the user to.
const CALL_BEGINS: &str = "[The call begins.]";

/// The conversation for a server that takes the messages in any order, with the state that compatible servers want back.
pub(super) fn wire(prompt: Option<&str>, messages: &[ChatMessage]) -> Vec<Value> {
    let system = prompt.map(|prompt| json!({"role": "system", "content": prompt}));
    let mut wire: Vec<Value> = system.into_iter().collect();
    for (position, message) in messages.iter().enumerate() {
        match message {
            ChatMessage::User(content) => wire.push(json!({"role": "user", "content": content})),
            ChatMessage::Agent(content) => wire.push(json!({"role": "assistant", "content": content})),
            ChatMessage::System(content) => wire.push(json!({"role": "system", "content": content})),
            ChatMessage::ToolCalls(calls) => {
                let wire_calls: Value = calls.iter().map(wire_call).collect();
                let spoke_before = position > 0 && matches!(messages[position - 1], ChatMessage::Agent(_));
                match wire.last_mut() {
                    Some(spoken) if spoke_before => spoken["tool_calls"] = wire_calls,
                    _ => wire.push(json!({"role": "assistant", "content": null, "tool_calls": wire_calls})),
                }
                wire.extend(calls.iter().map(|call| wire_result(call, &messages[position..])));
            }
            // Sent right after its call, see above.
            ChatMessage::ToolResult { .. } => {}
        }
    }
    wire
}

/// The API wants a result right after every call. In the conversation other messages may stand between the two, or
/// there is no result yet.
fn wire_result(call: &ToolCall, messages: &[ChatMessage]) -> Value {
    let result = messages.iter().find_map(|message| match message {
        ChatMessage::ToolResult { call: id, content } if *id == call.id => Some(content.as_str()),
        _ => None,
    });
    let content = result.unwrap_or(r#"{"error":"there is no result yet"}"#);
    json!({"role": "tool", "tool_call_id": call.id, "content": content})
}

fn wire_call(call: &ToolCall) -> Value {
    // Some servers parse the arguments again and refuse invalid ones, which the model itself wrote.
    let arguments = if language_model::arguments(call).is_some() { call.arguments.as_str() } else { "{}" };
    let mut wire =
        json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}});
    if let Some(extra) = call.provider_state.as_ref().and_then(|state| state.get(EXTRA_CONTENT)) {
        wire[EXTRA_CONTENT] = extra.clone();
    }
    wire
}

/// Takes the state of calls out again: the vendor itself refuses members that it does not know.
pub(super) fn without_state(wire: &mut [Value]) {
    let calls = wire.iter_mut().filter_map(|message| message.get_mut("tool_calls")?.as_array_mut());
    for call in calls.flatten().filter_map(Value::as_object_mut) {
        call.remove(EXTRA_CONTENT);
    }
}

/// The instructions first, then user and assistant in turns, the user first: notes between the turns become a part of
/// the user's next one, and messages of one side in a row become one.
pub(super) fn in_turns(wire: Vec<Value>) -> Vec<Value> {
    let mut turns: Vec<Value> = vec![];
    // Notes for the user's next turn.
    let mut notes = vec![];
    for message in wire {
        let role = message["role"].as_str().unwrap_or_default().to_owned();
        match role.as_str() {
            "system" if turns.is_empty() => turns.push(message),
            "system" => notes.push(note(&message)),
            "user" => {
                let text = notes.drain(..).chain(message["content"].as_str().map(str::to_owned));
                say(&mut turns, "user", &text.collect::<Vec<_>>().join("\n"));
            }
            "assistant" => {
                begin(&mut turns);
                if message["tool_calls"].is_null() {
                    say(&mut turns, "assistant", message["content"].as_str().unwrap_or_default());
                    continue;
                }
                match turns.last_mut().filter(|last| is_plain(last, "assistant")) {
                    Some(last) if message["content"].is_null() => {
                        last["tool_calls"] = message["tool_calls"].clone();
                    }
                    _ => turns.push(message),
                }
            }
            _ => turns.push(message),
        }
    }
    begin(&mut turns);
    if !notes.is_empty() {
        let text = notes.join("\n");
        match turns.last_mut() {
            // After a result the assistant speaks.
            Some(last) if last["role"] == "tool" => append(last, &text),
            _ => say(&mut turns, "user", &text),
        }
    }
    turns
}

/// The conversation of [`in_turns`] for a model without a role for instructions.
pub(super) fn without_system(wire: Vec<Value>) -> Vec<Value> {
    let mut turns = in_turns(wire);
    if turns.first().is_none_or(|first| first["role"] != "system") {
        return turns;
    }
    let system = turns.remove(0);
    let prompt = system["content"].as_str().unwrap_or_default();
    if let Some(first) = turns.first_mut() {
        let words = first["content"].as_str().filter(|words| *words != CALL_BEGINS).map(str::to_owned);
        let text = [Some(prompt.to_owned()), words].into_iter().flatten().collect::<Vec<_>>().join("\n\n");
        first["content"] = json!(text);
    }
    turns
}

fn note(message: &Value) -> String {
    format!("[{}]", message["content"].as_str().unwrap_or_default())
}

/// Lets the user begin, if nobody has.
fn begin(turns: &mut Vec<Value>) {
    if turns.last().is_none_or(|last| last["role"] == "system") {
        turns.push(json!({"role": "user", "content": CALL_BEGINS}));
    }
}

fn say(turns: &mut Vec<Value>, role: &str, text: &str) {
    match turns.last_mut().filter(|last| is_plain(last, role)) {
        Some(last) => append(last, text),
        None => turns.push(json!({"role": role, "content": text})),
    }
}

/// Whether a turn is one of words alone.
fn is_plain(turn: &Value, role: &str) -> bool {
    turn["role"] == role && turn["tool_calls"].is_null()
}

fn append(turn: &mut Value, text: &str) {
    let before = turn["content"].as_str().unwrap_or_default();
    turn["content"] = json!(format!("{before}\n{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(messages: &[ChatMessage]) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let turns = in_turns(wire(Some("Be brief."), messages));
        turns.iter().map(|turn| (text(&turn["role"]), text(&turn["content"]))).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(role, content)| ((*role).to_owned(), (*content).to_owned())).collect()
    }

    fn user(text: &str) -> ChatMessage {
        ChatMessage::User(text.into())
    }

    fn agent(text: &str) -> ChatMessage {
        ChatMessage::Agent(text.into())
    }

    fn system(text: &str) -> ChatMessage {
        ChatMessage::System(text.into())
    }

    #[test]
    fn the_user_begins_and_the_sides_take_turns() {
        let conversation = [agent("Hello."), agent("How are you?"), user("Fine."), user("And you?")];
        let expected = [
            ("system", "Be brief."),
            ("user", "[The call begins.]"),
            ("assistant", "Hello.\nHow are you?"),
            ("user", "Fine.\nAnd you?"),
        ];
        assert_eq!(turns(&conversation), pairs(&expected));
        assert_eq!(turns(&[]), pairs(&[("system", "Be brief."), ("user", "[The call begins.]")]));
    }

    #[test]
    fn notes_become_a_part_of_the_next_user_turn() {
        let conversation = [
            user("Hi."),
            system("It is noon."),
            agent("Hello."),
            user("Bye."),
            agent("Bye."),
            system("Stay."),
        ];
        let expected = [
            ("system", "Be brief."),
            ("user", "Hi."),
            ("assistant", "Hello."),
            ("user", "[It is noon.]\nBye."),
            ("assistant", "Bye."),
            ("user", "[Stay.]"),
        ];
        assert_eq!(turns(&conversation), pairs(&expected));
    }

    #[test]
    fn a_note_after_a_result_is_a_part_of_it() {
        let call =
            ToolCall { id: "a".into(), name: "f".into(), arguments: "{}".into(), provider_state: None };
        let result = ChatMessage::ToolResult { call: "a".into(), content: "2".into() };
        let turns = turns(&[user("Hi."), ChatMessage::ToolCalls(vec![call]), result, system("Be quick.")]);
        let expected =
            [("system", "Be brief."), ("user", "Hi."), ("assistant", ""), ("tool", "2\n[Be quick.]")];
        assert_eq!(turns, pairs(&expected));
    }

    #[test]
    fn a_prompt_without_a_role_of_its_own_begins_the_first_turn() {
        let first = |messages: &[ChatMessage]| without_system(wire(Some("Be brief."), messages))[0].clone();
        assert_eq!(first(&[user("Hi.")]), json!({"role": "user", "content": "Be brief.\n\nHi."}));
        assert_eq!(first(&[agent("Hello.")]), json!({"role": "user", "content": "Be brief."}));
    }
}
