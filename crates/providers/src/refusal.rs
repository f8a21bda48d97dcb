//! What a provider's refusal means: try again, try once more without a parameter, let a fallback serve, or give up.
//!
//! Pure: status, headers and body in, a [`Verdict`] out. Vendors explain themselves in different shapes, which
//! [`Explanation`] reads; an adapter chooses the words of its [`Error`](crate::Error). The refusals of a carrier are
//! judged in its own folder: an order must not be repeated, so they mean something else.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::egress;

/// What to do about a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same request may succeed later.
    Retry {
        /// The vendor's `Retry-After`.
        after: Option<Duration>,
    },
    /// The same request may succeed without this parameter, which its sender can do without. No adapter acts on it yet.
    DropParameter(String),
    /// The vendor does not serve the model any more, or not in this language; the catalogue's fallback may. No adapter
    /// acts on it yet.
    FallBack,
    /// No request like this one will succeed: a bad key, no credit, a malformed request.
    GiveUp,
}

/// A vendor's explanation. Any part may be missing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Explanation {
    /// The vendor's code, or its type of error.
    pub(crate) code: Option<String>,
    /// The text for people.
    pub(crate) message: Option<String>,
    /// The parameter that is wrong.
    pub(crate) parameter: Option<String>,
}

/// Codes with which a vendor refuses a parameter that it names.
const PARAMETER_CODES: [&str; 3] = ["unsupported_parameter", "unsupported_value", "unknown_parameter"];

impl Explanation {
    /// Reads the body of an error: `{"error": {"message", "type", "param", "code"}}`, `{"error": "message"}`, or
    /// `{"err_code", "err_msg"}`.
    pub(crate) fn read(body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        match &body["error"] {
            Value::Null => {
                Self { code: text(&body["err_code"]), message: text(&body["err_msg"]), parameter: None }
            }
            error => Self::of(error),
        }
    }

    /// Reads the value of `error`.
    pub(crate) fn of(error: &Value) -> Self {
        Self {
            code: text(&error["code"]).or_else(|| text(&error["type"])),
            // Compatible servers send the message alone.
            message: text(&error["message"]).or_else(|| text(error)),
            parameter: text(&error["param"]),
        }
    }

    /// Deepgram refuses pairs of model and language without a code.
    fn names_a_model(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        let message = self.message.as_deref().unwrap_or_default();
        code == "model_not_found" || message.starts_with("No such model/language")
    }

    fn is_out_of_credit(&self) -> bool {
        self.code.as_deref() == Some("insufficient_quota")
    }
}

/// The verdict on an HTTP response other than 2xx. `optional` names the parameters without which the request still
/// makes sense.
pub(crate) fn verdict(
    status: StatusCode,
    headers: &HeaderMap,
    explanation: &Explanation,
    optional: &[&str],
) -> Verdict {
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Verdict::GiveUp;
    }
    let should_retry = headers.get("x-should-retry").map(|value| value == "true");
    // A used-up quota has the status of an overload (429), but waiting does not refill it.
    if should_retry.unwrap_or_else(|| egress::is_transient(status)) && !explanation.is_out_of_credit() {
        return Verdict::Retry { after: egress::retry_after(headers) };
    }
    let refuses_parameter = explanation.code.as_deref().is_some_and(|code| PARAMETER_CODES.contains(&code));
    match &explanation.parameter {
        Some(parameter) if refuses_parameter && optional.contains(&parameter.as_str()) => {
            Verdict::DropParameter(parameter.clone())
        }
        _ if explanation.names_a_model() => Verdict::FallBack,
        _ => Verdict::GiveUp,
    }
}

/// The verdict on a websocket handshake that was not answered with 101. A server that answers with success or a
/// redirect is misconfigured or starting, so it may accept a later handshake.
pub(crate) fn handshake_verdict(
    status: StatusCode,
    headers: &HeaderMap,
    explanation: &Explanation,
) -> Verdict {
    if status.is_client_error() {
        verdict(status, headers, explanation, &[])
    } else {
        Verdict::Retry { after: egress::retry_after(headers) }
    }
}

