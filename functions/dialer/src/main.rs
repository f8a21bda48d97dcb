//! Wiring: configuration, clients, the loop.

use std::process::ExitCode;

use lambda_runtime::{Error, LambdaEvent, service_fn, tracing};
use switchboard_dialer::{Config, Dialer};
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
    let dialer = &Dialer::connect(config).await?;
    let handler = service_fn(|event: LambdaEvent<_>| async {
        Ok::<_, Error>(switchboard_dialer::handle(dialer, event.payload).await)
    });
    lambda_runtime::run(handler).await.map_err(anyhow::Error::from_boxed)
}
