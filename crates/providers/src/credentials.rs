//! Customers' own keys, in the place of the deployment's.

use switchboard_model::{
    credentials::{OpenCredential, Provider},
    egress_policy::{BadUrl, EgressPolicy},
};

use crate::{Providers, egress};

/// A customer's key cannot be used. Says nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum UnusableCredential {
    /// There is no adapter for the vendor it is of.
    #[error("no adapter for {0}")]
    NoAdapter(&'static str),
    /// Its URL may not be called, at least not any more.
    #[error("its base_url may not be called: {0}")]
    BaseUrl(#[from] BadUrl),
}

impl Providers {
    /// The same, but with a customer's key for its vendor, and at the customer's URL if it has one. That is
    /// a customer's URL like any other: it is checked here, and the address it leads to each time it is
    /// connected to. Such connections are not kept, which costs every question the time to open one.
    ///
    /// # Errors
    /// See [`UnusableCredential`]. The deployment's own key is no substitute.
    pub fn with_credential(
        &self,
        own: &OpenCredential,
        egress_policy: EgressPolicy,
    ) -> Result<Self, UnusableCredential> {
        let mut providers = self.clone();
        match own.credential.provider {
            Provider::Openai => providers.keys.openai_api_key = Some(own.api_key.clone()),
            Provider::Deepgram => providers.keys.deepgram_api_key = Some(own.api_key.clone()),
            other => return Err(UnusableCredential::NoAdapter(other.as_str())),
        }
        if let Some(base_url) = &own.credential.base_url {
            providers.endpoints.openai = egress_policy.url(base_url)?;
            providers.http = egress::guarded_client(egress_policy);
        }
        Ok(providers)
    }
}
