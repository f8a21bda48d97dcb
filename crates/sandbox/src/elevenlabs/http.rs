//! The routes without a websocket: synthesis in one response, and the lists of voices and models.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, Query, State, rejection::JsonRejection},
    http::header::CONTENT_TYPE,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Key,
    api::{Refusal, Server},
    library,
    messages::VoiceSettings,
    options::{self, http_format},
};
use crate::{
    faults::{self, Disruption},
    ids,
    speech::sentences,
};

/// Maximum length of a text, in characters.
const MAX_CHARS: usize = 10_000;

/// The body of a synthesis.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Speak {
    text: String,
    model_id: Option<String>,
    language_code: Option<String>,
    voice_settings: Option<VoiceSettings>,
    // Without an effect here.
    #[serde(rename = "pronunciation_dictionary_locators")]
    _dictionaries: Option<Value>,
    #[serde(rename = "seed")]
    _seed: Option<u32>,
    #[serde(rename = "previous_text")]
    _previous_text: Option<String>,
    #[serde(rename = "next_text")]
    _next_text: Option<String>,
    #[serde(rename = "previous_request_ids")]
    _previous_ids: Option<Value>,
    #[serde(rename = "next_request_ids")]
    _next_ids: Option<Value>,
    #[serde(rename = "use_pvc_as_ivc")]
    _use_pvc_as_ivc: Option<bool>,
    #[serde(rename = "apply_text_normalization")]
    _normalization: Option<String>,
    #[serde(rename = "apply_language_text_normalization")]
    _language_normalization: Option<bool>,
}

/// `POST /v1/text-to-speech/{voice_id}[/stream]`.
pub(super) async fn speak(
    State(server): State<Arc<Server>>,
    Extension(Key(key)): Extension<Key>,
    Path(voice): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    body: Result<Json<Speak>, JsonRejection>,
) -> Response {
    match answer(&server, &key, &voice, &query, body) {
        Ok(response) => response,
        Err(refusal) => refusal.response(),
    }
}

fn answer(
    server: &Arc<Server>,
    key: &str,
    voice: &str,
    query: &[(String, String)],
    body: Result<Json<Speak>, JsonRejection>,
) -> Result<Response, Refusal> {
    let disruption = server.admit(key)?;
    let format = http_format(query)?;
    let Json(body) = body.map_err(|rejection| Refusal::parameter("body", rejection.body_text()))?;
    if let Some(settings) = &body.voice_settings {
        settings.check()?;
    }
    let model = body.model_id.as_deref().unwrap_or("eleven_multilingual_v2");
    options::check(voice, model, body.language_code.as_deref())?;
    let chars = body.text.chars().count();
    if chars > MAX_CHARS || body.text.trim().is_empty() {
        return Err(Refusal::parameter("text", format!("text must have 1 to {MAX_CHARS} characters")));
    }
    let kind = if format.is_mulaw { "audio/basic" } else { "audio/pcm" };
    let headers = [("character-cost", chars.to_string()), ("request-id", ids::uuid())];
    let mut texts = sentences(&body.text);
    if disruption.is_some() {
        texts.truncate(1);
    }
    if disruption == Some(Disruption::Silent) {
        texts.clear();
    }
    let speech = stream::iter(texts).then({
        let server = Arc::clone(server);
        move |text| {
            let speech = server.speech.clone();
            async move {
                let mut samples = speech.synthesize_linear(&text, 1.0, format.rate).await?;
                if disruption.is_some() {
                    samples.truncate(samples.len() / 2);
                }
                anyhow::Ok(Bytes::from(format.bytes(&samples)))
            }
        }
    });
    let body = faults::body(speech, disruption, server.stop.clone());
    Ok(([(CONTENT_TYPE, kind)], headers, body).into_response())
}

/// `GET /v1/voices`.
pub(super) async fn voices() -> Json<Value> {
    Json(library::voices())
}

/// `GET /v1/models`.
pub(super) async fn models() -> Json<Value> {
    Json(library::models())
}
