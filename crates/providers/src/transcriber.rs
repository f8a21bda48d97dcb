//! The transcriber role: speech to text.
//!
//! [`Providers::transcriber`](crate::Providers::transcriber) builds the transcriber that an agent's configuration names, and
//! [`Transcriber::connect_for`] opens a session with it. A session has two independent halves: the caller pushes
//! audio into the [`AudioSink`] as it arrives, and polls the [`TranscriberSession`], which does all the work,
//! sending included. Dropping the session ends it at once; [`AudioSink::finish`] ends it after the last words.
//!
//! This module reconnects nothing and buffers two seconds at most: keeping a call's transcriber alive is the
//! media worker's work.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{self, BoxFuture},
    stream::BoxStream,
};
use tokio::sync::{Notify, mpsc};

use crate::{Error, audio::AudioFormat, stand_in_report::StandInReport, unusable::Unusable};

/// Audio waiting to be sent: 100 frames of 20 ms = 2 s. When the queue is full the vendor has stopped reading,
/// and the session ends as unavailable: waiting would delay the call.
pub const QUEUE_FRAMES: usize = 100;

/// Opens sessions with one vendor's transcriber, with one configuration and one key.
pub trait Transcriber: Send + Sync {
    /// Connects and authenticates, for audio of this format. A transcriber that does not take it takes the telephone's;
    /// [`AudioSink::format`] says which.
    ///
    /// # Errors
    /// [`Error::Rejected`]: connecting again will not help. [`Error::Unavailable`]: it may.
    fn connect_for(
        &self,
        format: AudioFormat,
    ) -> BoxFuture<'static, Result<(AudioSink, TranscriberSession), Error>>;

    /// Connects for the telephone's audio.
    ///
    /// # Errors
    /// As for [`Transcriber::connect_for`].
    fn connect(&self) -> BoxFuture<'static, Result<(AudioSink, TranscriberSession), Error>> {
        self.connect_for(AudioFormat::TELEPHONE)
    }
}

/// The events of one session. The stream ends after its last event or after its first error.
pub type TranscriberSession = BoxStream<'static, Result<TranscriptEvent, Error>>;

/// An event of a session.
#[derive(Clone, PartialEq)]
pub enum TranscriptEvent {
    /// The speaker began to speak.
    SpeechStarted,
    /// The words since the last final transcript.
    Transcript {
        /// Never empty.
        text: String,
        /// False: an interim transcript, which the next one replaces. True: a final one, which replaces the interim
        /// before it and never changes.
        is_final: bool,
        /// Where the last word ended in the audio, counted from the session's first byte; none if the vendor does
        /// not say.
        words_end: Option<Duration>,
    },
    /// The words of the interim transcript were not said.
    Withdrawn,
    /// The speaker stopped; sent after the final transcripts of the turn.
    TurnEnded,
    /// The speaker has probably stopped: a reply may be prepared, but not given. Either [`Self::TurnResumed`] or
    /// [`Self::TurnEnded`] with the same words follows. From transcribers that were asked for it.
    TurnEndExpected,
    /// The speaker goes on after all.
    TurnResumed,
    /// The usage that the vendor bills; once, at the end of the session or just before its error.
    Usage {
        /// Length of the audio.
        audio: Duration,
        /// True: counted here, because the vendor did not report it.
        estimated: bool,
    },
}

impl fmt::Debug for TranscriptEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpeechStarted => f.write_str("SpeechStarted"),
            Self::Transcript { is_final, .. } => write!(f, "Transcript([redacted], final: {is_final})"),
            Self::Withdrawn => f.write_str("Withdrawn"),
            Self::TurnEnded => f.write_str("TurnEnded"),
            Self::TurnEndExpected => f.write_str("TurnEndExpected"),
            Self::TurnResumed => f.write_str("TurnResumed"),
            Self::Usage { audio, estimated } => write!(f, "Usage({audio:?}, estimated: {estimated})"),
        }
    }
}

/// Takes the audio of a session.
#[derive(Debug)]
pub struct AudioSink {
    vendor: &'static str,
    format: AudioFormat,
    frames: mpsc::Sender<Bytes>,
    /// Requests for the final words, for a vendor that takes them.
    finalize: Option<Arc<Notify>>,
    fallback: Option<StandInReport>,
}

impl AudioSink {
    /// A sink for the telephone's audio, and the end from which its session reads.
    #[must_use]
    pub fn new(vendor: &'static str) -> (Self, mpsc::Receiver<Bytes>) {
        let (frames, queue) = mpsc::channel(QUEUE_FRAMES);
        (Self { vendor, format: AudioFormat::TELEPHONE, frames, finalize: None, fallback: None }, queue)
    }

    /// The same, for a session that listens to `finalize`.
    #[must_use]
    pub fn with_finalize(vendor: &'static str, finalize: Arc<Notify>) -> (Self, mpsc::Receiver<Bytes>) {
        let (sink, queue) = Self::new(vendor);
        (Self { finalize: Some(finalize), ..sink }, queue)
    }

    /// The same sink, for audio of another format.
    #[must_use]
    pub fn of_format(self, format: AudioFormat) -> Self {
        Self { format, ..self }
    }

    /// The format of the audio that the session takes.
    #[must_use]
    pub fn format(&self) -> AudioFormat {
        self.format
    }

    /// Asks for the words so far as final ones, once the audio that is queued has been sent. They may not come: no
    /// vendor promises them. Without effect if the vendor has no such request.
    pub fn finalize(&self) {
        if let Some(finalize) = &self.finalize {
            finalize.notify_one();
        }
    }

    /// The same sink, of a session that this provider of a [`chain`](crate::chain) serves.
    pub(crate) fn served_by(self, fallback: StandInReport) -> Self {
        Self { fallback: Some(fallback), ..self }
    }

    /// The provider of the session; none, if there is no chain.
    pub fn take_fallback(&mut self) -> Option<StandInReport> {
        self.fallback.take()
    }

    /// Queues audio of any length, usually 20 ms. Never waits.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the session is over or has fallen [`QUEUE_FRAMES`] behind.
    pub fn send(&mut self, audio: Bytes) -> Result<(), Error> {
        // Some vendors take an empty message for the end of the stream.
        if audio.is_empty() {
            return Ok(());
        }
        self.frames.try_send(audio).map_err(|refused| {
            let reason = match refused {
                mpsc::error::TrySendError::Full(_) => "it does not keep up with the audio",
                mpsc::error::TrySendError::Closed(_) => "the session is over",
            };
            Error::unavailable(self.vendor, reason)
        })
    }

    /// Ends the audio: the session still delivers the last words, then its stream ends. Dropping the sink does the
    /// same.
    pub fn finish(self) {}
}

impl Transcriber for Unusable {
    fn connect_for(
        &self,
        _format: AudioFormat,
    ) -> BoxFuture<'static, Result<(AudioSink, TranscriberSession), Error>> {
        future::ready(Err(self.error())).boxed()
    }
}
