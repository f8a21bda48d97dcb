//! The conversation of a request: turns of `user` and `model`.
//!
//! Calls and results must match, and each call must come back with the thought signature that it was sent with; the
//! server knows its own again.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::{
    models,
    refusal::{Refusal, known},
};
use crate::script::{Conversation, Role, Said};

/// The documented stand-in for the signature of a call that another model made.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The signature that the server sends with a call.
pub(super) fn signature(name: &str, arguments: &Value) -> String {
    STANDARD.encode(format!("sandbox thoughts about {name} {arguments}"))
}

/// Reads and checks `systemInstruction` and `contents`.
pub(super) fn read(model: &str, body: &Map<String, Value>) -> Result<Conversation, Refusal> {
    let mut messages = vec![];
    if let Some(instruction) = body.get("systemInstruction") {
        let parts = instruction["parts"].as_array().into_iter().flatten();
        let text: String = parts.filter_map(|part| part["text"].as_str()).collect();
        messages.push(Said { role: Role::Note, text });
    }
    let contents = body.get("contents").and_then(Value::as_array).filter(|contents| !contents.is_empty());
    let Some(contents) = contents else {
        let message = "* GenerateContentRequest.contents: contents is not specified";
        return Err(Refusal::invalid(message));
    };
    let mut turns: Vec<Turn<'_>> = vec![];
    for (index, content) in contents.iter().enumerate() {
        let turn = Turn::read(content, index)?;
        // The official client sends a content per chunk of a streamed response.
        match turns.last_mut().filter(|last| last.is_model && turn.is_model) {
            Some(last) => last.join(turn),
            None => turns.push(turn),
        }
    }
    for (index, turn) in turns.iter().enumerate() {
        turn.check_after(index.checked_sub(1).map(|before| &turns[before]))?;
        if models::requires_signatures(model) {
            turn.check_signatures(index)?;
        }
        turn.say(index == 0, &mut messages);
    }
    if turns.last().is_some_and(|turn| !turn.calls.is_empty()) {
        return Err(unequal());
    }
    Ok(Conversation { messages, tools: vec![] })
}

/// One content, or all contents of the model in a row.
struct Turn<'a> {
    is_model: bool,
    parts: Vec<&'a Map<String, Value>>,
    calls: Vec<&'a Value>,
    results: Vec<&'a Value>,
}

impl<'a> Turn<'a> {
    fn read(content: &'a Value, index: usize) -> Result<Self, Refusal> {
        let place = format!("contents[{index}]");
        let Some(object) = content.as_object() else {
            return Err(Refusal::invalid(format!(
                "Invalid value at '{place}' (type.googleapis.com/Content)"
            )));
        };
        known(object, &["parts", "role"], &place)?;
        let is_model = match content["role"].as_str() {
            Some("user") => false,
            Some("model") => true,
            _ => return Err(Refusal::invalid("Please use a valid role: user, model.")),
        };
        let parts = content["parts"].as_array().filter(|parts| !parts.is_empty());
        let Some(parts) = parts else {
            let message =
                format!("* GenerateContentRequest.{place}.parts: contents.parts must not be empty.");
            return Err(Refusal::invalid(message));
        };
        let mut turn = Self { is_model, parts: vec![], calls: vec![], results: vec![] };
        for (index, part) in parts.iter().enumerate() {
            let place = format!("{place}.parts[{index}]");
            let Some(object) = part.as_object() else {
                return Err(Refusal::invalid(format!(
                    "Invalid value at '{place}' (type.googleapis.com/Part)"
                )));
            };
            turn.add(object, &place)?;
        }
        Ok(turn)
    }

    fn join(&mut self, other: Self) {
        self.parts.extend(other.parts);
        self.calls.extend(other.calls);
        self.results.extend(other.results);
    }

