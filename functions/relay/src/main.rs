//! The Lambda function that queues stored work: configuration, clients, the stream's batches.

use std::process::ExitCode;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use switchboard_relay::{Config, Relay};
use switchboard_runtime::process;

fn main() -> ExitCode {
    process::lambda(Config::from_vars, async |config| {
        let relay = &Relay::connect(config).await;
        let handler = |event: LambdaEvent<_>| async { Ok::<_, Error>(relay.handle(event.payload).await) };
        lambda_runtime::run(service_fn(handler)).await
    })
}
