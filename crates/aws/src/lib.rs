#![doc = include_str!("../README.md")]

pub mod capacity;
pub mod clips;
mod failure;
mod keys;
pub mod outbox;
pub mod provider_keys;
pub mod queue;
pub mod recordings;
pub mod sealing;
#[cfg(feature = "stacks")]
pub mod stacks;
pub mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

pub use aws_config::SdkConfig;
pub use failure::{Cause, ServiceError};

/// Within a region, a connection opens in a few milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The table and the queues respond in about 10 ms: after this time, the attempt is lost.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Includes all retries. Below the time limit of every function.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 3;

/// The configuration of every client: region and credentials as the SDK finds them, an endpoint from
/// `AWS_ENDPOINT_URL`, our time limits, standard retries.
pub async fn sdk_config() -> SdkConfig {
    loader().load().await
}

/// The same for an emulator at `url`, which accepts any region and credentials. Environment and configuration files
/// are not read.
#[must_use]
pub fn emulator_config(url: &str, region: &'static str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "emulator");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .http_client(http_client())
        .timeout_config(timeouts())
        .retry_config(retries())
        .build()
}

fn loader() -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client())
        .timeout_config(timeouts())
        .retry_config(retries())
}

fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS)
}
