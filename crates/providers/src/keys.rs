//! The deployment's own keys, as its secret store holds them.

use serde_json::{Map, Value};

use crate::Secret;

/// One key per vendor.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The carrier account, `AC...`; not secret, but of no use to a log either.
    pub twilio_account_sid: Secret,
    /// Authenticates us to the carrier and the carrier's callbacks to us.
    pub twilio_auth_token: Secret,
    /// Bearer token.
    pub openai_api_key: Secret,
    /// API key.
    pub deepgram_api_key: Secret,
}

/// The stored keys cannot be used. Says which, never what they are.
#[derive(Debug, thiserror::Error)]
pub enum BadKeys {
    /// Not a JSON object.
    #[error("the stored provider keys are not a JSON object")]
    NotAnObject,
    /// These members are missing, empty, or hold characters that no HTTP header can carry.
    #[error("these provider keys are missing or unusable: {}", .0.join(", "))]
    Unusable(Vec<&'static str>),
}

impl Keys {
    /// Reads `{"twilio_account_sid", "twilio_auth_token", "openai_api_key", "deepgram_api_key"}`.
    /// Space around a key (a pasted line end) is dropped.
    pub fn parse(json: &str) -> Result<Self, BadKeys> {
        // The parser's own message could quote a key.
        let stored: Map<String, Value> = serde_json::from_str(json).map_err(|_| BadKeys::NotAnObject)?;
        let mut bad = Vec::new();
        let mut key = |name: &'static str| {
            let text = stored.get(name).and_then(Value::as_str).unwrap_or_default().trim();
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                bad.push(name);
            }
            Secret::new(text)
        };
        let keys = Self {
            twilio_account_sid: key("twilio_account_sid"),
            twilio_auth_token: key("twilio_auth_token"),
            openai_api_key: key("openai_api_key"),
            deepgram_api_key: key("deepgram_api_key"),
        };
        if bad.is_empty() { Ok(keys) } else { Err(BadKeys::Unusable(bad)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_keys_are_read_and_trimmed() {
        let keys = Keys::parse(
            r#"{"twilio_account_sid":"AC1","twilio_auth_token":"t","openai_api_key":"sk-1\n","deepgram_api_key":"d"}"#,
        )
        .unwrap();
        assert_eq!(keys.openai_api_key.reveal(), "sk-1");
    }

    #[test]
    fn every_unusable_key_is_named_and_none_is_shown() {
        let error =
            Keys::parse(r#"{"twilio_account_sid":"AC1","twilio_auth_token":"two words","openai_api_key":7}"#)
                .unwrap_err();
        assert_eq!(
            error.to_string(),
            "these provider keys are missing or unusable: twilio_auth_token, openai_api_key, deepgram_api_key"
        );
        assert!(matches!(Keys::parse("[]"), Err(BadKeys::NotAnObject)));
    }
}
