//! Assembles the chunks of a streamed response.
//!
//! Pure. Each chunk is a whole `GenerateContentResponse` with the next parts. Function calls come whole, the usage
//! counts from the beginning, and the stream just ends.

use serde_json::{Map, Value, json};

use super::{VENDOR, contents::SIGNATURE, refusals, request};
use crate::{
    Error,
    failures::{self, Refused},
    language_model::{FinishReason, GenerationEvent, ToolCall},
    streamed_generation::{MAX_CALLS, MAX_CALLS_BYTES, MAX_STATE_BYTES, Protocol},
};

/// The response so far.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    calls: usize,
    /// Size of all calls.
    calls_bytes: usize,
    /// Size of all thought signatures.
    state_bytes: usize,
    usage: Option<GenerationEvent>,
    end: Option<End>,
    spoke: bool,
}

/// How a response ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Finished(FinishReason),
    /// The model wrote something that is no response, by the vendor's reason.
    Broken(String),
}

impl Protocol for Chunks {
    const VENDOR: &'static str = VENDOR;

    fn adapt(body: &mut Map<String, Value>, refused: &[&'static str]) {
        request::adapt(body, refused);
    }

    fn optional(body: &Map<String, Value>) -> Vec<&'static str> {
        request::optional(body)
    }

    fn refused(
        status: http::StatusCode,
        headers: &http::HeaderMap,
        body: &[u8],
        optional: &[&'static str],
    ) -> Refused {
        refusals::refused(status, headers, body, optional)
    }

    fn push(&mut self, data: &str, events: &mut Vec<GenerationEvent>) -> Result<bool, Error> {
        let Ok(chunk) = serde_json::from_str::<Value>(data) else { return Ok(false) };
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            return Err(failures::error_in_stream(VENDOR, error));
        }
        if let Some(usage) = chunk.get("usageMetadata").filter(|usage| usage.is_object()) {
            self.usage = Some(read_usage(usage));
        }
        if chunk.pointer("/promptFeedback/blockReason").is_some_and(Value::is_string) {
            self.end = Some(End::Finished(FinishReason::ContentFilter));
        }
        let Some(candidate) = chunk.pointer("/candidates/0") else { return Ok(false) };
        for part in candidate.pointer("/content/parts").and_then(Value::as_array).into_iter().flatten() {
            self.add_part(part, events)?;
        }
        if let Some(reason) = candidate["finishReason"].as_str() {
            self.end = Some(read_finish_reason(reason));
        }
        Ok(false)
    }

    fn is_complete(&self) -> bool {
        self.end.is_some()
    }

    fn finish(&mut self, events: &mut Vec<GenerationEvent>) -> Result<(), Error> {
        let has_content = self.spoke || self.calls > 0;
        events.extend(self.usage.take());
        let reason = match self.end.take() {
            None if !has_content => return Err(Error::unavailable(VENDOR, "its answer was empty")),
            Some(End::Finished(FinishReason::ContentFilter)) if !has_content => {
                return Err(failures::filtered(VENDOR));
            }
            // Another attempt may go well.
            Some(End::Broken(reason)) if !has_content => {
                let reason = format!("its answer cannot be used ({reason})");
                return Err(Error::unavailable(VENDOR, &reason));
            }
            None | Some(End::Broken(_)) => FinishReason::Unknown,
            Some(End::Finished(FinishReason::Stop)) if self.calls > 0 => FinishReason::ToolCalls,
            Some(End::Finished(reason)) => reason,
        };
        events.push(GenerationEvent::Finished(reason));
        Ok(())
    }
}

impl Chunks {
    /// One part may have several members.
    fn add_part(&mut self, part: &Value, events: &mut Vec<GenerationEvent>) -> Result<(), Error> {
        let is_thought = part["thought"] == true;
        if let Some(text) = part["text"].as_str().filter(|text| !text.is_empty() && !is_thought) {
            self.spoke = true;
            events.push(GenerationEvent::Text(text.to_owned()));
        }
        let Some(call) = part.get("functionCall").filter(|call| call.is_object()) else { return Ok(()) };
        let text = |member: &str| call[member].as_str().unwrap_or_default().to_owned();
        let arguments = match &call["args"] {
            object @ Value::Object(_) => object.to_string(),
            // No arguments at all.
            _ => "{}".to_owned(),
        };
        let (id, name) = (text("id"), text("name"));
        self.calls += 1;
        self.calls_bytes += id.len() + name.len() + arguments.len();
        if self.calls > MAX_CALLS {
            return Err(failures::too_long(VENDOR, "its tool calls are too many"));
        }
        if self.calls_bytes > MAX_CALLS_BYTES {
            return Err(failures::too_long(VENDOR, "its tool calls are too long"));
        }
        let provider_state = self.state_of(part);
        events.push(GenerationEvent::ToolCall(ToolCall { id, name, arguments, provider_state }));
        Ok(())
    }

