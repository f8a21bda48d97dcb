//! The deployment's own access to its providers.

use switchboard_aws::{SdkConfig, ServiceError, provider_keys::ProviderKeys};
use switchboard_providers::{
    Providers, egress,
    endpoints::Endpoints,
    keys::{BadKeys, Keys},
};

/// The deployment's provider keys cannot be used, so the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ProviderKeysError {
    /// Secrets Manager did not return the secret.
    #[error("the secret named by PROVIDER_KEYS_SECRET was not read")]
    Unavailable(#[from] ServiceError),
    /// The secret does not contain usable keys.
    #[error("the secret named by PROVIDER_KEYS_SECRET cannot be used")]
    Unusable(#[from] BadKeys),
}

/// Reads the deployment's keys from the secret `secret_id` (a name or an ARN), and makes the HTTP client. The keys are read
/// again, at most once a minute, when the carrier does not accept them or a callback has another signature.
///
/// # Errors
/// The secret cannot be read, or contains no usable keys.
pub async fn connect_providers(
    sdk: &SdkConfig,
    secret_id: &str,
    endpoints: Endpoints,
) -> Result<Providers, ProviderKeysError> {
    let keys = read_keys(sdk, secret_id).await?;
    let (sdk, secret_id) = (sdk.clone(), secret_id.to_owned());
    let keys = keys.with_source(move || {
        let (sdk, secret_id) = (sdk.clone(), secret_id.clone());
        Box::pin(async move {
            let read = read_keys(&sdk, &secret_id).await;
            match &read {
                Ok(_) => tracing::info!("provider keys read again"),
                Err(error) => tracing::warn!(error = ?error, "provider keys not read again"),
            }
            read.ok()
        })
    });
    Ok(Providers { http: egress::client(), endpoints, keys })
}

async fn read_keys(sdk: &SdkConfig, secret_id: &str) -> Result<Keys, ProviderKeysError> {
    Ok(Keys::parse(ProviderKeys::load(sdk, secret_id).await?.json())?)
}
