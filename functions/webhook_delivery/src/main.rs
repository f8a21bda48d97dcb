//! Wiring: configuration, clients, the loop.

use std::process::ExitCode;

use lambda_runtime::{Error, LambdaEvent, service_fn, tracing};
use switchboard_runtime::{ConfigError, Vars};
use switchboard_webhook_delivery::{Config, Webhooks};

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
    let webhooks = &Webhooks::connect(config).await;
    let handler =
        service_fn(|event: LambdaEvent<_>| async { Ok::<_, Error>(webhooks.handle(event.payload).await) });
    match lambda_runtime::run(handler).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
