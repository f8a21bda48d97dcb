//! `POST /v1/speak`: speech synthesis, streamed sentence by sentence.

use std::{iter, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Query, State, rejection::JsonRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::Value;

use super::api::{Refusal, RequestId, Server, parameter};
use crate::{
    audio,
    faults::{self, Disruption, Treatment},
    speech::{Speech, sentences},
};

/// Maximum length of a text, in characters.
const MAX_CHARS: usize = 2000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Mulaw,
    Linear16,
}

/// The requested options.
#[derive(Debug, Clone, PartialEq)]
struct SpeakOptions {
    model: String,
    encoding: Encoding,
    sample_rate: u32,
    /// Whether a WAV header precedes the samples. It does by default, and sounds like a click if played.
    wav: bool,
    speed: f32,
}

/// The body of the request.
#[derive(Deserialize)]
pub(super) struct Speak {
    text: String,
}

impl SpeakOptions {
    /// Reads the query; unknown parameters are ignored.
    fn parse(query: &[(String, String)]) -> Result<Self, Refusal> {
        let get = |name| parameter(query, name);
        let Some(model) = get("model").filter(|model| model.starts_with("aura-")) else {
            return Err(Refusal::parameter("model must be one of the aura voices"));
        };
        let (encoding, rates): (_, &[u32]) = match get("encoding") {
            Some("mulaw") => (Encoding::Mulaw, &[8000, 16_000]),
            Some("linear16") => (Encoding::Linear16, &[24_000, 8000, 16_000]),
            _ => return Err(Refusal::parameter("encoding must be mulaw or linear16")),
        };
        let sample_rate = match get("sample_rate").map(str::parse) {
            None => rates[0],
            Some(Ok(rate)) if rates.contains(&rate) => rate,
            Some(_) => {
                return Err(Refusal::parameter(format!(
                    "sample_rate must be one of {rates:?} in this encoding"
                )));
            }
        };
        let wav = match get("container") {
            None | Some("wav") => true,
            Some("none") => false,
            Some(_) => return Err(Refusal::parameter("container must be wav or none in this encoding")),
        };
        let speed = match get("speed").map(str::parse::<f32>) {
            None => 1.0,
            Some(Ok(speed)) if (0.7..=1.5).contains(&speed) => speed,
            Some(_) => return Err(Refusal::parameter("speed must be from 0.7 to 1.5")),
        };
        Ok(Self { model: model.to_owned(), encoding, sample_rate, wav, speed })
    }

    fn content_type(&self) -> String {
        match (self.wav, self.encoding) {
            (true, _) => "audio/wav".to_owned(),
            (false, Encoding::Mulaw) => format!("audio/mulaw;rate={}", self.sample_rate),
            (false, Encoding::Linear16) => format!("audio/l16;rate={}", self.sample_rate),
        }
    }

    /// Synthesizes one sentence in the requested form.
    async fn audio(&self, speech: &Speech, text: &str) -> anyhow::Result<Bytes> {
        let samples = speech.synthesize_linear(text, self.speed, self.sample_rate).await?;
        Ok(match self.encoding {
            Encoding::Mulaw => samples.into_iter().map(audio::encode).collect(),
            Encoding::Linear16 => samples.into_iter().flat_map(i16::to_le_bytes).collect(),
        })
    }

    /// A WAV header for audio of unknown length, with the largest sizes.
    fn header(&self) -> Bytes {
        let (format, width): (u16, u16) = match self.encoding {
            Encoding::Mulaw => (7, 1),
            Encoding::Linear16 => (1, 2),
        };
        let mut header = Vec::with_capacity(44);
        header.extend(b"RIFF\xFF\xFF\xFF\x7FWAVEfmt \x10\0\0\0");
        header.extend(format.to_le_bytes());
        header.extend(1_u16.to_le_bytes());
        header.extend(self.sample_rate.to_le_bytes());
        header.extend((self.sample_rate * u32::from(width)).to_le_bytes());
        header.extend(width.to_le_bytes());
        header.extend((width * 8).to_le_bytes());
        header.extend(b"data\xDB\xFF\xFF\x7F");
        header.into()
    }
}

/// The handler of the route.
pub(super) async fn speak(
    State(server): State<Arc<Server>>,
    Extension(id): Extension<RequestId>,
    Extension(service): Extension<Treatment<Value>>,
    Query(query): Query<Vec<(String, String)>>,
    body: Result<Json<Speak>, JsonRejection>,
) -> Response {
    match answer(&server, &service, &query, body).await {
        Ok(response) => response,
        Err(refusal) => refusal.with(&id),
    }
}

