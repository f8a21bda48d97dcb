//! Speech to text: a session takes telephone audio and yields what was heard.
//!
//! [`connect`] opens one. The two halves are independent: push audio into the [`AudioSink`] as it
//! comes, and keep polling the [`Hearing`] stream, which does all the work, sending included. Dropping
//! the stream ends the session at once; [`AudioSink::finish`] ends it after the last words.

pub mod deepgram;

use std::{fmt, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::Stream;
use switchboard_model::agents::Transcriber;
use tokio::sync::mpsc;

use crate::{Error, Providers};

/// Audio waiting to be sent: 100 frames of 20 ms = 2 s. When it is full the vendor has stopped
/// reading, and the session ends as unavailable: waiting would hold up the call.
pub const QUEUE_FRAMES: usize = 100;

/// What a session hears. It ends after the last event or after its first error.
pub type Hearing = Pin<Box<dyn Stream<Item = Result<HearingEvent, Error>> + Send>>;

/// Something heard.
#[derive(Clone, PartialEq)]
pub enum HearingEvent {
    /// Someone began to speak.
    SpeechStarted,
    /// The words since the last final ones.
    Words {
        /// Never empty.
        text: String,
        /// They will not change any more. Words that are not final replace the earlier ones that
        /// were not; final words replace them for good.
        is_final: bool,
        /// Where the last word ended in the audio, counted from the session's first byte.
        words_end: Option<Duration>,
    },
    /// The speaker stopped, after the final words of the turn.
    TurnEnded,
    /// What will be paid for; once, at the end of the session or just before its error.
    Usage {
        /// Length of the audio.
        audio: Duration,
        /// Counted by us, since the vendor did not say.
        estimated: bool,
    },
}

impl fmt::Debug for HearingEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpeechStarted => f.write_str("SpeechStarted"),
            Self::Words { is_final, .. } => write!(f, "Words([redacted], final: {is_final})"),
            Self::TurnEnded => f.write_str("TurnEnded"),
            Self::Usage { audio, estimated } => write!(f, "Usage({audio:?}, estimated: {estimated})"),
        }
    }
}

/// Takes the audio of a session.
#[derive(Debug)]
pub struct AudioSink {
    vendor: &'static str,
    frames: mpsc::Sender<Bytes>,
}

impl AudioSink {
    /// A sink and the end its session reads from.
    fn new(vendor: &'static str) -> (Self, mpsc::Receiver<Bytes>) {
        let (frames, queue) = mpsc::channel(QUEUE_FRAMES);
        (Self { vendor, frames }, queue)
    }

    /// Hands over mu-law audio of any length, 20 ms as a rule. Never waits.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the session is over or has fallen [`QUEUE_FRAMES`] behind.
    pub fn send(&mut self, mulaw: Bytes) -> Result<(), Error> {
        // To a vendor an empty message may mean the end.
        if mulaw.is_empty() {
            return Ok(());
        }
        self.frames.try_send(mulaw).map_err(|refused| {
            let reason = match refused {
                mpsc::error::TrySendError::Full(_) => "it does not keep up with the audio",
                mpsc::error::TrySendError::Closed(_) => "the session is over",
            };
            Error::unavailable(self.vendor, reason)
        })
    }

    /// No more audio comes: what was said last is still heard, then the stream ends. The same as
    /// dropping the sink.
    pub fn finish(self) {}
}

/// Opens a session with the transcriber that the agent's configuration names. Rejected: trying again
/// will not help.
pub async fn connect(
    providers: &Providers,
    transcriber: &Transcriber,
) -> Result<(AudioSink, Hearing), Error> {
    match transcriber {
        Transcriber::Deepgram { model, language, keywords, .. } => {
            let settings = deepgram::Settings { model, language, keywords };
            deepgram::connect(providers, &settings, deepgram::Timing::default()).await
        }
        Transcriber::Azure { .. } => {
            Err(Error::rejected(transcriber.provider(), "no_adapter", "served by a substitute only"))
        }
    }
}
