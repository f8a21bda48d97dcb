#![doc = include_str!("../README.md")]

mod call_quality;
mod heard_words;
mod panel;
mod pauses;
mod reactions;
mod segments;
mod silence;
mod speech_detector;
#[cfg(test)]
mod tests;
mod timeline;
mod turn_score;
mod turns;

pub use self::{
    call_quality::{CallQuality, MAX_DEAD_AIR, Spread},
    heard_words::HeardWords,
    panel::{MIN_EVENTS, Mean, Panel, Rate},
    pauses::pauses_cut_off,
    reactions::{Reaction, Stimulus, reactions},
    segments::{CallerSegment, Segments, TICK_MS, Ticks},
    silence::{DEAD_AIR_MS, DeadAir, dead_air, talk_over_ms},
    speech_detector::SpeechDetector,
    timeline::{SEGMENT_GAP_MS, Side, Sound, SoundKind, Span, Timeline},
    turn_score::{Turn, call_score, count_score, latency_score, overlap_score, yield_score},
    turns::turns,
};
