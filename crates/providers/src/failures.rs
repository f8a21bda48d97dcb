//! The failures of a request to a language model: no connection, a refusal, a stream that breaks or reports an error.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::{
    Error, error,
    refusal::{self, Explanation, Verdict},
    sse,
};

/// A status other than 2xx: what to do about it, and the error if nothing is done.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) verdict: Verdict,
    pub(crate) error: Error,
}

pub(crate) fn lost(vendor: &'static str, error: reqwest::Error) -> Error {
    let reason = if error.is_connect() { "no connection" } else { "the connection was lost" };
    Error::broken(vendor, reason, error.without_url())
}

pub(crate) fn malformed(vendor: &'static str, error: sse::TooLong) -> Error {
    Error::broken(vendor, "its stream cannot be read", error)
}

/// More than one response may hold.
pub(crate) fn too_long(vendor: &'static str, message: &str) -> Error {
    Error::rejected(vendor, "answer_too_long", message)
}

/// The vendor's filter left nothing of the response.
pub(crate) fn filtered(vendor: &'static str) -> Error {
    Error::rejected(vendor, "content_filter", "its filter blocked the response")
}

/// Judges a status other than 2xx. `optional` names what the request can do without.
pub(crate) fn refused(
    vendor: &'static str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    optional: &[&'static str],
) -> Refused {
    if let Some(refused) = refused_key(vendor, status) {
        return refused;
    }
    let explanation = Explanation::read(body);
    let verdict = refusal::verdict(status, headers, &explanation, optional);
    let error = error_of(vendor, &verdict, status, &explanation, status.as_str());
    Refused { verdict, error }
}

/// A status that blames the key. The explanation may quote the key, so it is not read.
pub(crate) fn refused_key(vendor: &'static str, status: StatusCode) -> Option<Refused> {
    let message = match status {
        StatusCode::UNAUTHORIZED => "it does not accept the key",
        StatusCode::FORBIDDEN => "it accepts the key, but the key may not use this model or server",
        _ => return None,
    };
    let error = Error::rejected(vendor, status.as_str(), message);
    Some(Refused { verdict: Verdict::GiveUp, error })
}

/// The error for an event that reports one; the status had been 200.
pub(crate) fn error_in_stream(vendor: &'static str, described: &Value) -> Error {
    let verdict = refusal::stream_verdict(described);
    error_of(vendor, &verdict, StatusCode::OK, &Explanation::of(described), "error")
}

/// The error of a verdict, in the vendor's words.
pub(crate) fn error_of(
    vendor: &'static str,
    verdict: &Verdict,
    status: StatusCode,
    explanation: &Explanation,
    default_code: &str,
) -> Error {
    let code = explanation.code.as_deref();
    let message = explanation.message.as_deref().unwrap_or("no explanation");
    match verdict {
        Verdict::Retry { after } => {
            let reason = format!("{} ({}): {message}", code.unwrap_or("error"), status.as_u16());
            Error::Unavailable { vendor, reason: error::shorten(&reason), retry_after: *after, source: None }
        }
        Verdict::DropParameter(_) | Verdict::FallBack | Verdict::GiveUp => {
            Error::rejected(vendor, code.unwrap_or(default_code), message)
        }
    }
}
