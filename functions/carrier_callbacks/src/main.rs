//! Wiring: configuration, clients, the loop.

use std::process::ExitCode;

use lambda_http::tracing;
use switchboard_carrier_callbacks::{Callbacks, Config};
use switchboard_runtime::{ConfigError, Vars};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing::init_default_subscriber();
    let config = match Config::from_vars(Vars::from_env()) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::from(ConfigError::EXIT_CODE);
        }
    };
    match serve(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let callbacks = Callbacks::connect(config).await?;
    lambda_http::run(switchboard_carrier_callbacks::router(callbacks))
        .await
        .map_err(anyhow::Error::from_boxed)
}