async fn answer(
    server: &Server,
    service: &Treatment<Value>,
    query: &[(String, String)],
    body: Result<Json<Speak>, JsonRejection>,
) -> Result<Response, Refusal> {
    let (options, disruption) = (SpeakOptions::parse(query)?, service.disruption);
    let Ok(Json(Speak { text })) = body else {
        let message = "the body must be a JSON object with text";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "PAYLOAD_ERROR", message));
    };
    let chars = text.chars().count();
    if chars > MAX_CHARS {
        let message = format!("Input text exceeds maximum character limit of {MAX_CHARS}.");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message));
    }
    let mut sentences = sentences(&text).into_iter();
    let Some(first) = sentences.next() else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "PAYLOAD_ERROR", "there is no text to speak"));
    };
    let headers = [("dg-model-name", options.model.clone()), ("dg-char-count", chars.to_string())];
    let content_type = [(CONTENT_TYPE, options.content_type())];
    let respond = |audio| (content_type, headers, audio).into_response();
    if disruption == Some(Disruption::Silent) {
        return Ok(respond(faults::body(stream::empty(), disruption, server.stop.clone())));
    }
    // The first sentence is synthesized before the status is sent; a later failure can only cut the stream.
    let mut first = options.audio(&server.speech, &first).await.map_err(|error| {
        tracing::warn!(%error, "speech engine failed");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", "the speech engine failed")
    })?;
    if disruption.is_some() {
        // Whole samples, of one or two bytes.
        first.truncate(first.len() / 4 * 2);
        sentences = Vec::new().into_iter();
    }
    let header = options.wav.then(|| options.header());
    let start = stream::iter(header.into_iter().chain(iter::once(first)).map(anyhow::Ok));
    let (speech, permit) = (server.speech.clone(), service.permit.clone());
    let rest = stream::iter(sentences).then(move |sentence| {
        let (speech, options, _served) = (speech.clone(), options.clone(), permit.clone());
        async move { options.audio(&speech, &sentence).await }
    });
    Ok(respond(faults::body(start.chain(rest), disruption, server.stop.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<SpeakOptions, String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs: Vec<(String, String)> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        SpeakOptions::parse(&pairs).map_err(|refusal| refusal.message)
    }

    #[test]
    fn telephone_audio_is_raw_only_without_a_container() {
        let options = parse("model=aura-2-thalia-en&encoding=mulaw&sample_rate=8000").unwrap();
        assert!(options.wav, "a WAV header is the default");
        assert_eq!(options.content_type(), "audio/wav");
        let options = parse("model=aura-2-thalia-en&encoding=mulaw&sample_rate=8000&container=none").unwrap();
        assert!(!options.wav);
        assert_eq!(options.content_type(), "audio/mulaw;rate=8000");
        assert_eq!((options.encoding, options.sample_rate), (Encoding::Mulaw, 8000));
    }

    #[test]
    fn each_encoding_has_its_rates() {
        assert_eq!(parse("model=aura-asteria-en&encoding=mulaw").unwrap().sample_rate, 8000);
        assert_eq!(parse("model=aura-asteria-en&encoding=linear16").unwrap().sample_rate, 24_000);
        assert_eq!(
            parse("model=aura-asteria-en&encoding=linear16&sample_rate=16000").unwrap().sample_rate,
            16_000
        );
        assert!(parse("model=aura-asteria-en&encoding=mulaw&sample_rate=24000").is_err());
    }

    #[test]
    fn wrong_parameters_are_refused_by_name() {
        let wrong = [
            ("encoding=mulaw", "model"),
            ("model=nova-3&encoding=mulaw", "model"),
            ("model=aura-2-thalia-en", "encoding"),
            ("model=aura-2-thalia-en&encoding=mp3", "encoding"),
            ("model=aura-2-thalia-en&encoding=mulaw&container=ogg", "container"),
            ("model=aura-2-thalia-en&encoding=mulaw&speed=9", "speed"),
            ("model=aura-2-thalia-en&encoding=mulaw&speed=NaN", "speed"),
        ];
        for (query, name) in wrong {
            let message = parse(query).unwrap_err();
            assert!(message.starts_with(name), "{query}: {message}");
        }
    }

    #[test]
    fn the_wav_header_describes_the_samples() {
        let header = parse("model=aura-2-thalia-en&encoding=mulaw").unwrap().header();
        assert_eq!(header.len(), 44);
        assert_eq!(&header[20..22], [7, 0], "format 7 is mu-law");
        assert_eq!(&header[24..28], 8000_u32.to_le_bytes());
        assert_eq!(&header[28..36], [0x40, 0x1F, 0, 0, 1, 0, 8, 0], "8000 bytes a second, 1 byte a sample");
        let header = parse("model=aura-2-thalia-en&encoding=linear16").unwrap().header();
        assert_eq!(&header[20..22], [1, 0]);
        assert_eq!(&header[28..36], [0x80, 0xBB, 0, 0, 2, 0, 16, 0]);
    }
}
