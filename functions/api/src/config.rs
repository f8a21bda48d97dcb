//! The configuration of the function, and the clients that it is made into.

use std::time::Duration;

use switchboard_aws::{recordings::Recordings, sealing::Sealer, table::Table};
use switchboard_calls::{ProviderKeysError, connect_providers};
use switchboard_model::{costs::Prices, egress_policy::EgressPolicy};
use switchboard_providers::{AnyCarrier, endpoints::Endpoints};
use switchboard_runtime as system;
use switchboard_runtime::{
    ConfigError, Vars,
    config::{self, SecretsConfig},
};

use crate::Api;

/// The configuration of this function.
#[derive(Debug, Clone)]
pub struct Config {
    /// `TABLE_NAME`: the DynamoDB table.
    pub table_name: String,
    /// `RECORDINGS_BUCKET`: the S3 bucket of recordings.
    pub recordings_bucket: String,
    /// `PUBLIC_URL`: the base URL of the API as the world sees it.
    pub public_url: String,
    /// `MEDIA_URL`: the media worker's websocket; unset or empty in a deployment without a worker.
    pub media_url: Option<String>,
    /// Names of the deployment's secrets.
    pub secrets: SecretsConfig,
    /// Base URLs of the providers: the vendors' own unless the environment sets others.
    pub endpoints: Endpoints,
    /// `AGENT_PRICE_PER_MINUTE`: USD, 0 unless set.
    pub prices: Prices,
    /// `RETENTION_DAYS`: how long a conversation is kept, 90 unless set.
    pub retention: Duration,
    /// `ALLOW_HTTP_WEBHOOKS`: `true` on a local stack only, where webhooks may be on this machine and use `http://`.
    pub egress_policy: EgressPolicy,
}

impl Config {
    /// Reads the environment. The error lists every variable that is missing or wrong.
    pub fn from_vars(mut vars: Vars) -> Result<Self, ConfigError> {
        let (table_name, recordings_bucket) = (config::table(&mut vars), config::bucket(&mut vars));
        let public_url = config::public_url(&mut vars);
        let media_url = config::media_url(&mut vars);
        let (secrets, prices) = (SecretsConfig::read(&mut vars), config::prices(&mut vars));
        let (egress_policy, retention) = (config::egress_policy(&mut vars), config::retention(&mut vars));
        let endpoints = vars.finish_with(Endpoints::from_vars)?;
        Ok(Self {
            table_name,
            recordings_bucket,
            public_url,
            media_url,
            secrets,
            endpoints,
            prices,
            retention,
            egress_policy,
        })
    }
}

impl Api {
    /// Creates the clients and fetches the carrier's key.
    ///
    /// # Errors
    /// The secret with the provider keys cannot be read or used.
    pub async fn connect(config: Config) -> Result<Self, ProviderKeysError> {
        let sdk = switchboard_aws::sdk_config().await;
        let providers = connect_providers(&sdk, &config.secrets.provider_keys, config.endpoints).await?;
        let sealer = Sealer::new(&sdk, config.secrets.sealing_key);
        Ok(Self {
            table: Table::new(&sdk, config.table_name).sealing(sealer.clone()),
            recordings: Recordings::new(&sdk, config.recordings_bucket),
            sealer,
            carrier: AnyCarrier::new(&providers),
            prices: config.prices,
            public_url: config.public_url,
            media_url: config.media_url,
            egress_policy: config.egress_policy,
            retention: config.retention,
            now: system::now,
            random: system::random_u128,
        })
    }
}

#[cfg(test)]
mod tests {
    use switchboard_model::catalogue;

    use super::*;

    #[test]
    fn a_deployment_accepts_https_webhooks_only() {
        let vars = [
            ("TABLE_NAME", "table"),
            ("RECORDINGS_BUCKET", "bucket"),
            ("PUBLIC_URL", "https://api.example.com/"),
            ("PROVIDER_KEYS_SECRET", "secret"),
            ("SEALING_KEY_ID", "key"),
        ];
        let config = Config::from_vars(Vars::from(vars)).unwrap();
        assert_eq!(config.public_url, "https://api.example.com");
        assert_eq!(config.media_url, None);
        assert_eq!(config.egress_policy, EgressPolicy::PublicOnly);
        assert_eq!(config.retention, Duration::from_hours(90 * 24));
    }

    #[test]
    fn every_missing_or_wrong_variable_is_named() {
        let url_variable = catalogue::connections()[0].url_variable;
        let vars = [("ALLOW_HTTP_WEBHOOKS", "yes"), ("AGENT_PRICE_PER_MINUTE", "cheap"), (url_variable, "x")];
        let error = Config::from_vars(Vars::from(vars)).unwrap_err();
        assert_eq!(error.0.len(), 8, "{error}");
    }
}
