//! The language model role: what the agent says next.
//!
//! [`Providers::language_model`](crate::Providers::language_model) builds the model that an agent's configuration names;
//! [`LanguageModel::generate`] asks it for one response. A [`Generation`] does nothing until it is polled and is
//! cancelled by dropping it. A cancelled generation reports no usage, so its owner has to estimate it.
//!
//! The types here are the conversation as a model is shown it. They know nothing of the dialogue engine: the media
//! worker converts.

use std::{fmt, time::Duration};

use futures_util::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};
use serde_json::{Map, Value};

use crate::{Error, StreamTimeouts, stand_in_report::StandInReport, unusable::Unusable};

/// A caller who hears nothing for 4 s hangs up. Between two events a model may take longer: the caller hears the
/// first words meanwhile.
pub const TIMEOUTS: StreamTimeouts =
    StreamTimeouts { first: Duration::from_secs(4), idle: Duration::from_secs(10) };

/// Maximum time for a whole response, not counting the time in which its reader does not want more of it.
pub const TOTAL_TIMEOUT: Duration = Duration::from_mins(1);

/// One model of one vendor, with one configuration and one key.
pub trait LanguageModel: Send + Sync {
    /// Opens a connection ahead of the first generation, which then needs no handshake. Returns within seconds,
    /// whether or not the connection is open.
    fn connect_ahead(&self) -> BoxFuture<'static, ()>;

    /// Asks for the agent's next words. The request is sent when the generation is first polled.
    fn generate(&self, conversation: &Conversation<'_>) -> Generation;
}

/// The conversation so far, as the model is shown it.
#[derive(Clone, Copy)]
pub struct Conversation<'a> {
    /// The agent's instructions.
    pub prompt: Option<&'a str>,
    /// All messages, oldest first.
    pub messages: &'a [ChatMessage],
}

/// A message of the conversation.
#[derive(Clone, PartialEq)]
pub enum ChatMessage {
    /// The caller's words.
    User(String),
    /// The agent's words, as far as the caller heard them.
    Agent(String),
    /// Something that the model is to know and nobody said.
    System(String),
    /// Functions that the model called in one response.
    ToolCalls(Vec<ToolCall>),
    /// The result of a function.
    ToolResult {
        /// The [`ToolCall::id`].
        call: String,
        /// JSON or plain text.
        content: String,
    },
}

impl fmt::Debug for ChatMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self {
            Self::User(_) => "User",
            Self::Agent(_) => "Agent",
            Self::System(_) => "System",
            Self::ToolCalls(_) => "ToolCalls",
            Self::ToolResult { .. } => "ToolResult",
        };
        write!(f, "{role}([redacted])")
    }
}

/// A function that the model calls.
#[derive(Clone, PartialEq)]
pub struct ToolCall {
    /// The vendor's, which may be empty, or that of another call; in a [`Conversation`] it is unique.
    pub id: String,
    /// Which function.
    pub name: String,
    /// As the model wrote them, see [`arguments`].
    pub arguments: String,
    /// State that the vendor wants back with this call in the next request (Gemini's thought signature). Opaque:
    /// only the adapter that produced it reads it.
    pub provider_state: Option<Value>,
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolCall").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// The events of one response. The stream ends after [`GenerationEvent::Finished`] or after its first error.
pub type Generation = BoxStream<'static, Result<GenerationEvent, Error>>;

/// An event of a generation.
#[derive(Clone, PartialEq)]
pub enum GenerationEvent {
    /// More words; never empty, sometimes less than a word.
    Text(String),
    /// A whole call, after the words that came before it.
    ToolCall(ToolCall),
    /// The usage that the vendor bills; at most once, just before [`GenerationEvent::Finished`]. Some servers never say.
    Usage {
        /// Tokens of the request, the cached ones included.
        input_tokens: u64,
        /// Tokens of the response, its hidden reasoning included.
        output_tokens: u64,
        /// Those of the request that the vendor had cached.
        cached_tokens: u64,
        /// Those of the request that were not cached and that the vendor has cached since.
        cache_write_tokens: u64,
    },
    /// The last event of a complete response.
    Finished(FinishReason),
    /// Another provider of a [`chain`](crate::chain) generates the events that follow.
    Fallback(StandInReport),
}

impl fmt::Debug for GenerationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text([{} bytes])", text.len()),
            Self::ToolCall(call) => write!(f, "ToolCall({})", call.name),
            Self::Usage { input_tokens, output_tokens, cached_tokens, .. } => {
                write!(f, "Usage({input_tokens} in, {cached_tokens} of them cached, {output_tokens} out)")
            }
            Self::Finished(reason) => write!(f, "Finished({reason:?})"),
            Self::Fallback(fallback) => fallback.fmt(f),
        }
    }
}

/// Why a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model had nothing to add.
    Stop,
    /// The limit on tokens cut it off.
    Length,
    /// It waits for the results of its calls.
    ToolCalls,
    /// The vendor's filter cut it off.
    ContentFilter,
    /// It ended without a reason, or with an unknown one.
    Unknown,
}

/// The arguments of a call, if they are a JSON object. Models sometimes write something else, or break off.
#[must_use]
pub fn arguments(call: &ToolCall) -> Option<Map<String, Value>> {
    serde_json::from_str(&call.arguments).ok()
}

impl LanguageModel for Unusable {
    fn connect_ahead(&self) -> BoxFuture<'static, ()> {
        future::ready(()).boxed()
    }

    fn generate(&self, _conversation: &Conversation<'_>) -> Generation {
        stream::iter([Err(self.error())]).boxed()
    }
}
