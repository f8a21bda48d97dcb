//! Media streams: JSON text frames both ways, audio in base64.
//!
//! Frames from the carrier are read borrowing from the text; frames to it are written into one reused buffer. The
//! carrier sends 20 ms = 160 bytes of audio at a time and takes any length
//! (<https://www.twilio.com/docs/voice/media-streams/websocket-messages>).

use std::{borrow::Cow, collections::BTreeMap, error, fmt, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, de};

use super::values::call_id;
use crate::{
    audio::AudioFormat,
    carrier::media_stream::{InboundFrame, MalformedFrame, MediaStreamCodec, StreamStart},
};

/// The carrier's codec for one stream.
#[derive(Debug)]
pub struct TwilioMediaStream {
    /// The stream's id; `None` before its start.
    stream_id: Option<String>,
    /// The same as a JSON string; every frame to the carrier has it.
    stream_sid: String,
    /// The frame that was written last.
    frame: String,
    /// The audio that was read last.
    audio: Vec<u8>,
}

impl Default for TwilioMediaStream {
    /// A stream that has not started: its id is empty.
    fn default() -> Self {
        Self { stream_id: None, stream_sid: json_string(""), frame: String::new(), audio: vec![] }
    }
}

impl MediaStreamCodec for TwilioMediaStream {
    fn audio_format(&self) -> AudioFormat {
        AudioFormat::TELEPHONE
    }

