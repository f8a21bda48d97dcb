//! The websocket that carries a call's audio, whichever side opened it.
//!
//! A codec turns text frames into [`InboundFrame`]s and writes audio, marks and clears. It is one stream's: it
//! remembers the stream's id from its start and reuses its buffers, so that a frame of audio costs no allocation.
//! Start with [`MediaStreamCodec`].

use std::{borrow::Cow, collections::BTreeMap, error, fmt, time::Duration};

use switchboard_model::carriers::CarrierCallId;

use crate::audio::AudioFormat;

/// The longest frame to accept, in bytes; a frame of 20 ms has some 500.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;

/// Reads and writes the frames of one media stream.
pub trait MediaStreamCodec {
    /// The format of the audio, both ways; settled by the start frame.
    fn audio_format(&self) -> AudioFormat;

    /// Reads one frame. What is returned borrows from the text and the codec.
    ///
    /// # Errors
    /// [`MalformedFrame`] if the frame breaks the protocol.
    fn parse<'a>(&'a mut self, text: &'a str) -> Result<InboundFrame<'a>, MalformedFrame>;

    /// A frame that has the other side play audio behind what it already holds. Each written frame is valid
    /// until the next one.
    fn media(&mut self, audio: &[u8]) -> &str;

    /// A frame that has the other side return `name` when it has played what it holds.
    fn mark(&mut self, name: &str) -> &str;

    /// A frame that has the other side throw away what it holds, and return every mark.
    fn clear(&mut self) -> &str;
}

/// A frame from the other side.
#[derive(Clone, PartialEq, Eq)]
pub enum InboundFrame<'a> {
    /// The first frame.
    Connected,
    /// The second frame, which describes the stream.
    Start(StreamStart),
    /// Audio of the other side.
    Media {
        /// Since the stream began; a gap means that audio was lost.
        timestamp: Duration,
        /// In the stream's [`AudioFormat`].
        audio: &'a [u8],
    },
    /// A DTMF digit.
    Dtmf {
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: Cow<'a, str>,
    },
    /// The audio before this mark was played, or thrown away by a clear.
    Mark {
        /// The name that we gave it.
        name: Cow<'a, str>,
    },
    /// The call or the stream is over.
    Stop,
    /// A frame that this version does not know.
    Unknown,
}

/// The carrier's description of a media stream, sent at its start.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamStart {
    /// The other side's id of the stream.
    pub stream_id: String,
    /// The carrier's call; none if the frame names none that is valid.
    pub call: Option<CarrierCallId>,
    /// The format of the audio, both ways.
    pub format: AudioFormat,
    /// The parameters of the document that connected the stream; may hold a token.
    pub parameters: BTreeMap<String, String>,
}

/// A frame breaks the protocol.
#[derive(Debug, thiserror::Error)]
#[error("the media stream frame is malformed: {reason}")]
pub struct MalformedFrame {
    /// The problem; quotes nothing of the frame.
    pub reason: &'static str,
    /// The parser's error, if a parser refused it.
    #[source]
    pub source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl fmt::Debug for InboundFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Digits may spell a card's number.
        f.write_str(match self {
            Self::Connected => "Connected",
            Self::Start(_) => "Start",
            Self::Media { .. } => "Media",
            Self::Dtmf { .. } => "Dtmf",
            Self::Mark { .. } => "Mark",
            Self::Stop => "Stop",
            Self::Unknown => "Unknown",
        })
    }
}

impl fmt::Debug for StreamStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamStart")
            .field("stream_id", &self.stream_id)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
