//! How the function is configured.

use switchboard_providers::endpoints::Endpoints;
use switchboard_runtime::{ConfigError, Vars};

/// The function's environment.
#[derive(Debug, Clone)]
pub struct Config {
    /// `TABLE_NAME`.
    pub table: String,
    /// `RECORDINGS_BUCKET`: keeps the first words of calls too.
    pub bucket: String,
    /// `CALLS_QUEUE_URL`.
    pub queue_url: String,
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
}

impl Config {
    /// Reads the variables; all that is wrong is reported.
    pub fn from_vars(mut vars: Vars) -> Result<Self, ConfigError> {
        let table = vars.required("TABLE_NAME");
        let bucket = vars.required("RECORDINGS_BUCKET");
        let queue_url = vars.required("CALLS_QUEUE_URL");
        let public_url = url(&mut vars, "PUBLIC_URL", ["https://", "http://"]);
        let media_url = url(&mut vars, "MEDIA_URL", ["wss://", "ws://"]);
        let keys_secret = vars.required("PROVIDER_KEYS_SECRET");
        let sealing_key = vars.required("SEALING_KEY_ID");
        let endpoints = vars.finish_with(Endpoints::from_vars)?;
        Ok(Self { table, bucket, queue_url, public_url, media_url, keys_secret, sealing_key, endpoints })
    }
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
    fn every_bad_variable_is_reported() {
        let vars =
            Vars::from([("PUBLIC_URL", "example.com"), ("MEDIA_URL", "https://x"), ("TWILIO_API_URL", "x")]);
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
            "TWILIO_API_URL",
        ] {
            assert_eq!(bad.iter().filter(|line| line.starts_with(name)).count(), 1, "{name}: {bad:?}");
        }
    }
}
