//! Environment variables that several binaries read, each declared once: its name, its default, its checks.
//!
//! A binary composes its own `Config` of these. Variables that one binary reads alone are declared there.

use std::time::Duration;

use switchboard_model::{costs::Prices, egress_policy::EgressPolicy};

use crate::Vars;

/// Days that a conversation is kept, unless `RETENTION_DAYS` is set.
const RETENTION_DAYS: u32 = 90;

/// `TABLE_NAME`: the DynamoDB table.
pub fn table(vars: &mut Vars) -> String {
    vars.required("TABLE_NAME")
}

/// `RECORDINGS_BUCKET`: the S3 bucket of recordings and clips.
pub fn bucket(vars: &mut Vars) -> String {
    vars.required("RECORDINGS_BUCKET")
}

/// `CALLS_QUEUE_URL`: the SQS queue of calls to dial.
pub fn calls_queue(vars: &mut Vars) -> String {
    vars.required("CALLS_QUEUE_URL")
}

/// `SEALING_KEY_ID`: id or ARN of the KMS key that seals customers' secrets.
pub fn sealing_key(vars: &mut Vars) -> String {
    vars.required("SEALING_KEY_ID")
}

/// `DELIVERIES_QUEUE_URL`: the SQS queue of webhook attempts to make.
pub fn deliveries_queue(vars: &mut Vars) -> String {
    vars.required("DELIVERIES_QUEUE_URL")
}

/// `PUBLIC_URL`: the API's base URL as the world sees it, without a slash at its end.
pub fn public_url(vars: &mut Vars) -> String {
    vars.required("PUBLIC_URL").trim_end_matches('/').to_owned()
}

/// `ALLOW_HTTP_WEBHOOKS`: which addresses customers' URLs may point to. `true` admits this machine and `http://`; it is
/// for a local stack and never set in a deployment.
pub fn egress_policy(vars: &mut Vars) -> EgressPolicy {
    vars.parsed("ALLOW_HTTP_WEBHOOKS", EgressPolicy::PublicOnly)
}

/// `AGENT_PRICE_PER_MINUTE`: the deployment's own price in USD, 0 unless set.
pub fn prices(vars: &mut Vars) -> Prices {
    Prices { agent_per_minute: vars.parsed("AGENT_PRICE_PER_MINUTE", Prices::default().agent_per_minute) }
}

/// `CARRIER_CALLS_PER_SECOND`: the calls that the deployment's account at the carrier may start per second, 1 unless set,
/// which is what Twilio grants a new account.
pub fn carrier_calls_per_second(vars: &mut Vars) -> u32 {
    vars.parsed("CARRIER_CALLS_PER_SECOND", 1)
}

/// `RETENTION_DAYS`: how long a conversation is kept after its creation, 90 days unless set.
pub fn retention(vars: &mut Vars) -> Duration {
    let days = vars.parsed("RETENTION_DAYS", RETENTION_DAYS);
    Duration::from_hours(24 * u64::from(days))
}

/// Names of the deployment's secrets. The secrets themselves are fetched by the adapters.
#[derive(Debug, Clone)]
pub struct SecretsConfig {
    /// `PROVIDER_KEYS_SECRET`: name or ARN of the Secrets Manager secret with the deployment's own provider keys.
    pub provider_keys: String,
    /// `SEALING_KEY_ID`: id or ARN of the KMS key that seals customers' secrets.
    pub sealing_key: String,
}

impl SecretsConfig {
    /// Reads both variables, which are required.
    pub fn read(vars: &mut Vars) -> Self {
        Self { provider_keys: vars.required("PROVIDER_KEYS_SECRET"), sealing_key: sealing_key(vars) }
    }
}

/// Addresses that the carrier is given for a call.
#[derive(Debug, Clone)]
pub struct CallbackConfig {
    /// `PUBLIC_URL`: base of the callbacks, `https://` or `http://`, without a slash at its end.
    pub public_url: String,
    /// `MEDIA_URL`: the worker's websocket, `wss://` or `ws://`, without a slash at its end.
    pub media_url: String,
}

impl CallbackConfig {
    /// Reads both variables, which are required.
    pub fn read(vars: &mut Vars) -> Self {
        Self {
            public_url: url(vars, "PUBLIC_URL", ["https://", "http://"]),
            media_url: required_media_url(vars),
        }
    }
}

/// `MEDIA_URL`: the worker's websocket, `wss://` or `ws://`, without a slash at its end.
pub fn required_media_url(vars: &mut Vars) -> String {
    url(vars, "MEDIA_URL", ["wss://", "ws://"])
}

/// `MEDIA_URL`: the worker's websocket, `wss://` or `ws://`, without a slash at its end. None if it is unset or empty: the
/// deployment has no worker.
pub fn media_url(vars: &mut Vars) -> Option<String> {
    let is_set = !vars.parsed("MEDIA_URL", String::new()).is_empty();
    is_set.then(|| required_media_url(vars))
}

fn url(vars: &mut Vars, name: &str, schemes: [&str; 2]) -> String {
    let url = vars.required(name);
    if !url.is_empty() && !schemes.iter().any(|scheme| url.starts_with(scheme)) {
        vars.reject(format!("{name}: must begin with {} or {}", schemes[0], schemes[1]));
    }
    url.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_variables_have_defaults() {
        let mut vars = Vars::default();
        assert_eq!(egress_policy(&mut vars), EgressPolicy::PublicOnly);
        assert_eq!(prices(&mut vars), Prices::default());
        assert_eq!(retention(&mut vars), Duration::from_hours(90 * 24));
        assert_eq!(vars.finish(), Ok(()));
    }

    #[test]
    fn urls_lose_the_slash_at_their_end() {
        let vars = [("PUBLIC_URL", "https://api.example.com/"), ("MEDIA_URL", "wss://media.example.com/")];
        let mut vars = Vars::from(vars);
        assert_eq!(public_url(&mut vars), "https://api.example.com");
        let callbacks = CallbackConfig::read(&mut vars);
        assert_eq!(callbacks.public_url, "https://api.example.com");
        assert_eq!(callbacks.media_url, "wss://media.example.com");
        assert_eq!(media_url(&mut vars).as_deref(), Some("wss://media.example.com"));
        assert_eq!(media_url(&mut Vars::from([("MEDIA_URL", "")])), None);
        assert_eq!(media_url(&mut Vars::default()), None);
        assert_eq!(vars.finish(), Ok(()));
    }

    #[test]
    fn a_callback_url_has_a_scheme_that_the_carrier_can_call() {
        let mut vars = Vars::from([("PUBLIC_URL", "example.com"), ("MEDIA_URL", "https://example.com")]);
        CallbackConfig::read(&mut vars);
        let bad = vars.finish().unwrap_err().0;
        let expected =
            ["PUBLIC_URL: must begin with https:// or http://", "MEDIA_URL: must begin with wss:// or ws://"];
        assert_eq!(bad, expected);
    }
}
