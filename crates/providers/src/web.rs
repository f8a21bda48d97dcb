//! The media stream of a browser: the carrier's protocol without the carrier.
//!
//! JSON text frames both ways, audio in base64. The browser says in its start which audio it speaks; two events are
//! ours: `conversation`, which tells of the conversation's events, and `resume`, whose token resumes the call on another
//! socket. `docs/web-calls.md` has every shape.

use std::{borrow::Cow, collections::BTreeMap, error, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    audio::AudioFormat,
    carrier::media_stream::{InboundFrame, MalformedFrame, MediaStreamCodec, StreamStart},
};

/// The codec of one browser's stream.
#[derive(Debug)]
pub struct WebMediaStream {
    format: AudioFormat,
    /// The frame that was written last.
    frame: String,
    /// The audio that was read last.
    audio: Vec<u8>,
}

impl Default for WebMediaStream {
    /// A stream that has not started.
    fn default() -> Self {
        Self { format: AudioFormat::TELEPHONE, frame: String::new(), audio: vec![] }
    }
}

impl WebMediaStream {
    /// A frame that tells of an event of the conversation.
    #[must_use]
    pub fn event(name: &str, data: &Value) -> String {
        json!({ "event": "conversation", "name": name, "data": data }).to_string()
    }

    /// A frame with the token that resumes the call on another socket.
    #[must_use]
    pub fn resume(token: &str) -> String {
        json!({ "event": "resume", "token": token }).to_string()
    }
}

impl MediaStreamCodec for WebMediaStream {
    fn audio_format(&self) -> AudioFormat {
        self.format
    }

    /// The start may have the parameter `token`.
    fn parse<'a>(&'a mut self, text: &'a str) -> Result<InboundFrame<'a>, MalformedFrame> {
        let frame: Frame<'_> = match serde_json::from_str(text) {
            Ok(frame) => frame,
            // An event that we do not know may use a member's name for something else.
            Err(_) if is_unknown(text) => return Ok(InboundFrame::Unknown),
            Err(error) => return Err(malformed("not readable as JSON", error)),
        };
        Ok(match &*frame.event {
            "media" => {
                let Media { timestamp, payload } = frame.media.ok_or_else(lacks_body)?;
                let timestamp = Duration::try_from_secs_f64(timestamp / 1_000.0)
                    .map_err(|error| malformed("its timestamp is no time", error))?;
                self.audio.clear();
                BASE64_STANDARD
                    .decode_vec(&*payload, &mut self.audio)
                    .map_err(|error| malformed("its audio is not base64", error))?;
                if self.format == AudioFormat::WIDEBAND && !self.audio.len().is_multiple_of(2) {
                    return Err(MalformedFrame { reason: "its audio ends within a sample", source: None });
                }
                InboundFrame::Media { timestamp, audio: &self.audio }
            }
            "mark" => InboundFrame::Mark { name: frame.mark.ok_or_else(lacks_body)?.name },
            "dtmf" => InboundFrame::Dtmf { digit: frame.dtmf.ok_or_else(lacks_body)?.digit },
            "start" => {
                let Start { media_format, token } = frame.start.ok_or_else(lacks_body)?;
                self.format = media_format.format().ok_or(UNKNOWN_FORMAT)?;
                let parameters = token.map(|token| ("token".to_owned(), token));
                InboundFrame::Start(StreamStart {
                    stream_id: String::new(),
                    call: None,
                    format: self.format,
                    parameters: BTreeMap::from_iter(parameters),
                })
            }
            "connected" => InboundFrame::Connected,
            "stop" => InboundFrame::Stop,
            _ => InboundFrame::Unknown,
        })
    }

    fn media(&mut self, audio: &[u8]) -> &str {
        self.frame.clear();
        self.frame.push_str(r#"{"event":"media","media":{"payload":""#);
        BASE64_STANDARD.encode_string(audio, &mut self.frame);
        self.frame.push_str(r#""}}"#);
        &self.frame
    }

    fn mark(&mut self, name: &str) -> &str {
        self.frame = json!({ "event": "mark", "mark": { "name": name } }).to_string();
        &self.frame
    }

    fn clear(&mut self) -> &'static str {
        r#"{"event":"clear"}"#
    }
}

/// The start names another format than the two that we speak.
const UNKNOWN_FORMAT: MalformedFrame = MalformedFrame {
    reason: "its media format is neither audio/l16 at 16000 nor audio/x-mulaw at 8000, with one channel",
    source: None,
};

/// An event of this name must have a member of the same name.
fn lacks_body() -> MalformedFrame {
    MalformedFrame { reason: "it lacks its body", source: None }
}

fn malformed(reason: &'static str, error: impl error::Error + Send + Sync + 'static) -> MalformedFrame {
    MalformedFrame { reason, source: Some(Box::new(error)) }
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    media: Option<Media<'a>>,
    #[serde(borrow)]
    mark: Option<Mark<'a>>,
    #[serde(borrow)]
    dtmf: Option<Dtmf<'a>>,
    start: Option<Start>,
}

#[derive(Deserialize)]
struct Media<'a> {
    /// In milliseconds since the start.
    timestamp: f64,
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Mark<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Dtmf<'a> {
    #[serde(borrow)]
    digit: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    media_format: MediaFormat,
    token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MediaFormat {
    encoding: String,
    sample_rate: u32,
    channels: u32,
}

impl MediaFormat {
    fn format(&self) -> Option<AudioFormat> {
        match (&*self.encoding, self.sample_rate, self.channels) {
            ("audio/l16", 16_000, 1) => Some(AudioFormat::WIDEBAND),
            ("audio/x-mulaw", 8_000, 1) => Some(AudioFormat::TELEPHONE),
            _ => None,
        }
    }
}

