//! Assembles the chunks of a streamed chat completion.
//!
//! Pure. Many servers speak this protocol, each a little differently, so only the words and calls themselves are
//! relied on: `usage`, `id`, `index` and `finish_reason` may be missing, empty or wrong, arguments may come whole or
//! in parts, and unknown members are ignored.

use serde_json::{Map, Value, json};

use super::{EXTRA_CONTENT, VENDOR, reasoning::ReasoningFilter, request};
use crate::{
    Error, failures,
    language_model::{self, FinishReason, GenerationEvent, ToolCall},
    streamed_generation::{MAX_CALLS, MAX_CALLS_BYTES, MAX_STATE_BYTES, Protocol},
};

/// The response so far.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    calls: Vec<PartialCall>,
    /// Size of all calls, also of those that were released.
    calls_bytes: usize,
    /// Size of all state that the server wants back.
    state_bytes: usize,
    usage: Option<GenerationEvent>,
    finished: Option<FinishReason>,
    spoke: bool,
    reasoning: ReasoningFilter,
}

#[derive(Debug)]
struct PartialCall {
    index: Option<u64>,
    call: ToolCall,
}

impl Protocol for Chunks {
    const VENDOR: &'static str = VENDOR;

    fn adapt(body: &mut Map<String, Value>, refused: &[&'static str]) {
        request::adapt(body, refused);
    }

    fn optional(body: &Map<String, Value>) -> Vec<&'static str> {
        request::optional(body)
    }

    fn push(&mut self, data: &str, events: &mut Vec<GenerationEvent>) -> Result<bool, Error> {
        if data.trim() == "[DONE]" {
            return Ok(true);
        }
        // Some servers send progress notes that are not JSON.
        let Ok(chunk) = serde_json::from_str::<Value>(data) else { return Ok(false) };
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            return Err(failures::error_in_stream(VENDOR, error));
        }
        // Some servers report errors in the form of their other responses.
        if chunk["object"] == "error" {
            return Err(failures::error_in_stream(VENDOR, &chunk));
        }
        // Groq's is in a member of its own, unless the request asks for it.
        let usages = [chunk.get("usage"), chunk.pointer("/x_groq/usage")];
        if let Some(usage) = usages.into_iter().flatten().find(|usage| usage.is_object()) {
            self.usage = Some(read_usage(usage));
        }
        let Some(choice) = chunk.pointer("/choices/0") else { return Ok(false) };
        // An answer that is not streamed is one message.
        let delta = choice.get("delta").unwrap_or(&choice["message"]);
        for member in ["content", "refusal"] {
            let words = self.reasoning.push(&words(&delta[member]));
            self.say(words, events);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            self.add_call(call)?;
        }
        if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
            self.finished = Some(read_finish_reason(reason));
            self.release_calls(events);
        }
        Ok(false)
    }

    fn is_complete(&self) -> bool {
        self.finished.is_some()
    }

    /// A response without any content is a failure of the server.
    fn finish(&mut self, events: &mut Vec<GenerationEvent>) -> Result<(), Error> {
        let called = !self.calls.is_empty();
        let rest = self.reasoning.finish();
        self.say(rest, events);
        self.release_calls(events);
        if !(self.spoke || called || self.finished.is_some()) {
            return Err(Error::unavailable(VENDOR, "its answer was empty"));
        }
        if !(self.spoke || called) && self.finished == Some(FinishReason::ContentFilter) {
            events.extend(self.usage.take());
            return Err(failures::filtered(VENDOR));
        }
        events.extend(self.usage.take());
        let reason =
            self.finished.unwrap_or(if called { FinishReason::ToolCalls } else { FinishReason::Unknown });
        events.push(GenerationEvent::Finished(reason));
        Ok(())
    }
}

impl Chunks {
    fn say(&mut self, words: String, events: &mut Vec<GenerationEvent>) {
        if !words.is_empty() {
            self.spoke = true;
            events.push(GenerationEvent::Text(words));
        }
    }

