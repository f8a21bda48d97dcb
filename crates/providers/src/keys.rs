//! The deployment's own keys, as its secret store holds them.

use serde_json::{Map, Value};

use crate::Secret;

/// The keys of every vendor. All but the carrier's are optional: a deployment without one starts, and a call that
/// needs it records a provider fault.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The carrier account, `AC...`; not secret, but of no use in a log either.
    pub twilio_account_sid: Secret,
    /// Authenticates us to the carrier, and the carrier's callbacks to us.
    pub twilio_auth_token: Secret,
    /// Bearer token.
    pub openai_api_key: Option<Secret>,
    /// API key.
    pub deepgram_api_key: Option<Secret>,
}

/// The stored keys cannot be used. Names the keys and never shows them.
#[derive(Debug, thiserror::Error)]
pub enum BadKeys {
    /// Not a JSON object.
    #[error("the stored provider keys are not a JSON object")]
    NotAnObject,
    /// These keys are required and missing, or hold characters that no HTTP header can carry.
    #[error("these provider keys are missing or unusable: {}", .0.join(", "))]
    Unusable(Vec<&'static str>),
}

impl Keys {
    /// Reads `{"twilio_account_sid", "twilio_auth_token", "openai_api_key", "deepgram_api_key"}`, the latter two
    /// optional. Space around a key (a pasted line end) is dropped; an empty key counts as missing.
    pub fn parse(json: &str) -> Result<Self, BadKeys> {
        // The parser's own message could quote a key.
        let stored: Map<String, Value> = serde_json::from_str(json).map_err(|_| BadKeys::NotAnObject)?;
        let mut bad = Vec::new();
        let mut optional = |name: &'static str| {
            let value = stored.get(name).filter(|value| !value.is_null())?;
            let text = value.as_str().unwrap_or("\0").trim();
            if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                bad.push(name);
            }
            (!text.is_empty()).then(|| Secret::new(text))
        };
        let twilio_account_sid = optional("twilio_account_sid");
        let twilio_auth_token = optional("twilio_auth_token");
        let openai_api_key = optional("openai_api_key");
        let deepgram_api_key = optional("deepgram_api_key");
        match (twilio_account_sid, twilio_auth_token) {
            (Some(twilio_account_sid), Some(twilio_auth_token)) if bad.is_empty() => {
                Ok(Self { twilio_account_sid, twilio_auth_token, openai_api_key, deepgram_api_key })
            }
            (sid, token) => {
                let missing = [("twilio_account_sid", sid.is_none()), ("twilio_auth_token", token.is_none())];
                let missing = missing.into_iter().filter(|(_, missing)| *missing).map(|(name, _)| name);
                let mut all: Vec<_> = missing.filter(|name| !bad.contains(name)).collect();
                all.append(&mut bad);
                Err(BadKeys::Unusable(all))
            }
        }
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
        assert_eq!(keys.openai_api_key.unwrap().reveal(), "sk-1");
    }

    #[test]
    fn providers_without_a_key_are_allowed() {
        let keys = Keys::parse(
            r#"{"twilio_account_sid":"AC1","twilio_auth_token":"t","openai_api_key":"","deepgram_api_key":null}"#,
        )
        .unwrap();
        assert!(keys.openai_api_key.is_none() && keys.deepgram_api_key.is_none());
    }

    #[test]
    fn every_unusable_key_is_named_and_none_is_shown() {
        let error = Keys::parse(r#"{"twilio_auth_token":"two words","openai_api_key":7}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "these provider keys are missing or unusable: twilio_account_sid, twilio_auth_token, openai_api_key"
        );
        assert!(matches!(Keys::parse("[]"), Err(BadKeys::NotAnObject)));
    }
}