    fn parse<'a>(&'a mut self, text: &'a str) -> Result<InboundFrame<'a>, MalformedFrame> {
        let frame: Frame<'_> = match serde_json::from_str(text) {
            Ok(frame) => frame,
            // An event that we do not know may use a member's name for something else.
            Err(_) if is_unknown(text) => return Ok(InboundFrame::Unknown),
            Err(error) => return Err(malformed("not readable as JSON", error)),
        };
        // A frame of another stream is none of this call, not even a second start.
        let is_foreign = |own: &String| frame.stream_sid.as_ref().is_some_and(|id| id != own);
        if self.stream_id.as_ref().is_some_and(is_foreign) {
            return Ok(InboundFrame::Unknown);
        }
        Ok(match &*frame.event {
            "media" => {
                let Media { timestamp, payload } = frame.media.ok_or_else(lacks_body)?;
                self.audio.clear();
                BASE64_STANDARD
                    .decode_vec(&*payload, &mut self.audio)
                    .map_err(|error| malformed("its audio is not base64", error))?;
                InboundFrame::Media { timestamp: Duration::from_millis(timestamp), audio: &self.audio }
            }
            "mark" => InboundFrame::Mark { name: frame.mark.ok_or_else(lacks_body)?.name },
            "dtmf" => InboundFrame::Dtmf { digit: frame.dtmf.ok_or_else(lacks_body)?.digit },
            "start" => {
                let start = frame.start.ok_or_else(lacks_body)?;
                if !start.media_format.is_telephone() {
                    return Err(MalformedFrame { reason: "its media format is unknown", source: None });
                }
                self.stream_sid = json_string(&start.stream_sid);
                self.stream_id = Some(start.stream_sid.clone());
                InboundFrame::Start(StreamStart {
                    stream_id: start.stream_sid,
                    call: call_id(&start.call_sid).ok(),
                    format: AudioFormat::TELEPHONE,
                    parameters: start.custom_parameters,
                })
            }
            "connected" => InboundFrame::Connected,
            "stop" => InboundFrame::Stop,
            _ => InboundFrame::Unknown,
        })
    }

    fn media(&mut self, audio: &[u8]) -> &str {
        self.begin("media");
        self.frame.push_str(r#","media":{"payload":""#);
        BASE64_STANDARD.encode_string(audio, &mut self.frame);
        self.frame.push_str(r#""}}"#);
        &self.frame
    }

    fn mark(&mut self, name: &str) -> &str {
        self.begin("mark");
        self.frame.push_str(r#","mark":{"name":"#);
        self.frame.push_str(&json_string(name));
        self.frame.push_str("}}");
        &self.frame
    }

    fn clear(&mut self) -> &str {
        self.begin("clear");
        self.frame.push('}');
        &self.frame
    }
}

impl TwilioMediaStream {
    fn begin(&mut self, event: &str) {
        self.frame.clear();
        self.frame.push_str(r#"{"event":""#);
        self.frame.push_str(event);
        self.frame.push_str(r#"","streamSid":"#);
        self.frame.push_str(&self.stream_sid);
    }
}

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
    #[serde(borrow, rename = "streamSid")]
    stream_sid: Option<Cow<'a, str>>,
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
    /// In milliseconds since the stream began.
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    /// `MZ...`
    stream_sid: String,
    /// `CA...`
    #[serde(default)]
    call_sid: String,
    #[serde(default)]
    media_format: MediaFormat,
    #[serde(default)]
    custom_parameters: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MediaFormat {
    encoding: String,
    #[serde(deserialize_with = "number")]
    sample_rate: u64,
    #[serde(deserialize_with = "number")]
    channels: u64,
}

impl Default for MediaFormat {
    fn default() -> Self {
        Self { encoding: "audio/x-mulaw".to_owned(), sample_rate: 8_000, channels: 1 }
    }
}

impl MediaFormat {
    /// Whether it is the carrier's only format.
    fn is_telephone(&self) -> bool {
        (&*self.encoding, self.sample_rate, self.channels) == ("audio/x-mulaw", 8_000, 1)
    }
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

fn is_unknown(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Named {
        event: String,
    }

    serde_json::from_str::<Named>(text).is_ok_and(|frame| {
        !matches!(frame.event.as_str(), "media" | "mark" | "dtmf" | "start" | "connected" | "stop")
    })
}

fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("every text is a JSON string")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const CALL: &str = "CA00000000000000000000000000000001";

    fn codec() -> TwilioMediaStream {
        TwilioMediaStream::default()
    }

    /// A codec whose stream has started under this id.
    fn started(stream_sid: &str) -> TwilioMediaStream {
        let mut codec = codec();
        let start = json!({ "event": "start", "start": { "streamSid": stream_sid } }).to_string();
        assert!(matches!(codec.parse(&start).unwrap(), InboundFrame::Start(_)));
        codec
    }

    #[test]
    fn a_stream_is_read_from_its_first_frame_to_its_last() {
        let codec = &mut codec();
        assert!(
            codec.parse(r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#).unwrap()
                == InboundFrame::Connected
        );
        let text = format!(
            r#"{{"event":"start","sequenceNumber":"1","streamSid":"MZ1","start":{{"accountSid":"AC1","callSid":"{CALL}",
            "streamSid":"MZ1","tracks":["inbound"],"mediaFormat":{{"encoding":"audio/x-mulaw","sampleRate":8000,
            "channels":1}},"customParameters":{{"token":"t"}}}}}}"#
        );
        let InboundFrame::Start(start) = codec.parse(&text).unwrap() else { panic!("not a start") };
        assert_eq!((start.stream_id.as_str(), start.call.unwrap().id()), ("MZ1", CALL));
        assert_eq!(start.format, AudioFormat::TELEPHONE);
        assert_eq!(start.parameters["token"], "t");

        let media = r#"{"event":"media","sequenceNumber":"4","streamSid":"MZ1",
            "media":{"track":"inbound","chunk":"3","timestamp":"60","payload":"/////w=="}}"#;
        let InboundFrame::Media { timestamp, audio } = codec.parse(media).unwrap() else {
            panic!("not media")
        };
        assert_eq!((timestamp, audio), (Duration::from_millis(60), &[0xFF; 4][..]));

        let dtmf = r#"{"event":"dtmf","sequenceNumber":"90","streamSid":"MZ1","dtmf":{"track":"inbound_track","digit":"5"}}"#;
        assert!(codec.parse(dtmf).unwrap() == InboundFrame::Dtmf { digit: "5".into() });
        let mark = r#"{"event":"mark","sequenceNumber":"120","streamSid":"MZ1","mark":{"name":"utt-7"}}"#;
        let InboundFrame::Mark { name } = codec.parse(mark).unwrap() else { panic!("not a mark") };
        assert!(matches!(name, Cow::Borrowed("utt-7")), "nothing is copied");
        let stop = r#"{"event":"stop","sequenceNumber":"400","streamSid":"MZ1","stop":{"accountSid":"AC1","callSid":"CA1"}}"#;
        assert!(codec.parse(stop).unwrap() == InboundFrame::Stop);
    }

    #[test]
    fn unknown_events_and_members_are_ignored() {
        let codec = &mut codec();
        assert!(codec.parse(r#"{"event":"recognition","mark":7,"x":{}}"#).unwrap() == InboundFrame::Unknown);
        let media = codec
            .parse(r#"{"event":"media","media":{"timestamp":20,"payload":"","new":[1]},"new":null}"#)
            .unwrap();
        assert!(media == InboundFrame::Media { timestamp: Duration::from_millis(20), audio: &[] });
    }

    #[test]
    fn frames_of_another_stream_are_ignored() {
        let codec = &mut started("MZ1");
        let media =
            |sid: &str| json!({ "event": "media", "streamSid": sid, "media": { "payload": "" } }).to_string();
        assert!(codec.parse(&media("MZ2")).unwrap() == InboundFrame::Unknown);
        assert!(codec.parse(r#"{"event":"stop","streamSid":""}"#).unwrap() == InboundFrame::Unknown);
        let start =
            json!({ "event": "start", "streamSid": "MZ2", "start": { "streamSid": "MZ2" } }).to_string();
        assert!(codec.parse(&start).unwrap() == InboundFrame::Unknown);
        assert_eq!(codec.clear(), r#"{"event":"clear","streamSid":"MZ1"}"#);
        assert!(matches!(codec.parse(&media("MZ1")).unwrap(), InboundFrame::Media { .. }));
    }

    #[test]
    fn frames_that_break_the_protocol_are_malformed() {
        let reason = |text: &str| codec().parse(text).unwrap_err().reason;
        assert_eq!(reason(r#"{"event":"mark"}"#), "it lacks its body");
        assert_eq!(reason(r#"{"event":"media","media":{"payload":7}}"#), "not readable as JSON");
        assert_eq!(reason("[]"), "not readable as JSON");
        assert_eq!(reason(r#"{"event":"media","media":{"payload":"*"}}"#), "its audio is not base64");
        let wideband = r#"{"event":"start","start":{"streamSid":"MZ1","mediaFormat":{"sampleRate":16000}}}"#;
        assert_eq!(reason(wideband), "its media format is unknown");
    }

    #[test]
    fn a_start_without_a_valid_call_has_none() {
        let start = r#"{"event":"start","start":{"streamSid":"MZ1","callSid":"CA1/../x"}}"#;
        let mut codec = codec();
        let InboundFrame::Start(start) = codec.parse(start).unwrap() else { panic!("not a start") };
        assert_eq!(start.call, None);
    }

    #[test]
    fn frames_to_the_carrier_have_its_shape() {
        let mut codec = started("MZ1");
        assert_eq!(
            codec.media(&[0xFF; 4]),
            r#"{"event":"media","streamSid":"MZ1","media":{"payload":"/////w=="}}"#
        );
        assert_eq!(codec.mark("utt-7"), r#"{"event":"mark","streamSid":"MZ1","mark":{"name":"utt-7"}}"#);
        assert_eq!(codec.clear(), r#"{"event":"clear","streamSid":"MZ1"}"#);
    }

    proptest! {
        #[test]
        fn audio_survives_the_way_out_and_back(audio in prop::collection::vec(any::<u8>(), 0..400), sid in ".{0,9}") {
            let mut codec = started(&sid);
            let frame = codec.media(&audio).to_owned();
            let InboundFrame::Media { audio: back, .. } = codec.parse(&frame).unwrap() else { panic!("not media") };
            prop_assert_eq!(back, audio);
        }

        #[test]
        fn a_mark_comes_back_by_its_name(name in ".{0,20}", sid in ".{0,9}") {
            let mut codec = started(&sid);
            let frame = codec.mark(&name).to_owned();
            let read = codec.parse(&frame).unwrap();
            prop_assert_eq!(read, InboundFrame::Mark { name: name.as_str().into() });
            let written: Value = serde_json::from_str(&frame).unwrap();
            prop_assert_eq!(&written, &json!({"event": "mark", "streamSid": sid, "mark": {"name": name}}));
        }

        #[test]
        fn hostile_text_never_panics(text in ".{0,80}") {
            let _ = codec().parse(&text);
            let media = json!({ "event": "media", "media": { "payload": text } }).to_string();
            let _ = codec().parse(&media);
        }

        #[test]
        fn hostile_members_never_panic(
            event in "(media|mark|dtmf|start|stop|x)",
            body in r#"(1|null|\[\]|\{\}|\{"payload":"[a=/]{0,5}","timestamp":("-?[0-9]{0,25}"|-?[0-9]{1,25}|1e9)\}|\{"name":null\}|\{"streamSid":"x","mediaFormat":\{"sampleRate":"x"\}\})"#,
        ) {
            let _ = codec().parse(&format!(r#"{{"event":"{event}","{event}":{body}}}"#));
        }
    }
}