    fn release_calls(&mut self, events: &mut Vec<GenerationEvent>) {
        let was_cut = self.finished == Some(FinishReason::Length);
        let last = self.calls.len().saturating_sub(1);
        for (position, PartialCall { mut call, .. }) in self.calls.drain(..).enumerate() {
            // A call that the limit on tokens cut off before its arguments is as broken as one cut off within them.
            if call.arguments.trim().is_empty() && !(was_cut && position == last) {
                call.arguments.replace_range(.., "{}");
            }
            self.spoke = true;
            events.push(GenerationEvent::ToolCall(call));
        }
    }

    fn add_call(&mut self, delta: &Value) -> Result<(), Error> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let index = delta["index"].as_u64();
        let id = text(&delta["id"]);
        let name = text(&delta["function"]["name"]);
        let arguments = match &delta["function"]["arguments"] {
            // Some servers send the object itself.
            object @ Value::Object(_) => object.to_string(),
            other => text(other),
        };

        self.calls_bytes += id.len() + name.len() + arguments.len();
        if self.calls_bytes > MAX_CALLS_BYTES {
            return Err(failures::too_long(VENDOR, "its tool calls are too long"));
        }
        // The newest call with that index: some servers give every call index 0.
        let known = match index {
            Some(index) => self.calls.iter().rposition(|known| known.index == Some(index)),
            None => self.calls.len().checked_sub(1),
        };
        let known = known.map(|position| &mut self.calls[position]).filter(|known| {
            let another_id = !id.is_empty() && id != known.call.id;
            // Some servers give two calls one id, others repeat id and name with every part.
            let another_whole_call = !name.is_empty()
                && (id.is_empty() || !arguments.is_empty())
                && language_model::arguments(&known.call).is_some();
            !another_id && !another_whole_call
        });
        if let Some(PartialCall { call, .. }) = known {
            call.arguments.push_str(&arguments);
            if call.name.is_empty() {
                call.name = name;
            }
        } else if self.calls.len() == MAX_CALLS {
            return Err(failures::too_long(VENDOR, "its tool calls are too many"));
        } else {
            let provider_state = self.state_of(delta);
            self.calls.push(PartialCall { index, call: ToolCall { id, name, arguments, provider_state } });
        }
        Ok(())
    }

    /// State that the server wants back with the call: Gemini's compatible server has its thought signatures there. Too much
    /// of it is not kept.
    fn state_of(&mut self, delta: &Value) -> Option<Value> {
        let extra = delta.get(EXTRA_CONTENT).filter(|extra| extra.is_object())?;
        self.state_bytes += extra.to_string().len();
        (self.state_bytes <= MAX_STATE_BYTES).then(|| json!({ EXTRA_CONTENT: extra }))
    }
}

/// The words of a content: a text, or a list of parts, some of which may be reasoning or no text at all.
fn words(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let spoken = parts
                .iter()
                .filter(|part| matches!(part["type"].as_str(), None | Some("text" | "output_text")));
            spoken.filter_map(|part| part.as_str().or_else(|| part["text"].as_str())).collect()
        }
        _ => String::new(),
    }
}

fn read_usage(usage: &Value) -> GenerationEvent {
    let count = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    GenerationEvent::Usage {
        input_tokens: count("/prompt_tokens"),
        output_tokens: count("/completion_tokens"),
        cached_tokens: count("/prompt_tokens_details/cached_tokens"),
        cache_write_tokens: count("/prompt_tokens_details/cache_write_tokens"),
    }
}

