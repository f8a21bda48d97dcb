#![doc = include_str!("../README.md")]

mod agent_side;
mod barge_in;
mod call_clock;
mod call_time;
mod dtmf;
mod engine;
mod handover;
mod history;
mod idle;
mod input;
mod language;
mod opening;
mod output;
mod phase;
mod phrases;
mod playback;
pub mod replay;
mod response;
mod settings;
mod spoken_text;
#[cfg(test)]
mod tests;
mod timing;
mod transcriber_watchdog;
mod turn;
mod types;
mod user_side;
mod wordless_sound;

pub use self::{
    call_time::CallTime,
    engine::Engine,
    input::Input,
    output::{ConversationEvent, Output},
    phrases::phrases,
    playback::UtteranceInProgress,
    response::clause_splitter::clauses,
    settings::{EngineSettings, Takeover, TranscriberProfile},
    types::{
        AnsweredCalls, ClauseId, FunctionCall, GenerationId, HistoryItem, Latency, Mark, ModelFault,
        PlacedWord, ProviderRole, UtteranceKind,
    },
};