/// The verdict on an error event in a stream whose status was 200.
pub(crate) fn stream_verdict(error: &Value) -> Verdict {
    let explanation = Explanation::of(error);
    let is_client_status =
        error["code"].as_u64().is_some_and(|code| (400..500).contains(&code) && code != 429);
    let is_client_code = explanation.code.as_deref().is_some_and(|code| {
        (code.starts_with("invalid_") || code.ends_with("_exceeded")) && code != "rate_limit_exceeded"
    });
    if is_client_status || is_client_code || explanation.is_out_of_credit() {
        Verdict::GiveUp
    } else {
        Verdict::Retry { after: None }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge(status: u16, headers: &[(&'static str, &'static str)], body: &Value) -> Verdict {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let explanation = Explanation::read(body.to_string().as_bytes());
        verdict(StatusCode::from_u16(status).unwrap(), &headers, &explanation, &["reasoning_effort"])
    }

    #[test]
    fn an_overloaded_or_failing_vendor_is_retried() {
        for status in [408, 409, 429, 500, 503] {
            assert_eq!(judge(status, &[], &json!({})), Verdict::Retry { after: None }, "{status}");
        }
        let after = Some(Duration::from_secs(2));
        assert_eq!(judge(429, &[("retry-after", "2")], &json!({})), Verdict::Retry { after });
        assert_eq!(judge(400, &[("x-should-retry", "true")], &json!({})), Verdict::Retry { after: None });
        assert_eq!(judge(500, &[("x-should-retry", "false")], &json!({})), Verdict::GiveUp);
    }

    #[test]
    fn a_bad_key_or_an_empty_account_is_final() {
        for status in [400, 401, 402, 403, 422] {
            assert_eq!(judge(status, &[], &json!({})), Verdict::GiveUp, "{status}");
        }
        assert_eq!(judge(429, &[], &json!({"error": {"type": "insufficient_quota"}})), Verdict::GiveUp);
    }

    #[test]
    fn an_optional_parameter_that_the_error_names_is_dropped() {
        let refused = |parameter| json!({"error": {"code": "unsupported_parameter", "param": parameter}});
        let dropped = Verdict::DropParameter("reasoning_effort".into());
        assert_eq!(judge(400, &[], &refused("reasoning_effort")), dropped);
        assert_eq!(judge(400, &[], &refused("messages")), Verdict::GiveUp);
        let invalid = json!({"error": {"code": "invalid_type", "param": "reasoning_effort"}});
        assert_eq!(judge(400, &[], &invalid), Verdict::GiveUp);
    }

    #[test]
    fn an_unknown_model_falls_back() {
        assert_eq!(judge(404, &[], &json!({"error": {"code": "model_not_found"}})), Verdict::FallBack);
        let pair = json!({"err_code": "Bad Request",
            "err_msg": "No such model/language/tier combination found."});
        assert_eq!(judge(400, &[], &pair), Verdict::FallBack);
    }

    #[test]
    fn a_handshake_that_is_not_upgraded_is_retried_unless_it_is_refused() {
        let judge = |status| handshake_verdict(status, &HeaderMap::new(), &Explanation::default());
        for status in
            [StatusCode::OK, StatusCode::FOUND, StatusCode::BAD_GATEWAY, StatusCode::TOO_MANY_REQUESTS]
        {
            assert_eq!(judge(status), Verdict::Retry { after: None }, "{status}");
        }
        for status in [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::PAYMENT_REQUIRED] {
            assert_eq!(judge(status), Verdict::GiveUp, "{status}");
        }
    }

    #[test]
    fn an_error_event_is_retried_unless_it_blames_the_request() {
        let retry = Verdict::Retry { after: None };
        assert_eq!(stream_verdict(&json!({"type": "server_error"})), retry);
        assert_eq!(stream_verdict(&json!({"code": "rate_limit_exceeded"})), retry);
        assert_eq!(stream_verdict(&json!({"code": 429})), retry);
        assert_eq!(stream_verdict(&json!("overloaded")), retry);
        for error in [
            json!({"code": "context_length_exceeded"}),
            json!({"code": "invalid_prompt"}),
            json!({"code": 400}),
            json!({"type": "insufficient_quota"}),
        ] {
            assert_eq!(stream_verdict(&error), Verdict::GiveUp, "{error}");
        }
    }

    #[test]
    fn every_shape_of_an_explanation_is_read() {
        let read = |body: Value| {
            let Explanation { code, message, .. } = Explanation::read(body.to_string().as_bytes());
            (code.unwrap_or_default(), message.unwrap_or_default())
        };
        let pair = |code: &str, message: &str| (code.to_owned(), message.to_owned());
        assert_eq!(read(json!({"error": {"code": "c", "type": "t", "message": "m"}})), pair("c", "m"));
        assert_eq!(read(json!({"error": {"code": "", "type": "t"}})), pair("t", ""));
        assert_eq!(read(json!({"error": "m"})), pair("", "m"));
        assert_eq!(read(json!({"err_code": "c", "err_msg": "m"})), pair("c", "m"));
        assert_eq!(read(json!([1])), pair("", ""));
        assert_eq!(Explanation::read(b"<html>"), Explanation::default());
    }
}
