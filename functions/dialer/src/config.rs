//! The environment of this function, and the clients made from it.

use switchboard_aws::{clips::Clips, queue::Queue, sealing::Sealer, table::Table};
use switchboard_calls::{Backend, ClipPreparation, ProviderKeysError, connect_providers};
use switchboard_model::egress_policy::EgressPolicy;
use switchboard_providers::{AnyCarrier, endpoints::Endpoints};
use switchboard_runtime::{
    ConfigError, Vars,
    config::{self, CallbackConfig, SecretsConfig},
};

use crate::Dialer;

/// The environment of this function.
#[derive(Debug, Clone)]
pub struct Config {
    /// The DynamoDB table.
    pub table: String,
    /// The bucket of clips.
    pub bucket: String,
    /// The queue of calls, for those that are dialled later.
    pub calls_queue: String,
    /// Addresses that the carrier is given.
    pub callbacks: CallbackConfig,
    /// Names of the deployment's secrets.
    pub secrets: SecretsConfig,
    /// Base URLs of the providers: the vendors' own unless the environment sets others.
    pub endpoints: Endpoints,
    /// The calls per second that the deployment's account at the carrier may start.
    pub calls_per_second: u32,
}

impl Config {
    /// Reads all variables.
    ///
    /// # Errors
    /// Every variable that is missing or cannot be used.
    pub fn from_vars(mut vars: Vars) -> Result<Self, ConfigError> {
        let (table, bucket) = (config::table(&mut vars), config::bucket(&mut vars));
        let calls_queue = config::calls_queue(&mut vars);
        let (callbacks, secrets) = (CallbackConfig::read(&mut vars), SecretsConfig::read(&mut vars));
        let calls_per_second = config::carrier_calls_per_second(&mut vars);
        let endpoints = vars.finish_with(Endpoints::from_vars)?;
        Ok(Self { table, bucket, calls_queue, callbacks, secrets, endpoints, calls_per_second })
    }
}

impl Dialer {
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
            queue: Queue::new(&sdk, config.calls_queue),
            preparation: ClipPreparation {
                clips: Clips::new(&sdk, config.bucket),
                providers,
                egress_policy: EgressPolicy::PublicOnly,
            },
            urls: config.callbacks.into(),
            calls_per_second: config.calls_per_second,
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
        let vars =
            Vars::from([("PUBLIC_URL", "example.com"), ("MEDIA_URL", "https://x"), (url_variable, "x")]);
        let bad = Config::from_vars(vars).unwrap_err().0;
        assert_eq!(bad.len(), 8, "{bad:?}");
        for name in [
            "TABLE_NAME",
            "RECORDINGS_BUCKET",
            "CALLS_QUEUE_URL",
            "PUBLIC_URL",
            "MEDIA_URL",
            "PROVIDER_KEYS_SECRET",
            "SEALING_KEY_ID",
            url_variable,
        ] {
            assert_eq!(bad.iter().filter(|line| line.starts_with(name)).count(), 1, "{name}: {bad:?}");
        }
    }
}
