//! Everything that was observed of a call: by the API, the sandbox, the recording and the scenario's own functions.

use serde_json::Value;
use switchboard_model::messages::{Message, Role};

use super::{function_server::FunctionAnswer, heard_check::HeardCheck};
use crate::api_client::{SandboxCall, Utterance};
use crate::evidence::RecordingFile;

/// A call that has ended.
#[derive(Default)]
pub(super) struct ObservedCall {
    /// The conversation, as the API shows it.
    pub(super) conversation: Value,
    /// The event log, oldest first.
    pub(super) events: Vec<Value>,
    /// The sandbox's record of the call.
    pub(super) call: SandboxCall,
    /// The responses of the scenario's functions.
    pub(super) answered: Vec<FunctionAnswer>,
    pub(super) recorded: Option<RecordingFile>,
    pub(super) replays: Vec<std::path::PathBuf>,
    /// Each message of the agent against the recording.
    pub(super) ledger: Vec<HeardCheck>,
}

/// A time in which the caller waited for the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReplyDelay {
    pub(super) ms: u64,
    /// The words of the caller before the wait.
    pub(super) after: String,
}

impl ObservedCall {
    /// The stored messages.
    pub(super) fn messages(&self) -> Vec<Message> {
        let messages = self.conversation["messages"].as_array().into_iter().flatten();
        messages.filter_map(|message| serde_json::from_value(message.clone()).ok()).collect()
    }

    /// The stored messages of the agent.
    pub(super) fn agent_messages(&self) -> Vec<Message> {
        self.messages().into_iter().filter(|message| message.role == Role::Agent).collect()
    }

    /// The names of the called functions, in order.
    pub(super) fn functions(&self) -> Vec<&str> {
        let calls = self.events.iter().filter(|event| event["event"] == "function_call:triggered");
        calls.filter_map(|event| event["data"]["function"]["name"].as_str()).collect()
    }

    /// The notes of the event log.
    pub(super) fn notes(&self) -> Vec<&str> {
        let notes = self.events.iter().filter_map(|event| event["notes"].as_array()).flatten();
        notes.filter_map(Value::as_str).collect()
    }

    /// Converts milliseconds since 1970 into milliseconds since the call was answered, or since it was dialled if it was
    /// not answered.
    pub(super) fn since_answer(&self, ms: i64) -> i64 {
        let began = || self.events.first().and_then(|event| millis(&event["created_at"]));
        ms - self.call.answered_at_ms.or_else(began).unwrap_or(ms)
    }

    /// The longest time from the end of the caller's words to the next sound of the agent; `None` if the caller never
    /// waited.
    pub(super) fn longest_wait(&self) -> Option<ReplyDelay> {
        let is_speech = |done: &&Utterance| done.what.as_deref() == Some("say");
        let said: Vec<&Utterance> = self.call.said.iter().filter(is_speech).collect();
        let heard = &self.call.heard;
        let end = self.call.ended_at_ms.and_then(|ms| u64::try_from(self.since_answer(ms)).ok());
        let waits = said.iter().enumerate().filter_map(|(index, words)| {
            let next = heard.iter().find(|heard| heard.until_ms > words.until_ms).map(|heard| heard.at_ms);
            // A caller who hangs up stops waiting.
            let until = next.or(end.filter(|_| self.call.ended_by.as_deref() != Some("caller")))?;
            // A caller who continues to speak is not waiting yet.
            let goes_on = said.get(index + 1).is_some_and(|more| more.at_ms < until);
            let ms = until.saturating_sub(words.until_ms);
            (!goes_on).then(|| ReplyDelay { ms, after: words.text.clone() })
        });
        waits.max_by_key(|wait| wait.ms)
    }
}

/// A time of the API, in milliseconds since 1970.
pub(super) fn millis(time: &Value) -> Option<i64> {
    let time: switchboard_model::time::Timestamp = time.as_str()?.parse().ok()?;
    Some(time.as_millis())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// Words that the caller heard.
    pub(in super::super) fn words(at_ms: u64, until_ms: u64, text: &str) -> Utterance {
        Utterance { at_ms, until_ms, text: text.into(), what: None }
    }

    /// Words that the caller said.
    pub(in super::super) fn says(at_ms: u64, until_ms: u64, text: &str) -> Utterance {
        Utterance { what: Some("say".into()), ..words(at_ms, until_ms, text) }
    }

    /// A short good call: answered at 1,000 s, greeting, question, answer, interruption, ended by the agent.
    pub(in super::super) fn happened() -> ObservedCall {
        let message = |role: &str, content: &str, from: &str, until: &str, interrupted: bool| {
            json!({ "role": role, "content": content, "interrupted": interrupted,
                    "started_at": format!("1970-01-01T00:16:{from}Z"), "ended_at": format!("1970-01-01T00:16:{until}Z") })
        };
        let messages = json!([
            message("agent", "Hello, this is Ada.", "40.300", "42.000", false),
            message("user", "When do you close?", "43.000", "44.500", false),
            message("agent", "On Saturday we close at six in", "45.200", "47.000", true),
            message("user", "Stop.", "46.900", "47.300", false),
        ]);
        let event = |sequence: u64, name: &str, data: Value| json!({ "event": name, "sequence": sequence, "created_at": "1970-01-01T00:16:48.000Z", "data": data, "deliveries": [] });
        let mut end = event(3, "conversation:ended", json!({ "ended_reason": "agent_ended" }));
        end["notes"] = json!(["2 answers: response p50 700 ms"]);
        ObservedCall {
            conversation: json!({
                "id": "cnv_1", "status": "ended", "ended_reason": "agent_ended", "messages": messages,
                "started_at": "1970-01-01T00:16:40.200Z", "phone_call": { "answered_by": "human" },
            }),
            events: vec![
                event(1, "phone_call:accepted", Value::Null),
                event(
                    2,
                    "function_call:triggered",
                    json!({ "function": { "id": "a", "name": "end_call", "arguments": {} } }),
                ),
                end,
            ],
            call: SandboxCall {
                to: "+12125550100".into(),
                answered_at_ms: Some(1_000_000),
                ended_at_ms: Some(1_007_900),
                ended_by: Some("agent".into()),
                settled: true,
                said: vec![says(3_000, 4_500, "When do you close?"), says(6_900, 7_300, "Stop.")],
                heard: vec![
                    words(300, 2_000, "hello this is Ada"),
                    words(5_200, 7_000, "on Saturday we close at 6"),
                ],
                ..SandboxCall::default()
            },
            ..ObservedCall::default()
        }
    }

    #[test]
    fn the_longest_wait_is_from_the_callers_last_word_to_the_agent() {
        let mut happened = happened();
        assert_eq!(happened.longest_wait(), Some(ReplyDelay { ms: 700, after: "When do you close?".into() }));
        // No response until the agent ended the call.
        happened.call.ended_at_ms = Some(1_009_300);
        assert_eq!(happened.longest_wait(), Some(ReplyDelay { ms: 2_000, after: "Stop.".into() }));
        happened.call.ended_by = Some("caller".into());
        assert_eq!(happened.longest_wait().unwrap().ms, 700);
        // Two sentences in a row are one turn, and a word in between is none.
        happened.call.said.insert(1, says(4_600, 5_000, "On Saturday?"));
        happened.call.said.insert(2, says(6_000, 6_200, "uh-huh"));
        assert_eq!(happened.longest_wait(), Some(ReplyDelay { ms: 200, after: "On Saturday?".into() }));
    }
}
