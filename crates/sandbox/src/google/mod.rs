//! The Gemini server: content generation, streamed or whole, and the models.
//!
//! It refuses what the real API refuses, and a little more: a schema may have only the documented keywords. The model
//! is a script, as the `OpenAI` server's.

mod contents;
#[cfg(test)]
mod fault_tests;
mod models;
mod refusal;
mod reply;
mod request;
#[cfg(test)]
mod request_tests;
mod schema;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{Path, Query, Request as HttpRequest, State},
    http::header,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::faults::{self, Admission, Disruption, Endpoint, Keys, Treatment};
use crate::script::Script;
use crate::{clock, ids};
use refusal::Refusal;
use request::Request;

/// Time between two tokens of a streamed response: 50 tokens a second.
const TOKEN_TIME: Duration = Duration::from_millis(20);

/// The key that the server accepts. It is not secret: it opens only a loopback server.
pub(crate) const API_KEY: &str = "sandbox-google-key";

/// The key by its name in a deployment's provider keys.
pub(crate) const KEYS: &[(&str, &str)] = &[("google_api_key", API_KEY)];

/// The server's routes (below `/v1beta`); `api_key` is its own key, others are added at `/sandbox/keys`. Responses that a
/// fault keeps open end with the token.
pub(crate) fn router(api_key: String, stop: &CancellationToken) -> Router {
    let keys = Arc::new(Keys::<Script>::new(api_key, &[Endpoint::Chat]));
    Router::new()
        .route("/v1beta/models", get(list_models))
        .route("/v1beta/models/{model}", post(generate).get(show_model))
        .fallback(async || Refusal::not_found("Requested entity was not found."))
        .layer(middleware::from_fn_with_state(Arc::clone(&keys), admit))
        .with_state(stop.clone())
        .merge(faults::router(keys))
}

#[derive(Deserialize)]
struct Options {
    key: Option<String>,
    alt: Option<String>,
}

/// Refuses requests with an unknown key or a due fault.
async fn admit(
    State(keys): State<Arc<Keys<Script>>>,
    Query(options): Query<Options>,
    mut request: HttpRequest,
    next: Next,
) -> Response {
    let header = request.headers().get("x-goog-api-key").and_then(|value| value.to_str().ok());
    let Some(key) = header.or(options.key.as_deref()).filter(|key| !key.is_empty()) else {
        return Refusal::missing_key().into_response();
    };
    let part = request.uri().path().contains(':').then_some(Endpoint::Chat);
    match keys.admit(key, part) {
        Admission::Served(service) => {
            request.extensions_mut().insert(service);
            next.run(request).await
        }
        Admission::Unknown => Refusal::wrong_key().into_response(),
        Admission::Refused => Refusal::overloaded().into_response(),
        Admission::RateLimited => Refusal::rate_limited().into_response(),
    }
}

fn describe(model: &str) -> Value {
    json!({
        "name": format!("models/{model}"), "version": "001", "displayName": model, "thinking": true,
        "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536, "temperature": 1, "maxTemperature": 2,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    })
}

async fn list_models() -> Json<Value> {
    let today = clock::today();
    let live = models::LISTED.into_iter().filter(|model| !models::is_retired(model, today));
    Json(json!({ "models": live.map(describe).collect::<Vec<_>>() }))
}

async fn show_model(Path(model): Path<String>) -> Result<Json<Value>, Refusal> {
    if models::is_known(&model) && !models::is_retired(&model, clock::today()) {
        return Ok(Json(describe(&model)));
    }
    Err(Refusal::not_found(format!("models/{model} is not found for API version v1beta.")))
}

async fn generate(
    State(stop): State<CancellationToken>,
    Path(target): Path<String>,
    Query(options): Query<Options>,
    Extension(service): Extension<Treatment<Script>>,
    body: Bytes,
) -> Response {
    let (model, method) = target.split_once(':').unwrap_or((&target, ""));
    let streams = match method {
        "streamGenerateContent" => true,
        "generateContent" => false,
        _ => return Refusal::not_found("Requested entity was not found.").into_response(),
    };
    let request = match Request::parse(model, &body, clock::today()) {
        Ok(request) => request,
        Err(refusal) => return refusal.into_response(),
    };
    let reply = match service.script.map_or_else(|| Script::load().map(Arc::new), Ok) {
        Ok(script) => script.reply(&request.conversation),
        Err(error) => return Refusal::internal(error.to_string()).into_response(),
    };
    let ids: Vec<String> = reply.calls.iter().map(|_| ids::sid("fc_")).collect();
    let Request { prompt_tokens, max_tokens, thinks, .. } = request;
    let chunks = reply::chunks(&reply, &ids, model, &ids::sid("resp_"), prompt_tokens, thinks, max_tokens);
    let as_events = options.alt.as_deref() == Some("sse");
    let content_type =
        if streams && as_events { "text/event-stream" } else { "application/json; charset=UTF-8" };
    let mut pieces: Vec<String> = match (streams, as_events) {
        (true, true) => chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect(),
        // Without `alt=sse` a stream is one list.
        (true, false) => {
            let last = chunks.len() - 1;
            let piece = |(index, chunk): (usize, &Value)| {
                let (begin, end) =
                    (if index == 0 { "[" } else { ",\r\n" }, if index == last { "]" } else { "" });
                format!("{begin}{chunk}{end}")
            };
            chunks.iter().enumerate().map(piece).collect()
        }
        (false, _) => {
            let mut first = reply::whole(&chunks).to_string();
            let second = first.split_off(first.floor_char_boundary(first.len() / 2));
            vec![first, second]
        }
    };
    match service.disruption {
        None => {}
        Some(Disruption::Silent) => pieces.clear(),
        Some(Disruption::Break | Disruption::Stall) => pieces.truncate(pieces.len() / 2),
    }
    let after = reply.after;
    let paced = stream::iter(pieces).enumerate().then(move |(position, piece)| async move {
        tokio::time::sleep(if position == 0 { after + TOKEN_TIME } else { TOKEN_TIME }).await;
        Ok(Bytes::from(piece))
    });
    let body = faults::body(paced, service.disruption, stop);
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}
