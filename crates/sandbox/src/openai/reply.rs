//! The response of the scripted model in the API's forms.

use serde_json::{Value, json};

use crate::script::{Reply, ScriptedCall, tokens};

/// Characters of a call's arguments in one delta.
const ARGUMENT_PIECE: usize = 4;

impl Reply {
    /// The reason for the end of the response.
    pub(super) fn finish_reason(&self) -> &'static str {
        if self.calls.is_empty() { "stop" } else { "tool_calls" }
    }

    /// The estimated usage for a prompt of this many tokens.
    pub(super) fn usage(&self, prompt: usize) -> Value {
        let arguments = self.calls.iter().map(|call| tokens(&call.arguments.to_string()));
        let completion = tokens(&self.text) + arguments.sum::<usize>();
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        })
    }

    /// The response to a request that does not stream. `ids` has one id per call.
    pub(super) fn message(&self, ids: &[String]) -> Value {
        let content =
            if !self.calls.is_empty() && self.text.is_empty() { Value::Null } else { json!(self.text) };
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if !self.calls.is_empty() {
            let call = |(call, id): (&ScriptedCall, &String)| {
                let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
                json!({"id": id, "type": "function", "function": function})
            };
            message["tool_calls"] = self.calls.iter().zip(ids).map(call).collect();
        }
        message
    }

    /// The response token by token: the `choices` of every chunk. `ids` has one id per call.
    pub(super) fn choices(&self, ids: &[String]) -> Vec<Value> {
        let mut deltas = vec![json!({"role": "assistant", "content": "", "refusal": null})];
        deltas.extend(self.text.split_inclusive(' ').map(|token| json!({"content": token})));
        for (index, (call, id)) in self.calls.iter().zip(ids).enumerate() {
            let function = json!({"name": call.name, "arguments": ""});
            let begun = json!({"index": index, "id": id, "type": "function", "function": function});
            deltas.push(json!({"tool_calls": [begun]}));
            let arguments: Vec<char> = call.arguments.to_string().chars().collect();
            deltas.extend(arguments.chunks(ARGUMENT_PIECE).map(|piece| {
                let function = json!({"arguments": piece.iter().collect::<String>()});
                json!({"tool_calls": [{"index": index, "function": function}]})
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
    use std::time::Duration;

    use super::*;
    use crate::{
        openai::request::Completion,
        script::{Script, not_recognised},
    };

    /// A request with this user message and the tool `end_call`.
    fn said(text: &str) -> Value {
        json!({
            "model": "gpt-6-luna", "reasoning_effort": "none", "stream": true,
            "messages": [{"role": "system", "content": "You are Ada."}, {"role": "user", "content": text}],
            "tools": [{"type": "function", "function": {"name": "end_call", "parameters": {"type": "object"}}}],
        })
    }

    /// That request with more messages. The results are those of one response's calls.
    fn then(text: &str, after: &[(&str, &str)]) -> Value {
        let mut body = said(text);
        let messages = body["messages"].as_array_mut().unwrap();
        let results = after.iter().filter(|(role, _)| *role == "tool").count();
        let call = |n: usize| json!({"id": n.to_string(), "type": "function", "function": {"name": "f", "arguments": "{}"}});
        if results > 0 {
            let calls: Vec<_> = (0..results).map(call).collect();
            messages.push(json!({"role": "assistant", "tool_calls": calls}));
        }
        messages.extend(after.iter().enumerate().map(|(n, (role, content))| {
            let mut message = json!({"role": role, "content": content});
            if *role == "tool" {
                message["tool_call_id"] = json!(n.to_string());
            }
            message
        }));
        body
    }

    fn by(script: &Script, body: &Value) -> Reply {
        let today = jiff::civil::date(2026, 11, 30);
        script.reply(&Completion::parse(body.to_string().as_bytes(), today).unwrap().conversation())
    }

    fn reply(body: &Value) -> Reply {
        by(&Script::load().unwrap(), body)
    }

    fn script(body: Value) -> Script {
        serde_json::from_value(body).unwrap()
    }

    fn ids() -> [String; 2] {
        ["call_1", "call_2"].map(str::to_owned)
    }

    #[test]
    fn the_built_in_script_plays_the_bakery() {
        let hours = reply(&said("Yes, what time do you close on Saturday?"));
        assert_eq!(
            hours.text,
            "On Saturday we close at six in the evening. Can I help you with anything else?"
        );
        assert_eq!(hours.calls, []);
        let farewell = reply(&said("No, thank you very much. Goodbye."));
        assert_eq!(farewell.text, "Thank you for ordering with us. Goodbye.");
        assert_eq!(farewell.calls[0].name, "end_call");
        assert_eq!(reply(&said("Purple elephants.")).text, "I'm sorry, could you say that again?");
    }

    #[test]
    fn only_whole_words_of_the_last_user_message_count() {
        assert_eq!(reply(&said("She disclosed it.")).text, "I'm sorry, could you say that again?");
        let mut conversation = then("When do you close?", &[("assistant", "At six.")]);
        let messages = conversation["messages"].as_array_mut().unwrap();
        messages.push(json!({"role": "user", "content": [{"type": "text", "text": "Bye!"}]}));
        assert_eq!(reply(&conversation).text, "Thank you for ordering with us. Goodbye.");
    }

    #[test]
    fn a_rule_may_have_several_words_in_a_row() {
        let script = script(json!({"default": "No.", "rules": [{"words": ["Don't know"], "say": "Yes."}]}));
        assert_eq!(by(&script, &said("I don't - know.")).text, "Yes.");
        assert_eq!(by(&script, &said("Know, don't I?")).text, "No.");
    }

    #[test]
    fn a_tool_is_called_only_if_the_request_allows_it() {
        let mut body = said("Goodbye.");
        body["tool_choice"] = json!("none");
        assert_eq!(reply(&body).calls, []);
        body["tool_choice"] = json!("auto");
        assert_eq!(reply(&body).calls.len(), 1);
        body["tools"] = json!([]);
        assert_eq!(reply(&body).calls, []);
    }

    #[test]
    fn nothing_is_said_after_the_result_of_a_tool() {
        let reply = reply(&then("Goodbye.", &[("tool", "ok")]));
        assert_eq!(reply, Reply::default());
        assert_eq!(reply.finish_reason(), "stop");
    }

    #[test]
    fn the_rule_that_called_a_tool_says_its_result() {
        let rules = json!([{"words": ["cakes"], "call": {"name": "end_call", "arguments": {}}, "after_ms": 900,
                            "then": "There are {result}."}]);
        let script = script(json!({ "rules": rules }));
        let first = by(&script, &said("Any cakes?"));
        assert_eq!((first.calls.len(), first.after), (1, Duration::from_millis(900)));
        let results = [("tool", "none"), ("tool", "three")];
        assert_eq!(by(&script, &then("Any cakes?", &results)), Reply::say("There are three.".to_owned()));
        let filled = [("tool", "three"), ("assistant", "One moment, please.")];
        assert_eq!(by(&script, &then("Any cakes?", &filled)).text, "There are three.");
        let again = [("tool", "three"), ("user", "Any cakes at all?")];
        assert_eq!(by(&script, &then("Any cakes?", &again)), first, "a new question");
    }

    #[test]
    fn a_system_message_is_answered_by_when_silent() {
        let mut asking = json!({"when_silent": "Hello?", "rules": [{"words": ["close"], "say": "At six."}]});
        let noted = then("When do you close?", &[("assistant", "At six."), ("system", "Silence.")]);
        let script_with = script(asking.clone());
        assert_eq!(by(&script_with, &noted), Reply::say("Hello?".to_owned()));
        assert_eq!(by(&script_with, &said("When do you close?")).text, "At six.");
        let mut prompt = said("");
        prompt["messages"].as_array_mut().unwrap().truncate(1);
        assert_eq!(by(&script_with, &prompt).text, not_recognised(), "a prompt is no note");
        asking.as_object_mut().unwrap().remove("when_silent");
        assert_eq!(by(&script(asking), &noted).text, "At six.");
    }

    #[test]
    fn a_script_with_a_mistake_is_refused() {
        for wrong in [
            json!({"rules": [{"words": ["a"], "says": "b"}]}),
            json!({"rules": [{"say": "b"}]}),
            json!({"when_quiet": "b"}),
        ] {
            assert!(serde_json::from_value::<Script>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_streamed_response_joins_to_the_whole() {
        let reply = reply(&said("Goodbye."));
        let choices = reply.choices(&ids());
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
    fn parallel_calls_have_their_own_index_and_id() {
        let arguments = [json!({"name": "Zoë Ångström", "day": "Saturday"}), json!({"day": "Sunday"})];
        let calls = arguments.clone().map(|arguments| ScriptedCall { name: "book".to_owned(), arguments });
        let reply = Reply { calls: calls.into(), ..Reply::default() };
        let choices = reply.choices(&ids());
        for (index, arguments) in arguments.iter().enumerate() {
            let deltas = choices.iter().map(|choices| &choices[0]["delta"]["tool_calls"][0]);
            let own: Vec<&Value> = deltas.filter(|call| call["index"] == index).collect();
            assert_eq!(own[0]["id"], ids()[index]);
            let pieces: Vec<&str> =
                own.iter().filter_map(|call| call["function"]["arguments"].as_str()).collect();
            assert!(pieces.len() > 4);
            assert_eq!(serde_json::from_str::<Value>(&pieces.concat()).unwrap(), *arguments);
            assert_eq!(reply.message(&ids())["tool_calls"][index]["id"], ids()[index]);
        }
    }

    #[test]
    fn a_whole_response_has_the_text_and_the_call() {
        let message = reply(&said("Goodbye.")).message(&ids());
        assert_eq!(message["content"], "Thank you for ordering with us. Goodbye.");
        assert_eq!(message["tool_calls"][0]["function"], json!({"name": "end_call", "arguments": "{}"}));
        assert_eq!(message["tool_calls"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_rule_of_a_turn_applies_to_that_message_alone() {
        let script = script(json!({ "rules": [
            { "words": ["yes"], "turn": 1, "say": "Which day?" },
            { "words": ["yes"], "turn": 2, "say": "Booked." },
        ]}));
        assert_eq!(by(&script, &said("Yes.")).text, "Which day?");
        let mut after = vec![("assistant", "Which day?"), ("user", "Yes.")];
        assert_eq!(by(&script, &then("Yes.", &after)).text, "Booked.");
        after.extend([("assistant", "Booked."), ("user", "Yes.")]);
        assert_eq!(by(&script, &then("Yes.", &after)).text, not_recognised());
    }
}
