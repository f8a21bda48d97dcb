//! The environment of this function, and the clients made from it.

use switchboard_aws::{queue::Queue, sealing::Sealer, table::Table};
use switchboard_model::egress_policy::EgressPolicy;
use switchboard_providers::webhooks::WebhookClient;
use switchboard_runtime::{ConfigError, Vars, config};

use crate::{KeptSlots, WebhookDelivery};

/// The environment of this function.
#[derive(Debug, Clone)]
pub struct Config {
    /// The DynamoDB table.
    pub table: String,
    /// The KMS key that seals signing secrets and headers.
    pub sealing_key: String,
    /// The queue of webhook attempts.
    pub deliveries_queue: String,
    /// The API's base URL.
    pub public_url: String,
    /// The addresses that webhooks may point to.
    pub egress_policy: EgressPolicy,
}

impl Config {
    /// Reads all variables.
    ///
    /// # Errors
    /// Every variable that is missing or cannot be used.
    pub fn from_vars(mut vars: Vars) -> Result<Self, ConfigError> {
        let config = Self {
            table: config::table(&mut vars),
            sealing_key: config::sealing_key(&mut vars),
            deliveries_queue: config::deliveries_queue(&mut vars),
            public_url: config::public_url(&mut vars),
            egress_policy: config::egress_policy(&mut vars),
        };
        vars.finish().map(|()| config)
    }
}

impl WebhookDelivery {
    /// Makes the clients.
    pub async fn connect(config: Config) -> Self {
        let sdk = switchboard_aws::sdk_config().await;
        Self {
            table: Table::new(&sdk, config.table).sealing(Sealer::new(&sdk, config.sealing_key)),
            queue: Queue::new(&sdk, config.deliveries_queue),
            client: WebhookClient::new(config.egress_policy),
            public_url: config.public_url,
            kept_slots: KeptSlots::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_variable_is_reported() {
        let bad = Config::from_vars(Vars::from([("ALLOW_HTTP_WEBHOOKS", "perhaps")])).unwrap_err().0;
        let names =
            ["TABLE_NAME", "SEALING_KEY_ID", "DELIVERIES_QUEUE_URL", "PUBLIC_URL", "ALLOW_HTTP_WEBHOOKS"];
        for name in names {
            assert_eq!(bad.iter().filter(|line| line.starts_with(name)).count(), 1, "{name}: {bad:?}");
        }
        assert_eq!(bad.len(), names.len(), "{bad:?}");
    }
}
