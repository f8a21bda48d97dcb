//! Checks the signature of a webhook with the official crate of Standard Webhooks, which shares no code with the
//! sender.

use axum::http::HeaderMap;
use standardwebhooks::{Webhook, WebhookError};

const SIGNATURE: &str = "webhook-signature";

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signature {
    /// Signed with the secret, within the last five minutes.
    Verified,
    /// The webhook has no signature.
    Missing,
    /// The signature is not valid, for this reason.
    Wrong(&'static str),
}

impl Signature {
    /// Checks the signature over `content`.
    pub(super) fn check(secret: &Webhook, headers: &HeaderMap, content: &[u8]) -> Self {
        if !headers.contains_key(SIGNATURE) {
            return Self::Missing;
        }
        match secret.verify(content, headers) {
            Ok(()) => Self::Verified,
            Err(error) => Self::Wrong(reason(&error)),
        }
    }
}

fn reason(error: &WebhookError) -> &'static str {
    match error {
        WebhookError::InvalidSignature => "another secret signed, or something was changed on the way",
        WebhookError::TimestampTooOldError => "it was signed more than 5 minutes ago",
        WebhookError::FutureTimestampError => "it was signed more than 5 minutes in the future",
        WebhookError::MissingHeader("id") => "there is no webhook-id",
        WebhookError::MissingHeader(_) => "there is no webhook-timestamp",
        WebhookError::InvalidTimestamp => "webhook-timestamp is not a number of seconds",
        WebhookError::InvalidPayload => "the body is not UTF-8",
        _ => "its headers cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use standardwebhooks::Webhook;

    use super::Signature;

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn headers(timestamp: i64, signature: &str) -> HeaderMap {
        let headers = [
            ("webhook-id", "evt_1_0"),
            ("webhook-timestamp", &timestamp.to_string()),
            ("webhook-signature", signature),
        ];
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn now() -> i64 {
        switchboard_runtime::now().as_millis() / 1000
    }

    #[test]
    fn one_changed_byte_is_wrong_and_one_signature_of_several_is_enough() {
        let secret = Webhook::new(SECRET).unwrap();
        let signed = secret.sign("evt_1_0", now(), b"{\"a\":1}").unwrap();
        let headers = headers(now(), &format!("v1,AAAA {signed}"));
        assert_eq!(Signature::check(&secret, &headers, b"{\"a\":1}"), Signature::Verified);
        assert!(matches!(Signature::check(&secret, &headers, b"{\"a\":2}"), Signature::Wrong(_)));
    }

    #[test]
    fn an_old_signature_and_a_missing_one_are_told_apart() {
        let secret = Webhook::new(SECRET).unwrap();
        let old = now() - 600;
        let signed = secret.sign("evt_1_0", old, b"").unwrap();
        let checked = Signature::check(&secret, &headers(old, &signed), b"");
        assert_eq!(checked, Signature::Wrong("it was signed more than 5 minutes ago"));
        assert_eq!(Signature::check(&secret, &HeaderMap::new(), b""), Signature::Missing);
    }
}
