//! The Azure Speech server, at an address of its own (as a resource with a custom domain has): speech synthesis below
//! `/tts`.
//!
//! The offline engine synthesizes speech. [`crate::faults`] decides by the key which requests fail.

mod speak;
mod ssml;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    faults::{self, Endpoint, Keys},
    speech::Speech,
};

/// The key that the server accepts. It is not secret: it opens only a loopback server.
const API_KEY: &str = "sandbox-azure-key";

/// The key by its name in a deployment's provider keys.
pub(crate) const KEYS: &[(&str, &str)] = &[("azure_api_key", API_KEY)];

/// The state of the server.
struct Server {
    speech: Speech,
    keys: Arc<Keys<Value>>,
    /// Cancelled when the server stops, because a stalled response outlives its request.
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

/// The server's routes; other keys than its own are added at `/sandbox/keys`.
pub(crate) fn router(speech: Speech, stop: &CancellationToken) -> Router {
    let stop = stop.child_token();
    let keys = Arc::new(Keys::<Value>::new(API_KEY.to_owned(), &[Endpoint::Speak]));
    let server =
        Server { speech, keys: Arc::clone(&keys), stop: stop.clone(), _stop_on_drop: stop.drop_guard() };
    Router::new()
        .route("/tts/cognitiveservices/v1", post(speak::speak))
        .route("/tts/cognitiveservices/voices/list", get(speak::voices))
        .route("/sts/v1.0/issueToken", post(speak::issue_token))
        .with_state(Arc::new(server))
        .merge(faults::router(keys))
        .layer(DefaultBodyLimit::max(64 * 1024))
}
