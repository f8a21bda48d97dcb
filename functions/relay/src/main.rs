//! Wiring: configuration, clients, the loop.

use std::process::ExitCode;

use lambda_runtime::{Error, LambdaEvent, service_fn, tracing};
use switchboard_aws::queue::Queue;
use switchboard_relay::{Config, Relay};
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
    let sdk = switchboard_aws::sdk_config().await;
    let relay = &Relay {
        calls: Queue::new(&sdk, config.calls_queue_url),
        deliveries: Queue::new(&sdk, config.deliveries_queue_url),
    };
    let handler =
        service_fn(|event: LambdaEvent<_>| async { Ok::<_, Error>(relay.handle(event.payload).await) });
    match lambda_runtime::run(handler).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
