//! Gemini's refusals, in Google's form: `{"error": {"code", "message", "status", "details"}}`, sometimes in a list.
//!
//! Pure.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::VENDOR;
use crate::{
    failures::{self, Refused},
    refusal::{self, Explanation, Verdict},
};

/// Maximum wait that a refusal can ask for.
const MAX_WAIT: Duration = Duration::from_hours(1);

/// Judges a status other than 2xx.
pub(super) fn refused(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    optional: &[&'static str],
) -> Refused {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = body.get(0).unwrap_or(&body).get("error").cloned().unwrap_or_default();
    let details: &[Value] = error["details"].as_array().map_or(&[], Vec::as_slice);
    // A bad key is a bad request, whose explanation may quote the key.
    let is_key = details
        .iter()
        .any(|detail| detail["reason"].as_str().is_some_and(|reason| reason.starts_with("API_KEY_")));
    let of_key = if is_key { StatusCode::UNAUTHORIZED } else { status };
    if let Some(refused) = failures::refused_key(VENDOR, of_key) {
        return refused;
    }
    let explanation = Explanation::of(&error);
    let verdict = match refusal::verdict(status, headers, &explanation, optional) {
        // A day's quota is not refilled during a call.
        Verdict::Retry { .. } if is_daily_quota(details) => Verdict::GiveUp,
        Verdict::Retry { after } => Verdict::Retry { after: after.or_else(|| retry_delay(details)) },
        Verdict::GiveUp if status == StatusCode::BAD_REQUEST => {
            refused_level(&explanation, optional).map_or(Verdict::GiveUp, Verdict::DropParameter)
        }
        Verdict::GiveUp if status == StatusCode::NOT_FOUND => Verdict::FallBack,
        other => other,
    };
    let error = failures::error_of(VENDOR, &verdict, status, &explanation, status.as_str());
    Refused { verdict, error }
}

/// The level of thinking in the request, if the refusal blames it.
fn refused_level(explanation: &Explanation, optional: &[&'static str]) -> Option<&'static str> {
    let message = explanation.message.as_deref()?.to_lowercase();
    let level = optional.iter().copied().find(|name| super::request::is_level(name))?;
    message.contains("thinking").then_some(level)
}

fn is_daily_quota(details: &[Value]) -> bool {
    let violations = details.iter().filter_map(|detail| detail["violations"].as_array()).flatten();
    violations.filter_map(|violation| violation["quotaId"].as_str()).any(|id| id.contains("PerDay"))
}

/// The wait of `RetryInfo`, such as `12s` or `0.5s`.
fn retry_delay(details: &[Value]) -> Option<Duration> {
    let delay = details.iter().find_map(|detail| detail["retryDelay"].as_str())?;
    let seconds: f64 = delay.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().map(|wait| wait.min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge(status: u16, error: &Value) -> Refused {
        let body = json!({ "error": error }).to_string();
        refused(
            StatusCode::from_u16(status).unwrap(),
            &HeaderMap::new(),
            body.as_bytes(),
            &["MINIMAL", "temperature"],
        )
    }

    #[test]
    fn a_quota_is_waited_for_unless_it_is_a_days() {
        let quota = |id: &str, delay: &str| {
            let failure = json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": id}]});
            let info = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay});
            let error = json!({"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded.",
                "details": [failure, info]});
            judge(429, &error)
        };
        let Refused { verdict, error } = quota("GenerateRequestsPerMinutePerProjectPerModel", "12.5s");
        assert_eq!(verdict, Verdict::Retry { after: Some(Duration::from_millis(12_500)) });
        assert_eq!(error.retry_after(), Some(Duration::from_millis(12_500)));
        assert_eq!(error.to_string(), "google is unavailable: RESOURCE_EXHAUSTED (429): Quota exceeded.");
        assert_eq!(quota("PerMinute", "soon").verdict, Verdict::Retry { after: None });
        assert_eq!(quota("PerMinute", "99999s").verdict, Verdict::Retry { after: Some(MAX_WAIT) });
        assert_eq!(quota("GenerateRequestsPerDayPerProject", "12s").verdict, Verdict::GiveUp);
    }

    #[test]
    fn a_bad_key_is_told_from_a_bad_request() {
        let error = json!({"code": 400, "status": "INVALID_ARGUMENT", "message": "API key not valid: AIza1",
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]});
        let Refused { verdict, error } = judge(400, &error);
        assert_eq!(verdict, Verdict::GiveUp);
        assert_eq!(error.to_string(), "google refused the request (401): it does not accept the key");
        let unknown =
            json!({"code": 400, "status": "INVALID_ARGUMENT", "message": "Invalid value at 'contents'"});
        assert_eq!(judge(400, &unknown).verdict, Verdict::GiveUp);
    }

    #[test]
    fn what_the_model_does_not_take_is_left_out() {
        let refusal = |message: &str| {
            judge(400, &json!({"code": 400, "status": "INVALID_ARGUMENT", "message": message})).verdict
        };
        let level = Verdict::DropParameter("MINIMAL");
        assert_eq!(refusal("Thinking level MINIMAL is not supported for this model."), level);
        assert_eq!(refusal("thinking_level is not supported"), level);
        assert_eq!(refusal("Invalid temperature: it must be 1."), Verdict::DropParameter("temperature"));
    }

    #[test]
    fn an_unknown_model_falls_back_and_an_overload_is_retried() {
        let missing = json!({"code": 404, "status": "NOT_FOUND", "message": "models/gemini-1 is not found"});
        assert_eq!(judge(404, &missing).verdict, Verdict::FallBack);
        assert_eq!(judge(503, &json!({"code": 503})).verdict, Verdict::Retry { after: None });
        let list = json!([{"error": missing}]).to_string();
        let Refused { error, .. } = refused(StatusCode::NOT_FOUND, &HeaderMap::new(), list.as_bytes(), &[]);
        let expected = "google refused the request (NOT_FOUND): models/gemini-1 is not found";
        assert_eq!(error.to_string(), expected);
    }
}
