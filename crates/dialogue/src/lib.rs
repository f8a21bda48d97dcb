//! Who speaks when: the sans-IO engine of a live conversation.
//!
//! The worker feeds [`Engine::on`] with what happened ([`Input`]) and when ([`CallTime`]) and does
//! what comes out ([`Output`]). There is no clock, no task and no socket in here, so a call's inputs
//! replay to the same outputs. The audio bytes themselves never pass through: the engine decides
//! over lengths, the worker keeps the bytes of each [`ClauseId`] and sends as many as it is told.
//!
//! One file per decision: `endpointing` (is the user's turn over), `floor` and `backchannel` (does the
//! user interrupt), `hearing` (does the transcriber hear them), `answering` (the model, its tools and
//! their failures), `filler` and `phrases` (what is said for want of an answer), `speech` (where text is
//! cut into clauses), `playback` (what is being sent), `piece` (one clause of it), `heard` (what of it was
//! heard), `keypad` (digits), `idle` (nobody speaks), `history` (what the model is told), `takeover` (a
//! call that changes workers), `replay` (the log of all that), `engine` (the rest, and the glue).

mod answering;
mod backchannel;
mod endpointing;
mod engine;
mod filler;
mod floor;
mod heard;
mod hearing;
mod history;
mod idle;
mod keypad;
mod phrases;
mod piece;
mod playback;
pub mod replay;
mod speech;
mod takeover;
#[cfg(test)]
mod tests;

use std::{ops::Add, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{engine::Engine, phrases::phrases, speech::clauses};
use switchboard_model::{conversations::EndedReason, messages::Role};

/// Microseconds since the call's media began to flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallTime(pub u64);

impl CallTime {
    /// How long after `earlier` this is; zero if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for CallTime {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// What the engine needs to know of the agent, and of the call so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Said as soon as media flows; none: the agent waits for the user.
    pub greeting: Option<String>,
    /// After this the agent ends the conversation; none: it does not.
    pub max_duration: Option<Duration>,
    /// What the user speaks, as a BCP-47 tag: which words only show that somebody listens depends on it,
    /// and what the agent says of its own accord ([`phrases()`]).
    pub language: String,
    /// What another worker began; none: a new call. A call that is taken over is not greeted.
    pub takeover: Option<Takeover>,
}

/// A call that is taken over from another worker.
///
/// A history that ends with the user, or with functions, is waiting for the agent: unless something
/// is `unspoken`, the model is asked as soon as media flows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// The conversation so far. It need not be tidy: a call without a result gets one that says so,
    /// results without a call and empty lines are left out.
    pub history: Vec<HistoryItem>,
    /// What the agent was cut off from saying. It is said if the caller says nothing first. A greeting
    /// of which nothing was heard belongs here: [`Settings::greeting`] is not said again.
    pub unspoken: Option<String>,
    /// How long the conversation had lasted at [`CallTime`] zero. The longest duration counts from its
    /// beginning. So do the seconds: the next whole one is told next. Those before it were told or
    /// passed while nobody held the call, which cannot be known here, and none is told twice.
    pub elapsed: Duration,
}

/// One generation to the language model; numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GenerationId(pub u32);

/// One piece of text that is spoken in one go; numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClauseId(pub u32);

/// A mark sent to the carrier behind some audio. Its generation grows with every `clear`: a mark of
/// an old generation comes back although its audio was thrown away, so it proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// How many times the audio had been cleared when it was sent.
    pub clears: u32,
    /// Its number within the call.
    pub number: u32,
}

/// A function the model wants called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The model's name for this call.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments as the model wrote them: JSON if all went well.
    pub arguments: String,
    /// What the model's vendor wants to see again with this call. Opaque to the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_state: Option<serde_json::Value>,
}

