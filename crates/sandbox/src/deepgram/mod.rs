//! The Deepgram server: live transcription (`/v1/listen`, and `/v2/listen` with Flux models) and speech synthesis
//! (`/v1/speak`).
//!
//! The offline engines recognise and synthesize speech, so a transcript comes only from the audio that arrived. This
//! module has the routes and the authentication; `listen` and `flux` the sockets of a transcription, `session` its decisions,
//! `messages` their form, and `speak` the synthesis. [`crate::faults`] decides by the key which requests fail.

mod api;
#[cfg(test)]
mod fault_tests;
mod flux;
mod listen;
mod messages;
mod models;
mod options;
pub(crate) mod recogniser;
mod session;
mod speak;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{AUTHORIZATION, RETRY_AFTER},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use api::{Refusal, RequestId, Server};

use crate::{
    faults::{self, Admission, Endpoint, Keys},
    ids,
    speech::Speech,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("dg-request-id");

const LISTEN: &str = "/v1/listen";
const FLUX: &str = "/v2/listen";
const SPEAK: &str = "/v1/speak";

/// The key that the server accepts. It is not secret: it opens only a loopback server.
pub(crate) const API_KEY: &str = "sandbox-deepgram-key";

/// The key by its name in a deployment's provider keys.
pub(crate) const KEYS: &[(&str, &str)] = &[("deepgram_api_key", API_KEY)];

/// The server's routes; `api_key` is its own key, others are added at `/sandbox/keys`.
///
/// Live streams end with the token, and when the router is dropped.
pub(crate) fn router(speech: Speech, api_key: String, stop: &CancellationToken) -> Router {
    let stop = stop.child_token();
    let keys = Arc::new(Keys::<Value>::new(api_key, &[Endpoint::Listen, Endpoint::Speak]));
    let server = Server { speech, stop: stop.clone(), _stop_on_drop: stop.drop_guard() };
    Router::new()
        .route(LISTEN, get(listen::listen))
        .route(FLUX, get(flux::listen))
        .route(SPEAK, post(speak::speak))
        .fallback(async |request: Request| {
            let id = request.extensions().get().cloned().unwrap_or_else(|| RequestId(ids::uuid()));
            Refusal::new(StatusCode::NOT_FOUND, "NOT_FOUND", "Not Found").with(&id)
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&keys), admit))
        .with_state(Arc::new(server))
        .merge(faults::router(keys))
        .layer(DefaultBodyLimit::max(64 * 1024))
}

/// Gives every request an id, and refuses those with an unknown key or a due fault.
async fn admit(State(keys): State<Arc<Keys<Value>>>, mut request: Request, next: Next) -> Response {
    let id = RequestId(ids::uuid());
    let part = match request.uri().path() {
        LISTEN | FLUX => Some(Endpoint::Listen),
        SPEAK => Some(Endpoint::Speak),
        _ => None,
    };
    let admission = key(request.headers()).map_or(Admission::Unknown, |key| keys.admit(key, part));
    let mut response = match admission {
        Admission::Served(service) => {
            request.extensions_mut().insert(id.clone());
            request.extensions_mut().insert(service);
            next.run(request).await
        }
        Admission::Unknown => {
            Refusal::new(StatusCode::UNAUTHORIZED, "INVALID_AUTH", "Invalid credentials.").with(&id)
        }
        Admission::Refused => {
            let message = "The service is temporarily unavailable.";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", message).with(&id)
        }
        Admission::RateLimited => {
            let message = "Too many requests. Please try again later.";
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", message);
            ([(RETRY_AFTER, "1")], refusal.with(&id)).into_response()
        }
    };
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The key in the `Authorization` header, with the scheme `Token` or `Bearer`.
fn key(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("token") || scheme.eq_ignore_ascii_case("bearer")).then_some(key)
}
