//! The base URLs and keys of carrier and providers: the sandbox's, or a real one for every key in the environment.

use std::fmt;

use switchboard_sandbox::{Config, Engines, Sandbox};

use super::host_environment::HostEnvironment;

/// The base URL of the real `OpenAI`.
const OPENAI_URL: &str = "https://api.openai.com/v1";

/// The base URL of the real Deepgram.
const DEEPGRAM_URL: &str = "https://api.deepgram.com";

/// The keys of the sandbox's servers. They are not secret: they open only loopback servers.
const TWILIO_ACCOUNT_SID: &str = "AC00000000000000000000000000000000";
const TWILIO_AUTH_TOKEN: &str = "sandbox-twilio-token";
const OPENAI_API_KEY: &str = "sandbox-openai-key";
const DEEPGRAM_API_KEY: &str = "sandbox-deepgram-key";

/// Base URLs and keys for the deployment.
pub(crate) struct ProviderEndpoints {
    pub(crate) twilio_url: String,
    pub(crate) openai_url: String,
    pub(crate) deepgram_url: String,
    pub(crate) twilio_account_sid: String,
    pub(crate) twilio_auth_token: String,
    pub(crate) openai_api_key: String,
    pub(crate) deepgram_api_key: String,
}

impl fmt::Debug for ProviderEndpoints {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ProviderEndpoints([redacted])")
    }
}

/// The configuration of the sandbox.
pub(crate) fn sandbox_config(engines: Engines) -> Config {
    Config {
        engines,
        twilio_account_sid: TWILIO_ACCOUNT_SID.to_owned(),
        twilio_auth_token: TWILIO_AUTH_TOKEN.to_owned(),
        deepgram_api_key: DEEPGRAM_API_KEY.to_owned(),
        openai_api_key: OPENAI_API_KEY.to_owned(),
    }
}

impl ProviderEndpoints {
    /// Takes the sandbox's, and the real provider for every key in the environment.
    pub(crate) fn of(sandbox: &Sandbox, host: &HostEnvironment) -> Self {
        let real_or = |key: &Option<String>, real: &str, url: &str, sandbox_key: &str| match key {
            Some(key) => (real.to_owned(), key.clone()),
            None => (url.to_owned(), sandbox_key.to_owned()),
        };
        let (openai_url, openai_api_key) =
            real_or(&host.openai_api_key, OPENAI_URL, &sandbox.openai_url, OPENAI_API_KEY);
        let (deepgram_url, deepgram_api_key) =
            real_or(&host.deepgram_api_key, DEEPGRAM_URL, &sandbox.deepgram_url, DEEPGRAM_API_KEY);
        Self {
            twilio_url: sandbox.twilio_url.clone(),
            openai_url,
            deepgram_url,
            twilio_account_sid: TWILIO_ACCOUNT_SID.to_owned(),
            twilio_auth_token: TWILIO_AUTH_TOKEN.to_owned(),
            openai_api_key,
            deepgram_api_key,
        }
    }
}
