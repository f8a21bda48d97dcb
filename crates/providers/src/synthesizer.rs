//! The synthesizer role: text to speech.
//!
//! [`Providers::synthesizer`](crate::Providers::synthesizer) builds the voice that an agent's configuration names. [`Synthesizer::open`] opens
//! one [`VoiceSession`] for a call; the session takes one clause after the other, and several may be synthesized
//! at the same time. A clause's stream does nothing until it is polled; dropping it cancels the clause.
//!
//! This module does not know which clause the caller hears: pacing and barge-in are the dialogue engine's.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};

use crate::{Error, StreamTimeouts, audio::AudioFormat, stand_in_report::StandInReport, unusable::Unusable};

/// A caller takes two seconds of silence before a sentence for thinking, and more for a broken line.
pub const TIMEOUTS: StreamTimeouts =
    StreamTimeouts { first: Duration::from_secs(2), idle: Duration::from_secs(5) };

/// The facts of a call that its voice session needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallContext {
    /// The audio that the call's leg plays.
    pub format: AudioFormat,
    /// The language of the conversation, a BCP-47 tag such as `en`.
    pub language: String,
}

/// One voice of one vendor, with one key.
pub trait Synthesizer: Send + Sync {
    /// Opens a connection ahead of the first clause of a call, which then needs no handshake. Returns within seconds,
    /// whether or not the connection is open.
    fn connect_ahead(&self, call: &CallContext) -> BoxFuture<'static, ()>;

    /// Whether it can be opened for this format. Every voice speaks the telephone's.
    fn speaks(&self, format: AudioFormat) -> bool;

    /// Opens the voice for one call, in a format that it speaks. Returns at once; errors come with the first clause.
    fn open(&self, call: &CallContext) -> Box<dyn VoiceSession>;
}

/// One voice in one call. A vendor with a websocket keeps its context (prosody, pronunciation) from clause to
/// clause here.
pub trait VoiceSession: Send {
    /// Asks the vendor for a clause that has at least one letter or digit. Called by
    /// [`synthesize`](VoiceSession::synthesize) only.
    fn request(&mut self, clause: &str) -> SpeechStream;

    /// Synthesizes a clause of at most 2,000 characters. A text without a letter or digit is silence: vendors
    /// answer it with errors or not at all.
    fn synthesize(&mut self, clause: &str) -> SpeechStream {
        if clause.chars().any(char::is_alphanumeric) { self.request(clause) } else { stream::empty().boxed() }
    }
}

/// A session that lives until the last of its clauses has ended. Only one clause is requested at a time.
pub(crate) type SharedSession = Arc<Mutex<Box<dyn VoiceSession>>>;

pub(crate) fn shared(session: Box<dyn VoiceSession>) -> SharedSession {
    Arc::new(Mutex::new(session))
}

/// Synthesizes a clause, whose stream keeps its session.
pub(crate) fn synthesize(session: &SharedSession, clause: &str) -> SpeechStream {
    // No session can panic half way through.
    let speech = session.lock().unwrap_or_else(PoisonError::into_inner).synthesize(clause);
    let speech = stream::unfold((speech, Arc::clone(session)), |(mut speech, session)| async {
        Some((speech.next().await?, (speech, session)))
    });
    speech.boxed()
}

/// The speech of one clause. It ends after the last audio or after its first error.
pub type SpeechStream = BoxStream<'static, Result<SpeechEvent, Error>>;

/// An event of a clause's speech.
#[derive(Clone, PartialEq, Eq)]
pub enum SpeechEvent {
    /// The usage that the vendor bills; once, before the first audio. Cancelling does not change it.
    Characters {
        /// Characters of the text.
        count: u64,
        /// True: counted here, because the vendor did not report it.
        estimated: bool,
    },
    /// Audio in the call's format, without a header; never empty, of any length.
    Audio(Bytes),
    /// When words are spoken, from vendors that say so; each word once, in the order of the text, and before the audio in
    /// which it ends.
    Words(Vec<WordTime>),
    /// Before the first audio: the clause waits for its turn at the vendor. Repeated every second or two.
    Delayed,
    /// Before the first audio: the clause waits for another one of the same session. Repeated every second, and once more
    /// when its turn comes.
    Queued,
    /// Another voice of a [`chain`](crate::chain) speaks what follows.
    Fallback(StandInReport),
}

/// When a word is spoken.
#[derive(Clone, PartialEq, Eq)]
pub struct WordTime {
    /// The word as it stands in the clause.
    pub word: String,
    /// Its start, counted from the clause's first sample.
    pub start: Duration,
    /// Its end, counted from the clause's first sample.
    pub end: Duration,
}

impl fmt::Debug for SpeechEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Characters { count, estimated } => write!(f, "Characters({count}, estimated: {estimated})"),
            Self::Audio(audio) => write!(f, "Audio({} bytes)", audio.len()),
            Self::Words(words) => f.debug_tuple("Words").field(words).finish(),
            Self::Delayed => f.write_str("Delayed"),
            Self::Queued => f.write_str("Queued"),
            Self::Fallback(fallback) => fallback.fmt(f),
        }
    }
}

impl fmt::Debug for WordTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WordTime([redacted], {:?} to {:?})", self.start, self.end)
    }
}

impl Synthesizer for Unusable {
    fn connect_ahead(&self, _call: &CallContext) -> BoxFuture<'static, ()> {
        future::ready(()).boxed()
    }

    fn speaks(&self, _format: AudioFormat) -> bool {
        true
    }

    fn open(&self, _call: &CallContext) -> Box<dyn VoiceSession> {
        Box::new(self.clone())
    }
}

impl VoiceSession for Unusable {
    fn request(&mut self, _clause: &str) -> SpeechStream {
        stream::iter([Err(self.error())]).boxed()
    }
}
