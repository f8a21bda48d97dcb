//! The state that all routes share, and which requests are admitted.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header::RETRY_AFTER},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    faults::{Admission, Endpoint, Keys},
    speech::Speech,
};

/// The state of the server.
pub(super) struct Server {
    pub(super) speech: Speech,
    /// Cancelled when the server stops, because upgraded sockets outlive their request.
    pub(super) stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

/// The routes behind the check of the key.
pub(super) fn admit(
    routes: Router<Arc<Server>>,
    speech: Speech,
    keys: Arc<Keys<Value>>,
    stop: &CancellationToken,
) -> Router {
    let stop = stop.child_token();
    let server = Server { speech, stop: stop.clone(), _stop_on_drop: stop.drop_guard() };
    routes.layer(middleware::from_fn_with_state(keys, check)).with_state(Arc::new(server))
}

/// Refuses requests with an unknown key or a due fault. The vendor explains nothing.
async fn check(State(keys): State<Arc<Keys<Value>>>, mut request: Request, next: Next) -> Response {
    let key = request.headers().get("ocp-apim-subscription-key").and_then(|key| key.to_str().ok());
    match key.map_or(Admission::Unknown, |key| keys.admit(key, Some(Endpoint::Listen))) {
        Admission::Served(treatment) => {
            request.extensions_mut().insert(treatment);
            next.run(request).await
        }
        Admission::Unknown => StatusCode::UNAUTHORIZED.into_response(),
        Admission::Refused => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Admission::RateLimited => (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response(),
    }
}
