//! How the function is configured.

use anyhow::Context as _;
use aws::{
    provider_keys::ProviderKeys,
    store::Store,
    system::{ConfigError, Vars},
};
use vendors::keys::Keys;

use crate::Callbacks;

/// The function's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `TABLE_NAME`.
    pub table: String,
    /// `PUBLIC_URL`: base of the callbacks, without a slash at its end.
    pub public_url: String,
    /// `PROVIDER_KEYS_SECRET`.
    pub keys_secret: String,
}

impl Config {
    /// Reads the variables; all that is wrong is reported.
    pub fn from_vars(mut vars: Vars) -> Result<Self, ConfigError> {
        let table = vars.required("TABLE_NAME");
        let public_url = vars.required("PUBLIC_URL");
        if !public_url.is_empty()
            && !["https://", "http://"].iter().any(|scheme| public_url.starts_with(scheme))
        {
            vars.reject("PUBLIC_URL: must begin with https:// or http://");
        }
        let keys_secret = vars.required("PROVIDER_KEYS_SECRET");
        vars.finish()?;
        Ok(Self { table, public_url: public_url.trim_end_matches('/').to_owned(), keys_secret })
    }
}

impl Callbacks {
    /// Makes the clients and fetches the key that signs.
    pub async fn connect(config: Config) -> anyhow::Result<Self> {
        let sdk = aws::sdk_config().await;
        let keys = ProviderKeys::load(&sdk, &config.keys_secret).await.context("PROVIDER_KEYS_SECRET")?;
        let keys = Keys::parse(keys.json()).context("PROVIDER_KEYS_SECRET")?;
        Ok(Self {
            store: Store::new(&sdk, config.table),
            auth_token: keys.twilio_auth_token,
            public_url: config.public_url,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_variable_is_reported() {
        let bad = Config::from_vars(Vars::from([("PUBLIC_URL", "example.com")])).unwrap_err().0;
        assert_eq!(
            bad,
            [
                "TABLE_NAME is not set",
                "PUBLIC_URL: must begin with https:// or http://",
                "PROVIDER_KEYS_SECRET is not set"
            ]
        );
    }
}
