//! The environment of this function, and the clients made from it.

use std::time::Duration;

use anyhow::Context as _;
use switchboard_aws::{clips::Clips, provider_keys::ProviderKeys, sealing::Sealer, store::Store};
use switchboard_model::{costs::Prices, egress_policy::EgressPolicy};
use switchboard_providers::{
    Providers, egress, endpoints::Endpoints, keys::Keys, twilio::Calls, webhooks::Sender,
};
use switchboard_runtime::{
    ConfigError, Vars,
    config::{self, CallbackConfig, SecretsConfig},
};

use crate::Callbacks;

/// The environment of this function.
#[derive(Debug, Clone)]
pub struct Config {
    /// The DynamoDB table.
    pub table: String,
    /// The bucket of clips.
    pub bucket: String,
    /// Addresses that the carrier is given.
    pub callbacks: CallbackConfig,
    /// Names of the deployment's secrets.
    pub secrets: SecretsConfig,
    /// Base URLs of the providers, `TWILIO_API_URL` and its like.
    pub endpoints: Endpoints,
    /// The deployment's own prices.
    pub prices: Prices,
    /// How long an inbound call's conversation is kept.
    pub retention: Duration,
    /// The addresses that customers' URLs may point to.
    pub egress_policy: EgressPolicy,
}

impl Config {
    /// Reads all variables.
    ///
    /// # Errors
    /// Every variable that is missing or cannot be used.
    pub fn from_vars(mut vars: Vars) -> Result<Self, ConfigError> {
        let (table, bucket) = (config::table(&mut vars), config::bucket(&mut vars));
        let (callbacks, secrets) = (CallbackConfig::read(&mut vars), SecretsConfig::read(&mut vars));
        let (prices, retention) = (config::prices(&mut vars), config::retention(&mut vars));
        let egress_policy = config::egress_policy(&mut vars);
        let endpoints = vars.finish_with(Endpoints::from_vars)?;
        Ok(Self { table, bucket, callbacks, secrets, endpoints, prices, retention, egress_policy })
    }
}

impl Callbacks {
    /// Makes the clients and fetches the key that signs.
    pub async fn connect(config: Config) -> anyhow::Result<Self> {
        let sdk = switchboard_aws::sdk_config().await;
        let keys =
            ProviderKeys::load(&sdk, &config.secrets.provider_keys).await.context("PROVIDER_KEYS_SECRET")?;
        let keys = Keys::parse(keys.json()).context("PROVIDER_KEYS_SECRET")?;
        let auth_token = keys.twilio_auth_token.clone();
        let providers = Providers { http: egress::client(), endpoints: config.endpoints, keys };
        Ok(Self {
            store: Store::new(&sdk, config.table),
            sealer: Sealer::new(&sdk, config.secrets.sealing_key),
            calls: Calls::new(&providers),
            clips: Clips::new(&sdk, config.bucket),
            providers,
            sender: Sender::new(config.egress_policy),
            egress_policy: config.egress_policy,
            retention: config.retention,
            auth_token,
            public_url: config.callbacks.public_url,
            media_url: config.callbacks.media_url,
            prices: config.prices,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_variable_is_reported() {
        let vars = [
            ("PUBLIC_URL", "example.com"),
            ("MEDIA_URL", "https://x"),
            ("TWILIO_API_URL", "x"),
            ("AGENT_PRICE_PER_MINUTE", "cheap"),
            ("ALLOW_HTTP_WEBHOOKS", "yes"),
            ("RETENTION_DAYS", "-1"),
        ];
        let bad = Config::from_vars(Vars::from(vars)).unwrap_err().0;
        for name in [
            "TABLE_NAME",
            "RECORDINGS_BUCKET",
            "PUBLIC_URL",
            "MEDIA_URL",
            "PROVIDER_KEYS_SECRET",
            "SEALING_KEY_ID",
            "ALLOW_HTTP_WEBHOOKS",
            "RETENTION_DAYS",
            "TWILIO_API_URL",
            "AGENT_PRICE_PER_MINUTE",
        ] {
            assert_eq!(bad.iter().filter(|line| line.starts_with(name)).count(), 1, "{name}: {bad:?}");
        }
        assert_eq!(bad.len(), 10, "{bad:?}");
    }
}
