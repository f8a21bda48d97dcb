//! The deployment's own keys, as its secret store holds them. The catalogue names them.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};
use switchboard_model::catalogue::{self, Connection};

use crate::{Providers, Secret, unusable::Unusable};

/// The keys of every vendor, by the name in the catalogue. Required ones are here; others may be missing: a deployment
/// without them starts, and a call that needs one records a provider fault.
#[derive(Clone)]
pub struct Keys(BTreeMap<&'static str, Secret>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
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
    /// Reads a JSON object with a member per key. Space around a key (a pasted line end) is dropped; an empty key counts
    /// as missing.
    ///
    /// # Errors
    /// See [`BadKeys`].
    pub fn parse(json: &str) -> Result<Self, BadKeys> {
        // The parser's own message could quote a key.
        let stored: Map<String, Value> = serde_json::from_str(json).map_err(|_| BadKeys::NotAnObject)?;
        let (mut keys, mut bad) = (BTreeMap::new(), Vec::new());
        for connection in catalogue::connections() {
            for name in connection.keys.iter().copied() {
                match read(&stored, name) {
                    Ok(Some(key)) => drop(keys.insert(name, key)),
                    Ok(None) if connection.is_required => bad.push(name),
                    Ok(None) => {}
                    Err(Malformed) => bad.push(name),
                }
            }
        }
        if bad.is_empty() { Ok(Self(keys)) } else { Err(BadKeys::Unusable(bad)) }
    }

    /// The key with this name; none if the deployment does not have it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    /// A key of a connection that is required.
    ///
    /// # Panics
    /// The catalogue does not say that the key is required.
    #[must_use]
    pub fn required(&self, name: &str) -> &Secret {
        self.get(name).expect("a deployment without its required keys does not start")
    }

    /// Replaces or adds the first key of a connection.
    pub fn set(&mut self, connection: &Connection, key: Secret) {
        if let Some(name) = connection.keys.first() {
            self.0.insert(name, key);
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

impl Providers {
    /// The key of a vendor that has one key.
    pub(crate) fn key(&self, vendor: &'static str) -> Result<Secret, Unusable> {
        let name = catalogue::connection(vendor).and_then(|connection| connection.keys.first().copied());
        let Some(name) = name else { return Err(Unusable::no_adapter(vendor)) };
        self.keys.get(name).cloned().ok_or_else(|| Unusable::missing_key(vendor, name))
    }
}

/// The value is no key.
struct Malformed;

fn read(stored: &Map<String, Value>, name: &str) -> Result<Option<Secret>, Malformed> {
    let text = match stored.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.trim(),
        Some(_) => return Err(Malformed),
    };
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Malformed);
    }
    Ok((!text.is_empty()).then(|| Secret::new(text)))
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
        assert_eq!(keys.get("openai_api_key").unwrap().reveal(), "sk-1");
        assert_eq!(keys.required("twilio_account_sid").reveal(), "AC1");
        assert!(!format!("{keys:?}").contains("sk-1"));
    }

    #[test]
    fn providers_without_a_key_are_allowed() {
        let keys = Keys::parse(
            r#"{"twilio_account_sid":"AC1","twilio_auth_token":"t","openai_api_key":"","deepgram_api_key":null}"#,
        )
        .unwrap();
        assert!(keys.get("openai_api_key").is_none() && keys.get("deepgram_api_key").is_none());
    }

    #[test]
    fn every_unusable_key_is_named_and_none_is_shown() {
        let error = Keys::parse(r#"{"twilio_auth_token":"two words","openai_api_key":7}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "these provider keys are missing or unusable: openai_api_key, twilio_account_sid, twilio_auth_token"
        );
        assert!(matches!(Keys::parse("[]"), Err(BadKeys::NotAnObject)));
    }
}
