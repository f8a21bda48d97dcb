//! The environment of this function, and the clients made from it.

use switchboard_aws::{queue::Queue, recordings::Recordings, sealing::Sealer, table::Table};
use switchboard_calls::{Backend, ProviderKeysError, connect_providers};
use switchboard_model::costs::Prices;
use switchboard_providers::{AnyCarrier, endpoints::Endpoints};
use switchboard_runtime::{
    ConfigError, Vars,
    config::{self, SecretsConfig},
};

use crate::Sweeper;

/// The environment of this function.
#[derive(Debug, Clone)]
pub struct Config {
    /// The DynamoDB table.
    pub table: String,
    /// The bucket of recordings.
    pub bucket: String,
    /// The queue of calls.
    pub calls_queue: String,
    /// The queue of webhook attempts.
    pub deliveries_queue: String,
    /// Names of the deployment's secrets.
    pub secrets: SecretsConfig,
    /// Base URLs of the providers: the vendors' own unless the environment sets others.
    pub endpoints: Endpoints,
    /// The deployment's own prices.
    pub prices: Prices,
}

impl Config {
    /// Reads all variables.
    ///
    /// # Errors
    /// Every variable that is missing or cannot be used.
    pub fn from_vars(mut vars: Vars) -> Result<Self, ConfigError> {
        let (table, calls_queue) = (config::table(&mut vars), config::calls_queue(&mut vars));
        let (bucket, deliveries_queue) = (config::bucket(&mut vars), config::deliveries_queue(&mut vars));
        let (secrets, prices) = (SecretsConfig::read(&mut vars), config::prices(&mut vars));
        let endpoints = vars.finish_with(Endpoints::from_vars)?;
        Ok(Self { table, bucket, calls_queue, deliveries_queue, secrets, endpoints, prices })
    }
}

impl Sweeper {
    /// Makes the clients, and reads the deployment's provider keys.
    ///
    /// # Errors
    /// The keys cannot be read.
    pub async fn connect(config: Config) -> Result<Self, ProviderKeysError> {
        let sdk = switchboard_aws::sdk_config().await;
        let providers = connect_providers(&sdk, &config.secrets.provider_keys, config.endpoints).await?;
        Ok(Self {
            backend: Backend {
                table: Table::new(&sdk, config.table),
                sealer: Sealer::new(&sdk, config.secrets.sealing_key),
                carrier: AnyCarrier::new(&providers),
            },
            calls: Queue::new(&sdk, config.calls_queue),
            recordings: Recordings::new(&sdk, config.bucket),
            queue: Queue::new(&sdk, config.deliveries_queue),
            prices: config.prices,
            grace: crate::GRACE,
        })
    }
}

#[cfg(test)]
mod tests {
    use switchboard_model::catalogue;

    use super::*;

    #[test]
    fn every_bad_variable_is_reported() {
        let url_variable = catalogue::connections()[0].url_variable;
        let vars = Vars::from([(url_variable, "x"), ("AGENT_PRICE_PER_MINUTE", "cheap")]);
        let bad = Config::from_vars(vars).unwrap_err().0;
        for name in [
            "TABLE_NAME",
            "RECORDINGS_BUCKET",
            "CALLS_QUEUE_URL",
            "DELIVERIES_QUEUE_URL",
            "PROVIDER_KEYS_SECRET",
            "SEALING_KEY_ID",
            "AGENT_PRICE_PER_MINUTE",
            url_variable,
        ] {
            assert_eq!(bad.iter().filter(|line| line.starts_with(name)).count(), 1, "{name}: {bad:?}");
        }
        assert_eq!(bad.len(), 8, "{bad:?}");
    }
}
