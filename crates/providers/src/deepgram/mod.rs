//! Deepgram: transcriber ([`listen`]) and synthesizer ([`speak`]).

pub mod listen;
pub mod speak;

pub(crate) const VENDOR: &str = "deepgram";
