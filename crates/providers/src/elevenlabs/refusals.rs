//! Reads the vendor's refusals, and decides on a remedy. Pure.
//!
//! They come as the response to the handshake, as a message before the socket is closed, or as the reason of the close
//! frame. The codes are those of its reference (`code`), of older responses (`status`) and of its websocket (`error`).

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio_tungstenite::tungstenite::{self, protocol::CloseFrame};

use super::VENDOR;
use crate::{
    Error,
    refusal::{self, Explanation, Verdict},
};

/// The parameters without which a session still makes sense.
pub(super) const OPTIONAL: &[&str] = &[
    "language_code",
    "apply_text_normalization",
    "auto_mode",
    "sync_alignment",
    "inactivity_timeout",
    "use_speaker_boost",
];

/// A connection or a clause that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) remedy: Remedy,
}

/// The remedy that may help against a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The vendor is busy, or all requests of the plan are in use: the same after a wait, at least this long.
    Wait(Duration),
    /// Another connection, at once.
    Reconnect,
    /// A connection without this parameter.
    Without(&'static str),
    /// Nothing that this session could do.
    None,
}

/// Requests of one account at the same time: the others end soon.
const CONCURRENCY_WAIT: Duration = Duration::from_millis(100);
const BUSY_WAIT: Duration = Duration::from_millis(500);

/// The meaning of a code, if it is known.
fn of_code(code: &str) -> Option<(Verdict, Remedy)> {
    let retry = |remedy| Some((Verdict::Retry { after: None }, remedy));
    match code {
        "too_many_concurrent_requests" | "concurrent_limit_exceeded" => retry(Remedy::Wait(CONCURRENCY_WAIT)),
        "system_busy" | "rate_limit_exceeded" | "service_unavailable" | "internal_server_error" => {
            retry(Remedy::Wait(BUSY_WAIT))
        }
        // Five contexts per connection; or no message for too long.
        "max_active_conversations" | "input_timeout_exceeded" => retry(Remedy::Reconnect),
        "unsupported_language" | "language_not_supported" => {
            Some((Verdict::DropParameter("language_code"), Remedy::Without("language_code")))
        }
        // Retired voices and models; a voice of the library that the plan does not include.
        "voice_not_found"
        | "voice_does_not_exist"
        | "model_not_found"
        | "unsupported_model"
        | "model_deprecated"
        | "voice_not_fine_tuned"
        | "paid_plan_required" => Some((Verdict::FallBack, Remedy::None)),
        "invalid_api_key"
        | "missing_api_key"
        | "missing_permissions"
        | "needs_authorization"
        | "quota_exceeded"
        | "insufficient_credits"
        | "detected_unusual_activity"
        | "max_character_limit_exceeded"
        | "text_too_long" => Some((Verdict::GiveUp, Remedy::None)),
        _ => None,
    }
}

/// A handshake that failed.
pub(super) fn of_handshake(error: tungstenite::Error) -> Failure {
    let tungstenite::Error::Http(response) = &error else {
        return Failure { error: Error::broken(VENDOR, "no connection", error), remedy: Remedy::Reconnect };
    };
    let explanation = Explanation::read(response.body().as_deref().unwrap_or_default());
    let known = explanation.code.as_deref().and_then(of_code);
    let (status, headers) = (response.status(), response.headers());
    let verdict = match &known {
        Some((verdict, _)) => *verdict,
        None => handshake_verdict(status, headers, &explanation),
    };
    let wait = match (&known, &verdict) {
        (Some((_, Remedy::Wait(wait))), _) => Some(*wait),
        (None, Verdict::Retry { .. }) if status == StatusCode::TOO_MANY_REQUESTS => Some(BUSY_WAIT),
        _ => None,
    };
    failed(verdict, wait, &explanation, status.as_str(), refusal_after(headers))
}

fn handshake_verdict(status: StatusCode, headers: &HeaderMap, explanation: &Explanation) -> Verdict {
    if status.is_client_error() {
        refusal::verdict(status, headers, explanation, OPTIONAL)
    } else {
        refusal::handshake_verdict(status, headers, explanation)
    }
}

fn refusal_after(headers: &HeaderMap) -> Option<Duration> {
    crate::egress::retry_after(headers)
}

/// A message that the connection is about to be closed.
pub(super) fn of_message(explanation: &Explanation) -> Failure {
    let code = explanation.code.as_deref().unwrap_or("error");
    let (verdict, remedy) = of_code(code).unwrap_or_else(|| unknown(explanation));
    let wait = if let Remedy::Wait(wait) = remedy { Some(wait) } else { None };
    failed(verdict, wait, explanation, code, None)
}

/// A code that is not known: of a parameter that can be left out, of a request that is wrong, or of a fault.
fn unknown(explanation: &Explanation) -> (Verdict, Remedy) {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    match refusal::verdict(status, &HeaderMap::new(), explanation, OPTIONAL) {
        Verdict::DropParameter(parameter) => (Verdict::DropParameter(parameter), Remedy::Without(parameter)),
        verdict => (verdict, Remedy::None),
    }
}

