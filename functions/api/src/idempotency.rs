//! Requests that may be sent twice: `Idempotency-Key`.
//!
//! A route that makes something and says so ([`Route::creates`](crate::Route::creates)) passes [`keep`], which
//! runs the handler for the first request with a key only. What is answered then:
//!
//! - success is stored, and answered again, byte by byte;
//! - a request that was refused (4xx) has made nothing, and its key is free again, also for another body;
//! - what failed (5xx) may have made something: the next request runs again, with the same [`Fresh`] id,
//!   and so does one that comes after the first one's death.
//!
//! "The same body" means the same bytes.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use switchboard_aws::table::Claimed;
use switchboard_contract::validation::{FieldError, Step};
use switchboard_model::{
    accounts::sha256_hex,
    idempotency::{Answer, Claim, Key},
    ids::{AccountId, RequestId},
};
use switchboard_runtime as system;
use tokio::time::sleep;

use crate::{Api, MAX_BODY_BYTES, errors::ApiError, extract::Caller};

const HEADER: &str = "idempotency-key";

/// The waits of a request whose first one still runs, between its looks; after the last it is told to come
/// again. A create takes some 50 ms.
const WAITS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// The id of what a request makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fresh {
    /// What is made takes its id from it.
    pub(crate) id: RequestId,
    /// Whether it was perhaps made already, by an earlier request with the same key.
    pub(crate) again: bool,
}

impl FromRequestParts<Api> for Fresh {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let claimed = parts.extensions.get::<Self>().copied();
        Ok(claimed.unwrap_or_else(|| Self { id: RequestId::new((api.now)(), (api.random)()), again: false }))
    }
}

/// Lets the first request with a key through, and answers the others.
pub(crate) async fn keep(State(api): State<Api>, request: Request, next: Next) -> Response {
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
    let (claim, again) = match api.claim(account, &key, &body).await? {
        Claimed::New(claim) => (claim, false),
        Claimed::Again(claim) => (claim, true),
        Claimed::Running => return Err(ApiError::StillRunning),
        Claimed::OtherBody => {
            return Err(ApiError::Conflict("This Idempotency-Key was used with another body"));
        }
        Claimed::Answered(answer) => return Ok(stored(answer)),
    };
    parts.extensions.insert(Fresh { id: claim.request, again });
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
    let loc = ["header", "Idempotency-Key"].map(|step| Step::Field(step.into())).into();
    let msg = "Should be 1 to 255 visible ASCII characters".into();
    Err(ApiError::Invalid(vec![FieldError { loc, msg, kind: "value_error" }]))
}

fn stored(Answer { status, body }: Answer) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

impl Api {
    /// Claims a key, and waits a little for a request that runs with it.
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

    /// Stores what came of a claim. The client has its answer in any case: a claim of which nothing is
    /// heard runs out, and then the next request finds what this one made.
    async fn settle(&self, account: AccountId, key: &str, claim: &Claim, status: StatusCode, body: &Bytes) {
        let settled = if status.is_success() {
            let body = String::from_utf8_lossy(body).into_owned();
            self.table.answer_claim(account, key, claim, Answer { status: status.as_u16(), body }).await
        } else if status.is_client_error() {
            self.table.forget_claim(account, key, claim).await
        } else {
            self.table.abandon_claim(account, key, claim, (self.now)()).await
        };
        if let Err(error) = settled {
            tracing::warn!(%account, %error, "what came of an idempotency key was not stored");
        }
    }
}
