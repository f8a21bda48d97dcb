//! Error answers of the REST API: the one place that decides what a refusal means.
//!
//! A request either may be repeated ([`Error`]) or is an order, for which it matters whether it was taken
//! ([`OrderError`]).

use http::StatusCode;
use reqwest::Response;
use serde::Deserialize;

use crate::{Error, carrier::calls::OrderError, egress, error::shorten};

pub(super) const PROVIDER: &str = "twilio";

/// "Not found": an id that never was, or a resource purged long ago.
pub(super) const NOT_FOUND: u32 = 20404;

/// "Call is not in-progress": there is nothing left to change.
pub(super) const NOT_IN_PROGRESS: u32 = 21220;

/// "Authenticate": the account's credentials are not accepted.
const UNAUTHORIZED: &str = "20003";

/// Whether the carrier does not accept the account's credentials.
pub(super) fn is_unauthorized(error: &Error) -> bool {
    matches!(error, Error::Rejected { code, .. } if code == UNAUTHORIZED || code == "401")
}

/// The answer was lost, or the request was never sent.
pub(super) fn lost(error: reqwest::Error) -> Error {
    let reason = if error.is_connect() { "no connection" } else { "the answer was lost" };
    Error::broken(PROVIDER, reason, error.without_url())
}

/// An answer that is no success, with the carrier's code.
pub(super) async fn refusal(response: Response) -> (Error, u32) {
    let status = response.status();
    let retry_after = egress::retry_after(response.headers());
    let Explanation { code, message } = explanation(response).await;
    let error = if egress::is_transient(status) {
        Error::Unavailable {
            vendor: PROVIDER,
            reason: format!("{} ({code})", status.as_u16()),
            retry_after,
            source: None,
        }
    } else {
        Error::rejected(PROVIDER, code, &message)
    };
    (error, code)
}

/// An order to which no answer came. A request that was not sent was certainly not taken.
pub(super) fn lost_order(error: reqwest::Error) -> OrderError {
    let never_sent = error.is_connect();
    let error = lost(error);
    if never_sent { OrderError::NotNow(error) } else { OrderError::Uncertain(error) }
}

/// An order whose answer is no success.
pub(super) async fn refused_order(response: Response) -> OrderError {
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS => OrderError::NotNow(refusal(response).await.0),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            OrderError::Unauthorized(refusal(response).await.0)
        }
        status if status.is_client_error() => {
            let Explanation { code, message } = explanation(response).await;
            OrderError::Refused { code, message }
        }
        // A redirect or a failure on the carrier's side: the order may have been executed nevertheless.
        _ => OrderError::Uncertain(refusal(response).await.0),
    }
}

/// A success that does not name what was ordered.
pub(super) fn unnamed_order(reason: &str) -> OrderError {
    OrderError::Uncertain(Error::unavailable(PROVIDER, reason))
}

/// `{"code", "message", "more_info", "status"}`.
#[derive(Deserialize)]
struct Explanation {
    code: u32,
    message: String,
}

/// The carrier's explanation. Its texts quote numbers, which must not reach a log, so digits are masked.
async fn explanation(response: Response) -> Explanation {
    let status = response.status();
    let body = egress::error_body(response).await;
    let found = serde_json::from_slice(&body).unwrap_or_else(|_| match status {
        StatusCode::NOT_FOUND => Explanation { code: NOT_FOUND, message: "not found".to_owned() },
        _ => Explanation { code: u32::from(status.as_u16()), message: "no explanation".to_owned() },
    });
    let masked: String = found.message.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
    Explanation { code: found.code, message: shorten(&masked) }
}