fn read_finish_reason(reason: &str) -> FinishReason {
    match reason {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(chunks: &[Value]) -> Vec<GenerationEvent> {
        let (mut response, mut events) = (Chunks::default(), Vec::new());
        for chunk in chunks {
            assert!(!response.push(&chunk.to_string(), &mut events).unwrap());
        }
        response.finish(&mut events).unwrap();
        events
    }

    fn call(id: &str, name: &str, arguments: &str) -> GenerationEvent {
        GenerationEvent::ToolCall(ToolCall {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
            provider_state: None,
        })
    }

    fn calls(deltas: &Value) -> Value {
        json!({"choices": [{"delta": {"tool_calls": deltas}}]})
    }

    #[test]
    fn text_calls_usage_and_end_come_in_that_order() {
        let events = read(&[
            json!({"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}),
            json!({"choices":[{"delta":{"content":"One moment."},"finish_reason":""}]}),
            json!({"choices":[{"delta":{"reasoning_content":"hm"}}]}),
            calls(&json!([{"index":0,"id":"call_a","function":{"name":"lookup","arguments":""}}])),
            calls(&json!([{"index":1,"id":"call_b","function":{"name":"end_call","arguments":""}}])),
            calls(&json!([{"index":0,"function":{"arguments":"{\"q\":"}}])),
            calls(&json!([{"index":0,"function":{"arguments":"1}"}}])),
            json!({"choices":[{"delta":{},"finish_reason":"tool_calls"}]}),
            json!({"choices":[],"usage":{"prompt_tokens":900,"completion_tokens":20,
                "prompt_tokens_details":{"cached_tokens":768,"cache_write_tokens":100}}}),
        ]);
        assert!(
            events
                == [
                    GenerationEvent::Text("One moment.".into()),
                    call("call_a", "lookup", "{\"q\":1}"),
                    call("call_b", "end_call", "{}"),
                    GenerationEvent::Usage {
                        input_tokens: 900,
                        output_tokens: 20,
                        cached_tokens: 768,
                        cache_write_tokens: 100
                    },
                    GenerationEvent::Finished(FinishReason::ToolCalls),
                ]
        );
    }

    #[test]
    fn calls_that_share_index_zero_differ_by_id() {
        let events = read(&[
            calls(&json!([{"index":0,"id":"a","function":{"name":"one","arguments":"{"}}])),
            calls(&json!([{"index":0,"id":"a","function":{"name":"one","arguments":"}"}}])),
            calls(&json!([{"index":0,"id":"b","function":{"name":"two","arguments":"{}"}}])),
        ]);
        assert!(
            events
                == [
                    call("a", "one", "{}"),
                    call("b", "two", "{}"),
                    GenerationEvent::Finished(FinishReason::ToolCalls)
                ]
        );
    }

    #[test]
    fn whole_calls_without_index_or_id_differ_by_name() {
        let events = read(&[
            calls(
                &json!([{"function":{"name":"one","arguments":"{\"a\":1}"}}, {"function":{"name":"two","arguments":{"b":2}}}]),
            ),
            json!({"choices":[{"delta":{},"finish_reason":"stop"}]}),
        ]);
        assert!(
            events
                == [
                    call("", "one", "{\"a\":1}"),
                    call("", "two", "{\"b\":2}"),
                    GenerationEvent::Finished(FinishReason::Stop),
                ]
        );
    }

    #[test]
    fn content_may_be_a_list_of_parts() {
        let content = |content: Value| json!({"choices":[{"delta":{"content":content}}]});
        let events = read(&[
            content(json!([{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}])),
            content(json!([{"type":"text","text":"We close "}, {"text":"at "}, "six."])),
        ]);
        assert!(events[0] == GenerationEvent::Text("We close at six.".into()) && events.len() == 2);
    }

    #[test]
    fn two_whole_calls_with_one_id_are_two_calls() {
        let events = read(&[
            calls(&json!([{"index":0,"id":"a","function":{"name":"one","arguments":"{}"}}])),
            calls(&json!([{"index":0,"id":"a","function":{"name":"one","arguments":"{\"b\":2}"}}])),
        ]);
        assert!(events[..2] == [call("a", "one", "{}"), call("a", "one", "{\"b\":2}")]);
    }

    #[test]
    fn a_call_that_is_cut_before_its_arguments_has_none() {
        let events = read(&[
            calls(
                &json!([{"index":0,"id":"a","function":{"name":"one"}}, {"index":1,"id":"b","function":{"name":"two"}}]),
            ),
            json!({"choices":[{"delta":{},"finish_reason":"length"}]}),
        ]);
        assert!(events[..2] == [call("a", "one", "{}"), call("b", "two", "")]);
    }

    #[test]
    fn truncated_arguments_are_passed_on_as_invalid() {
        let events =
            read(&[calls(&json!([{"index":0,"id":"a","function":{"name":"one","arguments":"{\"q\":"}}]))]);
        let GenerationEvent::ToolCall(call) = &events[0] else { panic!("not a call") };
        assert_eq!(call.arguments, "{\"q\":");
        assert!(language_model::arguments(call).is_none());
    }

    #[test]
    fn a_refusal_is_text_and_a_missing_end_is_supplied() {
        let events = read(&[json!({"choices":[{"delta":{"refusal":"I cannot."}}]})]);
        assert!(
            events
                == [
                    GenerationEvent::Text("I cannot.".into()),
                    GenerationEvent::Finished(FinishReason::Unknown)
                ]
        );
    }

    #[test]
    fn a_stream_of_lists_of_parts_is_read() {
        let stream = include_str!("../../tests/sockets/content-as-a-list.sse");
        let chunks: Vec<Value> = stream
            .lines()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
            .collect();
        let expected =
            [GenerationEvent::Text("We close at six.".into()), GenerationEvent::Finished(FinishReason::Stop)];
        assert!(read(&chunks) == expected);
    }

    #[test]
    fn a_whole_message_is_read_like_a_stream() {
        let events = read(&[json!({"choices": [{"finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "One moment.", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "one", "arguments": "{}"}}]}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2}})]);
        let expected = [
            GenerationEvent::Text("One moment.".into()),
            call("a", "one", "{}"),
            GenerationEvent::Usage {
                input_tokens: 3,
                output_tokens: 2,
                cached_tokens: 0,
                cache_write_tokens: 0,
            },
            GenerationEvent::Finished(FinishReason::ToolCalls),
        ];
        assert!(events == expected);
    }

    #[test]
    fn reasoning_in_the_words_is_not_spoken() {
        let delta = |text: &str| json!({"choices": [{"delta": {"content": text}}]});
        let events =
            read(&[delta("<"), delta("think>The caller asks.</th"), delta("ink>\n\nAt six."), delta(" <")]);
        let expected = [
            GenerationEvent::Text("At six.".into()),
            GenerationEvent::Text(" ".into()),
            GenerationEvent::Text("<".into()),
            GenerationEvent::Finished(FinishReason::Unknown),
        ];
        assert!(events == expected, "{events:?}");
    }

    #[test]
    fn an_empty_response_is_a_retryable_failure() {
        let error = Chunks::default().finish(&mut vec![]).unwrap_err();
        assert!(error.is_retryable());
    }

    #[test]
    fn endless_arguments_are_refused() {
        let mut response = Chunks::default();
        let chunk =
            calls(&json!([{"index":0,"id":"a","function":{"name":"x","arguments":"y".repeat(2_000)}}]))
                .to_string();
        assert!((0..10).any(|_| response.push(&chunk, &mut vec![]).is_err()));
    }

    proptest! {
        #[test]
        fn hostile_chunks_never_panic(
            chunks in prop::collection::vec(
                r#"(\[DONE\]|null|\{"choices":\[(\{"delta":(1|\{"content":[1"a]\}|\{"tool_calls":\[(\{"index":(-1|0|9)\}|7|\{"function":\{"arguments":3\}\})\]\})\})?\]\}|.{0,20})"#,
                0..12,
            ),
        ) {
            let (mut response, mut events) = (Chunks::default(), Vec::new());
            for chunk in &chunks {
                if response.push(chunk, &mut events).is_err() {
                    return Ok(());
                }
            }
            // Finishing fails only when the response is empty.
            prop_assert!(response.finish(&mut events).is_ok() || events.is_empty());
        }
    }
}
