//! The model's replies as the rules of a script.
//!
//! A rule applies to a user message with one of its words: the whole message, or a word that no other message of the call
//! has, so that an error of recognition does not choose another reply.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use switchboard_model::event_names::EventName;

use crate::events::EventView;

/// Minimum length of a word that stands for a message, in characters. Shorter ones are taken for each other.
const MIN_CHARS: usize = 4;
/// Maximum number of such words in a rule.
const MAX_WORDS: usize = 6;

/// The script of the language model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ScenarioModel")]
pub struct ModelScriptView {
    /// The replies; the first that applies is given.
    pub rules: Vec<RuleView>,
    /// The reply to a caller who is silent; absent if the model gave none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_silent: Option<String>,
    /// The reply to a message without a rule, and before the caller's first words; absent if the model gave none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// A reply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ScenarioRule")]
pub struct RuleView {
    /// The rule applies to a user message with one of these words, or several words in a row.
    pub words: Vec<String>,
    /// The rule applies only to the user message with this number, from 1: another message has the same words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<usize>,
    /// The reply.
    pub say: String,
    /// The functions that the reply calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<FunctionCallView>,
    /// The reply to the results of the functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<String>,
}

/// A function call.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ScenarioFunctionCall")]
pub struct FunctionCallView {
    /// The function's name.
    pub name: String,
    /// The arguments.
    pub arguments: Value,
}

/// A user message, and what the model generated after it.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Empty before the first message.
    user: String,
    /// Texts before the function calls.
    says: Vec<String>,
    calls: Vec<FunctionCallView>,
    /// Texts after them.
    then: Vec<String>,
}

impl Turn {
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    fn is_answered(&self) -> bool {
        !self.user.is_empty() && (!self.says.is_empty() || self.has_calls())
    }
}

/// The turns of a call: the first is before the caller's first message.
pub(super) fn turns(events: &[EventView]) -> Vec<Turn> {
    let mut turns = vec![Turn::default()];
    for event in events {
        let message = &event.data["message"];
        let text = message["content"].as_str().unwrap_or_default().to_owned();
        if event.event == EventName::MessageSent && message["role"] == "user" {
            turns.push(Turn { user: text, ..Turn::default() });
            continue;
        }
        let Some(turn) = turns.last_mut() else { continue };
        match event.event {
            EventName::MessageGenerated if turn.has_calls() => turn.then.push(text),
            EventName::MessageGenerated => turn.says.push(text),
            // A scenario's model calls functions once in a turn.
            EventName::FunctionCallTriggered if turn.then.is_empty() => {
                let function = &event.data["function"];
                let name = function["name"].as_str().unwrap_or_default().to_owned();
                turn.calls.push(FunctionCallView { name, arguments: function["arguments"].clone() });
            }
            _ => {}
        }
    }
    turns
}

/// The script that gives the same replies.
pub(super) fn script(turns: &[Turn]) -> ModelScriptView {
    let phrases: Vec<String> = turns.iter().map(|turn| words(&turn.user).join(" ")).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for phrase in &phrases {
        let mut distinct: Vec<_> = phrase.split(' ').collect();
        distinct.sort_unstable();
        distinct.dedup();
        for word in distinct {
            *counts.entry(word).or_default() += 1;
        }
    }
    let is_own = |word: &&str| word.chars().count() >= MIN_CHARS && counts.get(word) == Some(&1);
    let mut rules = vec![];
    for (number, (turn, phrase)) in turns.iter().zip(&phrases).enumerate() {
        if !turn.is_answered() || phrase.is_empty() {
            continue;
        }
        let padded = format!(" {phrase} ");
        let others = phrases.iter().enumerate().filter(|(other, _)| *other != number);
        let is_shared = others.map(|(_, other)| format!(" {other} ")).any(|other| other.contains(&padded));
        let own = phrase.split(' ').filter(is_own).take(MAX_WORDS).map(str::to_owned);
        let mut words: Vec<_> = std::iter::once(phrase.clone()).chain(own).collect();
        words.dedup();
        // A reply in several parts, such as one that was interrupted and goes on, is one reply again.
        let say = if turn.has_calls() {
            turn.says.join(" ")
        } else {
            turn.says.first().cloned().unwrap_or_default()
        };
        rules.push(RuleView {
            words,
            turn: is_shared.then_some(number),
            say,
            calls: turn.calls.clone(),
            then: (!turn.then.is_empty()).then(|| turn.then.join(" ")),
        });
    }
    // More words without a message of the caller: the caller was silent.
    let silent = turns.iter().filter(|turn| !turn.has_calls()).find_map(|turn| turn.says.get(1));
    let default = turns.first().and_then(|turn| turn.says.first());
    ModelScriptView { rules, when_silent: silent.or(default).cloned(), default: default.cloned() }
}

/// The words of a text in lower case.
fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|character: char| !character.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::scenarios::testing::event;

    fn sent(text: &str) -> EventView {
        event(0, EventName::MessageSent, json!({ "message": { "role": "user", "content": text } }))
    }

    fn generated(text: &str) -> EventView {
        event(0, EventName::MessageGenerated, json!({ "message": { "role": "agent", "content": text } }))
    }

    fn called(name: &str) -> EventView {
        event(0, EventName::FunctionCallTriggered, json!({ "function": { "name": name, "arguments": {} } }))
    }

    fn script_of(events: &[EventView]) -> Value {
        json!(script(&turns(events)))
    }

    #[test]
    fn a_reply_has_a_rule_with_the_words_of_its_message() {
        let events = [
            sent("What time do you close on Saturday?"),
            generated("At six."),
            sent("No, thank you, goodbye on Saturday."),
            generated("Goodbye."),
            called("end_call"),
        ];
        let end = json!({ "name": "end_call", "arguments": {} });
        let expected = json!({ "rules": [
            { "words": ["what time do you close on saturday", "what", "time", "close"], "say": "At six." },
            { "words": ["no thank you goodbye on saturday", "thank", "goodbye"], "say": "Goodbye.", "calls": [end] },
        ]});
        assert_eq!(script_of(&events), expected);
    }

    #[test]
    fn the_results_of_functions_are_answered_and_silence_too() {
        let events = [
            generated("Hello?"),
            sent("How many?"),
            generated("Let me look."),
            called("count"),
            called("price"),
            generated("Seven."),
            sent("Hm."),
            generated("Anything else?"),
            generated("Are you still there?"),
        ];
        let script = script_of(&events);
        assert_eq!(script["rules"][0]["say"], "Let me look.");
        assert_eq!(script["rules"][0]["calls"].as_array().unwrap().len(), 2);
        assert_eq!(script["rules"][0]["then"], "Seven.");
        assert_eq!(script["when_silent"], "Are you still there?");
        assert_eq!(script["default"], "Hello?");
    }

    #[test]
    fn messages_with_the_same_words_are_told_apart_by_their_number() {
        let events = [
            sent("Yes."),
            generated("Which day?"),
            sent("Monday."),
            sent("Yes!"),
            generated("Booked."),
            sent("Yes, that is all."),
            generated("Goodbye."),
        ];
        let script = script_of(&events);
        let rules = script["rules"].as_array().unwrap();
        let turns: Vec<_> = rules.iter().map(|rule| (&rule["say"], &rule["turn"])).collect();
        let (one, three) = (json!(1), json!(3));
        let expected =
            [(&json!("Which day?"), &one), (&json!("Booked."), &three), (&json!("Goodbye."), &Value::Null)];
        assert_eq!(turns, expected);
    }
}
