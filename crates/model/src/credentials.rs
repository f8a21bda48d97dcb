//! Credentials: the customers' own keys for providers.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{AccountId, CredentialId},
    secrets::Secret,
    time::Timestamp,
};

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// `OpenAI`, or a server that speaks its protocol.
    Openai,
    /// Google Gemini.
    Google,
    /// Deepgram, for hearing and speaking.
    Deepgram,
    /// Azure Speech.
    Azure,
    /// `PlayHT`.
    Playht,
    /// `ElevenLabs`.
    Elevenlabs,
    /// Rime.
    Rimeai,
    /// Rime, by its other name.
    Rime,
}

impl Provider {
    /// Each of them.
    pub const ALL: [Self; 8] = [
        Self::Openai,
        Self::Google,
        Self::Deepgram,
        Self::Azure,
        Self::Playht,
        Self::Elevenlabs,
        Self::Rimeai,
        Self::Rime,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Google => "google",
            Self::Deepgram => "deepgram",
            Self::Azure => "azure",
            Self::Playht => "playht",
            Self::Elevenlabs => "elevenlabs",
            Self::Rimeai => "rimeai",
            Self::Rime => "rime",
        }
    }

    /// Whether its key works for the provider with this name in an agent's configuration. Rime has two names.
    #[must_use]
    pub fn serves(self, block: &str) -> bool {
        let one = |name| if name == Self::Rime.as_str() { Self::Rimeai.as_str() } else { name };
        one(self.as_str()) == one(block)
    }
}

/// A credential without its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// The account that owns it.
    pub account_id: AccountId,
    /// The provider that the key is for.
    pub provider: Provider,
    /// The end of the key.
    pub last4: String,
    /// The region, if the provider has regions (Azure).
    pub region: Option<String>,
    /// The provider's id of the user, if a key alone is not enough (`PlayHT`).
    pub user_id: Option<String>,
    /// The address of the provider (`OpenAI`): a customer's URL, so the egress policy applies to it.
    pub base_url: Option<String>,
    /// The time at which it was stored.
    pub created_at: Timestamp,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("id", &self.id)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

/// A credential with its key, for the length of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCredential {
    /// The credential without the key.
    pub credential: Credential,
    /// The key.
    pub api_key: Secret,
}
/// Whether the query of a model server's address is the version of Azure `OpenAI`'s API (`api-version=2024-10-21`). Such
/// an address may have no other query.
#[must_use]
pub fn is_api_version(query: &str) -> bool {
    let version = query.strip_prefix("api-version=").unwrap_or_default();
    !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
}
