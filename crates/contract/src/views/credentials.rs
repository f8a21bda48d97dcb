use schemars::JsonSchema;
use serde::Serialize;

use switchboard_model::{
    credentials::{Credential, Provider},
    ids::{AccountId, CredentialId},
    time::Timestamp,
};

/// A provider's key of the customer's own. The key itself is never shown.
#[derive(Serialize, JsonSchema)]
pub struct CredentialView {
    /// Its id, such as `crd_01JD...`.
    pub id: CredentialId,
    /// The URL of this credential.
    pub uri: String,
    /// Whose it is.
    pub account_id: AccountId,
    /// Of which provider the key is.
    pub provider: Provider,
    /// The key's last four characters.
    pub last4: String,
    /// When it was stored.
    pub created_at: Timestamp,
}

impl CredentialView {
    /// `public_url` is the API's, without a slash at the end.
    #[must_use]
    pub fn new(public_url: &str, credential: Credential) -> Self {
        let Credential { id, account_id, provider, last4, created_at, .. } = credential;
        Self { id, uri: format!("{public_url}/credentials/{id}"), account_id, provider, last4, created_at }
    }
}
