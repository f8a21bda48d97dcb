//! The id of a request: it is in the answer (`x-request-id`) and in every line of the log.

use std::panic::AssertUnwindSafe;

use axum::{
    extract::{Request, State},
    http::{Extensions, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use lambda_http::request::RequestContext;
use switchboard_runtime::spans;
use tracing::Instrument;

use crate::{Api, errors::ApiError};

const HEADER: &str = "x-request-id";

/// Runs the request in its span. A panic becomes a 500, and ends this request only.
pub(crate) async fn identify(State(api): State<Api>, request: Request, next: Next) -> Response {
    let id = gateway_id(request.extensions()).unwrap_or_else(|| format!("{:032x}", (api.random)()));
    let span = spans::request(&id);
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let answer =
        async { answer.await.unwrap_or_else(|_| ApiError::Internal("panicked".into()).into_response()) };
    let mut response = answer.instrument(span).await;
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(HEADER, id);
    }
    response
}

/// The id that the gateway gave the request: the gateway's own log has it too.
fn gateway_id(extensions: &Extensions) -> Option<String> {
    match extensions.get()? {
        RequestContext::ApiGatewayV2(context) => context.request_id.clone(),
        _ => None,
    }
}
