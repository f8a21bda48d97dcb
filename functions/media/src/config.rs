//! The worker's configuration, read from the environment once.

use std::net::SocketAddr;

use switchboard_model::{costs::Prices, egress_policy::EgressPolicy};
use switchboard_providers::endpoints::Endpoints;
use switchboard_runtime::{
    ConfigError, Vars,
    config::{self, SecretsConfig},
};

/// Maximum number of live calls, unless `MAX_CALLS` is set.
const MAX_CALLS: usize = 100;

/// The worker's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `LISTEN`: the address of the server, `0.0.0.0:8080` unless set.
    pub listen: SocketAddr,
    /// `MAX_CALLS`: maximum number of live calls, 100 unless set.
    pub max_calls: usize,
    /// `MEDIA_URL`: the websocket's URL as the carrier is given it: handshakes are signed for it. `wss://` or `ws://`,
    /// without a slash at its end.
    pub media_url: String,
    /// `TRUST_FORWARDED_FOR`: `true` behind a load balancer that sets `X-Forwarded-For`; `false` unless set.
    pub trusts_forwarded_for: bool,
    /// `ECS_CONTAINER_METADATA_URI_V4`, which ECS sets; empty elsewhere.
    pub task_metadata_url: String,
    /// `TABLE_NAME`.
    pub table: String,
    /// `RECORDINGS_BUCKET`.
    pub bucket: String,
    /// `PROVIDER_KEYS_SECRET`, `SEALING_KEY_ID`.
    pub secrets: SecretsConfig,
    /// `AGENT_PRICE_PER_MINUTE`.
    pub prices: Prices,
    /// Base URLs of the providers: the vendors' own unless the environment sets others.
    pub endpoints: Endpoints,
    /// `ALLOW_HTTP_WEBHOOKS`.
    pub egress_policy: EgressPolicy,
}

impl Config {
    /// Reads and checks all variables.
    ///
    /// # Errors
    /// Names every variable that is missing or malformed.
    pub fn from_vars(mut vars: Vars) -> Result<Self, ConfigError> {
        let listen = vars.parsed("LISTEN", SocketAddr::from(([0, 0, 0, 0], 8080)));
        let max_calls = vars.parsed("MAX_CALLS", MAX_CALLS);
        let media_url = config::required_media_url(&mut vars);
        let trusts_forwarded_for = vars.parsed("TRUST_FORWARDED_FOR", false);
        let task_metadata_url = vars.parsed("ECS_CONTAINER_METADATA_URI_V4", String::new());
        let prices = config::prices(&mut vars);
        let egress_policy = config::egress_policy(&mut vars);
        let (table, bucket) = (config::table(&mut vars), config::bucket(&mut vars));
        let secrets = SecretsConfig::read(&mut vars);
        let endpoints = vars.finish_with(Endpoints::from_vars)?;
        Ok(Self {
            listen,
            max_calls,
            media_url,
            trusts_forwarded_for,
            task_metadata_url,
            table,
            bucket,
            secrets,
            prices,
            endpoints,
            egress_policy,
        })
    }
}

#[cfg(test)]
mod tests {
    use switchboard_model::catalogue;

    use super::*;

    #[test]
    fn every_bad_variable_is_reported_at_once() {
        let url_variable = catalogue::connections()[0].url_variable;
        let vars = Vars::from([
            ("LISTEN", "nowhere"),
            ("MAX_CALLS", "-1"),
            ("MEDIA_URL", "https://media.example.com/media"),
            ("TRUST_FORWARDED_FOR", "maybe"),
            ("TABLE_NAME", "t"),
            (url_variable, "?"),
            ("ALLOW_HTTP_WEBHOOKS", "yes"),
        ]);
        let error = Config::from_vars(vars).unwrap_err().to_string();
        for name in [
            "LISTEN",
            "MAX_CALLS",
            "MEDIA_URL",
            "TRUST_FORWARDED_FOR",
            "RECORDINGS_BUCKET",
            "PROVIDER_KEYS_SECRET",
            "SEALING_KEY_ID",
            url_variable,
            "ALLOW_HTTP_WEBHOOKS",
        ] {
            assert!(error.contains(name), "{name} is missing in: {error}");
        }
        assert!(!error.contains("TABLE_NAME"));
    }

    #[test]
    fn variables_with_defaults_are_optional() {
        let vars = Vars::from([
            ("MEDIA_URL", "wss://media.example.com/media/"),
            ("TABLE_NAME", "t"),
            ("RECORDINGS_BUCKET", "b"),
            ("PROVIDER_KEYS_SECRET", "s"),
            ("SEALING_KEY_ID", "k"),
        ]);
        let config = Config::from_vars(vars).unwrap();
        assert_eq!((config.listen.port(), config.max_calls), (8080, MAX_CALLS));
        assert_eq!(config.media_url, "wss://media.example.com/media");
        assert!(!config.trusts_forwarded_for);
        assert_eq!(config.egress_policy, EgressPolicy::PublicOnly);
        assert_eq!(config.endpoints, Endpoints::from_vars(&|_| None).unwrap());
    }

    #[test]
    fn a_worker_without_its_url_does_not_start() {
        let vars = [
            ("TABLE_NAME", "t"),
            ("RECORDINGS_BUCKET", "b"),
            ("PROVIDER_KEYS_SECRET", "s"),
            ("SEALING_KEY_ID", "k"),
        ];
        let error = Config::from_vars(Vars::from(vars)).unwrap_err().to_string();
        assert!(error.contains("MEDIA_URL"), "{error}");
    }
}
