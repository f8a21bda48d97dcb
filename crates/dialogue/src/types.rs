//! Small types that inputs, outputs and the parts of the engine share. This module imports none of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_model::messages::Role;

use crate::call_time::{CallTime, as_micros};

/// One request to the language model. Numbers are never reused within a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GenerationId(pub u32);

/// One text that is sent to the synthesizer. Numbers are never reused within a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClauseId(pub u32);

/// A mark in the media stream, sent behind some audio.
///
/// The carrier also returns marks whose audio was cleared. `clears` tells them apart: they prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// How many times the audio had been cleared when the mark was sent.
    pub clears: u32,
    /// Unique within the call.
    pub number: u32,
}

/// A function call by the language model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The model's id of this call.
    pub id: String,
    /// The function.
    pub name: String,
    /// The arguments as the model wrote them; usually, but not surely, JSON.
    pub arguments: String,
    /// State that the model's vendor expects back with this call. Opaque to the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_state: Option<serde_json::Value>,
}

/// The function calls of one response, all of which have returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredCalls {
    /// The words that the agent said right before, heard or not: the same response may have begun with them.
    pub said: Option<String>,
    /// The calls with their results, in the order of the response.
    pub calls: Vec<(FunctionCall, String)>,
}

/// Why the agent says something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UtteranceKind {
    /// The greeting, the model's words, a goodbye to a silent caller.
    #[default]
    Speech,
    /// "One moment, please": a reply takes long. It is no reply itself.
    HoldPhrase,
    /// The agent failed to reply, and says so.
    Apology,
}

/// When one word of a clause is audible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedWord {
    /// Where the word ends in the clause's text, in bytes.
    pub text_end: u32,
    /// When the word begins, from the beginning of the clause's audio.
    #[serde(with = "as_micros")]
    pub starts: Duration,
    /// When the word ends, from the beginning of the clause's audio.
    #[serde(with = "as_micros")]
    pub ends: Duration,
}

/// The role that a provider plays in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProviderRole {
    /// Speech to text.
    Transcriber,
    /// Generates the agent's words and function calls.
    LanguageModel,
    /// Text to speech.
    Synthesizer,
}

/// A response of the language model that cannot be used as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ModelFault {
    /// It has more text, clauses or function calls than are taken. What there was until then is used.
    TooLong,
    /// It has no words that can be said, and no function calls.
    NoWords,
    /// It calls functions although too many rounds of functions have run in this turn. They are not called.
    TooManyRounds,
}

/// The time between the user's last word and the first frame of the reply, by stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// From the end of the user's speech to the end of the turn, transcript in hand.
    pub transcript_ms: u64,
    /// From that moment to the model's first words.
    pub model_ms: u64,
    /// From that moment to the synthesizer's first audio.
    pub voice_ms: u64,
    /// From that moment to the first frame sent to the carrier.
    pub send_ms: u64,
}

impl Latency {
    /// The stages between these times. Rounding does not add up: each stage is a difference of two waits since the
    /// beginning.
    pub(crate) fn between(times: [CallTime; 5]) -> Self {
        let mut stages = [0; 4];
        let mut before = 0;
        let mut reached = times[0];
        for (stage, time) in stages.iter_mut().zip(&times[1..]) {
            reached = reached.max(*time);
            let so_far = u64::try_from(reached.since(times[0]).as_millis()).unwrap_or(u64::MAX);
            *stage = so_far - before;
            before = so_far;
        }
        let [transcript_ms, model_ms, voice_ms, send_ms] = stages;
        Self { transcript_ms, model_ms, voice_ms, send_ms }
    }

    /// The sum of the stages.
    #[must_use]
    pub fn response_ms(self) -> u64 {
        self.transcript_ms + self.model_ms + self.voice_ms + self.send_ms
    }
}

/// One item of the conversation so far, as the language model reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HistoryItem {
    /// The user's words.
    User(String),
    /// The agent's words: heard, or still to be said.
    Agent {
        /// The words.
        text: String,
        /// Why they were said. [`crate::Engine::history`] joins what the agent says in a row, and calls it speech.
        kind: UtteranceKind,
    },
    /// An instruction beside the conversation.
    Note(String),
    /// Function calls of one generation.
    ToolCalls(Vec<FunctionCall>),
    /// The result of one call; always after it.
    ToolResult {
        /// The [`FunctionCall::id`].
        call: String,
        /// The result.
        content: String,
    },
}

impl HistoryItem {
    /// Words of the agent that are neither a hold phrase nor an apology.
    #[must_use]
    pub fn agent(text: impl Into<String>) -> Self {
        Self::Agent { text: text.into(), kind: UtteranceKind::Speech }
    }

    /// A message of the conversation. `kind` matters for the agent's only.
    #[must_use]
    pub fn message(role: Role, text: String, kind: UtteranceKind) -> Self {
        match role {
            Role::Agent => Self::Agent { text, kind },
            Role::User => Self::User(text),
        }
    }
}

/// One utterance of the agent: some clauses that become one message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct UtteranceId(pub(crate) u32);

/// Numbers the utterances of a call.
#[derive(Debug, Default)]
pub(crate) struct UtteranceIds(u32);

impl UtteranceIds {
    pub(crate) fn next(&mut self) -> UtteranceId {
        let id = UtteranceId(self.0);
        self.0 += 1;
        id
    }
}
