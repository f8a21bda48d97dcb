//! The deployment's own provider keys, in Secrets Manager.

use std::fmt;

use aws_config::SdkConfig;

use crate::failure::{Cause, ServiceError};

/// The secret: a JSON object with a member per key. The catalogue names the keys and says which of them are optional;
/// this crate does not parse it.
#[derive(Clone)]
pub struct ProviderKeys(String);

impl ProviderKeys {
    /// Reads the secret `secret_id`, a name or an ARN.
    ///
    /// # Errors
    /// The secret does not exist, is binary, or cannot be read now.
    pub async fn load(config: &SdkConfig, secret_id: &str) -> Result<Self, ServiceError> {
        let answer = aws_sdk_secretsmanager::Client::new(config)
            .get_secret_value()
            .secret_id(secret_id)
            .send()
            .await
            .map_err(|error| ServiceError::of("GetSecretValue", &error))?;
        let json =
            answer.secret_string.ok_or_else(|| ServiceError::Refused(Cause::new("the secret is binary")))?;
        Ok(Self(json))
    }

    /// The JSON text; `switchboard_providers::keys` parses it.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ProviderKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProviderKeys([redacted])")
    }
}
