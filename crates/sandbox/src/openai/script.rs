//! The scripted model: what it answers to a conversation, and that answer in the API's forms.
//!
//! It reads nothing but the messages it is sent, so an error in hearing changes what it says.

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Completion, Message, tokens};

const SCRIPT: &str = include_str!("../../scripts/model.json");

/// Characters of a call's arguments in one delta.
const ARGUMENT_PIECE: usize = 4;

/// What the scripted model knows.
#[derive(Debug, Deserialize)]
pub(super) struct Script {
    default: String,
    rules: Vec<Rule>,
}

/// An answer to anything that has one of these words.
#[derive(Debug, Deserialize)]
struct Rule {
    words: Vec<String>,
    say: String,
    call: Option<Call>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Call {
    name: String,
    arguments: Value,
}

/// What the model answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Reply {
    pub(super) text: String,
    pub(super) call: Option<Call>,
}

impl Script {
    /// The script this server was built with.
    pub(super) fn load() -> anyhow::Result<Self> {
        serde_json::from_str(SCRIPT).context("scripts/model.json is not a script")
    }

    /// The answer to a conversation: to its last user message, or nothing more after a tool's result.
    pub(super) fn reply(&self, request: &Completion) -> Reply {
        if request.messages.last().is_some_and(|message| message.role == "tool") {
            return Reply::default();
        }
        let said = request.messages.iter().rev().find(|message| message.role == "user").map(Message::text);
        let said = said.unwrap_or_default().to_lowercase();
        let words: Vec<&str> = said.split(|c: char| !c.is_alphanumeric()).collect();
        let Some(rule) =
            self.rules.iter().find(|rule| rule.words.iter().any(|word| words.contains(&word.as_str())))
        else {
            return Reply { text: self.default.clone(), call: None };
        };
        let allowed = request.tool_choice.as_ref().is_none_or(|choice| choice != "none");
        let offered =
            |call: &Call| allowed && request.tools.iter().any(|tool| tool.function.name == call.name);
        Reply { text: rule.say.clone(), call: rule.call.clone().filter(offered) }
    }
}

impl Reply {
    fn arguments(&self) -> String {
        self.call.as_ref().map(|call| call.arguments.to_string()).unwrap_or_default()
    }

