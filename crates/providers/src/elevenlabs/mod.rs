//! `ElevenLabs`: synthesizer ([`speak`]).

mod connection;
mod messages;
mod refusals;
pub mod speak;
mod target;
mod words;

pub(crate) const VENDOR: &str = "elevenlabs";
