//! `Idempotency-Key`: a repeated request creates nothing more.
//!
//! Routes that create an item ([`Route::creates`](crate::Route::creates)) run inside [`enforce`], which runs the handler
//! for the first request with a key only. Afterwards:
//!
//! - a successful answer is stored, and every repeated request gets the same bytes;
//! - a rejected request (4xx) created nothing, and its key is free again, also for another body;
//! - a failed request (5xx) may have created the item: the next request runs again with the same [`NewItem`] id, as does
//!   one that arrives after the first one died.
//!
//! Two bodies are the same if their bytes are the same.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use switchboard_aws::table::Claimed;
use switchboard_contract::validation::FieldError;
use switchboard_model::{
    accounts::sha256_hex,
    idempotency::{Answer, Claim, Key},
    ids::{AccountId, ConversationId, RequestId},
};
use switchboard_runtime as system;
use tokio::time::sleep;

use crate::{Api, MAX_BODY_BYTES, errors::ApiError, extract::Caller};

const HEADER: &str = "idempotency-key";

/// The waits between checks of a request whose first one is still running; after the last check the answer is a 409. A
/// create takes about 50 ms.
const WAITS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// The identity of the item that a request creates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewItem {
    /// The id of the item derives from it.
    pub(crate) id: RequestId,
    /// Whether an earlier request with the same key may have created the item.
    pub(crate) may_exist: bool,
}

impl FromRequestParts<Api> for NewItem {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let claimed = parts.extensions.get::<Self>().copied();
        Ok(claimed
            .unwrap_or_else(|| Self { id: RequestId::new((api.now)(), (api.random)()), may_exist: false }))
    }
}

/// Runs the first request with a key, and answers the others.
pub(crate) async fn enforce(State(api): State<Api>, request: Request, next: Next) -> Response {
    answer(&api, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(api: &Api, request: Request, next: Next) -> Result<Response, ApiError> {
    if !request.headers().contains_key(HEADER) {
        return Ok(next.run(request).await);
    }
    let (mut parts, body) = request.into_parts();
    let Caller(account) = Caller::from_request_parts(&mut parts, api).await?;
    let key = key(&parts.headers)?.sha256(parts.uri.path());
    let body = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| ApiError::TooLarge)?;
    let (claim, may_exist) = match api.claim(account, &key, &body).await? {
        Claimed::New(claim) => (claim, false),
        Claimed::Again(claim) => (claim, true),
        Claimed::Running => return Err(ApiError::StillRunning),
        Claimed::OtherBody => {
            return Err(ApiError::Conflict("This Idempotency-Key was used with another body"));
        }
        Claimed::Answered(answer) => return Ok(stored_answer(answer)),
    };
    parts.extensions.insert(NewItem { id: claim.request, may_exist });
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(|error| ApiError::Internal(error.into()))?;
    api.settle(account, &key, &claim, parts.status, &body).await;
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn key(headers: &HeaderMap) -> Result<Key, ApiError> {
    let mut values = headers.get_all(HEADER).iter();
    let key = values.next().and_then(|value| Key::parse(value.as_bytes()));
    if let (Some(key), None) = (key, values.next()) {
        return Ok(key);
    }
    let msg = "Should be 1 to 255 visible ASCII characters";
    Err(ApiError::Invalid(vec![FieldError::at("header", "Idempotency-Key", "value_error", msg)]))
}

fn stored_answer(Answer { status, body }: Answer) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

impl Api {
    /// Claims a key, and waits for a short time while another request with it is running.
    async fn claim(&self, account: AccountId, key: &str, body: &Bytes) -> Result<Claimed, ApiError> {
        let body_sha256 = sha256_hex(body);
        let mut waits = WAITS.into_iter();
        loop {
            let now = (self.now)();
            let request = RequestId::new(now, (self.random)());
            let claim = Claim::new(request, body_sha256.clone(), system::random_hex::<16>(), now);
            let claimed = self.table.claim(account, key, claim, now).await?;
            match (claimed, waits.next()) {
                (Claimed::Running, Some(wait)) => sleep(wait).await,
                (claimed, _) => return Ok(claimed),
            }
        }
    }

    /// Stores the result of a claim. If that fails, the client has its answer all the same: the claim expires, and the next
    /// request then finds the item that this one created.
    async fn settle(&self, account: AccountId, key: &str, claim: &Claim, status: StatusCode, body: &Bytes) {
        let settled = if status.is_success() {
            let body = String::from_utf8_lossy(body).into_owned();
            let created = conversation_of(&body);
            let answer = Answer { status: status.as_u16(), body };
            self.table.answer_claim(account, key, claim, answer, created).await
        } else if status.is_client_error() {
            self.table.forget_claim(account, key, claim).await
        } else {
            self.table.abandon_claim(account, key, claim, (self.now)()).await
        };
        if let Err(error) = settled {
            tracing::warn!(%error, "idempotency result not stored");
        }
    }
}

/// The conversation that a request created, by its response; none for other resources.
fn conversation_of(body: &str) -> Option<ConversationId> {
    serde_json::from_str::<serde_json::Value>(body).ok()?["id"].as_str()?.parse().ok()
}
