//! Customers' own keys, in the place of the deployment's.

use switchboard_model::{
    catalogue,
    credentials::OpenCredential,
    egress_policy::{BadUrl, EgressPolicy},
};

use crate::{Providers, azure, egress};

/// A customer's key cannot be used. Does not show the key.
#[derive(Debug, thiserror::Error)]
pub enum UnusableCredential {
    /// There is no adapter for its vendor.
    #[error("no adapter for {0}")]
    NoAdapter(&'static str),
    /// The egress policy forbids its URL; it may have allowed it when the credential was stored.
    #[error("its base_url may not be called: {0}")]
    BaseUrl(#[from] BadUrl),
}

impl Providers {
    /// The same providers with a customer's key for its vendor, at the customer's base URL if the credential has one.
    /// Such a URL is checked here, and the address it resolves to on every connection. Connections to it are not pooled,
    /// so every request pays for a handshake.
    ///
    /// # Errors
    /// See [`UnusableCredential`]. The deployment's own key is no substitute.
    pub fn with_credential(
        &self,
        own: &OpenCredential,
        egress_policy: EgressPolicy,
    ) -> Result<Self, UnusableCredential> {
        let vendor = own.credential.provider.as_str();
        let connection = catalogue::connection(vendor).ok_or(UnusableCredential::NoAdapter(vendor))?;
        let mut providers = self.clone();
        providers.keys.set(connection, own.api_key.clone());
        // The deployment's own region does not know the customer's key.
        if let Some(region) = own.credential.region.as_deref().and_then(azure::region_url)
            && vendor == azure::VENDOR
        {
            providers.endpoints.set(connection, region);
        }
        if let Some(base_url) = &own.credential.base_url {
            providers.endpoints.set(connection, egress_policy.url(base_url)?);
            providers.http = egress::guarded_client(egress_policy);
        }
        Ok(providers)
    }
}
