//! The Rime server: speech synthesis over `/ws3` (`speak`), with the parameters in its address (`options`).

mod options;
mod speak;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    faults::{self, Admission, Endpoint, Keys},
    speech::Speech,
};

/// The key that the server accepts. It is not secret: it opens only a loopback server.
pub(crate) const API_KEY: &str = "sandbox-rime-key";

/// The key by its name in a deployment's provider keys.
pub(crate) const KEYS: &[(&str, &str)] = &[("rime_api_key", API_KEY)];

/// The state of the server.
struct Server {
    speech: Speech,
    /// Cancelled when the server stops, because upgraded sockets outlive their request.
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

/// The server's routes; `api_key` is its own key, others are added at `/sandbox/keys`. A fault affects the first clause of
/// a connection.
pub(crate) fn router(speech: Speech, api_key: String, stop: &CancellationToken) -> Router {
    let stop = stop.child_token();
    let keys = Arc::new(Keys::<Value>::new(api_key, &[Endpoint::Speak]));
    let server = Server { speech, stop: stop.clone(), _stop_on_drop: stop.drop_guard() };
    Router::new()
        .route("/ws3", get(speak::speak))
        .layer(middleware::from_fn_with_state(Arc::clone(&keys), admit))
        .with_state(Arc::new(server))
        .merge(faults::router(keys))
}

/// Refuses requests with an unknown key or a due fault.
async fn admit(State(keys): State<Arc<Keys<Value>>>, mut request: Request, next: Next) -> Response {
    let admission =
        bearer(request.headers()).map_or(Admission::Unknown, |key| keys.admit(key, Some(Endpoint::Speak)));
    match admission {
        Admission::Served(treatment) => {
            request.extensions_mut().insert(treatment);
            next.run(request).await
        }
        Admission::Unknown => refusal(StatusCode::UNAUTHORIZED, "Invalid API key"),
        Admission::Refused => refusal(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable"),
        Admission::RateLimited => {
            let refusal = refusal(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded");
            ([(header::RETRY_AFTER, "1")], refusal).into_response()
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}
