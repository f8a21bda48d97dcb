//! The carrier's callbacks: what it reports of a call moves the conversation.
//!
//! `POST /twilio/{account_id}/{conversation_id}/status`. A report that is not signed with the carrier
//! account's auth token is a 403, and so is one of a conversation that does not exist. Reports come
//! twice, late and in any order; one that says nothing new changes nothing and is a 200 like the first.
//! Which report means which change is one pure function, [`reports::change`].
//!
//! What cannot be stored is a 5xx. The carrier repeats a report only if its connection fails or the
//! callback's URL asks for more, so this counts on later reports: each of them alone is enough to move
//! on from any earlier state.

mod config;
pub mod reports;

use std::{sync::Arc, time::Duration};

use aws::{
    store::{Outcome, Store, StoreError},
    system,
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, OriginalUri, Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use domain::{
    conversations::Snapshot,
    ids::{AccountId, ConversationId},
};
use serde_json::json;
use tokio::time::timeout;
use vendors::{
    Secret,
    twilio::{
        callbacks::{StatusCallback, parse_form},
        signature::{self, Signed},
    },
};

pub use self::config::Config;

/// A report has some 30 short parameters.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Below the carrier's patience and the function's own limit, both 15 s.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the handlers share.
#[derive(Debug)]
pub struct Callbacks {
    /// Where conversations are.
    pub store: Store,
    /// The carrier account's, which signs.
    pub auth_token: Secret,
    /// Base of the URLs that the carrier was given and signs.
    pub public_url: String,
}

/// The routes, for a server or for Lambda.
pub fn router(callbacks: Callbacks) -> Router {
    Router::new()
        .route("/twilio/{account_id}/{conversation_id}/status", post(status))
        .fallback(|| async { answer(StatusCode::NOT_FOUND) })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::new(callbacks))
}

async fn status(
    State(callbacks): State<Arc<Callbacks>>,
    OriginalUri(uri): OriginalUri,
    ids: Result<Path<(AccountId, ConversationId)>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = parse_form(&body);
    let signature =
        headers.get(signature::HEADER).and_then(|header| header.to_str().ok()).unwrap_or_default();
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let url = format!("{}{path}", callbacks.public_url);
    if !signature::verify(&callbacks.auth_token, &url, Signed::Form(&form), signature) {
        tracing::warn!("a report without a valid signature: refused");
        return answer(StatusCode::FORBIDDEN);
    }
    let Ok(Path((account_id, conversation_id))) = ids else { return answer(StatusCode::FORBIDDEN) };
    let report = match StatusCallback::read(&form) {
        Ok(report) => report,
        Err(error) => {
            tracing::warn!(%conversation_id, %error, "a report that cannot be read: ignored");
            return answer(StatusCode::BAD_REQUEST);
        }
    };
    callbacks.take(account_id, conversation_id, &report).await
}

impl Callbacks {
    async fn take(
        &self,
        account_id: AccountId,
        conversation_id: ConversationId,
        report: &StatusCallback,
    ) -> Response {
        let now = system::now();
        let change = |snapshot: &Snapshot| reports::change(snapshot, report, now);
        let stored = timeout(STORE_TIMEOUT, self.store.transition(account_id, conversation_id, change)).await;
        let status = report.status;
        match stored {
            Ok(Ok(Outcome::Changed(_))) => {
                tracing::info!(%conversation_id, ?status, "moved");
                StatusCode::OK.into_response()
            }
            Ok(Ok(Outcome::Unchanged(_))) => {
                tracing::info!(%conversation_id, ?status, "nothing new");
                StatusCode::OK.into_response()
            }
            Ok(Ok(Outcome::NotFound)) => answer(StatusCode::FORBIDDEN),
            Ok(Err(error)) => {
                tracing::error!(%conversation_id, ?status, %error, "not stored");
                answer(match error {
                    StoreError::Conflict | StoreError::Throttled(_) | StoreError::Unavailable(_) => {
                        StatusCode::SERVICE_UNAVAILABLE
                    }
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                })
            }
            Err(_elapsed) => {
                tracing::error!(%conversation_id, ?status, "not stored in time");
                answer(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }
}

fn answer(status: StatusCode) -> Response {
    (status, Json(json!({ "detail": status.canonical_reason() }))).into_response()
}
