use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::TOKEN;

/// The sample event of a `create_phone_call` request.
const CREATE: &str = include_str!("../../../../../events/http_create_phone_call.json");

/// An event of the gateway: the sample, changed.
#[derive(Clone)]
pub(crate) struct Event(Value);

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Event {
    /// One of the files in `events/`.
    pub(crate) fn sample(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap())
    }

    /// A request without a body. The path may have a query.
    pub(crate) fn of(method: &str, path: &str) -> Self {
        let Self(mut event) = Self::sample(CREATE);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        event["rawPath"] = json!(path);
        event["rawQueryString"] = json!(query);
        event["requestContext"]["http"]["method"] = json!(method);
        event["requestContext"]["http"]["path"] = json!(path);
        event["headers"] = json!({ "authorization": format!("Bearer {TOKEN}"), "host": "api.example.com" });
        event.as_object_mut().unwrap().remove("body");
        Self(event)
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::of("GET", path)
    }

    /// The sample with another body, as text, and without its idempotency key.
    pub(crate) fn create(body: &str) -> Self {
        Self::sample(CREATE).with_text(body).without("idempotency-key")
    }

    /// The same with a body of bytes, as base64.
    pub(crate) fn create_from_bytes(body: &[u8]) -> Self {
        let Self(mut event) = Self::create(&BASE64_STANDARD.encode(body));
        event["isBase64Encoded"] = json!(true);
        Self(event)
    }

    /// The same request with a body.
    pub(crate) fn with_body(self, body: &Value) -> Self {
        self.with("content-type", "application/json").with_text(&body.to_string())
    }

    /// The same request with any text as its body.
    pub(crate) fn with_text(mut self, body: &str) -> Self {
        self.0["body"] = json!(body);
        self
    }

    pub(crate) fn with(mut self, header: &str, value: &str) -> Self {
        self.0["headers"][header] = json!(value);
        self
    }

    pub(crate) fn without(mut self, header: &str) -> Self {
        self.0["headers"].as_object_mut().unwrap().remove(header);
        self
    }

    pub(crate) fn by_token(self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }
}
