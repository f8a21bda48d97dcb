//! How the function is configured.

use switchboard_aws::{queue::Queue, store::Store};
use switchboard_model::egress_policy::EgressPolicy;
use switchboard_providers::webhooks::Sender;
use switchboard_runtime::{ConfigError, Vars};

use crate::Webhooks;

/// The function's environment.
#[derive(Debug, Clone)]
pub struct Config {
    /// `TABLE_NAME`.
    pub table: String,
    /// `DELIVERIES_QUEUE_URL`.
    pub queue_url: String,
    /// `DEAD_LETTERS_QUEUE_URL`: where deliveries go that are given up.
    pub dead_letters_url: String,
    /// `PUBLIC_URL`: the API's, without a slash at its end.
    pub public_url: String,
    /// `ALLOW_HTTP_WEBHOOKS` (`true`; a stack on the developer's own machine, never a deployed one):
    /// whether webhooks may be on this machine, and `http://`.
    pub egress_policy: EgressPolicy,
}

impl Config {
    /// Reads the variables; all that is wrong is reported.
    pub fn from_vars(mut vars: Vars) -> Result<Self, ConfigError> {
        let config = Self {
            table: vars.required("TABLE_NAME"),
            queue_url: vars.required("DELIVERIES_QUEUE_URL"),
            dead_letters_url: vars.required("DEAD_LETTERS_QUEUE_URL"),
            public_url: vars.required("PUBLIC_URL").trim_end_matches('/').to_owned(),
            egress_policy: vars.parsed("ALLOW_HTTP_WEBHOOKS", EgressPolicy::PublicOnly),
        };
        vars.finish().map(|()| config)
    }
}

impl Webhooks {
    /// Makes the clients.
    pub async fn connect(config: Config) -> Self {
        let sdk = switchboard_aws::sdk_config().await;
        Self {
            store: Store::new(&sdk, config.table),
            queue: Queue::new(&sdk, config.queue_url),
            dead_letters: Queue::new(&sdk, config.dead_letters_url),
            sender: Sender::new(config.egress_policy),
            public_url: config.public_url,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_variable_is_reported() {
        let bad = Config::from_vars(Vars::from([("ALLOW_HTTP_WEBHOOKS", "perhaps")])).unwrap_err().0;
        let names = [
            "TABLE_NAME",
            "DELIVERIES_QUEUE_URL",
            "DEAD_LETTERS_QUEUE_URL",
            "PUBLIC_URL",
            "ALLOW_HTTP_WEBHOOKS",
        ];
        for name in names {
            assert_eq!(bad.iter().filter(|line| line.starts_with(name)).count(), 1, "{name}: {bad:?}");
        }
        assert_eq!(bad.len(), names.len(), "{bad:?}");
    }
}
