//! The failures of a request: no connection, a refusal, a stream that breaks or reports an error.

use http::StatusCode;
use serde_json::Value;

use super::VENDOR;
use crate::{
    Error, egress, error,
    refusal::{self, Explanation, Verdict},
    sse,
};

/// A status other than 2xx: what to do about it, and the error if nothing is done.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) verdict: Verdict,
    pub(super) error: Error,
}

pub(super) fn lost(error: reqwest::Error) -> Error {
    let reason = if error.is_connect() { "no connection" } else { "the connection was lost" };
    Error::broken(VENDOR, reason, error.without_url())
}

pub(super) fn malformed(error: sse::TooLong) -> Error {
    Error::broken(VENDOR, "its stream cannot be read", error)
}

/// Reads a status other than 2xx. `optional` names what the request can do without.
pub(super) async fn refused(response: reqwest::Response, optional: &[&'static str]) -> Refused {
    let (status, headers) = (response.status(), response.headers().clone());
    // The explanation may quote the key.
    let of_key = match status {
        StatusCode::UNAUTHORIZED => Some("it does not accept the key"),
        StatusCode::FORBIDDEN => Some("it accepts the key, but the key may not use this model or server"),
        _ => None,
    };
    if let Some(message) = of_key {
        let error = Error::rejected(VENDOR, status.as_str(), message);
        return Refused { verdict: Verdict::GiveUp, error };
    }
    let explanation = Explanation::read(&egress::error_body(response).await);
    let verdict = refusal::verdict(status, &headers, &explanation, optional);
    let error = error_of(&verdict, status, &explanation, status.as_str());
    Refused { verdict, error }
}

/// The error for an event that reports one; the status had been 200.
pub(super) fn error_in_stream(described: &Value) -> Error {
    let verdict = refusal::stream_verdict(described);
    error_of(&verdict, StatusCode::OK, &Explanation::of(described), "error")
}

fn error_of(verdict: &Verdict, status: StatusCode, explanation: &Explanation, default_code: &str) -> Error {
    let code = explanation.code.as_deref();
    let message = explanation.message.as_deref().unwrap_or("no explanation");
    match verdict {
        Verdict::Retry { after } => {
            let reason = format!("{} ({}): {message}", code.unwrap_or("error"), status.as_u16());
            Error::Unavailable {
                vendor: VENDOR,
                reason: error::shorten(&reason),
                retry_after: *after,
                source: None,
            }
        }
        Verdict::DropParameter(_) | Verdict::FallBack | Verdict::GiveUp => {
            Error::rejected(VENDOR, code.unwrap_or(default_code), message)
        }
    }
}
