//! What to say: one question, one streamed answer.
//!
//! [`ask`] is the only entrance. The answer is a stream of [`ModelEvent`]s that does nothing until it
//! is polled and is cancelled by dropping it; a cancelled answer reports no usage, so count it
//! yourself. It ends after [`ModelEvent::Finished`] or after its first error.

mod chunks;
pub mod openai;

use std::{fmt, pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use serde_json::{Map, Value};
use switchboard_dialogue::{HistoryItem as Line, ToolCall};
use switchboard_model::agents::{LanguageModel, ModelSettings};

use crate::{Error, Patience, Providers, egress};

/// A model that has said nothing for 4 s has lost the caller; between two pieces it is allowed more,
/// since the caller hears the first ones meanwhile.
pub const PATIENCE: Patience = Patience { first: Duration::from_secs(4), idle: Duration::from_secs(10) };

/// An answer as it comes in.
pub type Answer = Pin<Box<dyn Stream<Item = Result<ModelEvent, Error>> + Send>>;

/// A piece of an answer.
#[derive(Clone, PartialEq, Eq)]
pub enum ModelEvent {
    /// More words, never empty; as little as a part of a word.
    Text(String),
    /// A whole call, after the words that came before it. Its arguments are as the model wrote them,
    /// see [`arguments`]; its id is unique within the answer.
    ToolCall(ToolCall),
    /// What the answer cost; at most once, just before [`ModelEvent::Finished`]. Some servers never say.
    Usage {
        /// Tokens of the question, the cached ones included.
        input_tokens: u64,
        /// Tokens of the answer, its hidden reasoning included.
        output_tokens: u64,
        /// Those of the question that were read from the vendor's cache.
        cached_tokens: u64,
    },
    /// The last event of a complete answer.
    Finished(FinishReason),
}

impl fmt::Debug for ModelEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text([{} bytes])", text.len()),
            Self::ToolCall(call) => write!(f, "ToolCall({})", call.name),
            Self::Usage { input_tokens, output_tokens, cached_tokens } => {
                write!(f, "Usage({input_tokens} in, {cached_tokens} of them cached, {output_tokens} out)")
            }
            Self::Finished(reason) => write!(f, "Finished({reason:?})"),
        }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model had said it all.
    Stop,
    /// The limit on tokens cut it off.
    Length,
    /// It waits for the results of its calls.
    ToolCalls,
    /// The vendor's filter cut it off.
    ContentFilter,
    /// It ended without a reason, or with one unknown to us.
    Unknown,
}

/// Opens a connection to the model ahead of the first question, which then saves the time for that. Returns
/// within seconds, whether it is open or not.
pub async fn connect(providers: &Providers, model: &LanguageModel) {
    match model {
        LanguageModel::Openai(_) => egress::open_ahead(&providers.http, &providers.endpoints.openai).await,
        LanguageModel::Google(_) => {}
    }
}

/// The arguments of a call, if they are what they are meant to be: a JSON object. Models sometimes
/// write something else, or break off.
#[must_use]
pub fn arguments(call: &ToolCall) -> Option<Map<String, Value>> {
    serde_json::from_str(&call.arguments).ok()
}

/// Asks the model that the agent's configuration names how to go on. `prompt` is the agent's
/// instructions, `lines` the conversation so far.
#[must_use]
pub fn ask(providers: &Providers, model: &LanguageModel, prompt: Option<&str>, lines: &[Line]) -> Answer {
    match model {
        LanguageModel::Openai(settings) => {
            openai::Client::new(providers).ask(&openai::Question { settings, prompt, lines }, PATIENCE)
        }
        LanguageModel::Google(ModelSettings { .. }) => {
            let error = Error::rejected(model.provider(), "no_adapter", "served by a substitute only");
            stream::iter([Err(error)]).boxed()
        }
    }
}
