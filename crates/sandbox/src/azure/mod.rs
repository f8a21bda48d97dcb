//! The Azure Speech server, at an address of its own (as a resource with a custom domain has): live transcription over
//! its "universal speech protocol" (`listen`), and speech synthesis below `/tts` (`speak`).
//!
//! It hears what the Deepgram server hears; `usp` has the framing, `phrases` the form of what was heard. The offline engine
//! synthesizes speech. [`crate::faults`] decides by the key which requests fail.

mod admission;
mod listen;
#[cfg(test)]
mod listen_tests;
mod phrases;
mod speak;
mod ssml;
mod usp;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, routing::get};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    faults::{self, Endpoint, Keys},
    speech::Speech,
};

/// The key that the server accepts. It is not secret: it opens only a loopback server.
pub(crate) const API_KEY: &str = "sandbox-azure-key";

/// The key by its name in a deployment's provider keys.
pub(crate) const KEYS: &[(&str, &str)] = &[("azure_api_key", API_KEY)];

/// The server's routes; `api_key` is its own key, others are added at `/sandbox/keys`.
///
/// Live streams end with the token, and when the router is dropped.
pub(crate) fn router(speech: Speech, api_key: String, stop: &CancellationToken) -> Router {
    let keys = Arc::new(Keys::<Value>::new(api_key, &[Endpoint::Listen, Endpoint::Speak]));
    let listening = Router::new()
        .route(listen::CONVERSATION, get(listen::listen))
        .route(listen::UNIVERSAL, get(listen::listen));
    admission::admit(listening, speech.clone(), Arc::clone(&keys), stop)
        .merge(speak::router(speech, Arc::clone(&keys), stop))
        .merge(faults::router(keys))
        .layer(DefaultBodyLimit::max(64 * 1024))
}
