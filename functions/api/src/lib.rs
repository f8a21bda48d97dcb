//! The HTTP API: what a client of this deployment sees.
//!
//! A request passes [`router`], which is made of the table in `routes`: `request_id` names it, an
//! extractor of `extract` each proves the caller's account, the id in the path, the JSON body;
//! `references` looks up what the body names. The handler (one file per resource: `agents`,
//! `conversations`, `credentials`, `phone_numbers`) asks the table and answers with a view ([`switchboard_contract::views`]). Whatever goes wrong becomes an answer in
//! `errors`, and only there. What is a valid request is decided in [`switchboard_contract::requests`].
//!
//! It knows nothing of providers and queues: a call that is stored is picked up from the table's stream.
//! Of the carrier it knows how to hang up, and how to buy numbers.

mod agents;
mod config;
mod conversations;
mod credentials;
mod end;
mod errors;
mod events;
mod extract;
mod idempotency;
mod openapi;
mod phone_numbers;
mod references;
mod request_id;
mod routes;
mod service;
mod throttle;
mod views;

use std::time::Duration;

use axum::{Router, middleware};
use switchboard_aws::{recordings::Recordings, sealing::Sealer, table::Table};
use switchboard_model::{costs::Prices, egress_policy::EgressPolicy, time::Timestamp};
use switchboard_providers::twilio::{Calls, Numbers};

use self::errors::ApiError;
pub use self::{config::Config, routes::Route};

/// The largest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// What the handlers work with.
#[derive(Debug, Clone)]
pub struct Api {
    /// The table.
    pub table: Table,
    /// The bucket of recordings.
    pub recordings: Recordings,
    /// Seals the customers' secrets.
    pub sealer: Sealer,
    /// The carrier, to hang up.
    pub calls: Calls,
    /// The carrier's numbers.
    pub numbers: Numbers,
    /// The deployment's own.
    pub prices: Prices,
    /// The base URL of this API as the world sees it, without a slash at the end.
    pub public_url: String,
    /// Which webhooks are accepted.
    pub egress_policy: EgressPolicy,
    /// How long a conversation is kept, from when it was asked for.
    pub retention: Duration,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// 128 random bits, for ids.
    pub random: fn() -> u128,
}

/// Every route.
pub fn router(api: Api) -> Router {
    let keep = middleware::from_fn_with_state(api.clone(), idempotency::keep);
    Route::all()
        .into_iter()
        .fold(Router::new(), |router, route| {
            let handler = route.handler;
            router.route(route.path, if route.creates { handler.route_layer(keep.clone()) } else { handler })
        })
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(api.clone(), throttle::beside))
        .layer(middleware::from_fn_with_state(api.clone(), request_id::identify))
        .with_state(api)
}
