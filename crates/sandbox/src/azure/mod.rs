//! The Azure Speech server, at an address of its own (as a resource with a custom domain has): speech synthesis below
//! `/tts`.
//!
//! The offline engine synthesizes speech. [`crate::faults`] decides by the key which requests fail.

mod speak;
mod ssml;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit};
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
pub(crate) fn router(speech: Speech, api_key: String, stop: &CancellationToken) -> Router {
    let keys = Arc::new(Keys::<Value>::new(api_key, &[Endpoint::Speak]));
    speak::router(speech, Arc::clone(&keys), stop)
        .merge(faults::router(keys))
        .layer(DefaultBodyLimit::max(64 * 1024))
}
