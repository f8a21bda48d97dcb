//! The HTTP API: what a client of this deployment sees.
//!
//! A request passes [`router`]: `request_id` names it, an extractor of `extract` each proves the
//! caller's account, the id in the path, the JSON body; the handler (`conversations`, `service`)
//! asks the table and answers with a view (`views`). Whatever goes wrong becomes an answer in
//! `errors`, and only there. What is a valid request is decided in [`domain::requests`].
//!
//! It knows nothing of providers and queues: a call that is stored is picked up from the table's stream.
//! Of the carrier it knows only how to hang up.

mod config;
mod conversations;
mod end;
mod errors;
mod extract;
mod request_id;
mod service;
mod views;

use aws::{recordings::Recordings, store::Store};
use axum::{
    Router, middleware,
    routing::{get, post},
};
use domain::{agents::WebhookUrls, costs::Prices, time::Timestamp};
use vendors::twilio::Calls;

pub use self::config::Config;
use self::errors::ApiError;

/// The largest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// What the handlers work with.
#[derive(Debug, Clone)]
pub struct Api {
    /// The table.
    pub store: Store,
    /// The bucket of recordings.
    pub recordings: Recordings,
    /// The carrier, to hang up.
    pub calls: Calls,
    /// The deployment's own.
    pub prices: Prices,
    /// The base URL of this API as the world sees it, without a slash at the end.
    pub public_url: String,
    /// Which webhooks are accepted.
    pub webhook_urls: WebhookUrls,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// 128 random bits, for ids.
    pub random: fn() -> u128,
}

/// Every route.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/", get(service::document))
        .route("/conversations/create_phone_call", post(conversations::create_phone_call))
        .route("/conversations/{id}", get(conversations::show))
        .route("/conversations/{id}/end", post(end::end))
        .route("/conversations/{id}/recording", get(conversations::recording))
        .route("/conversations/{id}/events", get(conversations::events))
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(api.clone(), request_id::identify))
        .with_state(api)
}
