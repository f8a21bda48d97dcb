//! The REST API under `/2010-04-01/Accounts/{AccountSid}/`: its routes and its authentication.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{account::Account, api::Refusal, calls_api, carrier::Carrier, numbers_api};
use crate::ids;

/// The routes behind authentication.
pub(super) fn router(carrier: Arc<Carrier>) -> Router<Arc<Carrier>> {
    let account = "/2010-04-01/Accounts/{account}";
    Router::new()
        .route(&format!("{account}/Calls.json"), get(calls_api::list).post(calls_api::create))
        // A route can match only whole segments, so the last one is the sid with `.json`.
        .route(&format!("{account}/Calls/{{call}}"), get(calls_api::fetch).post(calls_api::update))
        .route(
            &format!("{account}/AvailablePhoneNumbers/{{country}}/Local.json"),
            get(numbers_api::available),
        )
        .route(&format!("{account}/IncomingPhoneNumbers.json"), get(numbers_api::list).post(numbers_api::buy))
        .route(
            &format!("{account}/IncomingPhoneNumbers/{{number}}"),
            get(numbers_api::fetch).post(numbers_api::update).delete(numbers_api::release),
        )
        .fallback(|request: Request| async move { Refusal::not_found(request.uri().path()) })
        .layer(middleware::from_fn_with_state(carrier, authenticate))
}

/// Checks the account and its auth token, and gives the response an id.
async fn authenticate(State(carrier): State<Arc<Carrier>>, mut request: Request, next: Next) -> Response {
    let mut response = if let Some(account) = authorized(&carrier, request.headers()) {
        let path = request.uri().path();
        let own =
            path.strip_prefix("/2010-04-01/Accounts/").and_then(|rest| rest.strip_prefix(&*account.sid));
        if own.is_some_and(|rest| rest.starts_with('/')) {
            request.extensions_mut().insert(account);
            next.run(request).await
        } else {
            Refusal::not_found(path).into_response()
        }
    } else {
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, 20003, "Authenticate");
        let mut response = refusal.into_response();
        response
            .headers_mut()
            .insert("WWW-Authenticate", HeaderValue::from_static("Basic realm=\"Twilio API\""));
        response
    };
    let id = HeaderValue::try_from(ids::sid("RQ")).expect("a sid is made of letters and digits");
    response.headers_mut().insert("Twilio-Request-Id", id);
    response
}

/// The account whose credentials a request has.
fn authorized(carrier: &Carrier, headers: &HeaderMap) -> Option<Arc<Account>> {
    let given = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let expected =
        |account: &Account| BASE64_STANDARD.encode(format!("{}:{}", account.sid, account.auth_token));
    carrier.accounts.iter().find(|account| expected(account) == given).cloned()
}
