//! The ElevenLabs server: speech synthesis over websockets with times of characters, and over HTTP.
//!
//! The offline engine synthesizes speech. This module has the routes and the authentication; `socket` the websockets,
//! `http` the rest, `options` and `library` what the vendor accepts, and `alignment` the times. [`crate::faults`]
//! decides by the key which texts fail.

mod alignment;
mod api;
#[cfg(test)]
mod fault_tests;
mod http;
mod library;
mod messages;
mod options;
mod socket;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Router,
    extract::{
        DefaultBodyLimit, Path, Query, Request, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::HeaderMap,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use api::{Refusal, Server};
use options::SocketOptions;

use crate::{
    faults::{self, Endpoint, Keys},
    speech::Speech,
};

/// The key that the server accepts. It is not secret: it opens only a loopback server.
const API_KEY: &str = "sandbox-elevenlabs-key";

/// The key by its name in a deployment's provider keys.
pub(crate) const KEYS: &[(&str, &str)] = &[("elevenlabs_api_key", API_KEY)];

/// The key of a request.
#[derive(Clone)]
struct Key(String);

/// The server's routes; other keys than its own are added at `/sandbox/keys`.
///
/// Websockets end with the token, and when the router is dropped.
pub(crate) fn router(speech: Speech, stop: &CancellationToken) -> Router {
    let keys = Arc::new(Keys::<Value>::new(API_KEY.to_owned(), &[Endpoint::Speak]));
    let server = Arc::new(Server::new(speech, Arc::clone(&keys), stop.child_token()));
    Router::new()
        .route("/v1/text-to-speech/{voice}", post(http::speak))
        .route("/v1/text-to-speech/{voice}/stream", post(http::speak))
        .route("/v1/voices", get(http::voices))
        .route("/v1/models", get(http::models))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), admit))
        .route("/v1/text-to-speech/{voice}/stream-input", get(single))
        .route("/v1/text-to-speech/{voice}/multi-stream-input", get(multi))
        .with_state(server)
        .merge(faults::router(keys))
        .layer(DefaultBodyLimit::max(256 * 1024))
}

/// Refuses requests without a key that the server knows.
async fn admit(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    let key = key(request.headers()).filter(|key| server.knows(key)).map(str::to_owned);
    let Some(key) = key else { return Refusal::key().response() };
    request.extensions_mut().insert(Key(key));
    next.run(request).await
}

fn key(headers: &HeaderMap) -> Option<&str> {
    headers.get("xi-api-key")?.to_str().ok()
}

async fn single(
    State(server): State<Arc<Server>>,
    Path(voice): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    open(server, &voice, &query, &headers, upgrade, false)
}

async fn multi(
    State(server): State<Arc<Server>>,
    Path(voice): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    open(server, &voice, &query, &headers, upgrade, true)
}

/// Accepts any websocket. What is wrong with it is told in a message, and by its close frame.
fn open(
    server: Arc<Server>,
    voice: &str,
    query: &[(String, String)],
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    has_contexts: bool,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.max_message_size(1 << 20).max_frame_size(1 << 20),
        Err(rejection) => return rejection.into_response(),
    };
    let key = key(headers).filter(|key| server.knows(key)).map(str::to_owned);
    let parsed = SocketOptions::parse(voice, query);
    let (options, refused) = match (&key, parsed) {
        (None, _) => (None, Some(Refusal::key())),
        (_, Err(refusal)) => (None, Some(refusal)),
        (Some(_), Ok(options)) => (Some(options), None),
    };
    let key = key.unwrap_or_default();
    let options = options.unwrap_or_else(SocketOptions::none);
    let connection = socket::Connection { server, options, key, has_contexts };
    upgrade.on_upgrade(async move |socket| connection.serve(socket, refused).await)
}
