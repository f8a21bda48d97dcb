//! The state that all routes share, request ids, and errors in Deepgram's form.

use axum::{
    Json,
    http::{HeaderValue, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::speech::Speech;

/// The state of the server.
pub(super) struct Server {
    pub(super) speech: Speech,
    /// Cancelled when the server stops, because upgraded sockets outlive their request.
    pub(super) stop: CancellationToken,
    pub(super) _stop_on_drop: DropGuard,
}

/// The id of a request, in every response and message about it.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

/// A refused request: Deepgram's error body and its `dg-error` header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// A query parameter that is missing or not valid.
    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_QUERY_PARAMETER", message)
    }

    pub(super) fn with(self, id: &RequestId) -> Response {
        let body = json!({ "err_code": self.code, "err_msg": self.message, "request_id": id.0 });
        let mut response = (self.status, Json(body)).into_response();
        if let Ok(value) = HeaderValue::from_str(&self.message) {
            response.headers_mut().insert("dg-error", value);
        }
        response
    }
}

/// The last value of a parameter. The query is a list of pairs, because some parameters are repeated.
pub(super) fn parameter<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::parameter;

    #[test]
    fn the_last_value_of_a_repeated_parameter_counts() {
        let query =
            [("model", "a"), ("keyterm", "x"), ("model", "b")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(parameter(&query, "model"), Some("b"));
        assert_eq!(parameter(&query, "encoding"), None);
    }
}
