//! Text to speech: one sentence or clause, one stream of telephone audio.
//!
//! Make a [`Synthesizer`] for the agent's voice and [`speak`](Synthesizer::speak) with it. The stream
//! does nothing until it is polled and is cancelled by dropping it.

pub mod deepgram;
mod recorder;

use std::{fmt, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::Stream;
use switchboard_model::agents::Voice;

pub use self::recorder::Recorder;
use crate::{Error, Patience, Providers, egress};

/// Two seconds of silence before a sentence is the most a caller takes for thinking.
pub const PATIENCE: Patience = Patience { first: Duration::from_secs(2), idle: Duration::from_secs(5) };

/// Speech as it comes in. It ends after the last audio or after its first error.
pub type Speech = Pin<Box<dyn Stream<Item = Result<SpeechEvent, Error>> + Send>>;

/// A piece of speech.
#[derive(Clone, PartialEq, Eq)]
pub enum SpeechEvent {
    /// What will be paid for, once, before the first audio; cancelling does not change it.
    Characters {
        /// Characters of the text.
        count: u64,
        /// Counted by us, since the vendor did not say.
        estimated: bool,
    },
    /// Mu-law, 8 kHz, mono, without any header; never empty, of any length.
    Audio(Bytes),
}

impl fmt::Debug for SpeechEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Characters { count, estimated } => write!(f, "Characters({count}, estimated: {estimated})"),
            Self::Audio(audio) => write!(f, "Audio({} bytes)", audio.len()),
        }
    }
}

/// Opens a connection to the voice ahead of its first words, which then come sooner. Returns within seconds,
/// whether it is open or not.
pub async fn connect(providers: &Providers, voice: &Voice) {
    match voice {
        Voice::Deepgram { .. } => {
            egress::open_ahead(&providers.http, &providers.endpoints.deepgram).await;
        }
        Voice::Playht { .. }
        | Voice::Elevenlabs { .. }
        | Voice::Azure { .. }
        | Voice::Rimeai(_)
        | Voice::Rime(_) => {}
    }
}

/// Speaks with one voice.
#[derive(Debug, Clone)]
pub enum Synthesizer {
    /// Deepgram Aura.
    Deepgram(deepgram::Synthesizer),
}

impl Synthesizer {
    /// For the voice that the agent's configuration names. A vendor without an adapter is rejected;
    /// such voices are served by a substitute.
    pub fn new(providers: &Providers, voice: &Voice) -> Result<Self, Error> {
        match voice {
            Voice::Deepgram { model, .. } => {
                Ok(Self::Deepgram(deepgram::Synthesizer::new(providers, model, PATIENCE)))
            }
            Voice::Playht { .. }
            | Voice::Elevenlabs { .. }
            | Voice::Azure { .. }
            | Voice::Rimeai(_)
            | Voice::Rime(_) => {
                Err(Error::rejected(voice.provider(), "no_adapter", "served by a substitute only"))
            }
        }
    }

    /// Speaks a sentence or clause, of at most 2,000 characters. Text without a letter or digit is
    /// silence: the vendors answer it with errors or not at all.
    #[must_use]
    pub fn speak(&self, text: &str) -> Speech {
        if !text.chars().any(char::is_alphanumeric) {
            return Box::pin(futures_util::stream::empty());
        }
        match self {
            Self::Deepgram(synthesizer) => synthesizer.speak(text),
        }
    }
}
