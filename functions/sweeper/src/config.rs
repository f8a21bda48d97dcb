//! How the function is configured.

use anyhow::Context as _;
use switchboard_aws::{provider_keys::ProviderKeys, queue::Queue, sealing::Sealer, store::Store};
use switchboard_model::costs::Prices;
use switchboard_providers::{
    Providers, egress,
    endpoints::Endpoints,
    keys::Keys,
    twilio::{Calls, Numbers},
};
use switchboard_runtime::{ConfigError, Vars};

use crate::Sweeper;

/// The function's environment.
#[derive(Debug, Clone)]
pub struct Config {
    /// `TABLE_NAME`.
    pub table: String,
    /// `DELIVERIES_QUEUE_URL`.
    pub queue_url: String,
    /// `PROVIDER_KEYS_SECRET`.
    pub keys_secret: String,
    /// `SEALING_KEY_ID`: id or ARN of the KMS key that customers' secrets are sealed with.
    pub sealing_key: String,
    /// `TWILIO_API_URL` and its like.
    pub endpoints: Endpoints,
    /// `AGENT_PRICE_PER_MINUTE`: USD, 0 unless set.
    pub prices: Prices,
}

impl Config {
    /// Reads the variables; all that is wrong is reported.
    pub fn from_vars(mut vars: Vars) -> Result<Self, ConfigError> {
        let table = vars.required("TABLE_NAME");
        let queue_url = vars.required("DELIVERIES_QUEUE_URL");
        let keys_secret = vars.required("PROVIDER_KEYS_SECRET");
        let sealing_key = vars.required("SEALING_KEY_ID");
        let agent_per_minute = vars.parsed("AGENT_PRICE_PER_MINUTE", Prices::default().agent_per_minute);
        let endpoints = vars.finish_with(Endpoints::from_vars)?;
        let prices = Prices { agent_per_minute };
        Ok(Self { table, queue_url, keys_secret, sealing_key, endpoints, prices })
    }
}

impl Sweeper {
    /// Makes the clients and fetches the carrier's key.
    pub async fn connect(config: Config) -> anyhow::Result<Self> {
        let sdk = switchboard_aws::sdk_config().await;
        let keys = ProviderKeys::load(&sdk, &config.keys_secret).await.context("PROVIDER_KEYS_SECRET")?;
        let keys = Keys::parse(keys.json()).context("PROVIDER_KEYS_SECRET")?;
        let providers = Providers { http: egress::client(), endpoints: config.endpoints, keys };
        Ok(Self {
            store: Store::new(&sdk, config.table),
            queue: Queue::new(&sdk, config.queue_url),
            sealer: Sealer::new(&sdk, config.sealing_key),
            calls: Calls::new(&providers),
            numbers: Numbers::new(&providers),
            prices: config.prices,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_variable_is_reported() {
        let vars = Vars::from([("TWILIO_API_URL", "x"), ("AGENT_PRICE_PER_MINUTE", "cheap")]);
        let bad = Config::from_vars(vars).unwrap_err().0;
        for name in [
            "TABLE_NAME",
            "DELIVERIES_QUEUE_URL",
            "PROVIDER_KEYS_SECRET",
            "SEALING_KEY_ID",
            "AGENT_PRICE_PER_MINUTE",
            "TWILIO_API_URL",
        ] {
            assert_eq!(bad.iter().filter(|line| line.starts_with(name)).count(), 1, "{name}: {bad:?}");
        }
        assert_eq!(bad.len(), 6, "{bad:?}");
    }
}