fn is_unknown(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Named {
        event: String,
    }

    serde_json::from_str::<Named>(text).is_ok_and(|frame| {
        !matches!(frame.event.as_str(), "media" | "mark" | "dtmf" | "start" | "connected" | "stop")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start(encoding: &str, sample_rate: u32, channels: u32) -> String {
        let format = json!({ "encoding": encoding, "sampleRate": sample_rate, "channels": channels });
        json!({ "event": "start", "start": { "mediaFormat": format, "token": "t" } }).to_string()
    }

    fn started(encoding: &str, sample_rate: u32) -> WebMediaStream {
        let mut codec = WebMediaStream::default();
        assert!(codec.parse(&start(encoding, sample_rate, 1)).is_ok());
        codec
    }

    #[test]
    fn the_start_settles_the_format() {
        let mut codec = WebMediaStream::default();
        assert!(codec.parse(r#"{"event":"connected"}"#).unwrap() == InboundFrame::Connected);
        let InboundFrame::Start(wideband) = codec.parse(&start("audio/l16", 16_000, 1)).unwrap() else {
            panic!("not a start")
        };
        assert_eq!(
            (wideband.format, wideband.call, &*wideband.parameters["token"]),
            (AudioFormat::WIDEBAND, None, "t")
        );
        assert_eq!(codec.audio_format(), AudioFormat::WIDEBAND);
        assert_eq!(started("audio/x-mulaw", 8_000).audio_format(), AudioFormat::TELEPHONE);
        for (encoding, sample_rate, channels) in
            [("audio/l16", 8_000, 1), ("audio/l16", 16_000, 2), ("audio/opus", 48_000, 1), ("", 0, 0)]
        {
            let refused =
                WebMediaStream::default().parse(&start(encoding, sample_rate, channels)).unwrap_err();
            assert_eq!(refused.reason, UNKNOWN_FORMAT.reason);
        }
        let without = json!({ "event": "start", "start": { "mediaFormat":
            { "encoding": "audio/x-mulaw", "sampleRate": 8_000, "channels": 1 } } });
        let mut codec = WebMediaStream::default();
        let InboundFrame::Start(first) = codec.parse(&without.to_string()).unwrap().clone() else {
            panic!("not a start")
        };
        assert!(first.parameters.is_empty());
    }

    #[test]
    fn every_frame_of_a_browser_is_read() {
        let mut codec = started("audio/x-mulaw", 8_000);
        let media =
            codec.parse(r#"{"event":"media","media":{"timestamp":60.5,"payload":"/////w=="}}"#).unwrap();
        assert!(media == InboundFrame::Media { timestamp: Duration::from_micros(60_500), audio: &[0xFF; 4] });
        assert!(
            codec.parse(r#"{"event":"mark","mark":{"name":"1:2"}}"#).unwrap()
                == InboundFrame::Mark { name: "1:2".into() }
        );
        assert!(
            codec.parse(r##"{"event":"dtmf","dtmf":{"digit":"#"}}"##).unwrap()
                == InboundFrame::Dtmf { digit: "#".into() }
        );
        assert!(codec.parse(r#"{"event":"stop"}"#).unwrap() == InboundFrame::Stop);
        assert!(codec.parse(r#"{"event":"video","media":7}"#).unwrap() == InboundFrame::Unknown);
    }

    #[test]
    fn frames_that_break_the_protocol_are_malformed() {
        let reason = |text: &str| started("audio/l16", 16_000).parse(text).unwrap_err().reason;
        assert_eq!(reason(r#"{"event":"mark"}"#), "it lacks its body");
        assert_eq!(reason(r#"{"event":"media","media":{"payload":""}}"#), "not readable as JSON");
        assert_eq!(
            reason(r#"{"event":"media","media":{"timestamp":0,"payload":"*"}}"#),
            "its audio is not base64"
        );
        assert_eq!(
            reason(r#"{"event":"media","media":{"timestamp":-1,"payload":""}}"#),
            "its timestamp is no time"
        );
        assert_eq!(
            reason(r#"{"event":"media","media":{"timestamp":0,"payload":"/w=="}}"#),
            "its audio ends within a sample"
        );
        assert_eq!(reason("[]"), "not readable as JSON");
    }

    #[test]
    fn frames_to_a_browser_have_their_documented_shape() {
        let mut codec = WebMediaStream::default();
        assert_eq!(codec.media(&[0xFF; 4]), r#"{"event":"media","media":{"payload":"/////w=="}}"#);
        let read = |frame: &str| serde_json::from_str::<Value>(frame).unwrap();
        assert_eq!(read(codec.mark("1:2")), json!({ "event": "mark", "mark": { "name": "1:2" } }));
        assert_eq!(read(codec.clear()), json!({ "event": "clear" }));
        assert_eq!(read(&WebMediaStream::resume("t")), json!({ "event": "resume", "token": "t" }));
        let data = json!({ "role": "agent" });
        assert_eq!(
            read(&WebMediaStream::event("speech:started", &data)),
            json!({ "event": "conversation", "name": "speech:started", "data": data })
        );
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in ".{0,80}", timestamp in any::<f64>()) {
            let _ = WebMediaStream::default().parse(&text);
            let media = json!({ "event": "media", "media": { "payload": text, "timestamp": timestamp } });
            let _ = started("audio/l16", 16_000).parse(&media.to_string());
        }
    }
}
