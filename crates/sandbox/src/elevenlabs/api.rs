//! The state that all routes share, and errors in the vendor's form.

use std::sync::Arc;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    faults::{Admission, Endpoint, Keys},
    ids,
    speech::Speech,
};

/// Requests that an account's plan allows at the same time ("Scale"). A websocket counts while it generates.
const MAX_CONCURRENT: usize = 30;

/// The state of the server.
pub(super) struct Server {
    pub(super) speech: Speech,
    pub(super) keys: Arc<Keys<Value>>,
    pub(super) concurrency: Arc<Semaphore>,
    /// Cancelled when the server stops, because upgraded sockets outlive their request.
    pub(super) stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Server {
    pub(super) fn new(speech: Speech, keys: Arc<Keys<Value>>, stop: CancellationToken) -> Self {
        let concurrency = Arc::new(Semaphore::new(MAX_CONCURRENT));
        Self { speech, keys, concurrency, _stop_on_drop: stop.clone().drop_guard(), stop }
    }

    /// Decides about a synthesis with this key: how it is disrupted, or why it is refused.
    pub(super) fn admit(&self, key: &str) -> Result<Option<crate::faults::Disruption>, Refusal> {
        match self.keys.admit(key, Some(Endpoint::Speak)) {
            Admission::Served(treatment) => Ok(treatment.disruption),
            Admission::Unknown => Err(Refusal::key()),
            Admission::Refused => Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "service_unavailable",
                "The service is temporarily unavailable.",
            )),
            Admission::RateLimited => Err(Refusal::concurrency()),
        }
    }

    /// Whether the server knows the key.
    pub(super) fn knows(&self, key: &str) -> bool {
        !matches!(self.keys.admit(key, None), Admission::Unknown)
    }
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    parameter: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), parameter: None }
    }

    pub(super) fn parameter(name: &str, message: impl Into<String>) -> Self {
        let refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_parameters", message);
        Self { parameter: Some(name.to_owned()), ..refusal }
    }

    /// A message of a websocket that is not as it should be.
    pub(super) fn message(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_message", message)
    }

    pub(super) fn key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", "Invalid API key")
    }

    pub(super) fn voice_not_found(voice: &str) -> Self {
        let message = format!("A voice with the voice_id {voice} was not found.");
        Self::new(StatusCode::NOT_FOUND, "voice_not_found", message)
    }

    pub(super) fn model_not_found(model: &str) -> Self {
        let message = format!("A model with the model_id {model} does not exist here.");
        Self::new(StatusCode::BAD_REQUEST, "model_not_found", message)
    }

    pub(super) fn unsupported_language(model: &str, language: &str) -> Self {
        let message = format!("Model {model} does not support the language_code {language}.");
        Self::new(StatusCode::BAD_REQUEST, "unsupported_language", message)
    }

    pub(super) fn concurrency() -> Self {
        let message = format!("Too many concurrent requests: your plan has {MAX_CONCURRENT}.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_concurrent_requests", message)
    }

    /// The message of a websocket that is closed with 1008 afterwards.
    pub(super) fn event(&self) -> Value {
        json!({ "message": self.message, "error": self.code, "code": 1008 })
    }

    /// The response to a request.
    pub(super) fn response(self) -> Response {
        let mut detail = json!({
            "type": match self.status {
                StatusCode::UNAUTHORIZED => "authentication_error",
                StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
                StatusCode::NOT_FOUND => "not_found",
                status if status.is_server_error() => "internal_error",
                _ => "validation_error",
            },
            "code": self.code,
            "status": self.code,
            "message": self.message,
            "request_id": ids::uuid(),
        });
        if let Some(parameter) = self.parameter {
            detail["param"] = parameter.into();
        }
        (self.status, Json(json!({ "detail": detail }))).into_response()
    }
}