/// What happened. `Wake` is for the deadline the engine asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Media flows: the first input of a call.
    MediaStarted,
    /// 20 ms of the caller's audio. Every frame counts while the agent is audible
    /// ([`Engine::is_audible`]), else those that are speech and the first one after them: what is left
    /// out was no speech.
    Frame {
        /// Whether it is speech, as far as can be told without words.
        is_speech: bool,
        /// How loud it is, in dB relative to full scale.
        level_db: i16,
        /// How loud the agent was lately, in dB relative to full scale: its echo may be in the frame.
        agent_level_db: i16,
    },
    /// The caller pressed a key: a digit, `*`, `#`, or `A` to `D`.
    Dtmf(char),
    /// The transcriber heard the beginning of speech.
    SpeechStarted,
    /// The transcriber understood words.
    Transcript {
        /// An interim replaces the interim before it; a final is appended to the turn.
        text: String,
        /// Whether this text is settled.
        is_final: bool,
        /// When the last of the words was spoken, if the transcriber says.
        spoken_until: Option<CallTime>,
    },
    /// The transcriber says that the user's turn is over.
    TurnEnded,
    /// The next piece of the model's answer.
    ModelText {
        /// To which generation.
        generation: GenerationId,
        /// Its words.
        text: String,
    },
    /// The model wants a function called.
    ModelToolCall {
        /// In answer to which generation.
        generation: GenerationId,
        /// Which function.
        call: ToolCall,
    },
    /// The model's answer is complete.
    ModelFinished {
        /// To which generation.
        generation: GenerationId,
    },
    /// The model failed, or stayed silent too long.
    ModelFailed {
        /// On which generation.
        generation: GenerationId,
    },
    /// The voice delivered audio of a clause.
    VoiceAudio {
        /// Which clause.
        clause: ClauseId,
        /// How many bytes (samples) of telephone audio.
        bytes: u32,
    },
    /// The voice delivered all audio of a clause.
    VoiceFinished {
        /// Which clause.
        clause: ClauseId,
        /// How many of its last bytes are silence: the pause behind the words.
        #[serde(default)]
        silence: u32,
    },
    /// The voice failed on a clause, or stayed silent too long.
    VoiceFailed {
        /// Which clause.
        clause: ClauseId,
    },
    /// The carrier played everything up to this mark (or threw it away, if its generation is old).
    Played {
        /// Which mark.
        mark: Mark,
    },
    /// A tool answered.
    ToolResult {
        /// The [`ToolCall::id`].
        call: String,
        /// What the model is told.
        content: String,
    },
    /// The transcriber's session broke, or could not be opened. Another one is being opened, which will
    /// hear what was said meanwhile.
    TranscriberFailed,
    /// The transcriber is gone for good: the agent says goodbye.
    TranscriberLost,
    /// Somebody asks the agent to end the conversation: a hook, the end route.
    HangUp,
    /// The worker is going to stop, and another one takes the call over. The word being said is
    /// finished, then comes [`Output::HandOver`], within half a second; when the user is speaking, they
    /// finish first, within five seconds. A conversation that is ending already ends instead.
    Drain,
    /// The stream broke, but the call may live on in another one: [`Output::HandOver`] comes at once.
    StreamLost,
    /// The other side is gone.
    StreamClosed,
    /// The deadline has come.
    Wake,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Ask the model, with [`Engine::history`] as it is now.
    StartGeneration {
        /// The number of this generation.
        generation: GenerationId,
    },
    /// The answer to this generation is not wanted any more.
    CancelGeneration {
        /// Which.
        generation: GenerationId,
    },
    /// Have the voice speak this text.
    Synthesize {
        /// The number of this clause.
        clause: ClauseId,
        /// What to say; never empty, always something that can be said. Of a text that was known before
        /// it is one of its [`clauses()`], so its audio may be there already.
        text: String,
    },
    /// Audio of all clauses that are not finished is not wanted any more; forget what is unsent.
    CancelSynthesis,
    /// Send the next bytes of a clause to the carrier.
    Send {
        /// Which clause; clauses are sent one after the other, but not always in the order of their
        /// numbers: one that is asked for again keeps its place.
        clause: ClauseId,
        /// How many of the bytes that were not sent yet.
        bytes: u32,
    },
    /// Take back the last bytes of a clause that were sent: they are to be sent again, first of the
    /// clause. At most the audio that was not played, and the word it began in.
    Rewind {
        /// Which clause.
        clause: ClauseId,
        /// How many bytes.
        bytes: u32,
    },
    /// Send a mark to the carrier.
    Mark(Mark),
    /// Have the carrier throw away what it has not played.
    Clear,
    /// Call a function.
    CallTool(ToolCall),
    /// The transcriber's session is open but hears nothing: open another one, and let it hear the last
    /// seconds again.
    ReplaceTranscriber,
    /// Something that belongs in the conversation's log.
    Event(ConversationEvent),
    /// The conversation is over: the last output there is.
    End {
        /// Why.
        reason: EndedReason,
    },
    /// The conversation goes on elsewhere: the last output there is. What was said and heard until now
    /// was told before; if [`Engine::history`] then waits for the agent, the next one answers.
    HandOver {
        /// For [`Takeover::unspoken`]: what the agent would have gone on to say.
        unspoken: Option<String>,
    },
}

/// What the conversation's log is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConversationEvent {
    /// Someone started to speak.
    SpeechStarted(Role),
    /// Someone stopped.
    SpeechEnded(Role),
    /// The model finished a message, before it is heard.
    MessageGenerated {
        /// All of it.
        content: String,
    },
    /// A message entered the conversation.
    MessageSent {
        /// Whose.
        role: Role,
        /// The user's words as they were understood, the agent's as far as they were heard.
        content: String,
        /// When the first word began.
        started_at: CallTime,
        /// When the last word ended.
        ended_at: CallTime,
        /// The agent was cut off.
        interrupted: bool,
        /// How long the user waited for it; only the agent's first message of a turn has it.
        latency: Option<Latency>,
    },
    /// The model called a function.
    FunctionCall(ToolCall),
    /// A whole second of the conversation has passed.
    Duration {
        /// How many so far.
        seconds: u64,
    },
    /// A provider that gave no sign of life took too long. (What it says itself of a failure the worker
    /// knows.)
    ProviderTimedOut(ProviderRole),
}

/// The part of an agent that a provider plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProviderRole {
    /// Hears.
    Transcriber,
    /// Thinks.
    LanguageModel,
    /// Speaks.
    Synthesizer,
}

/// Where the time went between the user's last word and the first frame of the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// From the end of the user's speech to the decision that the turn is over, transcript in hand.
    pub transcript_ms: u64,
    /// From there to the model's first words.
    pub model_ms: u64,
    /// From there to the first audio of the voice.
    pub voice_ms: u64,
    /// From there to the first frame sent to the carrier.
    pub send_ms: u64,
}

impl Latency {
    /// The whole wait.
    #[must_use]
    pub fn response_ms(self) -> u64 {
        self.transcript_ms + self.model_ms + self.voice_ms + self.send_ms
    }
}

/// One line of what the model is told of the conversation so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HistoryItem {
    /// What the user said.
    User(String),
    /// What the agent said and was heard saying.
    Agent(String),
    /// What the model should know beside what was said.
    Note(String),
    /// Functions the model called.
    ToolCalls(Vec<ToolCall>),
    /// What one of them answered; always after its call.
    ToolResult {
        /// The [`ToolCall::id`].
        call: String,
        /// The answer.
        content: String,
    },
}
