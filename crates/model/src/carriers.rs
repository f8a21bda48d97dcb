//! The carriers that calls go through, and their ids of calls.
//!
//! This module does not know the carriers' protocols. Start with [`CarrierCallId`].

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::ids::AccountId;

/// A company that connects calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CarrierName {
    /// Twilio Programmable Voice: the carrier of deployments and of imported numbers.
    #[default]
    Twilio,
}

impl CarrierName {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Twilio];

    /// The name in stored items, in the HTTP API and in the paths of callbacks.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Twilio => "twilio",
        }
    }

    /// The description of a carrier in the API's reference, as long as there is one carrier.
    #[must_use]
    pub fn description() -> String {
        format!("The carrier: always `{}`.", Self::default())
    }

    /// The path, below our own address, of the carrier's callbacks for an account.
    #[must_use]
    pub fn callbacks_path(self, account: AccountId) -> String {
        format!("/{self}/{account}")
    }
}

impl fmt::Display for CarrierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One call at one carrier.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CarrierCallId {
    /// The carrier that connects the call.
    pub carrier: CarrierName,
    /// The carrier's own id of the call.
    id: CallId,
}

/// Letters, digits, `-` and `_`: an id becomes part of a URL's path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct CallId(String);

/// The text cannot be a carrier's id of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a carrier's id of a call")]
pub struct InvalidCarrierCallId;

/// Maximum length of an id, in bytes; the carriers' own have at most 36.
const MAX_ID_BYTES: usize = 64;

impl CarrierCallId {
    /// The call that `carrier` knows under `id`. A carrier's adapter is stricter about the ids that it reads.
    ///
    /// # Errors
    /// [`InvalidCarrierCallId`] if `id` is empty, longer than 64 bytes, or holds anything but ASCII letters,
    /// digits, `-` and `_`.
    pub fn new(carrier: CarrierName, id: &str) -> Result<Self, InvalidCarrierCallId> {
        Ok(Self { carrier, id: id.parse()? })
    }

    /// The carrier's own id of the call.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id.0
    }
}

impl fmt::Display for CarrierCallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl FromStr for CallId {
    type Err = InvalidCarrierCallId;

    fn from_str(text: &str) -> Result<Self, InvalidCarrierCallId> {
        let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let valid = (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(is_safe);
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidCarrierCallId) }
    }
}

impl TryFrom<String> for CallId {
    type Error = InvalidCarrierCallId;

    fn try_from(text: String) -> Result<Self, InvalidCarrierCallId> {
        text.parse()
    }
}

impl From<CallId> for String {
    fn from(id: CallId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_leave_its_path_segment_is_invalid() {
        let id = |text: &str| CarrierCallId::new(CarrierName::Twilio, text);
        assert_eq!(id("CA1").unwrap().id(), "CA1");
        for wrong in ["", "CA1/../../x", "a b", "é", &"x".repeat(65)] {
            assert_eq!(id(wrong), Err(InvalidCarrierCallId), "{wrong}");
        }
    }

    #[test]
    fn a_stored_id_names_its_carrier() {
        let id = CarrierCallId::new(CarrierName::Twilio, "CA1").unwrap();
        let stored = serde_json::to_string(&id).unwrap();
        assert_eq!(stored, r#"{"carrier":"twilio","id":"CA1"}"#);
        assert_eq!(serde_json::from_str::<CarrierCallId>(&stored).unwrap(), id);
        assert!(serde_json::from_str::<CarrierCallId>(r#"{"carrier":"twilio","id":"../x"}"#).is_err());
    }
}
