//! The environment of this function, and the clients made from it.

use std::time::Duration;

use switchboard_aws::{clips::Clips, sealing::Sealer, table::Table};
use switchboard_calls::{Backend, ClipPreparation, InboundContext, ProviderKeysError, connect_providers};
use switchboard_model::{costs::Prices, egress_policy::EgressPolicy};
use switchboard_providers::{AnyCarrier, endpoints::Endpoints, webhooks::WebhookClient};
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
    /// Base URLs of the providers: the vendors' own unless the environment sets others.
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
    /// Makes the clients, and reads the deployment's provider keys.
    ///
    /// # Errors
    /// The keys cannot be read.
    pub async fn connect(config: Config) -> Result<Self, ProviderKeysError> {
        let sdk = switchboard_aws::sdk_config().await;
        let providers = connect_providers(&sdk, &config.secrets.provider_keys, config.endpoints).await?;
        let sealer = Sealer::new(&sdk, config.secrets.sealing_key);
        let backend = Backend {
            table: Table::new(&sdk, config.table).sealing(sealer.clone()),
            sealer,
            carrier: AnyCarrier::new(&providers),
        };
        let egress_policy = config.egress_policy;
        let clips = Clips::new(&sdk, config.bucket);
        let inbound = InboundContext {
            sender: WebhookClient::new(egress_policy),
            egress_policy,
            retention: config.retention,
            preparation: ClipPreparation { clips, providers, egress_policy },
            prices: config.prices,
        };
        Ok(Self { backend, inbound, urls: config.callbacks.into() })
    }
}

#[cfg(test)]
mod tests {
    use switchboard_model::catalogue;

    use super::*;

    #[test]
    fn every_bad_variable_is_reported() {
        let url_variable = catalogue::connections()[0].url_variable;
        let vars = [
            ("PUBLIC_URL", "example.com"),
            ("MEDIA_URL", "https://x"),
            (url_variable, "x"),
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
            url_variable,
            "AGENT_PRICE_PER_MINUTE",
        ] {
            assert_eq!(bad.iter().filter(|line| line.starts_with(name)).count(), 1, "{name}: {bad:?}");
        }
        assert_eq!(bad.len(), 10, "{bad:?}");
    }
}
