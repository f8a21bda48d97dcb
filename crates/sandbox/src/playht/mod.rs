//! The `PlayHT` server: `POST /api/v2/tts/stream` (`speak`), and the address book that the official client asks first
//! (`POST /api/v4/sdk-auth`). The real service ended in 2025; this is its protocol as the last client speaks it.

mod speak;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, routing::post};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    faults::{self, Endpoint, Keys},
    speech::Speech,
};

/// The key that the server accepts. It is not secret: it opens only a loopback server.
pub(crate) const API_KEY: &str = "sandbox-playht-key";
/// The user whose keys the server accepts.
pub(crate) const USER_ID: &str = "sandbox-playht-user";

/// The keys by their names in a deployment's provider keys.
pub(crate) const KEYS: &[(&str, &str)] = &[("playht_api_key", API_KEY), ("playht_user_id", USER_ID)];

/// The state of the server.
struct Server {
    speech: Speech,
    keys: Arc<Keys<Value>>,
    stop: CancellationToken,
}

/// The server's routes; `api_key` is its own key, others are added at `/sandbox/keys`.
pub(crate) fn router(speech: Speech, api_key: String, stop: &CancellationToken) -> Router {
    let keys = Arc::new(Keys::<Value>::new(api_key, &[Endpoint::Speak]));
    let server = Server { speech, keys: Arc::clone(&keys), stop: stop.clone() };
    Router::new()
        .route("/api/v2/tts/stream", post(speak::speak))
        .route("/api/v4/sdk-auth", post(speak::addresses))
        .route("/api/v4/tts/stream", post(speak::speak_with_token))
        .with_state(Arc::new(server))
        .merge(faults::router(keys))
        .layer(DefaultBodyLimit::max(64 * 1024))
}
