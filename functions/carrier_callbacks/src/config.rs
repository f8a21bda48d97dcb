//! How the function is configured.

use std::time::Duration;

use anyhow::Context as _;
use switchboard_aws::{clips::Clips, provider_keys::ProviderKeys, sealing::Sealer, store::Store};
use switchboard_model::{costs::Prices, egress_policy::EgressPolicy};
use switchboard_providers::{
    Providers, egress, endpoints::Endpoints, keys::Keys, twilio::Calls, webhooks::Sender,
};
use switchboard_runtime::{ConfigError, Vars};

use crate::Callbacks;

/// The function's environment.
#[derive(Debug, Clone)]
pub struct Config {
    /// `TABLE_NAME`.
    pub table: String,
    /// `RECORDINGS_BUCKET`: keeps the first words of calls too.
    pub bucket: String,
    /// `PUBLIC_URL`: base of the callbacks, without a slash at its end.
    pub public_url: String,
    /// `MEDIA_URL`: the websocket that talks.
    pub media_url: String,
    /// `PROVIDER_KEYS_SECRET`.
    pub keys_secret: String,
    /// `SEALING_KEY_ID`: id or ARN of the KMS key that customers' secrets are sealed with.
    pub sealing_key: String,
    /// `TWILIO_API_URL` and its like.
    pub endpoints: Endpoints,
    /// `AGENT_PRICE_PER_MINUTE`: USD, 0 unless set.
    pub prices: Prices,
    /// `RETENTION_DAYS`: how long a conversation is kept, 90 unless set.
    pub retention: Duration,
    /// `ALLOW_HTTP_WEBHOOKS` (`true`; a stack on the developer's own machine, never a deployed one):
    /// whether webhooks may be on this machine, and `http://`.
    pub egress_policy: EgressPolicy,
}

impl Config {
    /// Reads the variables; all that is wrong is reported.
    pub fn from_vars(mut vars: Vars) -> Result<Self, ConfigError> {
        let table = vars.required("TABLE_NAME");
        let bucket = vars.required("RECORDINGS_BUCKET");
        let public_url = url(&mut vars, "PUBLIC_URL", ["https://", "http://"]);
        let media_url = url(&mut vars, "MEDIA_URL", ["wss://", "ws://"]);
        let keys_secret = vars.required("PROVIDER_KEYS_SECRET");
        let sealing_key = vars.required("SEALING_KEY_ID");
        let egress_policy = vars.parsed("ALLOW_HTTP_WEBHOOKS", EgressPolicy::PublicOnly);
        let days: u32 = vars.parsed("RETENTION_DAYS", 90);
        let agent_per_minute = vars.parsed("AGENT_PRICE_PER_MINUTE", Prices::default().agent_per_minute);
        let endpoints = vars.finish_with(Endpoints::from_vars)?;
        let prices = Prices { agent_per_minute };
        let retention = Duration::from_hours(24 * u64::from(days));
        Ok(Self {
            table,
            bucket,
            public_url,
            media_url,
            keys_secret,
            sealing_key,
            endpoints,
            prices,
            retention,
            egress_policy,
        })
    }
}

fn url(vars: &mut Vars, name: &str, schemes: [&str; 2]) -> String {
    let url = vars.required(name);
    if !url.is_empty() && !schemes.iter().any(|scheme| url.starts_with(scheme)) {
        vars.reject(format!("{name}: must begin with {} or {}", schemes[0], schemes[1]));
    }
    url.trim_end_matches('/').to_owned()
}

impl Callbacks {
    /// Makes the clients and fetches the key that signs.
    pub async fn connect(config: Config) -> anyhow::Result<Self> {
        let sdk = switchboard_aws::sdk_config().await;
        let keys = ProviderKeys::load(&sdk, &config.keys_secret).await.context("PROVIDER_KEYS_SECRET")?;
        let keys = Keys::parse(keys.json()).context("PROVIDER_KEYS_SECRET")?;
        let auth_token = keys.twilio_auth_token.clone();
        let providers = Providers { http: egress::client(), endpoints: config.endpoints, keys };
        Ok(Self {
            store: Store::new(&sdk, config.table),
            sealer: Sealer::new(&sdk, config.sealing_key),
            calls: Calls::new(&providers),
            clips: Clips::new(&sdk, config.bucket),
            providers,
            sender: Sender::new(config.egress_policy),
            egress_policy: config.egress_policy,
            retention: config.retention,
            auth_token,
            public_url: config.public_url,
            media_url: config.media_url,
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
