//! The engine's decisions.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_model::{conversations::EndedReason, messages::Role};

use crate::{
    call_time::{CallTime, as_micros},
    types::{ClauseId, FunctionCall, GenerationId, Latency, Mark, ModelFault, ProviderRole, UtteranceKind},
};

/// One decision. The worker carries decisions out in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Ask the language model for a reply to [`Engine::history`](crate::Engine::history) as it is now.
    StartGeneration {
        /// The number of this generation.
        generation: GenerationId,
    },
    /// Drop a generation that is no longer wanted.
    CancelGeneration {
        /// The generation.
        generation: GenerationId,
    },
    /// Send a clause to the synthesizer.
    Synthesize {
        /// The number of this clause.
        clause: ClauseId,
        /// The text; never empty, always speakable. The clauses of a text that was known before the call are
        /// exactly its [`clauses()`](crate::clauses()), so a clip of them can be synthesized ahead.
        text: String,
    },
    /// Drop the clauses that are not finished, and the audio that was not sent.
    CancelSynthesis,
    /// Send the next audio of a clause to the carrier.
    Send {
        /// The clause. Clauses are sent one after the other, but not always in the order of their numbers: one
        /// that is synthesized again keeps its place.
        clause: ClauseId,
        /// Length of the audio that was not sent before.
        #[serde(with = "as_micros")]
        audio: Duration,
    },
    /// Take back the last audio of a clause that was sent: it is sent again, before the rest of the clause. At
    /// most the audio that was not played, and the word it began in.
    Rewind {
        /// The clause.
        clause: ClauseId,
        /// Length of the audio.
        #[serde(with = "as_micros")]
        audio: Duration,
    },
    /// Send a mark to the carrier.
    Mark(Mark),
    /// Have the carrier discard what it has not played.
    Clear,
    /// Call a function.
    CallTool(FunctionCall),
    /// The transcriber session is open but deaf: open another one, and send it the last seconds again.
    ReplaceTranscriber,
    /// The caller has stopped, but the transcriber has only delivered interims: have it make them final, if it can.
    FinalizeTranscript,
    /// Record an event of the conversation.
    Event(ConversationEvent),
    /// The conversation is over. No output follows.
    End {
        /// Why.
        reason: EndedReason,
    },
    /// The conversation goes on at another worker. No output follows. All messages were reported before;
    /// if [`Engine::history`](crate::Engine::history) then waits for a reply, the next worker replies.
    HandOver {
        /// For [`Takeover::unspoken`](crate::Takeover::unspoken): the words that the agent would have said next.
        unspoken: Option<String>,
    },
}

/// One event of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConversationEvent {
    /// This side started to speak.
    SpeechStarted(Role),
    /// This side stopped speaking.
    SpeechEnded(Role),
    /// The model finished a message, before it is heard.
    MessageGenerated {
        /// The whole text.
        content: String,
    },
    /// A message entered the conversation.
    MessageSent {
        /// The speaker.
        role: Role,
        /// The user's words as transcribed, or the agent's heard words.
        content: String,
        /// Why the agent said it; for the user's messages always [`UtteranceKind::Speech`].
        kind: UtteranceKind,
        /// When the first word began.
        started_at: CallTime,
        /// When the last word ended.
        ended_at: CallTime,
        /// Whether the agent was cut off.
        interrupted: bool,
        /// How long the user waited for the message; only on the agent's first message of a turn.
        latency: Option<Latency>,
    },
    /// The model called a function.
    FunctionCall(FunctionCall),
    /// Another whole second of the conversation has passed.
    Duration {
        /// How many have passed.
        seconds: u64,
    },
    /// A provider gave no sign of life in time. (Failures that a provider reports itself are known to the worker.)
    ProviderTimedOut(ProviderRole),
    /// The model's response could not be used as it was.
    ModelFault(ModelFault),
}