    fn add(&mut self, part: &'a Map<String, Value>, place: &str) -> Result<(), Refusal> {
        known(part, &["functionCall", "functionResponse", "text", "thought", "thoughtSignature"], place)?;
        let has_text = part.get("text").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        let has_signature = part.contains_key("thoughtSignature");
        let (call, result) = (part.get("functionCall"), part.get("functionResponse"));
        if !has_text && !has_signature && call.is_none() && result.is_none() {
            return Err(Refusal::invalid(format!(
                "* GenerateContentRequest.{place}.data: required oneof field 'data' must have one initialized field"
            )));
        }
        for (function, member, place) in [
            (call, "args", format!("{place}.function_call")),
            (result, "response", format!("{place}.function_response")),
        ] {
            let Some(function) = function else { continue };
            let object = function.as_object().cloned().unwrap_or_default();
            known(&object, &["id", "name", member], &place)?;
            if object.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
                let message = format!("* GenerateContentRequest.{place}.name: Name cannot be empty.");
                return Err(Refusal::invalid(message));
            }
            if object.get(member).is_some_and(|value| !value.is_object()) {
                let message = format!(
                    "Invalid value at '{place}.{member}' (type.googleapis.com/google.protobuf.Struct)"
                );
                return Err(Refusal::invalid(message));
            }
        }
        self.calls.extend(call);
        self.results.extend(result);
        self.parts.push(part);
        Ok(())
    }

    /// Checks the order of turns with calls and results.
    fn check_after(&self, before: Option<&Turn<'_>>) -> Result<(), Refusal> {
        let called = before.map_or(&[][..], |before| &before.calls);
        if !self.calls.is_empty() && (!self.is_model || before.is_none()) {
            return Err(Refusal::invalid(
                "Please ensure that function call turn comes immediately after a user turn or after a function response \
                 turn.",
            ));
        }
        if !self.results.is_empty() && (self.is_model || called.is_empty()) {
            return Err(Refusal::invalid(
                "Please ensure that function response turn comes immediately after a function call turn.",
            ));
        }
        if self.results.len() != called.len() {
            return Err(unequal());
        }
        let names = |functions: &[&Value]| {
            let mut names: Vec<_> = functions
                .iter()
                .map(|function| (function["id"].to_string(), function["name"].to_string()))
                .collect();
            names.sort();
            names
        };
        if names(&self.results) != names(called) {
            return Err(Refusal::invalid(
                "Please ensure that each function response has the id and name of its call.",
            ));
        }
        Ok(())
    }

    /// The first call of a turn needs a signature, and every signature must be one that was sent with the call.
    fn check_signatures(&self, turn: usize) -> Result<(), Refusal> {
        let calls = self
            .parts
            .iter()
            .filter_map(|part| Some((part.get("functionCall")?, part.get("thoughtSignature"))));
        for (index, (call, sent)) in calls.enumerate() {
            let name = call["name"].as_str().unwrap_or_default();
            let Some(sent) = sent.and_then(Value::as_str) else {
                if index > 0 {
                    continue;
                }
                return Err(Refusal::invalid(format!(
                    "Function call is missing a thought_signature in functionCall parts. This is required for tools to \
                     work correctly, and missing thought_signature may lead to degraded model performance. Additional \
                     data, function call `default_api:{name}` , position {}. Please refer to \
                     https://ai.google.dev/gemini-api/docs/thought-signatures for more details.",
                    turn + 1
                )));
            };
            // Clients send URL-safe base64 for bytes.
            let sent = sent.replace('-', "+").replace('_', "/");
            let stand_in = NO_SIGNATURE.replace('_', "/");
            let empty = Value::Object(Map::new());
            if sent != stand_in && sent != signature(name, call.get("args").unwrap_or(&empty)) {
                return Err(Refusal::invalid("Corrupted thought signature."));
            }
        }
        Ok(())
    }

    /// The text of the turn for the script. The user's lines in square brackets are notes; before anybody spoke they say nothing.
    fn say(&self, is_first: bool, messages: &mut Vec<Said>) {
        for part in &self.parts {
            if let Some(result) = part.get("functionResponse") {
                let response = &result["response"];
                let only =
                    response.get("result").filter(|_| response.as_object().is_some_and(|all| all.len() == 1));
                let only = only.unwrap_or(response);
                let text = only.as_str().map_or_else(|| only.to_string(), str::to_owned);
                messages.push(Said { role: Role::Result, text });
            }
            let Some(text) = part.get("text").and_then(Value::as_str) else { continue };
            if self.is_model {
                messages.push(Said { role: Role::Agent, text: text.to_owned() });
                continue;
            }
            for line in text.lines() {
                match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                    Some(_) if is_first => {}
                    Some(note) => messages.push(Said { role: Role::Note, text: note.to_owned() }),
                    None => messages.push(Said { role: Role::User, text: line.to_owned() }),
                }
            }
        }
    }
}

fn unequal() -> Refusal {
    Refusal::invalid(
        "Please ensure that the number of function response parts is equal to the number of function call parts of the \
         function call turn.",
    )
}