    /// The part's thought signature. Too long ones are not kept; `contents.rs` sends the vendor's stand-in then.
    fn state_of(&mut self, part: &Value) -> Option<Value> {
        let signature = part["thoughtSignature"].as_str()?;
        self.state_bytes += signature.len();
        (self.state_bytes <= MAX_STATE_BYTES).then(|| json!({ SIGNATURE: signature }))
    }
}

/// Thoughts are billed as output, and tools of the vendor's as input. Cached tokens are among those of the prompt.
fn read_usage(usage: &Value) -> GenerationEvent {
    let count = |member: &str| usage[member].as_u64().unwrap_or(0);
    GenerationEvent::Usage {
        input_tokens: count("promptTokenCount").saturating_add(count("toolUsePromptTokenCount")),
        output_tokens: count("candidatesTokenCount").saturating_add(count("thoughtsTokenCount")),
        cached_tokens: count("cachedContentTokenCount"),
        cache_write_tokens: 0,
    }
}

fn read_finish_reason(reason: &str) -> End {
    match reason {
        "STOP" => End::Finished(FinishReason::Stop),
        "MAX_TOKENS" => End::Finished(FinishReason::Length),
        "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "ESCALATION"
        | "MODEL_ARMOR" => End::Finished(FinishReason::ContentFilter),
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MALFORMED_RESPONSE"
        | "MISSING_THOUGHT_SIGNATURE"
        | "OTHER" => End::Broken(reason.to_owned()),
        _ => End::Finished(FinishReason::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn try_read(chunks: &[Value]) -> (Vec<GenerationEvent>, Result<(), Error>) {
        let (mut response, mut events) = (Chunks::default(), Vec::new());
        for chunk in chunks {
            match response.push(&chunk.to_string(), &mut events) {
                Ok(is_last) => assert!(!is_last),
                Err(error) => return (events, Err(error)),
            }
        }
        let finished = response.finish(&mut events);
        (events, finished)
    }

    fn read(chunks: &[Value]) -> Vec<GenerationEvent> {
        let (events, finished) = try_read(chunks);
        finished.unwrap();
        events
    }

    fn parts(parts: &Value) -> Value {
        json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": parts}}]})
    }

    fn ended(reason: &str) -> Value {
        json!({"candidates": [{"index": 0, "finishReason": reason}],
            "usageMetadata": {"promptTokenCount": 40, "cachedContentTokenCount": 16, "candidatesTokenCount": 18,
                "thoughtsTokenCount": 5, "totalTokenCount": 63}})
    }

    const USAGE: GenerationEvent = GenerationEvent::Usage {
        input_tokens: 40,
        output_tokens: 23,
        cached_tokens: 16,
        cache_write_tokens: 0,
    };

    fn text(text: &str) -> GenerationEvent {
        GenerationEvent::Text(text.into())
    }

    #[test]
    fn text_parallel_calls_usage_and_end_are_read() {
        let first = json!({"functionCall": {"id": "f1", "name": "look", "args": {"q": "x"}}, "thoughtSignature": "c2ln"});
        let second = json!({"text": " And ", "functionCall": {"name": "end_call"}});
        let events = read(&[
            json!({"usageMetadata": {"promptTokenCount": 40, "candidatesTokenCount": 1}}),
            parts(&json!([{"text": "The caller asks.", "thought": true}, {"text": "Let me"}])),
            parts(&json!([{"text": " look."}, {"text": "", "thoughtSignature": "eA=="}])),
            parts(&json!([first, second])),
            ended("STOP"),
        ]);
        let call = |id: &str, name: &str, arguments: &str, provider_state| {
            let (id, name, arguments) = (id.into(), name.into(), arguments.into());
            GenerationEvent::ToolCall(ToolCall { id, name, arguments, provider_state })
        };
        let expected = [
            text("Let me"),
            text(" look."),
            call("f1", "look", r#"{"q":"x"}"#, Some(json!({ SIGNATURE: "c2ln" }))),
            text(" And "),
            call("", "end_call", "{}", None),
            USAGE,
            GenerationEvent::Finished(FinishReason::ToolCalls),
        ];
        assert!(events == expected, "{events:?}");
    }

    #[test]
    fn a_reason_to_end_is_kept_after_words() {
        for (reason, expected) in [
            ("STOP", FinishReason::Stop),
            ("MAX_TOKENS", FinishReason::Length),
            ("SAFETY", FinishReason::ContentFilter),
            ("PROHIBITED_CONTENT", FinishReason::ContentFilter),
            ("MALFORMED_FUNCTION_CALL", FinishReason::Unknown),
            ("SOMETHING_NEW", FinishReason::Unknown),
        ] {
            let events = read(&[parts(&json!([{"text": "Well."}])), ended(reason)]);
            assert!(events == [text("Well."), USAGE, GenerationEvent::Finished(expected)], "{reason}");
        }
        let events = read(&[parts(&json!([{"text": "Well."}]))]);
        assert!(events == [text("Well."), GenerationEvent::Finished(FinishReason::Unknown)]);
    }

    #[test]
    fn a_response_without_content_is_a_failure_that_is_billed() {
        let failed = |chunks: &[Value]| {
            let (events, finished) = try_read(chunks);
            assert!(events.is_empty() || events == [USAGE], "{events:?}");
            finished.unwrap_err()
        };
        let blocked = failed(&[ended("SAFETY")]);
        let message = "google refused the request (content_filter): its filter blocked the response";
        assert_eq!(blocked.to_string(), message);
        let prompt = failed(&[json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})]);
        assert_eq!(prompt.to_string(), message);
        for broken in [vec![], vec![ended("MALFORMED_FUNCTION_CALL")], vec![ended("OTHER")]] {
            assert!(failed(&broken).is_retryable());
        }
        // The model had nothing to add, as after a goodbye.
        assert!(read(&[ended("STOP")]) == [USAGE, GenerationEvent::Finished(FinishReason::Stop)]);
        assert!(read(&[ended("MAX_TOKENS")]) == [USAGE, GenerationEvent::Finished(FinishReason::Length)]);
    }

    #[test]
    fn an_error_in_the_stream_ends_it() {
        let error = |code: u16, status: &str| {
            let error = json!({"error": {"code": code, "message": "no", "status": status}});
            try_read(&[parts(&json!([{"text": "Well."}])), error]).1.unwrap_err()
        };
        assert!(error(503, "UNAVAILABLE").is_retryable());
        assert!(error(429, "RESOURCE_EXHAUSTED").is_retryable());
        assert!(!error(400, "INVALID_ARGUMENT").is_retryable());
    }

    #[test]
    fn endless_calls_and_signatures_are_bounded() {
        let call = |args: &str, signature: &str| {
            parts(
                &json!([{"functionCall": {"name": "x", "args": {"y": args}}, "thoughtSignature": signature}]),
            )
        };
        let long = vec![call(&"y".repeat(4_000), ""); 5];
        assert!(!try_read(&long).1.unwrap_err().is_retryable());
        assert!(!try_read(&vec![call("", ""); MAX_CALLS + 1]).1.unwrap_err().is_retryable());
        let events = read(&[call("", &"s".repeat(MAX_STATE_BYTES)), call("", "s")]);
        let kept: Vec<bool> = events
            .iter()
            .filter_map(|event| match event {
                GenerationEvent::ToolCall(call) => Some(call.provider_state.is_some()),
                _ => None,
            })
            .collect();
        assert_eq!(kept, [true, false]);
    }

    proptest! {
        #[test]
        fn hostile_chunks_never_panic(
            chunks in prop::collection::vec(
                r#"(null|\[\]|\{"candidates":\[(1|\{"content":(7|\{"parts":(9|\[(2|\{"text":4\}|\{"functionCall":(3|\{\}|\{"args":\[\]\})\})\])\})\}|\{"finishReason":(1|"STOP"|"OTHER")\})\]\}|.{0,20})"#,
                0..12,
            ),
        ) {
            let (mut response, mut events) = (Chunks::default(), Vec::new());
            for chunk in &chunks {
                if response.push(chunk, &mut events).is_err() {
                    return Ok(());
                }
            }
            prop_assert!(response.finish(&mut events).is_ok() || events.is_empty());
        }
    }
}
