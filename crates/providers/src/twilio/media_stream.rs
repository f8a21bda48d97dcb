//! The websocket that carries a call's audio: text frames both ways, audio in base64.
//!
//! Frames from the carrier are read borrowing from the text; frames to it are written into one reused
//! buffer. Audio is mu-law, 8 kHz, mono; the carrier sends 20 ms = 160 bytes at a time and takes any
//! length.

use std::{borrow::Cow, collections::BTreeMap, fmt, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, de};

/// The longest frame to accept; the carrier's are some 500 bytes.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;

/// A frame from the carrier.
#[derive(Clone, PartialEq, Eq)]
pub enum Inbound<'a> {
    /// The first frame.
    Connected,
    /// The second one: what this stream is.
    Start(Start),
    /// Audio of the other side.
    Media {
        /// Since the stream began; a gap means that audio was lost.
        timestamp: Duration,
        /// Base64; see [`decode`].
        payload: Cow<'a, str>,
    },
    /// A key was pressed.
    Dtmf {
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: Cow<'a, str>,
    },
    /// The audio before this mark was played, or thrown away by a `clear`.
    Mark {
        /// The name we gave it.
        name: Cow<'a, str>,
    },
    /// The call or the stream is over.
    Stop,
    /// A frame this version does not know.
    Unknown,
}

impl fmt::Debug for Inbound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys may spell a card's number.
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

/// What a stream is.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// The stream's id, `MZ...`; every frame to the carrier carries it.
    pub stream_sid: String,
    /// The call's id, `CA...`.
    #[serde(default)]
    pub call_sid: String,
    /// The format of the audio, both ways.
    #[serde(default)]
    pub media_format: MediaFormat,
    /// What the TwiML's `<Parameter>`s said; may hold a token.
    #[serde(default)]
    pub custom_parameters: BTreeMap<String, String>,
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start")
            .field("stream_sid", &self.stream_sid)
            .field("media_format", &self.media_format)
            .finish_non_exhaustive()
    }
}

/// A format of audio.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MediaFormat {
    /// `audio/x-mulaw` from the carrier.
    pub encoding: String,
    /// Samples per second.
    #[serde(deserialize_with = "number")]
    pub sample_rate: u64,
    /// 1 from the carrier.
    #[serde(deserialize_with = "number")]
    pub channels: u64,
}

impl Default for MediaFormat {
    fn default() -> Self {
        Self { encoding: "audio/x-mulaw".to_owned(), sample_rate: 8_000, channels: 1 }
    }
}

/// A frame that breaks the protocol.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or a member of the wrong kind.
    #[error("the frame cannot be read")]
    Json(#[source] serde_json::Error),
    /// The member that an event of this name must have is missing.
    #[error("a {0} frame lacks its body")]
    Incomplete(&'static str),
    /// The audio is not base64.
    #[error("the audio is not base64")]
    Base64(#[source] base64::DecodeError),
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
    #[serde(default, deserialize_with = "number")]
    timestamp: u64,
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

/// The carrier writes numbers as strings; others who speak its protocol write numbers.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Number;

    impl de::Visitor<'_> for Number {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number, or a string that holds one")
        }

        fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_any(Number)
}

/// Reads one frame.
pub fn parse(text: &str) -> Result<Inbound<'_>, Malformed> {
    let frame: Frame<'_> = match serde_json::from_str(text) {
        Ok(frame) => frame,
        // An event we do not know may use a member's name for something else.
        Err(error) => {
            return if is_unknown(text) { Ok(Inbound::Unknown) } else { Err(Malformed::Json(error)) };
        }
    };
    let lacking = |event| Malformed::Incomplete(event);
    Ok(match &*frame.event {
        "media" => {
            let Media { timestamp, payload } = frame.media.ok_or_else(|| lacking("media"))?;
            Inbound::Media { timestamp: Duration::from_millis(timestamp), payload }
        }
        "mark" => Inbound::Mark { name: frame.mark.ok_or_else(|| lacking("mark"))?.name },
        "dtmf" => Inbound::Dtmf { digit: frame.dtmf.ok_or_else(|| lacking("dtmf"))?.digit },
        "start" => Inbound::Start(frame.start.ok_or_else(|| lacking("start"))?),
        "connected" => Inbound::Connected,
        "stop" => Inbound::Stop,
        _ => Inbound::Unknown,
    })
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

