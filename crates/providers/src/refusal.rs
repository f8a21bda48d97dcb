//! The meaning of a provider's refusal: try again, try once more without a parameter, let a fallback serve, or give up.
//!
//! Pure: status, headers and body in, a [`Verdict`] out. Vendors explain themselves in different shapes, which
//! [`Explanation`] reads; an adapter chooses the words of its [`Error`](crate::Error). The refusals of a carrier are
//! judged in its own folder: an order must not be repeated, so they mean something else.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::{egress, error::is_code};

/// The reaction to a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same request may succeed later.
    Retry {
        /// The vendor's `Retry-After`.
        after: Option<Duration>,
    },
    /// The same request may succeed without this parameter, which its sender can do without.
    DropParameter(&'static str),
    /// The vendor does not serve the model any more, or not in this language; the catalogue's fallback may.
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

/// Maximum depth of an explanation: `{"message": {"detail": [{"msg"}]}}` is the deepest in use.
const MAX_DEPTH: usize = 4;

impl Explanation {
    /// Reads the body of an error, in the shapes of vendors and of the frameworks that compatible servers are built with:
    /// `{"error": {"message", "type", "param", "code"}}`, `{"error": "message"}`, `{"err_code", "err_msg"}`,
    /// `{"message", "type", "param"}`, `{"detail": "message"}`, and `{"detail": [{"loc", "msg", "type"}]}`.
    pub(crate) fn read(body: &[u8]) -> Self {
        match serde_json::from_slice(body).unwrap_or_default() {
            // A text alone, or a list, is a page of a proxy rather than an explanation.
            body @ Value::Object(_) => Self::of(&body),
            _ => Self::default(),
        }
    }

    /// Reads the value of `error`.
    pub(crate) fn of(error: &Value) -> Self {
        Self::within(error, MAX_DEPTH)
    }

    fn within(error: &Value, depth: usize) -> Self {
        if depth == 0 {
            return Self::default();
        }
        if let Some(first) = error.get(0) {
            return Self::within(first, depth - 1);
        }
        let mut inner = ["error", "detail", "message"].into_iter().map(|member| &error[member]);
        if let Some(inner) = inner.find(|inner| inner.is_object() || inner.is_array()) {
            return Self::within(inner, depth - 1);
        }
        let first = |members: &[&str]| members.iter().find_map(|member| text(&error[member]));
        let place =
            error["loc"].as_array().map(|loc| loc.iter().filter_map(Value::as_str).collect::<Vec<_>>());
        Self {
            code: first(&["code", "err_code", "type", "status"]).filter(|code| is_code(code)),
            // Compatible servers send the message alone.
            message: first(&["message", "msg", "err_msg", "detail", "error"]).or_else(|| text(error)),
            parameter: text(&error["param"]).or_else(|| Some(place?.join("."))),
        }
    }

    /// The first of these parameters that the explanation names: as the parameter that is wrong, or in its text.
    fn names(&self, optional: &[&'static str]) -> Option<&'static str> {
        if let Some(parameter) = &self.parameter {
            let segments: Vec<&str> = parameter.split(['.', '[', ']', '/']).collect();
            return optional.iter().copied().find(|optional| segments.contains(optional));
        }
        let message = self.message.as_deref()?.to_lowercase();
        let is_part = |character: char| character.is_alphanumeric() || character == '_';
        let place = |optional: &str| {
            message.match_indices(optional).map(|(at, _)| at).find(|at| {
                let (before, after) = (&message[..*at], &message[at + optional.len()..]);
                !before.ends_with(is_part) && !after.starts_with(is_part)
            })
        };
        let named = optional.iter().copied().filter_map(|optional| Some((place(optional)?, optional)));
        named.min().map(|(_, optional)| optional)
    }

    /// Some vendors refuse pairs of model and language without a code.
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
    optional: &[&'static str],
) -> Verdict {
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Verdict::GiveUp;
    }
    let should_retry = headers.get("x-should-retry").map(|value| value == "true");
    // A used-up quota has the status of an overload (429), but waiting does not refill it.
    if should_retry.unwrap_or_else(|| egress::is_transient(status)) && !explanation.is_out_of_credit() {
        return Verdict::Retry { after: egress::retry_after(headers) };
    }
    let may_drop = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY)
        // It counts the tokens of all messages, and mentions the limit on the response.
        && explanation.code.as_deref() != Some("context_length_exceeded");
    match explanation.names(optional).filter(|_| may_drop) {
        Some(parameter) => Verdict::DropParameter(parameter),
        None if explanation.names_a_model() => Verdict::FallBack,
        None => Verdict::GiveUp,
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
        let dropped = Verdict::DropParameter("reasoning_effort");
        for code in ["unsupported_parameter", "unsupported_value", "invalid_type"] {
            let refused = |parameter| json!({"error": {"code": code, "param": parameter}});
            assert_eq!(judge(400, &[], &refused("reasoning_effort")), dropped);
            assert_eq!(judge(400, &[], &refused("messages")), Verdict::GiveUp);
        }
        let nested = json!({"error": {"param": "reasoning_effort.level", "message": "no"}});
        assert_eq!(judge(400, &[], &nested), dropped);
        let fastapi = json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "reasoning_effort"],
            "msg": "Extra inputs are not permitted"}]});
        assert_eq!(judge(422, &[], &fastapi), dropped);
        assert_eq!(judge(422, &[], &json!({"object": "error", "message": fastapi})), dropped);
        let text = json!({"object": "error", "message": "Unknown field `reasoning_effort`.", "code": 400});
        assert_eq!(judge(400, &[], &text), dropped);
        assert_eq!(judge(500, &[("x-should-retry", "false")], &text), Verdict::GiveUp);
        let longer = json!({"error": {"message": "my_reasoning_efforts is wrong"}});
        assert_eq!(judge(400, &[], &longer), Verdict::GiveUp);
        let full = json!({"error": {"code": "context_length_exceeded", "message": "less reasoning_effort"}});
        assert_eq!(judge(400, &[], &full), Verdict::GiveUp);
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
    fn a_sentence_or_a_number_is_no_code() {
        let code = |text: &str| Explanation::of(&json!({ "code": text, "type": "t", "message": "m" })).code;
        for vendors in ["invalid_api_key", "NET-0001", "RESOURCE_EXHAUSTED", "1011"] {
            assert_eq!(code(vendors).as_deref(), Some(vendors));
        }
        for no_code in ["cannot answer: my card is lost", "+14155550100", "4155550100", "é", &"x".repeat(49)]
        {
            assert_eq!(code(no_code), None, "{no_code}");
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
        assert_eq!(read(json!({"detail": "m"})), pair("", "m"));
        assert_eq!(
            read(json!({"detail": [{"loc": ["body", "x"], "msg": "m", "type": "t"}]})),
            pair("t", "m")
        );
        assert_eq!(
            read(json!({"object": "error", "message": "m", "type": "t", "code": 400})),
            pair("t", "m")
        );
        assert_eq!(read(json!({"message": {"detail": [{"msg": "m"}]}})), pair("", "m"));
        assert_eq!(read(json!({"error": null, "message": "m"})), pair("", "m"));
        assert_eq!(read(json!([1])), pair("", ""));
        assert_eq!(Explanation::read(b"<html>"), Explanation::default());
    }
}
