//! The engine's inputs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    call_time::{CallTime, as_micros},
    types::{ClauseId, FunctionCall, GenerationId, Mark, PlacedWord},
};

/// Something that happened, in the worker's words to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Media flows: the first input of a call.
    MediaStarted,
    /// 20 ms of the caller's audio. While the agent is audible ([`Engine::is_audible`](crate::Engine::is_audible))
    /// the engine needs each frame; otherwise those that are speech and the first one after them. A frame that
    /// is left out counts as silence.
    Frame {
        /// The verdict of voice activity detection.
        is_speech: bool,
        /// Level of the frame, in dB relative to full scale.
        level_db: i16,
        /// Level of the agent's recent audio, in dB relative to full scale: its echo may be in the frame.
        agent_level_db: i16,
    },
    /// The caller pressed a key: a digit, `*`, `#`, or `A` to `D`.
    Dtmf(char),
    /// The transcriber detected the beginning of speech.
    SpeechStarted,
    /// The transcriber delivered words.
    Transcript {
        /// An interim replaces the interim before it; a final is appended to the turn.
        text: String,
        /// Whether this text is final.
        is_final: bool,
        /// When the last of the words was spoken, if the transcriber says.
        spoken_until: Option<CallTime>,
    },
    /// The transcriber takes the words of its interim back: they were not said.
    TranscriptWithdrawn,
    /// The transcriber detected the end of the user's turn.
    TurnEnded,
    /// The model generated more text.
    ModelText {
        /// The generation it belongs to.
        generation: GenerationId,
        /// The text since the last such input.
        text: String,
    },
    /// The model called a function.
    ModelToolCall {
        /// The generation it belongs to.
        generation: GenerationId,
        /// The call.
        call: FunctionCall,
    },
    /// A generation is complete.
    ModelFinished {
        /// The generation.
        generation: GenerationId,
    },
    /// A generation failed, or took too long for the worker.
    ModelFailed {
        /// The generation.
        generation: GenerationId,
    },
    /// The synthesizer delivered audio of a clause.
    VoiceAudio {
        /// The clause.
        clause: ClauseId,
        /// Length of this audio, in whole samples.
        #[serde(with = "as_micros")]
        audio: Duration,
    },
    /// The synthesizer reported when words of a clause are audible. Without this input the engine estimates the
    /// times from the number of characters.
    VoiceWords {
        /// The clause.
        clause: ClauseId,
        /// The words after those that were reported before, in their order.
        words: Vec<PlacedWord>,
    },
    /// The synthesizer delivered all audio of a clause.
    VoiceFinished {
        /// The clause.
        clause: ClauseId,
        /// Length of the silence at the end of its audio: the pause behind the words.
        #[serde(default, with = "as_micros")]
        trailing_silence: Duration,
    },
    /// A clause waits for its turn at the synthesizer, which has not failed; repeated at least every two seconds.
    VoiceDelayed {
        /// The clause.
        clause: ClauseId,
    },
    /// The synthesizer failed on a clause, or took too long for the worker.
    VoiceFailed {
        /// The clause.
        clause: ClauseId,
    },
    /// The carrier returned a mark: the audio before it was played, or cleared.
    Played {
        /// The mark.
        mark: Mark,
    },
    /// A function returned.
    ToolResult {
        /// The [`FunctionCall::id`].
        call: String,
        /// The result for the model.
        content: String,
    },
    /// The transcriber session broke, or could not be opened. The worker opens another one, which receives the
    /// audio since then.
    TranscriberFailed,
    /// No transcriber can be connected any more: the agent says goodbye.
    TranscriberLost,
    /// A hook or the API asks the agent to end the conversation.
    HangUp,
    /// The worker is about to stop, and another one takes the call over. The agent finishes its word, then
    /// [`Output::HandOver`](crate::Output::HandOver) follows within half a second. A user who is speaking finishes
    /// first, within five seconds. A conversation that is already closing ends instead.
    Drain,
    /// The media stream broke, but the call may go on in another one:
    /// [`Output::HandOver`](crate::Output::HandOver) comes at once.
    StreamLost,
    /// The call is over: the caller hung up, or the carrier ended it.
    StreamClosed,
    /// The [`Engine::deadline`](crate::Engine::deadline) has come.
    Wake,
}