/// Decodes the payload of a media frame into `audio`, which is emptied first.
pub fn decode(payload: &str, audio: &mut Vec<u8>) -> Result<(), Malformed> {
    audio.clear();
    BASE64_STANDARD.decode_vec(payload, audio).map_err(Malformed::Base64)
}

/// Writes frames to the carrier. Each text is valid until the next one is written.
#[derive(Debug)]
pub struct Frames {
    /// The stream's id as a JSON string.
    stream_sid: String,
    buffer: String,
}

impl Frames {
    /// For the stream of this id.
    #[must_use]
    pub fn new(stream_sid: &str) -> Self {
        Self { stream_sid: json_string(stream_sid), buffer: String::new() }
    }

    /// Has the carrier play mu-law audio behind what it already holds.
    pub fn media(&mut self, mulaw: &[u8]) -> &str {
        self.begin("media");
        self.buffer.push_str(r#","media":{"payload":""#);
        BASE64_STANDARD.encode_string(mulaw, &mut self.buffer);
        self.buffer.push_str(r#""}}"#);
        &self.buffer
    }

    /// Has the carrier tell when it has played what it holds.
    pub fn mark(&mut self, name: &str) -> &str {
        self.begin("mark");
        self.buffer.push_str(r#","mark":{"name":"#);
        self.buffer.push_str(&json_string(name));
        self.buffer.push_str("}}");
        &self.buffer
    }

    /// Has the carrier throw away what it holds; it then returns every mark.
    pub fn clear(&mut self) -> &str {
        self.begin("clear");
        self.buffer.push('}');
        &self.buffer
    }

    fn begin(&mut self, event: &str) {
        self.buffer.clear();
        self.buffer.push_str(r#"{"event":""#);
        self.buffer.push_str(event);
        self.buffer.push_str(r#"","streamSid":"#);
        self.buffer.push_str(&self.stream_sid);
    }
}

fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("every text is a JSON string")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_stream_is_read_from_its_first_frame_to_its_last() {
        assert!(
            parse(r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#).unwrap()
                == Inbound::Connected
        );
        let Inbound::Start(start) = parse(
            r#"{"event":"start","sequenceNumber":"1","streamSid":"MZ1","start":{"accountSid":"AC1","callSid":"CA1",
            "streamSid":"MZ1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,
            "channels":1},"customParameters":{"token":"t"}}}"#,
        )
        .unwrap() else {
            panic!("not a start")
        };
        assert_eq!((start.stream_sid.as_str(), start.call_sid.as_str()), ("MZ1", "CA1"));
        assert_eq!(start.media_format, MediaFormat::default());
        assert_eq!(start.custom_parameters["token"], "t");

        let media = r#"{"event":"media","sequenceNumber":"4","streamSid":"MZ1",
            "media":{"track":"inbound","chunk":"3","timestamp":"60","payload":"/////w=="}}"#;
        let Inbound::Media { timestamp, payload } = parse(media).unwrap() else { panic!("not media") };
        assert_eq!(timestamp, Duration::from_millis(60));
        assert!(matches!(payload, Cow::Borrowed(_)));
        let mut audio = vec![1, 2, 3];
        decode(&payload, &mut audio).unwrap();
        assert_eq!(audio, [0xFF; 4]);

        let dtmf = r#"{"event":"dtmf","sequenceNumber":"90","streamSid":"MZ1","dtmf":{"track":"inbound_track","digit":"5"}}"#;
        assert!(parse(dtmf).unwrap() == Inbound::Dtmf { digit: "5".into() });
        let mark = r#"{"event":"mark","sequenceNumber":"120","streamSid":"MZ1","mark":{"name":"utt-7"}}"#;
        assert!(parse(mark).unwrap() == Inbound::Mark { name: "utt-7".into() });
        let stop = r#"{"event":"stop","sequenceNumber":"400","streamSid":"MZ1","stop":{"accountSid":"AC1","callSid":"CA1"}}"#;
        assert!(parse(stop).unwrap() == Inbound::Stop);
    }

    #[test]
    fn unknown_events_and_members_are_passed_over() {
        assert!(parse(r#"{"event":"recognition","mark":7,"x":{}}"#).unwrap() == Inbound::Unknown);
        let media =
            parse(r#"{"event":"media","media":{"timestamp":20,"payload":"","new":[1]},"new":null}"#).unwrap();
        assert!(media == Inbound::Media { timestamp: Duration::from_millis(20), payload: "".into() });
    }

    #[test]
    fn frames_that_break_the_protocol_are_refused() {
        assert!(matches!(parse(r#"{"event":"mark"}"#), Err(Malformed::Incomplete("mark"))));
        assert!(matches!(parse(r#"{"event":"media","media":{"payload":7}}"#), Err(Malformed::Json(_))));
        assert!(matches!(parse("[]"), Err(Malformed::Json(_))));
        assert!(matches!(decode("*", &mut vec![]), Err(Malformed::Base64(_))));
    }

    #[test]
    fn frames_to_the_carrier_have_its_shape() {
        let mut frames = Frames::new("MZ1");
        assert_eq!(
            frames.media(&[0xFF; 4]),
            r#"{"event":"media","streamSid":"MZ1","media":{"payload":"/////w=="}}"#
        );
        assert_eq!(frames.mark("utt-7"), r#"{"event":"mark","streamSid":"MZ1","mark":{"name":"utt-7"}}"#);
        assert_eq!(frames.clear(), r#"{"event":"clear","streamSid":"MZ1"}"#);
    }

    proptest! {
        #[test]
        fn audio_survives_the_way_out_and_back(audio in prop::collection::vec(any::<u8>(), 0..400), sid in ".{0,9}") {
            let mut frames = Frames::new(&sid);
            let frame = frames.media(&audio).to_owned();
            let Inbound::Media { payload, .. } = parse(&frame).unwrap() else { panic!("not media") };
            let mut back = Vec::new();
            decode(&payload, &mut back).unwrap();
            prop_assert_eq!(back, audio);
        }

        #[test]
        fn any_mark_comes_back_by_its_name(name in ".{0,20}", sid in ".{0,9}") {
            let mut frames = Frames::new(&sid);
            let frame = frames.mark(&name).to_owned();
            let read = parse(&frame).unwrap();
            prop_assert_eq!(read, Inbound::Mark { name: name.as_str().into() });
            let written: Value = serde_json::from_str(&frame).unwrap();
            prop_assert_eq!(&written, &json!({"event": "mark", "streamSid": sid, "mark": {"name": name}}));
        }

        #[test]
        fn hostile_text_never_panics(text in ".{0,80}") {
            let _ = parse(&text);
            let _ = decode(&text, &mut Vec::new());
        }

        #[test]
        fn hostile_members_never_panic(
            event in "(media|mark|dtmf|start|stop|x)",
            body in r#"(1|null|\[\]|\{\}|\{"payload":"[a=/]{0,5}","timestamp":("-?[0-9]{0,25}"|-?[0-9]{1,25}|1e9)\}|\{"name":null\}|\{"streamSid":"x","mediaFormat":\{"sampleRate":"x"\}\})"#,
        ) {
            let _ = parse(&format!(r#"{{"event":"{event}","{event}":{body}}}"#));
        }
    }
}