/// A connection that was closed. 1008: the session's messages or its settings are wrong, unless the reason says that
/// it was silent for too long or had too many contexts.
pub(super) fn of_close(frame: Option<&CloseFrame>) -> Failure {
    let Some(frame) = frame else { return ended() };
    let (code, reason) = (u16::from(frame.code), frame.reason.as_str());
    if code != 1008 {
        let error = Error::unavailable_because(VENDOR, &format!("it closed with {code}"), reason);
        return Failure { error, remedy: Remedy::Reconnect };
    }
    let lower = reason.to_lowercase();
    let code = [
        ("simultaneous contexts", "max_active_conversations"),
        ("timeout", "input_timeout_exceeded"),
        ("quota", "quota_exceeded"),
        ("concurrent", "too_many_concurrent_requests"),
        ("busy", "system_busy"),
        ("api key", "invalid_api_key"),
        ("voice", "voice_not_found"),
    ];
    // Of the first message, which all sessions have: nothing is to be learned from its words.
    let is_about_settings = lower.contains("voice_settings");
    let named = code.iter().find(|(words, _)| !is_about_settings && lower.contains(words));
    let code = named.map_or("1008", |(_, code)| code).to_owned();
    of_message(&Explanation { code: Some(code), message: Some(reason.to_owned()), parameter: None })
}

/// A connection that ended without a reason.
pub(super) fn ended() -> Failure {
    Failure { error: Error::unavailable(VENDOR, "it ended the session"), remedy: Remedy::Reconnect }
}

/// A connection that broke.
pub(super) fn broken(error: tungstenite::Error) -> Failure {
    Failure { error: Error::broken(VENDOR, "the connection was lost", error), remedy: Remedy::Reconnect }
}

fn failed(
    verdict: Verdict,
    wait: Option<Duration>,
    explanation: &Explanation,
    code: &str,
    retry_after: Option<Duration>,
) -> Failure {
    let code = explanation.code.as_deref().unwrap_or(code);
    let message = explanation.message.as_deref().unwrap_or("no explanation");
    match verdict {
        Verdict::Retry { after } => {
            let retry_after = after.or(retry_after);
            let reason = crate::error::shorten(&format!("{code}: {message}"));
            let error = Error::Unavailable { vendor: VENDOR, reason, retry_after, source: None };
            let remedy = wait.map_or(Remedy::Reconnect, |wait| Remedy::Wait(retry_after.unwrap_or(wait)));
            Failure { error, remedy }
        }
        Verdict::DropParameter(parameter) => {
            Failure { error: Error::rejected(VENDOR, code, message), remedy: Remedy::Without(parameter) }
        }
        Verdict::FallBack | Verdict::GiveUp => {
            Failure { error: Error::rejected(VENDOR, code, message), remedy: Remedy::None }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Response;
    use serde_json::{Value, json};
    use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

    use super::*;

    fn handshake(status: u16, body: &Value) -> Failure {
        let response = Response::builder().status(status).body(Some(body.to_string().into_bytes())).unwrap();
        of_handshake(tungstenite::Error::Http(Box::new(response)))
    }

    fn closed(code: u16, reason: &str) -> Failure {
        of_close(Some(&CloseFrame { code: CloseCode::from(code), reason: reason.into() }))
    }

    #[test]
    fn refused_handshakes_are_repeated_adapted_or_given_up() {
        let wait = Remedy::Wait(CONCURRENCY_WAIT);
        for (status, code, is_retryable, remedy) in [
            (401, "invalid_api_key", false, Remedy::None),
            (401, "quota_exceeded", false, Remedy::None),
            (402, "paid_plan_required", false, Remedy::None),
            (404, "voice_not_found", false, Remedy::None),
            (400, "model_not_found", false, Remedy::None),
            (429, "too_many_concurrent_requests", true, wait),
            (429, "system_busy", true, Remedy::Wait(BUSY_WAIT)),
            (429, "something_new", true, Remedy::Wait(BUSY_WAIT)),
            (503, "something_new", true, Remedy::Reconnect),
            (400, "unsupported_language", false, Remedy::Without("language_code")),
            (400, "something_new", false, Remedy::None),
        ] {
            for shape in ["status", "code"] {
                let failure = handshake(status, &json!({"detail": {shape: code, "message": "No."}}));
                assert_eq!(
                    failure.error.is_retryable(),
                    is_retryable,
                    "{status} {code}: {:?}",
                    failure.error
                );
                assert_eq!(failure.remedy, remedy, "{status} {code}");
                assert!(failure.error.to_string().contains(code), "{}", failure.error);
            }
        }
    }

    #[test]
    fn a_parameter_that_is_refused_by_name_is_left_out() {
        let body =
            json!({"detail": [{"loc": ["query", "auto_mode"], "msg": "no such parameter", "type": "extra"}]});
        assert_eq!(handshake(422, &body).remedy, Remedy::Without("auto_mode"));
        let body = json!({"detail": [{"loc": ["query", "model_id"], "msg": "wrong", "type": "value_error"}]});
        assert_eq!(handshake(422, &body).remedy, Remedy::None);
    }

    #[test]
    fn a_close_is_judged_by_its_code_and_reason() {
        let contexts = "Maximum simultaneous contexts per WebSocket connection exceeded (5).";
        let first = "voice_settings field must be provided in the first message";
        for (code, reason, is_retryable, remedy) in [
            (1008, contexts, true, Remedy::Reconnect),
            (1008, "input timeout exceeded", true, Remedy::Reconnect),
            (1008, "This request exceeds your quota limit.", false, Remedy::None),
            (1008, "A voice with this id does not exist.", false, Remedy::None),
            (1008, "too many concurrent requests", true, Remedy::Wait(CONCURRENCY_WAIT)),
            (1008, first, false, Remedy::None),
            (1008, "", false, Remedy::None),
            (1011, "internal error", true, Remedy::Reconnect),
            (1000, "", true, Remedy::Reconnect),
        ] {
            let failure = closed(code, reason);
            assert_eq!(
                (failure.error.is_retryable(), failure.remedy),
                (is_retryable, remedy),
                "{code} {reason}"
            );
        }
        assert_eq!(of_close(None).remedy, Remedy::Reconnect);
    }
}
