//! The refusals of the real API, in Google's form of an error.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

/// A refused request.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// Google's name of the status.
    code: &'static str,
    pub(super) message: String,
    details: Vec<Value>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: vec![] }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", message)
    }

    /// A member that the API does not know, at a place.
    pub(super) fn unknown_name(name: &str, place: &str) -> Self {
        let at = if place.is_empty() { String::new() } else { format!(" at '{place}'") };
        let message =
            format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field.");
        let violation = json!({ "field": place, "description": message });
        let bad_request = "type.googleapis.com/google.rpc.BadRequest";
        let details = vec![json!({ "@type": bad_request, "fieldViolations": [violation] })];
        Self { details, ..Self::invalid(message) }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    pub(super) fn wrong_key() -> Self {
        let info = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
            "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"},
        });
        Self { details: vec![info], ..Self::invalid("API key not valid. Please pass a valid API key.") }
    }

    pub(super) fn missing_key() -> Self {
        let message = "Method doesn't allow unregistered callers (callers without established identity). \
                       Please use API Key or other form of API consumer identity to call this API.";
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message)
    }

    pub(super) fn overloaded() -> Self {
        let message = "The model is overloaded. Please try again later.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
    }

    pub(super) fn rate_limited() -> Self {
        let quota = json!({
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}],
        });
        let retry = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"});
        let message = "You exceeded your current quota. Please retry in 1s.";
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", message);
        Self { details: vec![quota, retry], ..refusal }
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, code, message, details } = self;
        let mut error = json!({ "code": status.as_u16(), "message": message, "status": code });
        if !details.is_empty() {
            error["details"] = Value::Array(details);
        }
        (status, Json(json!({ "error": error }))).into_response()
    }
}

/// Refuses members that are not known at this place.
pub(super) fn known(object: &Map<String, Value>, members: &[&str], place: &str) -> Result<(), Refusal> {
    let unknown = object.keys().find(|name| !members.contains(&name.as_str()));
    unknown.map_or(Ok(()), |name| Err(Refusal::unknown_name(name, place)))
}
