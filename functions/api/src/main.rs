//! The API's function on Lambda: reads the configuration, opens the table, serves.

use std::process::ExitCode;

use api::{Api, Config};
use aws::{
    recordings::Recordings,
    store::Store,
    system::{self, ConfigError, Vars},
};
use lambda_http::tracing;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing::init_default_subscriber();
    let config = match Config::from_vars(Vars::from_env()) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::from(ConfigError::EXIT_CODE);
        }
    };
    let sdk = aws::sdk_config().await;
    let router = api::router(Api {
        store: Store::new(&sdk, config.table_name),
        recordings: Recordings::new(&sdk, config.recordings_bucket),
        public_url: config.public_url,
        webhook_urls: config.webhook_urls,
        now: system::now,
        random: system::random_u128,
    });
    match lambda_http::run(router).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the runtime ended");
            ExitCode::FAILURE
        }
    }
}
