//! The messages of the multi-context websocket.

use std::{borrow::Cow, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Error, refusal::Explanation};

use super::VENDOR;

/// Settings of the voice; the first message of each context has them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct VoiceSettings {
    pub(super) stability: f64,
    pub(super) similarity_boost: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) use_speaker_boost: Option<bool>,
}

/// A message of ours.
#[derive(Debug, Default, Serialize)]
pub(super) struct ClientMessage<'a> {
    pub(super) context_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) voice_settings: Option<VoiceSettings>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) flush: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) close_context: bool,
}

impl<'a> ClientMessage<'a> {
    /// Begins a context.
    pub(super) fn begin(context_id: &'a str, settings: VoiceSettings) -> Self {
        Self { context_id, text: Some(" "), voice_settings: Some(settings), ..Self::default() }
    }

    /// A whole clause, which ends with a space, to be spoken at once.
    pub(super) fn speak(context_id: &'a str, clause: &'a str) -> Self {
        Self { context_id, text: Some(clause), flush: true, ..Self::default() }
    }

    /// Ends a context: what was flushed is still spoken, then its final message comes.
    pub(super) fn close(context_id: &'a str) -> Self {
        Self { context_id, close_context: true, ..Self::default() }
    }

    /// Resets the time-out of a context.
    pub(super) fn keep_alive(context_id: &'a str) -> Self {
        Self { context_id, text: Some(""), ..Self::default() }
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("a structure of texts and numbers is JSON")
    }
}

/// When characters are spoken, in milliseconds from the first sample of the audio beside it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Alignment {
    #[serde(default)]
    pub(super) chars: Vec<String>,
    #[serde(default, rename = "charStartTimesMs")]
    pub(super) starts: Vec<f64>,
    #[serde(default, rename = "charDurationsMs")]
    pub(super) durations: Vec<f64>,
}

impl Alignment {
    /// Each character with its start and its duration.
    pub(super) fn characters(&self) -> impl Iterator<Item = (&str, Duration, Duration)> {
        let millis = |millis: &f64| Duration::try_from_secs_f64(millis / 1_000.0).unwrap_or_default();
        let times = self.starts.iter().map(millis).zip(self.durations.iter().map(millis));
        self.chars.iter().zip(times).map(|(text, (start, duration))| (text.as_str(), start, duration))
    }
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(default, borrow)]
    audio: Option<Cow<'a, str>>,
    #[serde(default)]
    alignment: Option<Alignment>,
    #[serde(default, rename = "normalizedAlignment")]
    normalized: Option<Alignment>,
    #[serde(default, rename = "isFinal", alias = "is_final")]
    is_final: Option<bool>,
    #[serde(default, borrow, rename = "contextId", alias = "context_id")]
    context_id: Option<Cow<'a, str>>,
    #[serde(default)]
    error: Option<serde_json::Value>,
    #[serde(default)]
    detail: Option<serde_json::Value>,
    #[serde(default)]
    message: Option<String>,
}

/// A message of the vendor.
#[derive(Debug)]
pub(super) enum ServerMessage {
    /// Speech of a context.
    Speech {
        context_id: String,
        /// May be empty.
        audio: Bytes,
        alignment: Option<Alignment>,
        is_final: bool,
    },
    /// The connection is about to be closed.
    Refused(Explanation),
    /// Of an unknown kind.
    Unknown,
}

impl ServerMessage {
    /// Reads a message. What is not understood, now or in a later version of the protocol, holds no speech.
    ///
    /// # Errors
    /// The audio is not base64.
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        let Ok(message) = serde_json::from_str::<WireMessage<'_>>(text) else { return Ok(Self::Unknown) };
        if let Some(detail) = message.detail {
            return Ok(Self::Refused(Explanation::of(&detail)));
        }
        if let Some(error) = message.error.filter(|error| !error.is_null()) {
            let mut explanation = match error {
                serde_json::Value::String(code) => Explanation { code: Some(code), ..Explanation::default() },
                error => Explanation::of(&error),
            };
            explanation.message = message.message.or(explanation.message);
            return Ok(Self::Refused(explanation));
        }
        let Some(context_id) = message.context_id else { return Ok(Self::Unknown) };
        let audio = STANDARD
            .decode(message.audio.as_deref().unwrap_or_default())
            .map_err(|_| Error::unavailable(VENDOR, "its audio is not base64"))?;
        Ok(Self::Speech {
            context_id: context_id.into_owned(),
            audio: audio.into(),
            alignment: message.alignment.or(message.normalized),
            is_final: message.is_final.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_ours_have_only_what_they_mean() {
        let settings = VoiceSettings { stability: 0.5, similarity_boost: 0.75, use_speaker_boost: None };
        assert_eq!(
            ClientMessage::begin("c1", settings).json(),
            r#"{"context_id":"c1","text":" ","voice_settings":{"stability":0.5,"similarity_boost":0.75}}"#
        );
        assert_eq!(
            ClientMessage::speak("c1", "Hi. ").json(),
            r#"{"context_id":"c1","text":"Hi. ","flush":true}"#
        );
        assert_eq!(ClientMessage::close("c1").json(), r#"{"context_id":"c1","close_context":true}"#);
        assert_eq!(ClientMessage::keep_alive("c1").json(), r#"{"context_id":"c1","text":""}"#);
    }

    #[test]
    fn speech_and_its_end_are_read() {
        let text = r#"{"audio":"/wA=","isFinal":null,"contextId":"c1","normalizedAlignment":null,
            "alignment":{"chars":["H"],"charStartTimesMs":[0],"charDurationsMs":[60]}}"#;
        let Ok(ServerMessage::Speech { context_id, audio, alignment, is_final }) = ServerMessage::read(text)
        else {
            panic!("speech")
        };
        assert_eq!((context_id.as_str(), &audio[..], is_final), ("c1", &[0xFF, 0][..], false));
        assert_eq!(alignment.unwrap().characters().count(), 1);
        let end = ServerMessage::read(r#"{"isFinal":true,"contextId":"c1"}"#);
        assert!(matches!(end, Ok(ServerMessage::Speech { is_final: true, .. })), "{end:?}");
    }

    #[test]
    fn errors_are_read_in_each_of_their_shapes() {
        for text in [
            r#"{"message":"Too little credit.","error":"quota_exceeded","code":1008}"#,
            r#"{"detail":{"status":"quota_exceeded","message":"Too little credit."}}"#,
            r#"{"error":{"code":"quota_exceeded","message":"Too little credit."}}"#,
        ] {
            let Ok(ServerMessage::Refused(explanation)) = ServerMessage::read(text) else { panic!("{text}") };
            assert_eq!(explanation.code.as_deref(), Some("quota_exceeded"), "{text}");
            assert_eq!(explanation.message.as_deref(), Some("Too little credit."), "{text}");
        }
    }

    #[test]
    fn an_unknown_message_is_no_error_but_broken_audio_is() {
        for text in ["", "[]", r#"{"audio":"AAAA"}"#, r#"{"warning":"slow"}"#] {
            assert!(matches!(ServerMessage::read(text), Ok(ServerMessage::Unknown)), "{text}");
        }
        assert!(ServerMessage::read(r#"{"audio":"!","contextId":"c1"}"#).is_err());
    }
}
