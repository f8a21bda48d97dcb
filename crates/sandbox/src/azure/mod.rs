//! The Azure Speech server: live transcription over its "universal speech protocol" (`listen`).
//!
//! It hears what the Deepgram server hears; `usp` has the framing, `phrases` the form of what was heard.

mod admission;
mod listen;
#[cfg(test)]
mod listen_tests;
mod phrases;
mod usp;

use axum::{Router, routing::get};
use tokio_util::sync::CancellationToken;

use crate::speech::Speech;

/// The key that the server accepts. It is not secret: it opens only a loopback server.
pub(crate) const API_KEY: &str = "sandbox-azure-key";

/// The key by its name in a deployment's provider keys.
pub(crate) const KEYS: &[(&str, &str)] = &[("azure_api_key", API_KEY)];

/// The server's routes; `api_key` is its own key, others are added at `/sandbox/keys`.
///
/// Live streams end with the token, and when the router is dropped.
pub(crate) fn router(speech: Speech, api_key: String, stop: &CancellationToken) -> Router {
    let routes = Router::new()
        .route(listen::CONVERSATION, get(listen::listen))
        .route(listen::UNIVERSAL, get(listen::listen));
    admission::admit(routes, speech, api_key, stop)
}
