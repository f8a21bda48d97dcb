//! The HTTP API: decodes a request, runs one use case, encodes the answer.
//!
//! A request passes [`router`], which `routes` lists. `request_id` opens its span, `idempotency` wraps the handlers, and
//! the extractors of `extract` provide the caller's account, which `rate_limit` counts, the path's parameters, the query
//! and the body.
//! Handlers stand in one file per resource: `agents`, `conversations`, `events`, `phone_numbers`, `credentials`,
//! `account`, `service`. `console` serves the files of the console, beside these routes. [`switchboard_contract`] declares what a valid
//! request is and what an answer looks like; `references` looks up the items that a body names; `errors` alone turns an
//! error into a status. `openapi` describes the operations.
//!
//! It knows nothing of providers and queues: the relay picks up a stored call from the table's stream. Of the carrier it
//! knows how to hang up, and how to buy and import numbers. Start at `routes`.

mod account;
mod agents;
mod config;
mod console;
mod conversations;
mod credentials;
mod errors;
mod events;
mod extract;
mod idempotency;
mod openapi;
mod pages;
mod phone_numbers;
mod rate_limit;
mod references;
mod request_id;
mod routes;
mod service;

use std::time::Duration;

use axum::{
    Router,
    extract::Request,
    http::uri::{PathAndQuery, Uri},
    middleware,
};
use switchboard_aws::{recordings::Recordings, sealing::Sealer, table::Table};
use switchboard_model::{costs::Prices, egress_policy::EgressPolicy, time::Timestamp};
use switchboard_providers::AnyCarrier;

use self::errors::ApiError;
pub use self::{config::Config, routes::Route};

/// Maximum size of a request's body, in bytes.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// The state of the handlers: clients, settings, clock and randomness.
#[derive(Debug, Clone)]
pub struct Api {
    /// The table.
    pub table: Table,
    /// The bucket of recordings.
    pub recordings: Recordings,
    /// Seals customers' secrets.
    pub sealer: Sealer,
    /// Hangs up calls; searches, buys and releases numbers.
    pub carrier: AnyCarrier,
    /// The deployment's own prices.
    pub prices: Prices,
    /// The base URL of this API as the world sees it, without a slash at the end.
    pub public_url: String,
    /// The worker's websocket as the world sees it, without a slash at the end; none in a deployment without a worker.
    pub media_url: Option<String>,
    /// Which addresses customers' URLs may point to.
    pub egress_policy: EgressPolicy,
    /// Time after its creation for which a conversation is kept.
    pub retention: Duration,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// 128 random bits, for ids.
    pub random: fn() -> u128,
}

/// Every route, with and without a slash at the end of its path.
pub fn router(api: Api) -> Router {
    // A layer of the routes would come too late: they are matched by then.
    let api_routes = Router::new()
        .fallback_service(routes(api.clone()))
        .layer(middleware::map_request(without_trailing_slash));
    // The page's relative links depend on the slash.
    console::routes(api).fallback_service(api_routes)
}

async fn without_trailing_slash(mut request: Request) -> Request {
    let uri = request.uri();
    let Some(path) = uri.path().strip_suffix('/').filter(|path| !path.is_empty()) else { return request };
    let path = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = path.parse::<PathAndQuery>().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

fn routes(api: Api) -> Router {
    let idempotent = middleware::from_fn_with_state(api.clone(), idempotency::enforce);
    Route::all()
        .into_iter()
        .fold(Router::new(), |router, route| {
            let handler = route.handler;
            router.route(
                route.path,
                if route.creates { handler.route_layer(idempotent.clone()) } else { handler },
            )
        })
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(api.clone(), request_id::identify))
        .with_state(api)
}
