//! What a request can fail with: no connection, a refusal, a stream that breaks or reports an error.

use http::StatusCode;
use serde_json::Value;

use super::VENDOR;
use crate::{
    Error, egress, error,
    refusal::{self, Explanation, Verdict},
    sse,
};

/// Parameters of a request that a response does not depend on.
const OPTIONAL_PARAMETERS: [&str; 3] = ["reasoning_effort", "stream_options", "temperature"];

pub(super) fn lost(error: reqwest::Error) -> Error {
    let reason = if error.is_connect() { "no connection" } else { "the connection was lost" };
    Error::broken(VENDOR, reason, error.without_url())
}

pub(super) fn malformed(error: sse::TooLong) -> Error {
    Error::broken(VENDOR, "its stream cannot be read", error)
}

/// The error for a status other than 2xx.
pub(super) async fn refused(response: reqwest::Response) -> Error {
    let (status, headers) = (response.status(), response.headers().clone());
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        // The explanation may quote the key.
        return Error::rejected(VENDOR, status.as_str(), "it does not accept the key");
    }
    let explanation = Explanation::read(&egress::error_body(response).await);
    let verdict = refusal::verdict(status, &headers, &explanation, &OPTIONAL_PARAMETERS);
    error_of(verdict, status, &explanation, status.as_str())
}

/// The error for an event that reports one; the status had been 200.
pub(super) fn error_in_stream(described: &Value) -> Error {
    let verdict = refusal::stream_verdict(described);
    error_of(verdict, StatusCode::OK, &Explanation::of(described), "error")
}

#[expect(clippy::needless_pass_by_value, reason = "a verdict is used up by the error it becomes")]
fn error_of(verdict: Verdict, status: StatusCode, explanation: &Explanation, default_code: &str) -> Error {
    let code = explanation.code.as_deref();
    let message = explanation.message.as_deref().unwrap_or("no explanation");
    match verdict {
        Verdict::Retry { after } => {
            let reason = format!("{} ({}): {message}", code.unwrap_or("error"), status.as_u16());
            Error::Unavailable {
                vendor: VENDOR,
                reason: error::shorten(&reason),
                retry_after: after,
                source: None,
            }
        }
        Verdict::DropParameter(_) | Verdict::FallBack | Verdict::GiveUp => {
            Error::rejected(VENDOR, code.unwrap_or(default_code), message)
        }
    }
}
