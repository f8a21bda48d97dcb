//! Speech synthesis: a JSON body in, audio out.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::JsonRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Server, USER_ID};
use crate::{
    audio,
    faults::{self, Admission, Disruption, Endpoint},
};

/// Maximum length of a text, in characters.
const MAX_CHARS: usize = 2_000;

const ENGINES: [&str; 4] = ["PlayHT2.0", "PlayHT2.0-turbo", "Play3.0-mini", "PlayDialog"];

/// The body of a request. Members of the newer client that are null have no effect.
#[derive(Debug, Deserialize)]
pub(super) struct Speak {
    /// A text, or a list of texts.
    text: Value,
    voice: String,
    voice_engine: String,
    output_format: String,
    sample_rate: Option<u32>,
    speed: Option<f64>,
    temperature: Option<f64>,
    text_guidance: Option<f64>,
    style_guidance: Option<f64>,
    voice_guidance: Option<f64>,
}

/// A refused request.
#[derive(Debug)]
struct Refusal(StatusCode, &'static str, String);

impl Refusal {
    fn field(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, "BAD_REQUEST", message.into())
    }

    fn respond(self) -> Response {
        let Self(status, id, message) = self;
        let refusal = (status, Json(json!({ "error_id": id, "error_message": message })));
        if status == StatusCode::TOO_MANY_REQUESTS {
            ([(header::RETRY_AFTER, "1")], refusal).into_response()
        } else {
            refusal.into_response()
        }
    }
}

impl Speak {
    /// The text to speak.
    fn check(&self) -> Result<String, Refusal> {
        let texts: Vec<&str> = match &self.text {
            Value::String(text) => vec![text],
            Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
            _ => vec![],
        };
        let text = texts.join(" ");
        if text.trim().is_empty() || text.chars().count() > MAX_CHARS {
            return Err(Refusal::field(format!("text: must have 1 to {MAX_CHARS} characters")));
        }
        if !self.voice.starts_with("s3://") || !self.voice.ends_with("/manifest.json") {
            return Err(Refusal(
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "voice: there is no such voice".to_owned(),
            ));
        }
        if !ENGINES.contains(&self.voice_engine.as_str()) {
            return Err(Refusal::field(format!("voice_engine: must be one of {}", ENGINES.join(", "))));
        }
        if !matches!(
            (self.output_format.as_str(), self.sample_rate),
            ("mulaw", Some(8_000)) | ("raw", Some(8_000 | 16_000))
        ) {
            return Err(Refusal::field(
                "output_format, sample_rate: this server has mulaw at 8000, and raw at 8000 and 16000",
            ));
        }
        for (name, value, least, most) in [
            ("speed", self.speed, 0.1, 5.0),
            ("temperature", self.temperature, 0.0, 2.0),
            ("text_guidance", self.text_guidance, 1.0, 2.0),
            ("style_guidance", self.style_guidance, 1.0, 30.0),
            ("voice_guidance", self.voice_guidance, 1.0, 6.0),
        ] {
            if value.is_some_and(|value| !(least..=most).contains(&value)) {
                return Err(Refusal::field(format!("{name}: must be from {least} to {most}")));
            }
        }
        Ok(text)
    }
}

/// The handler of the old path: the key and the user are in headers.
pub(super) async fn speak(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    body: Result<Json<Speak>, JsonRejection>,
) -> Response {
    let key = match key(&headers) {
        Ok(key) => key.to_owned(),
        Err(refusal) => return refusal.respond(),
    };
    synthesize(&server, &key, body).await.unwrap_or_else(Refusal::respond)
}

/// The handler of the path in the address book: the key is in the address.
pub(super) async fn speak_with_token(
    State(server): State<Arc<Server>>,
    Query(query): Query<Vec<(String, String)>>,
    body: Result<Json<Speak>, JsonRejection>,
) -> Response {
    let token = query.into_iter().find(|(name, _)| name == "token").map(|(_, token)| token);
    synthesize(&server, &token.unwrap_or_default(), body).await.unwrap_or_else(Refusal::respond)
}

/// The handler of the address book, by model.
pub(super) async fn addresses(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    let key = match key(&headers) {
        Ok(key) => key,
        Err(refusal) => return refusal.respond(),
    };
    if !matches!(server.keys.admit(key, None), Admission::Served(_)) {
        return unauthorised().respond();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let path = format!("{host}/api/v4/tts/stream?token={key}");
    let addresses =
        json!({"http_streaming_url": format!("http://{path}"), "websocket_url": format!("ws://{path}")});
    let models = ["Play3.0-mini", "PlayDialog", "PlayDialogMultilingual", "PlayDialogArabic"];
    let mut book: Value = models.into_iter().map(|model| (model.to_owned(), addresses.clone())).collect();
    book["expires_at"] = json!("2099-01-01T00:00:00.000Z");
    Json(book).into_response()
}

fn key(headers: &HeaderMap) -> Result<&str, Refusal> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if header("x-user-id") != Some(USER_ID) {
        return Err(unauthorised());
    }
    let key = header("authorization").ok_or_else(unauthorised)?;
    Ok(key.strip_prefix("Bearer ").unwrap_or(key))
}

fn unauthorised() -> Refusal {
    Refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "the key or the user id is wrong".to_owned())
}

async fn synthesize(
    server: &Server,
    key: &str,
    body: Result<Json<Speak>, JsonRejection>,
) -> Result<Response, Refusal> {
    let disruption = match server.keys.admit(key, Some(Endpoint::Speak)) {
        Admission::Served(treatment) => treatment.disruption,
        Admission::Unknown => return Err(unauthorised()),
        Admission::Refused => {
            return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "try again".to_owned()));
        }
        Admission::RateLimited => {
            return Err(Refusal(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT", "too many requests".to_owned()));
        }
    };
    let Json(body) = body.map_err(|rejection| Refusal::field(rejection.body_text()))?;
    let text = body.check()?;
    let is_mulaw = body.output_format == "mulaw";
    let kind = if is_mulaw { "audio/basic" } else { "audio/raw" };
    let respond = |audio| ([(header::CONTENT_TYPE, kind)], audio).into_response();
    if disruption == Some(Disruption::Silent) {
        return Ok(respond(faults::body(stream::empty(), disruption, server.stop.clone())));
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to be at most 5")]
    let speed = (body.speed.unwrap_or(1.0) as f32).clamp(0.5, 2.0);
    let rate = body.sample_rate.unwrap_or(audio::SAMPLE_RATE);
    let samples = server.speech.synthesize_linear(&text, speed, rate).await.map_err(|error| {
        tracing::warn!(%error, "speech engine failed");
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the speech engine failed".to_owned())
    })?;
    let mut audio: Vec<u8> = if is_mulaw {
        samples.into_iter().map(audio::encode).collect()
    } else {
        samples.into_iter().flat_map(i16::to_le_bytes).collect()
    };
    if disruption.is_some() {
        audio.truncate(audio.len() / 2);
    }
    let sent = stream::iter([Ok(Bytes::from(audio))]);
    Ok(respond(faults::body(sent, disruption, server.stop.clone())))
}