    /// Why the answer ends where it ends.
    pub(super) fn finish_reason(&self) -> &'static str {
        if self.call.is_some() { "tool_calls" } else { "stop" }
    }

    /// The estimated tokens of the answer to a prompt of so many.
    pub(super) fn usage(&self, prompt: usize) -> Value {
        let completion = tokens(&self.text) + self.call.as_ref().map_or(0, |_| tokens(&self.arguments()));
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        })
    }

    /// The whole answer, for a request that does not stream.
    pub(super) fn message(&self, call_id: &str) -> Value {
        let content =
            if self.call.is_some() && self.text.is_empty() { Value::Null } else { json!(self.text) };
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if let Some(call) = &self.call {
            let function = json!({"name": call.name, "arguments": self.arguments()});
            message["tool_calls"] = json!([{"id": call_id, "type": "function", "function": function}]);
        }
        message
    }

    /// The answer token by token: the `choices` of every chunk.
    pub(super) fn choices(&self, call_id: &str) -> Vec<Value> {
        let mut deltas = vec![json!({"role": "assistant", "content": "", "refusal": null})];
        deltas.extend(self.text.split_inclusive(' ').map(|token| json!({"content": token})));
        if let Some(call) = &self.call {
            let function = json!({"name": call.name, "arguments": ""});
            let call = json!({"index": 0, "id": call_id, "type": "function", "function": function});
            deltas.push(json!({"tool_calls": [call]}));
            let arguments: Vec<char> = self.arguments().chars().collect();
            deltas.extend(arguments.chunks(ARGUMENT_PIECE).map(|piece| {
                let function = json!({"arguments": piece.iter().collect::<String>()});
                json!({"tool_calls": [{"index": 0, "function": function}]})
            }));
        }
        let running = deltas.into_iter().map(|delta| (delta, None));
        let finish = std::iter::once((json!({}), Some(self.finish_reason())));
        let choice = |(delta, reason): (Value, Option<&str>)| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]);
        running.chain(finish).map(choice).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request of a caller who said this, with the tool `end_call`.
    fn said(text: &str) -> Value {
        json!({
            "model": "gpt-6-luna", "reasoning_effort": "none", "stream": true,
            "messages": [{"role": "system", "content": "You are Ada."}, {"role": "user", "content": text}],
            "tools": [{"type": "function", "function": {"name": "end_call", "parameters": {}}}],
        })
    }

    fn reply(body: &Value) -> Reply {
        Script::load().unwrap().reply(&Completion::parse(body.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn the_script_tells_the_story_of_the_bakery() {
        let hours = reply(&said("Yes, what time do you close on Saturday?"));
        assert_eq!(
            hours.text,
            "On Saturday we close at six in the evening. Can I help you with anything else?"
        );
        assert_eq!(hours.call, None);
        let farewell = reply(&said("No, thank you very much. Goodbye."));
        assert_eq!(farewell.text, "Thank you for ordering with us. Goodbye.");
        assert_eq!(farewell.call.unwrap().name, "end_call");
        assert_eq!(reply(&said("Purple elephants.")).text, "I'm sorry, could you say that again?");
    }

    #[test]
    fn only_whole_words_of_the_last_user_message_count() {
        assert_eq!(reply(&said("She disclosed it.")).text, "I'm sorry, could you say that again?");
        let mut conversation = said("When do you close?");
        let messages = conversation["messages"].as_array_mut().unwrap();
        messages.push(json!({"role": "assistant", "content": "At six."}));
        messages.push(json!({"role": "user", "content": [{"type": "text", "text": "Bye!"}]}));
        assert_eq!(reply(&conversation).text, "Thank you for ordering with us. Goodbye.");
    }

    #[test]
    fn a_tool_is_called_only_if_it_may_be() {
        let mut body = said("Goodbye.");
        body["tool_choice"] = json!("none");
        assert_eq!(reply(&body).call, None);
        body["tool_choice"] = json!("auto");
        assert!(reply(&body).call.is_some());
        body["tools"] = json!([]);
        assert_eq!(reply(&body).call, None);
    }

    #[test]
    fn nothing_more_is_said_after_the_result_of_a_tool() {
        let mut body = said("Goodbye.");
        let messages = body["messages"].as_array_mut().unwrap();
        messages.push(json!({"role": "tool", "tool_call_id": "call_1", "content": "ok"}));
        let reply = reply(&body);
        assert_eq!(reply, Reply::default());
        assert_eq!(reply.finish_reason(), "stop");
    }

    #[test]
    fn a_streamed_answer_comes_in_small_deltas_that_join_to_the_whole() {
        let reply = reply(&said("Goodbye."));
        let choices = reply.choices("call_1");
        let deltas: Vec<&Value> = choices.iter().map(|choices| &choices[0]["delta"]).collect();
        assert_eq!(*deltas[0], json!({"role": "assistant", "content": "", "refusal": null}));
        let text: String = deltas.iter().filter_map(|delta| delta["content"].as_str()).collect();
        assert_eq!(text, "Thank you for ordering with us. Goodbye.");
        let calls: Vec<&Value> =
            deltas.iter().map(|delta| &delta["tool_calls"][0]).filter(|c| !c.is_null()).collect();
        let function = json!({"name": "end_call", "arguments": ""});
        assert_eq!(*calls[0], json!({"index": 0, "id": "call_1", "type": "function", "function": function}));
        assert_eq!(*calls[1], json!({"index": 0, "function": {"arguments": "{}"}}));
        assert_eq!(choices.last().unwrap()[0]["finish_reason"], "tool_calls");
        assert!(choices.iter().rev().skip(1).all(|choices| choices[0]["finish_reason"].is_null()));
    }

    #[test]
    fn long_arguments_come_in_pieces() {
        let arguments = json!({"name": "Zoë Ångström", "day": "Saturday"});
        let call = Call { name: "book".to_owned(), arguments: arguments.clone() };
        let choices = Reply { text: String::new(), call: Some(call) }.choices("call_1");
        let pieces: Vec<&str> = choices
            .iter()
            .filter_map(|choices| choices[0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str())
            .collect();
        assert!(pieces.len() > 5);
        assert_eq!(serde_json::from_str::<Value>(&pieces.concat()).unwrap(), arguments);
    }

    #[test]
    fn a_whole_answer_has_the_text_and_the_call() {
        let message = reply(&said("Goodbye.")).message("call_1");
        assert_eq!(message["content"], "Thank you for ordering with us. Goodbye.");
        assert_eq!(message["tool_calls"][0]["function"], json!({"name": "end_call", "arguments": "{}"}));
    }
}
