//! Wiring: configuration, clients, the loop.

use std::process::ExitCode;

use lambda_runtime::{Error, LambdaEvent, service_fn, tracing};
use serde_json::Value;
use switchboard_runtime::{ConfigError, Vars};
use switchboard_sweeper::{Config, Sweeper, metrics};

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
    let sweeper = &Sweeper::connect(config).await?;
    let handler = service_fn(|_: LambdaEvent<Value>| async {
        metrics::write(&sweeper.sweep().await?);
        Ok::<_, Error>(())
    });
    lambda_runtime::run(handler).await.map_err(anyhow::Error::from_boxed)
}
